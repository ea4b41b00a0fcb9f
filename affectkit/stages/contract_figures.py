"""What each choice of crop does to a model's scores, as one picture.

Imports matplotlib: import inside functions only.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from affectkit.drawing.style import (
    BLACK,
    BLUE,
    LEAST,
    LIGHT,
    PAGE,
    SMALL,
    VERMILLION,
    figure_of,
    save,
    shortened,
    styled,
)
from affectkit.plugins import CAUTION
from affectkit.stages.contract_check import ChoiceScores, ContractReport

_FEW = 50
"""Faces that are drawn as points, too: a clip may have one alone."""


def draw_choices(report: ContractReport, folder: Path) -> Path:
    """A line a choice: the crops of some faces with the class that they get, and a curve over all faces beside that of
    the contract's own crop. PNG and SVG; returns the PNG file."""
    folder.mkdir(parents=True, exist_ok=True)
    with styled():
        save(_choices(report), folder / "contract")
    return folder / "contract.png"


def _choices(report: ContractReport) -> Any:
    reference, count = report.choices[0], len(report.choices)
    faces = len(reference.pictures)
    shown = np.linspace(0, len(report.sample) - 1, faces).astype(int)
    figure = figure_of(PAGE, 1.05 + 0.88 * count)
    grid = figure.add_gridspec(count, faces + 1, width_ratios=[1] * faces + [3.2])
    curve, label = _curve(report, reference)
    low, high = float(np.nanmin(curve)), float(np.nanmax(curve))
    for outcome in report.choices:
        values, _ = _curve(report, outcome)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    last = None
    for line, outcome in enumerate(report.choices):
        for place in range(faces):
            axes = figure.add_subplot(grid[line, place])
            axes.imshow(outcome.pictures[place])
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            text, is_other = _said(report, outcome, int(shown[place]))
            axes.set_xlabel(text, fontsize=LEAST, color=VERMILLION if is_other else BLACK, labelpad=2)
            if place == 0:
                axes.set_ylabel(
                    outcome.name.replace(" (", "\n("), rotation=0, ha="right", va="center", fontsize=SMALL, labelpad=8,
                    fontweight="bold" if line == 0 else "normal",
                )  # fmt: skip
        last = figure.add_subplot(grid[line, faces], sharex=last)
        _draw_curve(last, report, outcome, (low, high))
        if line < count - 1:
            last.tick_params(labelbottom=False)
    assert last is not None
    last.set_xlabel(f"{_time(report)}\n{label}\nin grey: by the contract's own crop", fontsize=SMALL)
    said = f"{report.card.name} on {len(report.sample):,} of {report.sample.total:,} faces"
    figure.suptitle(f"{fill(f'{said} ({report.stored})', 110)}\n{CAUTION}")
    return figure


def _draw_curve(axes: Any, report: ContractReport, outcome: ChoiceScores, ends: tuple[float, float]) -> None:
    reference, _ = _curve(report, report.choices[0])
    values, _ = _curve(report, outcome)
    clips = np.array(report.sample.clips)
    borders = np.flatnonzero(clips[1:] != clips[:-1]) + 1  # no line runs from one clip to the next
    x, reference, values = (np.insert(line, borders, np.nan) for line in (_positions(report), reference, values))
    if ends[0] < 0 < ends[1]:
        axes.axhline(0, color=LIGHT, linewidth=0.8)
    few = {"marker": "."} if len(clips) < _FEW else {}
    axes.plot(x, reference, color=LIGHT, linewidth=2.4, **few)
    axes.plot(x, values, color=BLUE, linewidth=1.0, **few)
    room = 0.05 * max(ends[1] - ends[0], 1e-6)
    axes.set_ylim(ends[0] - room, ends[1] + room)
    axes.margins(x=0.01)
    axes.tick_params(labelsize=LEAST)
    words = (
        []
        if outcome.changed is None or outcome is report.choices[0]
        else [f"{100 * outcome.changed:.0f} % another class"]
    )
    if outcome.valence is not None:
        if outcome.turned:
            words.append(f"sign turned in {100 * outcome.turned:.0f} %")
        words.append(f"mean {outcome.valence.mean():+.2f}")
    elif outcome is not report.choices[0]:
        words.append(f"differs by {outcome.difference:.3f}")
    axes.set_title(fill(", ".join(words), 38), fontsize=LEAST, loc="left", pad=2)


def _curve(report: ContractReport, outcome: ChoiceScores) -> tuple[Any, str]:
    """[N] what is drawn over the faces, and what it is."""
    if outcome.valence is not None:
        return outcome.valence, "valence index"
    return outcome.scores[:, 0], report.card.columns[0].replace("_", " ")


def _positions(report: ContractReport) -> Any:
    """[N] seconds where there is one clip, else the numbers of the faces."""
    sample = report.sample
    return sample.seconds if len(set(sample.clips)) == 1 else np.arange(1.0, len(sample) + 1)


def _time(report: ContractReport) -> str:
    clips = list(dict.fromkeys(report.sample.clips))
    return (
        f"time in {shortened(clips[0], 24)} (s)"
        if len(clips) == 1
        else f"faces of {len(clips)} clips, one after another"
    )


def _said(report: ContractReport, outcome: ChoiceScores, face: int) -> tuple[str, bool]:
    """What a face gets, and whether it is another class than under the contract's own crop."""
    columns, task = list(report.card.columns), report.task
    if task is None:
        return f"{columns[0]} {outcome.scores[face, 0]:.2f}", False
    at = [columns.index(target) for target in task.targets]
    best, reference = (int(each.scores[face, at].argmax()) for each in (outcome, report.choices[0]))
    return f"{task.targets[best]} {outcome.scores[face, at[best]]:.2f}", best != reference
