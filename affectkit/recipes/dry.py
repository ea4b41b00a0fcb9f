"""What a run would do, without doing it: the stages themselves are asked, with a cache that only looks."""

from __future__ import annotations

from dataclasses import dataclass

from affectkit.downloads import offline
from affectkit.errors import AffectkitError
from affectkit.recipes.running import Made, Session
from affectkit.recipes.steps import Step
from affectkit.store import NotMade


@dataclass(frozen=True)
class Row:
    """A step, what it does, and how much of it is there. `is_done`: all of it."""

    step: str
    stage: str
    does: str
    state: str
    is_done: bool = False


def dry_run(session: Session) -> list[Row]:
    """Every step of the plan, in order. `session` has a dry cache."""
    rows: dict[str, Row] = {}
    with offline():
        for step in session.plan.steps.values():
            state, is_done = _state(session, step, rows)
            rows[step.name] = Row(step.name, step.kind.name, step.words, state, is_done)
    return list(rows.values())


def _state(session: Session, step: Step, before: dict[str, Row]) -> tuple[str, bool]:
    if lacks := session.plan.lacks.get(step.name):
        return f"needs {', '.join(lacks)}", False
    if waits := [name for name in step.needs if name not in before or not before[name].is_done]:
        return f"waits for {', '.join(waits)}", False
    if step.kind.makes == "file":
        return f"writes {session.submission(step)}", False
    try:
        return _of(session.run(step))
    except NotMade:
        if step.kind.makes in ("head", "network", "report") or step.kind.name == "fuse":
            return "to compute", False
        count = session.given(step)
        return f"{count} of {count} clips to compute", False
    except AffectkitError as error:
        session.plan.draft.problem(["steps", step.name], f"step {step.name} ({step.kind.name}): {error}")
        return "cannot run", False


def _of(made: Made) -> tuple[str, bool]:
    if made.outcome is None:
        return "cached", True
    pending, failed = len(made.outcome.pending), len(made.outcome.failed)
    total = pending + failed + made.outcome.cached
    before = f", {failed} failed before" if failed else ""
    if pending:
        return f"{pending} of {total} clips to compute{before}", False
    return f"cached, {made.outcome.cached} clips{before}", True
