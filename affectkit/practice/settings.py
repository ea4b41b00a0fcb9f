"""What the user chooses of a practice set, and what follows from it for every set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.practice._looks import Look, draw_look
from affectkit.types import SPLITS


class PracticeConfig(Config):
    """How much is written."""

    count: int | None = Field(None, ge=1, le=2000, description="clips altogether  [default: the set's own]")
    seconds: float | None = Field(None, ge=0.5, le=120, description="length of a clip  [default: the set's own]")
    fps: int = Field(10, ge=2, le=60, description="frames a second")
    size: int = Field(192, ge=96, le=1024, multiple_of=2, description="width and height of a picture in pixels")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="another one gives other clips")


@dataclass(frozen=True)
class Plan:
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


def planned(name: str, config: PracticeConfig, clips: int, seconds: float, least: int) -> Plan:
    """The plan for a set whose defaults are given. Raises UsageError for fewer than `least` clips."""
    wanted = config.count or clips
    if wanted < least:
        raise UsageError(f"--count {wanted}: {name} needs {least} or more, for each split and quirk to be there")
    return Plan(wanted, config.seconds or seconds, config.fps, config.size, config.seed)


def split_sizes(clips: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Clips of each split, at least one; the first split takes what rounding leaves.

    >>> split_sizes(24, {"train": 0.6, "val": 0.25, "test": 0.15})
    {'train': 14, 'val': 6, 'test': 4}
    """
    first, *others = shares
    sizes = {split: max(1, round(clips * shares[split])) for split in others}
    return {first: clips - sum(sizes.values()), **sizes}


def dealt(rng: np.random.Generator, classes: int, count: int) -> list[int]:
    """`count` class indices: as often one as the other, no two alike in a row.

    >>> dealt(np.random.default_rng(0), 3, 7).count(0) in (2, 3)
    True
    """
    found: list[int] = []
    while len(found) < count:
        order = rng.permutation(classes).tolist()
        if found and classes > 1 and order[0] == found[-1]:
            order = [*order[1:], order[0]]
        found += order
    return found[:count]


def mixed_splits(rng: np.random.Generator, sizes: Mapping[str, int]) -> list[str]:
    """The split of each clip, in random order: the number of a clip says nothing about it."""
    ordered = [split for split in SPLITS for _ in range(sizes.get(split, 0))]
    return [ordered[place] for place in rng.permutation(len(ordered))]


def deal_by_split(plan: Plan, splits: Sequence[str], classes: int) -> list[int]:
    """The class of each clip, as evenly `dealt` in every split as can be."""
    dealers = {split: iter(dealt(plan.rng(4, n), classes, len(splits))) for n, split in enumerate(SPLITS)}
    return [next(dealers[split]) for split in splits]
