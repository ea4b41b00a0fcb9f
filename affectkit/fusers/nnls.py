"""Non-negative least squares: for each target the weights w >= 0 that minimise |sum_m w_m s_m - truth|^2 (Lawson and
Hanson 1974), as in stacked regressions (Breiman 1996). For classes the truth of each column is 1 or 0."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit.config import Config
from affectkit.fusers._shrinkage import SHRINK_HELP, Shrink
from affectkit.fusers._weighting import WeightedFusion, bridged, usable
from affectkit.types import Floats


class NnlsOptions(Config):
    """How much the weights are held back."""

    shrink: Shrink = Field("auto", description=SHRINK_HELP)


class NonNegativeLeastSquares(WeightedFusion):
    """Learns weights [M,K]; they need not sum to 1, so they rescale the models' values too."""

    version: ClassVar[int] = 2
    Options: ClassVar[type[Config]] = NnlsOptions

    def learn(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Solve each target by itself. scores [M,N,K], truth [N,K] or [N,1]; a missing score counts as the mean of the
        models that have one. Raises UsageError when no row can be used."""
        from scipy.optimize import nnls

        scores, truth, _ = usable(scores, truth, groups)
        models, _, targets = scores.shape
        if self.task.kind == "multiclass":
            truth = np.eye(targets)[truth[:, 0].astype(int)]
        filled = bridged(scores)
        self.weights = np.empty((models, targets))
        for target in range(targets):
            self.weights[:, target], _ = nnls(filled[:, :, target].T, truth[:, target])


PLUGIN = NonNegativeLeastSquares
