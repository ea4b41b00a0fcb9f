"""Figures of an evaluation, of labels and their lag, PNG and SVG. Imports matplotlib: import inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from affectkit.drawing.style import (
    BLACK,
    BLUE,
    BODY,
    COLUMN,
    GREEN,
    GREY,
    LEAST,
    LIGHT,
    PAGE,
    SMALL,
    STYLE,
    VERMILLION,
    figure_of,
    plain,
    save,
    shortened,
    styled,
)
from affectkit.errors import AffectkitError, UsageError
from affectkit.stages.reports import FusionShape, read_report
from affectkit.stages.scoring import Reliability, Scored, calibration_curves
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import Floats

__all__ = ["STYLE", "confusion", "draw", "draw_labels", "reliability", "save"]

MOST_CLIPS = 20
MOST_SHARES = 12
"""Classes up to which a cell has room for a share above its count."""


def draw(
    folder: Path, task: Task, scored: Scored, report: Mapping[str, Any], clips: Mapping[str, float], made_by: Path,
    pattern: str | None = None,
) -> list[str]:  # fmt: skip
    """Write every figure that fits the task, and return their names without suffix.

    report: as `evaluate` makes it; clips: each clip's own score (NaN: none), empty for clip-level tasks; made_by: the
    predictions, whose weights are drawn if they are a fusion; pattern: the clips to draw over time. Raises UsageError
    when it matches none.
    """
    figures: dict[str, Callable[[], Figure]] = {"scores": lambda: scores(task, report)}
    if task.kind == "multiclass":
        figures["confusion"] = lambda: confusion(report["confusion"]["classes"], np.array(report["confusion"]["rows"]))
    if task.kind != "regression":
        figures["reliability"] = lambda: reliability(calibration_curves(task, scored.truth, scored.scores[0]))
    if np.isfinite(list(clips.values())).sum() > 1:
        figures["per_clip"] = lambda: per_clip(task, clips, report["scores"][task.metric])
    if task.level == "clip" and task.kind == "regression":
        figures["predicted_true"] = lambda: predicted_true(task, scored)
    for number, (clip, why) in enumerate(chosen(task, clips, pattern).items(), start=1):
        figures[f"over_time_{number:02d}"] = lambda clip=clip, why=why: over_time(task, scored, clip, why)  # type: ignore[misc]
    if found := fused_weights(made_by):
        figures["weights"] = lambda: weights(task, *found)
    folder.mkdir()
    with styled():
        for name, make in figures.items():
            save(make(), folder / name)
    return list(figures)


def chosen(task: Task, clips: Mapping[str, float], pattern: str | None) -> dict[str, str]:
    """The clips to draw over time and what they are: those of a pattern, else the best, the median and the worst."""
    if pattern is not None:
        found = [clip for clip in clips if fnmatchcase(clip, pattern)]
        if not found:
            raise UsageError(f"--draw-clips '{pattern}' matches none of {len(clips)} scored clips of {task.name}")
        if len(found) > MOST_CLIPS:
            raise UsageError(f"--draw-clips '{pattern}' matches {len(found)} clips; at most {MOST_CLIPS} are drawn")
        return {clip: f"{task.metric} {clips[clip]:.3f}".replace("nan", "undefined") for clip in found}
    scored = [clip for clip, score in clips.items() if np.isfinite(score)]
    order = sorted(scored, key=lambda clip: (clips[clip], clip), reverse=task.metric != "mae")
    if not order:
        return {}
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    said: dict[str, str] = {}
    for word, place in places.items():
        said.setdefault(order[place], f"{word} of {len(order)} clips: {task.metric} {clips[order[place]]:.3f}")
    return said


def scores(task: Task, report: Mapping[str, Any]) -> Figure:
    """The task's metric, pooled and of each target, with intervals."""
    prefix = "f1" if task.kind != "regression" else task.metric
    names = [task.metric, *(f"{prefix}/{target}" for target in task.targets)]
    figure = figure_of(COLUMN, 0.65 + 0.2 * len(names))
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        value, colour = report["scores"][name], BLACK if place == 0 else BLUE
        if bounds := report["intervals"].get(name):
            axes.plot(bounds, [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([value], [place], "o", color=colour, markersize=4)
    axes.set_yticks(range(len(names)), ["all: " + names[0], *(plain(target) for target in task.targets)])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color=LIGHT, linewidth=0.4)
    axes.set_axisbelow(True)
    level = 100 * report["bootstrap"]["level"]
    sure = f", {level:g} % interval over {report['bootstrap']['by']}s" if report["intervals"] else ""
    axes.set_xlabel(f"{prefix.upper() if prefix in ('f1', 'ccc', 'mae') else prefix}{sure}")
    return figure


def confusion(classes: Sequence[str], rows: Floats, title: str = "") -> Figure:
    """Counts [K,K] of truth (line) and prediction (column), shaded by their share of the line. Of more than
    `MOST_SHARES` classes a cell has its count alone."""
    k = len(classes)
    share = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    names = [shortened(plain(name), 24) for name in classes]
    width = COLUMN if k <= 6 else 5.0 if k <= 9 else PAGE
    room = 0.2 + 0.055 * max(map(len, names))
    cell = min((width - room - 0.75) / k, 0.6)
    figure = figure_of(width, min(cell * k, width) + 0.75 * room + 0.35 + (0.2 if title else 0))
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, aspect="auto")  # of this size they are square, and a layout is simple
    size = LEAST if k <= 16 else 4.5
    for line, column in np.ndindex(k, k):
        colour = "white" if share[line, column] > 0.55 else BLACK
        count = _short(float(rows[line, column]))
        text = f"{100 * share[line, column]:.0f} %\n{count}" if rows[line, column] and k <= MOST_SHARES else count
        axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=size, linespacing=1.05)
    axes.set_xticks(range(k), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), names)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true")
    if title:
        axes.set_title(title)
    bar = figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.03)
    bar.outline.set_linewidth(0.4)
    return figure


def reliability(curves: Mapping[str, Reliability], title: str = "") -> Figure:
    """How often what was predicted with a probability is so, and below it how many rows there are of each."""
    columns = min(4, len(curves))
    lines = -(-len(curves) // columns)
    is_single = len(curves) == 1
    width = COLUMN if columns <= 2 else PAGE
    side = 2.5 if is_single else (width - 0.5) / columns - 0.25
    figure = figure_of(width, (1.3 * side + 0.5) * lines + 0.25 + (0.2 if title else 0))
    if title:
        figure.suptitle(title)
    cells = figure.add_gridspec(2 * lines, columns, height_ratios=[1, 0.24] * lines)
    for place, (name, curve) in enumerate(curves.items()):
        line, column = divmod(place, columns)
        axes = figure.add_subplot(cells[2 * line, column])
        bars = figure.add_subplot(cells[2 * line + 1, column], sharex=axes)
        _diagram(axes, curve)
        axes.set_title(f"{shortened(plain(name), 18)}: ECE {curve.ece:.3f}", fontsize=BODY if is_single else SMALL)
        axes.tick_params(labelbottom=False)
        _counts(bars, curve)
        if column:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("observed share" if is_single else "observed")
            bars.set_ylabel("rows")
    figure.supxlabel("predicted probability", fontsize=BODY)
    return figure


def _diagram(axes: Axes, curve: Reliability) -> None:
    filled = curve.rows > 0
    p, share = curve.probability[filled], curve.share[filled]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    axes.plot(p, share, "o-", color=BLUE, linewidth=1, markersize=3.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _counts(axes: Axes, curve: Reliability) -> None:
    """Rows of each bin, as bars of the bins' width."""
    edges = np.linspace(0, 1, len(curve.rows) + 1)
    axes.bar(edges[:-1], curve.rows, np.diff(edges), align="edge", color=LIGHT, edgecolor="white", linewidth=0.4)
    axes.set_ylim(0, 1.05 * curve.rows.max())
    axes.set_yticks([0, curve.rows.max()])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: _short(count)))


def per_clip(task: Task, clips: Mapping[str, float], pooled: float) -> Figure:
    """Every clip's own score, sorted, beside the pooled one."""
    values = np.sort([value for value in clips.values() if np.isfinite(value)])
    figure = figure_of(COLUMN, 2.9)
    axes = figure.add_subplot()
    size = 5 if len(values) < 100 else 2
    axes.plot(values, np.arange(1, len(values) + 1), "o", color=BLUE, markersize=size, label="one clip")
    axes.axvline(pooled, color=VERMILLION, linewidth=1.5, label=f"pooled over all rows: {pooled:.3f}")
    mean = float(values.mean())
    axes.axvline(mean, color=BLACK, linewidth=1.5, linestyle=":", label=f"mean over clips: {mean:.3f}")
    axes.set(xlabel=f"{task.metric} of the clip's own rows", ylabel=f"clips up to there (of {len(values)})")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper left")
    return figure


def predicted_true(task: Task, scored: Scored) -> Figure:
    """Predicted against true, a dot a clip, a panel a target."""
    columns = min(4, task.outputs)
    lines = -(-task.outputs // columns)
    width = COLUMN if columns <= 2 else PAGE
    side = (width - 0.3) / columns
    figure = figure_of(width, side * lines + 0.3)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[task.outputs :]:
        axes.set_visible(False)
    for k, (axes, target) in enumerate(zip(grid.flat, task.targets, strict=False)):
        x, y = scored.truth[:, k], scored.scores[0, :, k]
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=GREY, linewidth=1, linestyle="--")
        axes.plot(x, y, "o", color=BLUE, markersize=3 if len(x) < 500 else 1.5, alpha=0.5, markeredgewidth=0)
        axes.set_title(shortened(plain(target), 22), fontsize=BODY)
        axes.locator_params(nbins=4)
    figure.supxlabel("true", fontsize=BODY)
    figure.supylabel("predicted", fontsize=BODY)
    return figure


def over_time(task: Task, scored: Scored, clip: str, why: str) -> Figure:
    """One clip's truth and prediction: a panel a target of a regression, else one with a line a class or label."""
    place = by_clip(scored.rows)[clip]
    start, end = scored.rows.start[place], scored.rows.end[place]
    truth, given = scored.truth[place], scored.scores[0, place]
    time = np.where(np.isfinite(end), (start + end) / 2, start)
    panels = task.outputs if task.kind == "regression" else 1
    figure = figure_of(PAGE, 0.9 + 1.2 * panels if panels > 1 else 1.5 + 0.17 * task.outputs)
    figure.suptitle(shortened(f"{clip} ({why})", 100))
    grid = figure.subplots(panels, 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    if task.kind == "multiclass":
        truth, given = truth[:, :1], given.argmax(axis=1)[:, None].astype(float)
    elif task.kind == "multilabel":  # line k: 0 at its lower edge, 1 at its upper one; the axis points down
        truth, given = (np.arange(task.outputs) + 0.4 - 0.8 * values for values in (truth, given))
    for k in range(truth.shape[1]):
        for values, label in ((truth[:, k], "true"), (given[:, k], "predicted")):
            x, y = _with_gaps(time, end - start, values)
            grid[k % panels].plot(x, y, label=label, **_look(task, label))
    for axes, target in zip(grid, task.targets, strict=False):
        axes.margins(x=0.01)
        axes.set_ylabel(plain(target) if task.kind == "regression" else "")
    if task.kind != "regression":
        grid[0].set_yticks(range(task.outputs), [plain(name) for name in task.targets])
        grid[0].set_ylim(task.outputs - 0.4, -0.6)
        grid[0].grid(axis="y", color=LIGHT, linewidth=0.4)
    scale = "; each line from 0 to 1, 0.5 in grey" if task.kind == "multilabel" else ""
    grid[-1].set_xlabel(f"time in the clip (s){scale}")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles[:2], names[:2], loc="outside lower center", ncols=2)
    return figure


def weights(task: Task, models: Sequence[str], values: Floats) -> Figure:
    """How much of each target comes from each model of a fusion: [M,K]."""
    width = COLUMN if len(task.targets) <= 4 else PAGE
    figure = figure_of(width, 1.1 + 0.26 * len(models))
    axes = figure.add_subplot()
    largest = max(1.0, float(np.abs(values).max()))
    image = axes.imshow(values, vmin=0, vmax=largest, aspect="auto")
    for line, column in np.ndindex(*values.shape):
        colour = "white" if values[line, column] > 0.55 * largest else BLACK
        axes.text(column, line, f"{values[line, column]:.2f}", ha="center", va="center", color=colour, fontsize=LEAST)
    names = [plain(name) for name in task.targets]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(models)), [shortened(model, 30) for model in models])
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="weight", fraction=0.046, pad=0.03)
    return figure


def fused_weights(path: Path) -> tuple[list[str], Floats] | None:
    """Models and their weights [M,K], if the predictions are a fusion by weights."""
    file = path / "fuser.json"
    if not file.is_file():
        return None
    try:
        report = read_report(file, FusionShape)
        found = np.array(report["fuser"].get("weights", []), np.float64)
    except (AffectkitError, TypeError, ValueError):  # damaged: told where it is read for what it says
        return None
    if found.ndim != 2 or not np.isfinite(found).all():
        return None
    names = [Path(path).name for path in report.get("partly_missing", {})]  # in the order that they were given in
    if len(set(names)) < len(found):
        names = [f"model {number + 1}" for number in range(len(found))]
    return [name if len(name) < 30 else f"{name[:27]}..." for name in names], found


def _look(task: Task, label: str) -> dict[str, Any]:
    """Truth in steps, thick enough to be seen behind predictions that are right; predicted classes are dots, since a
    line between two classes means nothing."""
    if label == "true":
        band = {"linewidth": 5.0, "color": LIGHT} if task.kind == "multiclass" else {"linewidth": 1.4, "color": BLACK}
        return {"drawstyle": "steps-mid", **band}
    if task.kind == "multiclass":
        return {"linestyle": "none", "marker": "s", "markersize": 3, "markeredgewidth": 0, "color": VERMILLION}
    return {"linewidth": 1.1, "color": VERMILLION}


def _with_gaps(time: Floats, length: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Times and values with a NaN where rows are missing, so that no line runs across."""
    if len(time) < 3:
        return time, values
    step = np.diff(time)
    breaks = np.flatnonzero(step > 3 * max(float(np.median(step)), float(np.median(length)))) + 1
    return np.insert(time, breaks, np.nan), np.insert(values, breaks, np.nan)


def _short(count: float) -> str:
    return f"{count:,.0f}" if count < 1e5 else f"{count / 1000:,.0f}k"


COLOURS = {"train": BLUE, "val": VERMILLION, "test": GREEN, "none": GREY}
"""Of splits; "none": clips that are in none."""


def draw_labels(folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """A figure a task of what `check_dataset` reports, PNG and SVG; returns the PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with styled():
        for task, said in about.items():
            splits = said["splits"]
            if not splits:
                continue
            some = next(iter(splits.values()))
            save(histograms(task, splits) if "histogram" in some else bars(task, splits), folder / task)
            made.append(folder / f"{task}.png")
    return made


def bars(task: str, splits: Mapping[str, Any]) -> Figure:
    """Rows of each class (or rows with each label), by split."""
    counts = {split: one.get("classes") or one["positive"] for split, one in splits.items()}
    names = list(next(iter(counts.values())))
    figure = figure_of(COLUMN, 0.9 + 0.2 * len(names))
    axes = figure.add_subplot()
    height = 0.8 / len(counts)
    for number, (split, own) in enumerate(counts.items()):
        places = np.arange(len(names)) + (number - (len(counts) - 1) / 2) * height
        axes.barh(places, [own[name] for name in names], height, color=COLOURS.get(split, BLACK), label=split)
    axes.set_yticks(np.arange(len(names)), [shortened(plain(name), 28) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: _short(count)))
    axes.set_title(f"{task}: rows of each class")
    figure.legend(loc="outside lower center", ncols=len(counts))
    return figure


def histograms(task: str, splits: Mapping[str, Any]) -> Figure:
    """Share of rows along each target, by split."""
    targets = list(next(iter(splits.values()))["histogram"])
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure = figure_of(COLUMN if columns < 3 else PAGE, 0.7 + 1.5 * rows)
    for place, target in enumerate(targets, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for split, one in splits.items():
            edges, counts = np.array(one["histogram_edges"]), np.array(one["histogram"][target], float)
            axes.stairs(counts / max(counts.sum(), 1), edges, color=COLOURS.get(split, BLACK), label=split)
        axes.set_title(shortened(plain(target), 20))
        axes.set_ylim(bottom=0)
        if place == 1:
            axes.set_ylabel("share of rows")
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(splits))
    figure.suptitle(f"{task}: labels by split")
    return figure


def draw_lag(folder: Path, shifts: Floats, curves: Mapping[str, Floats], report: Mapping[str, Any]) -> None:
    """`lag.png` and `.svg`: correlation against shift, every clip thin, the pooled curve thick, the lag marked."""
    folder.mkdir(parents=True, exist_ok=True)
    with styled():
        save(_lag(shifts, curves, report), folder / "lag")


def _lag(shifts: Floats, curves: Mapping[str, Floats], report: Mapping[str, Any]) -> Figure:
    figure = figure_of(COLUMN, 2.9)
    axes = figure.subplots()
    for number, curve in enumerate(curves.values()):
        axes.plot(shifts, curve, color=LIGHT, linewidth=0.7, label="each clip" if not number else None)
    if interval := report["interval"]:
        axes.axvspan(*interval, color=VERMILLION, alpha=0.15, linewidth=0, label="95 % of draws of clips")
    axes.plot(shifts, report["curve"], color=BLUE, linewidth=1.6, label=f"all {len(curves)} clips")
    axes.axvline(report["lag"], color=VERMILLION, linestyle="--", label=f"lag {report['lag']:.2f} s")
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.margins(x=0)
    axes.set_xlabel("labels are taken so much earlier (s)")
    axes.set_ylabel("correlation with the predictions")
    figure.legend(loc="outside lower center", ncols=2, handlelength=1.5, columnspacing=1)
    return figure
