"""A run's summary as tables and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from affectkit.recipes.draft import Draft
from affectkit.stages import _constant

_SHOWN = {"macro-f1": ("macro-f1", "uar", "war"), "uar": ("uar", "macro-f1", "war"), "war": ("war", "macro-f1", "uar")}


@dataclass(frozen=True)
class Table:
    """A table for people."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """As Markdown."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"## {self.title}\n\n{text}\n" + (f"\n{self.note}\n" if self.note else "")


def score_tables(summary: dict[str, Any]) -> list[Table]:
    """The scores of every step that scores, with intervals, and what fusion reached on rows it was not fitted on."""
    return [_scores(one) for one in summary["scores"]] + [_held_out(one) for one in summary["fusions"]]


def markdown(draft: Draft, summary: dict[str, Any]) -> str:
    """All that summary.json holds, for people."""
    paper = f" ({draft.paper})" if draft.paper else ""
    tables = [one for one in (*score_tables(summary), *_facts(summary)) if one.rows or one.note]
    recipe = f"## Recipe\n\n```toml\n{draft.toml()}```\n"
    return "\n".join([f"# {draft.title or draft.name}{paper}\n", *(one.markdown() for one in tables), recipe])


def _facts(summary: dict[str, Any]) -> Iterator[Table]:
    """What was written, what failed, what every step did, and with what."""
    yield Table("Submissions", ("step", "file"), list(summary["submissions"].items()))
    failed = [(step, clip, cause) for step, clips in summary["failed"].items() for clip, cause in clips.items()]
    yield Table(f"Failed: {len({clip for _, clip, _ in failed})} clips", ("step", "clip", "cause"), failed)
    notes = [(step, note) for step, all_of_it in summary["notes"].items() for note in all_of_it]
    yield Table("Notes", ("step", "note"), notes)
    steps = [(s["step"], s["stage"], s["does"], _state(s), _seconds(s), _rate(s), s["path"]) for s in summary["steps"]]
    header = ("step", "stage", "what it does", "this run", "seconds in all", "rate", "where")
    yield Table(f"Steps: {summary['seconds']:.1f} s of computing", header, steps)
    weights = [(w["name"], w["licence"], w["sha256"], w["source"], ", ".join(w["steps"])) for w in summary["weights"]]
    yield Table("Weights", ("name", "licence", "SHA-256", "from", "steps"), weights)
    changed = [(c["key"], _short(c["before"]), _short(c["after"]), c["by"]) for c in summary["changed"]]
    yield Table("Changed settings", ("setting", "recipe", "this run", "by"), changed)
    about = summary["versions"]
    versions = [("affectkit", about["affectkit"]), ("git", about["git"] or "none"), ("python", about["python"])]
    versions += [(name, version or "not installed") for name, version in about["packages"].items()]
    yield Table("Versions", ("package", "version"), versions)


def _scores(scored: dict[str, Any]) -> Table:
    names = _shown(scored)
    rows = [
        (name, *(_cell(system["scores"][key], system["intervals"].get(key)) for key in names))
        for name, system in scored["systems"].items()
    ]
    rows.append((_constant.NAME, *(_cell(scored["constant"]["scores"][key]) for key in names)))
    level = 100 * scored["bootstrap"]["level"]
    note = f"{level:g} % intervals over {scored['bootstrap']['by']}s; {_constant.NAME}: {scored['constant']['what']}"
    title = (
        f"{scored['step']}: {scored['task']}, split {scored['split']}, {scored['rows']} rows of {scored['clips']} clips"
    )
    return Table(title, ("system", *names), rows, "; ".join([note, *scored["cautions"]]))


def _shown(scored: dict[str, Any]) -> list[str]:
    """The task's metric and what it is made of, or what is looked at beside it."""
    metric, known = scored["metric"], scored["constant"]["scores"]
    own = [key for key in known if key.startswith(f"{metric}/")]
    return [metric, *own] if own else [key for key in _SHOWN.get(metric, (metric,)) if key in known]


def _held_out(fusion: dict[str, Any]) -> Table:
    held_out = fusion["held_out"]
    rows = [(name, f"{value:.4f}") for name, value in held_out["scores"].items()]
    fitted = fusion["fitted_on"]
    note = f"fitted on {fitted['rows']} rows of {fitted['clips']} validation clips"
    title = f"{fusion['step']}: held out ({held_out['how']})"
    return Table(title, ("system", "score"), rows, "; ".join([note, *fusion["cautions"]]))


def _cell(value: float, bounds: Sequence[float] | None = None) -> str:
    return f"{value:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")


def _state(step: dict[str, Any]) -> str:
    clips = step.get("clips")
    if clips is None:
        return "cached" if step["cached"] else "computed"
    failed = f", {clips['failed']} failed" if clips["failed"] else ""
    return f"{clips['computed']} computed, {clips['cached']} cached{failed}"


def _seconds(step: dict[str, Any]) -> str:
    return "" if step["seconds"] is None else f"{step['seconds']:.1f}"


def _rate(step: dict[str, Any]) -> str:
    return f"{step['rate']:,.1f} {step['unit']}/s" if step.get("rows") else ""


def _short(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
