"""The one style of all figures: widths of print, colours that everybody can tell apart, and files that are the same
bytes for the same figure.

A figure is as wide as it is printed: a column or a page (inches), so that its letters have the size that is said here.
Colours are those of Okabe and Ito (2008). Matplotlib is imported inside functions only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from affectkit.errors import UsageError, require, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.0
"""Widths of a figure in print (inches): one column, and two with what lies between them."""
TALLEST = 9.2
"""What a page of print has room for below each other (inches)."""

BLACK, GREY, LIGHT, SHADE = "#000000", "#999999", "#BBBBBB", "#E4E4E4"
BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE)
"""Colours of lines beside each other, in order; yellow is left out, which is hardly seen on white."""

BODY, SMALL, LEAST = 8.0, 7.0, 6.0
"""Sizes of letters (points): of titles and axes, of ticks and legends, and in crowded cells."""

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": BODY, "axes.titlesize": BODY, "axes.labelsize": BODY,
    "figure.titlesize": BODY, "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "legend.fontsize": SMALL,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.major.size": 2.5, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "figure.constrained_layout.use": True, "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06, "svg.hashsalt": "affectkit", "pdf.fonttype": 42, "savefig.dpi": 300,
    "image.cmap": "Blues",
}  # fmt: skip
"""What matplotlib is told, whatever the user's own settings are."""

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None}, "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}  # fmt: skip
"""What would say when and by which version a file was made."""


def require_matplotlib() -> None:
    """Raises MissingExtra where matplotlib is not installed."""
    require("matplotlib", "matplotlib", "figures", "drawing figures")


def formats(text: str) -> tuple[Format, ...]:
    """The formats that a text lists. Raises UsageError for other words, and for none.

    >>> formats("svg, png,svg")
    ('svg', 'png')
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in FORMATS:
            raise unknown("format of figures", word, FORMATS)
    if not words:
        raise UsageError(f"--format '{text}' names no format of figures (accepted: {', '.join(FORMATS)})")
    return tuple(dict.fromkeys(word for word in words if word in FORMATS))


@contextmanager
def styled() -> Iterator[None]:
    """Everything that is drawn and saved inside has the one style."""
    import matplotlib

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": matplotlib.rcParams["backend"]}):
        yield


def figure_of(width: float, height: float) -> Figure:
    """An empty figure (inches)."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dots = matplotlib.rcParams["savefig.dpi"]  # letters have other widths at other resolutions: laid out as it is saved
    figure = Figure(figsize=(width, height), dpi=dots if isinstance(dots, float | int) else None)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, kinds: Sequence[Format] = ("png", "svg")) -> list[Path]:
    """Write a figure, `path` with the suffix of each format, and return the files: without a date or a version in them,
    and laid out once, which is what takes the time."""
    lay_out(figure)
    files = [path.with_name(f"{path.name}.{kind}") for kind in kinds]
    for kind, file in zip(kinds, files, strict=True):
        write(figure, file, kind)
    return files


def lay_out(figure: Figure) -> None:
    """Find every axes its place, for good."""
    if figure.get_layout_engine() is not None:
        with _any_letters():
            figure.draw_without_rendering()
        figure.set_layout_engine("none")


def write(figure: Figure, file: Path, kind: Format, dpi: float | None = None) -> None:
    """Write a figure that has been laid out, whatever the file is called. `dpi`: other than that of the style."""
    more: dict[str, Any] = {} if dpi is None else {"dpi": dpi}
    with _any_letters():
        figure.savefig(file, format=kind, metadata=_METADATA[kind], **more)


@contextmanager
def _any_letters() -> Iterator[None]:
    """A letter that the font does not have is drawn as a box, and that is all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def plain(name: str) -> str:
    """A name as it is written on a figure: no underscores, nothing that would be taken for a formula or a command.

    >>> print(plain("valence_index"), plain("a$b"), plain("a\\tb"))
    valence index a\\$b a?b
    """
    return shortened(name.replace("_", " "), len(name) + 1)


def shortened(text: str, most: int) -> str:
    """A text with its middle left out where it is long, and nothing in it that would be taken for a formula.

    >>> shortened("a very long name", 9), shortened("short", 9)
    ('a ve…name', 'short')
    """
    text = "".join(mark if mark.isprintable() else "?" for mark in text)
    half = (most - 1) // 2
    text = text if len(text) <= most else f"{text[: most - 1 - half]}…{text[-half:] if half else ''}"
    return text.replace("$", r"\$")
