"""Opening a bundle: one file that holds a trained head, a network or a fused system, as `export --to bundle` writes it.

A bundle is a stranger's file: every byte is checked (`store.bundle_file`), nothing in it is run, and what it names must
lie in it or have a public name. It is unpacked once, below the cache, where it is an artifact as any other.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from affectkit import __version__, plugins
from affectkit import weights as weight_files
from affectkit.config import Numerics
from affectkit.errors import AffectkitError, HostileFile, Notice, UsageError
from affectkit.stages import bundled, catalogue
from affectkit.stages.bundled import BundleNote
from affectkit.stages.inputs import ArtifactsInput
from affectkit.stages.map_stage import MapStage
from affectkit.store import Artifact, Cache, StageRecord, open_artifact
from affectkit.store.atomic import explained, fsync, put, temporary_name
from affectkit.store.bundle_file import SUFFIX, BundleManifest, is_bundle_file, read_manifest, unpack
from affectkit.store.kinds import STAGE_FILE, TRAINED
from affectkit.types import SPLITS

HUB = "hub:"
HUB_FILE = f"model{SUFFIX}"
FOLDER = "bundles"
CONTENT = (".json", ".jsonl", ".safetensors", ".toml", ".txt", ".csv")
"""Endings of a model's own files: none of them can hold code."""
WEIGHTS = (*CONTENT, ".onnx", ".tflite", ".pth", ".pt", ".bin", ".zip", ".hdf5", ".h5")
"""Endings of files of weights, which are read without running what they hold."""
_CODE = "code of one's own, and a bundle holds no code: publish it as a package"
_HUB_TEXT = re.compile(
    r"hub:(?P<repository>[\w.-]+/[\w.-]+?)(?:/(?P<file>[\w./-]+\.affect))?(?:@(?P<revision>[\w./-]+))?", re.ASCII
)
_UNPACKED: dict[str, Path] = {}
"""Folders of this process alone, by digest, for bundles that the cache has no room for."""


def is_bundle(text: str) -> bool:
    """Whether a text means a bundle: `hub:USER/REPO`, a name that ends in `.affect`, or a file that begins as one."""
    if text.startswith(HUB):
        return True
    if os.path.isdir(text):  # noqa: PTH112  (a long text is no error)
        return False
    return text.endswith(SUFFIX) or is_bundle_file(Path(text))


def opened_bundle(text: str, cache: Cache) -> Artifact:
    """The model in a bundle, as an artifact that `predict` takes: of stage train-head, finetune or system.

    It lies in `<cache>/bundles/<digest>/`, unpacked once; where nothing can be written, in a folder of this process. A
    `Notice` says where another affectkit made it. Raises MissingFile, UsageError for what is no bundle, for one of a
    newer format and for what cannot be fetched, HostileFile for one that is damaged or not to be trusted.
    """
    path = bundle_path(text)
    manifest = read_manifest(path)
    digest = cache.digests()(path)
    folder = _at_hand(cache, digest)
    if folder is None:
        folder = _unpacked(path, cache, digest)
    else:  # by this version's checks, too
        _require_model(folder, path, manifest)
    if manifest.affectkit != __version__:
        warnings.warn(
            f"{text} was made by affectkit {manifest.affectkit}; this is affectkit {__version__}", Notice, stacklevel=2
        )
    return Artifact(folder, dry=cache.dry)


def bundle_path(text: str) -> Path:
    """The file that a text means, fetched from the hub where it says so. Raises UsageError."""
    if not text.startswith(HUB):
        return Path(text).expanduser()
    meant = _HUB_TEXT.fullmatch(text)
    if meant is None or ".." in text or "--" in meant["repository"]:
        raise UsageError(f"{text} is not hub:USER/REPO[/FILE{SUFFIX}][@REVISION]")
    repository, file = meant["repository"], meant["file"] or HUB_FILE
    advice = "fetch it by hand and give its path"
    path = weight_files.hub_file(repository, file, meant["revision"], advice=advice)
    if path is None:
        named = "" if meant["file"] else f": name the file, {HUB}{repository}/FILE{SUFFIX}"
        raise UsageError(f"huggingface.co/{repository} has no {file}{named}")
    return path


def _at_hand(cache: Cache, digest: str) -> Path | None:
    """The folder that the bundle of this digest was unpacked into, where it still is what it was."""
    folders = [cache.root / FOLDER / digest[:12], *([_UNPACKED[digest]] if digest in _UNPACKED else [])]
    for folder in folders:
        if not (folder / STAGE_FILE).is_file():
            continue
        note = bundled.read_note(folder)
        if note is None or note.sha256 != digest:
            raise UsageError(f"{folder} holds something else than the bundle with the SHA-256 {digest}: remove it")
        if problem := _problem(cache, folder):
            if cache.dry:
                raise HostileFile(f"{problem}: remove {folder}")
            warnings.warn(f"{problem}: the bundle is unpacked again", Notice, stacklevel=3)
            cache.discard(Artifact(folder))
            continue
        return folder
    return None


def _problem(cache: Cache, folder: Path) -> str:
    """What is wrong with an unpacked bundle; nothing where all of its members are what they were."""
    try:
        members = BundleManifest.model_validate_json((folder / "manifest.json").read_bytes()).members
        digests = cache.digests().many([folder / name for name in members])
    except (OSError, ValueError) as error:
        return f"{folder} is not whole ({error})".replace("\n", " ")
    changed = [name for name, member in members.items() if digests[folder / name] != member.sha256]
    return f"{folder / changed[0]} has changed" if changed else ""


def _unpacked(path: Path, cache: Cache, digest: str) -> Path:
    """Unpack a bundle, below the cache where that may be written."""
    target = cache.root / FOLDER / digest[:12]
    if not cache.dry:
        try:
            with explained(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = temporary_name(target)
                temporary.mkdir()
        except AffectkitError:  # a read-only cache: what is in it is still served
            pass
        else:
            try:
                _fill(temporary, path, digest)
                with explained(target):
                    for written in temporary.rglob("*"):
                        fsync(written)
                    _appear(temporary, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            return target
    alone = Path(tempfile.mkdtemp(prefix="affectkit-bundle-"))
    atexit.register(shutil.rmtree, alone, ignore_errors=True)
    _fill(alone / digest[:12], path, digest)
    _UNPACKED[digest] = alone / digest[:12]
    return _UNPACKED[digest]


def _appear(temporary: Path, target: Path) -> None:
    try:
        put(temporary, target)
    except OSError:
        if not (target / STAGE_FILE).exists():  # else another process was first
            raise
    fsync(target.parent)


def _fill(folder: Path, path: Path, digest: str) -> None:
    """The members of a bundle and a note of where they are from, in a folder. Raises HostileFile."""
    folder.mkdir(exist_ok=True)
    unpacked = unpack(path, folder)
    if unpacked.sha256 != digest:
        raise AffectkitError(f"{path} changed while it was read: repeat the command")
    manifest = unpacked.manifest
    if {bundled.NOTE_FILE, STAGE_FILE, bundled.CARD_FILE} & manifest.members.keys() != {STAGE_FILE, bundled.CARD_FILE}:
        raise HostileFile(
            f"{path} is refused: a bundle has {STAGE_FILE} and {bundled.CARD_FILE}, and no {bundled.NOTE_FILE}"
        )
    for name in manifest.members:
        endings = WEIGHTS if name.startswith(f"{bundled.WEIGHTS}/") else CONTENT
        if not name.endswith(endings):
            raise HostileFile(f"{path} is refused: it holds {name}; accepted are files {', '.join(endings)}")
    note = BundleNote(file=path.name, sha256=digest, affectkit=manifest.affectkit)
    (folder / bundled.NOTE_FILE).write_text(note.model_dump_json(), encoding="utf-8")
    _require_model(folder, path, manifest)


def _require_model(folder: Path, path: Path, manifest: BundleManifest) -> None:
    """Raises as `_check_model`, with the bundle's own name in place of its folder's."""
    try:
        _check_model(open_artifact(folder), manifest)
    except AffectkitError as error:
        raise type(error)(f"{path} is refused: {str(error).replace(f'{folder}{os.sep}', '')}") from None


def _check_model(artifact: Artifact, manifest: BundleManifest) -> None:
    """Raises HostileFile where a bundle holds no model, or one whose recipe leads out of the bundle; UsageError where
    this installation has no such plugin."""
    from affectkit.stages.model_card import read_card
    from affectkit.stages.trained import stored_task, trained_report

    if artifact.stage.fingerprint != manifest.fingerprint and manifest.holds != bundled.SYSTEM:
        raise HostileFile("its model is another one than the manifest says")
    read_card(artifact.folder / bundled.CARD_FILE)
    for model in bundled.models_in(artifact):
        parts = () if model is artifact else (bundled.PUBLISHED,)
        if model.stage.stage not in (*TRAINED, bundled.SYSTEM, *parts):
            raise HostileFile(f"it holds no model, but what {model.stage.stage} made")
        for problem in chain(_problems_of_record(model), problems_of(model.stage)):
            raise HostileFile(problem)
        if model.stage.stage in TRAINED:
            report = trained_report(model)
            stored_task(report)
            if strange := sorted(set(report["splits"].values()) - {*SPLITS, ""}):
                raise HostileFile(f"its report has the split {strange[0][:40]!a}")
    if artifact.stage.stage == bundled.SYSTEM:
        from affectkit.stages.fused_system import open_system

        open_system(artifact)


def _problems_of_record(model: Artifact) -> Iterator[str]:
    """What a model's stage file lacks of what predicting reads there."""
    features, columns = (model.stage.provenance.get(name) for name in ("features", "columns"))
    is_paired = isinstance(features, list) and isinstance(columns, list) and len(features) == len(columns) > 0
    if not is_paired or not all(isinstance(column, str) for column in columns or ()):
        yield "its model has no recipe"
    elif model.stage.stage in TRAINED:
        key, kind = {"train-head": ("head", list), "finetune": ("network", str)}[model.stage.stage]
        plugin, upstream = model.stage.inputs.get(key), model.stage.inputs.get("upstream")
        if not isinstance(plugin, dict) or not isinstance(plugin.get("name"), str) or not isinstance(upstream, kind):
            yield f"its model does not say which {key} it is"


def problems_of(record: StageRecord, weights: bool = True) -> Iterator[str]:
    """What of a model or its recipe cannot be in a bundle: code of one's own, and (`weights`: those of weight files,
    too) paths."""
    for key in ("head", "network", "fuser"):
        if isinstance(plugin := record.inputs.get(key), dict) and "code" in plugin:
            yield f"{key} {plugin.get('name')} is {_CODE}"
    gates = record.provenance.get("quality_gates")
    gating = [] if gates is None else [gates.get("features") if isinstance(gates, dict) else None]
    for recipe in [*(record.provenance.get("features") or ()), *gating]:
        if not isinstance(recipe, list) or not recipe:
            yield "its recipe has no steps"
            return
        for place, step in enumerate(recipe):
            yield from _problems_of_step(step, place, weights)


def _problems_of_step(step: Any, place: int, weights: bool) -> Iterator[str]:
    """What is wrong with a step of a recipe, which is in this place of it."""
    kinds: Mapping[str, type] = {"stage": str, "inputs": dict, "config": dict, "numerics": dict, "fingerprint": str}
    if not isinstance(step, dict) or not all(isinstance(step.get(key), kind) for key, kind in kinds.items()):
        yield "a step of its recipe is none"
        return
    name, config = step["stage"], step["config"]
    try:
        stage = catalogue.maker(name)
    except KeyError:
        stage = None
    if not isinstance(stage, MapStage) or stage.makes == "predictions":
        yield f"its recipe has a step {name[:40]!r}, which makes no features"
        return
    if place == 0 and isinstance(stage.inputs[0], ArtifactsInput):
        yield f"its recipe begins with {name}, which reads what was made: it has to begin with media"
        return
    if _has_code(step["inputs"]) or any(plugins.is_source(text) for text in _texts(config)):
        yield f"its {name} step uses {_CODE}"
    if str(config.get("backbone")).endswith(".onnx"):
        yield f"its {name} step has a file for a backbone ({config['backbone']}), and a bundle has none"
    options = config.get("option", [])
    for option in options if isinstance(options, list) else []:
        if (path := str(option).partition("=")[2]).startswith(("/", ".", "~")) or os.path.isdir(path):  # noqa: PTH112
            yield f"its {name} step has the option {option}, a path: name a repository, and its folder by --weights"
    for group in ("detector", "backbone"):
        plugin = step["inputs"].get(group)
        if plugin is not None and not (isinstance(plugin, dict) and isinstance(plugin.get("name"), str)):
            yield f"its {name} step does not say which {group} it has"
            return
    try:
        stage.replayed(config, step)
        Numerics.model_validate(step["numerics"] if stage.has_numerics else {})
    except UsageError:  # it predicts features alone
        pass
    except (ValueError, KeyError, TypeError):
        yield f"its {name} step has settings that no {name} has"
        return
    choice = config.get("weights", "auto")
    if weights and choice not in ("auto", "random") and not bundled.is_mark(choice):
        yield f"its {name} step names weights outside of the bundle ({str(choice)[:80]})"


def _has_code(value: Any) -> bool:
    """Whether a plugin among the inputs of a step is identified by its code."""
    if not isinstance(value, dict):
        return False
    return {"code", "class"} <= value.keys() or any(map(_has_code, value.values()))


def _texts(value: Any) -> Iterator[str]:
    """Every text of a config; of options the values."""
    if isinstance(value, str):
        yield value.partition("=")[2] or value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
