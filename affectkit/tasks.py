"""Tasks: what is predicted, at which level, and how it is scored. A TOML file defines others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError, field_validator

from affectkit.config import Config, explain
from affectkit.errors import UsageError, unknown
from affectkit.untrusted import read_toml

MOST_TARGETS = 4096
Kind = Literal["regression", "multiclass", "multilabel"]
Level = Literal["clip", "time"]
Metric = Literal["ccc", "pearson", "mae", "macro-f1", "uar", "war", "binary-f1"]
Loss = Literal["auto", "ccc", "mse", "ccc+mse", "rmse", "log-cosh", "cross-entropy", "focal", "bce"]


class Task(Config):
    """A prediction task.

    `invalid` are label values that mean "not annotated" (Aff-Wild2: -5 for valence and arousal, -1 for
    expressions); a row with one is dropped from training and scoring.
    """

    name: str
    kind: Kind
    level: Level
    targets: tuple[str, ...]
    metric: Metric
    loss: Loss = "auto"
    invalid: tuple[float, ...] = ()

    @field_validator("targets")
    @classmethod
    def _distinct(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if not targets or len(set(targets)) != len(targets):
            raise ValueError("targets must be distinct names, at least one")
        if len(targets) > MOST_TARGETS:
            raise ValueError(f"{len(targets)} targets; {MOST_TARGETS} at most")
        return targets

    @property
    def outputs(self) -> int:
        """Number of scores in a row."""
        return len(self.targets)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that a label table holds: `label` for classes, else one a target."""
        return ("label",) if self.kind == "multiclass" else self.targets

    @property
    def default_loss(self) -> Loss:
        """The loss meant by "auto": the task's own metric where it can be differentiated."""
        if self.loss != "auto":
            return self.loss
        if self.kind == "multiclass":
            return "cross-entropy"
        if self.kind == "multilabel":
            return "bce"
        return "ccc" if self.metric == "ccc" else "mse"


_EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
_REACTIONS = ("Adoration", "Amusement", "Anxiety", "Disgust", "Empathic-Pain", "Fear", "Surprise")
_COMPOUNDS = (
    "Fearfully_Surprised", "Happily_Surprised", "Sadly_Surprised", "Disgustedly_Surprised",
    "Angrily_Surprised", "Sadly_Fearful", "Sadly_Angry",
)  # fmt: skip
_DFEW = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
_AFFECTNET = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
_ACTION_UNITS = tuple(f"AU{n}" for n in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))

BUILT_IN: dict[str, Task] = {
    task.name: task
    for task in (
        Task(name="va", kind="regression", level="time", targets=("valence", "arousal"), metric="ccc",
             invalid=(-5,)),
        Task(name="expr", kind="multiclass", level="time", targets=_EXPRESSIONS, metric="macro-f1",
             invalid=(-1,)),
        Task(name="eri", kind="regression", level="clip", targets=_REACTIONS, metric="pearson", loss="mse"),
        Task(name="compound", kind="multiclass", level="clip", targets=_COMPOUNDS, metric="macro-f1",
             invalid=(-1,)),
        Task(name="au", kind="multilabel", level="time", targets=_ACTION_UNITS, metric="binary-f1",
             invalid=(-1,)),
        Task(name="dfew", kind="multiclass", level="clip", targets=_DFEW, metric="uar", invalid=(-1,)),
        Task(name="valence-2", kind="multiclass", level="clip", targets=("negative", "positive"), metric="uar",
             invalid=(-1,)),
        Task(name="arousal-2", kind="multiclass", level="clip", targets=("low", "high"), metric="uar", invalid=(-1,)),
        Task(name="affectnet", kind="multiclass", level="clip", targets=_AFFECTNET, metric="macro-f1", invalid=(-1,)),
    )
}  # fmt: skip


def get(name: str) -> Task:
    """A built-in task by name, or the task that a TOML file defines.

    >>> get("va").targets
    ('valence', 'arousal')
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name.endswith(".toml"):
        return _from_toml(Path(name))
    raise unknown("task", name, [*BUILT_IN, "FILE.toml"])


def _from_toml(path: Path) -> Task:
    _, tree = read_toml(path, "a task, a TOML file")
    try:
        return Task.model_validate(tree)
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)[:1000]}") from None
