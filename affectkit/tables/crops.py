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
    """Crops that exist: frame numbers [F], ascending, the first frame of a clip being 1 (whatever number its file has);
    their files [F]."""

    numbers: NDArray[np.int64]
    paths: tuple[Path, ...]

    @property
    def frames(self) -> int:
        """Rows of the clip: frames 1 to the last number. A frame without a file had no face (valid = 0)."""
        return int(self.numbers[-1])


def is_crop_name(name: str) -> bool:
    """Whether a file of this name counts as a crop."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def crop_frames(folder: Path, first_frame: int = 1) -> CropFrames:
    """The crops of one clip; `first_frame` is the number that its first frame has in names, 1 or 0.

    Names in which one number varies and nothing else are frames by that number, counted from 1, and gaps are frames
    without a face: `00001.jpg` (Aff-Wild2's `cropped_aligned`), `frame_000031.jpg` (ffmpeg),
    `frame_det_00_000031.jpg` (OpenFace). Where such names begin with words and one has the number 0, they are counted
    from 0. Other names hold every frame, in their natural order (`f2a` before `f10b`), numbered 1 to F. Raises
    ClipError: no images, several sorts of names in one folder, a frame with two files, frame `00000.jpg`.
    """
    try:
        names = [entry.name for entry in folder.iterdir() if is_crop_name(entry.name)]
    except OSError as error:
        raise ClipError(f"cannot read {folder}: {error.strerror}") from None
    if not names:
        raise ClipError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    plain = [name for name in names if _NUMBER.fullmatch(Path(name).stem)]
    if plain and len(plain) < len(names):
        other = min(set(names) - set(plain))
        raise ClipError(f"{folder} mixes frame numbers ({min(plain)}) with other names ({other}); keep one sort")
    numbers = _numbers(names)
    if numbers is not None:
        from_zero = first_frame == 0 or (not plain and min(numbers.values()) == 0)
        return _by_number(folder, {name: number + from_zero for name, number in numbers.items()})
    _check_faces(folder, names)
    ordered = sorted(names, key=_natural)
    return CropFrames(np.arange(1, len(names) + 1), tuple(folder / name for name in ordered))


def _numbers(names: list[str]) -> dict[str, int] | None:
    """The one number that differs between the names (of a single name: its last); None where more than that differs."""
    parts = {name: re.split(r"([0-9]+)", Path(name).stem) for name in names}
    if len({tuple(words[::2]) for words in parts.values()}) > 1:
        return None
    count = len(parts[names[0]]) // 2
    varying = [k for k in range(count) if len({int(words[2 * k + 1][:20]) for words in parts.values()}) > 1]
    if count == 0 or len(varying) > 1:
        return None
    place = varying[0] if varying else count - 1
    return {name: int(words[2 * place + 1][:20]) for name, words in parts.items()}


def _check_faces(folder: Path, names: list[str]) -> None:
    """Refuses names that differ in more than a last number which comes twice: crops of several faces in one folder, as
    OpenFace writes them."""
    last: dict[int, tuple[str, str]] = {}
    for name in sorted(names):
        match = re.fullmatch(r"(.*?[^0-9])([0-9]+)", Path(name).stem)
        if match is None:
            continue
        first, word = last.setdefault(int(match[2][:20]), (name, match[1]))
        if word != match[1] and re.sub(r"[0-9]+", "0", word) == re.sub(r"[0-9]+", "0", match[1]):
            raise ClipError(
                f"{folder}: {first} and {name} are the same frame of different faces; give each face its own folder"
            )


def _by_number(folder: Path, numbered: dict[str, int]) -> CropFrames:
    ordered = sorted((number, name) for name, number in numbered.items())
    numbers = np.array([min(number, MOST_FRAMES + 1) for number, _ in ordered], np.int64)
    if numbers[0] < 1:
        raise ClipError(
            f"{folder / ordered[0][1]}: frames are numbered from 1, as in Aff-Wild2; give --first-frame 0 where the "
            "first frame of every clip is 0"
        )
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
