"""Any wav2vec 2.0, HuBERT, WavLM or data2vec-audio model of the Hugging Face hub, or of a folder.

The default, `facebook/wav2vec2-base-960h`, is the small one whose repository holds safetensors on its main branch. Its
last layers were tuned to letters: for affect the layers in the middle (`layers=6,9`) or a model that was not tuned
(`facebook/wav2vec2-large-robust`, `microsoft/wavlm-large`) are the usual choice. Many repositories have their
safetensors in a pull request only: `revision=refs/pr/1`.

Weights are read from safetensors only, and no code of a repository is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.learning import speech_files as files
from affectkit.types import Floats
from affectkit.weights import WeightsFile


class Wav2Vec2Options(Config):
    """What is computed: the model, the layers and what is made of their frames."""

    model: str = Field(
        "facebook/wav2vec2-base-960h",
        min_length=1,
        description="wav2vec 2.0, HuBERT, WavLM or data2vec-audio: a hub repository or a folder",
    )
    revision: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="commit, tag or branch of the repository, to pin it"
    )
    layers: str = Field(
        "last",
        pattern=r"^(last|all|-?\d{1,3}(,-?\d{1,3})*)$",
        description="last, all, or numbers (6,9,12): 0 is the transformer's input, negative ones count from the end",
    )
    pool: Literal["mean", "mean+std", "none"] = Field(
        "mean", description="over a window's frames; none: a row a frame (every 20 ms)"
    )


class Wav2Vec2:
    """Hidden states of a speech transformer, pooled over the window or frame by frame."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "none"
    Options: ClassVar[type[Config]] = Wav2Vec2Options
    images = False

    @classmethod
    def weights(cls, options: Wav2Vec2Options, choice: str) -> WeightsFile:
        """`auto`: the model's files, from the hub cache, else downloaded, or from its folder; `random`: its config
        with seeded random weights, only if asked for; else another folder. Imports no torch. Raises UsageError."""
        where = files.place(options.model, options.revision, choice)
        files.config_file(where)
        return files.resolved(where, [] if choice == "random" else files.safetensors(where))

    def __init__(self, options: Wav2Vec2Options, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning import speech_backbone

        assert weights.path is not None
        config = weights.path / files.CONFIG
        self._architecture, given = files.architecture(config)
        hearing = files.hearing(weights.path / files.PREPROCESSOR)
        self.sampling_rate = hearing.sampling_rate
        self._pool = options.pool
        layers = chosen(options.layers, self._architecture.num_hidden_layers)
        outputs = {layer: "values" if len(layers) == 1 else f"layer_{layer:02d}" for layer in layers}
        dim = self._architecture.hidden_size * (2 if options.pool == "mean+std" else 1)
        self.outputs: Mapping[str, int] = dict.fromkeys(outputs.values(), dim)
        self.names: Mapping[str, list[str]] = {}
        if files.is_random(weights):
            module = speech_backbone.random_encoder(self._architecture, given, config)
        else:
            module = speech_backbone.encoder(
                self._architecture, given, speech_backbone.read_tensors(weights.path), weights.path
            )
        self.network = speech_backbone.SpeechNetwork(
            module, layers, options.pool, lambda found: {name: found[layer] for layer, name in outputs.items()},
            numerics, normalise=hearing.do_normalize,
        )  # fmt: skip

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the window, or one for each frame: what the convolutions see of it, overlapping a little."""
        return self._architecture.rows(samples, self.sampling_rate, pooled=self._pool != "none")

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S] -> each output as float32 [N,F,D]."""
        from affectkit.learning.speech_backbone import embedded

        return embedded(self, batch)


def chosen(layers: str, total: int) -> list[int]:
    """The layers that are meant, in order.

    >>> chosen("last", 12), chosen("-1,0", 12), chosen("all", 2)
    ([12], [0, 12], [0, 1, 2])
    """
    if layers in ("last", "all"):
        return [total] if layers == "last" else list(range(total + 1))
    given = [int(number) for number in layers.split(",")]
    found = [number + total + 1 if number < 0 else number for number in given]
    if not all(0 <= number <= total for number in found):
        raise UsageError(f"layers={layers}: this model has the layers 0 to {total}, or -{total + 1} to -1 from the end")
    if len(set(found)) < len(found):
        raise UsageError(f"layers={layers}: a layer is named twice")
    return sorted(found)


PLUGIN = Wav2Vec2
