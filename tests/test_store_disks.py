"""Disks and file systems that refuse: no locks, no fsync of folders, no renames, nothing to be written."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from store_tables import SCHEMAS, artifact, record, write

from affectkit.errors import AffectkitError
from affectkit.store import Artifact, Cache, locking, open_artifact
from affectkit.store.atomic import atomically, fsync, write_text

FEATURES = SCHEMAS["features"]


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def _sealed(root: Path) -> Artifact:
    made = artifact(root, FEATURES)
    write(made, {"a": record(FEATURES, 3)})
    made.seal()
    made.select({"a": "sa"}, {"a": {"split": "val"}})
    return made


@pytest.mark.usefixtures("no_locks")
def test_sealing_without_locks_of_the_file_system(tmp_path: Path) -> None:
    made = _sealed(tmp_path)
    assert open_artifact(made.path).clips == ["a"]
    assert not list(made.path.glob(".lock.owner*"))


@pytest.mark.usefixtures("no_locks")
def test_only_one_holds_the_lock(tmp_path: Path) -> None:
    held, most = [], []

    def work() -> None:
        for _ in range(10):
            with locking.locked(tmp_path):
                held.append(1)
                most.append(len(held))
                held.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 40


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("owner", ["dead", "silent", "garbage"])
def test_the_lock_of_a_dead_owner_is_taken_over(owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename if owner == "dead" else "another"
    text = f'{{"host": "{host}", "pid": {dead.pid}, "token": "abc"}}' if owner != "garbage" else "{"
    (lock := tmp_path / locking.OWNER).write_text(text)
    (tmp_path / locking.LOCK).touch()
    if owner != "dead":
        os.utime(lock, (1, 1))
    with locking.locked(tmp_path):
        assert lock.read_text() != text
    assert not list(tmp_path.glob(".lock.owner*"))


@pytest.mark.usefixtures("no_locks")
def test_an_owner_that_lives_is_waited_for_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.0)
    (tmp_path / locking.OWNER).write_text(f'{{"host": "another", "pid": {os.getpid()}, "token": "abc"}}')
    with pytest.raises(AffectkitError, match=f"held by process {os.getpid()} on another"), locking.locked(tmp_path):
        pass


def _failing(monkeypatch: pytest.MonkeyPatch, number: int, name: str = "fsync") -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_fsync(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, number)
    assert _sealed(tmp_path).clips == ["a"]
    fsync(tmp_path)


def test_a_disk_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = artifact(tmp_path, FEATURES)
    write(made, {"a": record(FEATURES, 3)})
    _failing(monkeypatch, errno.EIO)
    with pytest.raises(AffectkitError, match="file system failed") as caught:
        made.seal()
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert open_artifact(made.path).finished() == {("a", "sa")}


@pytest.mark.parametrize("refusals", [1, 100])
def test_a_rename_that_is_refused_between_layers(
    refusals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [refusals]

    def refuse(kept: Any) -> Any:
        def rename(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return kept(*arguments)

        return rename

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    if refusals == 1:
        write_text(tmp_path / "table.csv", "a")
        assert (tmp_path / "table.csv").read_text() == "a"
    else:
        with pytest.raises(AffectkitError, match="file system failed"):
            write_text(tmp_path / "table.csv", "a")
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_folder_whose_rename_is_refused_is_made_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.rename

    def rename(source: Any, target: Any, **options: Any) -> None:
        if Path(source).is_dir():
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        kept(source, target, **options)

    monkeypatch.setattr(os, "rename", rename)

    def fill(folder: Path) -> None:
        (folder / "seed_0").mkdir()
        (folder / "seed_0" / "weights").write_bytes(b"w")

    made = Cache(tmp_path).create_whole("train-head", "gru", {"a": 1}, fill)
    assert (made.path / "seed_0" / "weights").read_bytes() == b"w"
    assert not list(tmp_path.rglob(".tmp-*"))


def _read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a read-only disk answers, also to root."""
    kept = os.open

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse()
        return kept(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_)
    for name in ("mkdir", "unlink", "rename", "replace", "utime"):
        monkeypatch.setattr(os, name, refuse)


def test_a_complete_artifact_on_a_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _sealed(tmp_path)
    (made.path / ".lock").unlink()
    before = sorted(made.path.rglob("*"))
    _read_only(monkeypatch)
    opened = open_artifact(made.path)
    assert opened.finished() == {("a", "sa")}
    opened.seal()
    assert opened.select({"a": "sa"}, {"a": {"split": "val"}}).clips == ["a"]
    with pytest.raises(AffectkitError, match="a selection of 1 clips must be written there"):
        opened.select({"a": "sa"}, {"a": {"split": "train"}})
    assert sorted(made.path.rglob("*")) == before


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, errno.EBUSY, "rename")
    with pytest.raises(AffectkitError, match="Device or resource busy"), atomically(tmp_path / "x") as temporary:
        temporary.write_text("x")
    assert list(tmp_path.iterdir()) == []
