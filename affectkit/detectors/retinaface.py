"""RetinaFace with a ResNet50 backbone: the network and weights of retinaface-pytorch, the most accurate detector here.

Only the package's network module is imported; its predict_single takes seconds to import and needs OpenCV.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config
from affectkit.detectors._retinaface import RetinaFace, RetinaFaceOptions
from affectkit.types import Detections
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    import torch

NAME = "retinaface-resnet50"
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class ResNet50Options(RetinaFaceOptions):
    """Score and size as in the reference, which however also enlarges small frames to `max_size`."""

    threshold: float = Field(0.7, ge=0, le=1, description="a face's score must be above this")
    max_size: int = Field(960, ge=32, le=4096, description="longest side of the frame as the network sees it")


class RetinaFaceResNet50:
    """Faces by RetinaFace ResNet50."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = ResNet50Options

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """auto: the package's release, downloaded once; else a path. Raises UsageError."""
        return weight_files.release(NAME) if choice == "auto" else weight_files.local(Path(choice), NAME)

    def __init__(self, options: ResNet50Options, weights: WeightsFile, device: str) -> None:
        self._detector = RetinaFace(_network(), weights, options, device, mean=MEAN, std=STD)

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB -> N `Detections`."""
        return self._detector(frames)


def _network() -> torch.nn.Module:
    import torch
    from retinaface.network import RetinaFace as Network

    layers = {"layer2": 1, "layer3": 2, "layer4": 3}
    with warnings.catch_warnings(), torch.device("meta"):  # every tensor comes from the checkpoint: draw none
        warnings.filterwarnings("ignore", message="The parameter 'pretrained'", category=UserWarning)
        warnings.filterwarnings("ignore", message="Arguments other than a weight enum", category=UserWarning)
        network = Network("Resnet50", pretrained=False, in_channels=256, return_layers=layers, out_channels=256)
    return network.to_empty(device="cpu")


PLUGIN = RetinaFaceResNet50
