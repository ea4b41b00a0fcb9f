"""Folders of face crops made elsewhere (`precropped`): which file is which frame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ClipError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
MOST_FRAMES = 10_000_000
_NUMBER = re.compile(r"[0-9]+")


class CropFrames(NamedTuple):
    """Crops that exist: frame numbers [F], ascending, the first frame of a clip being 1; their files [F]."""

    numbers: NDArray[np.int64]
    paths: tuple[Path, ...]

    @property
    def frames(self) -> int:
        """Rows of the clip: frames 1 to the last number. A frame without a file had no face (valid = 0)."""
        return int(self.numbers[-1])


def is_crop_name(name: str) -> bool:
    """Whether a file of this name counts as a crop."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def crop_frames(folder: Path) -> CropFrames:
    """The crops of one clip.

    Names that are numbers (`00001.jpg`, Aff-Wild2's `cropped_aligned`) are frame numbers: file i is frame i, counted
    from 1, and gaps are frames without a face. Other names hold every frame, in their natural order (`f2` before
    `f10`), numbered 1 to F. Raises ClipError: no images, both sorts of names in one folder, a frame with two files,
    frame 0.
    """
    try:
        names = [entry.name for entry in folder.iterdir() if is_crop_name(entry.name)]
    except OSError as error:
        raise ClipError(f"cannot read {folder}: {error.strerror}") from None
    if not names:
        raise ClipError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    numbered = [name for name in names if _NUMBER.fullmatch(Path(name).stem)]
    if not numbered:
        ordered = sorted(names, key=_natural)
        return CropFrames(np.arange(1, len(names) + 1), tuple(folder / name for name in ordered))
    if len(numbered) < len(names):
        other = min(set(names) - set(numbered))
        raise ClipError(f"{folder} mixes frame numbers ({min(numbered)}) with other names ({other}); keep one sort")
    return _by_number(folder, names)


def _by_number(folder: Path, names: list[str]) -> CropFrames:
    ordered = sorted((int(Path(name).stem[:20]), name) for name in names)
    numbers = np.array([min(number, MOST_FRAMES + 1) for number, _ in ordered], np.int64)
    if numbers[0] < 1:
        raise ClipError(f"{folder / ordered[0][1]}: frames are numbered from 1, as in Aff-Wild2; rename the files")
    if numbers[-1] > MOST_FRAMES:
        raise ClipError(f"{folder / ordered[-1][1]}: frame numbers go up to {MOST_FRAMES}")
    same = np.flatnonzero(np.diff(numbers) == 0)
    if len(same):
        first, second = ordered[same[0]][1], ordered[same[0] + 1][1]
        raise ClipError(f"{folder}: {first} and {second} are the same frame; keep one")
    return CropFrames(numbers, tuple(folder / name for _, name in ordered))


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Digits compare as numbers; the name itself settles what is left (`f2`, `f02`)."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part[:20]), "") if part[0] in "0123456789" else (-1, part) for part in parts], name
