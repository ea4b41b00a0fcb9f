"""What a run says of itself at its end: scores, steps, artifacts, weights and their licences, versions, the recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from affectkit.config import fingerprint
from affectkit.recipes import tables
from affectkit.recipes.checking import Plan
from affectkit.recipes.running import Made, Session, notes_of, times_of
from affectkit.stages._honesty import FUSED
from affectkit.store import Cache, provenance
from affectkit.store.atomic import explained, write_text

_SCORED = ("evaluate", "compare")
_ABOUT = ("task", "metric", "split", "rows", "clips", "constant", "bootstrap")


def folder_of(plan: Plan, cache: Path | None) -> Path:
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


def write_summary(session: Session, made: Sequence[Made]) -> dict[str, Any]:
    """Write summary.json, summary.md and recipe.toml, the recipe as it was run; returns what the first holds."""
    summary = _summary(session, made)
    with explained(session.folder):
        session.folder.mkdir(parents=True, exist_ok=True)
    write_text(session.folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False))
    write_text(session.folder / "recipe.toml", session.plan.draft.toml())
    write_text(session.folder / "summary.md", tables.markdown(session.plan.draft, summary))
    return summary


def _summary(session: Session, made: Sequence[Made]) -> dict[str, Any]:
    draft, names = session.plan.draft, _names(made)
    about = {"name": draft.name, "title": draft.title, "paper": draft.paper, "file": str(draft.path)}
    return {
        "recipe": about | _plain({"data": draft.data, "steps": draft.steps}),
        "changed": _plain([asdict(one) for one in draft.changed]),
        "until": session.plan.until,
        "roots": {name: str(one.root) for name, one in session.plan.data.items() if one.root},
        "scores": [_scored(one, session) for one in made if one.step.kind.name in _SCORED],
        "fusions": [_fusion(one, session, names) for one in made if one.step.kind.name == "fuse"],
        "steps": (steps := [_step(one, session.folder) for one in made]),
        "seconds": round(sum(step["seconds"] or 0.0 for step in steps), 2),
        "submissions": {one.step.name: str(one.path) for one in made if one.step.kind.makes == "file"},
        "notes": {one.step.name: notes for one in made if (notes := notes_of(one))},
        "failed": {one.step.name: {f.clip: f.cause for f in one.failed} for one in made if one.failed},
        "weights": _weights(made),
        "versions": provenance(),
    }


def _scored(made: Made, session: Session) -> dict[str, Any]:
    """Every system's scores and intervals, by the step that made them."""
    report, names = made.report, [one.step for one in made.step.inputs]
    seen = [] if report["split"] in ("train", "test") else [f"{one}; see held out" for one in _seen(made, session)]
    cautions = [*report["cautions"], *seen]
    if made.step.kind.name == "compare":
        systems, reference = report["systems"], names[report["reference"]["place"]]
    else:
        reference = made.step.places.against
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


def _fusion(made: Made, session: Session, names: dict[str, str]) -> dict[str, Any]:
    held_out = made.report["held_out"]
    cautions = made.report.get("cautions", []) + ([] if held_out["how"] == "test clips" else _seen(made, session))
    names = names | {FUSED: made.step.name}
    # By its folder's name: the fusion keeps the paths of the run that made it, and the cache may lie elsewhere now.
    scores = {_named(names, name): value for name, value in held_out.get("scores", {}).items()}
    return {"step": made.step.name, "held_out": held_out | {"scores": scores}, "fitted_on": made.report["fitted_on"],
            "cautions": cautions}  # fmt: skip


def _names(made: Sequence[Made]) -> dict[str, str]:
    """Each step by the names of what it made: of the artifact's folder, and before it that of its selection."""
    folders = {one.artifact.folder.name: one.step.name for one in made if one.artifact is not None}
    return folders | {one.path.name: one.step.name for one in made}


def _named(names: dict[str, str], path: str) -> str:
    """The step that made what lies at a path."""
    place = Path(path)  # of a selection: <folder>/selections/<name>.json
    return next((names[name] for name in (place.name, place.parent.parent.name) if name in names), path)


def _seen(made: Made, session: Session) -> list[str]:
    """Inputs that are fusions, which have seen the labels of every validation row."""
    fitted = [one.step for one in made.step.inputs if session.made[one.step].step.kind.name == "fuse"]
    return [f"{', '.join(fitted)}: fitted on these rows, so optimistic"] if fitted else []


def _step(made: Made, folder: Path) -> dict[str, Any]:
    """What a step did now; time and rate are those of computing all that it made, where runs in this folder did."""
    spent = times_of(folder, made)
    found: dict[str, Any] = {
        "step": made.step.name, "stage": made.step.kind.name, "does": made.step.words, "path": str(made.path),
        "cached": made.cached, "seconds": round(spent["seconds"], 2) if spent else None,
    }  # fmt: skip
    if made.outcome is not None:
        found["clips"] = {"computed": made.outcome.computed, "cached": made.outcome.cached, "failed": len(made.failed)}
    if made.outcome is not None and spent and spent["seconds"]:
        rate = round(spent["rows"] / spent["seconds"], 2)
        found |= {"rows": spent["rows"], "unit": made.outcome.unit, "rate": rate}
    if "val_score" in made.report:
        found["val_score"] = made.report["val_score"]
    return found


def _weights(made: Sequence[Made]) -> list[dict[str, Any]]:
    """Each file once: what it is, its digest and licence, and the steps that use it."""
    found: dict[str, dict[str, Any]] = {}
    for one in made:
        about = one.artifact.stage.provenance.get("weights") if one.artifact is not None else None
        if about:
            entry = found.setdefault(f"{about['name']} {about['sha256']}", {**about, "steps": []})
            entry["steps"].append(one.step.name)
    return list(found.values())
