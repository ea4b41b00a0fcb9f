"""`affectkit label-lag`: Estimate how much later than the face the labels are, by correlation against shift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from affectkit import tasks
from affectkit.annotations import lag
from affectkit.config import Config
from affectkit.drawing.style import require_matplotlib
from affectkit.errors import UsageError, listed
from affectkit.stages.fit_stage import Computed, FitStage
from affectkit.stages.inputs import artifacts, labels, splits
from affectkit.stages.reports import Shape
from affectkit.stages.stage import Context, Need, Result, TextTable
from affectkit.tables import predictions as tables
from affectkit.tables.labels import LONGEST_LAG, Labels, LaggedLabels, identity, read
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import Bools, ClipLabels, Floats, Predictions

_MOST_SHIFTS = 2000
_GAIN = 0.01
_WEAK = 0.1
_LEVEL = (2.5, 97.5)


class LabelLagConfig(Config):
    """Which shifts are tried."""

    task: str = Field(description="a built-in task or a TOML file")
    least: float = Field(-1.0, ge=-LONGEST_LAG, le=LONGEST_LAG, description="smallest shift (s)")
    most: float = Field(6.0, ge=-LONGEST_LAG, le=LONGEST_LAG, description="largest shift (s)")
    step: float = Field(0.1, ge=0.01, le=10, description="seconds between shifts, and between moments")
    draws: int = Field(1000, ge=0, le=100_000, description="bootstrap draws of clips for the interval; 0: none")
    seed: int = Field(0, ge=0, lt=1 << 32, description="seed of the draws")
    figures: bool = Field(False, description="draw the curves of all clips and the pooled one, PNG and SVG")

    @model_validator(mode="after")
    def _ordered(self) -> LabelLagConfig:
        if self.most - self.least < 2 * self.step or (self.most - self.least) / self.step > _MOST_SHIFTS:
            raise ValueError(f"least to most are 3 to {_MOST_SHIFTS} steps")
        return self

    @property
    def shifts(self) -> Floats:
        """[S] (s)."""
        count = round((self.most - self.least) / self.step)
        return np.asarray(np.round(self.least + np.arange(count + 1) * self.step, 9))


class LabelLagShape(Shape):
    """What the report must hold."""

    lag: float
    shifts: list[float]
    curve: list[float]
    correlation: dict[str, float]
    columns: dict[str, float]
    clips: dict[str, float]
    interval: list[float]
    cautions: list[str]
    left_out: list[str]


@dataclass(frozen=True)
class Resolved:
    """What is read, and how."""

    inputs: LabelLag.Inputs
    config: LabelLagConfig
    task: Task


class LabelLag(FitStage):
    """Estimate how much later than the face the labels are, by correlation against shift.

    Predictions that never saw these labels (a published model's) are correlated with the labels so many seconds later;
    the lag is where that is highest. Clips of split test are never looked at: what `--label-lag` is set to by them
    would be a leak.

    Examples:

    `affectkit label-lag "$P" --labels va.csv --task va --figures`
    """

    name = "label-lag"
    makes = "report"
    says = "lag of the labels of {task} behind {inputs}"
    version = 1
    file = "lag.json"
    shape = LabelLagShape
    Config = LabelLagConfig

    @dataclass(frozen=True)
    class Inputs:
        """A signal, and labels that may be late."""

        predictions: Path = artifacts("predictions", help="a prediction artifact or a CSV file")
        labels: Labels = labels()
        splits: Path | None = splits()

    def needs(self, config: LabelLagConfig, files: Mapping[str, Path]) -> Iterator[Need]:
        if config.figures:
            yield Need("figures", "matplotlib", require_matplotlib)

    def reads_task(self, config: LabelLagConfig) -> tuple[Task, str]:
        task = tasks.get(config.task)
        return task, f"not {task.name}"

    def resolve(self, inputs: Inputs, config: LabelLagConfig) -> Resolved:
        task = tasks.get(config.task)
        if task.level == "clip":
            raise UsageError(f"labels of {task.name} are of whole clips, and have no lag")
        if isinstance(inputs.labels, LaggedLabels):
            raise UsageError("label-lag estimates what --label-lag is set to: leave that out")
        return Resolved(inputs, config, task)

    def called(self, resolved: Resolved) -> str:
        return resolved.task.name

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        inputs = resolved.inputs
        return {
            "config": resolved.config.model_dump(mode="json", exclude={"task"}),
            "task": resolved.task.model_dump(mode="json"),
            "predictions": tables.identity(inputs.predictions),
            "labels": identity(inputs.labels, resolved.task),
            "splits": tables.identity(inputs.splits) if inputs.splits else None,
        }

    def compute(self, resolved: Resolved, context: Context) -> Computed:
        inputs, config, task = resolved.inputs, resolved.config, resolved.task
        if config.figures:
            require_matplotlib()
        labels_of_clip = read(inputs.labels, task)
        predictions = tables.with_splits(tables.load(inputs.predictions, task), labels_of_clip, inputs.splits)
        moments_of, left_out = _of_clips(predictions, labels_of_clip, task, config)
        if not moments_of:
            raise UsageError(
                f"no clip has labels and predictions for long enough that shifts from {config.least:g} to "
                f"{config.most:g} s can be tried ({'; '.join(left_out) or 'no clip at all'}): give a smaller --most"
            )
        report, curves = _report(moments_of, task, config, left_out)

        def write(folder: Path) -> None:
            if config.figures:
                from affectkit.stages.figures import draw_lag

                draw_lag(folder / "figures", config.shifts, curves, report)

        return Computed(report, write)

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        report = result.report
        best, at_zero = report["correlation"]["best"], report["correlation"]["unshifted"]
        between = (
            ", {:.2f} to {:.2f} s in 95% of draws of clips".format(*report["interval"]) if report["interval"] else ""
        )
        yield f"lag: {report['lag']:.2f} s (correlation {best:.3f}, unshifted {at_zero:.3f}{between})"
        rows = [(name, f"{value:.2f}") for name, value in report["columns"].items()]
        if len(rows) > 1:
            yield TextTable(("column", "lag (s)"), tuple(rows))
        each = np.array(list(report["clips"].values()))
        yield "of {} clips each: median {:.2f} s, quartiles {:.2f} and {:.2f}".format(
            len(each), *np.percentile(each, [50, 25, 75])
        )
        yield from (f"left out: {line}" for line in report["left_out"])
        yield from (f"note: {caution}" for caution in report["cautions"])
        if result.artifact is not None and (result.artifact.path / "figures").is_dir():
            yield f"figures are in {result.artifact.path / 'figures'}"


STAGE = LabelLag


def _of_clips(
    predictions: Predictions, labels_of_clip: Mapping[str, ClipLabels], task: Task, config: LabelLagConfig
) -> tuple[dict[str, lag.LagMoments], list[str]]:
    """The products of each clip that is long enough, and lines on those that are left out."""
    moments_of: dict[str, lag.LagMoments] = {}
    of_test, unlabelled, short = [], [], []
    for clip, rows in by_clip(predictions).items():
        if str(predictions.split[rows][0]) == "test":
            of_test.append(clip)
        elif clip not in labels_of_clip:
            unlabelled.append(clip)
        else:
            each = labels_of_clip[clip]
            moments = lag.lag_moments(
                predictions.start[rows], predictions.end[rows], predictions.scores[rows], each,
                _in_columns(task, each.values), config.shifts, config.step,
            )  # fmt: skip
            if moments is None:
                short.append(clip)
            else:
                moments_of[clip] = moments
    sides = (
        (of_test, "clips of split test"),
        (unlabelled, "clips without labels"),
        (short, "clips that are too short"),
    )
    return moments_of, [listed(clips, what) for clips, what in sides if clips]


def _in_columns(task: Task, values: Floats) -> Floats:
    """[R,K] labels as scores have their columns: of classes 1 in that of the class."""
    if task.kind != "multiclass":
        return values
    columns = (values == np.arange(task.outputs)).astype(float)
    columns[~np.isfinite(values[:, 0])] = np.nan
    return columns


def _report(
    moments_of: Mapping[str, lag.LagMoments], task: Task, config: LabelLagConfig, left_out: list[str]
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The report, and the curve of each clip [S], over the columns that say anything."""
    shifts, clips = config.shifts, list(moments_of.values())
    by_column = lag.pooled(clips)  # [S,K]
    moving: Bools = np.asarray(by_column.any(axis=0))
    if not moving.any():
        raise UsageError("either the labels or the predictions are constant in every clip: there is no lag to be seen")
    curve = by_column[:, moving].mean(axis=1)
    best = lag.peak(shifts, curve)
    unshifted = float(np.interp(0.0, shifts, curve)) if shifts[0] <= 0 <= shifts[-1] else float("nan")
    correlation = {"best": float(curve.max()), "unshifted": unshifted}
    curves = {clip: each.curve[:, moving].mean(axis=1) for clip, each in moments_of.items()}
    report = {
        "task": task.name,
        "lag": best,
        "shifts": shifts.tolist(),
        "curve": curve.tolist(),
        "correlation": correlation,
        "columns": {name: lag.peak(shifts, column) for name, column, is_moving
                    in zip(task.targets, by_column.T, moving, strict=True) if is_moving},
        "clips": {clip: lag.peak(shifts, each) for clip, each in curves.items()},
        "moments": {clip: each.count for clip, each in moments_of.items()},
        "interval": _interval(clips, moving, config),
        "left_out": left_out,
    }  # fmt: skip
    report["cautions"] = list(_cautions(report, config))
    return report, curves


def _interval(clips: list[lag.LagMoments], moving: Bools, config: LabelLagConfig) -> list[float]:
    """Where the lag lies in 95% of draws of whole clips; empty without draws, and of one clip."""
    if not config.draws or len(clips) < 2:
        return []
    rng = np.random.default_rng(config.seed)
    lags = []
    for _ in range(config.draws):
        often = np.bincount(rng.integers(0, len(clips), len(clips)), minlength=len(clips)).astype(float)
        lags.append(lag.peak(config.shifts, lag.pooled(clips, often)[:, moving].mean(axis=1)))
    return [float(bound) for bound in np.percentile(lags, _LEVEL)]


def _cautions(report: Mapping[str, Any], config: LabelLagConfig) -> Iterator[str]:
    best, unshifted = report["correlation"]["best"], report["correlation"]["unshifted"]
    if best < _WEAK:
        yield f"the highest correlation is {best:.3f}: this signal says nothing of a lag"
    elif best - unshifted < _GAIN:
        yield f"shifting gains {best - unshifted:.3f} of correlation: no lag can be told from none"
    if report["lag"] in (config.shifts[0], config.shifts[-1]):
        yield f"the highest correlation is at the edge of the shifts that were tried ({report['lag']:g} s)"
    yield "predictions of a model that was trained on these labels may have learnt their lag: take a published model's"
