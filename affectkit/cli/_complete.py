"""What a shell offers for an unfinished word: plugins, tasks, recipes, weight files, and the artifacts of the cache.

A completion never fails: whatever cannot be looked up is not offered. Where nothing is offered, shells offer files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

import typer

from affectkit.errors import AffectkitError

Completion = Callable[[typer.Context, str], list[tuple[str, str]]]
_MOST_FILES = 200
_GROUPS = {
    "backbone": "backbones", "head": "heads", "detector": "detectors", "method": "fusers", "network": "networks",
    "dataset": "datasets",
}  # fmt: skip
"""Options that take the name of a plugin, and its group."""


def completion_of(option: str) -> Completion | None:
    """What completes an option's value; None where it is no name."""
    if option == "task":
        return tasks
    return _plugins(_GROUPS[option]) if option in _GROUPS else None


def tasks(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The built-in tasks."""
    from affectkit.tasks import BUILT_IN

    return _beginning(((task.name, f"{task.kind}, {task.metric}") for task in BUILT_IN.values()), incomplete)


def datasets(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Readers of data sets."""
    return _plugins("datasets")(ctx, incomplete)


def models(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Published models."""
    return _plugins("models")(ctx, incomplete)


def plugin_groups(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The groups of plugins."""
    from affectkit import plugins

    return _beginning(((group, "") for group in plugins.GROUPS), incomplete)


def groups(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """What `affectkit list` lists."""
    return [*plugin_groups(ctx, incomplete), *_beginning(((name, "") for name in _OTHER_LISTS), incomplete)]


def in_group(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """What is in the group that was given."""
    group = str(ctx.params.get("group"))
    return _OTHER_LISTS.get(group, _plugins(group))(ctx, incomplete)


def formats(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The formats of submissions."""
    from affectkit.tables.submissions import FORMATS

    return _beginning(((name, "") for name in FORMATS), incomplete)


def file_formats(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """What artifacts are exported to."""
    from affectkit.store.export import ALL_FORMATS

    return _beginning(((name, "") for name in ALL_FORMATS), incomplete)


def recipes(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The built-in recipes."""
    from affectkit.recipes import read

    return _beginning(((name, "") for name in read.built_in()), incomplete)


def weight_files(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The weight files that are known by name."""
    from affectkit import weights

    return _beginning(((entry.name, entry.licence) for entry in weights.table().values()), incomplete)


def practice_sets(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The data sets that have a synthetic one."""
    from affectkit.practice.sets import SETS

    return _beginning(((name, "") for name in SETS), incomplete)


_OTHER_LISTS: dict[str, Completion] = {"tasks": tasks, "practice": practice_sets, "formats": formats}
"""What `affectkit list` lists beside plugins."""


def artifacts(stages: Collection[str] = (), *, or_models: bool = False) -> Completion:
    """Completes names, `latest` and folders of artifacts of these stages (of all), published models where those stand
    in for them (`or_models`), and files of this folder."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        from affectkit.store import Cache, names

        published = models(ctx, incomplete) if or_models else []
        with suppress(AffectkitError, OSError):
            kept = list(names.suggestions(Cache(ctx.params.get("cache")), incomplete, stages))
            return [*kept, *published, *_files(incomplete)]
        return published

    return complete


def _plugins(group: str) -> Completion:
    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        from affectkit import plugins

        plugin_group = next((each for each in plugins.GROUPS if each == group), None)
        names_there = plugins.names(plugin_group) if plugin_group else []
        if plugin_group == "backbones":  # a published model is a backbone as well
            names_there = sorted({*names_there, *plugins.names("models")})
        return _beginning(((name, "") for name in names_there), incomplete)

    return complete


def _beginning(offers: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    return [offer for offer in offers if offer[0].startswith(incomplete)]


def _files(incomplete: str) -> list[tuple[str, str]]:
    """Files and folders of this folder; below others the shell offers them itself."""
    if "/" in incomplete or (incomplete and incomplete.startswith(("-", "."))):
        return []
    paths = sorted(path for path in Path().iterdir() if path.name.startswith(incomplete or ""))
    shown = [path for path in paths if not path.name.startswith(".")][:_MOST_FILES]
    return [(f"{path.name}/" if path.is_dir() else path.name, "") for path in shown]
