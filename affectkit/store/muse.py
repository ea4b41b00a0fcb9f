"""Features in the layout of the MuSe challenges: one CSV a clip, `timestamp,segment_id` and then the features."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError
from affectkit.store.artifact import Artifact
from affectkit.store.atomic import put, temporary_name
from affectkit.store.crops import inside
from affectkit.store.features import feature_columns
from affectkit.store.kinds import FEATURES, wrong_kind

_SEGMENT = 1  # a clip is one segment


def write_muse(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    """A folder with `<clip>.csv`, which appears whole: timestamp is a row's start in ms, cells of invalid rows are
    empty. When rows end is not kept. Raises UsageError for artifacts without features and for a folder that exists."""
    columns = feature_columns(artifact.schema)
    if not columns:
        raise wrong_kind(artifact.path, artifact.stage.stage, *FEATURES)
    if out.exists():
        raise UsageError(f"{out} cannot be written: it exists; name a new folder for the files")
    header = ["timestamp", "segment_id", *chain.from_iterable(_names(artifact, name) for name in columns)]
    temporary = temporary_name(out)
    try:
        for clip in clips:
            path = temporary / f"{inside(clip)}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(header)
                writer.writerows(_rows(artifact, clip, columns))
        put(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rows(artifact: Artifact, clip: str, columns: Sequence[str]) -> list[list[object]]:
    values = np.concatenate([artifact.column(clip, name) for name in columns], axis=1)
    milliseconds = np.round(np.asarray(artifact.column(clip, "start")) * 1000, 6).tolist()
    rows = zip(milliseconds, artifact.column(clip, "valid"), values, strict=True)
    return [
        [int(at) if at == int(at) else at, _SEGMENT, *(map(str, row) if valid else [""] * len(row))]
        for at, valid, row in rows
    ]


def _names(artifact: Artifact, column: str) -> list[str]:
    (dim,) = artifact.schema.columns[column].shape
    return artifact.schema.names.get(column) or [f"{column}_{number}" for number in range(dim)]
