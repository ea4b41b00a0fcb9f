"""What a backbone gave, as it is stored: checked, narrowed, zeros where nothing went through."""

from __future__ import annotations

import numpy as np

from affectkit.errors import ClipError
from affectkit.types import Bools


def scatter(values: np.ndarray, valid: Bools, dtype: str) -> np.ndarray:
    """Values of the valid rows among zeros, checked before they are narrowed. Raises ClipError."""
    if not np.isfinite(values).all():
        raise ClipError("the backbone gave values that are not finite")
    if dtype == "float16" and values.size and np.abs(values).max() > np.finfo(np.float16).max:
        raise ClipError("a value is beyond float16: repeat with --dtype float32")
    rows = np.zeros((len(valid), values.shape[1]), dtype)
    rows[np.asarray(valid, bool)] = values
    return rows
