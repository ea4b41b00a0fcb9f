"""Practice data in the layout of Aff-Wild2: videos, aligned crops, a row of labels a frame, templates.

Planted, because the real data has them: rows of -5 and -1, files with more or fewer rows than the video has frames,
frames without a crop, two persons in one video, a video with labels of one task only, test videos without labels, a
template that goes on beyond the end of a video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from affectkit.practice.animated_face import Frame
from affectkit.practice.crops import aligned, save_crop
from affectkit.practice.feelings import feelings_of
from affectkit.practice.filming import film
from affectkit.practice.scenes import Scene, episodes, frame_times, make_scene
from affectkit.practice.settings import SetLayout, SetSettings, dealt_by_split, mixed_splits, split_sizes
from affectkit.store.atomic import write_text
from affectkit.tables.submissions import FORMATS
from affectkit.tasks import BUILT_IN

_FOLDERS = {"va": "VA_Estimation_Challenge", "expr": "EXPR_Recognition_Challenge"}
_SETS = {"train": "Train_Set", "val": "Validation_Set"}
_SHARES = {"train": 0.6, "val": 0.25, "test": 0.15}
_EPISODE = 1.8  # s, about
_SURPLUS, _LACKING, _BEYOND = 3, 2, 2  # rows


@dataclass(frozen=True, repr=False)
class Video:
    """A video before it is written. `place` counts the videos of its split; `classes` [T] of each person's scene."""

    name: str
    number: int
    split: str
    place: int
    scenes: tuple[Scene, ...]
    classes: tuple[np.ndarray, ...]

    @property
    def clips(self) -> list[str]:
        """The clip of each person: two are the left and the right one."""
        return [self.name] if len(self.scenes) == 1 else [f"{self.name}_left", f"{self.name}_right"]


def jobs(folder: Path, settings: SetSettings) -> Iterator[Callable[[], None]]:
    """What is to be written, a video at a time, and in the end the templates."""
    videos = list(cast(settings))
    for name in (
        "videos",
        "submission_templates",
        *(f"{task}/{split}" for task in _FOLDERS.values() for split in _SETS.values()),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for video in videos:
        yield partial(_write, folder, settings, video)
    yield partial(_write_templates, folder, [video for video in videos if video.split == "test"])


def cast(settings: SetSettings) -> Iterator[Video]:
    """Every video; a person is in one or two of one split. The last training video shows two persons."""
    sizes = split_sizes(settings.clips, _SHARES)
    splits = mixed_splits(settings.rng(3), sizes)
    each = max(1, round(settings.seconds / _EPISODE))
    feelings, times = feelings_of("expr"), frame_times(settings.frames, settings.fps)
    classes_of = dealt_by_split(settings, len(feelings))
    for number, split in enumerate(splits):
        place = splits[:number].count(split)
        persons = 2 if split == "train" and place == sizes["train"] - 1 else 1
        scenes, classes = [], []
        for person in range(persons):
            rng = settings.rng(5, number, person)
            shown, which = episodes(rng, feelings, list(islice(classes_of[split], each)), times)
            who = 1000 * list(sizes).index(split) + place // 2 + 500 * person
            scenes.append(make_scene(rng, settings.look(who), shown, times))
            classes.append(which)
        yield Video(f"video{number + 1:02d}", number, split, place, tuple(scenes), tuple(classes))


def _write(folder: Path, settings: SetSettings, video: Video) -> None:
    crops = [folder / "cropped_aligned" / clip for clip in video.clips]
    missing = _missing(video, settings.frames)
    for path in crops:
        path.mkdir(parents=True, exist_ok=True)

    def seen(frame: int, person: int, picture: Frame) -> None:
        scene = video.scenes[person]
        if frame not in missing:
            save_crop(crops[person] / f"{frame + 1:05d}.jpg", aligned(picture, scene.views[frame], scene.look))

    film(folder / "videos" / f"{video.name}.mp4", video.scenes, settings, video.number, seen)
    if video.split in _SETS:
        for clip, scene, classes in zip(video.clips, video.scenes, video.classes, strict=True):
            for task, rows in _rows(video, scene, classes, settings).items():
                path = folder / _FOLDERS[task] / _SETS[video.split] / f"{clip}.txt"
                write_text(path, "\n".join([",".join(BUILT_IN[task].targets), *rows]) + "\n")


def _missing(video: Video, frames: int) -> frozenset[int]:
    """Frames without a crop, as where no face was detected: three in a row, or the first."""
    if video.number % 3 == 0:
        return frozenset(range(frames // 2, min(frames // 2 + 3, frames)))
    return frozenset({0}) if video.number % 6 == 1 else frozenset()


def _rows(video: Video, scene: Scene, classes: np.ndarray, settings: SetSettings) -> dict[str, list[str]]:
    """The lines of each task's file, with what is planted in them."""
    va = [f"{valence:.3f},{arousal:.3f}" for valence, arousal in zip(scene.valence, scene.arousal, strict=True)]
    expr = ["-1" if unsure else str(label) for label, unsure in zip(classes.tolist(), _unsure(classes), strict=True)]
    blank = slice(len(va) // 3, len(va) // 3 + max(1, settings.fps // 2))
    if video.place == 1:
        va[blank] = ["-5,-5"] * len(va[blank])
        expr[blank] = ["-1"] * len(expr[blank])
    rows = {"va": va, "expr": expr}
    if video.split == "train" and video.place == 0:
        rows = {task: [*lines, *lines[-1:] * _SURPLUS] for task, lines in rows.items()}
    if video.split == "val" and video.place == 0:
        rows = {task: lines[:-_LACKING] for task, lines in rows.items()}
    if video.split == "train" and video.place == 2:
        del rows["expr"]
    return rows


def _unsure(classes: np.ndarray) -> np.ndarray:
    """[T] the two frames at which every second change of expression happens: nobody can tell."""
    unsure = np.zeros(len(classes), bool)
    for at in np.flatnonzero(np.diff(classes))[::2]:
        unsure[at : at + 2] = True
    return unsure


def _write_templates(folder: Path, videos: list[Video]) -> None:
    """A row a frame of the test videos; the first one's go on beyond its end."""
    for task, name in (("va", "affwild2-va"), ("expr", "affwild2-expr")):
        form = FORMATS[name]
        cells = "," * (form.width - 1)
        lines = [
            f"{clip}/{frame + 1:05d}.jpg{cells}"
            for number, video in enumerate(videos)
            for clip, scene in zip(video.clips, video.scenes, strict=True)
            for frame in range(len(scene) + (_BEYOND if number == 0 else 0))
        ]
        write_text(folder / "submission_templates" / f"{task}.txt", "\n".join([form.header, *lines]) + "\n")


LAYOUT = SetLayout(
    clips=32, seconds=7.0, least=6, notes=__doc__, jobs=jobs,
    tops=("videos", "cropped_aligned", "VA_Estimation_Challenge", "EXPR_Recognition_Challenge", "submission_templates"),
    about="videos/, cropped_aligned/, {VA_Estimation,EXPR_Recognition}_Challenge/, submission_templates/{va,expr}.txt",
)  # fmt: skip
