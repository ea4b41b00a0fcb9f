"""`affectkit fuse`: Combine the predictions of several models.

Several models' predictions -> one, by weights fitted on the validation clips.

Whatever is fitted or chosen is so on labelled rows of the validation split. What the report calls held out was not
seen by it: the test clips where they have labels, else folds of the validation clips by fusers fitted on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from affectkit import metrics, plugins, tasks
from affectkit.config import Config
from affectkit.errors import UsageError, listed
from affectkit.learning.saved_files import Arrays, SavedFiles, packed
from affectkit.stages import fusion_cautions
from affectkit.stages.fit_stage import Computed, FitStage
from affectkit.stages.fusion_cautions import BEST_SINGLE, FUSED, Make, compare, cross_fitted
from affectkit.stages.gating import Gate, Gated
from affectkit.stages.inputs import artifacts, labels, splits
from affectkit.stages.reports import FusionShape
from affectkit.stages.scoring import clusters
from affectkit.stages.stage import Context, Result, TextTable
from affectkit.store import Schema, predictions_schema, write_table
from affectkit.tables import predictions
from affectkit.tables import timeline as rows
from affectkit.tables.label_doubts import constant_targets, doubts
from affectkit.tables.labels import Labels, identity, read
from affectkit.tables.subjects import By
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import Bools, ClipLabels, Floats, Predictions

EQUAL = "equal weights"
FUSER_FILES = SavedFiles("fuser", "fuser")
"""What a fuser learnt beside its state lies in the tensors of these."""


class FuseConfig(Config):
    """What is computed."""

    task: str = Field(description="a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file")
    method: str = Field("dwf", description="a fuser (affectkit list fusers)")
    option: list[str] = Field([], description="an option of the fuser, key=value (repeatable)")
    rate: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="rows a second of the fusion  [default: those of the densest set, clip by clip]",
    )
    gate: Gate = Field("none", description="leave out a model's row above this entropy (nats); auto: chosen on val")
    beside: list[str] = Field([], description="another fuser to score beside it (repeatable)")
    folds: int = Field(
        5, ge=2, le=100, description="folds of the validation clips for scores that nothing was fitted on"
    )
    by: By = Field("clip", description="what folds and intervals keep together")
    seed: int = Field(0, ge=0, lt=1 << 32, description="seed of everything random")


@dataclass(frozen=True)
class Resolved:
    """What is fused: the sets, and the fuser that is still to be fitted. `columns`: those that the fuser reads where
    they are not the task's own."""

    inputs: Fuse.Inputs
    config: FuseConfig
    task: Task
    make: Make
    columns: tuple[str, ...]
    fuser: dict[str, Any]


class Fuse(FitStage):
    """Combine the predictions of several models.

    Weights are fitted on the validation clips only. The scores printed are of the test clips where they have labels,
    else of folds of the validation clips that were not fitted on; those on the rows fitted on stand beside them.

    Examples:

    `affectkit fuse "$A" "$B" --labels va.csv --task va --method dwf -o draws=2000`

    `affectkit fuse a.csv b.csv c.csv --labels expr.csv --task expr --gate auto --beside nnls --beside stacking`

    `affectkit fuse "$FACES_5FPS" "$SPEECH" --labels va.csv --task va --rate 30`
    """

    name = "fuse"
    makes = "predictions"
    says = "{plugin} of {inputs}"
    version = 5
    file = "fuser.json"
    shape = FusionShape
    Config = FuseConfig
    plugin = ("fusers", "method")

    @dataclass(frozen=True)
    class Inputs:
        """The sets, and the labels that weights are fitted on."""

        predictions: Sequence[Path] = artifacts(
            "predictions", help="two or more prediction artifacts or CSV files", many=True
        )
        labels: Labels = labels()
        splits: Path | None = splits()

    def mistakes(self, config: Mapping[str, Any], inputs: int, plugin: Any) -> Iterator[tuple[str, str]]:
        if not getattr(plugin, "inputs", None) and inputs < 2:
            yield "from", f"fuse combines two or more predictions; {inputs} given"

    def resolve(self, inputs: Inputs, config: FuseConfig) -> Resolved:
        task = tasks.get(config.task)
        plugin = plugins.get("fusers", config.method)
        options = plugins.parse_options(plugin, config.option, config.method)
        make = partial(gated_fuser, config.method, options, task, config.gate)
        columns = columns_read(plugin)
        if (count := len(inputs.predictions)) < (1 if columns else 2):
            raise UsageError(f"fuse combines two or more prediction sets; {count} given")
        return Resolved(inputs, config, task, make, columns, plugins.identity(config.method, plugin, options))

    def called(self, resolved: Resolved) -> str:
        return resolved.config.method

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        inputs = resolved.inputs
        return {
            "task": resolved.task.model_dump(mode="json"),
            "fuser": resolved.fuser,
            "config": resolved.config.model_dump(mode="json", exclude={"task", "method", "option"}),
            "predictions": [predictions.identity(path) for path in inputs.predictions],
            "labels": identity(inputs.labels, resolved.task),
            "splits": predictions.identity(inputs.splits) if inputs.splits else None,
        }

    def table(self, resolved: Resolved) -> Schema:
        return predictions_schema(list(resolved.task.targets))

    def compute(self, resolved: Resolved, context: Context) -> Computed:
        """Fit on labelled rows of the validation split and combine all rows. A clip that a model does not have is fused
        from the others."""
        inputs = resolved.inputs
        fused, report, arrays = _fit(
            resolved.task,
            resolved.make,
            resolved.columns,
            inputs.predictions,
            inputs.labels,
            inputs.splits,
            resolved.config,
        )

        def write(folder: Path) -> None:
            write_table(folder, self.table(resolved), predictions.records(fused))
            if arrays:
                (folder / FUSER_FILES.tensors).write_bytes(packed(arrays))

        return Computed(report, write)

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        report = result.report
        yield from (f"note: {caution}" for caution in report["cautions"])
        yield from _scores_said(report)


STAGE = Fuse


@dataclass(frozen=True, repr=False)
class _Table:
    """Rows with the scores [M,N,K] of all models there and, where they are labelled, the truth."""

    rows: Predictions
    scores: Floats
    truth: Floats
    groups: np.ndarray

    def fit_rows(self, split: str) -> Bools:
        """Labelled rows of a split of which a model has a score."""
        known = np.isfinite(self.truth).all(axis=1)
        scored = np.asarray(np.isfinite(self.scores).any(axis=0)).all(axis=1)
        return np.asarray((self.rows.split == split) & known & scored)


def _fit(
    task: Task, make: Make, columns: tuple[str, ...], sets: Sequence[Path], labels: Labels, splits: Path | None,
    config: FuseConfig,
) -> tuple[Predictions, dict[str, Any], Arrays]:  # fmt: skip
    """The fusion, the report, and what the fuser learnt beside its state."""
    known = read(labels, task)
    reads = task.model_copy(update={"targets": columns}) if columns else task
    given = at_level(task, [predictions.load(path, reads) for path in sets])
    base = predictions.with_splits(rows_of(given, config.rate), known, splits)
    places = by_clip(base)
    cautions = doubts(task, {clip: known[clip] for clip in places if clip in known}, predictions.ends(given), far=True)
    table = _labelled(task, base, given, known, config)
    fit, test = table.fit_rows("val"), table.fit_rows("test")
    if not fit.any():
        lines = [
            "fuse is fitted on validation rows only, and no labelled row has split 'val': give --splits",
            *cautions,
        ]
        raise UsageError("; ".join(lines))
    if len(constant_targets(task, table.truth[test])) == len(task.label_columns):
        cautions.append("labels of split test are constant (placeholders?): folds of the validation clips are scored")
        test = np.zeros_like(test)
    fuser = make()
    fuser.fit(table.scores[:, fit], table.truth[fit], table.groups[fit], seed=config.seed)
    fused, scores = combined(task, fuser, given, base)
    names = [str(path) for path in sets]
    names_of = {} if columns else dict(enumerate(names))
    others = {} if columns else _others(task, config)
    report = {
        "fitted_on": {"split": "val", "rows": int(fit.sum()), "clips": len(np.unique(table.rows.clip[fit]))},
        "rows": {"of": f"{config.rate:g} a second" if config.rate else "the densest set", "read": rows.INTERPOLATION},
        "partly_missing": {name: _absent(one, base) for name, one in zip(names, given, strict=True)},
        "in_sample": _in_sample(task, table, fit, fuser, names_of),
        "held_out": _held_out(task, table, fit, test, fuser, {FUSED: make} | others, names_of, config),
        "fuser": fuser.state(),
        "cautions": [*cautions, *_cautions(task, table, fit, fuser, names, given, base, scores)],
    }
    return fused, report, fuser.arrays()


def at_level(task: Task, sets: Sequence[Predictions]) -> list[Predictions]:
    """The prediction sets with rows as the task has them: one a clip, or those over time."""
    return [rows.of_clips(one) for one in sets] if task.level == "clip" else list(sets)


def rows_of(sets: Sequence[Predictions], rate: float | None) -> Predictions:
    """The rows of a fusion, without scores: so many a second, or those of the densest set, clip by clip."""
    base = rows.densest(sets)
    return rows.predictions_at_rate(base, rate) if rate else base


def combined(task: Task, fuser: Any, sets: Sequence[Predictions], base: Predictions) -> tuple[Predictions, Floats]:
    """What a fuser makes of several sets at the rows of `base`, and their scores [M,N,K] there."""
    scores = np.stack([rows.scores_at(one, base) for one in sets])
    observed = _observed(sets, base, scores)
    fused = Predictions(
        base.clip, base.start, base.end, fuser.combine(scores), task.targets, base.split, observed
    )  # fmt: skip
    return fused, scores


def _cautions(
    task: Task, table: _Table, fit: Bools, fuser: Gated, names: Sequence[str], sets: Sequence[Predictions],
    base: Predictions, scores: Floats,
) -> list[str]:  # fmt: skip
    """What is left out and assumed, one line each; scores [M,N,K] at the rows of `base`."""
    truth, at_labels = table.truth, table.scores
    return [
        *fusion_cautions.of_sets(names, sets, base, scores),
        *fusion_cautions.of_rows(table.rows, truth, at_labels, "val"),
        *fusion_cautions.of_rows(table.rows, truth, at_labels, "test"),
        *fusion_cautions.of_fit(task, names, at_labels[:, fit], truth[fit], fuser.combine(at_labels[:, fit])),
        *fusion_cautions.of_gate(names, scores, fuser.nats),
    ]


def _labelled(
    task: Task, base: Predictions, sets: Sequence[Predictions], known: Mapping[str, ClipLabels], config: FuseConfig
) -> _Table:
    """The rows of the labels."""
    at, truth = rows.at_labels(base, known, task)
    scores = np.stack([rows.scores_at(one, at) for one in sets])
    return _Table(at, scores, truth, clusters(at, known, config.by))


def _observed(sets: Sequence[Predictions], base: Predictions, scores: Floats) -> Floats:
    """[N] the largest share that a model with a score at a row says was observed; NaN where none says."""
    said = np.stack([rows.observed_at(one, base) for one in sets])
    said[~np.isfinite(scores).all(axis=2)] = np.nan
    largest = np.max(np.where(np.isnan(said), -1.0, said), axis=0)
    return np.where(largest < 0, np.nan, largest)


def gated_fuser(method: str, options: Config, task: Task, gate: Gate) -> Gated:
    """A fuser that is still to be fitted, for each fold."""
    return Gated(plugins.instance("fusers", method, plugins.get("fusers", method), options, task), task, gate)


def columns_read(plugin: Any) -> tuple[str, ...]:
    """The columns that a fuser reads where they are not the task's own."""
    return tuple(getattr(plugin, "inputs", None) or ())


def _others(task: Task, config: FuseConfig) -> dict[str, Make]:
    """What is scored beside the fusion: always the best single model and equal weights."""
    others = {BEST_SINGLE: "best-single", EQUAL: "equal"} | {name: name for name in config.beside}
    found: dict[str, Make] = {}
    for name, method in others.items():
        plugin = plugins.get("fusers", method)
        found[name] = partial(gated_fuser, method, plugins.parse_options(plugin, [], method), task, "none")
    return found


def _held_out(
    task: Task, table: _Table, fit: Bools, test: Bools, fuser: Any, systems: Mapping[str, Make],
    names: Mapping[int, str], config: FuseConfig,
) -> dict[str, Any]:  # fmt: skip
    """Scores on rows that nothing was fitted on; `fuser` is fitted on all validation rows already."""
    groups = table.groups[fit]
    how, used = "test clips", test
    if test.any():
        found = {FUSED: fuser.combine(table.scores[:, test])}
        for name in [name for name in systems if name != FUSED]:
            other = systems[name]()
            other.fit(table.scores[:, fit], table.truth[fit], groups, seed=config.seed)
            found[name] = other.combine(table.scores[:, test])
    elif len(np.unique(groups)) < 2:
        return {"how": f"none: one validation {config.by} only, and no test clips with labels"}
    else:
        folds = min(config.folds, len(np.unique(groups)))
        how, used = f"{folds} folds of the validation clips, grouped by {config.by}", fit
        found = cross_fitted(systems, table.scores[:, fit], table.truth[fit], groups, folds=folds, seed=config.seed)
    found |= {name: table.scores[number][used] for number, name in names.items()}
    return {"how": how, **compare(
        task, table.truth[used], found, table.groups[used], table.rows.clip[used], seed=config.seed
    )}  # fmt: skip


def _in_sample(task: Task, table: _Table, fit: Bools, fuser: Any, names: Mapping[int, str]) -> dict[str, float]:
    """The task's metric on the rows that the fusion was fitted on."""
    scores, truth = table.scores[:, fit], table.truth[fit]
    systems = {name: scores[number] for number, name in names.items()}
    if names:
        systems[EQUAL] = np.nanmean(scores, axis=0)
    systems[FUSED] = fuser.combine(scores)
    found = {}
    for name, one in systems.items():
        there = np.isfinite(one).all(axis=1)
        if there.any():
            found[name] = metrics.main(task, truth[there], one[there])
    return found


def _absent(one: Predictions, base: Predictions) -> list[str]:
    """Clips that a set has nothing to say of."""
    return sorted(set(base.clip.tolist()) - set(one.clip[one.valid].tolist()))


def _scores_said(report: Mapping[str, Any]) -> Iterator[str | TextTable]:
    held_out, in_sample = report["held_out"], report["in_sample"]
    scores = held_out.get("scores", {})
    where = f" ({held_out['rows']} rows of {held_out['clips']} clips)" if scores else ""
    yield f"held out: {held_out['how']}{where}"
    if held_out.get("rows_without_score"):
        absent = held_out.get("clips_without_score")
        whole = f", {listed(absent, 'clips')} altogether" if absent else ""
        yield f"{held_out['rows_without_score']} rows left out, which a set has no score for{whole}"
    rows = tuple(
        (name, *(f"{part[name]:.4f}" if name in part else "" for part in (scores, in_sample)))
        for name in dict.fromkeys([*scores, *in_sample])
    )
    yield TextTable(("", "held out", "where it was fitted (optimistic)"), rows)
    if "chosen" in (fuser := report["fuser"]):
        yield f"chosen: {fuser['chosen']} ({fuser['why']})"
    if fuser.get("shrinkage"):
        yield f"shrunk: {fuser['shrinkage']:.0%} of the weight is shared alike"
    if (against := held_out.get("against_best_single")) is not None:
        yield verdict(against)


def verdict(against: dict[str, Any]) -> str:
    """Whether the fusion is better than the best single model, beyond noise."""
    if "difference" not in against:
        return f"fused against the best single model: {'; '.join(against['cautions'])}"
    gap = f"{against['difference']:+.4f} [{against['low']:+.4f}, {against['high']:+.4f}]"
    says = "better than the best single model" if against["better"] else "NOT better than the best single model"
    notes = f" ({'; '.join(against['cautions'])})" if against["cautions"] else ""
    return f"fused is {says} beyond noise: {gap}, 95 % interval over clips{notes}"
