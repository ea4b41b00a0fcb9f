"""Annotations made in ELAN: a tier a target or one of classes, by one rater or several."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from affectkit.annotations.eaf_reading import EafFile, read_eaf
from affectkit.annotations.raters import Combining, Trace
from affectkit.annotations.tiers import CLASSES, COVERED, Tier
from affectkit.config import Config
from affectkit.datasets._folders import checked_root, entries, folders, identified, inside, is_entered, is_folder
from affectkit.datasets._media import MediaFolders, MediaOptions
from affectkit.datasets._raters import CombinedLabels, RatedClip, agreement_of, combined
from affectkit.errors import UsageError, listed
from affectkit.moments import covered
from affectkit.plugins import RawLabels
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels


class ElanOptions(MediaOptions):
    """Tiers are found by their name, in any letter case."""

    tier: str = Field("", description="tier of the classes  [default: class, label, or the task's name]")
    combine: Combining = Field("mean", description="several raters' values: mean, or ewe (evaluator-weighted)")


class Elan:
    """Annotations made in ELAN: `<clip>.eaf` anywhere below the root, media beside them or in a folder of their own.

    Values are numbers in a tier a target (`valence`); classes are names or numbers in one tier (`class`, `label`, or
    the task's name); labels that may hold at once are a tier each, whose annotations mean 1 (a tier `labelled` says
    where the others mean 0, without it that is all of the file's annotated time). What follows an `@` in a tier's name
    is the rater (`valence@anna`): raters are averaged, or the class taken that most say, and `dataset check` says how
    far they agree. Splits come from `--splits`.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = ElanOptions
    tasks: ClassVar[tuple[str, ...]] = ()
    says_times: ClassVar[bool] = True

    def __init__(self, options: ElanOptions, root: Path) -> None:
        self.root = checked_root(root, "the .eaf files")
        self.options = options
        self.media = MediaFolders(root, options)
        self._combined: dict[str, CombinedLabels] = {}

    def clips(self) -> list[Clip]:
        """The media that are there."""
        return self.media.clips(self._paths, {})

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """None: the files say none."""
        return {}

    def label_files(self, task: Task) -> list[Path]:
        """Every .eaf file."""
        return sorted(self._paths.values())

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """As `labels`, without their times."""
        return {clip: RawLabels(each.values, self._paths[clip]) for clip, each in self._known(task).labels.items()}

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """Labels by clip id, sorted, at the times of the annotations."""
        return dict(self._known(task).labels)

    def agreement(self, task: Task) -> dict[str, dict[str, float]]:
        """How far the raters agree, by label column and measure; empty where there is one rater."""
        return agreement_of(self._rated(task), task)

    def notes(self) -> list[str]:
        """How raters were made one, and what was left out."""
        reasons = sorted({why for eaf in self._files.values() for why in eaf.left_out})
        totals = {why: sum(eaf.left_out[why] for eaf in self._files.values()) for why in reasons}
        left_out = [f"left out: {count} annotations {why}" for why, count in totals.items()]
        return [*dict.fromkeys(note for each in self._combined.values() for note in each.notes), *left_out]

    def _known(self, task: Task) -> CombinedLabels:
        key = task.model_dump_json()
        if key not in self._combined:
            self._combined[key] = combined(self._rated(task), task, self.options.combine)
        return self._combined[key]

    @cached_property
    def _paths(self) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for folder in folders(self.root):
            for entry in entries(self.root, folder) if is_entered(self.root, folder) else ():
                path = folder / entry.name
                if path.suffix.lower() == ".eaf" and not is_folder(entry):
                    inside(self.root, path)
                    name = identified(path.relative_to(self.root).with_suffix("").as_posix(), path)
                    if paths.setdefault(name, path) != path:
                        raise UsageError(f"clip '{name}' has two files, {paths[name]} and {path.name}; keep one")
        if not paths:
            raise UsageError(f"no .eaf file in {self.root} or below")
        return dict(sorted(paths.items()))

    @cached_property
    def _files(self) -> dict[str, EafFile]:
        return {clip: read_eaf(path) for clip, path in self._paths.items()}

    def _rated(self, task: Task) -> dict[str, RatedClip]:
        rated = {}
        for clip, eaf in self._files.items():
            if any(self._tiers(eaf, names) for names in self._wanted(task)):
                rated[clip] = self._of_clip(task, eaf)
        if not rated:
            tiers = sorted({name for eaf in self._files.values() for name in eaf.tiers})
            needed = ", ".join(names[0] for names in self._wanted(task))
            more = " (or name the tier by --dataset-option tier=NAME)" if task.kind == "multiclass" else ""
            raise UsageError(f"no tier called {needed}{more} in {self.root}, which has tiers {listed(tiers)}")
        return rated

    def _wanted(self, task: Task) -> list[tuple[str, ...]]:
        """Of each label column the names of tiers that it may be in."""
        if task.kind != "multiclass":
            return [(name,) for name in task.targets]
        return [(self.options.tier,)] if self.options.tier else [(CLASSES, "label", task.name)]

    def _tiers(self, eaf: EafFile, names: tuple[str, ...]) -> dict[str, Tier]:
        """The tiers of one of the names, by rater."""
        by_rater: dict[str, Tier] = {}
        accepted = {name.casefold() for name in names}
        for name, tier in eaf.tiers.items():
            stem, _, rater = name.partition("@")
            if name.casefold() in accepted:
                stem, rater = name, ""
            if stem.strip().casefold() in accepted and by_rater.setdefault(rater.strip(), tier) is not tier:
                raise UsageError(
                    f"{eaf.path}: tiers '{by_rater[rater.strip()].name}' and '{name}' are both there; keep one"
                )
        return by_rater

    def _of_clip(self, task: Task, eaf: EafFile) -> RatedClip:
        if task.kind == "multilabel":
            return self._several(task, eaf)
        columns = []
        for names in self._wanted(task):
            traces = {rater: _trace(eaf, tier, task) for rater, tier in self._tiers(eaf, names).items()}
            columns.append(traces)
        return RatedClip(eaf.path, tuple(columns))

    def _several(self, task: Task, eaf: EafFile) -> RatedClip:
        tiers = [self._tiers(eaf, names) for names in self._wanted(task)]
        everybody = sorted({rater for each in tiers for rater in each})
        extents = self._tiers(eaf, (COVERED,))
        whole = [(0.0, max((each.end for tier in eaf.tiers.values() for each in tier.annotations), default=0.0))]
        columns: list[dict[str, Trace]] = [{} for _ in tiers]
        for rater in everybody:
            tier = extents.get(rater) or extents.get("")
            stretches = [(each.start, each.end) for each in tier.annotations] if tier else whole
            for column, by_rater in zip(columns, tiers, strict=True):
                held = [(each.start, each.end) for each in by_rater[rater].annotations] if rater in by_rater else []
                column[rater] = _ones(held, stretches)
        return RatedClip(eaf.path, tuple(columns))


def _trace(eaf: EafFile, tier: Tier, task: Task) -> Trace:
    """Numbers or classes over time; an annotation without a text is none."""
    values = [_value(eaf, tier, place, task) for place in range(len(tier.annotations))]
    start, end = ([getattr(each, side) for each in tier.annotations] for side in ("start", "end"))
    return Trace(np.array(start, float), np.array(end, float), np.array(values, float))


def _value(eaf: EafFile, tier: Tier, place: int, task: Task) -> float:
    text = tier.annotations[place].text
    if not text:
        return float("nan")
    if task.kind == "multiclass":
        alike = [number for number, name in enumerate(task.targets) if _named(text) == name.casefold()]
        if alike:
            return float(alike[0])
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number) or "_" in text:
        accepted = f"a class of {task.name} ({', '.join(task.targets)})" if task.kind == "multiclass" else "a number"
        raise eaf.error(tier.name, place, f"'{text[:80]}', needed is {accepted}")
    return number


def _named(text: str) -> str:
    """A class's name without the mean that an export of scores puts behind it."""
    name, bracket, mean = text.rpartition(" (")
    is_mean = bracket and mean.endswith(")") and mean[:-1].replace(".", "", 1).isdigit()
    return (name if is_mean else text).casefold()


def _ones(held: list[tuple[float, float]], stretches: list[tuple[float, float]]) -> Trace:
    """1 where something is held and 0 elsewhere, within stretches."""
    borders = np.unique(np.array([*held, *stretches], float).ravel())
    start, end = borders[:-1], borders[1:]
    middle = (start + end) / 2
    is_held, is_covered = (
        covered(middle, *np.array(intervals, float).reshape(-1, 2).T) for intervals in (held, stretches)
    )
    kept = is_held | is_covered
    return Trace(start[kept], end[kept], is_held[kept].astype(float))


PLUGIN = Elan
