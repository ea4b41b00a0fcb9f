"""An artifact as one npz file, written clip by clip."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from affectkit.store.artifact import Artifact
from affectkit.store.atomic import atomically
from affectkit.store.schema import TEXT, Column


def write_npz(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    """An array a column, `clip` and `offsets`, the names of components; no objects, so it loads without pickle."""
    lengths = [artifact.length(clip) for clip in clips]
    with atomically(out) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        _save(archive, "clip", np.array(clips, np.str_))
        _save(archive, "offsets", np.cumsum([0, *lengths], dtype="<i8"))
        for name, column in artifact.schema.columns.items():
            if column.per == "scalar":
                values = [artifact.column(clip, name) for clip in clips]
                _save(archive, name, np.array(values, np.str_ if column.dtype == TEXT else column.dtype))
                continue
            sizes = [size for clip in clips for size in _sizes(artifact, clip, name, column)]
            if column.per != "row":
                _save(archive, name + "_offsets", np.cumsum([0, *sizes], dtype="<i8"))
            _stream(archive, artifact, clips, name, sum(sizes))
        for name, labels in artifact.schema.names.items():
            _save(archive, name + "_names", np.array(labels, np.str_))


def _sizes(artifact: Artifact, clip: str, name: str, column: Column) -> list[int]:
    """Lengths of what is joined in a column: of the clip, or of each of its rows."""
    values = artifact.column(clip, name)
    return [len(value) for value in values] if column.per == "ragged" else [len(values)]


def _save(archive: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    with archive.open(name + ".npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, values, allow_pickle=False)


def _stream(archive: zipfile.ZipFile, artifact: Artifact, clips: Sequence[str], name: str, length: int) -> None:
    column = artifact.schema.columns[name]
    dtype = np.dtype("u1" if column.per == "ragged" else column.dtype)
    header = {"descr": dtype.str, "fortran_order": False, "shape": (length, *column.shape)}
    with archive.open(name + ".npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for clip in clips:
            values = artifact.column(clip, name)
            for block in values if column.per == "ragged" else [values]:
                member.write(np.ascontiguousarray(block).data)
