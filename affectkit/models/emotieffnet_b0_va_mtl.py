"""EfficientNet-B0 of EmotiEffLib, trained on expressions, valence and arousal together: 8 classes and 2 values."""

from __future__ import annotations

from affectkit.models._emotieffnet import EmotiEffNet, described


class EmotiEffNetB0VaMtl(EmotiEffNet):
    """EfficientNet-B0 of EmotiEffLib, trained on expressions, valence and arousal together: 8 classes and 2 values."""

    description = described("emotieffnet-b0-va-mtl", "EfficientNet-B0", 224, values=True, accuracy="61.93")
    contract = description.card().contract


PLUGIN = EmotiEffNetB0VaMtl
