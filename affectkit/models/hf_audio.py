"""Any audio classifier of the Hugging Face hub over wav2vec 2.0, HuBERT, WavLM or data2vec-audio, or of a folder.

A window is heard whole, without padding, by the encoder; its hidden states (the last, or a learnt mean of all, where
the model was trained so) are projected and averaged over time, and a linear layer makes scores of that. Weights are
safetensors, no code of a repository is run, and a head of other names is refused: nothing is left at random.

**A learnt mean of all layers** takes the last one after the encoder's closing norm, as transformers did before
version 5, with which these models were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config, Numerics
from affectkit.learning import hub_files
from affectkit.learning import speech_files as files
from affectkit.learning.hub_files import HubOptions
from affectkit.plugins import ModelCard
from affectkit.tasks import Task
from affectkit.types import Floats
from affectkit.weights import WeightsFile


class HfAudio:
    """Any wav2vec2, HuBERT, WavLM or data2vec classifier of the Hugging Face hub or a folder: `-o model=USER/REPO`."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "none"
    Options: ClassVar[type[Config]] = HubOptions
    images = False

    @classmethod
    def weights(cls, options: HubOptions, choice: str) -> WeightsFile:
        """`auto`: the model's files, from the hub cache, else downloaded, or from its folder; `random`: its config with
        seeded random weights, only if asked for; else another folder. Imports no torch. Raises UsageError."""
        return hub_files.resolved(hub_files.place(options, choice, "hf-audio"), choice)

    @classmethod
    def outputs_of(cls, options: HubOptions, weights: WeightsFile) -> Task:
        """Its classes or values. Raises UsageError."""
        path = hub_files.folder_of(weights) / files.CONFIG
        config = hub_files.described(path)
        names = hub_files.classes(config, options, path)
        return hub_files.task(names, hub_files.problem(config, options, len(names), path))

    @classmethod
    def card(cls, options: HubOptions, weights: WeightsFile) -> ModelCard:
        """What its files say of it. Raises UsageError."""
        rate = files.hearing(hub_files.folder_of(weights) / files.PREPROCESSOR).sampling_rate
        outputs = (cls.outputs_of(options, weights),)
        return hub_files.card("hf-audio", weights, outputs, None, sees=False, sampling_rate=rate)

    def __init__(self, options: HubOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning.speech_backbone import read_tensors
        from affectkit.nets.hub_audio import AudioClassifier

        assert weights.path is not None
        path = weights.path / files.CONFIG
        self._architecture, config = files.architecture(path)
        hearing = files.hearing(weights.path / files.PREPROCESSOR)
        self.sampling_rate = hearing.sampling_rate
        task = self.outputs_of(options, weights)
        what = hub_files.problem(config, options, len(task.targets), path)
        tensors = None if files.is_random(weights) else read_tensors(weights.path)
        classifier = AudioClassifier(self._architecture, config, tensors, len(task.targets), what, path)
        self.network = classifier.network(numerics, normalise=hearing.do_normalize)
        self.outputs: Mapping[str, int] = {"values": classifier.width}
        self.names: Mapping[str, list[str]] = {}
        self._columns = len(task.targets)

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the window."""
        return self._architecture.rows(samples, self.sampling_rate, pooled=True)

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S] -> values [N,1,D], what its last layer reads."""
        from affectkit.learning.speech_backbone import embedded

        return {"values": embedded(self, batch)["values"]}

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N,S] -> float32 [N,K]."""
        from affectkit.learning.speech_backbone import scored

        return scored(self, batch, "scores", self._columns)


PLUGIN = HfAudio
