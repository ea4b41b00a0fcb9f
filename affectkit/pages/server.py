"""A folder shown to this machine alone: read-only, by a token in the URL, with ranges so that videos seek.

Whoever runs another program here, or has a browser open on a page of a stranger, sees nothing without the token; a page
of a stranger that lets its name point here (DNS rebinding) is refused by its Host.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from affectkit.errors import UsageError, no_folder

PAGE = "index.html"
_TYPES = {
    ".js": "text/javascript; charset=utf-8", ".json": "application/json",
    ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".webp": "image/webp", ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm",
    ".mkv": "video/x-matroska", ".avi": "video/x-msvideo", ".ogv": "video/ogg", ".mp3": "audio/mpeg",
    ".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".m4a": "audio/mp4", ".opus": "audio/ogg",
}  # fmt: skip
"""What is served as what it is; SVG, HTML of other names and all else as bytes, so that no stranger's file becomes a
page of this server."""
_PAGE = "text/html; charset=utf-8"
_POLICY = (
    "default-src 'self' data: 'unsafe-inline'; connect-src 'none'; frame-ancestors 'none'; form-action 'none'; "
    "base-uri 'none'"
)
"""Beside the policy that a report has itself: whatever page it is, it reaches nothing but its folder."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BLOCK = 1 << 16
_SECONDS = 30.0  # that a connection may stay silent


class FolderServer(ThreadingHTTPServer):
    """Serves the files of a folder on 127.0.0.1, each request in a thread of its own."""

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, folder: Path, port: int = 0, token: str | None = None) -> None:
        """`port`: 0 takes a free one. Raises UsageError for what is no folder, and for a port that is taken."""
        if not folder.is_dir():
            raise UsageError(f"{no_folder(folder)}: give what affectkit report printed")
        self.folder = os.path.realpath(folder)
        self.token = token or secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"--port {port}: {why}; 0 takes a free one") from None

    @property
    def url(self) -> str:
        """Where the page is, with the token."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def hosts(self) -> set[str]:
        """What a request may call this server."""
        return {f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is none of our errors."""


class _Handler(BaseHTTPRequestHandler):
    server: FolderServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "affectkit", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the token stands in every line."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A status and a word of text, without what was asked for."""
        status = HTTPStatus(code)
        body = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self._headers("text/plain; charset=utf-8", len(body))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer(self, *, with_body: bool) -> None:
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts()]:
            return self.send_error(HTTPStatus.FORBIDDEN)
        path = self.path.partition("?")[0]
        token, _, name = path.removeprefix("/").partition("/")
        if not compare_digest(token.encode("latin-1", "replace"), self.server.token.encode()):
            return self.send_error(HTTPStatus.FORBIDDEN)
        if path == f"/{self.server.token}":
            return self._redirect()
        file = opened_below(self.server.folder, name or PAGE)
        if file is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        with file:
            self._send(file, name or PAGE, with_body)
        return None

    def _redirect(self) -> None:
        self.send_response(HTTPStatus.MOVED_PERMANENTLY)
        self.send_header("Location", f"/{self.server.token}/")
        self._headers("text/plain; charset=utf-8", 0)
        self.end_headers()

    def _send(self, file: BinaryIO, name: str, with_body: bool) -> None:
        size = os.fstat(file.fileno()).st_size
        span = range_of(self.headers.get("Range"), size)
        if span is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self._headers("text/plain; charset=utf-8", 0)
            return self.end_headers()
        first, last, is_part = span
        self.send_response(HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK)
        if is_part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        kind = _PAGE if Path(name).name == PAGE else _TYPES.get(Path(name).suffix.lower(), "application/octet-stream")
        if kind == _PAGE:
            self.send_header("Content-Security-Policy", _POLICY)
        self._headers(kind, last - first + 1)
        self.end_headers()
        if with_body:
            with suppress(ConnectionError, TimeoutError):
                _copy(file, self.wfile, first, last - first + 1)
        return None

    def _headers(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")


def opened_below(folder: str, name: str) -> BinaryIO | None:
    """A regular file below a folder by its name in a URL; None for anything else, and where a link stands on the way.

    The folders on the way are opened one inside the other, each without following a link, so that nothing can be
    swapped between the check and the reading.
    """
    parts = [unquote_to_bytes(part) for part in name.split("/")]
    if any(part in (b"", b".", b"..") or b"/" in part or b"\0" in part for part in parts):
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=handle)
    except (OSError, ValueError):
        return None
    finally:
        os.close(handle)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return os.fdopen(file, "rb")


def range_of(header: str | None, size: int) -> tuple[int, int, bool] | None:
    """(first byte, last byte, whether it is a part) that a Range header asks for; None for what cannot be had. Several
    ranges, and headers that are none, are answered by all of the file, as RFC 9110 allows.

    >>> range_of("bytes=2-", 10), range_of("bytes=-3", 10), range_of(None, 10), range_of("bytes=10-", 10)
    ((2, 9, True), (7, 9, True), (0, 9, False), None)
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match[1] == match[2] == "":
        return 0, size - 1, False
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, size - 1, True) if length else None
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return 0, size - 1, False
    return (first, last, True) if first < size else None


def _copy(file: BinaryIO, out: Any, first: int, length: int) -> None:
    file.seek(first)
    while length > 0 and (block := file.read(min(_BLOCK, length))):
        out.write(block)
        length -= len(block)
