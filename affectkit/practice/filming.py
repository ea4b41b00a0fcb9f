"""Clips to files: drawn, spoken, encoded, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from affectkit.media import write_video
from affectkit.practice.animated_face import Frame
from affectkit.practice.scenes import Scene
from affectkit.practice.settings import SetSettings
from affectkit.practice.voice import SAMPLING_RATE
from affectkit.stages.sink import Meter

Seen = Callable[[int, int, Frame], None]
"""Called with the number of a frame (from 0), of a person (from 0) and the picture of that person."""


def film(path: Path, scenes: Sequence[Scene], settings: SetSettings, number: int, seen: Seen | None = None) -> None:
    """Write a video with sound of one person, or of several side by side, who speak at the same time."""
    voices = [scene.voice(settings.rng(2, number, person), settings.fps) for person, scene in enumerate(scenes)]
    sound = np.mean(voices, axis=0).astype(np.float32)
    write_video(path, _pictures(scenes, settings.size, seen), settings.fps, audio=(sound, SAMPLING_RATE))


def each(jobs: Sequence[Callable[[], None]], workers: int, meter: Meter) -> None:
    """Run the jobs on `workers` threads (0: one per core). The first that fails stops those that have not begun."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        running = [pool.submit(job) for job in jobs]
        try:
            for job in running:
                job.result()
                meter.advance(clips=1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _pictures(scenes: Sequence[Scene], size: int, seen: Seen | None) -> Iterator[Frame]:
    for number, faces in enumerate(zip(*(scene.frames(size) for scene in scenes), strict=True)):
        if seen is not None:
            for person, face in enumerate(faces):
                seen(number, person, face)
        yield faces[0] if len(faces) == 1 else np.concatenate(faces, axis=1)
