"""Labels that hold for whole clips."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from affectkit.plugins import RawLabels
from affectkit.types import ClipLabels


def whole_clips(rows: Mapping[str, RawLabels], splits: Mapping[str, str]) -> dict[str, ClipLabels]:
    """One row a clip, from 0 to infinity."""
    return {
        clip: ClipLabels(np.zeros(len(raw.values)), np.full(len(raw.values), np.inf), raw.values, splits.get(clip))
        for clip, raw in rows.items()
    }
