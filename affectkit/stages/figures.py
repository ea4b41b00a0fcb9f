"""Figures of an evaluation, as PNG and SVG.

The one style of figures, and files that are the same bytes for the same figure.

Colours are those that everybody can tell apart (Okabe and Ito 2008). Imports matplotlib: import inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from affectkit.errors import AffectkitError, UsageError
from affectkit.stages.reports import FusionShape, read_report
from affectkit.stages.scoring import Reliability, Scored, calibration_curves
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import Floats

MOST_CLIPS = 20


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
    with matplotlib.rc_context(STYLE):
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
    figure = figure_of(5.5, 1.1 + 0.28 * len(names))
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        value, colour = report["scores"][name], BLACK if place == 0 else BLUE
        if bounds := report["intervals"].get(name):
            axes.plot(bounds, [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([value], [place], "o", color=colour, markersize=6)
    axes.set_yticks(range(len(names)), ["all: " + names[0], *(_plain(target) for target in task.targets)])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    level = 100 * report["bootstrap"]["level"]
    sure = f", {level:g} % interval over {report['bootstrap']['by']}s" if report["intervals"] else ""
    axes.set_xlabel(f"{prefix.upper() if prefix in ('f1', 'ccc', 'mae') else prefix}{sure}")
    return figure


def confusion(classes: Sequence[str], rows: Floats) -> Figure:
    """Counts [K,K] of truth (line) and prediction (column), shaded by their share of the line."""
    k, size = len(classes), 2.2 + 0.55 * len(classes)
    share = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    figure = figure_of(size + 0.8, size)
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1)
    for line, column in np.ndindex(k, k):
        colour = "white" if share[line, column] > 0.55 else BLACK
        text = f"{100 * share[line, column]:.0f} %\n{_short(float(rows[line, column]))}" if rows[line, column] else "0"
        axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=7)
    names = [_plain(name) for name in classes]
    axes.set_xticks(range(k), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), names)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.03)
    return figure


def reliability(found: Mapping[str, Reliability]) -> Figure:
    """How often what was predicted with a probability is so; the area of a dot grows with its rows."""
    columns = min(4, len(found))
    lines = -(-len(found) // columns)
    side = 4.0 if len(found) == 1 else 2.1
    figure = figure_of(side * columns + 0.5, side * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    for axes, (name, curve) in zip(grid.flat, found.items(), strict=False):
        there = curve.rows > 0
        p, share = curve.probability[there], curve.share[there]
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        axes.plot(p, share, color=BLUE, linewidth=1)
        axes.scatter(p, share, s=8 + 60 * curve.rows[there] / curve.rows.max(), color=BLUE, zorder=3)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_title(f"{_plain(name)}: ECE {curve.ece:.3f}", fontsize=9)
    figure.supxlabel("predicted probability", fontsize=9)
    figure.supylabel("observed share", fontsize=9)
    return figure


def per_clip(task: Task, clips: Mapping[str, float], pooled: float) -> Figure:
    """Every clip's own score, sorted, beside the pooled one."""
    values = np.sort([value for value in clips.values() if np.isfinite(value)])
    figure = figure_of(5.5, 3.4)
    axes = figure.add_subplot()
    size = 5 if len(values) < 100 else 2
    axes.plot(values, np.arange(1, len(values) + 1), "o", color=BLUE, markersize=size, label="one clip")
    axes.axvline(pooled, color=ORANGE, linewidth=1.5, label=f"pooled over all rows: {pooled:.3f}")
    mean = float(values.mean())
    axes.axvline(mean, color=BLACK, linewidth=1.5, linestyle=":", label=f"mean over clips: {mean:.3f}")
    axes.set(xlabel=f"{task.metric} of the clip's own rows", ylabel=f"clips up to there (of {len(values)})")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def predicted_true(task: Task, scored: Scored) -> Figure:
    """Predicted against true, a dot a clip, a panel a target."""
    columns = min(4, task.outputs)
    lines = -(-task.outputs // columns)
    figure = figure_of(2.3 * columns + 0.4, 2.3 * lines + 0.4)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[task.outputs :]:
        axes.set_visible(False)
    for k, (axes, target) in enumerate(zip(grid.flat, task.targets, strict=False)):
        x, y = scored.truth[:, k], scored.scores[0, :, k]
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=GREY, linewidth=1, linestyle="--")
        axes.plot(x, y, "o", color=BLUE, markersize=4 if len(x) < 500 else 2, alpha=0.5, markeredgewidth=0)
        axes.set_title(_plain(target), fontsize=9)
        axes.locator_params(nbins=4)
    figure.supxlabel("true", fontsize=9)
    figure.supylabel("predicted", fontsize=9)
    return figure


def over_time(task: Task, scored: Scored, clip: str, why: str) -> Figure:
    """One clip's truth and prediction: a panel a target of a regression, else one with a line a class or label."""
    place = by_clip(scored.rows)[clip]
    start, end = scored.rows.start[place], scored.rows.end[place]
    truth, given = scored.truth[place], scored.scores[0, place]
    time = np.where(np.isfinite(end), (start + end) / 2, start)
    panels = task.outputs if task.kind == "regression" else 1
    figure = figure_of(8, 1.1 + 1.6 * panels if panels > 1 else 2.4 + 0.28 * task.outputs)
    figure.suptitle(f"{clip} ({why})", fontsize=10)
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
        axes.set_ylabel(_plain(target) if task.kind == "regression" else "")
    if task.kind != "regression":
        grid[0].set_yticks(range(task.outputs), [_plain(name) for name in task.targets])
        grid[0].set_ylim(task.outputs - 0.4, -0.6)
        grid[0].grid(axis="y", color="#dddddd")
    scale = "; each line from 0 to 1, 0.5 in grey" if task.kind == "multilabel" else ""
    grid[-1].set_xlabel(f"time in the clip (s){scale}")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles[:2], names[:2], loc="outside lower center", ncols=2, frameon=False)
    return figure


def weights(task: Task, models: Sequence[str], values: Floats) -> Figure:
    """How much of each target comes from each model of a fusion: [M,K]."""
    figure = figure_of(2.6 + 0.7 * len(task.targets), 1.9 + 0.45 * len(models))
    axes = figure.add_subplot()
    largest = max(1.0, float(np.abs(values).max()))
    image = axes.imshow(values, vmin=0, vmax=largest, aspect="auto")
    for line, column in np.ndindex(*values.shape):
        colour = "white" if values[line, column] > 0.55 * largest else BLACK
        axes.text(column, line, f"{values[line, column]:.2f}", ha="center", va="center", color=colour, fontsize=8)
    names = [_plain(name) for name in task.targets]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(models)), models)
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
        band = {"linewidth": 5.0, "color": LIGHT} if task.kind == "multiclass" else {"linewidth": 1.8, "color": BLACK}
        return {"drawstyle": "steps-mid", **band}
    if task.kind == "multiclass":
        return {"linestyle": "none", "marker": "s", "markersize": 3, "markeredgewidth": 0, "color": ORANGE}
    return {"linewidth": 1.1, "color": ORANGE}


def _with_gaps(time: Floats, length: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Times and values with a NaN where rows are missing, so that no line runs across."""
    if len(time) < 3:
        return time, values
    step = np.diff(time)
    breaks = np.flatnonzero(step > 3 * max(float(np.median(step)), float(np.median(length)))) + 1
    return np.insert(time, breaks, np.nan), np.insert(values, breaks, np.nan)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _short(count: float) -> str:
    return f"{count:,.0f}" if count < 1e5 else f"{count / 1000:,.0f}k"


BLUE, ORANGE, BLACK, GREY, LIGHT = "#0072B2", "#D55E00", "#000000", "#999999", "#BBBBBB"
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "figure.constrained_layout.use": True, "svg.hashsalt": "affectkit", "savefig.dpi": 150, "image.cmap": "Blues",
}  # fmt: skip
_MARGIN = 0.08  # inches


def figure_of(width: float, height: float) -> Figure:
    """An empty figure (inches)."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """PNG and SVG without a date or a version in them; laid out once, which is what takes the time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    inside = figure.get_tightbbox().padded(_MARGIN)
    figure.savefig(path.with_suffix(".png"), bbox_inches=inside, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), bbox_inches=inside, metadata={"Date": None, "Creator": None})


COLOURS = {"train": BLUE, "val": ORANGE, "test": GREY}


def draw_labels(folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """A figure a task of what `check_dataset` reports, PNG and SVG; returns the PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with matplotlib.rc_context(STYLE):
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
    figure = figure_of(6.0, 1.0 + 0.32 * len(names))
    axes = figure.add_subplot()
    height = 0.8 / len(counts)
    for number, (split, own) in enumerate(counts.items()):
        places = np.arange(len(names)) + (number - (len(counts) - 1) / 2) * height
        axes.barh(places, [own[name] for name in names], height, color=COLOURS.get(split, "#000000"), label=split)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.set_title(f"{task}: rows of each class")
    figure.legend(loc="outside lower center", ncols=len(counts), frameon=False)
    return figure


def histograms(task: str, splits: Mapping[str, Any]) -> Figure:
    """Share of rows along each target, by split."""
    targets = list(next(iter(splits.values()))["histogram"])
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure = figure_of(2.6 * columns, 0.4 + 1.9 * rows)
    for place, target in enumerate(targets, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for split, one in splits.items():
            edges, counts = np.array(one["histogram_edges"]), np.array(one["histogram"][target], float)
            axes.stairs(counts / max(counts.sum(), 1), edges, color=COLOURS.get(split, "#000000"), label=split)
        axes.set_title(target)
        axes.set_ylim(bottom=0)
        if place == 1:
            axes.set_ylabel("share of rows")
            figure.legend(
                *axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(splits), frameon=False
            )
    figure.suptitle(f"{task}: labels by split", fontsize=10)
    return figure


def draw_lag(folder: Path, shifts: Floats, curves: Mapping[str, Floats], report: Mapping[str, Any]) -> None:
    """`lag.png` and `.svg`: correlation against shift, every clip thin, the pooled curve thick, the lag marked."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        save(_lag(shifts, curves, report), folder / "lag.png")


def _lag(shifts: Floats, curves: Mapping[str, Floats], report: Mapping[str, Any]) -> Figure:
    figure = figure_of(5.5, 3.6)
    axes = figure.subplots()
    for number, curve in enumerate(curves.values()):
        axes.plot(shifts, curve, color=LIGHT, linewidth=0.7, label="each clip" if not number else None)
    if interval := report["interval"]:
        axes.axvspan(*interval, color=ORANGE, alpha=0.15, linewidth=0, label="95% of draws of clips")
    axes.plot(shifts, report["curve"], color=BLUE, linewidth=2, label=f"all {len(curves)} clips")
    axes.axvline(report["lag"], color=ORANGE, linestyle="--", label=f"lag {report['lag']:.2f} s")
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.margins(x=0)
    axes.set_xlabel("labels are taken so much earlier (s)")
    axes.set_ylabel("correlation with the predictions")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8, handlelength=1.5, columnspacing=1)
    return figure
