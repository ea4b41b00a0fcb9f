"""Clips with one known face, and networks that want a certain crop of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from media_factory import make_clip
from PIL import Image, ImageFilter

import affectkit as ak
from affectkit.config import Config
from affectkit.plugins import ModelCard
from affectkit.store import Artifact
from affectkit.tasks import Task
from affectkit.types import Contract, Detections
from affectkit.weights import WeightsFile

BOX = np.array([[100.0, 60, 160, 140]], np.float32)
POINTS = np.array([[[115.0, 90], [145, 92], [131, 105], [117, 121], [143, 123]]], np.float32)


class NoOptions(Config):
    """None."""


class KnownFace:
    """A detector that finds the same face in every frame."""

    version = 1
    Options = NoOptions

    @classmethod
    def weights(cls, options: Config, choice: str) -> WeightsFile:
        return WeightsFile("none", None, "0" * 64, "none", "none")

    def __init__(self, options: Config, weights: WeightsFile, device: str) -> None:
        pass

    def __call__(self, frames: Any) -> list[Detections]:
        return [Detections(BOX, np.ones(1, np.float32), POINTS) for _ in frames]


class Seen:
    """A backbone that gives what it sees: 8 x 8 means of each colour."""

    version = 1
    Options = NoOptions
    kind = "image"
    dim = 192

    @classmethod
    def weights(cls, options: Config, choice: str) -> WeightsFile:
        return WeightsFile("none", None, "0" * 64, "none", "none")

    def __init__(self, options: Config, weights: WeightsFile, numerics: Any) -> None:
        pass

    def __call__(self, batch: Any) -> Any:
        pixels = np.asarray(batch, np.float32)
        side = pixels.shape[2] // 8
        return (
            pixels[:, :, : 8 * side, : 8 * side].reshape(len(pixels), 3, 8, side, 8, side).mean((3, 5)).reshape(-1, 192)
        )


def wanting(name: str = "Wanting", **fields: Any) -> type[Seen]:
    """`Seen` with a contract."""
    contract = Contract(**{"margin": "0", "shape": "square", "size": 64} | fields)
    return type(name, (Seen,), {"contract": contract, "__module__": __name__})


FEELINGS = Task(
    name="feelings", kind="multiclass", level="time", targets=("happy", "sad", "neutral"), metric="macro-f1",
    loss="cross-entropy",
)  # fmt: skip


class Judge(Seen):
    """A published model: the brighter the middle, the happier."""

    @classmethod
    def card(cls, options: Config, weights: WeightsFile) -> ModelCard:
        contract = Contract(margin="0", shape="square", size=64, colour="grey", normalisation="x / 255")
        return ModelCard("judge", "Brightness.", (FEELINGS,), contract, {"code": "MIT"}, "nothing")

    def scores(self, batch: Any) -> Any:
        pixels = np.asarray(batch, np.float32).mean(axis=1)
        n, side, _ = pixels.shape
        middle = pixels[:, side // 4 : -side // 4, side // 4 : -side // 4].mean((1, 2))
        logits = np.stack([middle / 32, (255 - middle) / 32, np.full(n, 4.0)], axis=1)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def videos(folder: Path, names: tuple[str, ...] = ("a", "b"), frames: int = 4, colour: bool = True) -> Path:
    """Clips of 240 x 200 pixels with soft noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (200, 240, 3)).astype(np.uint8)
        soft = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(4)), np.float64)
        picture = np.clip((soft - soft.mean()) * 6 + 110, 0, 255).astype(np.uint8)
        picture = picture if colour else np.repeat(picture[..., :1], 3, axis=2)
        make_clip(folder / f"{name}.mp4", [picture] * frames)
    return folder


def faces(media: Path, folder: Path | None = None, **settings: Any) -> Artifact:
    """The faces artifact of media, in a cache in `folder`, or beside them."""
    chosen = {"detector": KnownFace, "fps": "native", "size": 128} | settings
    made = ak.extract_faces(media, cache=(folder or media) / "cache", progress=False, device="cpu", **chosen)
    return Artifact(Path(made.path))
