"""`affectkit practice`: small synthetic data in the layout of a real data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from affectkit.cli._complete import practice_sets
from affectkit.cli._options import RUN, JsonOption, with_configs
from affectkit.cli._results import log, print_json
from affectkit.config import Runtime
from affectkit.practice.sets import make_practice
from affectkit.practice.settings import PracticeConfig


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("practice")(practice)


@with_configs(config=PracticeConfig)
def practice(
    name: Annotated[
        str,
        typer.Argument(
            help="affwild2, cexpr, dfew, hume-reaction or table", show_default=False, autocompletion=practice_sets
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="a new or empty folder", show_default=False)],
    config: PracticeConfig,
    workers: Annotated[
        int,
        typer.Option(min=0, max=256, help="clips drawn at a time (0: one per core)", rich_help_panel=RUN),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write a small synthetic set in the layout of a real data set, to run a whole system on.

    Folders, label files, invalid rows, missing frames and submission templates are as in the real data. The clips
    are not: one public-domain photograph of one person, with drawn expressions, recoloured and warped so that clips
    look unlike one another, and a synthesised voice. A score on them shows that the pipeline works; it says nothing
    about recognising anybody's emotion. The set table is clips beside a table of labels, the photograph as it is.

    Repeating the command does nothing; with other settings it writes the set anew.

    Examples:

    `affectkit practice affwild2 practice/affwild2`

    `affectkit practice cexpr practice/cexpr --count 20 --seconds 2 --seed 1`

    `affectkit extract faces --dataset affwild2 --root practice/affwild2 --detector centerface --fps 5`
    """
    made = make_practice(name, folder, config, Runtime(workers=workers))
    log(f"{made.clips} clips, {made.files} files" + (", there already" if made.cached else ""))
    log("synthetic, of one photograph: not the real data, and no benchmark (see README.txt)")
    if as_json:
        print_json({**asdict(made), "folder": str(folder)})
    else:
        typer.echo(str(folder))
