"""Practice data in the layout of Hume-Reaction as MuSe-2022 gave it: labels.csv, partition.csv, ids in brackets.

Planted, because the real data has them: ids written `[12345]`, test clips in partition.csv alone. Unlike there, persons
(appearances) recur in all splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from affectkit.practice.filming import film
from affectkit.practice.settings import SetLayout, SetSettings, dealt_by_split
from affectkit.practice.whole_clips import clip_splits, draw_intensities, mixed_scene
from affectkit.store.atomic import write_text
from affectkit.tables.submissions import FORMATS

_NAMES = {"train": "train", "val": "devel", "test": "test"}
_FORM = FORMATS["hume-reaction"]


def jobs(folder: Path, settings: SetSettings) -> Iterator[Callable[[], None]]:
    """What is to be written, a clip at a time, and in the end the tables."""
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    ids = (settings.rng(6).choice(90_000, settings.clips, replace=False) + 10_000).tolist()
    splits = clip_splits(settings)
    strongest_of = dealt_by_split(settings, 7)
    intensities = [
        draw_intensities(settings.rng(7, number), next(strongest_of[split])).round(4)
        for number, split in enumerate(splits)
    ]
    for number, (name, values) in enumerate(zip(ids, intensities, strict=True)):
        scene = mixed_scene(settings, number, values)
        yield partial(film, folder / "raw" / f"{name}.mp4", [scene], settings, number)
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


LAYOUT = SetLayout(
    clips=140, seconds=2.5, least=3, notes=__doc__, jobs=jobs,
    tops=("raw", "labels.csv", "partition.csv", "submission_template.csv"),
    about="raw/*.mp4, labels.csv, partition.csv, submission_template.csv",
)  # fmt: skip
