"""What is told while work goes on: in one style, on a terminal and in a log."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from conftest import Command
from stage_factory import face_clips

from affectkit import progress
from affectkit.downloads import fetching
from affectkit.plugins import Epoch
from affectkit.progress import Display, chosen, display, doing, part_of
from affectkit.stages.sink import Meter, meter
from affectkit.stages.tune import watched

EXTRACT = ["extract", "faces", "clips", "--detector", "centerface", "--size", "32", "--device", "cpu"]
EVERY_LINE = "import affectkit.progress as p; p.SECONDS = p.GRACE = 0; from affectkit.cli import main; main()"


class Noted(Display):
    """Keeps what it is told."""

    silent = False

    def __init__(self) -> None:
        self.shares: list[float | None] = []
        self.notes: list[str] = []

    def show(self, share: float | None, note: str) -> None:
        self.shares.append(share)
        self.notes.append(note)

    def say(self, note: str) -> None:
        self.notes.append(note)


@pytest.fixture
def every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    monkeypatch.setattr(progress, "GRACE", 0.0)


def on_a_terminal(command: list[str], folder: Path, environment: dict[str, str], columns: int = 200) -> tuple[str, str]:
    """What a process shows on its terminal of so many columns, and its stdout."""
    terminal, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = {name: value for name, value in environment.items() if name not in ("COLUMNS", "NO_COLOR")}
    shell = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=side, env=given)
    os.close(side)
    shown = b"".join(_read(terminal))
    out, _ = shell.communicate(timeout=120)
    os.close(terminal)
    assert shell.returncode == 0, shown.decode()
    return shown.decode(), out.decode()


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            return
        if not block:
            return
        yield block


# How far it is


def test_one_long_clip_moves_by_its_rows() -> None:
    shown = Noted()
    counter = Meter("frames", 1, None, shown)
    assert shown.shares == [None]
    counter.expect(40)
    for _ in range(4):
        counter.advance(rows=10)
    assert shown.shares[1:] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert re.fullmatch(r"20 of about 40 frames, [\d,.]+ frames/s", shown.notes[3])
    counter.advance(clips=1)
    assert shown.shares[-1] == 1.0


def test_more_rows_than_expected_are_no_more_than_all() -> None:
    shown = Noted()
    counter = Meter("frames", 1, None, shown)
    counter.expect(10)
    counter.advance(rows=25)
    assert (shown.shares[-1], shown.notes[-1].split(",")[0]) == (1.0, "25 of about 25 frames")


def test_a_clip_of_unknown_length_is_counted_without_a_share() -> None:
    shown = Noted()
    counter = Meter("frames", 1, None, shown)
    counter.advance(rows=25)
    assert shown.shares == [None, None]
    assert shown.notes[-1].startswith("25 frames, ")


def test_several_clips_count_with_the_share_of_the_one_under_way() -> None:
    shown = Noted()
    counter = Meter("frames", 4, None, shown)
    counter.advance(rows=10, clips=1)
    counter.expect(100)
    counter.advance(rows=50)
    assert shown.shares[-1] == pytest.approx(1.5 / 4)
    assert shown.notes[-1].startswith("1 of 4 clips, 60 frames, ")
    counter.advance(clips=1, failed=1)
    assert shown.shares[-1] == 0.5
    assert shown.notes[-1].endswith(", 1 failed")


def test_where_all_rows_are_known_they_are_the_measure() -> None:
    shown = Noted()
    counter = Meter("crops", 2, 1000, shown)
    counter.advance(rows=900, clips=1)
    assert shown.shares[-1] == 0.9
    assert "900 of about 1,000 crops" in shown.notes[-1]


def test_a_share_stands_for_rows_that_come_all_at_once() -> None:
    shown = Noted()
    counter = Meter("rows", 1, None, shown)
    counter.reach(0.5)
    assert shown.shares[-1] == 0.5


def test_the_time_left_follows_from_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    left = progress._Left()
    assert left(0.0) == ""
    now[0] += 30
    assert left(0.25) == "about 1 min 30 s left"
    assert left(None) == "" and left(1.0) == ""


# In a log


@pytest.mark.parametrize("asked", [True, None])
def test_a_log_gets_a_line_at_the_start_and_then_only_now_and_then(
    asked: bool | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with meter("extract faces", 100, "frames", asked) as counter:
        for _ in range(100):
            now[0] += 1.0
            counter.advance(rows=20, clips=1)
    lines = capsys.readouterr().err.splitlines()
    if asked:
        assert lines[:2] == [
            "extract faces: 0 of 100 clips",
            "extract faces: 30 of 100 clips, 600 frames, 20 frames/s, about 1 min 10 s left",
        ]
    else:  # what is over in a moment is not told
        assert lines[0] == "extract faces: 10 of 100 clips, 200 frames, 20 frames/s, about 1 min 30 s left"
    assert len(lines) == 1 + 100 // 30


def test_what_takes_long_to_begin_is_told_after_a_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "GRACE", 0.05)
    with doing("embed resnet50", "loading resnet50"):
        time.sleep(0.5)
    with doing("embed resnet18", "loading resnet18"):
        pass
    time.sleep(0.2)
    assert capsys.readouterr().err == "embed resnet50: loading resnet50 ...\n"


@pytest.mark.usefixtures("every_line")
def test_all_work_is_told_in_one_style(capsys: pytest.CaptureFixture[str]) -> None:
    with part_of("step 4 of 16"), watched("static", "crops", 2, None) as steps:
        steps.step(1, 1, 2, 32, 0.5)
        steps.epoch(Epoch(epoch=1, epochs=2, loss=0.5, score=0.25, best=0.25, learning_rate=None, seconds=1.0))
        steps.step(2, 2, 2, 32, 0.5)
    with fetching("centerface") as tell:
        tell(500_000, 2_000_000)
        tell(500_000, None)
    with doing("embed resnet50", "loading resnet50"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 4 of 16, finetune static: epoch 1 of 2"
    assert re.match(r"step 4 of 16, finetune static: epoch 2 of 2, loss 0.500, val 0.250, best 0.250, ", lines[2])
    assert lines[3:5] == ["fetch centerface: 0.5 of 2.0 MB", "fetch centerface: 0.5 MB"]
    assert lines[5] == "embed resnet50: loading resnet50 ..."


@pytest.mark.parametrize("how", ["asked", "chosen", "closed"])
def test_nothing_is_told_where_nobody_wants_it(
    how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "closed":
        monkeypatch.setattr(sys, "stderr", None)
    with chosen(False if how == "chosen" else None), display("x", False if how == "asked" else None) as shown:
        assert shown.silent
        shown.show(0.5, "note")
        shown.say("note")
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_the_hubs_downloads_are_told_as_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    from affectkit.downloads import hub_progress

    told: list[tuple[int, int | None]] = []
    bar = hub_progress(lambda done, total: told.append((done, total))).get("tqdm_class")
    if bar is None:
        pytest.skip("this huggingface_hub draws its own")
    with bar(total=10, initial=2, desc="model", unit="B", name="huggingface_hub.http_get") as one:
        one.update(3)
    assert told == [(5, 10)]
    assert capsys.readouterr().err == ""


# The commands


def test_a_redirected_command_says_where_it_is_and_ends_with_a_summary(child: Command, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a", "b"], frames=4)
    done = child(*EXTRACT)
    summary = r"2 clips computed, 0 cached, 0 failed, [\d,.]+ frames/s"
    assert re.fullmatch(summary, done.stderr.splitlines()[-1])
    assert done.stdout.count("\n") == 1
    asked = child(*EXTRACT, "--progress", "--cache", "asked").stderr.splitlines()
    assert asked[:2] == ["extract faces: 0 of 2 clips", "extract faces: loading centerface ..."]
    assert re.fullmatch(summary, asked[-1])
    note, summary = child(*EXTRACT).stderr.splitlines()
    assert note.startswith("note: ") and summary == "0 clips computed, 2 cached, 0 failed"
    assert child(*EXTRACT, "--no-progress", "--cache", "other").stderr == note + "\n"  # what clips hold is no progress


def test_a_long_clip_in_a_log_moves_within_it(tmp_path: Path, environment: dict[str, str]) -> None:
    face_clips(tmp_path / "clips", ["a"], frames=30)
    done = subprocess.run(
        [sys.executable, "-c", EVERY_LINE, *EXTRACT, "--fps", "native"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [int(found[1]) for found in re.finditer(r"(\d+) of about 30 frames", done.stderr)]
    assert rows == sorted(rows) and set(range(1, 31)) <= set(rows)
    assert re.search(r"15 of about 30 frames, [\d.,]+ frames/s, about \d+ s left", done.stderr)


@pytest.mark.parametrize(("columns", "terminal"), [(200, "xterm-256color"), (20, "xterm"), (80, "dumb")])
def test_a_terminal_of_any_kind(columns: int, terminal: str, tmp_path: Path, environment: dict[str, str]) -> None:
    face_clips(tmp_path / "clips", ["a"], frames=4)
    command = [sys.executable, "-m", "affectkit", *EXTRACT]
    shown, out = on_a_terminal(command, tmp_path, environment | {"TERM": terminal}, columns)
    assert out.count("\n") == 1
    assert "Traceback" not in shown and "1 clips computed, 0 cached, 0 failed" in shown
    if columns == 200:
        assert "extract faces" in shown and "━" in shown and "frames" in shown
    if terminal == "dumb":
        assert "\x1b" not in shown


class Notebook:
    """The two modules of IPython that a kernel has loaded, and the lines below a cell as they change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kernel: object) -> None:
        self.lines: list[list[str]] = []
        whole, part = ModuleType("IPython"), ModuleType("IPython.display")
        whole.get_ipython = lambda: SimpleNamespace(kernel=kernel)  # type: ignore[attr-defined]
        part.display = self.put  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", whole)
        monkeypatch.setitem(sys.modules, "IPython.display", part)
        monkeypatch.setattr(progress, "BLINK", 0.0)

    def put(self, data: dict[str, str], *, raw: bool, display_id: bool) -> SimpleNamespace:
        assert raw and display_id
        self.lines.append([data["text/plain"]])
        line = self.lines[-1]
        return SimpleNamespace(update=lambda data, raw: line.append(data["text/plain"]))


def test_a_notebook_has_one_line_that_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = Notebook(monkeypatch, object())
    with meter("embed x", 2, "rows") as counter:
        counter.say("loading x")
        counter.advance(rows=3, clips=1)
        with display("inside") as inside:
            assert inside.silent
        counter.advance(rows=3, clips=1)
    (line,) = notebook.lines
    assert line[:2] == ["embed x: 0%, 0 of 2 clips", "embed x: loading x ..."]
    assert line[2].startswith("embed x: 50%, 1 of 2 clips, 3 rows, ")
    assert line[-1].startswith("embed x: 100%, 2 of 2 clips, 6 rows, ")
    assert capsys.readouterr().err == ""
    with doing("embed x", "loading"):
        pass
    assert notebook.lines[1] == ["embed x: loading ...", ""]  # nothing is left of what only took a while
    with display("embed x", show=False) as nothing:
        assert nothing.silent
    assert len(notebook.lines) == 2


def test_a_notebooks_line_does_not_flicker_and_ends_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(monkeypatch, object())
    monkeypatch.setattr(progress, "BLINK", 1000.0)
    with display("train") as shown:
        for step in range(100):
            shown.show(step / 99, f"epoch {step}")
    assert [len(line) for line in notebook.lines] == [2] and notebook.lines[0][1] == "train: 100%, epoch 99"


def test_ipython_on_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch, every_line: None) -> None:
    notebook = Notebook(monkeypatch, None)
    with display("embed x", show=True) as shown:
        shown.show(0.5, "1 of 2 clips")
    assert notebook.lines == []
