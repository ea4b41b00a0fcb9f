"""The rows that are scored: which split, at which times, and what is left out and counted.

By default these are the rows of the labels, with predictions of other times read there, as the challenges score: a
model of 5 predictions a second then answers for every labelled frame.

Whether probabilities are what they say: reliability and the expected calibration error (Guo et al. 2017).

Shapes: N rows, K classes or labels, B bins of equal width over 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from affectkit import metrics
from affectkit.config import Config
from affectkit.errors import UsageError, listed
from affectkit.tables import predictions as tables
from affectkit.tables import timeline
from affectkit.tables.label_doubts import constant_targets, doubts
from affectkit.tables.pooling import Pooling, check_pooling
from affectkit.tables.splits import split_in, split_table
from affectkit.tables.subjects import By, Subjects
from affectkit.tables.timeline import by_clip, nearest_scores
from affectkit.tasks import Task
from affectkit.types import ClipLabels, Floats, Predictions

_DIGITS = 6  # of a second: times that differ by less are one
_FOR_POOLING = "--label-pooling is how prediction rows and rows of --rate get their labels"


class ScoringConfig(Config):
    """What is scored, and how sure that is."""

    task: str = Field(description="a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file")
    split: str | None = Field(None, description="train, val or test (default: test, else val)")
    rows: Literal["labels", "predictions"] | None = Field(
        None,
        description="score at the labels' rows, predictions interpolated, or at the predictions' own "
        "[default: labels; predictions with --label-pooling]",
    )
    rate: float | None = Field(None, gt=0, le=1000, description="score at this many rows a second instead")
    label_pooling: Pooling = Field("midpoint", description="the label of a row: midpoint, mean or mode")
    missing: Literal["drop", "hold"] = Field(
        "drop", description="rows without a score: leave out, or hold the clip's nearest one in time"
    )
    by: By = Field("clip", description="what intervals draw together: all rows of a clip, or of a subject")
    draws: int = Field(1000, ge=0, le=1_000_000, description="bootstrap draws of the intervals; 0: no intervals")
    level: float = Field(0.95, ge=0.5, lt=1, description="how often an interval holds the truth")
    seed: int = Field(0, ge=0, lt=1 << 32, description="seed of the draws")

    def checked(self, task: Task) -> None:
        """Raises UsageError for options that do not fit the task or each other."""
        check_pooling(self.label_pooling, task)
        if self.rate and self.rows:
            raise UsageError("--rows and --rate both say which rows are scored: give one of them")
        if self.rate and task.level == "clip":
            raise UsageError(f"--rate is for tasks with scores over time; {task.name} has one score a clip")
        if self.rows == "labels" and self.label_pooling != "midpoint":
            raise UsageError(f"{_FOR_POOLING}: leave --rows labels away")


@dataclass(frozen=True, repr=False)
class Scored:
    """Rows with a label and a score of every prediction set.

    rows: clip, start, end [N]; truth [N,K] (multiclass [N,1]); scores [M,N,K] of M sets; clusters [N], what a
    bootstrap draws together. `counts` says what else there was.
    """

    rows: Predictions
    truth: Floats
    scores: Floats
    clusters: NDArray[np.str_]
    split: str
    counts: dict[str, Any]
    cautions: list[str]


def gather(
    task: Task, sets: Sequence[Predictions], labels: Mapping[str, ClipLabels], config: ScoringConfig,
    splits: Path | None = None,
) -> Scored:  # fmt: skip
    """The rows that all prediction sets have a score for, of the clips that they share. Raises UsageError."""
    given = [tables.with_splits(one, labels, splits) for one in sets]
    cautions: list[str] = []
    split = config.split or _default_split(task, given[0], labels, cautions)
    base = _in_split(given, split)
    known = {clip: labels[clip] for clip in by_clip(base) if clip in labels}
    cautions += doubts(task, known, tables.ends(given), far=True)
    try:
        rows, truth, how = _laid_out(task, base, labels, config)
    except UsageError as error:
        raise UsageError("; ".join([str(error), *cautions])) from None
    ready = [timeline.of_clips(one) for one in given] if task.level == "clip" and how == "labels" else given
    scores = np.stack([timeline.scores_at(one, rows) for one in ready])
    labelled = np.asarray(np.isfinite(truth).all(axis=1))
    held = np.zeros(len(rows), bool)
    if config.missing == "hold":
        filled = [nearest_scores(one, rows, own) for one, own in zip(scores, ready, strict=True)]
        scores, held = np.stack([one for one, _ in filled]), np.any([own for _, own in filled], axis=0)
    predicted = np.asarray(np.isfinite(scores).all(axis=(0, 2)))
    used = labelled & predicted
    if not used.any():
        raise UsageError(f"no row of split '{split}' has both a label and a score")
    chosen = rows.select(used)
    counts = {
        "rows": int(used.sum()),
        "clips": len(by_clip(chosen)),
        "clips_without_prediction": _unpredicted(given, labels, split, splits),
        "clips_without_score": sorted(set(rows.clip[labelled].tolist()) - set(chosen.clip.tolist())),
        "rows_without_label": int((~labelled).sum()),
        "rows_without_score": int((labelled & ~predicted).sum()),
        "rows_unobserved": max(int((timeline.observed_at(one, chosen) == 0).sum()) for one in ready),
        "rows_held": int((used & held).sum()),
        "rows_of": how,
        **_read_at_other_times(ready, chosen),
    }
    cautions += constants(task, truth[used], scores[:, used], split)
    by = clusters(chosen, labels, config.by)
    return Scored(chosen, truth[used], scores[:, used], by, split, counts, cautions)


def constants(task: Task, truth: Floats, scores: Floats, split: str) -> list[str]:
    """Lines about labels and predictions that are the same in all rows: truth [N,K] (multiclass [N,1]), scores
    [M,N,K] of M sets."""
    found, of = [], f"split {split}" if split else "all splits"
    if labels := constant_targets(task, truth):
        zero = "CCC and Pearson are 0 whatever is predicted" if task.kind == "regression" else "scores say nothing"
        found.append(f"labels of {of} are constant ({', '.join(labels)}): {zero}")
    for number, one in enumerate(scores):
        same = (one == one[0]).all(axis=0)
        if len(one) > 1 and (same.all() if task.kind == "multiclass" else same.any()):
            names = (
                []
                if task.kind == "multiclass"
                else [name for name, flat in zip(task.targets, same, strict=True) if flat]
            )
            which = f" of set {number + 1}" if len(scores) > 1 else ""
            zero = ": CCC and Pearson are 0" if task.kind == "regression" else ""
            named = f" ({', '.join(names)})" if names else ""
            found.append(f"predictions{which} are constant{named}{zero}")
    return found


def clusters(rows: Predictions, labels: Mapping[str, ClipLabels], by: By) -> NDArray[np.str_]:
    """[N] the clip of each row, all faces of a clip together, or its subject. Raises UsageError for unknown ones."""
    subjects = Subjects.named(labels)
    names = {clip: subjects.group(clip, by) for clip in dict.fromkeys(rows.clip.tolist())}
    lacking = sorted(clip for clip, name in names.items() if name is None)
    if lacking:
        raise UsageError(f"--by subject: {len(lacking)} clips have no subject in the labels, such as '{lacking[0]}'")
    return np.array([names[clip] for clip in rows.clip.tolist()], np.str_)


def _in_split(given: Sequence[Predictions], split: str) -> Predictions:
    """The first set's rows of the split, of the clips that all sets have."""
    first = given[0]
    shared = set.intersection(*(set(one.clip.tolist()) for one in given))
    if not shared:
        raise UsageError("the prediction sets have no clip in common")
    base = first if len(given) == 1 else first.select(np.isin(first.clip, sorted(shared)))
    chosen = base.select(base.split == split) if split else base
    if not len(chosen):
        raise UsageError(
            f"no prediction has split '{split}' (there are: {', '.join(sorted(set(base.split))) or 'none'})"
        )
    return chosen


def _laid_out(
    task: Task, base: Predictions, labels: Mapping[str, ClipLabels], config: ScoringConfig
) -> tuple[Predictions, Floats, str]:
    """Rows [N], their labels [N,K], and whose rows they are."""
    if config.rate:
        rows = timeline.predictions_at_rate(base, config.rate)
        return rows, tables.truth(rows, labels, task, config.label_pooling), f"{config.rate:g} a second"
    if (config.rows or ("labels" if config.label_pooling == "midpoint" else "predictions")) == "predictions":
        return base, tables.truth(base, labels, task, config.label_pooling), "predictions"
    at = timeline.of_clips(base) if task.level == "clip" else base
    rows, truth = timeline.at_labels(at, labels, task)
    return rows, truth, "labels"


def _read_at_other_times(sets: Sequence[Predictions], rows: Predictions) -> dict[str, Any]:
    """How many rows were read between or beyond the rows of a prediction set (the worst of them counts)."""
    between, beyond = 0, 0
    wanted = by_clip(rows)
    for one in sets:
        places = by_clip(one)
        moved = outside = 0
        for clip, here in wanted.items():
            start, end = one.start[places[clip]], one.end[places[clip]]
            middle = (rows.start[here] + rows.end[here]) / 2
            own = np.isin(middle.round(_DIGITS), ((start + end) / 2).round(_DIGITS))
            far = ~own & ((middle < start.min()) | (middle > end.max()))
            moved, outside = moved + int((~own).sum()), outside + int(far.sum())
        between, beyond = max(between, moved), max(beyond, outside)
    found: dict[str, Any] = {"rows_interpolated": between, "rows_beyond_predictions": beyond}
    return found | ({"interpolation": timeline.INTERPOLATION} if between else {})


def _unpredicted(
    given: Sequence[Predictions], known: Mapping[str, ClipLabels], split: str, splits: Path | None
) -> list[str]:
    """Labelled clips of the split that a set has no prediction for: they do not enter the score."""
    table = split_table(known, splits)
    predicted = set.intersection(*(set(one.clip.tolist()) for one in given))
    absent = [clip for clip in known if clip not in predicted]
    return [clip for clip in absent if not table or split_in(table, clip) == split]


def _default_split(task: Task, predictions: Predictions, labels: Mapping[str, ClipLabels], cautions: list[str]) -> str:
    """Test, else val, else all; test with constant labels, as placeholders are, only where val is no better, and a
    caution says so."""
    present = [split for split in ("test", "val") if (predictions.split == split).any()]
    constant = [_all_constant(task, predictions, labels, split) for split in present]
    if constant == [True, False]:
        cautions.append("labels of split test are constant (placeholders?): split val is scored; --split test takes it")
        return "val"
    return present[0] if present else ""


def _all_constant(task: Task, predictions: Predictions, labels: Mapping[str, ClipLabels], split: str) -> bool:
    """Whether the labels of a split's predicted clips are the same in every row, for every target."""
    clips = dict.fromkeys(predictions.clip[predictions.split == split].tolist())
    parts = [labels[clip].values for clip in clips if clip in labels]
    return bool(parts) and len(constant_targets(task, np.concatenate(parts))) == len(task.label_columns)


CONSTANT = "best constant"


def constant_report(task: Task, truth: Floats) -> dict[str, Any]:
    """What the constant is, and its scores on these rows, from whose own labels it is taken: truth [N,K] (multiclass
    [N,1]).

    >>> from affectkit import tasks
    >>> constant_report(tasks.get("va"), np.array([[0.0, 1.0], [1.0, 0.0]]))["scores"]["ccc"]
    0.0
    """
    what, value = _value(task, truth)
    scores = np.broadcast_to(value, (len(truth), task.outputs))
    return {"what": what, "value": value.tolist(), "scores": metrics.score(task, truth, scores)}


def _value(task: Task, truth: Floats) -> tuple[str, Floats]:
    """[K] what is best by the task's kind and metric: a constant's CCC and correlation are 0 whatever it is."""
    if task.kind == "multiclass":
        counts = np.bincount(truth[:, 0].astype(int), minlength=task.outputs)
        return "the most frequent class of the rows scored", np.eye(task.outputs)[counts.argmax()]
    if task.kind == "multilabel":  # F1 of a label never predicted is 0
        return "every label present", np.ones(task.outputs)
    if task.metric == "mae":
        return "the median of the rows scored", np.asarray(np.median(truth, axis=0))
    return "the mean of the rows scored", np.asarray(truth.mean(axis=0))


BINS = 15


class Reliability(NamedTuple):
    """Of each bin [B]: how many rows, their mean probability, and the share of them in which it came true."""

    rows: Floats
    probability: Floats
    share: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: sum over bins of rows/N |share - probability|."""
        return float(self.rows @ np.abs(self.share - self.probability) / self.rows.sum())


def reliability(probability: ArrayLike, true: ArrayLike, bins: int = BINS) -> Reliability:
    """Rows by their probability [N] and whether it came true [N]; a bin is (low, high], the first holds 0 as well.

    >>> found = reliability([0.95, 0.85, 0.1], [1, 0, 0], bins=2)
    >>> found.rows.tolist(), found.share.tolist(), round(found.ece, 3)
    ([1.0, 2.0], [0.0, 0.5], 0.3)
    """
    p, t = np.clip(np.asarray(probability, np.float64), 0, 1), np.asarray(true, np.float64)
    place = np.clip(np.ceil(p * bins).astype(np.intp) - 1, 0, bins - 1)
    rows = np.bincount(place, minlength=bins).astype(np.float64)
    means = [np.divide(np.bincount(place, values, bins), rows, out=np.zeros(bins), where=rows > 0) for values in (p, t)]
    return Reliability(rows, *means)


def calibration_curves(task: Task, truth: Floats, scores: Floats) -> dict[str, Reliability]:
    """Classes: the highest probability and whether its class is right, under "top class"; labels: one curve each.

    Regression has no probabilities, and no curve.
    """
    if task.kind == "multiclass":
        return {"top class": reliability(scores.max(axis=1), scores.argmax(axis=1) == truth[:, 0])}
    if task.kind == "multilabel":
        return {name: reliability(scores[:, k], truth[:, k]) for k, name in enumerate(task.targets)}
    return {}


def calibration_report(found: dict[str, Reliability]) -> dict[str, Any]:
    """For JSON: the expected calibration error (of labels: the mean, and each), and the bins."""
    each = {name: curve.ece for name, curve in found.items()}
    about: dict[str, Any] = {"bins": BINS, "ece": float(np.mean(list(each.values())))}
    if len(each) > 1:
        about["ece_per_label"] = each
    about["curves"] = {
        name: {field: getattr(curve, field).tolist() for field in curve._fields} for name, curve in found.items()
    }
    return about


def rows_said(report: Mapping[str, Any]) -> Iterator[str]:
    """How many rows of which clips are scored, and what is left out, line by line."""
    if absent := report["clips_without_prediction"]:
        yield f"{listed(absent, 'clips')} labelled, without a prediction: not scored"
    if unscored := report.get("clips_without_score"):
        yield f"{listed(unscored, 'clips')} predicted without any score: not scored"
    dropped = f"{report['rows_without_label']} rows without a label and {report['rows_without_score']} without a score"
    yield (
        f"{report['task']}, split {report['split']}: {report['rows']} rows of {report['clips']} clips "
        f"({dropped} left out); rows of: {report['rows_of']}"
    )
    if unobserved := report.get("rows_unobserved"):  # reports of earlier releases do not say
        yield f"{unobserved} of the rows have a score, but no face or speech: they are within the reach of predict"
    if held := report.get("rows_held"):
        yield f"{held} rows without a score of their own: the clip's nearest in time is held"
    yield from interpolation_said(report)


def interpolation_said(counts: Mapping[str, Any]) -> Iterator[str]:
    """How many rows are read between predictions or beyond them, where there are any."""
    if counts["rows_interpolated"]:
        beyond = counts["rows_beyond_predictions"]
        held = f"; {beyond} lie beyond them and take the nearest" if beyond else ""
        yield f"{counts['rows_interpolated']} rows read between predictions, {counts['interpolation']}{held}"


def interval_said(bounds: Sequence[float] | None, *, signed: bool = False) -> str:
    """An interval's bounds, or nothing."""
    sign = "+" if signed else ""
    return "" if bounds is None else f"{bounds[0]:{sign}.4f} .. {bounds[1]:{sign}.4f}"


def interval_header(report: Mapping[str, Any]) -> str:
    """The level of a report's intervals."""
    return f"{100 * report['bootstrap']['level']:g} % interval"
