"""A number in a NumPy file: hundreds of thousands of them, from strangers."""

from __future__ import annotations

import math
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError

_LARGEST = 64 << 10


def read_number(path: Path) -> float:
    """The one number of a .npy file, also where it is written as text (AffectNet's are).

    Raises UsageError: unreadable, not .npy, objects (never unpickled), several values, no finite number.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > _LARGEST:
        raise UsageError(f"{path} is larger than {_LARGEST >> 10} KiB; needed is a .npy file of one number")
    try:
        begin = 10 + int.from_bytes(raw[8:10], "little")
        dtype, count = _layout(raw[:begin])
        if count != 1:
            raise ValueError(f"it holds {count} values")
        value = float(np.frombuffer(raw, dtype, 1, begin)[0])
    except ValueError as error:
        raise UsageError(f"{path}: needed is a .npy file of one number: {error}") from None
    if not math.isfinite(value):
        raise UsageError(f"{path} holds {value}, needed is a finite number")
    return value


@lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[np.dtype[np.generic], int]:
    """dtype and number of values of a header (the same in most files). Raises ValueError."""
    file = BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not version 1.0 of the format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or dtype.kind not in "biufUS":
        raise ValueError(f"it holds {dtype}")
    return dtype, math.prod(shape)
