"""Practice data as a table of labels beside clips, which is what labels of one's own are.

Valence and arousal roam on random curves, independently of one another; face and voice follow them, and a row a frame
says where they are, of test clips as well. All clips show the portrait as it was photographed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from affectkit.practice.filming import film
from affectkit.practice.looks import AS_PHOTOGRAPHED
from affectkit.practice.scenes import Scene, frame_times, make_scene, roaming
from affectkit.practice.settings import SetLayout, SetSettings, split_sizes
from affectkit.store.atomic import write_text
from affectkit.types import SPLITS

_SHARES = {"train": 0.55, "val": 0.18, "test": 0.27}


def jobs(folder: Path, settings: SetSettings) -> Iterator[Callable[[], None]]:
    """What is to be written, a clip at a time, and in the end the table."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rows = ["clip,start,end,split,valence,arousal"]
    for split, count in split_sizes(settings.clips, _SHARES).items():
        for place in range(count):
            clip, number = f"{split}-{place:02d}", 10_000 * SPLITS.index(split) + place  # whatever other splits have
            scene = scene_of(settings, number)
            yield partial(film, folder / "clips" / f"{clip}.mp4", [scene], settings, number)
            for frame, (valence, arousal) in enumerate(zip(scene.valence, scene.arousal, strict=True)):
                times = f"{frame / settings.fps:.4f},{(frame + 1) / settings.fps:.4f}"
                rows.append(f"{clip},{times},{split},{valence:.4f},{arousal:.4f}")
    yield partial(write_text, folder / "labels.csv", "\n".join(rows) + "\n")


def scene_of(settings: SetSettings, number: int) -> Scene:
    """What happens in a clip."""
    rng, times = settings.rng(5, number), frame_times(settings.frames, settings.fps)
    return make_scene(rng, AS_PHOTOGRAPHED, roaming(rng, times), times)


LAYOUT = SetLayout(
    clips=22, seconds=7.0, least=3, size=256, notes=__doc__, jobs=jobs,
    tops=("clips", "labels.csv"),
    about="clips/*.mp4, labels.csv",
)  # fmt: skip
