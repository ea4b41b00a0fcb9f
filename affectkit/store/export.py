"""Tables out of the cache: csv, parquet and npz."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.errors import MissingExtra, UsageError, unknown
from affectkit.store.artifact import Artifact
from affectkit.store.atomic import atomically

FORMATS = ("csv", "parquet", "npz")


def export(artifact: Artifact, to: str, out: Path, clips: Sequence[str] | None = None) -> Path:
    """Write the rows of an artifact (or of some clips) to one file, which appears whole; returns its path.

    csv and parquet have `clip,start,end`, then `split,<targets>` for predictions (the CSV that `fuse` and `evaluate`
    read), else `valid` and the components of each column. npz has an array a column, with `clip` and `offsets`; it
    loads without pickle. Encoded crops are not exported. Raises UsageError, MissingExtra (parquet).
    """
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    chosen = list(clips) if clips is not None else artifact.clips
    if not chosen:
        raise UsageError(f"{artifact.path} holds no clips to export")
    {"csv": _csv, "parquet": _parquet, "npz": _npz}[to](artifact, chosen, out)
    return out


def _csv(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    with atomically(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, (clip, columns) in enumerate(_tables(artifact, clips)):
            if number == 0:
                writer.writerow(["clip", *columns])
            writer.writerows([clip, *row] for row in zip(*(_texts(value) for value in columns.values()), strict=True))


def _parquet(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "export to parquet") from None
    with atomically(out) as temporary:
        writer = None
        for clip, columns in _tables(artifact, clips):
            rows = len(columns["start"])
            table = pa.table(
                {"clip": pa.array([clip] * rows, pa.string()), **{k: pa.array(v) for k, v in columns.items()}}
            )
            writer = writer or pq.ParquetWriter(temporary, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()


def _npz(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    parts: dict[str, list[Any]] = {name: [] for name in _exported(artifact)}
    for clip in clips:
        for name, values in parts.items():
            values.append(np.asarray(artifact.column(clip, name)))
    lengths = [len(start) for start in parts["start"]]
    arrays: dict[str, Any] = {name: np.concatenate(values) for name, values in parts.items()}
    arrays["clip"] = np.array(list(clips), np.str_)
    arrays["offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if "split" in artifact.schema.columns:
        arrays["split"] = np.array([artifact.column(clip, "split") for clip in clips], np.str_)
    with atomically(out) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _exported(artifact: Artifact) -> list[str]:
    return [name for name, column in artifact.schema.columns.items() if column.per == "row"]


def _tables(artifact: Artifact, clips: Sequence[str]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(clip, columns [T]) one clip at a time; columns of several components are spread."""
    names = _exported(artifact)
    is_prediction = "scores" in names
    for clip in clips:
        record = {name: np.asarray(artifact.column(clip, name)) for name in names}
        columns = {"start": record.pop("start"), "end": record.pop("end")}
        valid = record.pop("valid")
        if is_prediction:
            columns["split"] = np.full(len(valid), artifact.column(clip, "split"))
        else:
            columns["valid"] = valid
        for name, values in record.items():
            columns |= _spread(name, values, artifact.schema.names.get(name))
        yield clip, columns


def _spread(name: str, values: np.ndarray, labels: list[str] | None) -> dict[str, np.ndarray]:
    if values.ndim == 1:
        return {name: values}
    flat = (
        values.reshape(len(values), -1) if len(values) else np.zeros((0, int(np.prod(values.shape[1:]))), values.dtype)
    )
    names = labels or [f"{name}_{index}" for index in range(flat.shape[1])]
    return dict(zip(names, flat.T, strict=True))


def _texts(values: np.ndarray) -> list[Any]:
    """Cells of a CSV: shortest text that reads back equal; empty for NaN."""
    if values.dtype.kind != "f":
        return list(values.tolist())
    return ["" if np.isnan(value) else str(value) for value in values]
