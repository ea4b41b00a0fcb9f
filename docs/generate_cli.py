"""Write docs/cli.md from the commands' own `--help`; `--check` fails when the file has drifted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "110"}
os.environ.pop("FORCE_COLOR", None)
os.environ.pop("GITHUB_ACTIONS", None)

from typer.testing import CliRunner

from affectkit.cli import COMMANDS, build_app, load

TARGET = Path(__file__).parent / "cli.md"
INTRO = "# Command line\n\nMade from `--help` by `make docs`; do not edit.\n"


def pages() -> list[tuple[str, ...]]:
    """Every command path, groups before their commands."""
    found: list[tuple[str, ...]] = [()]
    for name in COMMANDS:
        found.append((name,))
        found += [(name, inner) for inner in getattr(load(name), "commands", {})]
    return found


def text() -> str:
    """The whole page."""
    app, runner, parts = build_app(), CliRunner(), [INTRO]
    for path in pages():
        shown = runner.invoke(app, [*path, "--help"], prog_name="affectkit")
        if shown.exit_code:
            raise SystemExit(f"affectkit {' '.join(path)} --help failed: {shown.output}")
        lines = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## affectkit {' '.join(path)}".rstrip() + f"\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page, or compare it."""
    made = text()
    if "--check" not in sys.argv:
        TARGET.write_text(made, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != made:
        raise SystemExit("docs/cli.md does not follow --help any more: run `make docs` and commit it")


if __name__ == "__main__":
    main()
