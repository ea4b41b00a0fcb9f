"""What a head over windows has learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from affectkit.heads._inputs import Inputs
from affectkit.heads._normalise import Normaliser
from affectkit.heads._outputs import Outputs
from affectkit.heads._windows import Plan

if TYPE_CHECKING:
    from affectkit.heads._layers import Scorer


@dataclass(frozen=True, repr=False)
class Fitted:
    """A network with its last activations, the scaling of its D dimensions, its windows, the outputs of each task, the
    head's own first, and how its inputs become one."""

    network: Scorer
    normaliser: Normaliser
    dim: int
    plan: Plan
    outputs: list[Outputs]
    inputs: Inputs
