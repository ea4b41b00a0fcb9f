"""What a run says of itself at its end: scores, steps, artifacts, weights and their licences, versions, the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from affectkit.config import fingerprint
from affectkit.recipes.check import RecipePlan
from affectkit.recipes.draft import Draft
from affectkit.recipes.run import Session, StepResult, notes_of, times_of
from affectkit.stages import scoring
from affectkit.stages.fusion_cautions import FUSED
from affectkit.stages.stage import TextTable
from affectkit.store import Cache, provenance
from affectkit.store.atomic import explained, write_text

_ABOUT = ("task", "metric", "split", "rows", "clips", "constant", "bootstrap")


def folder_of(plan: RecipePlan, cache: Path | None) -> Path:
    """Where a run's summary and submissions go: another place for other settings or data."""
    draft = plan.draft
    inputs = {
        "data": draft.data, "steps": draft.steps, "until": plan.until,
        "roots": {name: str(one.root.resolve()) for name, one in plan.data.items() if one.root},
    }  # fmt: skip
    return Cache(cache).root / "run" / f"{draft.name}-{fingerprint(_plain(inputs))[:12]}"


def _plain(values: Any) -> Any:
    """As JSON has it, texts for what that cannot say: dates, inf and nan."""
    return json.loads(json.dumps(values, default=str), parse_constant=str)


def write_summary(session: Session, made: Sequence[StepResult]) -> dict[str, Any]:
    """Write summary.json, summary.md and recipe.toml, the recipe as it was run; returns what the first holds."""
    summary = _summary(session, made)
    with explained(session.folder):
        session.folder.mkdir(parents=True, exist_ok=True)
    write_text(session.folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False))
    write_text(session.folder / "recipe.toml", session.plan.draft.toml())
    write_text(session.folder / "summary.md", markdown(session.plan.draft, summary))
    return summary


def _summary(session: Session, made: Sequence[StepResult]) -> dict[str, Any]:
    draft, names = session.plan.draft, _names(made)
    about = {"name": draft.name, "title": draft.title, "paper": draft.paper, "file": str(draft.path)}
    return {
        "recipe": about | _plain({"data": draft.data, "steps": draft.steps}),
        "changed": _plain([asdict(one) for one in draft.changed]),
        "until": session.plan.until,
        "roots": {name: str(one.root) for name, one in session.plan.data.items() if one.root},
        "scores": [_scored(one, session) for one in made if _has_scores(one)],
        "reports": {one.step.name: _said(one) for one in made if one.said and not _has_scores(one)},
        "fusions": [_fusion(one, session, names) for one in made if "held_out" in one.report],
        "steps": (steps := [_step(one, session.folder) for one in made]),
        "seconds": round(sum(step["seconds"] or 0.0 for step in steps), 2),
        "submissions": {one.step.name: str(one.path) for one in made if one.step.stage.makes == "file"},
        "notes": {one.step.name: notes for one in made if (notes := notes_of(one))},
        "failed": {one.step.name: {f.clip: f.cause for f in one.failed} for one in made if one.failed},
        "weights": _weights(made),
        "versions": provenance(),
    }


def _has_scores(made: StepResult) -> bool:
    return made.step.stage.makes == "report" and "constant" in made.report


def _said(made: StepResult) -> list[Any]:
    """What a step's stage says of its report: lines, and tables as [headers, *rows]."""
    return [[list(line.headers), *map(list, line.rows)] if isinstance(line, TextTable) else line for line in made.said]


def _scored(made: StepResult, session: Session) -> dict[str, Any]:
    """Every system's scores and intervals, by the step that made them."""
    report, names = made.report, [one.step for one in made.step.inputs]
    seen = [] if report["split"] in ("train", "test") else [f"{one}; see held out" for one in _seen(made, session)]
    cautions = [*report["cautions"], *seen]
    if "systems" in made.report:
        systems, reference = report["systems"], names[report["reference"]["place"]]
    else:
        reference = made.step.keys.against
        systems = [report | {"differences": report["against"]["differences"]} if reference else report]
    kept = ("scores", "intervals", "differences")
    return {
        "step": made.step.name,
        **{key: report[key] for key in _ABOUT},
        "reference": reference,  # what differences are from
        "cautions": cautions,
        "systems": {
            name: {key: system[key] for key in kept if key in system}
            for name, system in zip(names, systems, strict=True)
        },
    }  # fmt: skip


def _fusion(made: StepResult, session: Session, names: dict[str, str]) -> dict[str, Any]:
    held_out = made.report["held_out"]
    cautions = made.report.get("cautions", []) + ([] if held_out["how"] == "test clips" else _seen(made, session))
    names = names | {FUSED: made.step.name}
    # By its folder's name: the fusion keeps the paths of the run that made it, and the cache may lie elsewhere now.
    scores = {_named(names, name): value for name, value in held_out.get("scores", {}).items()}
    return {"step": made.step.name, "held_out": held_out | {"scores": scores}, "fitted_on": made.report["fitted_on"],
            "cautions": cautions}  # fmt: skip


def _names(made: Sequence[StepResult]) -> dict[str, str]:
    """Each step by the names of what it made: of the artifact's folder, and before it that of its selection."""
    folders = {one.artifact.folder.name: one.step.name for one in made if one.artifact is not None}
    return folders | {one.path.name: one.step.name for one in made}


def _named(names: dict[str, str], path: str) -> str:
    """The step that made what lies at a path."""
    place = Path(path)  # of a selection: <folder>/selections/<name>.json
    return next((names[name] for name in (place.name, place.parent.parent.name) if name in names), path)


def _seen(made: StepResult, session: Session) -> list[str]:
    """Inputs that are fusions, which have seen the labels of every validation row."""
    fitted = [one.step for one in made.step.inputs if "held_out" in session.made[one.step].report]
    return [f"{', '.join(fitted)}: fitted on these rows, so optimistic"] if fitted else []


def _step(made: StepResult, folder: Path) -> dict[str, Any]:
    """What a step did now; time and rate are those of computing all that it made, where runs in this folder did."""
    spent = times_of(folder, made)
    found: dict[str, Any] = {
        "step": made.step.name, "stage": made.step.stage.name, "does": made.step.words, "path": str(made.path),
        "name": made.name, "cached": made.cached, "seconds": round(spent["seconds"], 2) if spent else None,
    }  # fmt: skip
    if made.outcome is not None:
        found["clips"] = {"computed": made.outcome.computed, "cached": made.outcome.cached, "failed": len(made.failed)}
    if made.outcome is not None and spent and spent["seconds"]:
        rate = round(spent["rows"] / spent["seconds"], 2)
        found |= {"rows": spent["rows"], "unit": made.outcome.unit, "rate": rate}
    if "val_score" in made.report:
        found["val_score"] = made.report["val_score"]
    return found


def _weights(made: Sequence[StepResult]) -> list[dict[str, Any]]:
    """Each file once: what it is, its digest and licence, and the steps that use it."""
    found: dict[str, dict[str, Any]] = {}
    for one in made:
        about = one.artifact.stage.provenance.get("weights") if one.artifact is not None else None
        if about:
            entry = found.setdefault(f"{about['name']} {about['sha256']}", {**about, "steps": []})
            entry["steps"].append(one.step.name)
    return list(found.values())


_SHOWN = {"macro-f1": ("macro-f1", "uar", "war"), "uar": ("uar", "macro-f1", "war"), "war": ("war", "macro-f1", "uar")}


@dataclass(frozen=True)
class Section:
    """A table for people, under a title."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """As Markdown."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows] if self.header else []
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"## {self.title}\n\n{text}\n" + (f"\n{self.note}\n" if self.note else "")


def score_tables(summary: dict[str, Any]) -> list[Section]:
    """The scores of every step that scores, with intervals, and what fusion reached on rows it was not fitted on."""
    return [_scores(one) for one in summary["scores"]] + [_held_out(one) for one in summary["fusions"]]


def markdown(draft: Draft, summary: dict[str, Any]) -> str:
    """All that summary.json holds, for people."""
    paper = f" ({draft.paper})" if draft.paper else ""
    tables = [one for one in (*score_tables(summary), *_facts(summary)) if one.rows or one.note]
    recipe = f"## Recipe\n\n```toml\n{draft.toml()}```\n"
    return "\n".join([f"# {draft.title or draft.name}{paper}\n", *(one.markdown() for one in tables), recipe])


def _facts(summary: dict[str, Any]) -> Iterator[Section]:
    """What was written, what failed, what every step did, and with what."""
    for step, lines in summary["reports"].items():
        tables = [line for line in lines if isinstance(line, list)]
        note = "; ".join(line for line in lines if isinstance(line, str))
        header, *rows = tables[0] if tables else [[]]
        yield Section(step, tuple(header), [tuple(row) for row in rows], note)
    yield Section("Submissions", ("step", "file"), list(summary["submissions"].items()))
    failed = [(step, clip, cause) for step, clips in summary["failed"].items() for clip, cause in clips.items()]
    yield Section(f"Failed: {len({clip for _, clip, _ in failed})} clips", ("step", "clip", "cause"), failed)
    notes = [(step, note) for step, all_of_it in summary["notes"].items() for note in all_of_it]
    yield Section("Notes", ("step", "note"), notes)
    steps = [(s["step"], s["stage"], s["does"], _state(s), _seconds(s), _rate(s), s["name"], s["path"])
             for s in summary["steps"]]  # fmt: skip
    header = ("step", "stage", "what it does", "this run", "seconds in all", "rate", "name", "where")
    yield Section(f"Steps: {summary['seconds']:.1f} s of computing", header, steps)
    weights = [(w["name"], w["licence"], w["sha256"], w["source"], ", ".join(w["steps"])) for w in summary["weights"]]
    yield Section("Weights", ("name", "licence", "SHA-256", "from", "steps"), weights)
    changed = [(c["key"], _short(c["before"]), _short(c["after"]), c["by"]) for c in summary["changed"]]
    yield Section("Changed settings", ("setting", "recipe", "this run", "by"), changed)
    about = summary["versions"]
    versions = [("affectkit", about["affectkit"]), ("git", about["git"] or "none"), ("python", about["python"])]
    versions += [(name, version or "not installed") for name, version in about["packages"].items()]
    yield Section("Versions", ("package", "version"), versions)


def _scores(scored: dict[str, Any]) -> Section:
    names = _shown(scored)
    rows = [
        (name, *(_cell(system["scores"][key], system["intervals"].get(key)) for key in names))
        for name, system in scored["systems"].items()
    ]
    rows.append((scoring.CONSTANT, *(_cell(scored["constant"]["scores"][key]) for key in names)))
    level = 100 * scored["bootstrap"]["level"]
    note = f"{level:g} % intervals over {scored['bootstrap']['by']}s; {scoring.CONSTANT}: {scored['constant']['what']}"
    title = (
        f"{scored['step']}: {scored['task']}, split {scored['split']}, {scored['rows']} rows of {scored['clips']} clips"
    )
    return Section(title, ("system", *names), rows, "; ".join([note, *scored["cautions"]]))


def _shown(scored: dict[str, Any]) -> list[str]:
    """The task's metric and what it is made of, or what is looked at beside it."""
    metric, known = scored["metric"], scored["constant"]["scores"]
    own = [key for key in known if key.startswith(f"{metric}/")]
    return [metric, *own] if own else [key for key in _SHOWN.get(metric, (metric,)) if key in known]


def _held_out(fusion: dict[str, Any]) -> Section:
    held_out = fusion["held_out"]
    rows = [(name, f"{value:.4f}") for name, value in held_out["scores"].items()]
    fitted = fusion["fitted_on"]
    note = f"fitted on {fitted['rows']} rows of {fitted['clips']} validation clips"
    title = f"{fusion['step']}: held out ({held_out['how']})"
    return Section(title, ("system", "score"), rows, "; ".join([note, *fusion["cautions"]]))


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
