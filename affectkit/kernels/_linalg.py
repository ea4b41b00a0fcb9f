"""Dense symmetric linear algebra in float64: LAPACK on the CPU, torch on a GPU. Both offer the same operations.

Symmetric matrices are read from the lower triangle. Where a matrix has to be positive definite and is not,
`numpy.linalg.LinAlgError` is raised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import blas, lapack

from affectkit.kernels.functions import Matrix

Array = Any
"""A matrix where the backend keeps it: numpy's or torch's."""


class Lapack:
    """On the CPU. The hot loops stay in scipy's BLAS alone: numpy's has threads of its own, and the two, taken in
    turns, wait for each other."""

    def put(self, values: Matrix) -> Array:
        return np.asarray(values, np.float64)

    def get(self, values: Array) -> Matrix:
        return np.asarray(values)

    def shifted(self, a: Array, shift: float) -> Array:
        """A new a + shift I, a [n,n] symmetric."""
        new = a.copy().T  # the transpose for LAPACK's order of columns
        new[np.diag_indices_from(new)] += shift
        return new

    def eigh(self, a: Array) -> tuple[Array, Array]:
        """a [n,n] -> eigenvalues [n] ascending, eigenvectors [n,n] in columns."""
        values, vectors = np.linalg.eigh(a)
        return values, vectors

    def solve(self, a: Array, t: Array) -> Array:
        """a^-1 t for a positive definite a [n,n], t [n,k]."""
        factor = _cholesky(a)
        return lapack.dpotrs(factor, t, lower=1)[0]

    def solve_general(self, a: Array, t: Array) -> Array:
        """a^-1 t for any invertible a [n,n], t [n,k]."""
        return np.linalg.solve(a, t)

    def inverse(self, a: Array) -> Array:
        """a^-1 for a positive definite a [n,n]."""
        lower = np.tril(lapack.dpotri(_cholesky(a), lower=1)[0])
        return lower + np.tril(lower, -1).T

    def eliminate(self, a: Array, t: Array, keep: slice, gone: slice) -> tuple[Array, Array]:
        """The Schur complement of the rows `gone` and the right-hand side that goes with it.

        a [n,n] positive definite, t [n,k] -> a_KK - a_KG a_GG^-1 a_GK and t_K - a_KG a_GG^-1 t_G.
        """
        factor = _cholesky(a[gone, gone])
        u = blas.dtrsm(1.0, factor, t[gone], lower=1)
        square = np.asfortranarray(a[keep, keep])
        if keep.start < gone.start:  # only the lower triangle holds numbers
            b = blas.dtrsm(1.0, factor, np.asfortranarray(a[gone, keep]), lower=1, overwrite_b=1)
            s = blas.dsyrk(-1.0, b, 1.0, square, trans=1, lower=1, overwrite_c=1)
            return s, blas.dgemm(-1.0, b, u, 1.0, t[keep], trans_a=1)
        b = blas.dtrsm(1.0, factor, np.asfortranarray(a[keep, gone]), side=1, trans_a=1, lower=1, overwrite_b=1)
        s = blas.dsyrk(-1.0, b, 1.0, square, lower=1, overwrite_c=1)
        return s, blas.dgemm(-1.0, b, u, 1.0, t[keep])


class Torch:
    """On the device that torch names. Not run on a GPU so far: the tests take the same path on the CPU."""

    def __init__(self, device: str) -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device '{device}': torch sees no GPU here (use cpu)")
        self.torch = torch
        self.device = torch.device(device)

    def put(self, values: Matrix) -> Array:
        return self.torch.from_numpy(np.require(values, np.float64, ["C", "W"])).to(self.device)

    def get(self, values: Array) -> Matrix:
        return np.asarray(values.cpu().numpy())

    def shifted(self, a: Array, shift: float) -> Array:
        new = a.clone()
        new.diagonal().add_(shift)
        return new

    def eigh(self, a: Array) -> tuple[Array, Array]:
        values, vectors = self.torch.linalg.eigh(a)
        return values, vectors

    def solve(self, a: Array, t: Array) -> Array:
        return self.torch.cholesky_solve(t, self._cholesky(a))

    def solve_general(self, a: Array, t: Array) -> Array:
        return self.torch.linalg.solve(a, t)

    def inverse(self, a: Array) -> Array:
        return self.torch.cholesky_inverse(self._cholesky(a))

    def eliminate(self, a: Array, t: Array, keep: slice, gone: slice) -> tuple[Array, Array]:
        factor = self._cholesky(a[gone, gone])
        both = self.torch.cat([a[gone, keep], t[gone]], 1)
        both = self.torch.linalg.solve_triangular(factor, both, upper=False)
        b, u = both[:, : -t.shape[1]], both[:, -t.shape[1] :]
        return a[keep, keep] - b.T @ b, t[keep] - b.T @ u

    def _cholesky(self, a: Array) -> Array:
        factor, wrong = self.torch.linalg.cholesky_ex(a)
        if wrong.item():
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        return factor


Linalg = Lapack | Torch


def linalg_on(device: str) -> Linalg:
    """The backend of a device: cpu, cuda or cuda:N; `torch` is torch on the CPU. Raises ValueError."""
    if device == "cpu":
        return Lapack()
    if device == "torch" or device == "cuda" or device.startswith("cuda:"):
        return Torch("cpu" if device == "torch" else device)
    raise ValueError(f"device {device!r} is not cpu, cuda or cuda:N")


def _cholesky(a: Array) -> Array:
    """The lower factor; the upper triangle holds anything."""
    factor, wrong = lapack.dpotrf(a, lower=1, clean=0)
    if wrong:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return factor
