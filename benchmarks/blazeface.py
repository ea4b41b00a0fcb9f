"""Detector blazeface: what it finds, against retinaface-mobilenet; how fast it is, against centerface; and how fast
`extract faces` is with it, against real time.

Found = frames of the clips at hand in which retinaface-mobilenet finds a face and blazeface does too, the mean IoU of
their boxes, and frames with a face in a clip that has none. Calls = both detectors on the frames that the stage gives
at once (16), resized from 640 x 360 by them, on all cores. Stage = the whole of `affectkit extract faces` on H.264
clips of 640 x 360 at 5 frames a second, one clip and two, from scanning the files to sealing the table.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _clips import face_clip, repeated
from _report import Ratio, alternate, machine, options, seconds, show_value

from affectkit import plugins
from affectkit.config import Runtime
from affectkit.errors import AffectkitError
from affectkit.media import Sampling, StillReader, VideoReader
from affectkit.stages.faces import ExtractFaces, FacesConfig
from affectkit.stages.stage import Context
from affectkit.store import Cache
from affectkit.tables.sources import clips_of

MEDIA = Path("../shared/media")
MOBILENET = Path("../shared/weights/retinaface_mobilenet0.25.pth")
AT_ONCE = 16
PIECE = 20.0  # seconds of different pictures in a clip, shown again and again


def detector(name: str, weights: str = "auto", **chosen: Any) -> Any:
    """The detector, on the CPU."""
    plugin = plugins.get("detectors", name)
    settings = plugin.Options(**chosen)
    return plugin(settings, plugin.weights(settings, weights), "cpu")


def compare_faces(network: Any) -> None:
    """Print what both detectors find in the clips at hand."""
    if not (MEDIA.is_dir() and MOBILENET.exists()):
        print(f"what it finds is left out: no {MEDIA} or {MOBILENET}")
        return
    reference = detector("retinaface-mobilenet", str(MOBILENET))
    with_face = with_both = 0
    overlaps = []
    for name in ("single_face.mp4", "single_face.jpg", "multi_face.jpg"):
        for frame in _frames(MEDIA / name):
            (theirs,), (ours,) = reference(frame[None]), network(frame[None])
            with_face += bool(len(theirs))
            with_both += bool(len(theirs) and len(ours))
            best = [max((_iou(box, each) for each in ours.boxes), default=0.0) for box in theirs.boxes]
            overlaps += [value for value in best if value > 0]
    empty = sum(bool(len(network(frame[None])[0])) for frame in _frames(MEDIA / "no_face.mp4"))
    Ratio([with_both], [with_face], "frames", at_least=0.95).show(
        "frames with a face, of those of retinaface-mobilenet"
    )
    show_value("mean IoU of the boxes", [statistics.mean(overlaps)], "", at_least=0.85)
    show_value("frames with a face in no_face.mp4", [empty], "frames", at_most=0)


def _frames(path: Path) -> list[np.ndarray]:
    if path.suffix == ".jpg":
        return [frame.image for frame in StillReader(path, Sampling(fps="native"))]
    return [frame.image for frame in VideoReader(path, Sampling(fps="native"))]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.maximum(high - low, 0)))
    return inter / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inter)


def compare_calls(network: Any, clip: Path, rounds: int) -> None:
    """Print the frames a second of both detectors' calls."""
    centerface = detector("centerface")
    frames = np.stack([frame.image for frame in VideoReader(clip, Sampling(frames=AT_ONCE))])
    network(frames), centerface(frames)
    taken = alternate(rounds, ours=seconds(lambda: network(frames)), theirs=seconds(lambda: centerface(frames)))
    rates = {name: [len(frames) / value for value in values] for name, values in taken.items()}
    Ratio(rates["ours"], rates["theirs"], "frames/s", at_least=8).show(
        f"detector's call, frames of {frames.shape[2]}x{frames.shape[1]}, blazeface against centerface"
    )


def compare_stage(clips: list[Path], length: float, rounds: int) -> None:
    """Print how much faster than real time `extract faces` is."""

    def stage() -> None:
        with tempfile.TemporaryDirectory(dir=clips[0].parent) as cache:
            context = Context(Cache(Path(cache)), Runtime(progress=False), device="cpu")
            config = FacesConfig(detector="blazeface", fps=5.0)
            done = ExtractFaces().run(ExtractFaces.Inputs(media=clips_of(list(map(str, clips)))), config, context)
            assert done.computed == len(clips) and not done.failed, done

    taken = alternate(rounds, stage=seconds(stage))["stage"]
    what = f"extract faces, blazeface, {len(clips)} clip{'s'[: len(clips) > 1]} of {length:g} s at 5 fps"
    show_value(f"{what}, against real time", [length * len(clips) / value for value in taken], "times", at_least=35)


def main() -> None:
    parser = options(__doc__, quick={"seconds": 60.0, "rounds": 3}, smoke={"seconds": 1.0, "rounds": 1})
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    try:
        network = detector("blazeface")
    except AffectkitError as error:
        print(f"blazeface is left out: {error}")
        print(machine())
        return
    if given.seconds > 1:
        compare_faces(network)
    with tempfile.TemporaryDirectory() as folder:
        piece = face_clip(Path(folder), min(PIECE, given.seconds))
        compare_calls(network, piece, given.rounds)
        times = max(1, round(given.seconds / PIECE))
        clips = [repeated(piece, times, Path(folder) / f"{name}.mp4") for name in ("a", "b")]
        length = times * min(PIECE, given.seconds)
        compare_stage(clips[:1], length, given.rounds)
        compare_stage(clips, length, given.rounds)
    print(machine())


if __name__ == "__main__":
    main()
