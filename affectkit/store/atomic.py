"""Files that appear whole or not at all, and errors of the disk as one line."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from affectkit.errors import AffectkitError, HostileFile

TEMPORARY = ".tmp-"
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_FAILED = (
    errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT, errno.EXDEV, errno.EBUSY, errno.ELOOP,
    errno.EINVAL, errno.ENOTSUP, errno.ENOTCONN, errno.EHOSTDOWN, errno.EMLINK, errno.ENOLCK, errno.ENOSYS,
)  # fmt: skip
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
_DENIED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip


def temporary_name(path: Path) -> Path:
    """A name beside `path` that says who writes it, so that leftovers of dead processes can be told."""
    return path.with_name(f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}-{ending(path)}")


def ending(path: Path) -> str:
    """The last bytes of a file's name, so many that a longer name around them is still one."""
    return os.fsdecode(os.fsencode(path.name)[-80:])


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
            put(temporary, path)
            fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def put(temporary: Path, path: Path) -> None:
    """Rename a finished file, or a finished folder whose place is free, to its name.

    Where the file system refuses (EXDEV: layers of a container, quotas), a file is copied beside its place and renamed
    there; a folder is made at its place, file by file, what lies at its top last: an artifact is one by its stage file.
    Raises OSError.
    """
    try:
        temporary.rename(path)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if not temporary.is_dir():
        copy = temporary_name(path)
        try:
            shutil.copyfile(temporary, copy)
            fsync(copy)
            copy.replace(path)
        finally:
            copy.unlink(missing_ok=True)
        return
    path.mkdir()
    for source in sorted(temporary.rglob("*"), key=lambda one: (one.parent == temporary and one.is_file(), one)):
        target = path / source.relative_to(temporary)
        if source.is_dir():
            target.mkdir()
            continue
        shutil.copyfile(source, target)
        fsync(target)


def make_folder(path: Path) -> None:
    """Make a folder inside an artifact where there is none. Raises HostileFile where a link or a file has its name:
    what is written or removed below would be another's."""
    with explained(path):
        path.mkdir(exist_ok=True)
    require_folder(path)


def require_folder(path: Path) -> bool:
    """Whether there is such a folder inside an artifact. Raises HostileFile where a link or a file has its name."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no folder"
        raise HostileFile(f"{path} is {kind}: nothing inside an artifact is followed out of it; remove it")
    return True


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
        if error.errno in _FAILED:
            raise AffectkitError(
                f"{path} cannot be written: its disk or file system failed ({os.strerror(error.errno)}); "
                "finished clips are kept"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically. Lone surrogates (names that are not UTF-8) become JSON escapes."""
    with atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def fsync(path: Path) -> None:
    """Flush a file or a directory to the disk, where its file system can. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(handle)
