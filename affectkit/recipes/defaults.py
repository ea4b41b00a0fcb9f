"""What several steps have in common, said once: the tables [defaults] and [defaults.STAGE] of a recipe.

A step takes the settings of [defaults] that its stage knows, then those of its stage's table, and its own win; options
of plugins are taken one by one. Mistakes in them are found where they are used, on the line of the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affectkit.errors import unknown
from affectkit.recipes._lines import Key
from affectkit.recipes.draft import Draft, leaves
from affectkit.recipes.steps import is_own, settings_of
from affectkit.stages import catalogue


def inherit(draft: Draft) -> None:
    """Move the defaults into the steps."""
    given, draft.defaults = draft.defaults, {}
    stages = catalogue.entries()
    for stage in [name for name, value in given.items() if name in stages and not isinstance(value, dict)]:
        draft.problem(["defaults", stage], f"defaults.{stage} is a table: defaults.{stage}.setting")
        del given[stage]
    common = {key: value for key, value in given.items() if not isinstance(value, dict)}
    for stage in given.keys() - common.keys() - stages.keys():
        draft.problem(["defaults", stage], str(unknown("stage", stage, stages)))
    known: set[str] = set()
    for name, table in draft.steps.items():
        stage = str(table.get("stage"))
        settings = settings_of(catalogue.get(stage)) if stage in stages else {}
        known |= settings.keys()
        _fill(draft, table, ("steps", name), given.get(stage, {}), ("defaults", stage))
        shared = {key: common[key] for key in common if key in settings and not is_own(settings[key], key)}
        _fill(draft, table, ("steps", name), shared, ("defaults",))
    for key in common.keys() - known:
        draft.problem(["defaults", key], str(unknown("option of any step", key, known)))


def _fill(draft: Draft, table: dict[str, Any], key: Key, given: Mapping[str, Any], above: Key) -> None:
    """Add what a step does not say, and where that was said."""
    for keys, _, value in leaves(given):
        *parents, last = keys
        below: Any = table
        for parent in parents:
            below = below.setdefault(parent, {}) if isinstance(below, dict) else None
        if isinstance(below, dict) and last not in below:
            below[last] = value
            draft.inherited((*key, *keys), (*above, *keys))
