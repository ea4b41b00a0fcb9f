"""Names of artifacts beside their hashed paths: names that users gave, `latest`, and unique beginnings.

    <cache>/names.json   {"format": 1, "names": {NAME: PATH}, "latest": {STAGE: {"path": PATH, "time": SECONDS}}}

A path is that of what a command printed, so a name denotes exactly the clips that the command was given. Paths below
the cache are relative to it: a cache that is moved keeps its names.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from affectkit.errors import AffectkitError, HostileFile, MissingFile, UsageError
from affectkit.store.atomic import explained, write_text
from affectkit.store.cache import Cache
from affectkit.store.kinds import MAKES, no_artifact
from affectkit.store.locking import locked
from affectkit.store.selection import FOLDER, is_artifact
from affectkit.store.sidecars import STAGE_FILE
from affectkit.untrusted import read_object

FILE = "names.json"
FORMAT = 1
LATEST = "latest"
RESERVED = (LATEST, "auto", "random", "none")
LEAST = 4
"""Characters that a beginning must have: fewer are a slip."""
MOST = 10_000
_LARGEST = 1 << 24
_LONGEST = 4096
_LISTED = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGITS = re.compile(r"[0-9a-f]{1,12}")
_WHAT = "names of artifacts"


@dataclass(frozen=True)
class Kept:
    """What a cache's file of names says: a path a name, and of each stage what was printed last and when."""

    names: dict[str, str] = field(default_factory=dict)
    latest: dict[str, tuple[str, float]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What its file holds."""
        latest = {stage: {"path": path, "time": when} for stage, (path, when) in self.latest.items()}
        content = {"format": FORMAT, "names": self.names, LATEST: latest}
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)


def check(name: str) -> None:
    """Before any work: raises UsageError for what cannot be a name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--as '{name}' is no name: letters, digits, '.', '_' and '-', at most 100, no '-' or '.' first"
        )
    if name in RESERVED:
        raise UsageError(f"--as {name} is no name: {name} means something else; choose another one")
    if os.path.lexists(name):
        raise UsageError(
            f"--as {name} is a path that exists, which would be taken in place of the name: choose another"
        )


def safe(text: str) -> str:
    """A name made of a text: what a name cannot have becomes a line.

    >>> safe("my recipe.faces")
    'my_recipe.faces'
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", text)[:100]
    return name if _NAME.fullmatch(name) else f"x{name}"[:100]


def keep(cache: Cache, path: Path, stage: str, name: str | None = None) -> str | None:
    """Note what a command of this stage printed, and its name; a line where the name was another artifact's before.

    Raises AffectkitError where the cache cannot be written, or its file of names is not one.
    """
    place = _stored(cache, path)
    if cache.dry:
        return None
    root = cache.root
    with explained(root):
        root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        kept = read(cache)
        before = kept.names.get(name) if name else None
        if name:
            if before is None and len(kept.names) >= MOST:
                raise AffectkitError(f"{root / FILE} holds {MOST} names already: remove some of them")
            kept.names[name] = place
        kept.latest[stage] = (place, time.time())
        write_text(root / FILE, kept.text)
    if before is None or before == place:
        return None
    return f"{name} was {_opened(cache, before)}, is now {_opened(cache, place)}"


def read(cache: Cache) -> Kept:
    """What the cache's file of names says; nothing where there is none. Raises HostileFile for what is no such file."""
    file = cache.root / FILE
    try:
        content = read_object(file, _WHAT, _LARGEST)
    except MissingFile:
        return Kept()
    names, latest = content.get("names"), content.get(LATEST)
    if content.get("format") != FORMAT or not isinstance(names, dict) or not isinstance(latest, dict):
        raise HostileFile(f"{file} does not hold {_WHAT}: remove it")
    for name, path in names.items():
        if not _NAME.fullmatch(name) or not _is_place(path):
            raise HostileFile(f"{file} gives a name or a path that none can be ('{name[:100]}'): remove it")
    if len(names) > MOST or len(latest) > MOST:
        raise HostileFile(f"{file} holds more than {MOST} names: remove it")
    printed = {}
    for stage, entry in latest.items():
        path, when = (entry.get("path"), entry.get("time")) if isinstance(entry, dict) else (None, None)
        if not _is_place(path) or not isinstance(when, int | float):
            raise HostileFile(f"{file} does not hold {_WHAT}: remove it")
        printed[stage] = (str(path), float(when))
    return Kept(dict(names), printed)


def paths(cache: Cache) -> dict[str, Path]:
    """Every name and what it denotes. Raises HostileFile."""
    return {name: _opened(cache, place) for name, place in sorted(read(cache).names.items())}


def names_of(paths_by_name: Mapping[str, Path], artifact: Path) -> list[str]:
    """The names, of those of `paths`, of an artifact: its folder or any selection of it; of a selection, its own."""
    wanted = _real(artifact)
    return [name for name, path in paths_by_name.items() if wanted in (_real(path), _real(folder_of_place(path)))]


def drop(cache: Cache, folders: Iterable[Path]) -> list[str]:
    """Forget the names of artifacts that were removed; returns them. Raises AffectkitError."""
    gone = {_real(folder) for folder in folders}
    if not any(_real(folder_of_place(path)) in gone for path in paths(cache).values()):
        return []
    with locked(cache.root):
        kept = read(cache)
        dropped = [name for name, place in kept.names.items() if _real(folder_of_place(_opened(cache, place))) in gone]
        for name in dropped:
            del kept.names[name]
        write_text(cache.root / FILE, kept.text)
    return sorted(dropped)


def folder_of_place(path: Path) -> Path:
    """The artifact's folder that a path leads to, whether it is still there or not."""
    return path.parent.parent if path.parent.name == FOLDER else path


def resolve(cache: Cache, text: str, stages: Collection[str] = ()) -> str:
    """The path that a path, a name, `latest` or a unique beginning denotes. An existing path beats a name.

    `stages`: those whose artifacts are needed; none are all. Raises UsageError for a text that denotes none, or
    several.
    """
    path = find(cache, text, stages)
    path = path if path is not None else find(cache, text)  # of another kind, which whoever opens it says
    if path is not None:
        return path
    if os.path.isdir(os.path.dirname(text)):  # noqa: PTH112, PTH120  (an empty text is no path of this folder)
        raise no_artifact(Path(text))
    near = get_close_matches(text, [*read(cache).names, *_labels(cache, stages)], n=1)
    if not near:
        raise no_artifact(Path(text))
    raise UsageError(
        f"{text} is not an artifact (no such path, name or beginning: did you mean {near[0]}?): give what an affectkit "
        "command printed, or its name"
    )


def resolve_column(cache: Cache, text: str, stages: Collection[str] = (), *, strict: bool = True) -> str:
    """As `resolve`, of `TEXT`, `TEXT:column` or `TEXT:component`. Not `strict`: a text that denotes nothing is returned
    as it is."""
    if os.path.lexists(text):
        return text
    artifact, colon, column = text.rpartition(":")
    if colon and artifact and column and os.sep not in column:
        path = find(cache, artifact, stages)
        if path is not None:
            return f"{path}:{column}"
        return resolve(cache, artifact, stages) if strict else text
    if not strict:
        return find(cache, text, stages) or text
    return resolve(cache, text, stages)


def find(cache: Cache, text: str, stages: Collection[str] = ()) -> str | None:
    """As `resolve`; None for a text that denotes no artifact. Raises UsageError for one that denotes several."""
    if os.path.lexists(text):
        return text
    if not text or (text in RESERVED and text != LATEST):
        return None
    kept = read(cache)
    if text in kept.names:
        path = _opened(cache, kept.names[text])
        if not is_artifact(path):
            raise UsageError(f"{text} names {path}, which is not there any more: repeat the command that made it")
        return str(path)
    if text == LATEST:
        return str(_latest(cache, kept, stages))
    return _by_beginning(cache, text, stages)


def suggestions(cache: Cache, text: str, stages: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """(completed text, what it is) for a shell: names, `latest`, and folders of the cache that begin so."""
    for name, path in paths(cache).items():
        folder = folder_of_place(path)
        stage = folder.parent.name
        if name.startswith(text) and (not stages or stage in stages):
            yield name, f"{stage}, {folder.name}"
    labels = _labels(cache, stages)
    if labels and LATEST.startswith(text):
        yield LATEST, "what was printed last"
    for label in labels:
        stage = label.partition("/")[0]
        if label.startswith(text):
            yield label, MAKES.get(stage, (stage, ""))[0]


def _real(path: Path) -> str:
    """Where a path leads, links followed; a loop of links leads nowhere and harms nobody."""
    return os.path.realpath(path)


def _is_place(path: Any) -> bool:
    is_text = isinstance(path, str) and 0 < len(path) <= _LONGEST and "\0" not in path
    return is_text and ".." not in Path(path).parts


def _stored(cache: Cache, path: Path) -> str:
    whole, root = path.resolve(), cache.root.resolve()
    return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)


def _opened(cache: Cache, place: str) -> Path:
    return cache.root / place  # an absolute one stays as it is


def _folders(cache: Cache, stages: Collection[str]) -> list[Path]:
    """The artifacts of the stages that are needed; of all, where none is said."""
    return [folder for folder in cache.folders() if not stages or folder.parent.name in stages]


def _labels(cache: Cache, stages: Collection[str]) -> list[str]:
    return [f"{folder.parent.name}/{folder.name}" for folder in _folders(cache, stages)]


def _latest(cache: Cache, kept: Kept, stages: Collection[str]) -> Path:
    """What was printed last of the stages that are needed. Raises UsageError for none, and where different things are
    accepted and there are several."""
    newest: dict[str, tuple[float, Path]] = {}
    for folder in _folders(cache, stages):
        stage, (when, path) = folder.parent.name, _newest(folder)
        if stage not in newest or when > newest[stage][0]:
            newest[stage] = (when, path)
    for stage, (place, when) in kept.latest.items():
        path = _opened(cache, place)
        if (not stages or stage in stages) and is_artifact(path) and when >= newest.get(stage, (0.0, path))[0]:
            newest[stage] = (when, path)
    if not newest:
        wanted = " or ".join(dict.fromkeys(MAKES[stage][0] for stage in stages if stage in MAKES)) or "artifact"
        raise UsageError(f"latest: {cache.root} holds no {wanted.removeprefix('a ')} yet")
    nouns = {MAKES.get(stage, (stage, ""))[0] for stage in newest}
    if stages and len(nouns) > 1:
        said = ", ".join(f"{path} ({MAKES.get(stage, (stage, ''))[0]})" for stage, (_, path) in newest.items())
        raise UsageError(f"latest may be {said}: say which one")
    return max(newest.values())[1]


def _newest(folder: Path) -> tuple[float, Path]:
    """When an artifact last had something new, and what a command printed then."""
    files = [folder / STAGE_FILE]
    if not (folder / FOLDER).is_symlink():
        files += [file for file in (folder / FOLDER).glob("[!.]*.json") if not file.is_symlink()]
    when, file = max((file.lstat().st_mtime, file) for file in files)
    return when, folder if file.name == STAGE_FILE else file


def _by_beginning(cache: Cache, text: str, stages: Collection[str]) -> str | None:
    """Raises UsageError where several artifacts begin so."""
    if len(text) < LEAST:
        return None
    folders = _folders(cache, stages)
    matches = {label: folder for folder in folders if (label := _begins(folder, text)) is not None}
    if not matches and _DIGITS.fullmatch(text):
        files = [file for folder in folders for file in folder.glob(f"{FOLDER}/{text}*.json") if is_artifact(file)]
        matches = {str(file.relative_to(cache.root)): file for file in files}
    exact = [path for label, path in matches.items() if text in (label, path.name, _digits(path))]
    if len(exact) == 1:
        return str(exact[0])
    if len(matches) > 1:
        more = ", ..." if len(matches) > _LISTED else ""
        said = ", ".join(list(matches)[:_LISTED])
        raise UsageError(f"{text} may be any of {len(matches)}: {said}{more}; give more of it")
    return str(next(iter(matches.values()))) if matches else None


def _begins(folder: Path, text: str) -> str | None:
    """The artifact's label where a text begins it, its folder's name or its digits."""
    label = f"{folder.parent.name}/{folder.name}"
    return label if any(word.startswith(text) for word in (label, folder.name, _digits(folder))) else None


def _digits(path: Path) -> str:
    return path.stem if path.parent.name == FOLDER else path.name.rpartition("-")[2]
