"""The extract-faces stage against its two unavoidable parts: decoding the file, and the detector's forward passes.

Reference = every frame of the file decoded by PyAV, nothing done with them (no conversion to RGB), plus the
detector's network on the sampled frames, prepared as its input beforehand, at the stage's batch size, nothing done
with what it says. Stage = what `affectkit extract faces` does: digest of the file, scan, decoding, conversion,
resizing, the same passes, candidates to boxes, linking, cutting and encoding every crop, digests, writing and sealing.
It includes making the detector; the reference does not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _clips import face_clip
from _report import Ratio, alternate, machine, options, seconds

from affectkit import plugins
from affectkit.config import Runtime
from affectkit.media import Sampling, VideoReader
from affectkit.stages.faces import ExtractFaces, FacesConfig
from affectkit.stages.stage import Context
from affectkit.store import Cache
from affectkit.tables.sources import clips_of

MOBILENET = Path("../shared/weights/retinaface_mobilenet0.25.pth")


def decode(path: Path) -> None:
    """Every frame of the file, by FFmpeg's own threads."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for _ in container.decode(video=0):
            pass


def forward(detector: str, weights: str, images: list[np.ndarray]) -> Callable[[], None]:
    """The detector's bare network over prepared inputs."""
    plugin = plugins.get("detectors", detector)
    options = plugin.Options()
    made = plugin(options, plugin.weights(options, weights), "cpu")
    return _onnx_passes(made, images) if detector == "centerface" else _torch_passes(made, images)


def _onnx_passes(made: Any, images: list[np.ndarray]) -> Callable[[], None]:
    from affectkit.detectors import centerface
    from affectkit.detectors._boxes import fit

    where = fit(images[0].shape[1], images[0].shape[0], made._options.max_size)
    inputs = [centerface._input(image, where) for image in images]
    outputs = [centerface.HEAT, centerface.SIZE, centerface.OFFSET, centerface.LANDMARKS]

    def run() -> None:
        for batch in inputs:
            made._session.run(outputs, {centerface.INPUT: batch})

    return run


def _torch_passes(made: Any, images: list[np.ndarray]) -> Callable[[], None]:
    import torch

    from affectkit.detectors._boxes import fit

    inner = made._detector
    size = inner._options.batch_size
    where = fit(images[0].shape[1], images[0].shape[0], inner._options.max_size)
    inputs = [inner._input(np.stack(images[i : i + size]), where) for i in range(0, len(images), size)]

    def run() -> None:
        with torch.inference_mode():
            for batch in inputs:
                inner._network(batch)

    return run


def main() -> None:
    parser = options(__doc__, quick={"seconds": 10.0, "rounds": 2}, smoke={"seconds": 1.0, "rounds": 1})
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fps", default="5", help="sampling rate, or native")
    parser.add_argument("--retinaface-weights", type=Path, default=MOBILENET, help="checkpoint of retinaface-mobilenet")
    given = parser.parse_args()
    detectors = {"centerface": "auto"}
    if given.retinaface_weights.exists():
        detectors["retinaface-mobilenet"] = str(given.retinaface_weights)
    else:
        print(f"retinaface-mobilenet is left out: no {given.retinaface_weights}")
    with tempfile.TemporaryDirectory() as folder:
        clip = face_clip(Path(folder), given.seconds)
        for detector, weights in detectors.items():
            compare(clip, detector, weights, given.fps, given.rounds)
    print(machine())


def compare(clip: Path, detector: str, weights: str, fps: str, rounds: int) -> None:
    """Print one detector's ratio."""
    rate = "native" if fps == "native" else float(fps)
    config = FacesConfig(detector=detector, weights=weights, fps=rate)
    images = [frame.image for frame in VideoReader(clip, Sampling(fps=rate))]
    passes = forward(detector, weights, images)

    def stage() -> None:
        with tempfile.TemporaryDirectory(dir=clip.parent) as cache:
            context = Context(Cache(Path(cache)), Runtime(progress=False), device="cpu")
            done = ExtractFaces().run(ExtractFaces.Inputs(media=clips_of([str(clip)])), config, context)
            assert done.computed == 1 and done.rows == len(images), done

    def reference() -> None:
        decode(clip)
        passes()

    stage(), reference()  # imports, memory, the file in the page cache
    taken = alternate(rounds, stage=seconds(stage), decode=seconds(lambda: decode(clip)), forward=seconds(passes))
    bare = [a + b for a, b in zip(taken["decode"], taken["forward"], strict=True)]
    ratio = Ratio(taken["stage"], bare, "s", at_most=1.2)
    ratio.show(
        f"extract faces, {detector}, {len(images)} frames of {images[0].shape[1]}x{images[0].shape[0]} at {fps} fps"
    )
    decoding, passing = (np.median(taken[name]) for name in ("decode", "forward"))
    print(
        f"  of which decode {decoding:.3g} s, forward {passing:.3g} s ({1000 * passing / len(images):.1f} ms a frame)"
    )


if __name__ == "__main__":
    main()
