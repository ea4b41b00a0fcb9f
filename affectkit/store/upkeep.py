"""Looking after the cache: sizes, damage, misses, leftovers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectkit.errors import HostileFile, UsageError
from affectkit.store.artifact import STAGE_FILE, Artifact, StageRecord
from affectkit.store.atomic import TEMPORARY, ending
from affectkit.store.cache import Cache
from affectkit.store.integrity import problem_of
from affectkit.store.locking import is_alive

_TEMPORARY = re.compile(re.escape(TEMPORARY) + r"(?P<host>.+)-(?P<pid>[0-9]{1,9})-[0-9a-f]{32}-")


@dataclass(frozen=True)
class Leftover:
    """Something that no command will use again."""

    path: Path
    why: str
    nbytes: int


def size(path: Path) -> int:
    """Bytes of all files below a folder (or of one file)."""
    total = 0
    for file in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):  # running commands come and go with temporary files
            status = file.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def verify(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """(clip, problem) for every clip whose bytes, id or source are not those that were written."""
    try:
        held = artifact.held()
    except HostileFile as error:
        yield "", str(error)
        return
    for rows in held:
        if problem := problem_of(rows):
            yield rows.key[0], f"{rows.segment.path.name}: {problem}"


def why_miss(artifact: Artifact, other: Artifact) -> list[tuple[str, Any, Any]]:
    """The fingerprint inputs in which two artifacts differ: (dotted key, here, there)."""
    return differing(artifact.stage, other.stage)


def differing(one: StageRecord, other: StageRecord) -> list[tuple[str, Any, Any]]:
    """The inputs in which two stages differ."""
    here, there = _flat(one.inputs), _flat(other.inputs)
    missing = "(absent)"
    keys = sorted(here.keys() | there.keys())
    return [
        (key, here.get(key, missing), there.get(key, missing))
        for key in keys
        if here.get(key, missing) != there.get(key, missing)
    ]


def nearest(artifact: Artifact, cache: Cache) -> Artifact:
    """The other artifact of the same stage that differs in the fewest inputs."""
    others = [a for a in cache.artifacts() if a.stage.stage == artifact.stage.stage and a.folder != artifact.folder]
    others = [a for a in others if a.folder.resolve() != artifact.folder.resolve()]
    if not others:
        raise UsageError(f"there is no other {artifact.stage.stage} artifact under {cache.root} to compare with")
    return min(others, key=lambda other: len(why_miss(artifact, other)))


def leftovers(cache: Cache, unused_days: float | None = None, now: float = 0.0) -> Iterator[Leftover]:
    """Temporary files of dead processes on this host and, when asked, artifacts and interrupted trainings that were not
    written to for some days. What a link leads to is none of it, nor what lies below a linked folder."""
    for path in sorted(_below(cache.root, TEMPORARY)):
        if _writer_is_dead(path.name):
            yield Leftover(path, "left by a process that is gone", size(path))
    for state in cache.matching("*/.*.state"):
        age = (now - _last_written((state, *state.rglob("*")))) / 3600
        if _artifact_of(state) and not _is_linked(state, cache.root) and age > 1:
            yield Leftover(state, "kept for a training that is finished", size(state))
    if unused_days is None:
        return
    for artifact in cache.artifacts():
        if _is_linked(artifact.path, cache.root):
            continue
        age = (now - _last_written(artifact.path.iterdir())) / 86400
        if age > unused_days:
            yield Leftover(artifact.path, f"not written to for {age:.0f} days", size(artifact.path))
    for state in cache.matching("*/.*.state"):  # see `affectkit train-head`
        if _is_linked(state, cache.root) or _artifact_of(state):
            continue
        age = (now - _last_written((state, *state.rglob("*")))) / 86400
        if age > unused_days:
            yield Leftover(state, f"an interrupted training, not gone on with for {age:.0f} days", size(state))


def remove(leftover: Leftover) -> None:
    """Delete a leftover."""
    if leftover.path.is_dir() and not leftover.path.is_symlink():
        shutil.rmtree(leftover.path)
    else:
        leftover.path.unlink(missing_ok=True)


def _below(root: Path, prefix: str) -> Iterator[Path]:
    """Files and folders below a folder whose names begin so; through no link, and no further into what is one."""
    for folder, folders, files in os.walk(root):
        yield from (Path(folder, name) for name in (*folders, *files) if name.startswith(prefix))
        folders[:] = [name for name in folders if not name.startswith(prefix)]


def _artifact_of(state: Path) -> bool:
    """Whether what a training kept its state for is there."""
    return (state.with_name(state.name.removeprefix(".").removesuffix(".state")) / STAGE_FILE).exists()


def remove_dead(path: Path) -> None:
    """Remove what dead processes of this machine left beside a file or folder, half written under its name."""
    with suppress(OSError):
        for beside in path.parent.glob(f"{TEMPORARY}*"):
            if beside.name.endswith(f"-{ending(path)}") and _writer_is_dead(beside.name):
                remove(Leftover(beside, "left by a process that is gone", 0))


def _is_linked(path: Path, root: Path) -> bool:
    """Whether a path, or a folder on the way to it from the cache's root, is a link."""
    return any(one.is_symlink() for one in (path, *path.parents) if one != root and one.is_relative_to(root))


def _last_written(paths: Iterable[Path]) -> float:
    latest = 0.0
    for path in paths:
        with suppress(FileNotFoundError):  # running commands come and go with temporary files
            latest = max(latest, path.lstat().st_mtime)
    return latest


def _writer_is_dead(name: str) -> bool:
    """Names are made by `atomic.temporary_name`."""
    found = _TEMPORARY.match(name)
    return found is not None and found["host"] == socket.gethostname() and not is_alive(int(found["pid"]))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
