"""What a cache holds, artifact by artifact, for people and for machines; whatever cannot be read hides nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from affectkit.errors import AffectkitError
from affectkit.stages.trained import trained_report
from affectkit.store import Artifact, Cache, ancestors, names, open_artifact, upkeep
from affectkit.store.kinds import MAKES, TRAINED
from affectkit.store.selection import folder_of

_CREATED = "%Y-%m-%dT%H:%M:%S%z"


@dataclass(frozen=True)
class Entry:
    """An artifact of a cache: `source` is what it was made from, folders of media or artifacts; `score` a head's on
    validation clips."""

    artifact: str
    stage: str
    name: str
    created: str
    source: list[str]
    clips: int | None
    failed: int
    unsealed: int
    names: list[str]
    score: Mapping[str, Any] | None
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def inventory(cache: Cache) -> tuple[list[Entry], list[str]]:
    """Every artifact under the cache's root, the newest first, and a line for each that cannot be read."""
    entries: list[tuple[float, Entry]] = []
    problems: list[str] = []
    named = _names(cache, problems)
    for folder in cache.folders():
        try:
            artifact = open_artifact(folder)
            entries.append((_when(artifact), _entry(artifact, named)))
        except AffectkitError as error:
            problems.append(str(error))
    return [entry for _, entry in sorted(entries, key=lambda each: -each[0])], problems


def described(artifact: Artifact, cache: Cache) -> dict[str, Any]:
    """What an artifact is and how it was made: all of its stage file but the columns, and what it holds now."""
    about = artifact.stage.model_dump(mode="json", exclude={"table"})
    about["path"] = str(artifact.path)
    about["holds"], about["made_by"] = MAKES.get(artifact.stage.stage, ("something else", artifact.stage.stage))
    about["names"] = names.names_of(_names(cache, []), artifact.path)
    about["source"] = sources(artifact)
    about["weights"] = list(_weights(artifact))
    about["score"] = score_of(artifact)
    about["bytes"] = upkeep.size(artifact.folder)
    if artifact.stage.table is not None:
        held = artifact.current()
        about["clips"] = len(held)
        about["rows"] = sum(len(rows) for rows in held)
        about["partial"] = sorted(rows.key[0] for rows in held if rows.status == "partial")
        about["failed"] = {clip: failure.cause for clip, failure in artifact.failures().items()}
        if artifact.selection is None:
            about["selections"] = {str(path): len(selection.sources) for path, selection in artifact.selections()}
    return about


def sources(artifact: Artifact) -> list[str]:
    """The artifacts that one was made from; of media, the folder that holds those of each command."""
    if artifact.stage.upstream:
        return list(dict.fromkeys(artifact.stage.upstream))
    with suppress(AffectkitError):
        return list(dict.fromkeys(_media_folders(artifact)))
    return []


def short(source: str, named: Mapping[str, Path]) -> str:
    """A source for people: the name of an artifact, else its folder's with the stage; of media the folder."""
    path = folder_of(Path(source))
    called = next((name for name, kept in named.items() if os.path.realpath(kept) == source), None)
    is_stage = path.parent.name in MAKES
    return called or (f"{path.parent.name}/{path.name}" if is_stage else source)


def score_of(artifact: Artifact) -> Mapping[str, Any] | None:
    """The validation score of a head or a network: metric, mean and deviation; None where there is none to read."""
    if artifact.stage.stage not in TRAINED:
        return None
    with suppress(AffectkitError):
        score: Mapping[str, Any] = trained_report(artifact)["val_score"]
        return {key: score[key] for key in ("metric", "mean", "deviation") if key in score}
    return None


def _entry(artifact: Artifact, named: Mapping[str, Path]) -> Entry:
    has_table = artifact.stage.table is not None
    return Entry(
        str(artifact.path), artifact.stage.stage, artifact.stage.name,
        datetime.fromtimestamp(_when(artifact)).astimezone().isoformat(timespec="seconds"), sources(artifact),
        len(artifact.rows) if has_table else None, len(artifact.failed()), len(artifact.part_paths()),
        names.names_of(named, artifact.path), score_of(artifact), upkeep.size(artifact.path),
    )  # fmt: skip


def _names(cache: Cache, problems: list[str]) -> dict[str, Path]:
    try:
        return names.paths(cache)
    except AffectkitError as error:
        problems.append(str(error))
        return {}


def _when(artifact: Artifact) -> float:
    """When it was made, in seconds: as it says itself, else by its file."""
    with suppress(ValueError, OverflowError, OSError):
        return min(datetime.strptime(str(artifact.stage.provenance.get("created")), _CREATED).timestamp(), time.time())
    with suppress(OSError):
        return (artifact.folder / "stage.json").lstat().st_mtime
    return 0.0


def _media_folders(artifact: Artifact) -> Iterator[str]:
    """Of each command that wrote into the table the folder of its media, in the order that they came."""
    chosen = [artifact.selection] if artifact.selection else [selection for _, selection in artifact.selections()]
    tables = [selection.clips for selection in chosen] or [artifact.clip_table()]
    for table in tables:
        media = [str(entry["path"]) for entry in table.values() if entry.get("path")]
        if media:
            with suppress(ValueError):  # absolute and relative paths
                yield os.path.commonpath([os.path.dirname(path) for path in media]) or "."  # noqa: PTH120


def _weights(artifact: Artifact) -> Iterator[Mapping[str, Any]]:
    """The weight files that it and all that it was made from used, each once."""
    chain = [artifact]
    with suppress(AffectkitError):
        chain = [*ancestors(artifact), artifact]
    seen = set()
    for each in chain:
        about = each.stage.provenance.get("weights")
        if isinstance(about, dict) and (key := str((about.get("name"), about.get("sha256")))) not in seen:
            seen.add(key)
            yield about
