"""MobileViT of EmotiEffLib: 8 expressions, valence and arousal."""

from __future__ import annotations

from affectkit.models._emotieffnet import EmotiEffNet, described


class EmotiEffNetMobileVitVaMtl(EmotiEffNet):
    """MobileViT of EmotiEffLib: 8 expressions, valence and arousal."""

    description = described("emotieffnet-mobilevit-va-mtl", "MobileViT", 224, values=True)
    contract = description.card().contract


PLUGIN = EmotiEffNetMobileVitVaMtl
