"""Damaged media, artifacts and tables: read, or refused in one line, within limits of time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fuzz_cases
import pytest

MOST_MB = 1000  # resident, of which 250 are the libraries


def run_cases(kind: str, originals: Path, first: int, count: int) -> tuple[list[str], float, int]:
    """What went wrong, the longest time of a case (s) and the most memory (MB). A process that a case takes down is
    followed by another, which goes on behind it."""
    problems, slowest, largest, end = [], 0.0, 0, first + count
    while first < end:
        worker = subprocess.run(
            [sys.executable, "-W", "ignore", fuzz_cases.__file__, kind, str(originals), str(first), str(end - first)],
            capture_output=True, text=True,
        )  # fmt: skip
        lines = [json.loads(line) for line in worker.stdout.splitlines()]
        ended = [line for line in lines if "end" in line]
        problems += [f"{kind} {line['end']}: {line['problem']}" for line in ended if line["problem"]]
        slowest = max([slowest, *(line["s"] for line in ended)])
        largest = max([largest, *(line["mb"] for line in ended)])
        begun = [line["begin"] for line in lines if "begin" in line]
        if worker.returncode == 0 and len(ended) == end - first:
            break
        assert begun, worker.stderr[-2000:]
        problems.append(f"{kind} {begun[-1]}: the process ended with {worker.returncode}: {worker.stderr[-300:]}")
        first = begun[-1] + 1
    return problems, slowest, largest


@pytest.mark.parametrize(("kind", "count"), [("media", 80), ("artifacts", 60), ("tables", 60)])
def test_damaged_files_are_read_or_refused(kind: str, count: int, tmp_path: Path) -> None:
    originals = fuzz_cases.make_originals(kind, tmp_path / "originals")
    problems, _, largest = run_cases(kind, originals, 0, count)
    assert not problems, "\n".join(problems)
    assert largest < MOST_MB


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "count"), [("media", 2000), ("artifacts", 1500), ("tables", 1500)])
def test_many_damaged_files(kind: str, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    originals = fuzz_cases.make_originals(kind, tmp_path / "originals")
    problems, slowest, largest = run_cases(kind, originals, 1000, count)
    with capsys.disabled():
        print(f"\n{kind}: {count} cases, {len(problems)} problems, slowest {slowest:.1f} s, most memory {largest} MB")
    assert not problems, "\n".join(problems)
    assert largest < MOST_MB


def test_the_same_number_is_the_same_damage(tmp_path: Path) -> None:
    originals = fuzz_cases.make_originals("tables", tmp_path / "originals")
    first, second = (fuzz_cases.damaged("tables", originals, 7, tmp_path / name).read_bytes() for name in "ab")
    assert first == second
