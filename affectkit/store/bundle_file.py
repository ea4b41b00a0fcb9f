"""A bundle on disk: a zip of plain files in one exact form, every byte of which is checked.

`manifest.json` comes first and says the size and the SHA-256 of every other member; these follow in the order of their
names, stored as they are (so nothing unpacks to more than the file holds), with fixed times and rights. The archive's
comment says the manifest's digest. Any program opens such a zip; here one is read only if it is, byte for byte, what
would be written of its members: links, second members of one name, names that lead elsewhere, compression bombs and
single flipped bits all make another file.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from pydantic import Field, ValidationError

from affectkit import __version__
from affectkit.config import Config, explain
from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.store.atomic import atomically, explained
from affectkit.untrusted import opened, parsed_json

FORMAT = 1
SUFFIX = ".affect"
MANIFEST = "manifest.json"
MOST_MEMBERS = 10_000
LARGEST = (1 << 32) - (1 << 25)
"""Bytes of a bundle: where a zip without extensions ends."""
_LARGEST_MANIFEST = 1 << 24
_BLOCK = 1 << 20
_DEEPEST = 8
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}"
_NAME = re.compile(rf"{_PART}(?:/{_PART}){{0,{_DEEPEST - 1}}}")
_WHAT = "a bundle"
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")
_VERSION, _UNIX, _DATE, _RIGHTS = 20, 3 << 8, (1 << 5) | 1, 0o100644 << 16  # 1980-01-01, as zips begin to count
MAGIC = b"PK\x03\x04"


class BundleMember(Config):
    """What the manifest says of a member."""

    bytes: int = Field(ge=0, le=LARGEST)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class BundleWeights(Config):
    """A file of weights that the recipe needs: `member` is where it lies in the bundle, None where it is fetched by its
    name."""

    step: str
    name: str
    sha256: str
    licence: str
    source: str
    member: str | None = None


class BundleManifest(Config):
    """What a bundle holds: `holds` is head, network or system; fingerprint: of what it was made from."""

    format: int = FORMAT
    affectkit: str
    holds: str
    name: str
    task: str
    fingerprint: str
    weights: list[BundleWeights] = Field([], max_length=1000)
    members: dict[str, BundleMember] = Field(max_length=MOST_MEMBERS)

    @property
    def content(self) -> bytes:
        """Its member of the file."""
        return (self.model_dump_json(indent=1) + "\n").encode()


@dataclass(frozen=True)
class Unpacked:
    """A bundle that was read through: what it says, and the digest of the whole file."""

    manifest: BundleManifest
    sha256: str


def is_bundle_file(path: Path) -> bool:
    """Whether a file begins as a bundle does. Nothing else of it is judged."""
    try:
        with opened(path, _WHAT) as file:
            start = file.read(_LOCAL.size + len(MANIFEST)) or b""
    except AffectkitError:
        return False
    return start.startswith(MAGIC) and start[_LOCAL.size :] == MANIFEST.encode()


def write_bundle_file(out: Path, manifest: BundleManifest, members: Mapping[str, bytes | Path]) -> None:
    """Write a bundle, which appears whole; the members' sizes and digests are added to the manifest. The same members
    give the same bytes. Raises UsageError for names that no member may have, and for more than a bundle holds."""
    _require_names(members, UsageError, str(out))
    sums = {name: _sums(content) for name, content in sorted(members.items())}
    told = {name: BundleMember(bytes=size, sha256=digest) for name, (size, digest, _) in sums.items()}
    content = manifest.model_copy(update={"members": told}).content
    if (size := _whole_size(len(content), told)) > LARGEST:
        raise UsageError(
            f"{out} would have {size / 1e9:.1f} GB, and a bundle holds up to {LARGEST / 1e9:.1f}: publish large "
            "weights under a name of the hub, and use them by it"
        )
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomically(out) as temporary, temporary.open("wb") as file:
        headers = [_Header(MANIFEST, len(content), zlib.crc32(content), 0)]
        file.write(headers[0].local + content)
        for name, (nbytes, digest, crc) in sums.items():
            headers.append(_Header(name, nbytes, crc, file.tell()))
            file.write(headers[-1].local)
            copied = sha256()
            for block in _blocks(members[name]):
                copied.update(block)
                file.write(block)
            if copied.hexdigest() != digest:
                raise AffectkitError(f"{name} changed while it was bundled: repeat the command")
        file.write(_ending(headers, file.tell(), sha256(content).hexdigest()))


def read_manifest(path: Path) -> BundleManifest:
    """What a bundle says of itself; the members are not looked at. Raises MissingFile, UsageError for what is no bundle
    and for one of a newer format, HostileFile for a damaged one."""
    with _reading(path) as reader:
        return reader.manifest()[0]


def unpack(path: Path, folder: Path | None = None) -> Unpacked:
    """Read all of a bundle and check every byte; with a folder, which is empty, its members are written there, the
    manifest beside them. Raises as `read_manifest`, and HostileFile where anything is not as it says."""
    with _reading(path) as reader:
        manifest, content = reader.manifest()
        if (size := _whole_size(len(content), manifest.members)) != reader.size:
            shorter = "cut off" if reader.size < size else "longer than it says"
            reader.damaged(f"it is {shorter}: {reader.size:,} bytes, where its manifest says {size:,}")
        headers = [_Header(MANIFEST, len(content), zlib.crc32(content), 0)]
        if folder is not None:
            (folder / MANIFEST).write_bytes(content)
        for name, member in sorted(manifest.members.items()):
            headers.append(reader.member(name, member, folder))
        ending = _ending(headers, reader.at, sha256(content).hexdigest())
        if reader.take(len(ending)) != ending:
            reader.damaged("its table of members is not that of what it holds")
        return Unpacked(manifest, reader.digest.hexdigest())


@dataclass(frozen=True)
class _Header:
    """What the zip says of a member of so many bytes, which begins `at` there."""

    name: str
    size: int
    crc: int
    at: int

    @property
    def local(self) -> bytes:
        sizes = (self.crc, self.size, self.size, len(self.name), 0)
        return _LOCAL.pack(MAGIC, _VERSION, 0, 0, 0, _DATE, *sizes) + self.name.encode()

    @property
    def central(self) -> bytes:
        sizes = (self.crc, self.size, self.size, len(self.name), 0, 0, 0, 0, _RIGHTS, self.at)
        return _CENTRAL.pack(b"PK\x01\x02", _UNIX | _VERSION, _VERSION, 0, 0, 0, _DATE, *sizes) + self.name.encode()


def _ending(headers: list[_Header], at: int, digest: str) -> bytes:
    """All that follows the members: their table, which begins `at` there, and the comment."""
    table, comment = b"".join(header.central for header in headers), _comment(digest)
    count = len(headers)
    return table + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(table), at, len(comment)) + comment


def _comment(digest: str) -> bytes:
    return f"affectkit bundle, format {FORMAT}; manifest.json has the SHA-256 {digest}".encode()


def _whole_size(manifest: int, members: Mapping[str, BundleMember]) -> int:
    """Bytes of the bundle whose manifest has so many."""
    sizes = [(MANIFEST, manifest), *((name, member.bytes) for name, member in members.items())]
    inside = sum(_LOCAL.size + _CENTRAL.size + 2 * len(name) + size for name, size in sizes)
    return inside + _END.size + len(_comment("0" * 64))


class _Reader:
    """Reads a bundle from its beginning to its end, and keeps the digest of what was read."""

    def __init__(self, path: Path, file: BinaryIO | io.BufferedReader, size: int) -> None:
        self.path, self.size, self.at = path, size, 0
        self.digest = sha256()
        self._file = file

    def damaged(self, why: str) -> NoReturn:
        raise HostileFile(
            f"{self.path} is damaged, or no bundle as affectkit writes it ({why}): export or fetch it again"
        )

    def take(self, count: int) -> bytes:
        """The next bytes, fewer where the file ends."""
        block = self._file.read(count)
        self.digest.update(block)
        self.at += len(block)
        return block

    def manifest(self) -> tuple[BundleManifest, bytes]:
        """What the bundle says of itself, and its bytes."""
        start = self.take(_LOCAL.size + len(MANIFEST))
        if len(start) < _LOCAL.size or not start.startswith(MAGIC) or start[_LOCAL.size :] != MANIFEST.encode():
            raise UsageError(f"{self.path} is not a bundle: give what `affectkit export MODEL --to bundle` wrote")
        size = _LOCAL.unpack_from(start)[8]
        if size > _LARGEST_MANIFEST:
            self.damaged(f"a manifest of {size:,} bytes")
        content = self.take(size)
        if len(content) < size or zlib.crc32(content) != _LOCAL.unpack_from(start)[6]:
            self.damaged("its manifest is not what it was")
        manifest = self._understood(content)
        if start != _Header(MANIFEST, size, zlib.crc32(content), 0).local:
            self.damaged("its first bytes are not what they were")
        return manifest, content

    def _understood(self, content: bytes) -> BundleManifest:
        try:
            said = parsed_json(content.decode())
        except ValueError as error:
            self.damaged(f"its manifest is not JSON: {error}")
        if not isinstance(said, dict) or type(said.get("format")) is not int or said["format"] < 1:
            self.damaged("its manifest says no format")
        if said["format"] > FORMAT:
            maker = ascii(str(said.get("affectkit"))[:40])[1:-1]
            raise UsageError(
                f"{self.path} is a bundle of format {said['format']}, made by affectkit {maker}; this is affectkit "
                f"{__version__}, which reads formats up to {FORMAT}: update affectkit"
            )
        try:
            manifest = BundleManifest.model_validate(said)
        except ValidationError as error:
            self.damaged(f"manifest.json: {explain(error)[:300]}")
        _require_names(manifest.members, HostileFile, str(self.path))
        return manifest

    def member(self, name: str, member: BundleMember, folder: Path | None) -> _Header:
        """Read the next member and write it into the folder."""
        at = self.at
        local = self.take(_LOCAL.size + len(name))
        crc, digest, left = 0, sha256(), member.bytes
        with _target(folder, name) as target:
            while left and (block := self.take(min(left, _BLOCK))):
                crc = zlib.crc32(block, crc)
                digest.update(block)
                target.write(block)
                left -= len(block)
        header = _Header(name, member.bytes, crc, at)
        if local != header.local or left or digest.hexdigest() != member.sha256:
            self.damaged(f"{name} is not what the manifest says")
        return header


@contextmanager
def _reading(path: Path) -> Iterator[_Reader]:
    with opened(path, _WHAT) as file:
        size = path.stat().st_size
        if size > LARGEST:
            raise HostileFile(f"{path} has {size:,} bytes; a bundle has at most {LARGEST:,}")
        try:
            yield _Reader(path, io.BufferedReader(cast(io.RawIOBase, file), _BLOCK), size)
        except OSError as error:
            raise AffectkitError(f"{path} cannot be read, or what it holds not be written: {error}") from error


@contextmanager
def _target(folder: Path | None, name: str) -> Iterator[Any]:
    if folder is None:
        yield _Nowhere()
        return
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        yield file


class _Nowhere:
    """Where members go that are only checked."""

    def write(self, block: bytes) -> None:
        """Nothing is kept."""


def _require_names(names: Mapping[str, Any], error: type[AffectkitError], where: str) -> None:
    """Raises the error for names that are no plain paths below the bundle, or that meet on some disk."""
    folders: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name) or any(part.endswith(".") for part in name.split("/")):
            raise error(f"{where}: no member of a bundle can be called {_shown(name)}")
        parts = name.casefold().split("/")
        folders |= {"/".join(parts[:end]) for end in range(1, len(parts))}
    files = {name.casefold() for name in names}
    if len(files) < len(names) or files & folders or MANIFEST in files:
        raise error(f"{where}: two members of the bundle would have one name")
    if len(names) > MOST_MEMBERS:
        raise error(f"{where}: {len(names)} members; a bundle has at most {MOST_MEMBERS}")


def _sums(content: bytes | Path) -> tuple[int, str, int]:
    """Size, SHA-256 and CRC-32."""
    size, digest, crc = 0, sha256(), 0
    for block in _blocks(content):
        size, crc = size + len(block), zlib.crc32(block, crc)
        digest.update(block)
    return size, digest.hexdigest(), crc


def _blocks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with opened(content, "a file of the bundle") as file:
        while block := file.read(_BLOCK):
            yield block


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
