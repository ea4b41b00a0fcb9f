"""Writing a submission: the template's rows in the template's order, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from affectkit.metrics import THRESHOLD
from affectkit.store.atomic import atomically, explained
from affectkit.store.upkeep import remove_dead
from affectkit.submissions.formats import Format
from affectkit.submissions.template import Template
from affectkit.types import Bools, Floats

_AT_ONCE = 1 << 16


def write_submission(
    path: Path, template: Template, scores: Floats, *, digits: int = 6, threshold: float = THRESHOLD
) -> None:
    """Write scores [N,K], a row for each of the template's. Values get `digits` decimals; classes are the place of the
    highest score; labels are 1 from `threshold` on.

    Raises ValueError for scores that are not finite or, as they would be printed, out of the format's range.
    """
    format = template.format
    if scores.shape != (len(template), len(format.columns)):
        raise ValueError(f"scores are [{len(template)},{len(format.columns)}], not {list(scores.shape)}")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    if outside(format, scores, digits).any():
        raise ValueError(f"a score is beyond [{format.low:g}, {format.high:g}]")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_dead(path)
    with atomically(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.write(format.header + "\n")
        for first in range(0, len(template), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            rows = zip(template.names[part], _cells(format, scores[part], digits, threshold), strict=True)
            file.writelines(f"{name},{cells}\n" for name, cells in rows)


def outside(format: Format, scores: Floats, digits: int) -> Bools:
    """[N] rows with a value that would be printed out of range; classes and labels have no range of their own."""
    if format.cells != "values":
        return np.zeros(len(scores), bool)
    printed = np.round(scores, digits)
    return np.asarray(((printed < format.low) | (printed > format.high)).any(axis=1))


def _cells(format: Format, scores: Floats, digits: int, threshold: float) -> Iterator[str]:
    if format.cells == "class":
        yield from (str(place) for place in scores.argmax(axis=1).tolist())
    elif format.cells == "labels":
        yield from (",".join("1" if there else "0" for there in row) for row in (scores >= threshold).tolist())
    else:
        printed = np.round(np.asarray(scores, np.float64), digits) + 0.0  # no -0.000000
        yield from (",".join(f"{value:.{digits}f}" for value in row) for row in printed.tolist())
