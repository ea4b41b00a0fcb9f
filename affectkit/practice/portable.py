"""Arithmetic that gives the same bits on every processor, for pictures that must be the same everywhere.

Sums, products, quotients and square roots are rounded alike everywhere (IEEE 754). Exponentials, powers and sines are
not: libraries choose their code by the processor, and results differ in the last bit. Here they are computed in float64
and rounded to fewer digits, which leaves no trace of that bit.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

DECIMALS = 9
Real = TypeVar("Real", bound=NDArray[np.floating])


def settled(values: Real) -> Real:
    """Values rounded to `DECIMALS` decimals: what was computed in float64 is the same on every processor then."""
    return np.round(values, DECIMALS)  # type: ignore[return-value]


def exp(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """e^x, elementwise, as float32."""
    return np.exp(x.astype(np.float64)).astype(np.float32)


def power(x: NDArray[np.floating], exponent: float) -> NDArray[np.float32]:
    """x^exponent for x >= 0, elementwise, as float32."""
    return np.power(x.astype(np.float64), exponent).astype(np.float32)


def sine(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """sin x, elementwise, as float32."""
    return np.sin(x.astype(np.float64)).astype(np.float32)
