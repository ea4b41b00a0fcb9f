"""The Nystroem approximation: a kernel as the linear kernel of a few features, where N x N does not fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectkit.kernels.functions import Kernel, Matrix

NUMBER = 8
"""Bytes of a float64."""


class ApproximationWarning(UserWarning):
    """Results are those of an approximated kernel, because the exact one is beyond the memory limit."""


@dataclass(frozen=True, repr=False)
class Landmarks:
    """K(x, y) ~ K(x, L) (K_LL)^+ K(L, y) (Williams & Seeger 2001) = phi(x).phi(y), phi(x) = K(x, L) map.

    rows L [m,D]; map [m,r] = Q diag(l^-1/2) over the r eigenvalues of K_LL that are above rounding error.
    """

    kernel: Kernel
    rows: Matrix
    map: Matrix

    def __call__(self, x: Matrix) -> Matrix:
        """phi(x): x [N,D] -> [N,r]."""
        return self.kernel(x, self.rows) @ self.map


def draw_landmarks(kernel: Kernel, rows: Matrix, count: int, seed: int) -> Landmarks:
    """`count` of the rows [N,D] at random, in their order."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    landmarks = rows[chosen]
    values, vectors = np.linalg.eigh(kernel(landmarks, landmarks))
    kept = values > max(values[-1], 0) * count * np.finfo(np.float64).eps
    if not kept.any():
        raise ValueError(f"the {kernel.name} kernel of {count} landmarks has no positive eigenvalue")
    return Landmarks(kernel, landmarks, vectors[:, kept] / np.sqrt(values[kept]))


def exact_bytes(rows: int) -> int:
    """What the dual needs: the kernel, its factor and two copies in the making."""
    return 4 * rows * rows * NUMBER


def landmarks_within(limit: int, rows: int) -> int:
    """How many landmarks m fit: features, their weighted copy and their product, [N,m] each, and 6 of [m,m].
    Raises ValueError if none does."""
    numbers = limit // NUMBER
    count = int((-3 * rows + np.sqrt(9.0 * rows * rows + 24.0 * numbers)) / 12)
    if count < 1:
        raise ValueError(f"memory_limit {limit} bytes: one landmark of {rows} rows needs {(3 * rows + 6) * NUMBER}")
    return min(count, rows)
