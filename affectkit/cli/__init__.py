"""The `affectkit` command: what it can be called with, and how its process begins and ends.

Nothing is imported here but what Python has loaded anyway, so that Ctrl-C is answered from the first moment on. Typer
comes with `main`; a command's module, and with it numpy, pydantic and the stages, when the command is called.
"""

import sys

INTERRUPTED = 130


def main(standalone: bool = True) -> None:
    """Run the command line and exit: 2 and one line on stderr for what a user can mend, 130 for Ctrl-C.

    `standalone`: the process ends with it, so a signal that comes after the last line changes nothing any more.
    """
    try:
        from affectkit.cli._process import run

        code = run(standalone)
    except KeyboardInterrupt:  # while that was imported, or while an earlier one was answered
        if sys.stderr is not None:
            print("affectkit: interrupted", file=sys.stderr)
        code = INTERRUPTED
    # An interrupt within code that is run from text (of a dataclass, say) makes Python end itself by SIGINT, whatever
    # became of it, unless other such code is run after it.
    exec("")
    sys.exit(code)
