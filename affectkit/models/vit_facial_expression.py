"""ViT-B/16 of motheecreator/vit-Facial-Expression-Recognition (FER2013, MMI, AffectNet): 7 expressions."""

from __future__ import annotations

from typing import ClassVar

from affectkit.models._named import NamedHubImage


class VitFacialExpression(NamedHubImage):
    """ViT-B/16 of motheecreator/vit-Facial-Expression-Recognition (FER2013, MMI, AffectNet): 7 expressions."""

    name: ClassVar[str] = "vit-facial-expression"
    repository = "motheecreator/vit-Facial-Expression-Recognition"
    classes = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    trained_on = "ImageNet-21k, then FER2013, MMI and AffectNet (its repository)"
    reported = "no figures are known"
    data_licence = "FER2013: not stated; MMI and AffectNet: research only"


PLUGIN = VitFacialExpression
