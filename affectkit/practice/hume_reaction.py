"""Practice data in the layout of Hume-Reaction as MuSe-2022 gave it: labels.csv, partition.csv, ids in brackets.

Planted, because the real data has them: ids written `[12345]`, test clips in partition.csv alone. Unlike there, persons
(appearances) recur in all splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from affectkit.practice._feelings import Values
from affectkit.practice._filming import film
from affectkit.practice._whole_clips import clip_splits, draw_intensities, mixed_scene
from affectkit.practice.settings import Plan, deal_by_split
from affectkit.store.atomic import write_text
from affectkit.tables.submissions import FORMATS

CLIPS, SECONDS, LEAST = 140, 2.5, 3
TOPS = ("raw", "labels.csv", "partition.csv", "submission_template.csv")
ABOUT = "raw/*.mp4, labels.csv, partition.csv, submission_template.csv"
_NAMES = {"train": "train", "val": "devel", "test": "test"}
_FORM = FORMATS["hume-reaction"]


def jobs(folder: Path, plan: Plan) -> Iterator[Callable[[], None]]:
    """What is to be written, a clip at a time, and in the end the tables."""
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    ids = (plan.rng(6).choice(90_000, plan.clips, replace=False) + 10_000).tolist()
    splits = clip_splits(plan)
    strongest = deal_by_split(plan, splits, 7)
    intensities = [draw_intensities(plan.rng(7, number), strongest[number]).round(4) for number in range(plan.clips)]
    for number, (name, values) in enumerate(zip(ids, intensities, strict=True)):
        yield partial(_write, folder / "raw" / f"{name}.mp4", plan, number, values)
    rows = {f"[{name}]": (_NAMES[split], ",".join(f"{value:.4f}" for value in values))
            for name, split, values in sorted(zip(ids, splits, intensities, strict=True))}  # fmt: skip
    tables = {
        "labels.csv": [
            _FORM.header,
            *(f"{name},{values}" for name, (split, values) in rows.items() if split != "test"),
        ],
        "partition.csv": ["Id,Split", *(f"{name},{split}" for name, (split, _) in rows.items())],
        "submission_template.csv": [
            _FORM.header,
            *(f"{name}{',' * 7}" for name, (split, _) in rows.items() if split == "test"),
        ],
    }
    for table, lines in tables.items():
        yield partial(write_text, folder / table, "\n".join(lines) + "\n")


def _write(path: Path, plan: Plan, number: int, intensities: Values) -> None:
    film(path, [mixed_scene(plan, number, intensities)], plan, number)
