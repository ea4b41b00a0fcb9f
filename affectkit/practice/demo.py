"""`affectkit demo`: the practice set `table`, and the recipe `demo` run on it, offline.

The clips show one public-domain portrait and play a synthesised voice, both driven by known valence and arousal
curves. The scores say that the pipeline works from end to end; they say nothing about recognising anybody's emotion.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.practice.animated_face import photograph
from affectkit.practice.sets import make_practice
from affectkit.practice.settings import PracticeConfig
from affectkit.recipes import at_hand, check, read
from affectkit.recipes.report import folder_of, write_summary
from affectkit.recipes.run import Session, StepResult, run_all
from affectkit.stages.report import ReportConfig, page_of
from affectkit.stages.stage import Context
from affectkit.store import Cache

NOTICE = (
    "Synthetic clips of one animated portrait with a synthesised voice: this shows that the pipeline works, "
    "not that it recognises emotion."
)


def run_demo(folder: Path, runtime: Runtime | None = None, config: PracticeConfig | None = None) -> dict[str, Any]:
    """Scores on the test clips, and time, rate and place of every step: writes the clips, then runs the recipe on them,
    all of it cached in `folder`.

    Raises UsageError where a package is missing (MissingExtra) or the folder holds anything else.
    """
    runtime, cache = runtime or Runtime(), folder / "cache"
    photograph()  # what is missing is said before anything is written
    at_hand.fetch(recipe := check.plan(read.read("demo")))
    _require(recipe)
    began = time.monotonic()
    clips = make_practice("table", folder, config or PracticeConfig(), runtime)
    first = _row("clips", time.monotonic() - began, clips.cached, folder / "clips")
    recipe = check.plan(read.read("demo"), [str(folder)])
    media = at_hand.look(recipe, fetch=False)
    _require(recipe)
    session = Session(recipe, media, cache, runtime, folder=folder_of(recipe, cache))
    steps = run_all(session)
    summary = write_summary(session, steps)
    (scored,) = summary["scores"]
    shown = ReportConfig(media="link")  # copies below the data set would be taken for its clips
    page, notices = page_of(session.folder, Context(Cache(cache), runtime), shown, folder / "labels.csv")
    return {
        "notice": NOTICE,
        "split": scored["split"],
        "scores": {name: system["scores"] for name, system in scored["systems"].items()},
        "constant": scored["constant"]["scores"],
        "steps": [first, *map(_row_of, steps)],
        "failed": summary["failed"],
        "folder": str(folder),
        "summary": str(session.folder / "summary.md"),
        "page": None if page is None else str(page),
        "notices": notices,
        "by_hand": shlex.join(["affectkit", "run", "demo", "--root", str(folder), "--cache", str(cache)]),
    }


def table_of(report: dict[str, Any]) -> Table:
    """Scores, then steps, for a terminal."""
    outer = Table.grid(padding=(1, 0))
    scores = Table("model", "CCC valence", "CCC arousal", "CCC mean", box=None, title="Held-out test clips")
    for name, values in {"mean predictor": report["constant"], **report["scores"]}.items():
        scores.add_row(name, *(f"{values[key]:.3f}" for key in ("ccc/valence", "ccc/arousal", "ccc")))
    steps = Table("step", "seconds", "rate", box=None)
    steps.add_column("where", overflow="fold")
    for row in report["steps"]:
        rate = "cached" if row["cached"] else f"{row['rate']:,.0f} {row['unit']}/s" if row.get("rows") else ""
        steps.add_row(row["step"], f"{row['seconds']:.1f}", rate, row["path"])
    for part in (scores, steps, report["notice"]):
        outer.add_row(part)
    return outer


def _require(recipe: check.RecipePlan) -> None:
    if recipe.problems:
        raise UsageError(check.together(recipe.problems))


def _row_of(step: StepResult) -> dict[str, Any]:
    """What a step did now."""
    place = step.artifact.folder if step.artifact is not None else step.path
    row = _row(step.step.name, step.seconds, step.cached, place)
    if (outcome := step.outcome) is not None:
        row |= {"rows": outcome.rows, "rate": round(outcome.rate, 1), "unit": outcome.unit}
    return row


def _row(step: str, seconds: float, is_cached: bool, place: Path) -> dict[str, Any]:
    return {"step": step, "seconds": round(seconds, 2), "cached": is_cached, "path": str(place)}
