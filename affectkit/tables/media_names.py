"""Media by name: the file that a clip's id means, and the id that a file's name gives."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from affectkit.errors import UsageError
from affectkit.tables.ids import LONGEST_ID, clip_id

PERSONS = {"_left": "left", "_right": "right"}
"""What Aff-Wild2 puts behind a video's name for the second person in it, and the face rule that it means."""
_SHORT = 200  # bytes that are kept of a name that is too long


def video_names(clip: str) -> list[str]:
    """The names of videos that a clip may be in: its own, then that without Aff-Wild2's `_left` or `_right`.

    >>> video_names("day1/anna_left")
    ['day1/anna_left', 'day1/anna']
    """
    return [clip, *(clip.removesuffix(suffix) for suffix in PERSONS if clip.endswith(suffix))]


def file_named(root: Path, name: str, suffixes: Collection[str]) -> Path | None:
    """The file below `root` that has the id `name`: its path without suffix, in whatever Unicode form, and a suffix in
    whatever letter case; of several, the first by suffix. None where there is none."""
    *above, last = name.split("/")
    folders = [root]
    for part in above:
        folders = [
            folder / entry for folder in folders for entry in _listed(folder).get(part, ()) if (folder / entry).is_dir()
        ]
    files = [
        (Path(entry).suffix.lower(), folder / entry)
        for folder in folders
        for suffix in suffixes
        for entry in _listed(folder).get(f"{last}{suffix}", ())
    ]
    return next((path for _, path in sorted(files) if path.is_file()), None)


def id_of(name: str) -> str:
    """The id of a file by its name: as `clip_id`, and what no id may have is written as %XX, the way links have it; a
    name that is too long ends in a digest of it.

    >>> id_of("day1/a\\nb")
    'day1/a%0Ab'
    """
    try:
        return clip_id(name)
    except UsageError:
        pass
    normal = unicodedata.normalize("NFC", name.strip())
    plain = "".join(character if _is_plain(character) else _escaped(character) for character in normal)
    if len(plain.encode()) > LONGEST_ID:
        begin = plain.encode()[:_SHORT].decode(errors="ignore")
        plain = f"{begin}~{sha256(os.fsencode(name)).hexdigest()[:16]}"
    return clip_id(plain)


def _is_plain(character: str) -> bool:
    return character != "\\" and unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogateescape"))


def _listed(folder: Path) -> dict[str, list[str]]:
    """Names of what is in a folder, by what an id calls them: NFC, suffix in lower case."""
    try:
        return _read(folder, folder.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=256)
def _read(folder: Path, _changed: int) -> dict[str, list[str]]:
    listed: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208
        stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name))  # noqa: PTH122
        for spelling in {f"{stem.strip()}{suffix.lower()}", f"{stem}{suffix}"}:
            listed.setdefault(spelling, []).append(name)
    return listed
