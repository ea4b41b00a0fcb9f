"""Texts of strangers on a page: as they are, and nothing else than text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
    "\ufff9-\ufffb]"
)
_IN_SCRIPT = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&'\u2028\u2029"}


def shown(text: str) -> str:
    """A text whose control characters, marks of direction and lone surrogates are written out, so that it is read as it
    is stored and turns nothing around it.

    >>> shown("a\\u202eb")
    'a⟨U+202E⟩b'
    """
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def all_shown(value: Any) -> Any:
    """JSON whose texts are `shown`."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {shown(str(key)): all_shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [all_shown(each) for each in value]
    return value


def script_json(value: Any) -> str:
    """JSON in ASCII that neither ends a script nor begins a comment or a tag; NaN and infinity become null.

    >>> script_json({"clip": "</script>", "score": float("nan")})
    '{"clip":"\\\\u003c/script\\\\u003e","score":null}'
    """
    return json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False).translate(_IN_SCRIPT)


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number for people, with a real minus sign; a dash where there is none.

    >>> number(-0.5), number(float("nan"))
    ('−0.500', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.0%}"


def clock(seconds: float | None) -> str:
    """A length of time.

    >>> clock(4.25), clock(83), clock(3723)
    ('4.2 s', '1:23', '1:02:03')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
