"""Functionals of a clip's rows over windows: rows without a face and missing entries left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from affectkit.functionals.extremes import consecutive, extremes
from affectkit.functionals.fits import FITTED, Matrix, fit
from affectkit.functionals.names import FUNCTIONALS, Functional
from affectkit.functionals.windows import RowWindows, windows
from affectkit.moments import Indices
from affectkit.types import Bools, Floats

_BLOCK = 1 << 19  # numbers that are worked on together
_PIECE = 1 << 20  # numbers that `summaries` gives at a time
_MOST_WINDOWS = 4096


class Summary(NamedTuple):
    """start, end [W] (s), values [W,F*D], valid [W]."""

    start: Floats
    end: Floats
    values: NDArray[Any]
    valid: Bools


def functionals(
    values: NDArray[Any], start: ArrayLike, end: ArrayLike, valid: ArrayLike, names: Sequence[Functional],
    window: float | Literal["clip"], hop: float | None = None, dtype: DTypeLike = np.float64,
) -> Summary:  # fmt: skip
    """Functionals of values [T,D] over windows (see `windows`): [W,F*D], the D dimensions of the first name first.

    A row counts where it is valid and has a finite entry; in a dimension, where its entry is finite. A window without
    such a row is zeros with valid = 0; a dimension without one, in a window that has rows, is 0. Rows need not be in
    order of time. Arithmetic is float64 whatever `dtype` the result has.

    >>> rows = np.arange(4.0)
    >>> functionals(2 * rows[:, None], rows, rows + 1, np.ones(4), ["mean", "slope", "max"], window=2).values
    array([[1., 2., 2.],
           [3., 2., 4.],
           [5., 2., 6.]])

    Raises ValueError for shapes that differ, unknown names, times that are not finite or end before they start.
    """
    cut, blocks = _prepared(values, start, end, valid, names, window, hop)
    result = np.zeros((len(cut), len(names), np.shape(values)[1]), dtype)
    blocks.fill(result, 0)
    return Summary(cut.start, cut.end, result.reshape(len(cut), len(names) * blocks.dim), blocks.valid)


def summaries(
    values: NDArray[Any], start: ArrayLike, end: ArrayLike, valid: ArrayLike, names: Sequence[Functional],
    window: float | Literal["clip"], hop: float | None = None, dtype: DTypeLike = np.float64,
) -> Iterator[Summary]:  # fmt: skip
    """The same numbers as `functionals` gives, some windows at a time: a long clip's never lie in memory together."""
    cut, blocks = _prepared(values, start, end, valid, names, window, hop)
    width = len(names) * blocks.dim
    step = max(1, _PIECE // max(1, width) // blocks.step) * blocks.step  # the same blocks give the same last digits
    for at in range(0, len(cut), step):
        some = slice(at, at + step)
        result = np.zeros((len(cut.start[some]), len(names), blocks.dim), dtype)
        blocks.fill(result, at)
        yield Summary(cut.start[some], cut.end[some], result.reshape(len(result), width), blocks.valid[some])


@dataclass(frozen=True)
class _Columns:
    """Dimensions that are there in the same rows: those rows [N,d] alone, their times [N], and the rows [first, last)
    [W] of each window among them."""

    index: Any
    values: NDArray[Any]
    times: Matrix
    first: Indices
    last: Indices


@dataclass(frozen=True)
class _Blocks:
    cut: RowWindows
    columns: list[_Columns]
    valid: Bools
    names: Sequence[str]
    dim: int

    @property
    def step(self) -> int:
        """Windows that are worked on together."""
        return max(1, min(_MOST_WINDOWS, _BLOCK // max(1, len(self.names) * self.dim)))

    def fill(self, out: NDArray[Any], begin: int) -> None:
        """Write the functionals of the windows from `begin` on into zeros [w,F,D]."""
        for at in range(0, len(out), self.step):
            part = out[at : at + self.step]
            for columns in self.columns:
                self._fill(part, slice(begin + at, begin + at + len(part)), columns)

    def _fill(self, out: NDArray[Any], at: slice, columns: _Columns) -> None:
        first, last = columns.first[at], columns.last[at]
        there = np.flatnonzero(last > first)
        if len(there):
            found = _all(columns, first[there], last[there], self.cut.start[at][there], self.names)
            for place, name in enumerate(self.names):
                _put(out[:, place], consecutive(there), columns.index, found[name])


def _prepared(
    values: NDArray[Any], start: ArrayLike, end: ArrayLike, valid: ArrayLike, names: Sequence[str],
    window: float | Literal["clip"], hop: float | None,
) -> tuple[RowWindows, _Blocks]:  # fmt: skip
    begins, ends = np.asarray(start, np.float64), np.asarray(end, np.float64)
    rows, there = _rows(values), np.asarray(valid, bool)
    _check(rows, begins, ends, there, names)
    middle = (begins + ends) / 2
    if (np.diff(middle) < 0).any():
        order = np.argsort(middle, kind="stable")
        begins, ends, middle, rows, there = (one[order] for one in (begins, ends, middle, rows, there))
    cut = windows(begins, ends, window, hop)
    finite = np.isfinite(rows)
    finite &= there[:, None]
    counts = finite.any(axis=1)
    columns = [_columns(rows, middle, kept, index, cut) for kept, index in _alike(finite, counts)]
    before = np.concatenate([[0], np.cumsum(counts)])
    return cut, _Blocks(cut, columns, before[cut.last] > before[cut.first], names, rows.shape[1])


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """Floating-point rows that numpy is quick with."""
    rows = np.asarray(values)
    if rows.dtype == np.float16:
        return rows.astype(np.float32)
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def _check(rows: NDArray[Any], start: Floats, end: Floats, valid: Bools, names: Sequence[str]) -> None:
    if rows.ndim != 2 or any(one.shape != rows.shape[:1] for one in (start, end, valid)):
        shapes = [list(one.shape) for one in (rows, start, end, valid)]
        raise ValueError(f"values, start, end and valid are [T,D], [T], [T], [T], not {shapes}")
    if strange := set(names) - set(FUNCTIONALS):
        raise ValueError(f"no functional is called {', '.join(sorted(strange))}")
    if not (np.isfinite(start).all() and np.isfinite(end).all() and (start <= end).all()):
        raise ValueError("a row's times are not finite, or it ends before it starts")


def _alike(finite: Bools, counts: Bools) -> Iterator[tuple[Bools, Any]]:
    """Rows [T] that count, and the dimensions that they count for, from entries [T,D] that do."""
    if not counts.any() or finite[counts].all():
        yield counts, slice(None)
        return
    groups: dict[bytes, list[int]] = {}
    for dimension, packed in enumerate(np.packbits(finite.T, axis=1)):
        groups.setdefault(packed.tobytes(), []).append(dimension)
    for same in groups.values():
        yield finite[:, same[0]], np.array(same)


def _columns(rows: NDArray[Any], middle: Matrix, kept: Bools, index: Any, cut: RowWindows) -> _Columns:
    values = rows if isinstance(index, slice) else rows[:, index]
    if not kept.all():
        values, middle = values[kept], middle[kept]
    before = np.concatenate([[0], np.cumsum(kept)])
    return _Columns(index, values, middle, before[cut.first], before[cut.last])


def _all(columns: _Columns, first: Indices, last: Indices, origin: Floats, names: Sequence[str]) -> dict[str, Any]:
    """Every functional asked for, [w,d] each."""
    values = columns.values
    found: dict[str, Any] = {}
    if fitted := FITTED.intersection(names):
        found |= fit(values, columns.times, first, last, origin, fitted)
    if not {"min", "max", "range"}.isdisjoint(names):
        found["min"], found["max"] = extremes(values, first, last)
    if "range" in names:
        found["range"] = np.subtract(found["max"], found["min"], dtype=np.float64)
    if "first" in names:
        found["first"] = values[first]
    if "last" in names:
        found["last"] = values[last - 1]
    return found


def _put(out: NDArray[Any], rows: Any, dimensions: Any, values: NDArray[Any]) -> None:
    """Into [w,D], at rows and dimensions that are slices or indices."""
    if isinstance(rows, slice) or isinstance(dimensions, slice):
        out[rows, dimensions] = values
    else:
        out[np.ix_(rows, dimensions)] = values
