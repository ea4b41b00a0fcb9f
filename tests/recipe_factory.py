"""What the tests of recipes share: a small data set of crops with planted labels, and a recipe that runs on it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

FPS = 10.0
FRAMES = 24
SPLITS = {"train": 5, "val": 4, "test": 4}

FACES = """\
[steps.faces]
stage = "extract-faces"
data = "main"
size = 32
format = "png"
source_fps = 10.0
"""
OTHER_FACES = FACES.replace("steps.faces", "steps.other-faces").replace('"main"', '"other"')
RECIPE = f"""\
title = "Two small systems"
practice = "affwild2"

[data.main]
dataset = "table"

{FACES}
[steps.grid]
stage = "embed"
from = "faces"
backbone = "mean-pixel"

[steps.windows]
stage = "functionals"
from = "grid"
window = 1.0

[steps.net]
stage = "train-head"
from = ["grid"]
labels = "main"
task = "va"
head = "mlp"
option = {{ epochs = 3, hidden = "8" }}

[steps.kernel]
stage = "train-head"
from = ["windows"]
labels = "main"
task = "va"
head = "kernel-elm"

[steps.net-scores]
stage = "predict"
from = ["net", "grid"]

[steps.kernel-scores]
stage = "predict"
from = ["kernel", "windows"]

[steps.fused]
stage = "fuse"
from = ["net-scores", "kernel-scores"]
labels = "main"
task = "va"
option = {{ draws = 50 }}

[steps.systems]
stage = "compare"
from = ["fused", "net-scores", "kernel-scores"]
labels = "main"
task = "va"
draws = 50

[steps.submission]
stage = "submit"
from = "fused"
format = "affwild2-va"
template = "{{main}}/template.txt"
fps = 10.0

[tiny]
"net.option.epochs" = 2
net.option.hidden = "4"
"grid.dtype" = "float16"

[tiny.drop]
steps = ["submission"]
"""


def write_recipe(path: Path, text: str = RECIPE) -> Path:
    """A recipe's file."""
    path.write_text(text)
    return path


def write_set(root: Path, splits: dict[str, int] | None = None) -> Path:
    """Folders of crops whose upper half shows valence and whose lower half arousal; labels.csv; a template for the test
    clips."""
    rows, template = ["clip,start,end,split,valence,arousal"], ["image_location,valence,arousal"]
    generator = np.random.default_rng(0)
    for split, count in (splits or SPLITS).items():
        for number in range(count):
            clip = f"{split}{number}"
            for frame, (valence, arousal) in enumerate(_curves(generator)):
                _write_crop(root / "cropped_aligned" / clip, frame, valence, arousal, generator)
                rows.append(f"{clip},{frame / FPS},{(frame + 1) / FPS},{split},{valence:.4f},{arousal:.4f}")
                if split == "test":
                    template.append(f"{clip}/{frame + 1:05d}.jpg,-5,-5")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    (root / "template.txt").write_text("\n".join(template) + "\n")
    return root


def _curves(generator: np.random.Generator) -> np.ndarray:
    """[FRAMES,2] two random walks in -1..1."""
    return np.clip(np.cumsum(generator.normal(0, 0.3, (FRAMES, 2)), axis=0), -1, 1)


def _write_crop(folder: Path, frame: int, valence: float, arousal: float, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    halves = np.repeat([128 + 100 * valence, 128 + 100 * arousal], 16)[:, None, None]
    picture = np.clip(halves + generator.normal(0, 15, (32, 32, 3)), 0, 255).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG", compress_level=1)
    (folder / f"{frame + 1:05d}.png").write_bytes(encoded.getvalue())
