"""The scores of a report: tables with intervals, confusion, reliability, the spread of clips, slices, worst clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.pages.drawings import PLOT, reliability, shade, strip
from affectkit.stages.report_clips import ClipLine
from affectkit.stages.report_sources import ScoreSet, Scoring
from affectkit.stages.scoring import rows_said

WORST = 10
"""Clips that are listed as the worst."""
_STRIP = 560


def is_lower_better(metric: str) -> bool:
    """Whether less is better by a metric."""
    return metric.partition("/")[0] == "mae"


def section_of(
    scoring: Scoring, sets: Sequence[ScoreSet], lines: Sequence[ClipLine], by: Sequence[str]
) -> dict[str, Any]:
    """What the page says of one evaluation or comparison."""
    report = scoring.report
    bootstrap = report["bootstrap"]
    kind = "Comparison" if scoring.is_comparison else "Evaluation"
    about = {
        "title": f"{kind}: {report['task']}, split {report['split']}",
        "said": list(rows_said(report)), "metric": report["metric"], "cautions": list(report["cautions"]),
        "interval": f"{bootstrap['level']:.0%} interval over {bootstrap['by']}s",
        "has_intervals": bool(report.get("intervals") or report.get("systems")),
        "constant": report["constant"]["what"], "path": str(scoring.path),
        "of": [_name(path, sets) for path in scoring.of],
    }  # fmt: skip
    if scoring.is_comparison:
        return about | {"systems": _systems(report, sets)}
    return about | {
        "scores": list(_scores(report)), "against": _against(report), "confusion": _confusion(report),
        "reliability": _reliability(report), **_clips(scoring, lines, by),
    }  # fmt: skip


def worst_first(values: Mapping[str, float], metric: str) -> list[str]:
    """Clips that have a score, the worst first."""
    sign = -1 if is_lower_better(metric) else 1
    finite = [clip for clip, value in values.items() if np.isfinite(value)]
    return sorted(finite, key=lambda clip: (sign * values[clip], clip))


def _scores(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in report["scores"].items():
        if not name.startswith("clip-mean/"):
            low, high = report["intervals"].get(name) or (None, None)
            yield {
                "name": name, "value": value, "low": low, "high": high,
                "constant": report["constant"]["scores"].get(name),
                "clip_mean": report["scores"].get(f"clip-mean/{name}"), "is_main": name == report["metric"],
            }  # fmt: skip


def _against(report: Mapping[str, Any]) -> dict[str, Any] | None:
    other = report.get("against")
    if not other:
        return None
    rows = [{"name": name, "other": other["scores"][name], **gap} for name, gap in other["differences"].items()]
    return {"path": other["path"], "rows": rows}


def _systems(report: Mapping[str, Any], sets: Sequence[ScoreSet]) -> dict[str, Any]:
    """Systems in columns, metrics in lines."""
    systems, reference = report["systems"], report["reference"]["place"]
    marks = [{"mark": _mark(place), "name": _name(system["path"], sets), "path": system["path"],
              "is_reference": place == reference} for place, system in enumerate(systems)]  # fmt: skip
    rows = []
    for name in systems[0]["scores"]:
        cells = []
        for system in systems:
            low, high = system["intervals"].get(name) or (None, None)
            gap = system.get("differences", {}).get(name)
            cells.append({"value": system["scores"][name], "low": low, "high": high, "gap": gap})
        constant = report["constant"]["scores"][name]
        rows.append({"name": name, "cells": cells, "constant": constant, "is_main": name == report["metric"]})
    return {"marks": marks, "rows": rows, "reference": _mark(reference)}


def _name(path: str, sets: Sequence[ScoreSet]) -> str:
    """What the page calls a prediction set that lies at a path, by its folder's name; else the end of the path."""
    place = Path(path)
    folder = place.parent.parent.name if place.parent.name == "selections" else place.name
    named = [each.name for each in sets if each.artifact is not None and each.artifact.folder.name == folder]
    return named[0] if len(named) == 1 else folder


def _mark(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else str(place + 1)


def _confusion(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tables of counts with the share of each line, which is what is shaded."""
    confusion = report.get("confusion")
    if not isinstance(confusion, dict):
        return []
    if "classes" in confusion and "rows" in confusion:
        classes = confusion["classes"]
        title = "Rows by label (line) and prediction (column)"
        return [{"title": title, "classes": classes, "lines": _shaded(confusion["rows"], classes)}]
    return [
        {"title": f"{name}", "classes": ["absent", "present"], "lines": _shaded(cells, ["absent", "present"])}
        for name, cells in confusion.items()
    ]


def _shaded(cells: Sequence[Sequence[float]], names: Sequence[str]) -> list[dict[str, Any]]:
    lines = []
    for name, row in zip(names, cells, strict=False):
        total = sum(row)
        shares = [count / total if total else 0.0 for count in row]
        lines.append({
            "name": name, "total": total,
            "cells": [{"count": count, "share": share, "shade": shade(share, 1.0)}
                      for count, share in zip(row, shares, strict=True)],
        })  # fmt: skip
    return lines


def _reliability(report: Mapping[str, Any]) -> dict[str, Any] | None:
    calibration = report.get("calibration")
    if not isinstance(calibration, dict) or not isinstance(curves := calibration.get("curves"), dict):
        return None
    return {
        "ece": calibration["ece"], "bins": calibration["bins"], "plot": PLOT,
        "curves": [{"name": name, "dots": reliability(curve)} for name, curve in curves.items()],
    }  # fmt: skip


def _clips(scoring: Scoring, lines: Sequence[ClipLine], by: Sequence[str]) -> dict[str, Any]:
    """The spread of clips, the worst, and slices by what is known of clips."""
    values, metric = scoring.by_clip, scoring.report["metric"]
    keys = {line.id: line.key for line in lines}
    finite = [value for value in values.values() if np.isfinite(value)]
    if not finite:
        return {"spread": None, "worst": [], "slices": []}
    low, high = _range(finite, metric)
    dots = strip(values, low, high, _STRIP)
    spread = {
        "dots": [dot | {"key": keys.get(dot["name"], "")} for dot in dots], "low": low, "high": high, "width": _STRIP,
        "middle": (float(np.median(finite)) - low) / (high - low) * _STRIP, "median": float(np.median(finite)),
        "without": len(values) - len(finite), "count": len(finite),
    }  # fmt: skip
    worst = [{"clip": clip, "key": keys.get(clip, ""), "value": values[clip]}
             for clip in worst_first(values, metric)[:WORST]]  # fmt: skip
    return {"spread": spread, "worst": worst, "slices": [_slice(name, values, lines) for name in by]}


def _range(values: Sequence[float], metric: str) -> tuple[float, float]:
    """From 0, or the least, to 1, or the greatest where less is better."""
    low, high = min([0.0, *values]), max(values)
    return low, (high or 1.0) if is_lower_better(metric) else max(1.0, high)


def _slice(name: str, values: Mapping[str, float], lines: Sequence[ClipLine]) -> dict[str, Any]:
    """Mean and range of the clips' own scores, for each value of a column."""
    groups: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line.id in values:
            groups[line.groups.get(name, "")].append(values[line.id])
    rows = []
    for value, scores in sorted(groups.items()):
        finite = np.array([each for each in scores if np.isfinite(each)])
        some = len(finite) > 0
        rows.append({
            "value": value, "clips": len(scores), "mean": float(finite.mean()) if some else None,
            "low": float(finite.min()) if some else None, "high": float(finite.max()) if some else None,
        })  # fmt: skip
    return {"name": name, "rows": rows}
