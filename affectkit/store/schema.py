"""What a table keyed by clip holds: one description for writing, checking and reading."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import field_validator, model_validator

from affectkit.config import Config

Per = Literal["row", "ragged", "clip", "scalar"]
TEXT = "utf-8"
STATUSES = ("ok", "partial")
LONGEST_TEXT = 4096  # bytes; as long as a path may be
_NUMBER = re.compile(r"[<|]?(f[248]|[iu][1248])")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # no slash: HDF5 would follow the links of a path


class Column(Config):
    """One named column.

    `per`: row = [sum T, *shape]; ragged = bytes of each row, joined, with `<name>_offsets` [sum T + 1];
    clip = any length per clip, joined, with `<name>_offsets` [N + 1]; scalar = [N, *shape].
    `dtype` is a little-endian numpy name, or "utf-8" for a scalar text.
    """

    per: Per = "row"
    dtype: str = "<f4"
    shape: tuple[int, ...] = ()

    @field_validator("dtype")
    @classmethod
    def _plain(cls, dtype: str) -> str:
        if dtype != TEXT and not _NUMBER.fullmatch(dtype):
            raise ValueError("a column holds little-endian numbers or utf-8")
        return dtype

    @field_validator("shape")
    @classmethod
    def _sized(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if any(length < 1 for length in shape) or math.prod(shape) >= 1 << 31:
            raise ValueError("a shape has lengths of 1 and more, 2^31 - 1 elements at most")
        return shape

    @model_validator(mode="after")
    def _text_is_scalar(self) -> Column:
        if self.dtype == TEXT and (self.per != "scalar" or self.shape):
            raise ValueError("text is one value a clip")
        return self


class Schema(Config):
    """The columns of an artifact beside `clip`, `offsets`, `source_sha256`, `sha256`, `content_sha256` and `status`,
    which every table has. `names` labels the components of a column (targets of `scores`, say)."""

    columns: dict[str, Column]
    names: dict[str, list[str]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        if bad := [name for name in self.columns if not _NAME.fullmatch(name)]:
            raise ValueError(f"{bad[0]!r} cannot name a column")
        stored = [item.name for item in self.stored()]
        if len(set(stored)) != len(stored):
            raise ValueError("two columns would have one name in the file")
        if any(self.columns.get(name) != column for name, column in ROWS.items()):
            raise ValueError(f"every table has the columns {', '.join(ROWS)}")
        for name, labels in self.names.items():
            if name not in self.columns or len(labels) != math.prod(self.columns[name].shape):
                raise ValueError(f"the names of {name!r} do not match a column")
        return self

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


CONTENT = "content_sha256"
"""The digest of a clip's columns alone. Segments without it are from before there were selections: their `sha256` is
that digest, and of two rows of one id the later counts."""

FIXED = (
    Stored("clip", "clips", None, ()),
    Stored("offsets", "clips+1", np.dtype("<i8"), ()),
    Stored("source_sha256", "clips", None, ()),
    Stored("sha256", "clips", None, ()),
    Stored(CONTENT, "clips", None, ()),
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


def waveforms_schema() -> Schema:
    """Sound of a clip, with a row a stretch of speech.

    `samples` begin at `offset` (s, on the clip's own clock, which begins at its first video frame); `origin` is the
    clip's time zero on the file's clock (s).
    """
    return Schema(
        columns={
            **ROWS,
            "samples": Column(per="clip"),
            "sampling_rate": Column(per="scalar", dtype="<i4"),
            "offset": Column(per="scalar", dtype="<f8"),
            "origin": Column(per="scalar", dtype="<f8"),
        }
    )


def features_schema(
    outputs: int | Mapping[str, int],
    dtype: Literal["float16", "float32"] = "float32",
    names: Mapping[str, list[str]] | None = None,
    *,
    images: bool = False,
) -> Schema:
    """Feature sequences: `values` of so many dimensions, or one column for each of `outputs` (name -> dimensions).

    `images`: the encoded picture that each row was made from is kept beside it.
    """
    dims = {"values": outputs} if isinstance(outputs, int) else outputs
    stored = np.dtype(dtype).newbyteorder("<").str
    columns = {name: Column(dtype=stored, shape=(dim,)) for name, dim in dims.items()}
    pictures = {"image": Column(per="ragged")} if images else {}
    return Schema(columns={**ROWS, **columns, **pictures}, names=dict(names or {}))


def predictions_schema(columns: list[str]) -> Schema:
    """Scores with named columns, the share of what each row was made from that was observed (NaN: not known), and the
    clip's split."""
    return Schema(
        columns={
            **ROWS,
            "observed": Column(),
            "scores": Column(shape=(len(columns),)),
            "split": Column(per="scalar", dtype=TEXT),
        },
        names={"scores": columns},
    )
