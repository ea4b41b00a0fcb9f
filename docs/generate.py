"""Write docs/cli.md from the commands' own `--help` and docs/weights.md from the table of weight files.

`--check` fails when a page has drifted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "110"}
os.environ.pop("FORCE_COLOR", None)
os.environ.pop("GITHUB_ACTIONS", None)

from typer.testing import CliRunner

from affectkit import weights
from affectkit.cli._app import build_app, commands, load

FOLDER = Path(__file__).parent
CLI_INTRO = "# Command line\n\nMade from `--help` by `make docs`; do not edit.\n"
WEIGHTS_INTRO = """# Weights and licences

Made from `affectkit/weights.toml` by `make docs`; do not edit.

affectkit ships no weights. These are the files that it knows by name. `affectkit weights list` says which are here,
`affectkit weights fetch NAME` brings one, for machines that will have no network later; any backbone or detector also
takes a file by `--weights PATH`. Downloads go to `$AFFECTKIT_WEIGHTS`, else to the user's cache folder; files of the
Hugging Face hub go to its own cache. Nothing falls back to random weights: they are used only where you type `random`.

*Checked* says whether the bytes were read and run when the entry was written. Where it says no, the loading code was
tested on files of the same layout with random numbers in them; the real file, its digest and what it scores were not.
The licences are those that the publishers state; the data that a network was trained on may bind you further.

| name | licence | used by | from | SHA-256 | checked |
| --- | --- | --- | --- | --- | --- |
"""


def cli_paths() -> list[tuple[str, ...]]:
    """Every command path, groups before their commands."""
    found: list[tuple[str, ...]] = [()]
    for name in commands():
        found.append((name,))
        inner = getattr(load(name), "commands", {})
        found += [(name, one) for one, command in inner.items() if not command.hidden]
    return found


def cli_page() -> str:
    """docs/cli.md."""
    app, runner, parts = build_app(), CliRunner(), [CLI_INTRO]
    for path in cli_paths():
        shown = runner.invoke(app, [*path, "--help"], prog_name="affectkit")
        if shown.exit_code:
            raise SystemExit(f"affectkit {' '.join(path)} --help failed: {shown.output} {shown.exception!r}")
        lines = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## affectkit {' '.join(path)}".rstrip() + f"\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


def weights_page() -> str:
    """docs/weights.md."""
    rows = []
    for entry in weights.table().values():
        digest = (
            f"`{entry.sha256[:16]}…`" if entry.sha256 else f"`{entry.sha256_prefix}…`" if entry.sha256_prefix else ""
        )
        checked = "yes" if entry.verified else "no"
        rows.append(f"| {entry.name} | {entry.licence} | {entry.used_by} | {entry.origin} | {digest} | {checked} |")
    notes = [f"- **{entry.name}**: {entry.note}" for entry in weights.table().values() if entry.note]
    return WEIGHTS_INTRO + "\n".join([*rows, "", *notes, ""])


def main() -> None:
    """Write the pages, or compare them."""
    for name, made in (("cli.md", cli_page()), ("weights.md", weights_page())):
        target = FOLDER / name
        if "--check" not in sys.argv:
            target.write_text(made, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != made:
            raise SystemExit(f"docs/{name} has drifted: run `make docs` and commit it")


if __name__ == "__main__":
    main()
