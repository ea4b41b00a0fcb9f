"""The page itself: templates, scripts and styles in one HTML file, with a policy that allows nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from affectkit.errors import require
from affectkit.pages import drawings, texts

_STYLES = ("uplot.css", "report.css")
_SCRIPTS = ("uplot.js", "report.js")
UPLOT = "uPlot 1.6.32"
"""The plotting library that lies in assets/, with its licence."""


def require_jinja() -> None:
    """Raises MissingExtra without jinja2."""
    require("jinja2", "jinja2", "report", "writing a report")


def rendered(about: Mapping[str, Any], data: Mapping[str, Any], chunks: Mapping[str, str] | None = None) -> str:
    """The page. `about`: what the templates say; `data`: what its script reads; `chunks`: clips by key as JSON, for a
    page in a single file.

    Only texts marked so by this room are markup: everything in `about` is text.
    """
    from markupsafe import Markup

    style = "\n".join(map(_asset, _STYLES))
    scripts = [_asset(name) for name in _SCRIPTS]
    return _environment().get_template("page.html").render(
        {name: texts.all_shown(value) for name, value in about.items()},
        style=Markup(style), scripts=[Markup(script) for script in scripts],
        policy=policy(style, scripts, single_file=chunks is not None),
        data=Markup(texts.script_json(data)),
        chunks={key: Markup(text) for key, text in (chunks or {}).items()},
        licence=_asset("uplot.LICENSE"), uplot=UPLOT,
    )  # fmt: skip


def policy(style: str, scripts: list[str], *, single_file: bool) -> str:
    """The Content-Security-Policy: this style and these scripts by their digests; beside them, of a page with data in
    files, the files of its own folder. Nothing is fetched, framed, submitted or connected to.

    Browsers take `'self'` of a page on a file system in different ways, so that `file:` stands beside it; a page on a
    server can load nothing from there.
    """
    beside = "" if single_file else " 'self' file:"
    return "; ".join([
        "default-src 'none'", f"script-src {' '.join(map(_digest, scripts))}{beside}", f"style-src {_digest(style)}",
        "img-src data:", "media-src 'self' file:", "base-uri 'none'", "form-action 'none'",
    ])  # fmt: skip


@cache
def _asset(name: str) -> str:
    return (files("affectkit.pages") / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("affectkit.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": texts.number, "percent": texts.percent, "clock": texts.clock, "shade": drawings.shade,
    }  # fmt: skip
    return environment
