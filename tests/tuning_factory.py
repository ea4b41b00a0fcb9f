"""A problem that a tiny network learns in seconds: what the colour of a crop says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from network_inputs import make_crops

from affectkit.store import Artifact, Cache

SIDE, ROWS = 16, 10
TINY = ["backbone=test_resnet", "input_size=16", "width=16", "augment=0", "warmup_steps=0"]
"""A network of a few layers."""

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]])
NAMES = ["Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other"]


def classes_of(number: int) -> np.ndarray:
    """[ROWS] the classes of a clip's rows."""
    return np.random.default_rng([number, 1]).integers(0, len(COLOURS), ROWS)


def coloured(count: int = 8, *, gap: bool = False) -> dict[str, list[Any]]:
    """Clips of noisy pictures, each row in the colour of its class; with `gap`, the third row has no face."""
    clips: dict[str, list[Any]] = {}
    for number in range(count):
        rng = np.random.default_rng(number)
        noise = rng.normal(0, 20, (ROWS, SIDE, SIDE, 3))
        pictures: list[Any] = list(np.clip(COLOURS[classes_of(number)][:, None, None] + noise, 0, 255).astype(np.uint8))
        if gap:
            pictures[2] = None
        clips[f"c{number}"] = pictures
    return clips


def crops(root: Path, count: int = 8, *, gap: bool = False) -> Artifact:
    """The faces artifact of these."""
    return make_crops(Cache(root), coloured(count, gap=gap), SIDE)


def expr_labels(path: Path, count: int = 8, val: int = 2) -> Path:
    """The class of each row; the last `val` clips are for validation."""
    lines = ["clip,start,end,split,label"]
    for number in range(count):
        split = "val" if number >= count - val else "train"
        for row, label in enumerate(classes_of(number)):
            lines.append(f"c{number},{row / 5},{(row + 1) / 5},{split},{NAMES[label]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def va_labels(path: Path, count: int = 8, val: int = 2, train: bool = True) -> Path:
    """Valence and arousal: how red and how green the row is."""
    lines = ["clip,start,end,split,valence,arousal"]
    for number in range(0 if train else count - val, count):
        split = "val" if number >= count - val else "train"
        for row, label in enumerate(classes_of(number)):
            red, green, _ = (COLOURS[label] - 120) / 100
            lines.append(f"c{number},{row / 5},{(row + 1) / 5},{split},{red},{green}")
    path.write_text("\n".join(lines) + "\n")
    return path
