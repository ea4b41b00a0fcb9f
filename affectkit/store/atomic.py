"""Files that appear whole or not at all, and errors of the disk as one line."""

from __future__ import annotations

import errno
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from affectkit.errors import AffectkitError

TEMPORARY = ".tmp-"
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_DENIED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip


def temporary_name(path: Path) -> Path:
    """A name beside `path` that says who writes it, so that leftovers of dead processes can be told."""
    return path.with_name(f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}-{path.name[-80:]}")


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path; when the block ends well, its bytes are fsynced and renamed to `path`.

    Raises AffectkitError when the disk is full or may not be written, and for a path that is anything but a file:
    renaming over a device such as /dev/stdout would take it away from everybody.
    """
    with explained(path):
        if (path.exists() and not path.is_file()) or _is_the_systems(path):
            raise AffectkitError(f"{path} cannot be written: it is not a regular file; name another one")
    temporary = temporary_name(path)
    try:
        with explained(path):
            yield temporary
            fsync(temporary)
            temporary.replace(path)
            fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _is_the_systems(path: Path) -> bool:
    """Whether a name is one of the system's own: /dev/stdout looks like a file where output goes to one."""
    folder = path.absolute().parent.resolve()
    return folder == Path("/dev") or folder.is_relative_to("/proc")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a full disk, or one that may not be written, into one line; whatever was finished stays."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise AffectkitError(
                f"no room to write {path}: free some space and repeat the command; finished clips are kept"
            ) from error
        if error.errno in _DENIED:
            raise AffectkitError(
                f"{path} cannot be written ({os.strerror(error.errno)}): name another folder"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically. Lone surrogates (names that are not UTF-8) become JSON escapes."""
    with atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def fsync(path: Path) -> None:
    """Flush a file or a directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
