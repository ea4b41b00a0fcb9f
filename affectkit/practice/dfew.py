"""Practice data in the layout of DFEW: a folder of face frames a clip, five folds.

As in the real data, classes are counted from 1 and ids in the tables have no leading zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from affectkit.practice.crops import aligned, save_crop
from affectkit.practice.feelings import Values, feelings_of
from affectkit.practice.settings import SetLayout, SetSettings, dealt
from affectkit.practice.whole_clips import class_scene
from affectkit.store.atomic import write_text

FOLDS = 5


def jobs(folder: Path, settings: SetSettings) -> Iterator[Callable[[], None]]:
    """What is to be written, a clip at a time, and in the end the folds."""
    feelings = feelings_of("dfew")
    classes = list(islice(dealt(settings.rng(4), len(feelings)), settings.clips))
    folds = [number // len(feelings) % FOLDS for number in range(settings.clips)]  # so every class is in every fold
    for number, label in enumerate(classes):
        yield partial(_write, folder, settings, number, feelings[label])
    yield partial(_write_folds, folder, classes, folds)


def _write(folder: Path, settings: SetSettings, number: int, feeling: Values) -> None:
    name = f"{number + 1:05d}"
    data = folder / "single_label" / "data" / name
    data.mkdir(parents=True, exist_ok=True)
    scene = class_scene(settings, number, feeling)
    for frame, picture in enumerate(scene.frames(settings.size)):
        save_crop(data / f"{name}_{frame + 1:05d}.jpg", aligned(picture, scene.views[frame], scene.look))


def _write_folds(folder: Path, classes: list[int], folds: list[int]) -> None:
    """Each clip is in the test set of one fold and in the training set of the others."""
    (folder / "label").mkdir(parents=True, exist_ok=True)
    for fold in range(FOLDS):
        for split in ("train", "test"):
            rows = [
                f"{number + 1},{label + 1}"
                for number, (label, its) in enumerate(zip(classes, folds, strict=True))
                if (its == fold) == (split == "test")
            ]
            path = folder / "label" / f"single_{split}set_{fold + 1}.csv"
            write_text(path, "\n".join(["video_name,label", *rows]) + "\n")


LAYOUT = SetLayout(
    clips=70, seconds=2.4, least=10, notes=__doc__, jobs=jobs,
    tops=("single_label", "label"),
    about="single_label/data/00001/00001_00001.jpg, label/single_{train,test}set_{1..5}.csv",
)  # fmt: skip
