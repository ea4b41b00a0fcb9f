"""Clips as rows of a table of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectkit.types import Floats


def whole(offsets: NDArray[np.int64], start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """start, end [C] (s) of clips whose rows are offsets[c]:offsets[c+1]; 0 for a clip without rows.

    >>> whole(np.array([0, 2, 2]), np.array([0.5, 1.0]), np.array([1.0, 1.5]))
    (array([0.5, 0. ]), array([1.5, 0. ]))
    """
    filled = np.diff(offsets) > 0
    begin, stop = np.zeros(len(filled)), np.zeros(len(filled))
    begin[filled], stop[filled] = start[offsets[:-1][filled]], end[offsets[1:][filled] - 1]
    return begin, stop
