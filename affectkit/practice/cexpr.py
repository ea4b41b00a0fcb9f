"""Practice data in the layout of C-EXPR-DB as ABAW gives it: unlabelled videos and a template.

The real data has no labels at all. So that there is something to learn from, `labels.csv` (clip, split, label) holds
labels of our own for training and validation clips; give it as `--dataset-option labels=DIR/labels.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from affectkit.practice.feelings import feelings_of
from affectkit.practice.filming import film
from affectkit.practice.settings import SetLayout, SetSettings, dealt_by_split
from affectkit.practice.whole_clips import class_scene, clip_splits
from affectkit.store.atomic import write_text
from affectkit.tables.submissions import FORMATS
from affectkit.tasks import BUILT_IN

_FORM = FORMATS["cexpr"]


def jobs(folder: Path, settings: SetSettings) -> Iterator[Callable[[], None]]:
    """What is to be written, a clip at a time, and in the end the tables."""
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    feelings, names = feelings_of("compound"), BUILT_IN["compound"].targets
    splits = clip_splits(settings)
    classes_of = dealt_by_split(settings, len(names))
    labels, template = ["clip,split,label"], [_FORM.header]
    for number, split in enumerate(splits):
        clip, label = f"{number + 1:03d}", next(classes_of[split])
        scene = class_scene(settings, number, feelings[label])
        yield partial(film, folder / "videos" / f"{clip}.mp4", [scene], settings, number)
        if split == "test":
            template += [f"{clip}/{frame + 1:05d}.jpg," for frame in range(settings.frames)]
        else:
            labels.append(f"{clip},{split},{names[label]}")
    yield partial(write_text, folder / "labels.csv", "\n".join(labels) + "\n")
    yield partial(write_text, folder / "submission_template.txt", "\n".join(template) + "\n")


LAYOUT = SetLayout(
    clips=112, seconds=2.4, least=3, notes=__doc__, jobs=jobs,
    tops=("videos", "labels.csv", "submission_template.txt"),
    about="videos/*.mp4, submission_template.txt; labels.csv (the real data has no labels)",
)  # fmt: skip
