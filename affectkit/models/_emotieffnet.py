"""What the networks of EmotiEffLib share: eight expressions of AffectNet, some with valence and arousal.

Source: A. Savchenko, EmotiEffLib (formerly HSEmotion), github.com/sb-ai-lab/EmotiEffLib; arXiv 2203.13436. Only the
files of `models/affectnet_emotions/onnx` are read: the .pt files beside them are pickled Python objects. Faces were cut
out as MTCNN's boxes, without a margin, and stretched to a square.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.learning.onnx_cards import OnnxCard, OnnxLicences, OnnxPicture, OnnxTask
from affectkit.learning.onnx_models import OnnxImageModel
from affectkit.learning.stated_crop import StatedCrop
from affectkit.plugins import CAUTION
from affectkit.weights import WeightsFile, local, release

CLASSES = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CROP = (
    "Trained on boxes that were stretched to a square, which extract faces does not do: the nearest crop is a square "
    "without margin."
)
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class EmotiEffOptions(Config):
    """None: all is in the name."""


class EmotiEffNet(OnnxImageModel):
    """A network of EmotiEffLib in its ONNX file."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = EmotiEffOptions

    @classmethod
    def weights(cls, options: EmotiEffOptions, choice: str) -> WeightsFile:
        """`auto`: downloaded once, its digest recorded on first use; else the path of an ONNX file. Raises
        UsageError."""
        name = cls.description.name
        if choice == "random":
            raise UsageError(
                f"{name} is an ONNX file, which has no random weights: give --weights PATH, or leave it out"
            )
        return release(name) if choice == "auto" else local(Path(choice), name)


def described(
    name: str, network: str, size: int, scaling: Literal["imagenet", "half"] = "imagenet", *, values: bool,
    accuracy: str | None = None,
) -> OnnxCard:  # fmt: skip
    """The card of one of them: `values` also gives valence and arousal; `accuracy` on AffectNet's 8 classes."""
    mean, std = IMAGENET if scaling == "imagenet" else HALF
    tasks = [OnnxTask(name="affectnet-8", kind="multiclass", targets=CLASSES, activation="softmax")]
    if values:
        tasks.append(OnnxTask(name="va", kind="regression", targets=("valence", "arousal"), activation="none"))
    return OnnxCard(
        name=name,
        summary=f"{network} of EmotiEffLib: 8 expressions{', valence and arousal' if values else ''}.",
        kind="image",
        trained_on="VGGFace2 (identities), then AffectNet",
        licences=OnnxLicences(
            weights="Apache-2.0", code="Apache-2.0", data="VGGFace2 and AffectNet: research only"
        ),
        tasks=tuple(tasks),
        image=OnnxPicture(size=size, mean=mean, std=std),
        contract=StatedCrop(margin="0", shape="square"),
        reported=(
            f"AffectNet, 8 classes: {accuracy} % of the validation pictures (its README)"
            if accuracy
            else "no figures are known"
        ),
        verified="the code, on random files of the same layout; not the file itself, nor its scores",
        failures=f"{CROP}{' Valence and arousal are not limited to -1..1.' if values else ''}",
        intended=f"Research on expressions of single faces. {CAUTION}",
    )  # fmt: skip
