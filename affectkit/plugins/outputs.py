"""What a network's scores of one task are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from affectkit.config import Config

Activation = Literal["tanh", "sigmoid", "linear"]


class Outputs(Config):
    """The scores of one task: how many, and their last activation."""

    count: int = Field(ge=1, le=1 << 20)
    activation: Activation
