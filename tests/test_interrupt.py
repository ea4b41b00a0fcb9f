"""Ctrl-C and its like, at whatever moment: one line, no traceback, and an exit code that says so."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, child_environment
from stage_factory import face_clips

from affectkit.cli._interrupt import Signals, Terminated, interrupts_kept
from affectkit.stages.map_stage import MapStage
from affectkit.store import Artifact

FACES = ["extract", "faces", "clips", "--detector", "centerface", "--size", "32", "--device", "cpu", "--fps", "native"]
LINES = {
    "--help": ["--help"],
    "extract": FACES,
    "embed": ["embed", "nowhere", "--backbone", "resnet18"],
    "train-head": ["train-head", "nowhere", "--labels", "va.csv", "--task", "va"],
    "export": ["export", "nowhere"],
    "run --dry-run": ["run", "eri-2023", "--tiny", "--dry-run"],
    "demo": ["demo", "somewhere"],
}
AT_AN_IMPORT = """
import os, signal, sys
at, count = int(sys.argv.pop(1)), 0
class Finder:
    def find_spec(self, name, path=None, target=None):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from affectkit.cli import main
main()
"""
"""Ctrl-C when so many modules were looked for; the first two are affectkit and affectkit.cli, which import nothing."""
AT_ROWS = """
import os, signal, sys
from affectkit.stages import sink
number, at, rows, plain = getattr(signal, sys.argv.pop(1)), int(sys.argv.pop(1)), 0, sink.Sink.count
sink._COMMIT_SECONDS = 0
def count(self, more, clip=""):
    global rows
    plain(self, more, clip)
    rows += more
    if rows == at:
        os.kill(os.getpid(), number)
sink.Sink.count = count
from affectkit.cli import main
main()
"""
AT_THE_LAST_LINE = """
import os, signal, typer
plain = typer.echo
def echo(*given, **more):
    plain(*given, **more)
    os.kill(os.getpid(), signal.SIGINT)
typer.echo = echo
from affectkit.cli import main
main()
"""


class Thing:
    pass


class Dying:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def in_a_weak_reference() -> None:
    thing = Thing()
    kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert kept() is None


def in_a_destructor() -> None:
    Dying()


@pytest.mark.parametrize("somewhere", [in_a_weak_reference, in_a_destructor])
def test_an_interrupt_that_python_ignores_comes_again(somewhere: Callable[[], None]) -> None:
    reached = None
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        somewhere()
        reached = time.monotonic()
        time.sleep(10)
    assert reached is not None, "Python did not ignore it"
    assert time.monotonic() - reached < 5


def test_one_that_is_ignored_twice_comes_a_third_time() -> None:
    class Slow:
        def __del__(self) -> None:
            Dying()
            time.sleep(0.2)  # the second comes here

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        Slow()
        time.sleep(10)
    assert time.monotonic() - started < 5


def test_other_ignored_errors_are_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    with interrupts_kept():
        Broken()
    assert [entry.exc_type for entry in shown] == [ValueError]
    assert sys.unraisablehook == shown.append


# The command


def python(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=child_environment(folder), capture_output=True,
        text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def check(done: subprocess.CompletedProcess[str]) -> None:
    """Interrupted and said so, or it was over."""
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1] if done.stderr else ""
    assert (done.returncode == 130) == last.startswith("affectkit: interrupted"), (done.returncode, done.stderr)
    assert done.returncode in (0, 2, 130), done.stderr


def finished(folder: Path) -> set[str]:
    """Ids of the clips that are done, sealed or not."""
    return {clip for clip, _ in Artifact(folder).finished()}


@pytest.mark.parametrize("at", [3, 20, 150])
@pytest.mark.parametrize("name", ["--help", "embed"])
def test_while_modules_are_imported(name: str, at: int, tmp_path: Path) -> None:
    check(python(AT_AN_IMPORT, str(at), *LINES[name], folder=tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LINES)
def test_while_any_module_is_imported(name: str, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a"], frames=1)
    at, codes = 3, set()
    while True:
        done = python(AT_AN_IMPORT, str(at), *LINES[name], folder=tmp_path)
        check(done)
        codes.add(done.returncode)
        if done.returncode != 130:
            break
        at += max(1, at // 6)
    assert 130 in codes


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", LINES)
def test_at_any_moment(name: str, number: signal.Signals, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a", "b"], frames=20)
    delay, ended = 0.01, False
    while not ended and delay < 30:
        child = subprocess.Popen(
            [sys.executable, "-m", "affectkit", *LINES[name]], cwd=tmp_path, env=child_environment(tmp_path),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(delay)
        child.send_signal(number)
        _, err = child.communicate(timeout=120)
        if delay < 0.05 and "affectkit: " not in err and child.returncode in (-number, 1):
            pass  # Python itself was starting, and had not come to our code
        else:
            assert "Traceback" not in err and "ignored" not in err, err
            assert child.returncode in (0, 2, 128 + number), err
            ended = child.returncode in (0, 2)
        delay *= 1.25
    assert ended


def test_finished_clips_are_kept_and_said_to_be(tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a", "b", "c"], frames=4)
    done = python(AT_ROWS, "SIGINT", "6", *FACES, folder=tmp_path)
    check(done)
    assert done.returncode == 130 and done.stderr.splitlines()[-1] == f"affectkit: interrupted; {MapStage.kept}"
    (folder,) = (tmp_path / "cache" / "faces").glob("centerface-*")
    assert "a" in finished(folder) and "c" not in finished(folder)
    assert Command(tmp_path, child_environment(tmp_path))(*FACES).returncode == 0


def test_a_process_that_is_asked_to_end_keeps_what_it_has(tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a", "b", "c"], frames=4)
    done = python(AT_ROWS, "SIGTERM", "6", *FACES, folder=tmp_path)
    assert (done.returncode, done.stdout) == (143, ""), done.stderr
    assert done.stderr.splitlines()[-1] == f"affectkit: ended by SIGTERM; {MapStage.kept}"
    (folder,) = (tmp_path / "cache" / "faces").glob("centerface-*")
    assert "a" in finished(folder)
    assert [path.name for path in folder.rglob("*") if path.name.startswith(".") and path.suffix == ".h5"] == []


def test_at_the_last_line(tmp_path: Path) -> None:
    done = python(AT_THE_LAST_LINE, "list", "tasks", folder=tmp_path)
    check(done)
    assert (done.returncode, done.stdout.startswith("va\t")) == (130, True)


def test_signals_that_are_ignored_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals(last=False) as signals:
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(Terminated):
                signal.raise_signal(signal.SIGTERM)
            signals.close()
            signal.raise_signal(signal.SIGINT)
        assert (signals.first, signals.code) == ("SIGTERM", 143)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# Streams


@pytest.mark.parametrize("line", [["--help"], ["list", "heads"], ["weights", "list"]])
def test_a_reader_that_leaves_is_no_error(line: list[str], tmp_path: Path) -> None:
    left, right = subprocess.Popen(["true"], stdin=subprocess.PIPE), None
    left.wait()
    right = subprocess.run(
        [sys.executable, "-m", "affectkit", *line], stdout=left.stdin, stderr=subprocess.PIPE, text=True,
        env=child_environment(tmp_path), cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (right.returncode, right.stderr) == (141, "")


@pytest.mark.parametrize(
    ("redirected", "code", "words"),
    [
        (">/dev/full", 2, "stdout cannot be written (No space left on device)"), (">&-", 0, ""), ("2>&-", 0, ""),
        (">&- 2>&- <&-", 0, ""), ("2>/dev/full", 0, ""),
    ],
)  # fmt: skip
def test_streams_that_take_nothing(redirected: str, code: int, words: str, tmp_path: Path) -> None:
    if "/dev/full" in redirected and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    face_clips(tmp_path / "clips", ["a"], frames=2)
    for line in ("list heads", " ".join(FACES)):
        done = subprocess.run(
            ["bash", "-c", f'"$0" -m affectkit {line} {redirected}', sys.executable], cwd=tmp_path, text=True,
            env=child_environment(tmp_path), capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert words in done.stderr
    (folder,) = (tmp_path / "cache" / "faces").glob("centerface-*")
    assert Artifact(folder).clips == ["a"]


def test_text_that_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["Zoë"], frames=1)
    command = [sys.executable, "-m", "affectkit", *FACES]
    plain = child_environment(tmp_path) | {"LC_ALL": "C", "AFFECTKIT_CACHE": str(tmp_path / "Zoë")}
    done = subprocess.run(command, env=plain, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    made = Artifact(Path(done.stdout.strip().decode()))
    assert made.clips == ["Zoë"]
    never = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # then the letters of file names are bytes
    done = subprocess.run(command, env=plain | never, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert Artifact(made.folder).clips == ["Zo%C3%AB", "Zoë"]
    done = subprocess.run(
        [sys.executable, "-m", "affectkit", "embed", "Zoë", "--backbone", "x"], cwd=tmp_path, capture_output=True,
        env=child_environment(tmp_path) | {"PYTHONIOENCODING": "ascii"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and b"Zo\\xeb is not an artifact" in done.stderr, done.stderr
