"""`affectkit list`, `status`, `weights` and `demo`: what is here, and seeing it work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit import plugins, tasks, weights
from affectkit.cli._help import Commands
from affectkit.cli._options import CacheOption, JsonOption
from affectkit.cli._results import SOME_FAILED, as_line, columns, log, print_table
from affectkit.errors import UsageError, unknown
from affectkit.stages.status import status as look_around


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_plugins)
    app.command("status")(status)
    app.command("demo")(demo)
    group = Commands(
        rich_markup_mode=None, no_args_is_help=True, help="Weight files: what they are, their licences, fetching them."
    )
    group.command("ls")(weights_ls)
    group.command("fetch")(weights_fetch)
    app.add_typer(group, name="weights")


def list_plugins(
    group: Annotated[str, typer.Argument(help="detectors, backbones, heads, fusers, datasets or tasks")],
    name: Annotated[str | None, typer.Argument(help="one plugin: print its options")] = None,
) -> None:
    """List plugins, or the options of one.

    Examples: `affectkit list heads`, `affectkit list heads transformer`
    """
    if group == "tasks":
        for task in tasks.BUILT_IN.values():
            typer.echo(f"{task.name}\t{task.kind}, {task.level} level, {task.metric}: {', '.join(task.targets)}")
        return
    known = next((one for one in plugins.GROUPS if one == group), None)
    if known is None:
        raise unknown("group", group, [*plugins.GROUPS, "tasks"])
    if name is None:
        for plugin in plugins.names(known):
            typer.echo(f"{plugin}\t{_summary(known, plugin)}")
        return
    _print_options(plugins.get(known, name), name)


def status(cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """Devices, extras, weights at hand, cache size."""
    about = look_around(cache)
    if as_json:
        typer.echo(as_line(about))
        return
    table = columns("", "", "")
    for topic, lines in about.items():
        for row, (key, value) in enumerate(lines.items()):
            table.add_row(topic if row == 0 else "", key, str(value))
    print_table(table)


def weights_ls() -> None:
    """List the weight files that affectkit knows: where each comes from, its licence, whether it is here."""
    table = columns("name", "state", "licence", "used by", "source")
    for entry, state in weights.available():
        table.add_row(entry.name, state, entry.licence, entry.used_by, entry.origin)
    print_table(table)


def weights_fetch(
    name: Annotated[str | None, typer.Argument(help="a name of affectkit weights ls", show_default=False)] = None,
    recipe: Annotated[
        str | None, typer.Option(help="instead: every file that a recipe needs (a built-in one, or a TOML file)")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="with --recipe: those of its small settings")] = False,
) -> None:
    """Download a weight file and check its digest, for machines that will have no network later.

    Examples: `affectkit weights fetch centerface`, `affectkit weights fetch --recipe sun-2024-va`
    """
    if (name is None) == (recipe is None):
        raise UsageError("give the NAME of a weight file, or --recipe RECIPE for all of a recipe")
    if name is not None:
        typer.echo(str(weights.fetch(name).path))
        return
    from affectkit.recipes import at_hand, check, read

    plan = check.plan(read.read(recipe or "", tiny=tiny))
    if plan.is_sound:
        for file, steps in at_hand.fetch(plan).items():
            typer.echo(str(file.path))
            log(f"{file.name} ({file.licence}): {', '.join(steps)}")
    if plan.problems:
        raise UsageError(check.together(plan.problems))


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
        typer.echo(as_line(report))
    else:
        print_table(table_of(report))
        log(f"the same by hand: {report['by_hand']}")
    if report["failed"]:
        raise typer.Exit(SOME_FAILED)


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
    """The first line of a plugin's docstring, or why it cannot be loaded: that must not hide the others."""
    try:
        text = plugins.get(group, name).__doc__ or ""
    except UsageError as error:
        return f"({error})"
    return text.strip().partition("\n")[0]
