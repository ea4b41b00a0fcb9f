"""The functionals by name, and named sets of them."""

from __future__ import annotations

from typing import Literal, get_args

Functional = Literal[
    "mean", "std", "min", "max", "range", "rms", "first", "last", "slope", "offset", "curvature", "delta-mean"
]
FUNCTIONALS: tuple[Functional, ...] = get_args(Functional)

SETS: dict[str, tuple[Functional, ...]] = {
    "sun-visual": ("mean", "max", "min"),
    "sun-audio": ("mean", "std"),
    "fun": ("mean", "std", "curvature", "slope", "offset"),
    "all": FUNCTIONALS,
}
