"""How much later than the face labels are: the correlation of a signal with labels that are taken earlier and earlier.

Shapes: T moments of one clip, S shifts, K columns, C clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affectkit.moments import covered, interpolate, middles
from affectkit.types import ClipLabels, Floats

LEAST_MOMENTS = 10


@dataclass(frozen=True, repr=False)
class LagMoments:
    """Of one clip the centred products at each shift: `cross`, `signal`, `label` [S,K] are the sums of signal times
    label, of the signal's squares and of the label's; `count` moments were taken."""

    cross: Floats
    signal: Floats
    label: Floats
    count: int

    def __repr__(self) -> str:
        return f"LagMoments({self.count} moments)"

    @property
    def curve(self) -> Floats:
        """[S,K] Pearson's correlation at each shift; 0 where either side is constant."""
        return correlation(self.cross, self.signal, self.label)


def correlation(cross: Floats, signal: Floats, label: Floats) -> Floats:
    """Pearson's correlation of centred sums of products."""
    scale = np.sqrt(signal * label)
    return np.asarray(np.where(scale > 1e-12, cross / np.where(scale > 0, scale, 1), 0.0))


def lag_moments(
    start: Floats, end: Floats, scores: Floats, labels: ClipLabels, targets: Floats, shifts: Floats, step: float
) -> LagMoments | None:  # fmt: skip
    """The products of one clip: the signal at moments `step` seconds apart, and the label so many seconds (`shifts`
    [S]) after each. start, end [T], scores [T,K]; targets [R,K] are what the label rows say in the same columns.

    The moments are the same for every shift: those at which the signal is there, and at all shifts a label. None where
    there are fewer than `LEAST_MOMENTS`.
    """
    valid = np.isfinite(scores).all(axis=1)
    held = np.isfinite(targets).all(axis=1) & np.isfinite(labels.end)
    if not valid.any() or not held.any():
        return None
    at = np.arange(float(start[valid].min()), float(end[valid].max()), step) + step / 2
    here = covered(at, start[valid], np.maximum(end[valid], start[valid] + step))
    for shift in shifts:
        here &= covered(at + shift, labels.start[held], labels.end[held])
    at = at[here]
    if len(at) < LEAST_MOMENTS:
        return None
    signal = interpolate(scores, middles(start, end), at)
    signal = signal - signal.mean(axis=0)
    order = np.flatnonzero(held)[np.argsort(labels.start[held], kind="stable")]
    cross, power = np.zeros((len(shifts), scores.shape[1])), np.zeros((len(shifts), scores.shape[1]))
    for number, shift in enumerate(shifts):
        row = order[np.searchsorted(labels.start[order], at + shift, side="right") - 1]
        label = targets[row] - targets[row].mean(axis=0)
        cross[number], power[number] = (signal * label).sum(axis=0), (label * label).sum(axis=0)
    return LagMoments(cross, np.broadcast_to((signal * signal).sum(axis=0), cross.shape), power, len(at))


def pooled(clips: Sequence[LagMoments], weights: Floats | None = None) -> Floats:
    """[S,K] the correlation within clips: of the products of all clips, each centred on its own means. `weights` [C]
    says how often each clip is taken."""
    often = np.ones(len(clips)) if weights is None else weights
    sums = [
        np.tensordot(often, np.stack([getattr(clip, name) for clip in clips]), axes=1)
        for name in ("cross", "signal", "label")
    ]
    return correlation(*sums)


def peak(shifts: Floats, curve: Floats) -> float:
    """The shift (s) of the highest correlation [S], between the grid's by the parabola through it and its neighbours.

    >>> peak(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.5]))
    1.1666666666666667
    """
    best = int(np.argmax(curve))
    if best in (0, len(curve) - 1):
        return float(shifts[best])
    left, middle, right = curve[best - 1 : best + 2]
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(shifts[best] + offset * (shifts[1] - shifts[0]))
