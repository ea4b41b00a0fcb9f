"""MobileFaceNet of EmotiEffLib at 112 pixels: 8 expressions, valence and arousal."""

from __future__ import annotations

from affectkit.models._emotieffnet import EmotiEffNet, described


class EmotiEffNetMbfVaMtl(EmotiEffNet):
    """MobileFaceNet of EmotiEffLib at 112 pixels: 8 expressions, valence and arousal."""

    description = described("emotieffnet-mbf-va-mtl", "MobileFaceNet", 112, "half", values=True)
    contract = description.card().contract


PLUGIN = EmotiEffNetMbfVaMtl
