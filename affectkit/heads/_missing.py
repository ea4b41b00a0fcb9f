"""What stands for rows that hold no face or no speech (valid = 0), decided where features are read."""

from __future__ import annotations

import numpy as np

from affectkit.heads._options import Missing
from affectkit.types import Bools, Floats


def kept(valid: Bools, policy: Missing) -> Bools:
    """Rows [T] that a head sees: the valid ones for `skip`, else all; none of a clip without any valid row."""
    if policy == "skip" or not valid.any():
        return np.asarray(valid, dtype=bool)
    return np.ones(len(valid), dtype=bool)


def fill(values: Floats, valid: Bools, time: Floats, policy: Missing) -> None:
    """Fill the invalid rows of one clip in place: values [T,D], valid [T], time [T] (s, ascending).

    `hold` repeats the last valid row, `interpolate` draws a line in time between the valid neighbours; both repeat the
    nearest valid row before the first and after the last one. `zero` writes zeros, after normalisation: the training
    mean under `standard`. `skip` has no row to fill.

    >>> rows = np.array([[0.0], [1.0], [0.0], [0.0], [4.0]])
    >>> fill(rows, rows[:, 0] > 0, np.arange(5.0), "interpolate")
    >>> rows[:, 0]
    array([1., 1., 2., 3., 4.])
    """
    there, gaps = np.flatnonzero(valid), np.flatnonzero(~valid)
    if not len(there) or not len(gaps):
        return
    if policy == "zero":
        values[gaps] = 0
        return
    after = np.searchsorted(there, gaps)
    right = there[np.minimum(after, len(there) - 1)]
    left = there[np.maximum(after - 1, 0)]
    if policy == "hold":
        values[gaps] = values[left]
        return
    span = time[right] - time[left]
    part = np.divide(time[gaps] - time[left], span, out=np.zeros(len(gaps)), where=span > 0)[:, None]
    part = np.clip(part, 0, 1).astype(values.dtype)
    values[gaps] = (1 - part) * values[left] + part * values[right]
