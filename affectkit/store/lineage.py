"""What an artifact was made from, and that from what: links that may be forged, followed with care."""

from __future__ import annotations

from pathlib import Path

from affectkit.errors import HostileFile, UsageError
from affectkit.store.artifact import Artifact

MOST = 1000
"""Artifacts that one may be made from, all steps together."""


def ancestors(artifact: Artifact) -> list[Artifact]:
    """Every artifact that this one was made from, directly or not, each once and after all that it was made from
    itself.

    Raises UsageError where one is not there any more, HostileFile where one would be made from itself, and for more
    than `MOST` of them.
    """
    ordered: dict[Path, Artifact] = {}
    opened = {artifact.folder.resolve(): artifact}
    under_way: dict[Path, list[Path]] = {artifact.folder.resolve(): _upstream(artifact)}
    while under_way:
        path, waiting = next(reversed(under_way.items()))
        if not waiting:
            del under_way[path]
            ordered[path] = opened[path]
            continue
        source = waiting.pop(0)
        if source in under_way:
            raise HostileFile(f"{source} says that it was made from itself, by way of {path}: one of the two is forged")
        if source in ordered:
            continue
        if len(opened) > MOST:
            raise HostileFile(f"{artifact.path} says that it was made from more than {MOST} artifacts: refused")
        opened[source] = _opened(source, path)
        under_way[source] = _upstream(opened[source])
    return list(ordered.values())[:-1]


def _upstream(artifact: Artifact) -> list[Path]:
    return list(dict.fromkeys(Path(path).resolve() for path in artifact.stage.upstream))


def _opened(path: Path, downstream: Path) -> Artifact:
    try:
        return Artifact(path)
    except HostileFile:
        raise
    except UsageError as error:
        raise UsageError(f"{downstream} was made from what is not there any more: {error}") from None
