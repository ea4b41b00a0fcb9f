"""PDEM: the public dimensional emotion model of audEERING, arousal, dominance and valence of speech.

`audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim` (Wagner et al. 2023, arXiv 2203.07378): wav2vec2-large-robust,
cut to 12 layers and fine-tuned on MSP-Podcast. A window is normalised to zero mean and unit variance; the last layer's
hidden states are averaged over time; a dense layer, tanh and a linear layer make three values, about 0..1, of the mean.
Licence CC BY-NC-SA 4.0: research only.

Its weights are `pytorch_model.bin`, read as plain tensors only; `model.safetensors` is taken where a folder holds it.

The three values are its scores; what they are made of, the mean of the hidden states, is its embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.learning import speech_files as files
from affectkit.learning.pdem import DIMENSIONS, NAME, SAMPLING_RATE, build
from affectkit.plugins import CAUTION, ModelCard
from affectkit.tasks import Task
from affectkit.types import Floats
from affectkit.weights import WeightsFile, entry

if TYPE_CHECKING:
    from torch import Tensor


class PdemOptions(Config):
    """Which version of the repository."""

    revision: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="commit, tag or branch of the repository, to pin it"
    )


class Pdem:
    """Arousal, dominance and valence of speech, and the mean of the last hidden states (1024-d) as features."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "none"
    Options: ClassVar[type[Config]] = PdemOptions
    sampling_rate = SAMPLING_RATE
    images = False

    @classmethod
    def weights(cls, options: PdemOptions, choice: str) -> WeightsFile:
        """`auto`: config and weights from the hub cache, else downloaded; `random`: seeded, of the same sizes, only if
        asked for; else a folder that holds both. Imports no torch. Raises UsageError."""
        from affectkit import weights as weight_files

        if choice == "random":
            return weight_files.random(NAME)
        where = files.place(str(entry(NAME).hub), options.revision, choice)
        files.config_file(where)
        names = [files.PICKLED] if where.hub_id else [files.SAFETENSORS, files.PICKLED]
        found = where.first(*names)
        if found is None:
            raise UsageError(f"{where.name} ({where.source}) has no {' nor '.join(names)}")
        return files.resolved(where, [found], preprocessor=False)

    @classmethod
    def card(cls, options: PdemOptions, weights: WeightsFile) -> ModelCard:
        """What its repository and its paper say."""
        return ModelCard(
            name=NAME,
            summary="wav2vec2-large-robust, cut to 12 layers: arousal, dominance and valence of speech, about 0..1.",
            outputs=(Task(name="vad", kind="regression", level="time", targets=tuple(DIMENSIONS), metric="ccc"),),
            contract=None,
            licences={"code": "Apache-2.0 (transformers)", "weights": entry(NAME).licence,
                      "data": "MSP-Podcast: academic use"},
            trained_on="MSP-Podcast 1.7, English",
            reported="CCC of valence .638 on MSP-Podcast, the best of its paper (abstract of arXiv 2203.07378)",
            verified="the code, against transformers on random files of the same layout; not the file, nor its scores",
            failures="values are about 0..1 with .5 in the middle, not -1..1. Trained on whole turns of 3 to 11 s: "
            "much shorter windows are another kind of input.",
            intended=f"Research on expressive speech; commercial use is forbidden. {CAUTION}",
        )  # fmt: skip

    def __init__(self, options: PdemOptions, weights: WeightsFile, numerics: Numerics) -> None:
        import torch

        from affectkit.learning.speech_backbone import SpeechNetwork

        self._architecture, encoder, head = build(weights.path)
        self.outputs: Mapping[str, int] = {"values": self._architecture.hidden_size, "dimensions": len(DIMENSIONS)}
        self.names: Mapping[str, list[str]] = {"dimensions": DIMENSIONS}
        last = self._architecture.num_hidden_layers

        def outputs(found: Mapping[int, Tensor]) -> dict[str, Tensor]:
            # A window at a time: on some processors the bits of so narrow a product depend on the place in the batch.
            return {"values": found[last], "dimensions": torch.cat([head(one) for one in found[last].split(1)])}

        self.network = SpeechNetwork(encoder, [last], "mean", outputs, numerics, normalise=True, extra=head)

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the window."""
        return self._architecture.rows(samples, self.sampling_rate, pooled=True)

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S] -> values [N,1,1024] and dimensions [N,1,3]."""
        from affectkit.learning.speech_backbone import embedded

        return embedded(self, batch)

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N,S] -> arousal, dominance and valence [N,3]."""
        from affectkit.learning.speech_backbone import scored

        return scored(self, batch, "dimensions", len(DIMENSIONS))


PLUGIN = Pdem
