"""Practice data in the layout of C-EXPR-DB as ABAW gives it: unlabelled videos and a template.

The real data has no labels at all. So that there is something to learn from, `labels.csv` (clip, split, label) holds
labels of our own for training and validation clips; give it as `--dataset-option labels=DIR/labels.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from affectkit.practice._feelings import Values, feelings_of
from affectkit.practice._filming import film
from affectkit.practice._whole_clips import class_scene, clip_splits
from affectkit.practice.settings import Plan, deal_by_split
from affectkit.store.atomic import write_text
from affectkit.tables.submissions import FORMATS
from affectkit.tasks import BUILT_IN

CLIPS, SECONDS, LEAST = 112, 2.4, 3
TOPS = ("videos", "labels.csv", "submission_template.txt")
ABOUT = "videos/*.mp4, submission_template.txt; labels.csv (the real data has no labels)"
_FORM = FORMATS["cexpr"]


def jobs(folder: Path, plan: Plan) -> Iterator[Callable[[], None]]:
    """What is to be written, a clip at a time, and in the end the tables."""
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    feelings, names = feelings_of("compound"), BUILT_IN["compound"].targets
    splits = clip_splits(plan)
    classes = deal_by_split(plan, splits, len(names))
    labels, template = ["clip,split,label"], [_FORM.header]
    for number, (split, label) in enumerate(zip(splits, classes, strict=True)):
        clip = f"{number + 1:03d}"
        yield partial(_write, folder / "videos" / f"{clip}.mp4", plan, number, feelings[label])
        if split == "test":
            template += [f"{clip}/{frame + 1:05d}.jpg," for frame in range(plan.frames)]
        else:
            labels.append(f"{clip},{split},{names[label]}")
    yield partial(write_text, folder / "labels.csv", "\n".join(labels) + "\n")
    yield partial(write_text, folder / "submission_template.txt", "\n".join(template) + "\n")


def _write(path: Path, plan: Plan, number: int, feeling: Values) -> None:
    film(path, [class_scene(plan, number, feeling)], plan, number)
