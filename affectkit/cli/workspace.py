"""`affectkit list`, `status`, `weights` and `demo`: what is here, and seeing it work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit import plugins, tasks, weights
from affectkit.cli._complete import groups, in_group, recipes, weight_files
from affectkit.cli._help import Commands
from affectkit.cli._options import INPUTS, CacheOption, JsonOption
from affectkit.cli._results import SOME_FAILED, columns, log, print_json, print_table
from affectkit.errors import AffectkitError, UsageError, unknown
from affectkit.stages.status import status as look_around
from affectkit.store import Cache


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_plugins)
    app.command("status")(status)
    app.command("demo")(demo)
    group = Commands(
        rich_markup_mode=None, no_args_is_help=True, help="Weight files: what they are, their licences, fetching them."
    )
    group.command("list")(list_weights)
    group.command("ls", hidden=True)(list_weights)
    group.command("fetch")(weights_fetch)
    app.add_typer(group, name="weights")


def list_plugins(
    group: Annotated[
        str | None,
        typer.Argument(
            help="detectors, backbones, models, heads, networks, fusers, datasets, tasks, practice (sets) or formats "
            "(of submissions)  [default: all of them]",
            show_default=False,
            autocompletion=groups,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            help="one plugin: print its options, of a model (a file or a bundle is one, too) its card",
            autocompletion=in_group,
        ),
    ] = None,
) -> None:
    """List plugins, tasks, practice sets and formats, or the options of a plugin.

    Examples:

    `affectkit list`

    `affectkit list heads`

    `affectkit list heads transformer`

    `affectkit list models mini-xception`
    """
    if group is None:
        for known in plugins.GROUPS:
            _echo_all(_plugins(known), f"{known}\t")
        for other, made in _OTHERS.items():
            _echo_all(made(), f"{other}\t")
        return
    if group in _OTHERS:
        lines = _OTHERS[group]()
        if name is not None and name not in lines:
            raise unknown(_ONE_OF[group], name, lines)
        _echo_all(lines if name is None else {name: lines[name]})
        return
    for known in plugins.GROUPS:
        if known == group:
            _echo_all(_plugins(known)) if name is None else _print_one(known, name)
            return
    raise unknown("group", group, [*plugins.GROUPS, *_OTHERS])


def status(cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """Devices, extras, weights at hand, cache size."""
    about = look_around(cache)
    if as_json:
        print_json(about)
        return
    table = columns("", "", "")
    for topic, lines in about.items():
        for row, (key, value) in enumerate(lines.items()):
            table.add_row(topic if row == 0 else "", key, str(value))
    print_table(table)


def list_weights(as_json: JsonOption = False) -> None:
    """List the weight files that affectkit knows: where each comes from, its licence, whether it is here."""
    if as_json:
        print_json([
            {"name": entry.name, "state": state, "licence": entry.licence, "used_by": entry.used_by,
             "source": entry.origin}
            for entry, state in weights.available()
        ])  # fmt: skip
        return
    table = columns("name", "state", "licence", "used by", "source")
    for entry, state in weights.available():
        table.add_row(entry.name, state, entry.licence, entry.used_by, entry.origin)
    print_table(table)


def weights_fetch(
    name: Annotated[
        str | None,
        typer.Argument(help="a name of affectkit weights list", show_default=False, autocompletion=weight_files),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="instead: every file that a recipe needs (a built-in one, or a TOML file)",
            autocompletion=recipes,
            rich_help_panel=INPUTS,
        ),
    ] = None,
    tiny: Annotated[
        bool,
        typer.Option("--tiny", help="with --recipe: those of its small settings", rich_help_panel=INPUTS),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a weight file and check its digest, for machines that will have no network later.

    Examples:

    `affectkit weights fetch centerface`

    `affectkit weights fetch --recipe sun-2024-va`
    """
    if (name is None) == (recipe is None):
        raise UsageError("give the NAME of a weight file, or --recipe RECIPE for all of a recipe")
    if name is not None:
        _print_fetched([weights.fetch(name)], as_json)
        return
    from affectkit.recipes import at_hand, check, read

    plan = check.plan(read.read(recipe or "", tiny=tiny))
    if plan.is_sound:
        files = at_hand.fetch(plan)
        for file, steps in files.items():
            log(f"{file.name} ({file.licence}): {', '.join(steps)}")
        _print_fetched(files, as_json)
    if plan.problems:
        raise UsageError(check.together(plan.problems))


def _print_fetched(files: Iterable[weights.WeightsFile], as_json: bool) -> None:
    if as_json:
        print_json({"files": [{"path": str(file.path), **file.about()} for file in files]})
        return
    for file in files:
        typer.echo(str(file.path))


def demo(
    folder: Annotated[Path, typer.Argument(help="where the clips and the cache go")] = Path("affectkit-demo"),
    as_json: JsonOption = False,
) -> None:
    """Make a small labelled data set and run the whole pipeline on it, video and audio, offline.

    The clips are synthetic: one public-domain portrait and a synthesised voice, both driven by known valence and
    arousal curves. A head on the faces and a head on the voice are trained and fused. The scores show that the pipeline
    works, not how well anything recognises emotion.

    The recipe demo is run (`affectkit recipe show demo`) on the practice set table (`affectkit practice table`).
    """
    from affectkit.practice.demo import run_demo, table_of

    report = run_demo(folder)
    if as_json:
        print_json(report)
    else:
        print_table(table_of(report))
        log(f"the same by hand: {report['by_hand']}")
        for line in report["notices"]:
            log(f"note: {line}")
        if report["page"]:
            log(f"to look at: {report['page']}")
    if report["failed"]:
        raise typer.Exit(SOME_FAILED)


_ONE_OF = {"tasks": "task", "practice": "practice set", "formats": "format"}


def _echo_all(lines: Mapping[str, str], before: str = "") -> None:
    for name, line in lines.items():
        typer.echo(f"{before}{name}\t{line}")


def _plugins(group: plugins.Group) -> dict[str, str]:
    return {name: _summary(group, name) for name in plugins.names(group)}


def _tasks() -> dict[str, str]:
    return {
        task.name: f"{task.kind}, {task.level} level, {task.metric}: {', '.join(task.targets)}"
        for task in tasks.BUILT_IN.values()
    }


def _practice_sets() -> dict[str, str]:
    from affectkit.practice.sets import SETS, about

    return {name: about(name) for name in SETS}


def _formats() -> dict[str, str]:
    from affectkit.tables.submissions import FORMATS

    return {
        form.name: f"task {form.task_name}, a row a {'frame' if form.frames else 'clip'}: {form.header}"
        for form in FORMATS.values()
    }


_OTHERS = {"tasks": _tasks, "practice": _practice_sets, "formats": _formats}


def _print_one(group: plugins.Group, name: str) -> None:
    """The options of a plugin; of a published model also its card, of a bundle that alone."""
    if group == "models":
        from affectkit.stages.bundle import is_bundle, opened_bundle
        from affectkit.stages.model_card import card_of

        if is_bundle(name):
            print_table(_card_table(card_of(opened_bundle(name, Cache(dry=True)))))
            return
    plugin = plugins.get(group, name)
    _print_options(plugin, name)
    if not plugins.is_model(plugin):
        return
    try:
        card = plugins.stated_card(name)
    except AffectkitError as error:
        if plugins.is_source(name):
            raise
        log(f"no card: {error}")
        return
    print_table(_card_table(card))


def _card_table(card: plugins.ModelCard) -> Any:
    table = columns("", "")
    crop = card.contract
    lines = {
        "name": card.name, "what": card.summary,
        "scores": "; ".join(f"{task.name} ({task.kind}): {', '.join(task.targets)}" for task in card.outputs),
        "crop": "none" if crop is None else f"margin {crop.margin}, {crop.shape}{', aligned' if crop.align else ''}, "
        f"{crop.size} pixels, {crop.colour}",
        **{f"licence of {what}": licence for what, licence in card.licences.items()},
        "trained on": card.trained_on, "reported": card.reported, "verified": card.verified,
        "failures": card.failures, "intended": card.intended,
    }  # fmt: skip
    for what, line in lines.items():
        table.add_row(what, line)
    return table


def _print_options(plugin: Any, name: str) -> None:
    options = plugin.Options.model_fields
    if not options:
        typer.echo(f"{name} has no options")
        return
    table = columns("option", "default", "what it is")
    for key, field in options.items():
        default = "(required)" if field.is_required() else str(field.get_default(call_default_factory=True))
        table.add_row(key, default, field.description or "")
    print_table(table)


def _summary(group: plugins.Group, name: str) -> str:
    """The first sentence of a plugin's docstring, or why it cannot be loaded: that must not hide the others."""
    try:
        text = plugins.get(group, name).__doc__ or ""
    except UsageError as error:
        return f"({error})"
    paragraph = " ".join(text.strip().partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0]
