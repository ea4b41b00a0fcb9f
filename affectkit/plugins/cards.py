"""What is known of a published model, told beside every result that it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from affectkit.tasks import Task
from affectkit.types import Contract

CAUTION = "It scores how an expression looks or sounds, which is not what a person feels."
"""What holds for every model of this kind."""

UNSTATED_CROP = (
    "nobody has stated the crop of a face that it was trained on, and a wrong one can turn scores round: it is given "
    "crops as they are cut; -o margin=0 (or what is right) states it"
)
"""What holds for a model that sees and has no contract."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is, and what nobody should take it for.

    outputs: its tasks in the order of its scores (classes, or values; one model may have both); contract: None for a
    model that hears, at `sampling_rate` (Hz), or one whose crop nobody has stated; licences: of `code`, `weights` and
    `data`; trained_on: data; reported: figures and their source; verified: what affectkit's tests check against;
    failures: what is known to go wrong; intended: what it is for, and what not.
    """

    name: str
    summary: str
    outputs: tuple[Task, ...]
    contract: Contract | None
    licences: Mapping[str, str]
    trained_on: str
    sampling_rate: int = 16000
    reported: str = "no figures are known"
    verified: str = "not verified by affectkit"
    failures: str = "none are recorded"
    intended: str = field(default=f"Research on expressions. {CAUTION}")

    @property
    def columns(self) -> tuple[str, ...]:
        """What its scores are called, in order."""
        return tuple(target for task in self.outputs for target in task.targets)

    def about(self) -> dict[str, Any]:
        """As JSON, for provenance."""
        return asdict(self) | {
            "outputs": [task.model_dump(mode="json") for task in self.outputs], "licences": dict(self.licences),
        }  # fmt: skip
