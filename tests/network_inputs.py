"""Crops and sound as the stages cache them, for what reads them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from affectkit.store import Artifact, Cache, faces_schema, waveforms_schema

Pictures = Sequence[NDArray[np.uint8] | bytes | None]


def png(picture: NDArray[np.uint8]) -> bytes:
    """uint8 [H,W,3] as it is stored, without loss."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def pictures(count: int, side: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Smooth colourful pictures, all different."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in small]


def make_crops(
    cache: Cache, clips: Mapping[str, Pictures], side: int, *, fps: float = 5, segments: int = 1
) -> Artifact:
    """A faces artifact: pictures or encoded bytes, None for a row without a face; clips lie in several files."""
    artifact = cache.create("faces", "test", {"stage": "faces", "config": {"size": side}}, faces_schema())
    names = list(clips)
    for chosen in np.array_split(names, segments):
        part = artifact.new_part()
        for clip in chosen.tolist():
            images = [
                b"" if one is None else one if isinstance(one, bytes) else png(np.asarray(one)) for one in clips[clip]
            ]
            start = np.arange(len(images)) / fps
            part.append({
                "start": start, "end": start + 1 / fps, "valid": np.array([bool(image) for image in images]),
                "image": images, "boxes": np.zeros((len(images), 4)), "landmarks": np.zeros((len(images), 5, 2)),
                "score": np.ones(len(images)), "frame_index": np.arange(len(images)),
            })  # fmt: skip
            part.end(clip, f"{names.index(clip):064x}", {"origin": 0.0})
        part.commit()
        artifact.seal()
    return Artifact(artifact.path)


def make_sound(
    cache: Cache, clips: Mapping[str, NDArray[np.float32]], rate: int = 1000, offset: float = 0.0,
    speech: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Artifact:  # fmt: skip
    """An audio artifact; speech everywhere unless said."""
    inputs: dict[str, Any] = {"stage": "audio", "config": {"sampling_rate": rate}}
    artifact = cache.create("audio", "waveform", inputs, waveforms_schema())
    part = artifact.new_part()
    for number, (clip, samples) in enumerate(clips.items()):
        whole = [(offset, offset + len(samples) / rate)]
        stretches = np.array((speech or {}).get(clip, whole), float).reshape(-1, 2)
        part.append({"start": stretches[:, 0], "end": stretches[:, 1], "valid": np.ones(len(stretches))})
        part.append({"samples": samples})
        part.end(clip, f"{number:064x}", {"sampling_rate": rate, "offset": offset, "origin": 0.0})
    part.commit()
    artifact.seal()
    return Artifact(artifact.path)
