"""Selections: what a command prints of a table that several commands share, exactly the clips that it was given.

    <artifact>/selections/<digest12>.json   the (clip, source digest) pairs, and what was said of each clip

The name is the digest of what it selects, so that the same command writes the same file, also of media that have moved,
and an edited one is noticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from affectkit.errors import HostileFile, MissingFile, UsageError
from affectkit.store.atomic import make_folder, require_folder, write_text
from affectkit.store.sidecars import STAGE_FILE
from affectkit.types import without_face
from affectkit.untrusted import parsed_json, read_text

FOLDER = "selections"
FORMAT = 1
_LARGEST = 1 << 28
_SUFFIX = ".json"

Key = tuple[str, str]
"""A clip's id and the digest of what it was made from."""


@dataclass(frozen=True)
class Selection:
    """Clips of one artifact, by its fingerprint: the source digest of each, and what the user said of it (path, split,
    subject). A clip that failed is in it too."""

    fingerprint: str
    sources: Mapping[str, str]
    clips: Mapping[str, Mapping[str, Any]]

    def __contains__(self, key: Key) -> bool:
        """Whether it selects the row (id, source) of a table; the faces of a clip have the clip's source."""
        name, source = key
        return source in (self.sources.get(name), self.sources.get(without_face(name)))

    @cached_property
    def text(self) -> str:
        """What its file holds."""
        return self._json(self.clips)

    @cached_property
    def digest(self) -> str:
        """The digest of all but where the media lay, which is kept for messages alone."""
        told = {name: {key: entry[key] for key in entry if key != "path"} for name, entry in self.clips.items()}
        return sha256(self._json(told).encode(errors="backslashreplace")).hexdigest()[:12]

    def _json(self, clips: Mapping[str, Mapping[str, Any]]) -> str:
        content = {
            "format": FORMAT, "artifact": self.fingerprint, "rows": sorted(self.sources.items()), "clips": clips,
        }  # fmt: skip
        return json.dumps(content, ensure_ascii=False, sort_keys=True)  # an indent would take ten times as long

    def path(self, folder: Path) -> Path:
        """Where it lies in the artifact's folder."""
        return folder / FOLDER / f"{self.digest}{_SUFFIX}"

    def write(self, folder: Path) -> None:
        """Write it where it is not there. Raises AffectkitError where the folder may not be written."""
        path = self.path(folder)
        make_folder(path.parent)
        write_text(path, self.text)


def folder_of(path: Path) -> Path:
    """The artifact's folder that a path leads to: itself, or the one that the selection lies in."""
    return path.parent.parent if is_selection(path) else path


def is_selection(path: Path) -> bool:
    """Whether a path names a selection of an artifact that exists."""
    if path.suffix != _SUFFIX or path.absolute().parent.name != FOLDER:
        return False
    return os.path.exists(path.absolute().parent.parent / STAGE_FILE)  # noqa: PTH110


def is_artifact(path: Path) -> bool:
    """Whether a path names an artifact: its folder, or a selection of it."""
    return is_selection(path) or os.path.exists(path / STAGE_FILE)  # noqa: PTH110


def read_selection(path: Path) -> Selection:
    """A selection's file. Raises UsageError when it is gone, HostileFile for a forged one."""
    require_folder(path.absolute().parent)
    try:
        text = read_text(path, "a selection", _LARGEST, inside=True)
        content = parsed_json(text)
    except MissingFile:
        raise UsageError(f"{path} is not there: repeat the command that printed it") from None
    except ValueError as error:
        raise HostileFile(f"{path} is not JSON: {error}") from None
    selection = _checked(path, content)
    if selection.digest != path.name.removesuffix(_SUFFIX):
        raise HostileFile(f"{path}: its name does not follow from what it holds (edited by hand?)")
    return selection


def selections(folder: Path) -> Iterator[tuple[Path, Selection]]:
    """The selections of an artifact, from the oldest to the newest. Raises HostileFile for a forged one."""
    require_folder(folder / FOLDER)
    paths = (folder / FOLDER).glob(f"[!.]*{_SUFFIX}")
    for path in sorted(paths, key=lambda path: (path.lstat().st_mtime_ns, path.name)):
        yield path, read_selection(path)


def _checked(path: Path, content: Any) -> Selection:
    keys = {"format", "artifact", "rows", "clips"}
    if not isinstance(content, dict) or content.keys() != keys:
        raise HostileFile(f"{path} is not a selection: it has other keys than {', '.join(sorted(keys))}")
    if content["format"] != FORMAT:
        raise UsageError(f"{path} has format {content['format']}; this affectkit reads {FORMAT}")
    rows, clips = content["rows"], content["clips"]
    is_pairs = isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == 2 and all(isinstance(text, str) for text in row) for row in rows
    )
    is_table = isinstance(clips, dict) and all(isinstance(entry, dict) for entry in clips.values())
    if not is_pairs or not is_table or not isinstance(content["artifact"], str):
        raise HostileFile(f"{path} is not a selection: rows are pairs of texts, clips a table")
    sources = dict(rows)
    if len(sources) != len(rows):
        raise HostileFile(f"{path} is not a selection: a clip is in it twice")
    return Selection(content["artifact"], sources, clips)
