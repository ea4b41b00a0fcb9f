"""Reading a submission back: what it says of each of its rows."""

from __future__ import annotations

from pathlib import Path

from affectkit.errors import UsageError
from affectkit.submissions.check import check
from affectkit.submissions.formats import Format
from affectkit.submissions.template import Template, read_template
from affectkit.types import Floats


def read_submission(path: Path, format: Format) -> tuple[Template, Floats]:
    """The rows of a file, and their scores [N,K]: values as printed, 0 and 1 for labels, 1 for the class named.

    Raises UsageError for a file with anything wrong in it.
    """
    rows = read_template(path, format)
    found = check(path, rows)
    if not found.good:
        raise UsageError(f"{path} is no {format.name} submission: {'; '.join(map(str, found.problems))}")
    return rows, found.scores
