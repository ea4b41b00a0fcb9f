"""The crop that a network must be given, as a person states it: in options, or in a card."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from affectkit.config import Config, faults
from affectkit.tracks.crops import CropConfig
from affectkit.types import Contract


def canonical_margin(margin: Any) -> str:
    """A margin in the spelling that `extract faces` gives it. Raises ValueError.

    >>> canonical_margin(0.20), canonical_margin("10px")
    ('0.2', '10px')
    """
    try:
        return CropConfig.model_validate({"margin": margin}).margin
    except ValidationError as error:
        raise ValueError(faults(error)[0][1].partition(" (given ")[0]) from None


class StatedCrop(Config):
    """Margin, shape and alignment, as `extract faces` cuts."""

    margin: str = Field(description="added on each side of the face's box: a fraction of it (0.2), or pixels (10px)")
    shape: Literal["square", "letterbox"] = Field(description="square, or letterbox: the box itself, padded")
    align: bool = Field(False, description="eyes, nose and mouth brought to ArcFace's places")

    _canonical = field_validator("margin", mode="before")(classmethod(lambda cls, margin: canonical_margin(margin)))

    def contract(self, size: int, colour: Literal["rgb", "grey"], normalisation: str) -> Contract:
        """The whole contract, with the pixels a side that the network sees."""
        return Contract(self.margin, self.shape, size, self.align, colour, normalisation)
