"""Weight files: where they are, what they are, whether they are the right bytes. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WeightsFile:
    """A resolved weights choice: `path` (None for random), SHA-256 of the bytes ("random" for random),
    licence, and where it came from."""

    name: str
    path: Path | None
    sha256: str
    licence: str
    source: str
