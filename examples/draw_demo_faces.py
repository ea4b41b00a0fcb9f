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
from affectkit.practice.face_features import Expression
from affectkit.practice.feelings import PARAMETERS, affect_shown, face_of

VALENCE, AROUSAL = (-0.9, -0.3, 0.3, 0.9), (0.9, -0.9)


def draw(path: Path, size: int = 160) -> None:
    """Write the 4 x 2 sheet, `size` pixels a face."""
    view = View(centre=(226, 112), zoom=1.1)
    rows = [np.hstack([render(_face(valence, arousal), view, size) for valence in VALENCE]) for arousal in AROUSAL]
    Image.fromarray(np.vstack(rows)).quantize(192).save(path, optimize=True)


def _face(valence: float, arousal: float) -> Expression:
    return face_of(affect_shown(np.float64(valence), np.float64(arousal))[: len(PARAMETERS)], blink=0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {Path(sys.argv[0]).name} OUT.png")
    draw(Path(sys.argv[1]))
