"""AffectNet: expressions, valence and arousal of faces in stills."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from affectkit.config import Config
from affectkit.datasets._clip_labels import whole_clips
from affectkit.datasets._folders import checked_root, files, find_folder, named_by_suffix
from affectkit.datasets._npy import read_number
from affectkit.datasets._values import served
from affectkit.errors import UsageError
from affectkit.plugins import RawLabels
from affectkit.tables.crops import IMAGE_SUFFIXES
from affectkit.tasks import BUILT_IN, Task
from affectkit.types import Clip, ClipLabels

_SETS = {"train_set": "train", "val_set": "val", "test_set": "test"}
_FILES = {"va": ("val", "aro"), "affectnet": ("exp",), "expr": ("exp",)}
_INVALID = -2
_CLASSES = 11
"""0-7 are the classes; 8 none, 9 uncertain, 10 no face: invalid."""


class AffectNetOptions(Config):
    """AffectNet has one layout."""


class AffectNet:
    """AffectNet: `images/<id>.jpg` with `annotations/<id>_{exp,val,aro}.npy`, below train_set/ and val_set/ or alone.

    A still is a clip of one row that holds for all of it. Tasks: `va` (-2 = invalid, of either), `affectnet` (the
    eight classes in AffectNet's order) and `expr`, where classes go by their names and Contempt is invalid.
    Ids are those of the files; below train_set/ and val_set/ the same id may not be used twice. Annotations are read
    without pickle.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = AffectNetOptions
    tasks: ClassVar[tuple[str, ...]] = ("va", "affectnet", "expr")

    def __init__(self, options: AffectNetOptions, root: Path) -> None:
        self.root = checked_root(root, "train_set/ and val_set/, or images/ and annotations/")
        self._found: dict[tuple[Path, str], dict[str, Path]] = {}

    def clips(self) -> list[Clip]:
        """One still each."""
        found: dict[str, Clip] = {}
        for folder, split in self._sets.items():
            images = folder / "images"
            for name, path in files(self.root, images, IMAGE_SUFFIXES).items() if images.is_dir() else ():
                clip = Clip(name, path, split=split)
                first = found.setdefault(name, clip)
                if first is not clip:
                    raise UsageError(f"clip '{name}' has two stills, {first.path} and {path}; ids are unique")
        return [found[name] for name in sorted(found)]

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """By the folder's name: train_set, val_set; none where the root is one set of another name."""
        if task is not None:
            served(task, "affectnet", self.tasks)
        named = {name: split for folder, split in self._sets.items() if split for name in self._ids(folder, "exp")}
        return dict(sorted((named | {clip.id: clip.split for clip in self.clips() if clip.split}).items()))

    def label_files(self, task: Task) -> list[Path]:
        """The task's annotation files."""
        kinds = _FILES[served(task, "affectnet", self.tasks)]
        return sorted(path for folder in self._sets for kind in kinds for path in self._ids(folder, kind).values())

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """One row a still."""
        name = served(task, "affectnet", self.tasks)
        found: dict[str, RawLabels] = {}
        for folder in self._sets:
            for clip, paths in self._paths(folder, _FILES[name]).items():
                raw = RawLabels(_values(paths, name, task), paths[0])
                first = found.setdefault(clip, raw)
                if first is not raw:
                    raise UsageError(f"clip '{clip}' has two annotations, {first.path} and {raw.path}; ids are unique")
        return dict(sorted(found.items()))

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """One row a still, 0 to infinity."""
        return whole_clips(self.rows(task), self.splits())

    def notes(self) -> list[str]:
        """Nothing is assumed."""
        return []

    @cached_property
    def _sets(self) -> dict[Path, str | None]:
        """Folders that hold annotations, and their split."""
        found: dict[Path, str | None] = {
            folder: split for name, split in _SETS.items() if (folder := find_folder(self.root, name, depth=1))
        }
        if not found and (self.root / "annotations").is_dir():
            found = {self.root: None}
        if not found:
            raise UsageError(f"neither train_set/ and val_set/ nor annotations/ in {self.root}")
        return found

    def _ids(self, folder: Path, kind: str) -> dict[str, Path]:
        """The files of a set that hold one kind (exp, val, aro), by id."""
        if (folder, kind) not in self._found:
            self._found[folder, kind] = named_by_suffix(self.root, folder / "annotations", f"_{kind}.npy")
        return self._found[folder, kind]

    def _paths(self, folder: Path, kinds: tuple[str, ...]) -> dict[str, list[Path]]:
        """The files of each still, one a kind. Raises UsageError where one is missing."""
        first = self._ids(folder, kinds[0])
        found = {}
        for name in first.keys() | self._ids(folder, kinds[-1]).keys():
            paths = [self._ids(folder, kind).get(name) for kind in kinds]
            missing = next((kind for kind, path in zip(kinds, paths, strict=True) if path is None), None)
            if missing:
                raise UsageError(f"{folder / 'annotations' / f'{name}_{missing}.npy'} is missing: valence and arousal "
                                 "come together")  # fmt: skip
            found[name] = [path for path in paths if path]
        return found


def _values(paths: list[Path], name: str, task: Task) -> np.ndarray:
    """[1,K] the labels of a still."""
    values = np.array([[read_number(path) for path in paths]])
    if name == "va":
        return np.where((values == _INVALID).any(), np.nan, values)
    given = values[0, 0]
    if given not in range(_CLASSES):
        raise UsageError(f"{paths[0]} holds {given:g}, needed is 0 to {_CLASSES - 1}")
    classes = BUILT_IN["affectnet"].targets
    known = given < len(classes) and classes[int(given)] in task.targets
    return np.array([[task.targets.index(classes[int(given)]) if known else np.nan]], np.float64)


PLUGIN = AffectNet
