"""Predictions of a recipe are scored and submitted as the task that they are of."""

from __future__ import annotations

from collections.abc import Mapping

from affectkit import tasks
from affectkit.recipes.draft import Draft
from affectkit.recipes.steps import Step
from affectkit.stages.submit import SubmitConfig
from affectkit.tables.submissions import FORMATS
from affectkit.tasks import Task

_READERS = ("evaluate", "compare", "submit")


def check(draft: Draft, steps: Mapping[str, Step]) -> None:
    """Note predictions of another task than a step takes them for."""
    for step in steps.values():
        if step.kind.name not in _READERS:
            continue
        wanted, instead = _wanted(step)
        for ref in step.inputs:
            given = _task_of(steps, ref.step)
            if given is not None and sorted(given.targets) != sorted(wanted.targets):
                draft.problem(["steps", step.name, "from"], f"{ref} predicts task {given.name}, {instead}")


def _wanted(step: Step) -> tuple[Task, str]:
    """The task that a step takes predictions of, and that in words."""
    if step.kind.name == "submit":
        form = FORMATS[step.config(SubmitConfig).format]
        return form.task, f"format {form.name} takes {form.task.name}"
    task = tasks.get(step.setting("task"))
    return task, f"not {task.name}"


def _task_of(steps: Mapping[str, Step], name: str) -> Task | None:
    """The task of a step, or of the head or network that it predicts with; None where that is not known."""
    step = steps.get(name)
    while step is not None and not step.setting("task"):
        step = steps.get(step.inputs[0].step) if step.inputs else None
    return tasks.get(step.setting("task")) if step else None
