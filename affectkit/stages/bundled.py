"""What a model that came in a bundle says of that: the file it was read from, and the weights that lie in it.

An opened bundle is a folder: the model's artifact, `weights/` of what its recipe names by `bundle:NAME`, and
`bundle.json`, which says the file's digest. The parts of a fused system lie in folders below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from affectkit import weights
from affectkit.config import Config, canonical_json, explain
from affectkit.digests import sha256_lines
from affectkit.errors import HostileFile, MissingFile
from affectkit.store import Artifact, open_artifact
from affectkit.store.bundle_file import MANIFEST, BundleManifest
from affectkit.store.kinds import STAGE_FILE
from affectkit.untrusted import read_object

NOTE_FILE = "bundle.json"
CARD_FILE = "card.toml"
WEIGHTS = "weights"
MARK = "bundle:"
MEMBERS = "members"
SYSTEM = "system"
"""The stage of a fused system, which is found in bundles alone."""
FINETUNE_FILE = "finetune.json"
NOT_LEARNT = (STAGE_FILE, MANIFEST, NOTE_FILE, CARD_FILE)
"""Files of a model's folder that say where it is from, not what it is."""
PUBLISHED = "published"
"""The stage of a published model that is a part of a fused system."""
_DEEPEST = 8
_LARGEST_REPORT = 1 << 26
_LARGEST = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}")


class BundleNote(Config):
    """Which file a folder was unpacked from, and by which affectkit that was made."""

    format: int = 1
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    affectkit: str


def folder_of(artifact: Artifact) -> Path | None:
    """The folder of the bundle that a model came in; None where it came in none."""
    around = [artifact.folder, *artifact.folder.parents][:_DEEPEST]
    return next((folder for folder in around if (folder / NOTE_FILE).is_file()), None)


def note_of(artifact: Artifact) -> BundleNote | None:
    """Which bundle a model came in; None where it came in none. Raises HostileFile for a forged note."""
    folder = folder_of(artifact)
    return None if folder is None else read_note(folder)


def read_note(folder: Path) -> BundleNote | None:
    """What the note in a folder says; None where there is none. Raises HostileFile."""
    try:
        return BundleNote.model_validate(read_object(folder / NOTE_FILE, "a bundle's note", _LARGEST))
    except MissingFile:
        return None
    except ValidationError as error:
        raise HostileFile(f"{folder / NOTE_FILE}: {explain(error)[:300]}") from None


def manifest_of(folder: Path) -> BundleManifest:
    """What the manifest in an unpacked bundle says. Raises HostileFile for a forged one."""
    path = folder / MANIFEST
    try:
        return BundleManifest.model_validate(read_object(path, "a bundle's manifest"))
    except ValidationError as error:
        raise HostileFile(f"{path}: {explain(error)[:300]}") from None


def fingerprints_of(artifact: Artifact) -> set[str]:
    """What a model may be called by: its fingerprint, and that of what its bundle was made of."""
    folder = folder_of(artifact)
    made_of = set() if folder is None or folder != artifact.folder else {manifest_of(folder).fingerprint}
    return {artifact.stage.fingerprint} | made_of


def provenance_of(artifact: Artifact) -> dict[str, Any]:
    """What is kept with all that a model from a bundle makes: the file's digest. Nothing for any other model."""
    note = note_of(artifact)
    return {} if note is None else {"bundle": note.model_dump(mode="json", exclude={"format"})}


def identity_of(artifact: Artifact) -> dict[str, str]:
    """What joins the fingerprints of all that a model from a bundle makes: a digest of its files, so that nothing is
    taken for another model's which says the same of its training. Nothing for any other model, nor where what it was
    made of lies in the same cache and is the same: then the one's results are the other's.
    """
    folder = folder_of(artifact)
    if folder is None:
        return {}
    stage, digest = artifact.stage, digest_of(artifact.folder)
    beside = sorted((folder.parent.parent / stage.stage).glob(f"*-{stage.fingerprint[:12]}"))
    is_same = any(
        (place / STAGE_FILE).is_file()
        and Artifact(place).stage.fingerprint == stage.fingerprint
        and digest_of(place) == digest
        for place in beside
    )
    return {} if is_same else {"model": digest}


def digest_of(folder: Path) -> str:
    """Digest of the files of a head or a network: of what was learnt, and of its report."""
    lines = []
    for path in files_in(folder):
        name = path.relative_to(folder).as_posix()
        if name in NOT_LEARNT or name.startswith(f"{WEIGHTS}/"):
            continue
        told = sha256(canonical_json(portable_report(path)).encode()).hexdigest() if name == FINETUNE_FILE else None
        lines.append(f"{told or weights.local(path).sha256}  {name}")
    return sha256_lines(lines)


def portable_report(path: Path) -> dict[str, Any]:
    """What `finetune` says of its training, without where the weights lay that it started from."""
    report = read_object(path, "a report", _LARGEST_REPORT, nan=True)
    about = report.get("weights")
    return {**report, "weights": {**about, "path": None}} if isinstance(about, dict) else report


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and those below it, sorted; what is being written is none of them. Raises HostileFile for
    links."""
    paths = []
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_symlink():
            raise HostileFile(f"{path} is a symbolic link, which nothing inside an artifact is followed through")
        if path.is_file():
            paths.append(path)
    return paths


def models_in(artifact: Artifact) -> Iterator[Artifact]:
    """A model and, of a fused system, all that it is made of, whatever they claim to be."""
    yield artifact
    if artifact.stage.stage == SYSTEM:
        for folder in sorted((artifact.folder / MEMBERS).glob("*/")):
            yield from models_in(open_artifact(folder))


def is_mark(choice: Any) -> bool:
    """Whether a recipe's weights are a file of the bundle."""
    is_marked = isinstance(choice, str) and choice.startswith(MARK)
    return is_marked and _NAME.fullmatch(choice.removeprefix(MARK)) is not None


def with_weights(artifact: Artifact, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a step of a model's recipe, with the path of the weights that lie in its bundle. Raises HostileFile
    for a mark in what came in none."""
    choice = config.get("weights")
    if not isinstance(choice, str) or not choice.startswith(MARK):
        return dict(config)
    folder = folder_of(artifact)
    if folder is None or not is_mark(choice):
        raise HostileFile(f"{artifact.path} says that its weights lie in a bundle, and came in none")
    return {**config, "weights": str((folder / WEIGHTS / choice.removeprefix(MARK)).resolve())}
