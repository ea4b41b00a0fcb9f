"""Draw what the demo's synthetic face does at the extremes of valence and arousal.

    python examples/draw_demo_faces.py docs/images/demo-faces.png

Needs `affectkit[demo]`. Columns: valence -0.9, -0.3, 0.3, 0.9; upper row: arousal 0.9; lower row: arousal -0.9. The
portrait is a public-domain photograph; the expressions are drawn, not the person's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from affectkit.practice.animated_face import View, render
from affectkit.practice.demo import Manner

VALENCE, AROUSAL = (-0.9, -0.3, 0.3, 0.9), (0.9, -0.9)


def draw(path: Path, size: int = 160) -> None:
    """Write the 4 x 2 sheet, `size` pixels a face."""
    view, manner = View(centre=(226, 112), zoom=1.1), Manner()
    rows = [np.hstack([render(manner.express(v, a), view, size) for v in VALENCE]) for a in AROUSAL]
    Image.fromarray(np.vstack(rows)).quantize(192).save(path, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {Path(sys.argv[0]).name} OUT.png")
    draw(Path(sys.argv[1]))
