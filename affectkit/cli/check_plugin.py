"""`affectkit check-plugin`: hold a plugin to the contract of its group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affectkit.cli._complete import plugin_groups, tasks
from affectkit.cli._options import COMPUTED, INPUTS, JsonOption
from affectkit.cli._results import log, print_json
from affectkit.stages.check_plugin import check_plugin as contract_of

BROKEN = 2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check-plugin")(check_plugin)


def check_plugin(
    module: Annotated[str, typer.Argument(help="FILE.py[:CLASS], a module, or the name of an installed plugin")],
    group: Annotated[
        str | None,
        typer.Option(
            help="its group  [default: told from its methods]", rich_help_panel=INPUTS, autocompletion=plugin_groups
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", help="an option of the plugin, key=value (repeatable)", rich_help_panel=COMPUTED
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="its weights: auto, a file or random", rich_help_panel=COMPUTED)
    ] = "auto",
    root: Annotated[
        Path | None, typer.Option(help="for a reader: a data set of its layout", rich_help_panel=INPUTS)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="the task to try it with  [default: one of each kind]", rich_help_panel=COMPUTED, autocompletion=tasks
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a plugin to the contract of its group, an obligation a line; exit code 2 where one is broken.

    These are the obligations of affectkit's own plugins: what stages rely on, so that results do not depend on
    neighbours, batches, padding or the order of clips, and repeat bit by bit.

    Examples:

    `affectkit check-plugin my_net.py`

    `affectkit check-plugin my_package.my_head -o hidden=32`

    `affectkit check-plugin timm -o model=resnet18 --weights random`
    """
    contract = contract_of(module, group=group, option=option or [], weights=weights, root=root, task=task)
    verdicts = []
    for verdict in contract.verdicts:
        verdicts.append(verdict)
        if not as_json:
            typer.echo(
                f"failed  {verdict.obligation}: {verdict.broken}" if verdict.broken else f"ok      {verdict.obligation}"
            )
    for note in contract.notes:
        log(f"note: {note}")
    broken = [one for one in verdicts if one.broken]
    if as_json:
        report = [{"obligation": one.obligation, "broken": one.broken} for one in verdicts]
        print_json({
            "plugin": contract.name, "group": contract.group, "obligations": report, "notices": list(contract.notes),
        })  # fmt: skip
    count = (
        f"{len(broken)} of {len(verdicts)} obligations are broken" if broken else f"{len(verdicts)} obligations kept"
    )
    log(f"{contract.group.removesuffix('s')} {contract.name}: {count}")
    if broken:
        raise typer.Exit(BROKEN)
