"""`affectkit run` and `affectkit recipe`: whole systems by one command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from affectkit.cli._complete import recipes
from affectkit.cli._help import Commands
from affectkit.cli._options import COMPUTED, INPUTS, OUTPUT, RUN, CacheOption, DeviceOption, JsonOption, with_configs
from affectkit.cli._results import SOME_FAILED, columns, log, log_table, print_json, print_table, say_kept
from affectkit.config import Runtime
from affectkit.devices import resolve
from affectkit.errors import UsageError
from affectkit.learning.processes import Processes
from affectkit.recipes import at_hand, check, read
from affectkit.recipes.draft import Draft
from affectkit.recipes.report import Section, folder_of, score_tables, write_summary
from affectkit.recipes.run import Row, Session, StepResult, dry_run, notes_of, run_all
from affectkit.stages.map_stage import LISTED
from affectkit.stages.resumable import KeptInterrupt

ChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="step.key=value, step.option.key=value or data.NAME.option.key=value (repeatable)",
        metavar="KEY=VALUE",
        rich_help_panel=COMPUTED,
    ),
]
TinyOption = Annotated[
    bool,
    typer.Option("--tiny", help="the recipe's own small settings: minutes, offline", rich_help_panel=COMPUTED),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    group = Commands(rich_markup_mode=None, no_args_is_help=True, help="The built-in recipes: list them, read one.")
    group.command("list")(recipe_list)
    group.command("show")(recipe_show)
    app.add_typer(group, name="recipe")


@with_configs(runtime=("workers", "progress", "rehash", "retry_failed"))
def run(
    recipe: Annotated[
        str, typer.Argument(help="a built-in recipe (affectkit recipe list), or a TOML file", autocompletion=recipes)
    ],
    runtime: Runtime,
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="where the data set lies; of several, NAME=DIR for each (repeatable)",
            metavar="[NAME=]DIR",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    changes: ChangesOption = None,
    tiny: TinyOption = False,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="print what each step would do and what is cached; compute nothing", rich_help_panel=RUN
        ),
    ] = False,
    until: Annotated[
        str | None, typer.Option(help="only this step and what it needs", metavar="STEP", rich_help_panel=RUN)
    ] = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder of the summary and the submissions", rich_help_panel=OUTPUT),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: a whole system, from a data set to scores and a submission file.

    Everything is checked before anything starts. Every step is a command of its own, cached: the same line again goes
    on where a run was stopped. The path printed is that of the run's summary.

    Examples:

    `affectkit run sun-2024-va --root AffWild2/ --dry-run`

    `affectkit run strong-baseline --root practice/ --tiny`

    `affectkit run mine.toml --root AffWild2/ --set faces.fps=10 --set head.option.epochs=20 --until head`
    """  # fmt: skip
    if Processes.here().count > 1:
        raise UsageError("run is one process; only finetune takes several GPUs: start that command itself by torchrun")
    if device != "auto":
        resolve(device)
    draft = read.read(recipe, changes or [], tiny=tiny)
    plan = check.plan(draft, root or [], until)
    media = at_hand.look(plan, fetch=not dry and plan.is_sound)
    session = Session(plan, media, cache, runtime, device=device, dry=dry, folder=out or folder_of(plan, cache))
    if dry:
        _dry(session, as_json)
        return
    if plan.problems:
        raise UsageError(check.together(plan.problems))
    try:
        told: set[str] = set()
        steps = list(plan.steps)
        made = run_all(session, lambda one: _say(one, f"step {steps.index(one.step.name) + 1} of {len(steps)}", told))
    except KeptInterrupt as interrupt:
        say_kept(interrupt.lines)
        raise
    summary = write_summary(session, made)
    for table in score_tables(summary):
        _log_table(table)
    path = session.folder / "summary.md"
    if as_json:
        print_json({"summary": str(path), **summary})
    else:
        typer.echo(str(path))
    failed = {failure.clip for one in made for failure in one.failed}
    if failed:
        log(f"{len(failed)} clips failed on the way; the others went on without them")
        raise typer.Exit(SOME_FAILED)


def recipe_list(as_json: JsonOption = False) -> None:
    """List the built-in recipes."""
    if as_json:
        drafts = [read.read(name) for name in read.built_in()]
        print_json([
            {"name": draft.name, "title": draft.title, "paper": draft.paper, "practice": list(draft.practice)}
            for draft in drafts
        ])  # fmt: skip
        return
    table = columns("recipe", "what it is", "paper", "practice set")
    for name in read.built_in():
        draft = read.read(name)
        table.add_row(name, draft.title, draft.paper, ", ".join(draft.practice))
    print_table(table)


def recipe_show(
    recipe: Annotated[str, typer.Argument(help="a built-in recipe, or a TOML file", autocompletion=recipes)],
    models: Annotated[
        bool,
        typer.Option(
            "--models",
            help="instead: build its models with random weights, and say how large they are",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    changes: ChangesOption = None,
    tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print a recipe.

    Examples:

    `affectkit recipe show sun-2024-va > mine.toml`

    `affectkit recipe show sun-2024-va --models`
    """
    draft = read.read(recipe, changes or [], tiny=tiny)
    if models:
        _print_models(draft, as_json)
        return
    if changes or tiny:
        plan = check.plan(draft)
        if not plan.is_sound:
            raise UsageError(check.together(plan.problems))
    text = draft.toml() if changes or tiny else draft.text
    if as_json:
        print_json({"name": draft.name, "title": draft.title, "paper": draft.paper, "toml": text})
    else:
        typer.echo(text, nl=False)


def _print_models(draft: Draft, as_json: bool) -> None:
    from affectkit.recipes.models import models

    plan = check.plan(draft)
    if not plan.is_sound:
        raise UsageError(check.together(plan.problems))
    if as_json:
        print_json({"models": [asdict(one) for one in models(plan)]})
        return
    table = columns("step", "model", "parameters", "input", "output")
    for one in models(plan):
        count = f"{one.parameters:,}" if one.parameters is not None else "-"
        table.add_row(one.step, one.what, count, one.takes, one.gives or f"not built: {one.problem}")
    print_table(table)


def _dry(session: Session, as_json: bool) -> None:
    rows = dry_run(session)
    plan = session.plan
    if as_json:
        problems = [asdict(one) for one in plan.problems]
        print_json({"steps": [asdict(one) for one in rows], "problems": problems})
    else:
        _print_plan(rows)
    missing = [one for one in plan.problems if one.is_missing]
    if not plan.is_sound:
        raise UsageError(check.together(plan.problems))
    if missing:
        log("before it can run:")
        for one in missing:
            log(f"  {one}")
        if any("weights" in one.what for one in missing):
            log(f"all its weights at once: affectkit weights fetch --recipe {_recipe_argument(plan.draft)}")


def _recipe_argument(draft: Draft) -> str:
    name = draft.name if draft.path.parent == read.BUILT_IN else str(draft.path)
    return f"{name} --tiny" if any(one.by == "--tiny" for one in draft.changed) else name


def _print_plan(rows: list[Row]) -> None:
    table = columns("step", "stage", "what it does", "state")
    for row in rows:
        table.add_row(row.step, row.stage, row.does, row.state)
    print_table(table)


def _log_table(section: Section) -> None:
    table = columns(*section.header)
    for row in section.rows:
        table.add_row(*row)
    log(section.title)
    log_table(table)
    if section.note:
        log(section.note)


def _say(made: StepResult, place: str, told: set[str]) -> None:
    """A line on a step that is done, and what has not been told of another one."""
    log(f"{place}, {made.step.name} ({made.step.stage.name}): {_told(made)}")
    notes = [note for note in notes_of(made) if note not in told]
    told.update(notes)
    for note in notes[:LISTED]:
        log(f"  note: {note}")
    for failure in made.failed[:LISTED]:
        log(f"  failed: {failure.clip}: {failure.cause}")


def _told(made: StepResult) -> str:
    found = made.outcome
    if found is None:
        return "cached" if made.cached else f"done in {made.seconds:.1f} s"
    failed = f", {len(found.failed)} failed" if found.failed else ""
    rate = f", {found.rate:,.0f} {found.unit}/s" if found.rows else ""
    return f"{found.computed} clips computed, {found.cached} cached{failed}{rate}"
