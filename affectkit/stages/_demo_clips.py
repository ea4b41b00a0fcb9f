"""The data set of `affectkit demo`: short clips of an animated portrait with a synthesised voice, and the curves that
drove both as labels.

Everything here is synthetic: one person, one photograph, babble of a synthesiser, both made from random valence and
arousal curves by fixed rules. A score on it says that the pipeline works; it says nothing about recognising people's
emotions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from affectkit.errors import AffectkitError, UsageError
from affectkit.media import write_video
from affectkit.stages._animated_face import PHOTO_SHA256, photograph
from affectkit.stages._demo_scenes import Scene, make_scene
from affectkit.stages._demo_voice import SAMPLING_RATE, make_voice
from affectkit.store.atomic import explained, write_text
from affectkit.types import SPLITS
from affectkit.untrusted import read_object

GENERATOR_VERSION = 3  # bump when a frame, a sound or a label changes
CLIPS = {"train": 12, "val": 4, "test": 6}


@dataclass(frozen=True)
class DemoSet:
    """Where a demo data set lies: `clips` is a folder of mp4 files to give to `extract faces`, `labels` a CSV
    (`clip,start,end,split,valence,arousal`; a row a frame, values in [-1, 1]), `splits` each clip's split by id."""

    clips: Path
    labels: Path
    splits: dict[str, str]


def make_demo_clips(
    folder: Path,
    *,
    clips: Mapping[str, int] = CLIPS,
    seconds: float = 7.0,
    fps: int = 10,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DemoSet:
    """Writes the clips and their labels under `folder`, unless the same settings have written them already.

    `clips` counts the clips of each split; every clip has its own seed, so that it does not depend on the others.
    Pose, camera, light, colours and the speaker vary independently of the labels. Files appear complete or not at all.
    `progress(done, total)` is called after each clip. Takes about 20 ms a frame.

    Raises MissingExtra without scikit-image, UsageError on settings that make no clip, AffectkitError when the disk
    is full or may not be written.
    """
    _check(clips, seconds, fps, size, seed)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the demo's clips")
    splits = {f"{split}-{n:02d}": split for split in SPLITS for n in range(clips.get(split, 0))}
    demo = DemoSet(folder / "clips", folder / "labels.csv", splits)
    marker, settings = folder / "demo.json", _settings(clips, seconds, fps, size, seed)
    if _is_complete(demo, marker, settings):
        return demo
    photograph()  # fails here, before anything is written
    with explained(folder):
        _forget(demo, marker)
        _write(demo, seconds, fps, size, seed, progress)
        write_text(marker, json.dumps(settings, indent=1) + "\n")
    return demo


def _check(clips: Mapping[str, int], seconds: float, fps: int, size: int, seed: int) -> None:
    wrong = sorted(set(clips) - set(SPLITS))
    if wrong or any(count < 0 for count in clips.values()) or not sum(clips.values()):
        raise UsageError(f"demo clips {dict(clips)}: give the number of clips for each of {', '.join(SPLITS)}")
    if not (1 <= fps <= 60 and 1 <= seconds * fps <= 10_000):
        raise UsageError(f"demo clips of {seconds} s at {fps} fps: fps is 1 to 60, a clip 1 to 10000 frames")
    if seed < 0:
        raise UsageError(f"demo seed {seed}: a seed is 0 or more")
    if not 64 <= size <= 1024 or size % 2:
        raise UsageError(f"demo clips of {size} pixels: size is an even number from 64 to 1024")


def _settings(clips: Mapping[str, int], seconds: float, fps: int, size: int, seed: int) -> dict[str, Any]:
    return {
        "what": "synthetic demo data of affectkit: one animated photograph, a synthesised voice; not a benchmark",
        "generator_version": GENERATOR_VERSION,
        "photo_sha256": PHOTO_SHA256,
        "clips": {split: clips.get(split, 0) for split in SPLITS},
        "seconds": seconds,
        "fps": fps,
        "size": size,
        "seed": seed,
    }


def _is_complete(demo: DemoSet, marker: Path, settings: dict[str, Any]) -> bool:
    try:
        written = read_object(marker, "the mark of a demo set")
    except AffectkitError:
        return False
    files = [demo.labels, *(demo.clips / f"{clip}.mp4" for clip in demo.splits)]
    return bool(written == settings) and all(file.is_file() for file in files)


def _forget(demo: DemoSet, marker: Path) -> None:
    """Removes what other settings wrote: a clip without labels would be in the way."""
    marker.unlink(missing_ok=True)
    demo.labels.unlink(missing_ok=True)
    for split in SPLITS:
        for clip in demo.clips.glob(f"{split}-[0-9][0-9]*.mp4"):
            if clip.stem not in demo.splits:
                clip.unlink()


def _rng(seed: int, clip: str, what: Literal["scene", "voice"]) -> np.random.Generator:
    split, number = clip.rsplit("-", 1)
    return np.random.default_rng([seed, SPLITS.index(split), int(number), *([1] if what == "voice" else [])])


def _write(
    demo: DemoSet, seconds: float, fps: int, size: int, seed: int, progress: Callable[[int, int], None] | None
) -> None:
    demo.clips.mkdir(parents=True, exist_ok=True)
    scenes = {}
    for done, clip in enumerate(demo.splits, start=1):
        scene = scenes[clip] = make_scene(_rng(seed, clip, "scene"), round(seconds * fps), fps)
        voice = make_voice(_rng(seed, clip, "voice"), scene.valence, scene.arousal, fps)
        write_video(demo.clips / f"{clip}.mp4", scene.frames(size), fps, audio=(voice, SAMPLING_RATE))
        if progress is not None:
            progress(done, len(demo.splits))
    _write_labels(demo, scenes, fps)


def _write_labels(demo: DemoSet, scenes: Mapping[str, Scene], fps: int) -> None:
    lines = ["clip,start,end,split,valence,arousal"]
    for clip, scene in scenes.items():
        for n, (valence, arousal) in enumerate(zip(scene.valence, scene.arousal, strict=True)):
            times = f"{n / fps:.4f},{(n + 1) / fps:.4f}"
            lines.append(f"{clip},{times},{demo.splits[clip]},{valence:.4f},{arousal:.4f}")
    write_text(demo.labels, "\n".join(lines) + "\n")
