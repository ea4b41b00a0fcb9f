"""`affectkit view`: a folder with a page, shown to this machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affectkit.cli._options import RUN
from affectkit.cli._results import log


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("view")(view)


def view(
    folder: Annotated[Path, typer.Argument(help="what report or analyze wrote", show_default=False)],
    port: Annotated[
        int, typer.Option(help="the port on 127.0.0.1; 0: a free one", min=0, max=65535, rich_help_panel=RUN)
    ] = 0,
) -> None:
    """Serve the folder of a report to this machine alone, until Ctrl-C.

    Its URL is printed. Read-only, on 127.0.0.1, with a random token in the URL: without it nothing is shown. Nothing
    outside of the folder is, links included. Videos seek. A report opens without this as well; some browsers do not
    seek in videos then.

    Example:

    `affectkit view page`
    """
    from affectkit.pages.server import PAGE, FolderServer

    server = FolderServer(folder, port)
    if not (folder / PAGE).is_file():
        log(f"note: {folder} has no {PAGE}: only its files by name can be seen (affectkit report writes a page)")
    typer.echo(server.url)
    log("Ctrl-C ends it")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log("ended")
    finally:
        server.server_close()
