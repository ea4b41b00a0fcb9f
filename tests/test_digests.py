"""The memo of file digests: right, quick on a second look, and never trusted when a file has changed."""

import hashlib
import os
from pathlib import Path

import pytest

from affectkit import digests
from affectkit.digests import Digests, sha256_file
from affectkit.errors import AffectkitError


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


def test_pipe_is_refused_at_once(tmp_path: Path, memo: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Digests(memo)(tmp_path / "pipe")


@pytest.mark.parametrize(
    "damage", [b"this is not SQLite at all, but long enough to be looked at " * 40, b"SQLite format 3\0"]
)
def test_damaged_memo_is_one_line_that_names_it(tmp_path: Path, memo: Path, damage: bytes) -> None:
    file = tmp_path / "clip"
    file.write_text("x")
    memo.parent.mkdir()
    memo.write_bytes(damage)
    with pytest.raises(AffectkitError, match="remove it if it is damaged") as caught:
        Digests(memo)(file)
    assert str(memo) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_memo_where_nothing_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "clip"
    file.write_text("x")
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(AffectkitError, match="cannot be used"):
        Digests(tmp_path / "cache" / "digests.sqlite")(file)
