"""A published model's own scores, as a backbone whose features they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.plugins import ModelCard
from affectkit.types import Floats


def scores_of(model: Any, card: ModelCard) -> Any:
    """A backbone by the scores of a loaded model: `values` are named as the card's columns."""
    return (_Seen if model.kind == "image" else _Heard)(model, card)


class _Scores:
    def __init__(self, model: Any, card: ModelCard) -> None:
        self._model = model
        self.kind = model.kind
        self.dim = len(card.columns)
        self.outputs = {"values": self.dim}
        self.names = {"values": list(card.columns)}


class _Seen(_Scores):
    """A row a crop."""

    def __call__(self, batch: Any) -> Mapping[str, NDArray[np.float32]]:
        """uint8 [N,3,H,W] -> [N,K]."""
        return {"values": self._model.scores(batch)}


class _Heard(_Scores):
    """A row a window."""

    images = False

    @property
    def padding(self) -> str:
        """Whether a window that the clip ends in is filled with zeros, as the model says."""
        return str(self._model.padding)

    @property
    def sampling_rate(self) -> int:
        """Samples a second that the model hears."""
        return int(self._model.sampling_rate)

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """start, end [1] (s): all of the window; none where it is too short for the model."""
        count = min(len(self._model.frames(samples)[0]), 1)
        return np.zeros(count), np.full(count, samples / self.sampling_rate)

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """float32 [N,S] -> [N,1,K]."""
        return {"values": self._model.scores(batch)[:, None]}
