"""A faces artifact of any size, for the benchmarks that read crops."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import cycle, islice

import numpy as np

from affectkit.store import Artifact, Cache, faces_schema

CLIP = 100


def encoded_crops(side: int) -> Iterator[bytes]:
    """A photograph's face, JPEG 95, in 64 places of the window."""
    from PIL import Image
    from skimage.data import astronaut

    face = Image.fromarray(astronaut()).crop((140, 0, 320, 180)).resize((side + 32, side + 32))
    for x, y in ((x, y) for y in range(0, 32, 4) for x in range(0, 32, 4)):
        file = BytesIO()
        face.crop((x, y, x + side, y + side)).save(file, "JPEG", quality=95)
        yield file.getvalue()


def make_crops(cache: Cache, count: int, side: int) -> Artifact:
    """A faces artifact of clips of 100 rows."""
    artifact = cache.create("faces", "benchmark", {"config": {"size": side}, "count": count}, faces_schema())
    images = cycle(list(encoded_crops(side)))
    part = artifact.new_part()
    for first in range(0, count, CLIP):
        rows = min(CLIP, count - first)
        start = np.arange(rows) / 5
        part.append({
            "start": start, "end": start + 0.2, "valid": np.ones(rows), "image": list(islice(images, rows)),
            "boxes": np.zeros((rows, 4)), "landmarks": np.zeros((rows, 5, 2)), "score": np.ones(rows),
            "frame_index": np.arange(rows),
        })  # fmt: skip
        part.end(f"clip{first:07d}", f"{first:064x}", {"origin": 0.0})
    part.commit()
    artifact.seal()
    return artifact
