"""The lock of an artifact: by `flock`, and where the file system has no locks by a file that names its owner."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from affectkit.errors import AffectkitError, HostileFile
from affectkit.store.atomic import explained
from affectkit.untrusted import parsed_json, read_text

LOCK, OWNER = ".lock", ".lock.owner"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
BEAT = 10.0  # seconds between two signs of life of an owner
SILENCE = 90.0  # seconds without one after which an owner on another machine is taken to be dead
PATIENCE = 3600.0  # seconds to wait for an owner that lives
_PAUSE = 0.05


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an artifact's folder. It goes with the process: at once where `flock` works, else as soon as
    another process finds its owner dead.

    Raises AffectkitError for a folder that may not be written, and after `PATIENCE`; HostileFile for a lock that is a
    link or no regular file.
    """
    with explained(folder):
        handle = _opened(folder / LOCK)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        else:
            yield
            return
        with _owned(folder / OWNER):
            yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise HostileFile(f"{path} is a link or no regular file: nothing is locked by it; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise HostileFile(f"{path} is no regular file: nothing is locked by it; remove it")
    return handle


@contextmanager
def _owned(path: Path) -> Iterator[None]:
    """Hold a lock that is a file: who makes it owns it, and says every now and then that it lives."""
    token = uuid.uuid4().hex
    with explained(path):
        _take(path, token)
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, done), daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
        if _owner(path).get("token") == token:
            path.unlink(missing_ok=True)


def _take(path: Path, token: str) -> None:
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": token})
    until = time.monotonic() + PATIENCE
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            pass
        else:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            return
        owner = _owner(path)
        if _is_dead(path, owner):
            _break(path, owner)
        elif time.monotonic() > until:
            raise AffectkitError(
                f"{path} is held by process {owner.get('pid')} on {owner.get('host')}: wait for it, or remove that "
                "file if no such process runs"
            )
        time.sleep(_PAUSE)


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with suppress(OSError):
            os.utime(path, follow_symlinks=False)


def _owner(path: Path) -> dict[str, Any]:
    """What the lock says of its owner; nothing where it is gone, or still being written."""
    with suppress(AffectkitError, ValueError):
        value = parsed_json(read_text(path, "a lock", 1 << 10, inside=True))
        return dict(value) if isinstance(value, dict) else {}
    return {}


def _is_dead(path: Path, owner: dict[str, Any]) -> bool:
    if owner.get("host") == socket.gethostname() and type(owner.get("pid")) is int:
        return not is_alive(owner["pid"])
    try:
        return _now(path) - path.lstat().st_mtime > SILENCE
    except FileNotFoundError:
        return False


def _now(path: Path) -> float:
    """The time by the clock of the file system, which need not be this machine's."""
    probe = path.with_name(LOCK)
    os.utime(probe, follow_symlinks=False)
    return probe.lstat().st_mtime


def _break(path: Path, owner: dict[str, Any]) -> None:
    """Remove the lock of a dead owner, unless another process does: who makes the file of that owner's name may."""
    name = str(owner.get("token", ""))[:32]
    claim = path.with_name(f"{OWNER}.{name if name.isalnum() else 'unreadable'}")
    try:
        os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        with suppress(FileNotFoundError):
            if _now(path) - claim.lstat().st_mtime > SILENCE:  # who made it has died over it
                claim.unlink(missing_ok=True)
        return
    try:
        if _owner(path) == owner:
            path.unlink(missing_ok=True)
    finally:
        claim.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
