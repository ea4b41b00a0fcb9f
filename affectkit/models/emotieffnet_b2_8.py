"""EfficientNet-B2 of EmotiEffLib at 260 pixels: 8 expressions."""

from __future__ import annotations

from affectkit.models._emotieffnet import EmotiEffNet, described


class EmotiEffNetB2(EmotiEffNet):
    """EfficientNet-B2 of EmotiEffLib at 260 pixels: 8 expressions."""

    description = described("emotieffnet-b2-8", "EfficientNet-B2", 260, values=False, accuracy="63.03")
    contract = description.card().contract


PLUGIN = EmotiEffNetB2
