"""Continuous traces: `time` and a column a value, as NOVA, CARMA and DARMA exchange them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from affectkit.annotations.tiers import TimedRows

_TOUCHING = 1e-6  # s


def traces_text(rows: TimedRows, columns: Sequence[str]) -> str:
    """A whole file: a row's values hold from its `time` (s) until that of the next row, and a cell without a value is
    empty. Where nothing is known between two rows, and at the end, there is a row of empty cells."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["time", *columns])
    following = np.append(rows.start[1:], np.inf)
    for start, end, after, values in zip(rows.start, rows.end, following, rows.values, strict=True):
        writer.writerow([str(float(start)), *("" if np.isnan(value) else str(float(value)) for value in values)])
        if np.isfinite(end) and after - end > _TOUCHING:
            writer.writerow([str(float(end)), *[""] * len(columns)])
    return file.getvalue()
