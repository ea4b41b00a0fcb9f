"""Compiled counting of winners and of present labels over blocks of rows, for many weight matrices.

Nothing is contracted or reordered (no fast-math): a weighted sum has the bits of numpy's, the models added in order.
The loops over models and classes have constant lengths, so that the compiler unrolls them and makes vectors of rows;
hence one compilation for each number of models and of classes that may win, kept where numba keeps such things if that
can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

BLOCK = 96  # rows: 3 models x 8 classes of them fill half of a first-level cache; at most 255 (counts are bytes)
PACKED = 8  # classes whose counts fit into one 64-bit word


@cache
def winners(models: int, width: int) -> Callable[..., None]:
    """A function that adds, for all rows of the blocks, which class each draw's weights let win: to
    out[d, 0, class] every row, to out[d, 1, class] those that it is right for.

    blocks [T, M*C, BLOCK] scores of the C = `width` classes that may win, zeros where a block is not full; classes
    [T,C] which these are, rising; truth [T,BLOCK] codes of `truth_codes`; pattern, rows [T]: a block's pattern of
    missing scores, and how many rows it has; weights [D,P,M,K]; out [D,2,K]. Of equals the first class wins.
    """
    packed = width <= PACKED

    def count(blocks, classes, truth, pattern, rows, weights, out):  # type: ignore[no-untyped-def]
        w, won = np.empty((models, width)), np.empty(BLOCK, np.uint64)
        for t in range(len(blocks)):
            x, right = blocks[t], truth[t]
            for d in range(len(weights)):
                for m in range(models):
                    for k in range(width):
                        w[m, k] = weights[d, pattern[t], m, classes[t, k]]
                all_won, rightly = np.uint64(0), np.uint64(0)  # a byte a class
                for b in range(BLOCK):
                    best = w[0, 0] * x[0, b]
                    for m in range(1, models):
                        best += w[m, 0] * x[m * width, b]
                    code = np.uint64(1 if packed else 0)
                    for k in range(1, width):
                        value = w[0, k] * x[k, b]
                        for m in range(1, models):
                            value += w[m, k] * x[m * width + k, b]
                        mine = np.uint64(1) << np.uint64(8 * k) if packed else np.uint64(k)
                        code = mine if value > best else code
                        best = value if value > best else best
                    if packed:
                        all_won += code
                        rightly += code & right[b]
                    else:
                        won[b] = code
                if packed:
                    for k in range(width):
                        shift = np.uint64(8 * k)
                        out[d, 0, classes[t, k]] += np.int64((all_won >> shift) & np.uint64(255))
                        out[d, 1, classes[t, k]] += np.int64((rightly >> shift) & np.uint64(255))
                else:
                    for b in range(BLOCK):
                        out[d, 0, classes[t, np.int64(won[b])]] += 1
                        out[d, 1, classes[t, np.int64(won[b])]] += won[b] == right[b]
                out[d, 0, classes[t, 0]] -= BLOCK - rows[t]  # the zeros of a block that is not full

    return _compiled(count)


def truth_codes(place: NDArray[np.intp], width: int) -> NDArray[np.uint64]:
    """What `winners` compares a winner with: place [N] of the true class among the `width` that may win; -1: not one of
    them, so that no winner is right."""
    if width > PACKED:
        return np.where(place < 0, width, place).astype(np.uint64)
    codes = np.uint64(1) << np.maximum(8 * place, 0).astype(np.uint64)
    return np.where(place < 0, np.uint64(0), codes)


@cache
def present(models: int) -> Callable[..., None]:
    """A function that adds to out[d, label, truth] the rows of the blocks with a sum of at least `threshold`.

    blocks [T, M, BLOCK] scores of one label, zeros where not full; label, truth, pattern [T]; weights [D,K,P,M];
    out [D,K,2]; threshold above 0.
    """

    def count(blocks, label, truth, pattern, weights, out, threshold):  # type: ignore[no-untyped-def]
        for t in range(len(blocks)):
            x = blocks[t]
            for d in range(len(weights)):
                w = weights[d, label[t], pattern[t]]
                found = np.int64(0)
                for b in range(BLOCK):
                    value = w[0] * x[0, b]
                    for m in range(1, models):
                        value += w[m] * x[m, b]
                    found += np.int64(1 if value >= threshold else 0)
                out[d, label[t], truth[t]] += found

    return _compiled(count)


def _compiled(function: Any) -> Any:
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither beside this file nor in the user's folder can it be kept
        return numba.njit(nogil=True)(function)
