"""Help read at 80 columns: options in panels, long texts beside or below their option's name, whole examples."""

from __future__ import annotations

import inspect
from typing import Any

import typer
from typer.core import TyperCommand

from affectkit.errors import UsageError

LAST = "Options"
_COLUMN = 26
_PANELS = ["Arguments", "What is computed", "Inputs", "Training", "Run", "Output", LAST]
_RENAMED = {
    ("evaluate", "--clips"): "is --draw-clips now: which clips --figures draws",
    ("practice", "--clips"): "is --count now: how many clips are made",
    ("check", "--figures"): "takes no value now: --out DIR says where figures go",
}
"""Of a command and an option of before, what it is now."""


class PanelCommand(TyperCommand):
    """A command whose help groups options by `rich_help_panel`, as plain text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's; a word of before is one line that says the present one."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            word = getattr(error, "option_name", None) or ("--figures" if "extra argument" in str(error) else "")
            now = _RENAMED.get((ctx.info_name, word)) if any(each.partition("=")[0] == word for each in words) else None
            if now is None:
                raise
            raise UsageError(f"{ctx.command_path}: {word} {now}") from None

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does; the lines of an example are not wrapped, so that they can be copied."""
        before, self.help = self.help, _with_whole_examples(self.help or "")
        super().format_help_text(ctx, formatter)
        self.help = before

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then the panels in their order, then what belongs to none."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                panel = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or LAST
                panels.setdefault(panel, []).append(record)
        for panel in sorted(panels, key=_place):
            with formatter.section(panel):
                formatter.write_dl(panels[panel], col_max=_COLUMN)


class Commands(typer.Typer):
    """Commands with such help."""

    def command(self, name: str | None = None, **options: Any) -> Any:
        """As Typer's."""
        return super().command(name, **{"cls": PanelCommand, **options})


def _place(panel: str) -> int:
    """Where a panel stands; one of a stage's own before those of every command."""
    return _PANELS.index(panel) if panel in _PANELS else _PANELS.index("Run")


def _with_whole_examples(text: str) -> str:
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(f"\b\n{each.strip('`')}" if each.startswith("`") else each for each in paragraphs)
