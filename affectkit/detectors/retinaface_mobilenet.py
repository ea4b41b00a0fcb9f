"""RetinaFace with a MobileNet-0.25 backbone: the detector of SUN (arXiv 2403.12609), small and fast.

Checkpoints have the layout of https://github.com/biubug6/Pytorch_Retinaface; input is BGR minus its mean colour.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config
from affectkit.detectors.retinaface import RetinaFace, RetinaFaceOptions
from affectkit.errors import UsageError
from affectkit.types import Detections
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    import torch

NAME = "retinaface-mobilenet0.25"


class MobileNetOptions(RetinaFaceOptions):
    """Faces score above 0.8, as in SUN."""

    threshold: float = Field(0.8, ge=0, le=1, description="a face's score must be above this")


class RetinaFaceMobileNet:
    """Faces by RetinaFace MobileNet-0.25."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = MobileNetOptions

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """The checkpoint at the path `choice`. Raises UsageError; there is no URL for "auto"."""
        if choice == "auto":
            give = weight_files.by_path("give {}, ") or "extract faces takes "
            raise UsageError(
                f"retinaface-mobilenet has no weights to download: {give}a checkpoint in the layout of "
                "biubug6/Pytorch_Retinaface (mobilenet0.25_Final.pth)"
            )
        return weight_files.local(Path(choice), NAME)

    def __init__(self, options: MobileNetOptions, weights: WeightsFile, device: str) -> None:
        self._detector = RetinaFace(
            _network(), weights, options, device, mean=(123.0, 117.0, 104.0), std=(1.0, 1.0, 1.0), bgr=True
        )

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB -> N `Detections`."""
        return self._detector(frames)


def _network() -> torch.nn.Module:
    """retinaface-pytorch's feature pyramid, context modules and heads on a MobileNet-0.25."""
    from retinaface.net import FPN, SSH, conv_bn, conv_dw
    from retinaface.network import RetinaFace as Heads
    from torch import Tensor, nn

    class Body(nn.Module):
        """MobileNet with a quarter of the channels; features at strides 8, 16 and 32."""

        def __init__(self) -> None:
            super().__init__()
            self.stage1 = nn.Sequential(
                conv_bn(3, 8, 2, leaky=0.1),
                conv_dw(8, 16, 1),
                conv_dw(16, 32, 2),
                conv_dw(32, 32, 1),
                conv_dw(32, 64, 2),
                conv_dw(64, 64, 1),
            )
            self.stage2 = nn.Sequential(conv_dw(64, 128, 2), *(conv_dw(128, 128, 1) for _ in range(5)))
            self.stage3 = nn.Sequential(conv_dw(128, 256, 2), conv_dw(256, 256, 1))

        def forward(self, x: Tensor) -> dict[int, Tensor]:
            low = self.stage1(x)
            middle = self.stage2(low)
            return {1: low, 2: middle, 3: self.stage3(middle)}

    class Network(Heads):
        """Only the constructor differs: retinaface-pytorch accepts no other body than ResNet50."""

        def __init__(self, channels: int = 64) -> None:
            nn.Module.__init__(self)
            self.body = Body()
            self.fpn = FPN([64, 128, 256], channels)
            self.ssh1, self.ssh2, self.ssh3 = (SSH(channels, channels) for _ in range(3))
            self.ClassHead = self._make_class_head(3, channels)
            self.BboxHead = self._make_bbox_head(3, channels)
            self.LandmarkHead = self._make_landmark_head(3, channels)

    return Network()


PLUGIN = RetinaFaceMobileNet
