"""Where windows lie over rows, samples or seconds: one of length `window` every `hop`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from affectkit.moments import TICK

Last = Literal["cut", "back", "rest"]


def starts(reach: float, window: float, hop: float, last: Last, least: float = 0) -> Any:
    """[W] where windows begin, at least one: window k at k * hop. All in one unit: rows, samples or seconds.

    `reach` is the last thing that they hold: the number of a row or sample counted from 0, or the middle of a row (s).
    Where they end, by `last`:

    - `cut`: with the first that holds `reach`, however little else; none begins beyond it.
    - `back`: with that one too, moved back to end right after `reach`, so that all windows are full (rows, samples).
    - `rest`: with the last that begins with `least` rows or samples left.

    >>> starts(9, 4, 3, "cut").tolist(), starts(9, 4, 3, "back").tolist(), starts(9, 4, 3, "rest", least=1).tolist()
    ([0, 3, 6], [0, 3, 6], [0, 3, 6, 9])
    >>> starts(8, 4, 3, "cut").tolist(), starts(8, 4, 3, "back").tolist(), starts(8, 4, 3, "rest", least=4).tolist()
    ([0, 3, 6], [0, 3, 5], [0, 3])
    """
    if last == "rest":
        return hop * np.arange(1 + int(max(0, reach + 1 - least) // hop))
    begins = hop * np.arange(int(reach / hop) + 2)
    if last == "back":
        end = max(0, reach + 1 - window)
        return np.append(begins[begins < end], end)
    holding = int(np.searchsorted(begins + window - TICK, reach, side="right")) + 1
    within = int(np.searchsorted(begins - TICK, reach, side="right"))
    return begins[: max(1, min(holding, within))]
