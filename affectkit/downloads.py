"""Fetch a file over HTTP: whole or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from uuid import uuid4

from affectkit.progress import display

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and the bytes in all (None where the server does not say)."""

TIMEOUT = 30.0  # seconds without a byte
MAX_BYTES = 4 << 30
LARGEST_PAGE = 1 << 25
_BLOCK = 1 << 18


def download(
    url: str,
    path: Path,
    accept: Callable[[Path], None],
    progress: Progress | None = None,
    limit: int | None = None,
) -> None:
    """Fetch `url` into a file beside `path`, let `accept` look at it (it raises to refuse), then rename.

    `limit`: most bytes (None: `MAX_BYTES`). A user name and password in the address are sent to its own host only.

    Raises OSError, ValueError or http.client.HTTPException where the bytes do not come, or are too many.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        _copy(url, part, progress, MAX_BYTES if limit is None else limit)
        accept(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class WebPage:
    """What a server answered: the bytes, their media type, and the address that they came from in the end."""

    body: bytes
    kind: str
    url: str


def read_page(url: str, accepted: str) -> WebPage:
    """A page of at most `LARGEST_PAGE` bytes; `accepted` are media types, as in HTTP. Raises as `download`."""
    with _answer(url, accepted) as answer:
        body = answer.read(LARGEST_PAGE + 1)
        if len(body) > LARGEST_PAGE:
            raise ValueError(f"more than {LARGEST_PAGE} bytes")
        return WebPage(body, answer.headers.get_content_type(), _with_login(answer.url, url))


@contextmanager
def fetching(what: str) -> Iterator[Progress]:
    """A `Progress` that is shown as all progress is, in megabytes."""
    with display(f"fetch {what}") as shown:

        def tell(done: int, total: int | None) -> None:
            of = f" of {total / 1e6:,.1f}" if total else ""
            shown.show(min(1.0, done / total) if total else None, f"{done / 1e6:,.1f}{of} MB")

        yield tell


def hub_progress(tell: Progress) -> dict[str, Any]:
    """What makes huggingface_hub call `tell` in place of drawing bars of its own; nothing where it is too old."""
    from inspect import signature

    from huggingface_hub import hf_hub_download
    from tqdm.auto import tqdm

    if "tqdm_class" not in signature(hf_hub_download).parameters:
        return {}

    class Told(tqdm):
        def __init__(self, *given: Any, name: str | None = None, **more: Any) -> None:
            super().__init__(*given, **more | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            tell(int(self.n), int(self.total) if self.total else None)

    return {"tqdm_class": Told}


def replace_text(path: Path, text: str) -> None:
    """Write a small text file in one step: readers see the old one or the new one."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step, its folder too where it is missing: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


NOT_NOW = "nothing is fetched here"
_IS_OFFLINE = ContextVar("is_offline", default=False)


@contextmanager
def offline() -> Iterator[None]:
    """In here nothing is fetched: what is not at hand raises as if there were no network."""
    token = _IS_OFFLINE.set(True)
    try:
        yield
    finally:
        _IS_OFFLINE.reset(token)


def require_host(url: str) -> None:
    """Raise OSError at once where the host of `url` has no address (no network), unless a proxy would find it."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    require_online()
    host = urlsplit(url).hostname
    if host and not getproxies():
        socket.getaddrinfo(host, 443)


def require_online() -> None:
    """Raise OSError where nothing is to be fetched."""
    if _IS_OFFLINE.get():
        raise OSError(NOT_NOW)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex}.part")


@contextmanager
def _answer(url: str, accepted: str = "*/*") -> Iterator[HTTPResponse]:
    from base64 import b64encode
    from urllib.parse import unquote, urlsplit
    from urllib.request import Request, urlopen

    require_online()
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host).geturl(), headers={"Accept": accepted})
    if login:
        request.add_unredirected_header("Authorization", f"Basic {b64encode(unquote(login).encode()).decode()}")
    with urlopen(request, timeout=TIMEOUT) as answer:
        if url.startswith("https:") and not answer.url.startswith("https:"):
            raise ValueError(f"redirected to {answer.url}, which is not https")
        yield answer


def _with_login(url: str, asked: str) -> str:
    """The address with the user name and password of the one that was asked, where both are of one host."""
    from urllib.parse import urlsplit

    target, start = urlsplit(url), urlsplit(asked)
    is_same = (target.scheme, target.netloc) == (start.scheme, start.netloc.rpartition("@")[2])
    return target._replace(netloc=start.netloc).geturl() if is_same else url


def _copy(url: str, part: Path, progress: Progress | None, limit: int) -> None:
    with _answer(url) as answer, part.open("wb") as file:
        length = answer.headers["Content-Length"]
        total = int(length) if length else None
        done = 0
        while block := answer.read(_BLOCK):
            done += file.write(block)
            if done > limit:
                raise ValueError(f"more than {limit} bytes")
            if progress:
                progress(done, total)
        if total is not None and done != total:
            raise ValueError(f"{done} bytes of {total} came")
        file.flush()
        os.fsync(file.fileno())
