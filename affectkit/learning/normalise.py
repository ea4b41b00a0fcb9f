"""Scaling of features. Fitted on the training split only, and stored with the head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from affectkit.errors import HostileFile
from affectkit.learning.modalities import Dims, columns
from affectkit.learning.options import Normalise
from affectkit.types import Bools, Floats


@dataclass(frozen=True, repr=False)
class Normaliser:
    """(values - shift) / scale for each of D dimensions; the per-clip kinds take both from the clip itself.

    `standard`: mean and population deviation; `min-max`: smallest value and range. A dimension that is constant has
    scale 1. Only valid rows count; of modalities side by side, those that their flag marks, and flags stay as they are.
    """

    kind: Normalise
    shift: Floats
    scale: Floats
    dims: Dims = ()

    @staticmethod
    def fit(kind: Normalise, clips: Iterable[Floats], dim: int, dims: Dims = ()) -> Normaliser:
        """From the valid rows of the training clips, each [T,D]; a clip may be empty.

        >>> Normaliser.fit("standard", [np.array([[0.0], [2.0]]), np.array([[4.0]])], dim=1).shift
        array([2.], dtype=float32)
        """
        if dims:
            return _of_modalities(kind, list(clips), dims)
        if kind == "standard":
            shift, scale = _standard(clips, dim)
        elif kind == "min-max":
            shift, scale = _min_max(clips, dim)
        else:
            shift, scale = np.zeros(dim), np.ones(dim)
        return Normaliser(kind, shift.astype(np.float32), scale.astype(np.float32))

    @staticmethod
    def of(kind: Normalise, tensors: dict[str, Floats], dim: int, dims: Dims = ()) -> Normaliser:
        """The normaliser that `tensors` wrote, taken out of a head's tensors. Raises HostileFile."""
        shift, scale = (tensors.pop(f"normaliser.{name}", np.zeros(0)) for name in ("shift", "scale"))
        if shift.shape != (dim,) or scale.shape != (dim,) or not (np.isfinite(shift).all() and (scale > 0).all()):
            raise HostileFile(f"a saved head's normaliser is not for {dim} feature dimensions")
        return Normaliser(kind, shift, scale, dims)

    def tensors(self) -> dict[str, Floats]:
        """What to save."""
        return {"normaliser.shift": self.shift, "normaliser.scale": self.scale}

    def apply(self, values: Floats, valid: Bools) -> None:
        """Scale one clip in place: values [T,D], valid [T]. Rows that are not valid come out as rubbish, a modality
        that is missing from a valid row as zeros."""
        for number, place in enumerate(columns(self.dims)):
            there = valid & (values[:, sum(self.dims) + number] > 0)
            Normaliser(self.kind, self.shift[place], self.scale[place]).apply(values[:, place], there)
            values[~there, place] = 0
        if self.dims or self.kind == "none" or not valid.any():
            return
        shift, scale = self.shift, self.scale
        if self.kind.startswith("per-clip"):
            own = _standard if self.kind == "per-clip-standard" else _min_max
            shift, scale = (part.astype(np.float32) for part in own([values[valid]], values.shape[1]))
        values -= shift
        values /= scale


def _of_modalities(kind: Normalise, clips: Sequence[Floats], dims: Dims) -> Normaliser:
    """Each modality's own, one after another, and 0 and 1 for the flags."""
    parts = [
        Normaliser.fit(kind, (clip[clip[:, sum(dims) + number] > 0, place] for clip in clips), dims[number])
        for number, place in enumerate(columns(dims))
    ]
    flags = np.zeros(len(dims), np.float32)
    shift = np.concatenate([*(part.shift for part in parts), flags])
    return Normaliser(kind, shift, np.concatenate([*(part.scale for part in parts), flags + 1]), dims)


def _standard(clips: Iterable[Floats], dim: int) -> tuple[Floats, Floats]:
    """Mean and deviation over all clips, one pass: moments of clips are merged (Chan et al. 1983), which stays exact
    where a sum of squares would cancel."""
    count, mean, squares = 0, np.zeros(dim), np.zeros(dim)
    low, high = np.full(dim, np.inf), np.full(dim, -np.inf)
    for values in clips:
        n = len(values)
        if not n:
            continue
        own = values.mean(axis=0, dtype=np.float64)
        delta = own - mean
        squares += np.square(values - own).sum(axis=0) + delta**2 * count * n / (count + n)
        mean += delta * n / (count + n)
        count += n
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    scale = np.sqrt(squares / max(count, 1))
    return mean, np.where((high > low) & (scale > 0), scale, 1.0)  # a constant's rounding noise is no deviation


def _min_max(clips: Iterable[Floats], dim: int) -> tuple[Floats, Floats]:
    low, high = np.full(dim, np.inf), np.full(dim, -np.inf)
    for values in clips:
        if len(values):
            low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    return np.where(np.isfinite(low), low, 0.0), np.where(high > low, high - low, 1.0)
