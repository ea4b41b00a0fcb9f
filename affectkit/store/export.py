"""Tables out of the cache: csv, parquet, npz, features as MuSe's files, and crops as image files."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.errors import MissingExtra, UsageError, unknown
from affectkit.store.artifact import Artifact
from affectkit.store.atomic import atomically, explained
from affectkit.store.crops import write_crops
from affectkit.store.features import FeaturePart, Features, measured
from affectkit.store.muse import write_muse
from affectkit.store.npz import write_npz
from affectkit.store.upkeep import remove_dead

Rows = dict[str, np.ndarray]  # [T] each
_GROUP_ROWS = 1 << 16


def export(of: Artifact | Features, to: str, out: Path, clips: Sequence[str] | None = None) -> Path:
    """Write an artifact (or some of its clips) to one file, which appears whole; returns its path. Of `Features` that
    are a component, or one of several columns, that alone is written.

    csv, parquet: `clip,start,end`, then `split,<targets>,valid,observed` for predictions (the CSV that `fuse` and
    `evaluate` read), else `valid` and the components of each column that has rows (`values_0`, `values_1`, ...). An
    empty cell is NaN. In rows that are not valid named components (`mouth_opening`) are NaN, those without names the
    zeros that are stored.
    npz: what is stored, so zeros in all rows that are not valid: an array a column, with `clip` [N] and `offsets`
    [N+1]; a column of bytes or of samples has its own `<column>_offsets`. It loads without pickle.
    images: a folder with one folder a clip, which holds crop t of 1, 2, ... as `%05d.jpg` (or .png); rows without a
    face have none.
    muse: a folder with `<clip>.csv` for each clip of features, `timestamp,segment_id` (ms) and the components, empty
    in rows that are not valid.

    Clips are taken one at a time, so memory does not grow with their number. Raises UsageError, MissingExtra (parquet).
    """
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    artifact = of if isinstance(of, Artifact) else FeaturePart(of)
    chosen = list(clips) if clips is not None else artifact.clips
    if not chosen:
        artifact.schema  # noqa: B018
        raise UsageError(f"{artifact.path} holds no clips to export")
    for clip in chosen:
        artifact.clip_rows(clip)
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(out)
        FORMATS[to](artifact, chosen, out)
    return out


def _csv(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    with atomically(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip", *_header(artifact)])
        for clip, rows in _tables(artifact, clips):
            writer.writerows(
                [clip, *cells] for cells in zip(*(_cells(values) for values in rows.values()), strict=True)
            )


def _parquet(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "export to parquet") from None
    schema = pa.schema([("clip", pa.string())] + [(n, pa.from_numpy_dtype(d)) for n, d in _header(artifact).items()])
    with atomically(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        waiting: list[Any] = []
        for clip, rows in _tables(artifact, clips):
            columns = [pa.array([clip] * len(rows["start"]), pa.string()), *map(pa.array, rows.values())]
            waiting.append(pa.table(columns, schema=schema))
            if sum(map(len, waiting)) >= _GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


FORMATS: dict[str, Callable[[Artifact, Sequence[str], Path], None]] = {
    "csv": _csv, "parquet": _parquet, "npz": write_npz, "images": write_crops, "muse": write_muse,
}  # fmt: skip


ANNOTATION_FORMATS = ("eaf", "boris", "webvtt", "traces")
"""Those of annotators' programs, which `annotations/` writes."""

ALL_FORMATS = (*FORMATS, *ANNOTATION_FORMATS, "bundle", "card")
"""Those of tables, of annotations, and of models."""


def _is_prediction(artifact: Artifact) -> bool:
    return {"scores", "split"} <= artifact.schema.columns.keys()


def _header(artifact: Artifact) -> dict[str, np.dtype]:
    """Names and types of the columns after `clip`."""
    columns = artifact.schema.columns
    header: dict[str, np.dtype] = {"start": np.dtype("f8"), "end": np.dtype("f8")}
    if _is_prediction(artifact):
        header["split"] = np.dtype("U1")
    for name in _row_columns(artifact):
        for label in _labels(artifact, name):
            if label in header or label == "clip":
                raise UsageError(f"{artifact.path}: two columns would be named {label!r}; export to npz instead")
            header[label] = np.dtype(columns[name].dtype)
    return header


def _row_columns(artifact: Artifact) -> list[str]:
    """The columns beside the times, in order: of predictions the scores first, of anything else what is valid."""
    first, last = (("scores",), ("valid", "observed")) if _is_prediction(artifact) else (("valid",), ())
    names = [name for name, column in artifact.schema.columns.items() if column.per == "row"]
    others = [name for name in names if name not in ("start", "end", *first, *last)]
    return [name for name in (*first, *others, *last) if name in names]


def _labels(artifact: Artifact, name: str) -> list[str]:
    """What the components of a column are called."""
    shape = artifact.schema.columns[name].shape
    given = artifact.schema.names.get(name)
    return given or ([f"{name}_{index}" for index in range(math.prod(shape))] if shape else [name])


def _tables(artifact: Artifact, clips: Sequence[str]) -> Iterator[tuple[str, Rows]]:
    """Each clip's columns as in the header."""
    for clip in clips:
        rows = {"start": artifact.column(clip, "start"), "end": artifact.column(clip, "end")}
        if _is_prediction(artifact):
            rows["split"] = np.full(len(rows["start"]), artifact.column(clip, "split"))
        for name in _row_columns(artifact):
            labels = _labels(artifact, name)
            values = measured(artifact, clip, name).reshape(len(rows["start"]), len(labels))
            rows |= {label: np.ascontiguousarray(values[:, index]) for index, label in enumerate(labels)}
        yield clip, rows


def _cells(values: np.ndarray) -> list[Any]:
    """Cells of a CSV: the shortest text that reads back equal; empty for NaN."""
    if values.dtype.kind != "f":
        return list(values.tolist())
    return ["" if np.isnan(value) else str(value) for value in values]
