"""Reports of artifacts, read as untrusted: what is printed or taken from one is there, and is what it should be."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from affectkit.config import explain
from affectkit.errors import HostileFile, MissingFile, Notice
from affectkit.plugins import Epoch
from affectkit.smoothing import Kind
from affectkit.stages.smooth import LONGEST
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import write_text
from affectkit.untrusted import parsed_json, read_object, read_text

LARGEST = 1 << 26  # bytes


class Shape(BaseModel):
    """What a report must hold at least; numbers may be NaN."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Interval(Shape):
    level: float
    by: str


class _Constant(Shape):
    what: str
    scores: dict[str, float]


class _Difference(Shape):
    difference: float
    low: float
    high: float
    p: float


class _Adjusted(_Difference):
    p_adjusted: float
    beyond_noise: bool


class _Rows(Shape):
    rows: int
    clips: int
    clips_without_prediction: list[str]
    rows_without_label: int
    rows_without_score: int
    rows_of: str
    rows_interpolated: int
    rows_beyond_predictions: int = 0
    interpolation: str = ""
    rows_held: int = 0
    clips_without_score: list[str] = []

    @model_validator(mode="after")
    def _told(self) -> _Rows:
        told = {"interpolation", "rows_beyond_predictions"} <= self.model_fields_set
        _require(told or not self.rows_interpolated, "rows read between predictions, and not how")
        return self


class _Scored(_Rows):
    task: str
    metric: str
    split: str
    constant: _Constant
    bootstrap: _Interval
    cautions: list[str]


class _Other(_Rows):
    path: str
    cautions: list[str] = []
    scores: dict[str, float]
    differences: dict[str, _Difference]

    @model_validator(mode="after")
    def _scored(self) -> _Other:
        _require(self.differences.keys() <= self.scores.keys(), "differences of metrics without a score")
        return self


class _Calibration(Shape):
    ece: float
    bins: int


class EvaluationShape(_Scored):
    """Of `evaluate`."""

    scores: dict[str, float]
    intervals: dict[str, list[float]]
    calibration: _Calibration | None = None
    against: _Other | None = None

    @model_validator(mode="after")
    def _whole(self) -> EvaluationShape:
        _require(self.metric in self.scores, "no score of its metric")
        _require(all(len(bounds) == 2 for bounds in self.intervals.values()), "intervals that are no pairs")
        return self


class _System(Shape):
    path: str
    scores: dict[str, float]
    intervals: dict[str, list[float]]
    differences: dict[str, _Adjusted] = {}


class _Reference(Shape):
    place: int
    path: str


class ComparisonShape(_Scored):
    """Of `compare`."""

    reference: _Reference
    systems: list[_System]

    @model_validator(mode="after")
    def _whole(self) -> ComparisonShape:
        _require(0 <= self.reference.place < len(self.systems), "a reference that is none of its systems")
        names = self.systems[0].scores.keys()
        _require(self.metric in names, "no score of its metric")
        tables = [self.constant.scores, *(one.scores for one in self.systems)]
        _require(all(table.keys() >= names for table in tables), "systems with other metrics")
        bounds = [pair for one in self.systems for pair in one.intervals.values()]
        _require(all(len(pair) == 2 for pair in bounds), "intervals that are no pairs")
        return self


class _BestSingle(Shape):
    better: bool
    cautions: list[str]


class _HeldOut(Shape):
    how: str
    rows: int = 0
    clips: int = 0
    rows_without_score: int = 0
    clips_without_score: list[str] = []
    scores: dict[str, float] = {}
    against_best_single: _BestSingle | None = None


class _Fitted(Shape):
    rows: int
    clips: int


class FusionShape(Shape):
    """Of `fuse`."""

    fitted_on: _Fitted
    partly_missing: dict[str, list[str]]
    in_sample: dict[str, float]
    held_out: _HeldOut
    fuser: dict[str, Any]
    cautions: list[str] = []


class FoldsShape(Shape):
    """Of `train-head --folds`."""

    metric: str
    pooled: float
    folds: list[float | None]
    mean: float
    deviation: float
    rows: int
    clips: int


class _ValScore(Shape):
    metric: str
    mean: float | None
    deviation: float | None


class _Clips(Shape):
    left_out: list[str]


class _Smoothing(Shape):
    kind: Kind
    half_width: float = Field(ge=0, le=LONGEST)
    val: dict[str, float] = {}


class _Training(Shape):
    best_epoch: int
    epochs: int
    most_epochs: int
    stopped: str


class TrainedShape(Shape):
    """Of what was trained: of `train-head` and of `finetune`."""

    task: dict[str, Any]
    val_score: _ValScore
    clips: _Clips
    splits: dict[str, str]
    smoothing: _Smoothing | None = None
    training: dict[str, _Training] = {}
    cautions: list[str] = []
    refit: bool = False


class _Weights(Shape):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    path: str | None
    sha256: str
    licence: str
    source: str


class FinetunedShape(TrainedShape):
    """Of `finetune`."""

    epochs: int
    units: dict[str, int]
    parameters: int
    weights: _Weights


def read_report(path: Path, shape: type[Shape]) -> dict[str, Any]:
    """What a report says. Raises MissingFile, and HostileFile for one that is cut off, forged or no report."""
    report = read_object(path, "a report", LARGEST, nan=True)
    try:
        shape.model_validate(report)
    except ValidationError as error:
        raise HostileFile(f"{path} is not a report as this version writes it: {explain(error)[:300]}") from None
    return report


def report_at_hand(cache: Cache, artifact: Artifact | None, file: str, shape: type[Shape]) -> dict[str, Any] | None:
    """The report of an artifact that was found in the cache; None where there is no artifact, and where the report
    cannot be used: then a notice says why, and the artifact goes, to be made again."""
    if artifact is None:
        return None
    try:
        return read_report(artifact.path / file, shape)
    except (HostileFile, MissingFile) as error:
        cache.discard(artifact)
        warnings.warn(f"{error}; it is made again", Notice, stacklevel=2)
        return None


HISTORY_FILE = "history.jsonl"


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write the epochs of a training, a line each."""
    write_text(path, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))


def history_of(path: Path) -> list[Epoch]:
    """The epochs of a training, one or more. Raises MissingFile, HostileFile."""
    lines = read_text(path, "a history of epochs", LARGEST, inside=True).splitlines()
    try:
        found = TypeAdapter(list[Epoch]).validate_python([parsed_json(line, nan=True) for line in lines])
    except ValidationError as error:
        raise HostileFile(f"{path} is not a history of epochs: {explain(error)}") from None
    except ValueError as error:
        raise HostileFile(f"{path} is not a history of epochs: {error}") from None
    if not found:
        raise HostileFile(f"{path} is not a history of epochs: it is empty")
    return found


def lines_of(path: Path) -> list[str]:
    """A JSON list of texts. Raises MissingFile, HostileFile."""
    found = parsed_json(read_text(path, "notices", LARGEST, inside=True))
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise HostileFile(f"{path} is not a list of texts")
    return found


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
