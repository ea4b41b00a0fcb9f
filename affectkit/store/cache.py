"""The cache folder: where an artifact of a recipe lies, and making it."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from affectkit import __version__
from affectkit.config import fingerprint
from affectkit.digests import Digests
from affectkit.errors import AffectkitError, UsageError
from affectkit.store.artifact import Artifact
from affectkit.store.atomic import TEMPORARY, explained, fsync, put, temporary_name, write_text
from affectkit.store.schema import Schema
from affectkit.store.sidecars import STAGE_FILE, StageRecord

DEFAULT_ROOT = ".affectkit"
_RECORDED = ("av", "h5py", "librosa", "numpy", "onnxruntime", "scikit-learn", "timm", "torch", "transformers")


class NotMade(Exception):
    """A dry cache has no such artifact: here a stage would begin to compute all of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not made yet")
        self.path = path


class Cache:
    """Artifacts under one root: `--cache`, else $AFFECTKIT_CACHE, else `.affectkit/`.

    A `dry` cache only looks: a stage called with it raises `NotMade`, or says which clips are missing (see
    `MapStage.run`), or returns what is there. Nothing is written.
    """

    def __init__(self, root: Path | None = None, *, dry: bool = False) -> None:
        self.root = root or Path(os.environ.get("AFFECTKIT_CACHE") or DEFAULT_ROOT)
        self.dry = dry

    def digests(self, rehash: bool = False) -> Digests:
        """The memo of source digests."""
        return Digests(self.root / "digests.sqlite", rehash, keep=not self.dry)

    def path(self, stage: str, name: str, inputs: dict[str, Any], out: Path | None = None, variant: str = "") -> Path:
        """Where the artifact of these inputs lies; `out` names it by hand. `variant`: one beside it, whose rows must
        not be mixed with its."""
        return out or self.root / stage / f"{_safe(name)}-{fingerprint(inputs)[:12]}{variant}"

    def variants(self, stage: str, name: str, inputs: dict[str, Any], out: Path | None = None) -> list[Artifact]:
        """The artifact of these inputs, where there is one, then those beside it. Raises as `find`."""
        path = self.path(stage, name, inputs, out)
        beside = [] if out else [file.parent for file in self.matching(f"{stage}/{path.name}+*/{STAGE_FILE}")]
        try:
            found = self.find(stage, name, inputs, out)
        except NotMade:
            if not beside:
                raise
            found = None
        others = [Artifact(one, dry=self.dry) for one in beside]
        same = [one for one in others if one.stage.fingerprint == fingerprint(inputs)]
        return same if found is None else [found, *same]

    def find(
        self, stage: str, name: str, inputs: dict[str, Any], out: Path | None = None, variant: str = ""
    ) -> Artifact | None:
        """The artifact if it exists. Raises UsageError when `out` holds another recipe; a dry cache raises NotMade
        where there is none."""
        path = self.path(stage, name, inputs, out, variant)
        with explained(path):
            if not (path / STAGE_FILE).exists():
                if out and path.exists() and any(not p.name.startswith(TEMPORARY) for p in path.iterdir()):
                    raise UsageError(f"--out {path} is a folder with other things in it: name a new or an empty one")
                if self.dry:
                    raise NotMade(path)
                return None
        artifact = Artifact(path, dry=self.dry)
        if artifact.stage.fingerprint != fingerprint(inputs):
            raise UsageError(
                f"{path} holds another recipe ({artifact.stage.stage} {artifact.stage.name}): "
                "leave --out away, or name another folder"
            )
        return artifact

    def create(
        self, stage: str, name: str, inputs: dict[str, Any], table: Schema, *,
        numerics: dict[str, Any] | None = None, upstream: Sequence[Path] = (), out: Path | None = None,
        extra: dict[str, Any] | None = None, variant: str = "",
    ) -> Artifact:  # fmt: skip
        """The artifact of a map stage, made empty where it does not exist. `extra` joins its provenance."""
        if (found := self.find(stage, name, inputs, out, variant)) is not None:
            return found
        path = self.path(stage, name, inputs, out, variant)
        text = stage_text(stage, name, inputs, table=table, numerics=numerics, upstream=upstream, extra=extra)
        with explained(path):
            path.mkdir(parents=True, exist_ok=True)
            if not (path / STAGE_FILE).exists():
                write_text(path / STAGE_FILE, text)
        return Artifact(path)

    def create_whole(
        self, stage: str, name: str, inputs: dict[str, Any], write: Callable[[Path], None], *,
        table: Schema | None = None, upstream: Sequence[Path] = (), out: Path | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Artifact:  # fmt: skip
        """The artifact of a fit stage: `write` fills a temporary folder, which appears whole under its name."""
        path = self.path(stage, name, inputs, out)
        if self.dry:
            raise NotMade(path)
        temporary = temporary_name(path)
        try:
            with explained(path):
                temporary.mkdir(parents=True)
                write(temporary)
                text = stage_text(stage, name, inputs, table=table, upstream=upstream, extra=extra)
                write_text(temporary / STAGE_FILE, text)
                for written in temporary.rglob("*"):
                    fsync(written)
                _appear(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Artifact(path)

    def discard(self, artifact: Artifact) -> None:
        """Remove an artifact that cannot be used, so that it is made again. Raises NotMade where this cache is dry,
        UsageError for a folder that is a link."""
        path = artifact.path
        if self.dry:
            raise NotMade(path)
        if path.is_symlink():
            raise UsageError(f"{path} is a link to an artifact that cannot be used: remove it, then repeat")
        aside = temporary_name(path)
        with explained(path):
            try:
                path.rename(aside)
            except OSError as error:
                if error.errno == errno.ENOENT:  # another process has removed it
                    return
                if error.errno != errno.EXDEV:  # a folder of a lower layer
                    raise
                aside = path
            shutil.rmtree(aside)

    def artifacts(self) -> Iterable[Artifact]:
        """Every artifact under the root that can be opened, by stage and name."""
        for folder in self.folders():
            try:
                artifact = Artifact(folder)
            except AffectkitError:
                continue
            yield artifact

    def folders(self) -> list[Path]:
        """The folders of all artifacts under the root, by stage and name."""
        found = [file.parent for file in self.matching(f"*/*/{STAGE_FILE}")]
        return [folder for folder in found if not folder.name.startswith(".")]

    def matching(self, pattern: str) -> list[Path]:
        """The paths under the root that match a pattern, sorted. Raises AffectkitError for a root that may not be
        read."""
        try:
            return sorted(self.root.glob(pattern))
        except OSError as error:
            raise AffectkitError(f"{self.root} cannot be read ({error.strerror}): name another folder") from error


def stage_text(
    stage: str, name: str, inputs: dict[str, Any], *, table: Schema | None = None,
    numerics: dict[str, Any] | None = None, upstream: Sequence[Path] = (), extra: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """The text of a stage file: what was asked and, recorded but not hashed, how it was made."""
    return StageRecord(
        stage=stage, name=name, fingerprint=fingerprint(inputs), inputs=inputs, table=table,
        numerics=numerics or {}, upstream=[str(path.resolve()) for path in upstream],
        provenance=provenance() | (extra or {}),
    ).model_dump_json(indent=1)  # fmt: skip


def _appear(temporary: Path, path: Path) -> None:
    if path.exists() and not any(path.iterdir()):
        path.rmdir()
    try:
        put(temporary, path)
    except OSError:
        if not (path / STAGE_FILE).exists():  # else another process made the same artifact first
            raise
    fsync(path.parent)


def provenance() -> dict[str, Any]:
    """This installation: versions, git commit, host, time and command line."""
    return {
        "affectkit": __version__,
        "git": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _RECORDED},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        run = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:80]
