"""Compiled counting of winners and of present labels over blocks of rows, for many weight matrices.

Nothing is contracted or reordered (no fast-math): a weighted sum has the bits of numpy's, the models added in order.
The loops over models and classes have constant lengths, so that the compiler unrolls them and makes vectors of rows;
hence one compilation for each number of models and classes, kept where numba keeps such things, if that can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

BLOCK = 96  # rows: 3 models x 8 classes of them fill half of a first-level cache; at most 255 (counts are bytes)
_PACKED = 8  # classes whose counts fit into one 64-bit word


@cache
def winners(models: int, classes: int) -> Callable[..., None]:
    """A function that adds to out[d, truth, winner] the rows of blocks first..last that weights d give to each class.

    blocks [T, M*K, BLOCK] scores, zeros where a block is not full; truth, pattern, rows [T]: of each block its class,
    its pattern of missing scores, and how many rows it has; weights [D,P,M,K]; out [D,K,K]. Of equals the first wins.
    """
    packed = classes <= _PACKED

    def count(first, last, blocks, truth, pattern, rows, weights, out):  # type: ignore[no-untyped-def]
        won = np.empty(BLOCK, np.uint64)
        for t in range(first, last):
            x = blocks[t]
            for d in range(len(weights)):
                w = weights[d, pattern[t]]
                cells = out[d, truth[t]]
                counts = np.uint64(0)
                for b in range(BLOCK):
                    best = w[0, 0] * x[0, b]
                    for m in range(1, models):
                        best += w[m, 0] * x[m * classes, b]
                    code = np.uint64(1 if packed else 0)
                    for k in range(1, classes):
                        value = w[0, k] * x[k, b]
                        for m in range(1, models):
                            value += w[m, k] * x[m * classes + k, b]
                        mine = np.uint64(1) << np.uint64(8 * k) if packed else np.uint64(k)
                        code = mine if value > best else code
                        best = value if value > best else best
                    if packed:
                        counts += code
                    else:
                        won[b] = code
                if packed:
                    for k in range(classes):
                        cells[k] += np.int64((counts >> np.uint64(8 * k)) & np.uint64(255))
                else:
                    for b in range(BLOCK):
                        cells[np.int64(won[b])] += 1
                cells[0] -= BLOCK - rows[t]  # the zeros of a block that is not full are won by the first class

    return _compiled(count)


@cache
def present(models: int) -> Callable[..., None]:
    """A function that adds to out[d, label, truth] the rows of blocks first..last with a sum of at least `threshold`.

    blocks [T, M, BLOCK] scores of one label, zeros where not full; label, truth, pattern [T]; weights [D,K,P,M];
    out [D,K,2]; threshold above 0.
    """

    def count(first, last, blocks, label, truth, pattern, weights, out, threshold):  # type: ignore[no-untyped-def]
        for t in range(first, last):
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
