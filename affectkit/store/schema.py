"""What a table keyed by clip holds: one description for writing, checking and reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from affectkit.config import Config

Per = Literal["row", "ragged", "clip", "scalar"]
TEXT = "utf-8"


class Column(Config):
    """One named column.

    `per`: row = [sum T, *shape]; ragged = bytes of each row, joined, with `<name>_offsets` [sum T + 1];
    clip = any length per clip, joined, with `<name>_offsets` [N + 1]; scalar = [N, *shape].
    `dtype` is a little-endian numpy name, or "utf-8" for a scalar text.
    """

    per: Per = "row"
    dtype: str = "<f4"
    shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Size of one element along the first axis."""
        return int(np.dtype(self.dtype).itemsize * int(np.prod(self.shape, dtype=np.int64)))


class Schema(Config):
    """The columns of an artifact beside `clip`, `offsets`, `source_sha256`, `sha256` and `status`, which every
    table has. `names` labels the components of a column (targets of `scores`, say)."""

    columns: dict[str, Column]
    names: dict[str, list[str]] = {}

    def stored(self) -> Iterator[Stored]:
        """Every HDF5 dataset of a segment, by the axis that its first dimension runs along."""
        yield from FIXED
        for name, column in self.columns.items():
            if column.per == "ragged":
                yield Stored(name, "bytes:" + name, np.dtype("u1"), ())
                yield Stored(name + "_offsets", "rows+1", np.dtype("<i8"), ())
            elif column.per == "clip":
                yield Stored(name, "items:" + name, np.dtype(column.dtype), column.shape)
                yield Stored(name + "_offsets", "clips+1", np.dtype("<i8"), ())
            else:
                axis = "rows" if column.per == "row" else "clips"
                dtype = None if column.dtype == TEXT else np.dtype(column.dtype)
                yield Stored(name, axis, dtype, column.shape)


@dataclass(frozen=True)
class Stored:
    """A dataset as it lies in the file; `dtype` None is fixed-length UTF-8 text."""

    name: str
    axis: str
    dtype: np.dtype | None
    shape: tuple[int, ...]


FIXED = (
    Stored("clip", "clips", None, ()),
    Stored("offsets", "clips+1", np.dtype("<i8"), ()),
    Stored("source_sha256", "clips", None, ()),
    Stored("sha256", "clips", None, ()),
    Stored("status", "clips", None, ()),
)

ROWS = {
    "start": Column(dtype="<f8"),
    "end": Column(dtype="<f8"),
    "valid": Column(dtype="u1"),
}


def faces_schema() -> Schema:
    """Face tracks: encoded crops with boxes, landmarks and detector scores."""
    return Schema(
        columns={
            **ROWS,
            "image": Column(per="ragged"),
            "boxes": Column(shape=(4,)),
            "landmarks": Column(shape=(5, 2)),
            "score": Column(),
            "frame_index": Column(dtype="<i8"),
            "origin": Column(per="scalar", dtype="<f8"),
        }
    )


def features_schema(dim: int, dtype: Literal["float16", "float32"] = "float32") -> Schema:
    """Feature sequences of `dim` dimensions."""
    return Schema(columns={**ROWS, "values": Column(dtype=np.dtype(dtype).newbyteorder("<").str, shape=(dim,))})


def predictions_schema(columns: list[str]) -> Schema:
    """Scores with named columns and the clip's split."""
    return Schema(
        columns={
            **ROWS,
            "scores": Column(shape=(len(columns),)),
            "split": Column(per="scalar", dtype=TEXT),
        },
        names={"scores": columns},
    )
