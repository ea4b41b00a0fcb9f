"""A number in a NumPy file: hundreds of thousands of them, from strangers."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from affectkit.errors import UsageError

_LARGEST = 4 << 10
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([^']{1,40})', "
    rb"'fortran_order': (?:True|False), 'shape': \(([0-9, ]{0,200})\), \} *\n",
    re.DOTALL,
)
"""A header as NumPy writes it, version 1.0 of the format; others are not worth the risk of a parser."""


def read_number(path: Path) -> float:
    """The one number of a .npy file, also where it is written as text (AffectNet's are).

    Raises UsageError: unreadable, not .npy, objects (never unpickled), several values, no finite number.
    """
    try:
        with path.open("rb", buffering=0) as file:
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
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: needed is a .npy file of one number: {error}") from None
    if not math.isfinite(value):
        raise UsageError(f"{path} holds {value}, needed is a finite number")
    return value


@lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[np.dtype[np.generic], int]:
    """dtype and number of values of a header (the same in most files). Raises ValueError."""
    given = _HEADER.fullmatch(header)
    if given is None:
        raise ValueError("its header is not one that NumPy writes")
    if given[1].lstrip(b"<>|=")[:1] not in b"biufUS":
        raise ValueError(f"it holds {given[1].decode(errors='replace')} (objects are never read)")
    shape = [int(length) for length in re.findall(rb"[0-9]+", given[2])]
    return np.dtype(given[1].decode(errors="replace")), math.prod(shape)
