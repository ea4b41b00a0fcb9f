"""WavLM-large with a small head, the baseline of the Odyssey 2024 challenge: arousal, dominance and valence of speech.

`3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes` (Goncalves et al., Odyssey 2024). A waveform is normalised by mean
and deviation of the training set, which its config states; attentive statistics of WavLM's hidden states go through
a layer of 1024, and a linear layer makes three values, about 0..1. Weights are safetensors; the code that the
repository asks to be run is not: the network is written here, from what is published of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config, Numerics
from affectkit.learning import speech_files as files
from affectkit.learning import wavlm_msp_vad as published
from affectkit.plugins import CAUTION, ModelCard
from affectkit.tasks import Task
from affectkit.types import Floats
from affectkit.weights import WeightsFile, entry, random


class AttributeOptions(Config):
    """Which version of the repository."""

    revision: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="commit, tag or branch of the repository, to pin it"
    )


class WavLMAttributes:
    """Arousal, dominance and valence of speech by WavLM-large, the baseline of the Odyssey 2024 challenge."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "none"
    Options: ClassVar[type[Config]] = AttributeOptions
    sampling_rate = published.SAMPLING_RATE
    images = False

    @classmethod
    def weights(cls, options: AttributeOptions, choice: str) -> WeightsFile:
        """`auto`: config and weights from the hub cache, else downloaded; `random`: seeded, of the same sizes, only if
        asked for; else a folder that holds both. Imports no torch. Raises UsageError."""
        if choice == "random":
            return random(published.NAME)
        where = files.place(str(entry(published.REPOSITORY).hub), options.revision, choice)
        published.read(files.config_file(where))
        return files.resolved(where, files.safetensors(where), preprocessor=False)

    @classmethod
    def card(cls, options: AttributeOptions, weights: WeightsFile) -> ModelCard:
        """What its repository states."""
        return ModelCard(
            name=published.NAME, summary=(cls.__doc__ or "").partition("\n")[0],
            outputs=(Task(name="vad", kind="regression", level="time", targets=published.ATTRIBUTES, metric="ccc"),),
            contract=None,
            licences={"code": "Apache-2.0 (transformers; the head is affectkit's)",
                      "weights": entry(published.REPOSITORY).licence, "data": "MSP-Podcast: academic use"},
            trained_on="MSP-Podcast 1.11, English",
            reported="CCC on its test set 3: valence .577, dominance .577, arousal .405 (its repository)",
            verified="the code, against a network of the same layout written apart, on random files; not the file "
            "itself, nor its scores",
            failures="values are about 0..1, not -1..1. WavLM-large's sizes are not in its config; they are taken from "
            "the tensors. Its code pools over the frames of windows that were padded; here no window is.",
            intended=f"Research on expressive speech. {CAUTION}",
        )  # fmt: skip

    def __init__(self, options: AttributeOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.nets.wavlm_msp_vad import AttributeNetwork

        config = published.AttributeConfig() if weights.path is None else published.read(weights.path / files.CONFIG)
        self._architecture = published.architecture(config)
        self.outputs: Mapping[str, int] = {"values": config.hidden_size, "attributes": len(published.ATTRIBUTES)}
        self.names: Mapping[str, list[str]] = {"attributes": list(published.ATTRIBUTES)}
        self.network = AttributeNetwork(weights.path, config, numerics)

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the window."""
        return self._architecture.rows(samples, self.sampling_rate, pooled=True)

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S] -> values [N,1,1024], what its last layer reads, and attributes [N,1,3]."""
        from affectkit.learning.speech_backbone import embedded

        return embedded(self, batch)

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N,S] -> arousal, dominance and valence [N,3]."""
        from affectkit.learning.speech_backbone import scored

        return scored(self, batch, "attributes", len(published.ATTRIBUTES))


PLUGIN = WavLMAttributes
