"""The command's process: its streams and signals, errors as one line, the exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from affectkit.cli import INTERRUPTED
from affectkit.cli._interrupt import Signals, interrupts_kept
from affectkit.cli._notices import forget, hear
from affectkit.cli._streams import Unwritable, make_writable
from affectkit.errors import AffectkitError, Notice

USAGE, NO_READER = 2, 141


def run(standalone: bool) -> int:
    """The exit code of `affectkit` with the arguments of the process. What is a bug of ours is raised."""
    # Before torch loads: its idle threads must not spin on the cores that decode (several times slower if they do).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if standalone:
        make_writable()
    with Signals(standalone) as signals, interrupts_kept(), _notices_as_notes():
        try:
            code = _answered()
            signals.close()
        except BaseException as error:
            signals.close()
            if signals.first is None and not isinstance(error, KeyboardInterrupt):
                raise
            code = INTERRUPTED  # whatever a library made of it
        if signals.first is not None or code == INTERRUPTED:
            word = f"ended by {signals.first}" if signals.first not in (None, "SIGINT") else "interrupted"
            _say(f"affectkit: {word}{_kept()}")
            code = signals.code or INTERRUPTED
    return code


def _answered() -> int:
    """Call the command. A mistake is told in one line."""
    try:
        from affectkit.cli._app import build_app

        code = build_app()(standalone_mode=False, prog_name="affectkit")
        sys.stdout.flush()
    except AffectkitError as error:
        _say(f"affectkit: {error}")
        return USAGE
    except Unwritable as unwritable:
        if isinstance(unwritable.error, BrokenPipeError):
            return NO_READER
        cause = unwritable.error.strerror
        _say(f"affectkit: stdout cannot be written ({cause}); what was made is kept: repeat the command")
        return USAGE
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _explain(error)
        return USAGE
    return int(code or 0)


def _explain(error: Any) -> None:
    """What click found wrong with the command line, as one line; a command without arguments prints its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    command = getattr(getattr(error, "ctx", None), "command_path", "affectkit")
    message = " ".join(error.format_message().split()).removesuffix(".")
    if type(error).__name__ == "MissingParameter" and (what := getattr(error.param, "help", "")):
        message += f": {what}"
    _say(f"{command}: {message} (see {command} --help)")


def _kept() -> str:
    """What is kept of the command that was called."""
    from affectkit.cli._app import commands, kept

    words = sys.argv[1:]
    called = next((word for word in words if word in commands()), None)
    text = kept(called, words) if called and not {"-h", "--help"} & set(words) else ""
    return f"; {text}" if text else ""


@contextmanager
def _notices_as_notes() -> Iterator[None]:
    """Print our notices as notes, and any other warning as before."""
    before = warnings.showwarning

    def show(message: Any, category: Any, *where: Any, **more: Any) -> None:
        if issubclass(category, Notice):
            hear(str(message))
            _say(f"note: {message}")
        else:
            before(message, category, *where, **more)

    forget()
    warnings.showwarning = show
    warnings.filterwarnings("always", category=Notice)
    try:
        yield
    finally:
        warnings.showwarning = before


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
