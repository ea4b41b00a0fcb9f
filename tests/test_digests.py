"""The memo of file digests: right, quick on a second look, and never trusted when a file has changed."""

import hashlib
import os
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from affectkit import digests
from affectkit.digests import Digests, sha256_file
from affectkit.errors import Notice, UsageError
from affectkit.tables.predictions import identity


@pytest.fixture
def memo(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "digests.sqlite"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file whose bytes are read."""
    seen: list[Path] = []

    def read(path: Path) -> str:
        seen.append(path)
        return sha256_file(path)

    monkeypatch.setattr(digests, "sha256_file", read)
    return seen


def test_digest_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    data = os.urandom(3_000_000)
    file.write_bytes(data)
    assert sha256_file(file) == hashlib.sha256(data).hexdigest()


def test_second_look_reads_nothing(tmp_path: Path, memo: Path, reads: list[Path]) -> None:
    files = [tmp_path / f"clip {n}.mp4" for n in range(5)]
    for file in files:
        file.write_text(file.name)
    first = Digests(memo).many(files)
    assert first == {file: hashlib.sha256(file.name.encode()).hexdigest() for file in files}
    assert reads == files
    assert Digests(memo).many(files) == first
    assert reads == files


def test_only_what_changed_is_read_again(tmp_path: Path, memo: Path, reads: list[Path]) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    same.write_text("same")
    other.write_text("old")
    Digests(memo).many([same, other])
    other.write_text("new")
    os.utime(other, ns=(0, 12345))  # same size: the time alone tells
    reads.clear()
    assert Digests(memo).many([same, other])[other] == hashlib.sha256(b"new").hexdigest()
    assert reads == [other]


def test_rehash_does_not_trust_the_memo(tmp_path: Path, memo: Path) -> None:
    file = tmp_path / "forged"
    file.write_text("old")
    os.utime(file, ns=(7, 7))
    Digests(memo)(file)
    file.write_text("new")
    os.utime(file, ns=(7, 7))
    assert Digests(memo)(file) == hashlib.sha256(b"old").hexdigest()
    assert Digests(memo, rehash=True)(file) == hashlib.sha256(b"new").hexdigest()
    assert Digests(memo)(file) == hashlib.sha256(b"new").hexdigest()


def test_names_that_are_not_utf8(tmp_path: Path, memo: Path, reads: list[Path]) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.mp4"))
    file.write_bytes(b"x")
    for _ in range(2):
        assert Digests(memo)(file) == hashlib.sha256(b"x").hexdigest()
    assert reads == [file]


def test_two_processes_share_one_memo(tmp_path: Path, memo: Path, reads: list[Path]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    first, second = Digests(memo), Digests(memo)
    first(one)
    second(two)
    assert first(two) == hashlib.sha256(b"2").hexdigest()
    assert reads == [one, two]


def test_missing_file_is_an_os_error(tmp_path: Path, memo: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Digests(memo)(tmp_path / "none")


def test_a_digest_of_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        with pytest.raises(OSError, match="not a regular file"):
            sha256_file(tmp_path / name)
        with pytest.raises(UsageError, match=f"cannot read .*{name}: not a regular file"):
            identity(tmp_path / name)


def test_pipe_is_refused_at_once(tmp_path: Path, memo: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Digests(memo)(tmp_path / "pipe")


def _database(*statements: str) -> Callable[[Path], None]:
    def make(memo: Path) -> None:
        with closing(sqlite3.connect(memo)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return make


def _linked(memo: Path) -> None:
    Digests(memo.parent / "victim.sqlite")(memo.parent / "clip")
    memo.symlink_to("victim.sqlite")


def _linked_journal(memo: Path) -> None:
    (memo.parent / "victim.sqlite").write_text("precious")
    Path(f"{memo}-journal").symlink_to("victim.sqlite")
    memo.touch()


UNUSABLE: dict[str, Callable[[Path], Any]] = {
    "garbage": lambda memo: memo.write_bytes(b"this is not SQLite at all, but long enough to be looked at " * 40),
    "cut off": lambda memo: memo.write_bytes(b"SQLite format 3\0"),
    "folder": lambda memo: memo.mkdir(),
    "pipe": os.mkfifo,
    "link": _linked,
    "linked journal": _linked_journal,
    "other table": _database("CREATE TABLE digest (a INTEGER)"),
    "other database": _database("CREATE TABLE stories (a TEXT)"),
    "endless view": _database(
        "CREATE VIEW digest AS WITH RECURSIVE n(path, size, mtime_ns, sha256) AS "
        "(SELECT x'', 0, 0, '' UNION ALL SELECT path, size, mtime_ns, sha256 FROM n) SELECT * FROM n"
    ),
    "trigger": _database(
        digests._TABLE, "CREATE TRIGGER t AFTER INSERT ON digest BEGIN UPDATE digest SET sha256 = ''; END"
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_memo_that_cannot_be_used_is_one_note(kind: str, tmp_path: Path) -> None:
    (file := tmp_path / "clip").write_text("x")
    (tmp_path / "other").write_text("y")
    UNUSABLE[kind](memo := tmp_path / "digests.sqlite")
    victim = tmp_path / "victim.sqlite"
    before = victim.read_bytes() if victim.exists() else b""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Digests(memo)
        assert found(file) == hashlib.sha256(b"x").hexdigest()
        assert found(tmp_path / "other") == hashlib.sha256(b"y").hexdigest()
    assert len(told) == 1
    assert issubclass(told[0].category, Notice)
    assert str(memo) in str(told[0].message)
    assert "\n" not in str(told[0].message)
    assert (victim.read_bytes() if victim.exists() else b"") == before


def test_a_memo_that_another_process_holds_is_not_waited_for_long(
    tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "clip").write_text("x")
    Digests(memo)(file)
    monkeypatch.setattr(digests, "_PATIENCE", 0.05)
    with closing(sqlite3.connect(memo)) as other, other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(Notice, match="locked"):
            assert Digests(memo)(file) == hashlib.sha256(b"x").hexdigest()


def test_a_memo_on_a_read_only_disk_is_read(tmp_path: Path, memo: Path, reads: list[Path]) -> None:
    (file := tmp_path / "clip").write_text("x")
    Digests(memo)(file)
    before = {path.name: path.stat().st_mtime_ns for path in (memo.parent, *memo.parent.iterdir())}
    reads.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Digests(memo)(file)
    assert reads == []
    assert {path.name: path.stat().st_mtime_ns for path in (memo.parent, *memo.parent.iterdir())} == before


def test_what_a_memo_says_is_a_digest_or_nothing(tmp_path: Path, memo: Path) -> None:
    (file := tmp_path / "clip").write_text("x")
    Digests(memo)(file)
    for forged in ("../../etc/passwd", b"\xff", 7, None):
        with closing(sqlite3.connect(memo)) as connection, connection:
            connection.execute("UPDATE digest SET sha256 = ?", (forged,))
        assert Digests(memo)(file) == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("year", [1901, 2262, 2300, 2400])
def test_dates_that_no_clock_shows(year: int, tmp_path: Path, memo: Path, reads: list[Path]) -> None:
    (file := tmp_path / "clip").write_text("x")
    moment = int((year - 1970) * 31556952 * 1e9)
    os.utime(file, ns=(moment, moment))
    for _ in range(2):
        assert Digests(memo)(file) == hashlib.sha256(b"x").hexdigest()
    assert reads == [file]


def test_memo_where_nothing_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "clip"
    file.write_text("x")
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.warns(Notice, match="is not used"):
        assert Digests(tmp_path / "cache" / "digests.sqlite")(file) == hashlib.sha256(b"x").hexdigest()
