"""ViT-B/16 of trpakov/vit-face-expression, fine-tuned on FER2013: 7 expressions."""

from __future__ import annotations

from typing import ClassVar

from affectkit.models._named import NamedHubImage


class VitFaceExpression(NamedHubImage):
    """ViT-B/16 of trpakov/vit-face-expression, fine-tuned on FER2013: 7 expressions."""

    name: ClassVar[str] = "vit-face-expression"
    repository = "trpakov/vit-face-expression"
    classes = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    trained_on = "ImageNet-21k, then FER2013"
    reported = "accuracy .7116 on the test set of FER2013 (its repository)"
    data_licence = "FER2013: pictures of the web, terms not stated"


PLUGIN = VitFaceExpression
