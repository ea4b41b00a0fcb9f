"""The one style of figures, and files that are the same bytes for the same figure.

Colours are those that everybody can tell apart (Okabe and Ito 2008). Imports matplotlib: import inside functions only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, BLACK, GREY, LIGHT = "#0072B2", "#D55E00", "#000000", "#999999", "#BBBBBB"
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "figure.constrained_layout.use": True, "svg.hashsalt": "affectkit", "savefig.dpi": 150, "image.cmap": "Blues",
}  # fmt: skip
_MARGIN = 0.08  # inches


def figure_of(width: float, height: float) -> Figure:
    """An empty figure (inches)."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """PNG and SVG without a date or a version in them; laid out once, which is what takes the time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    inside = figure.get_tightbbox().padded(_MARGIN)
    figure.savefig(path.with_suffix(".png"), bbox_inches=inside, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), bbox_inches=inside, metadata={"Date": None, "Creator": None})
