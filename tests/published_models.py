"""Small stand-ins for published models that are large, or not at hand: options and weights, by a model's name."""

from __future__ import annotations

from pathlib import Path

import hub_models
import speech_models

from affectkit import plugins

StandIn = tuple[list[str], str]
CLASSES = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
THE_CODE_OF_ANOTHER = frozenset((
    "emotieffnet-b0-8-best-vgaf", "emotieffnet-b0-8-best-afew", "emotieffnet-b2-8", "emotieffnet-mobilevit-va-mtl",
    "vit-facial-expression",
))  # fmt: skip
"""Models that differ from one that is tried in their cards only."""


def stand_ins(folder: Path) -> dict[str, StandIn]:
    """Files of random numbers in the layout of the real ones, below a folder."""
    seeing = str(hub_models.save_seeing("vit", folder / "seeing", CLASSES))
    hearing = str(hub_models.save_hearing("wav2vec2-stable", folder / "hearing"))
    return {
        "hf-image": ([f"model={seeing}"], "auto"),
        "vit-face-expression": ([], seeing),
        "vit-facial-expression": ([], seeing),
        "hf-audio": ([f"model={hearing}"], "auto"),
        "pdem": ([], str(speech_models.save_pdem(folder / "pdem"))),
        "wavlm-msp-vad": ([], str(hub_models.save_attributes(folder / "attributes"))),
        **{
            name: ([], str(hub_models.save_emotieffnet(folder, name)))
            for name in plugins.names("models")
            if name.startswith("emotieffnet")
        },
    }
