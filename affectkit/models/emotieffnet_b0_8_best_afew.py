"""EfficientNet-B0 of EmotiEffLib, the one that is best on AFEW: 8 expressions."""

from __future__ import annotations

from affectkit.models._emotieffnet import EmotiEffNet, described


class EmotiEffNetB0Afew(EmotiEffNet):
    """EfficientNet-B0 of EmotiEffLib, the one that is best on AFEW: 8 expressions."""

    description = described("emotieffnet-b0-8-best-afew", "EfficientNet-B0", 224, values=False, accuracy="60.95")
    contract = description.card().contract


PLUGIN = EmotiEffNetB0Afew
