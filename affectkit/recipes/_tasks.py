"""Predictions of a recipe are scored and submitted as the task that they are of."""

from __future__ import annotations

from collections.abc import Mapping

from affectkit import tasks
from affectkit.recipes.draft import Draft
from affectkit.recipes.steps import Step
from affectkit.tasks import Task


def check(draft: Draft, steps: Mapping[str, Step]) -> None:
    """Note predictions of another task than a step takes them for."""
    for step in steps.values():
        reads = step.stage.reads_task(step.config(step.stage.Config))
        if reads is None:
            continue
        wanted, instead = reads
        for ref in step.inputs:
            given = _task_of(steps, ref.step)
            if given is not None and sorted(given.targets) != sorted(wanted.targets):
                draft.problem(["steps", step.name, "from"], f"{ref} predicts task {given.name}, {instead}")


def _task_of(steps: Mapping[str, Step], name: str) -> Task | None:
    """The task of a step, or of the head or network that it predicts with; None where that is not known."""
    step = steps.get(name)
    while step is not None and not step.setting("task"):
        step = steps.get(step.inputs[0].step) if step.inputs else None
    return tasks.get(step.setting("task")) if step else None
