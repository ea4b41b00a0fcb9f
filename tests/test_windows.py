"""Windows over rows, samples and seconds lie by one rule; what differs is where the last one ends."""

from __future__ import annotations

import numpy as np
import pytest

from affectkit.functionals import windows
from affectkit.learning.windows import slide
from affectkit.speech.windows import Windowing
from affectkit.windows import starts

SIZES = [(count, window, hop) for count in (1, 3, 4, 9, 10, 11) for window in (1, 3, 4) for hop in (1, 2, 3, 4, 7)]


@pytest.mark.parametrize(("count", "window", "hop"), SIZES)
def test_starts_are_their_definition(count: int, window: int, hop: int) -> None:
    grid = list(range(0, 3 * count, hop))
    reaching = next(at for at in grid if at + window >= count)
    assert starts(count - 1, window, hop, "cut").tolist() == [at for at in grid if at <= reaching and at < count]
    end = max(0, count - window)
    assert starts(count - 1, window, hop, "back").tolist() == [at for at in grid if at < end] + [end]
    for least in (1, 2, window):
        rest = [at for at in grid if at == 0 or count - at >= least]
        assert starts(count - 1, window, hop, "rest", least).tolist() == rest


@pytest.mark.parametrize(("count", "window", "hop"), [size for size in SIZES if size[2] <= size[1] <= size[0]])
def test_rows_samples_and_seconds_agree(count: int, window: int, hop: int) -> None:
    """The windows that are full are the same for heads, sound and functionals."""
    full = list(range(0, count - window + 1, hop))
    rows = slide(np.array([0, count]), window, hop)
    assert [at for at in rows.rows[rows.offsets[:-1]].tolist() if at % hop == 0] == full
    heard = Windowing(window / 10, hop / 10, window / 10, True).cut(count, 10)
    assert [one.start for one in heard] == full
    time = np.arange(count) / 10
    cut = windows(time, time + 0.1, window / 10, hop / 10)
    assert [
        first for first, last in zip(cut.first.tolist(), cut.last.tolist(), strict=True) if last - first == window
    ] == full
