"""EfficientNet-B0 of EmotiEffLib, the one that is best on VGAF: 8 expressions."""

from __future__ import annotations

from affectkit.models._emotieffnet import EmotiEffNet, described


class EmotiEffNetB0Vgaf(EmotiEffNet):
    """EfficientNet-B0 of EmotiEffLib, the one that is best on VGAF: 8 expressions."""

    description = described("emotieffnet-b0-8-best-vgaf", "EfficientNet-B0", 224, values=False, accuracy="61.32")
    contract = description.card().contract


PLUGIN = EmotiEffNetB0Vgaf
