"""How fast backbone `face-mesh` is, and how much its numbers depend on what they should not.

Pictures with faces may be named; scikit-image's astronaut and matplotlib's Grace Hopper are always among them. Faces
are found anew in every picture, also in scaled and turned ones. A figure of spread is the standard deviation over the
versions of a face, the mean and the greatest over faces.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from _report import machine, options
from PIL import Image

from affectkit import plugins
from affectkit.config import Numerics
from affectkit.tracks.crops import CropConfig, crop_image

SHOWN = ("mouth_opening", "mouth_width", "lids_left", "brow_left", "yaw", "pitch", "roll")
SIZE = 224
Face = tuple[Any, Any, Any]


def installed(package: str, file: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"needs {package}")
    return Path(spec.origin).parent / file


def build(*options: str) -> Any:
    _, plugin, chosen = plugins.backbone("face-mesh", list(options))
    return plugin(chosen, plugin.weights(chosen, "auto"), Numerics(device="cpu", batch_size=32))


class Pictures:
    """Pictures, and the faces that a detector finds in them."""

    def __init__(self, paths: Sequence[Path], detector: str, weights: str) -> None:
        plugin = plugins.get("detectors", detector)
        self._detector = plugin(plugin.Options(), plugin.weights(plugin.Options(), weights), "cpu")
        self.images = [Image.open(path).convert("RGB") for path in paths]
        self.faces = [face for image in self.images for face in self.found(image)]

    def found(self, image: Image.Image) -> list[Face]:
        """Picture, box and landmarks of every face."""
        frame = np.asarray(image)
        (one,) = self._detector(frame[None])
        return [(frame, box, marks) for box, marks in zip(one.boxes, one.landmarks, strict=True)]

    def again(self, image: Image.Image, centre: tuple[float, float]) -> Face | None:
        """The face that holds a point."""
        holds = [
            face for face in self.found(image)
            if face[1][0] <= centre[0] <= face[1][2] and face[1][1] <= centre[1] <= face[1][3]
        ]  # fmt: skip
        return holds[0] if holds else None


def measured(backbone: Any, faces: Sequence[Face], margin: str = "0.25") -> Any:
    """[N,D] of faces."""
    crops = [crop_image(frame, box, marks, CropConfig(margin=margin, size=SIZE)) for frame, box, marks in faces]
    batch = np.stack([np.asarray(crop) for crop in crops]).transpose(0, 3, 1, 2)
    return backbone(batch, boxes=np.stack([box for _, box, _ in faces]))["values"]


def middle(box: Any) -> tuple[float, float]:
    return float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2


def scaled(pictures: Pictures, face: Face, scales: Sequence[float]) -> Iterator[Face | None]:
    image, (x, y) = Image.fromarray(face[0]), middle(face[1])
    for scale in scales:
        size = (round(image.width * scale), round(image.height * scale))
        yield pictures.again(image.resize(size, Image.Resampling.BICUBIC), (x * scale, y * scale))


def turned(pictures: Pictures, face: Face, angles: Sequence[float]) -> Iterator[Face | None]:
    image, centre = Image.fromarray(face[0]), middle(face[1])
    for angle in angles:
        yield pictures.again(image.rotate(angle, Image.Resampling.BICUBIC, center=centre), centre)


def spread(backbone: Any, versions: Sequence[Sequence[Face | None]], what: str, angles: Sequence[float] = ()) -> None:
    """Print how far the versions of each face are apart."""
    names, lost, deviations = backbone.names["values"], 0, []
    for each in versions:
        present = [face for face in each if face is not None]
        lost += len(each) - len(present)
        if len(present) < 2:
            continue
        values = measured(backbone, present).astype(float)
        if angles:  # roll follows the picture
            kept = [angle for angle, face in zip(angles, each, strict=True) if face is not None]
            values[:, names.index("roll")] += kept
        deviations.append(values.std(axis=0))
    table = np.array(deviations)
    print(f"{what} ({len(table)} faces, {lost} versions without a face found)")
    for name in SHOWN:
        column = table[:, names.index(name)]
        print(f"  {name:14s} mean {column.mean():.4f}  greatest {column.max():.4f}")


def speed(faces: Sequence[Face], count: int) -> None:
    crops = [
        np.asarray(crop_image(frame, box, marks, CropConfig(margin="0.25", size=SIZE))) for frame, box, marks in faces
    ]
    batch = np.stack([crops[number % len(crops)] for number in range(count)]).transpose(0, 3, 1, 2)
    boxes = np.zeros((count, 4))
    before = os.environ.get("OMP_NUM_THREADS")
    for threads, chosen in ((1, ["points=false"]), (2, ["points=false"]), (2, ["points=false", "iris=true"])):
        os.environ["OMP_NUM_THREADS"] = str(threads)
        backbone = build(*chosen)
        backbone(batch[:32], boxes=boxes[:32])
        rates, busy = [], []
        for _ in range(3):
            began, spent = time.perf_counter(), time.process_time()
            backbone(batch, boxes=boxes)
            rates.append(count / (time.perf_counter() - began))
            busy.append((time.process_time() - spent) / count)
        print(
            f"{threads} thread(s), {' '.join(chosen)}: {max(rates):,.0f} faces a second; {1e3 * min(busy):.2f} ms of "
            f"a core each, so {threads / min(busy):,.0f} a second where nothing else runs"
        )
    os.environ.pop("OMP_NUM_THREADS")
    if before is not None:
        os.environ["OMP_NUM_THREADS"] = before


def main() -> None:
    parser = options(__doc__, quick={"faces": 200, "moved": 3}, smoke={"faces": 4, "moved": 1, "versions": 2})
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--faces", type=int, default=600, help="faces to time")
    parser.add_argument("--moved", type=int, default=6, help="boxes that are moved, of every face")
    parser.add_argument("--versions", type=int, default=5, help="scales, and angles")
    parser.add_argument("--detector", default="centerface")
    parser.add_argument("--weights", default="auto", help="of the detector")
    given = parser.parse_args()
    own = [installed("skimage", "data/astronaut.png"), installed("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")]
    pictures, backbone = Pictures([*own, *given.pictures], given.detector, given.weights), build("points=false")
    names = backbone.names["values"]
    faces = [
        face for face, row in zip(pictures.faces, measured(backbone, pictures.faces), strict=True) if row[0] >= 0.5
    ]
    print(f"{len(faces)} faces, {len(pictures.faces) - len(faces)} more that the mesh sees no face in")
    speed(faces, given.faces)
    columns = [names.index(name) for name in SHOWN]
    for margin in ("0", "0.1", "0.2", "0.25", "0.35", "0.5", "0.75"):
        rng, deviations, flags = np.random.default_rng(0), [], []
        for frame, box, marks in faces:
            sides = np.tile(box[2:] - box[:2], 2)
            values = measured(
                backbone, [(frame, box + rng.normal(0, 0.05, 4) * sides, marks) for _ in range(given.moved)], margin
            )
            deviations.append(values[:, columns].std(axis=0))
            flags += values[:, 0].tolist()
        shown = ", ".join(f"{name} {value:.4f}" for name, value in zip(SHOWN, np.mean(deviations, axis=0), strict=True))
        print(
            f"margin {margin}, boxes moved by 5 %: face flag below 0.9 in {np.mean(np.array(flags) < 0.9):.1%}; {shown}"
        )
    every = ((1.0, 0.5, 0.75, 1.5, 2.0), (0, -30, -15, 15, 30), (0, -60, -45, 45, 60))
    scales, small, large = (values[: given.versions] for values in every)
    spread(backbone, [list(scaled(pictures, face, scales)) for face in faces], f"scaled by {scales}")
    for angles in (small, large):
        versions = [list(turned(pictures, face, angles)) for face in faces]
        spread(backbone, versions, f"turned by {angles} degrees", angles)
    for row in measured(backbone, faces):
        print("  ".join(f"{name} {value:.3f}" for name, value in zip(names, row, strict=True)))
    print(machine())


if __name__ == "__main__":
    main()
