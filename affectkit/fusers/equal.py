"""The plain average of the models: what any fusion has to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config
from affectkit.fusers._weighting import WeightedFusion
from affectkit.types import Floats


class EqualOptions(Config):
    """Nothing to choose."""


class EqualFusion(WeightedFusion):
    """Every model has the same weight; where scores are missing, the models that have one share alike."""

    Options: ClassVar[type[Config]] = EqualOptions

    def learn(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Weights 1/M. scores [M,N,K]; the truth is not looked at."""
        models, _, targets = scores.shape
        self.weights = np.full((models, targets), 1 / models)


PLUGIN = EqualFusion
