"""Figures of a data set's labels: classes by split, and where valence and arousal lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from affectkit.stages._drawing import BLUE, GREY, ORANGE, STYLE, figure_of, save

COLOURS = {"train": BLUE, "val": ORANGE, "test": GREY}


def draw(folder: Path, about: Mapping[str, Any]) -> list[Path]:
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
