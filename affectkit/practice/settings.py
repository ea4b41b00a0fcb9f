"""What the user chooses of a practice set, and what follows from it for every set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.practice.looks import Look, draw_look
from affectkit.types import SPLITS


class PracticeConfig(Config):
    """How much is written."""

    count: int | None = Field(None, ge=1, le=2000, description="clips altogether  [default: the set's own]")
    seconds: float | None = Field(None, ge=0.5, le=120, description="length of a clip  [default: the set's own]")
    fps: int = Field(10, ge=2, le=60, description="frames a second")
    size: int | None = Field(
        None,
        ge=96,
        le=1024,
        multiple_of=2,
        description="width and height of a picture in pixels  [default: the set's own]",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="another one gives other clips")


@dataclass(frozen=True)
class SetSettings:
    """A set's size once defaults are filled in."""

    clips: int
    seconds: float
    fps: int
    size: int
    seed: int

    @property
    def frames(self) -> int:
        """Frames a clip."""
        return max(round(self.seconds * self.fps), 1)

    def rng(self, *what: int) -> np.random.Generator:
        """Random numbers for one purpose, whatever else is made."""
        return np.random.default_rng([self.seed, *what])

    def look(self, person: int) -> Look:
        """The appearance of one person of the set."""
        return draw_look(self.rng(1, person))


@dataclass(frozen=True)
class SetLayout:
    """A set: its defaults, the fewest clips that show all of it, what it writes (`tops`: the entries of its folder;
    `about`: a line for people; `notes`: a text for them) and the jobs that do so."""

    clips: int
    seconds: float
    least: int
    tops: Sequence[str]
    about: str
    notes: str
    jobs: Callable[[Path, SetSettings], Iterable[Callable[[], None]]]
    size: int = 192

    def settings(self, name: str, config: PracticeConfig) -> SetSettings:
        """What the user chose, defaults filled in. Raises UsageError for too few clips."""
        clips = config.count or self.clips
        if clips < self.least:
            raise UsageError(
                f"--count {clips}: {name} needs {self.least} or more, for each split and quirk to be there"
            )
        return SetSettings(clips, config.seconds or self.seconds, config.fps, config.size or self.size, config.seed)


def split_sizes(clips: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Clips of each split, at least one; the first split takes what rounding leaves.

    >>> split_sizes(24, {"train": 0.6, "val": 0.25, "test": 0.15})
    {'train': 14, 'val': 6, 'test': 4}
    """
    first, *smaller = shares
    sizes = {split: max(1, round(clips * shares[split])) for split in smaller}
    return {first: clips - sum(sizes.values()), **sizes}


def dealt(rng: np.random.Generator, classes: int) -> Iterator[int]:
    """Class indices without end: as often one as the other, no two alike in a row.

    >>> classes = dealt(np.random.default_rng(0), 3)
    >>> [next(classes) for _ in range(7)].count(0) in (2, 3)
    True
    """
    last = -1
    while True:
        order = rng.permutation(classes).tolist()
        if order[0] == last and classes > 1:
            order = [*order[1:], order[0]]
        yield from order
        last = order[-1]


def mixed_splits(rng: np.random.Generator, sizes: Mapping[str, int]) -> list[str]:
    """The split of each clip, in random order: the number of a clip says nothing about it."""
    ordered = [split for split in SPLITS for _ in range(sizes.get(split, 0))]
    return [ordered[n] for n in rng.permutation(len(ordered))]


def dealt_by_split(settings: SetSettings, classes: int) -> dict[str, Iterator[int]]:
    """Of each split, class indices as evenly `dealt` as can be."""
    return {split: dealt(settings.rng(4, n), classes) for n, split in enumerate(SPLITS)}
