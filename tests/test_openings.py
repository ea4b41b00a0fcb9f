"""Tables of mouth openings: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectkit.errors import UsageError
from affectkit.tables.openings import read_openings
from affectkit.types import Openings


@pytest.fixture
def read(tmp_path: Path):
    def read_text(text: str) -> dict[str, Openings]:
        path = tmp_path / "mouth.csv"
        path.write_bytes(text.encode())
        return read_openings(path)

    return read_text


def test_rows_are_sorted_by_clip_and_time(read) -> None:
    found = read(
        "\ufeffOpening,clip,start,end,note\r\n0.3,b#1,1,1.5,x\r\n0.2,a,0,1,\r\n0.1,b#1,0,1,\r\n,b#1,4,5,\r\n\r\n"
    )
    assert list(found) == ["a", "b#1"]
    np.testing.assert_array_equal(found["b#1"].start, [0, 1, 4])
    np.testing.assert_array_equal(found["b#1"].end, [1, 1.5, 5])
    np.testing.assert_array_equal(found["b#1"].opening, [0.1, 0.3, np.nan])
    assert len(found["a"]) == 1


@pytest.mark.parametrize("cell", ["", " ", "NaN", "NA", "none"])
def test_an_empty_cell_is_unknown(read, cell: str) -> None:
    found = read(f"clip,start,end,opening\na,0,1,{cell}\na,1,2,0\n")["a"].opening
    assert np.isnan(found[0]) and found[1] == 0


def test_empty_times_are_the_ends_of_the_clip(read) -> None:
    found = read("clip,start,end,opening\na,,1,0.5\na,1,,0.7\n")["a"]
    assert found.start.tolist() == [0, 1] and found.end.tolist() == [1, np.inf]


def test_rounded_times_may_overlap_by_a_millisecond(read) -> None:
    assert len(read("clip,start,end,opening\na,0,0.034,1\na,0.033,0.067,2\n")["a"]) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clip,start,end\na,0,1\n", "no column opening"),
        ("clip,opening\na,1\n", "no column start, end"),
        ("clip,start,end,opening\n", "no rows"),
        ("clip,start,end,opening\na,0,1,wide\n", "mouth.csv:2: .*wide"),
        ("clip,start,end,opening\na,0,1,0.5\na,1,2,inf\n", "mouth.csv:3: opening is inf"),
        ("clip,start,end,opening\na,0,1,0.5\n\na,2,2,0.5\n", "mouth.csv:4: start 2, end 2"),
        ("clip,start,end,opening\na,-1,1,0.5\n", "mouth.csv:2: start -1"),
        ("clip,start,end,opening\na,0,1,0.5\nb,0,1,0.5\na,0.5,2,0.5\n", "mouth.csv:4: .*'a' has two .*line 2"),
        ("clip,start,end,opening\n../a,0,1,0.5\n", "mouth.csv:2: clip id"),
        ("clip,start,end,opening\na,0,1\n", "mouth.csv:2"),
    ],
)
def test_bad_tables_are_refused_with_their_line(read, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(text)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv"):
        read_openings(tmp_path / "none.csv")
