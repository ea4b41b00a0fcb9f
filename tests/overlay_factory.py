"""Artifacts about videos that are made here: faces, scores and meshes where the test says they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.store import Artifact, Cache, faces_schema, features_schema, predictions_schema
from affectkit.tables.source_digests import clip_entries, media_sources
from affectkit.types import Clip, face_id

CONFIG = {
    "fps": 5.0, "face": "all", "detector": "blazeface", "option": [], "weights": "auto", "margin": "0.2",
    "shape": "square", "align": False, "size": 64,
}  # fmt: skip
"""How the faces were found, they say."""

Boxes = NDArray[np.float64]


def write_faces(
    cache: Cache, clips: Mapping[Clip, Sequence[tuple[NDArray[np.float64], Boxes]]], config: Mapping[str, Any] = CONFIG,
    length: float = 1 / 30,
) -> Artifact:  # fmt: skip
    """A faces artifact: of each clip its faces, as (start [T] (s), boxes [T,4], NaN where there is no face). With one
    face rule other than `all` there is one."""
    artifact = cache.create("faces", "made", {"made": str(config)}, faces_schema(), extra={"config": dict(config)})
    sources = media_sources(clips, cache.digests())
    for clip, tracks in clips.items():
        for number in reversed(range(len(tracks))):
            start, boxes = tracks[number]
            valid = np.isfinite(boxes).all(axis=1)
            rows = {
                "start": start, "end": start + length, "valid": valid, "image": [b""] * len(start),
                "boxes": np.nan_to_num(boxes).astype(np.float32), "score": valid.astype(np.float32),
                "landmarks": np.stack([_landmarks(box) for box in np.nan_to_num(boxes)]).astype(np.float32),
                "frame_index": np.arange(len(start)),
            }  # fmt: skip
            name = face_id(clip.id, number) if config["face"] == "all" else clip.id
            _append(artifact, name, sources[clip.id], rows, {"origin": 0.0})
    artifact.seal([])
    return artifact.select(sources, clip_entries(clips))


def write_scores(
    cache: Cache, upstream: Artifact, scores: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    columns: Sequence[str], name: str = "model", length: float = 1 / 30,
) -> Artifact:  # fmt: skip
    """Predictions of such names, as (start [T], scores [T,K]), made from rows of `upstream` of the same id."""
    artifact = cache.create(
        "predict", name, {"made": f"{name} {upstream.path} {columns}"}, predictions_schema(list(columns)),
        upstream=[upstream.path],
    )  # fmt: skip
    for clip, (start, values) in scores.items():
        valid = np.isfinite(values).all(axis=1)
        rows = {
            "start": start, "end": start + length, "valid": valid, "observed": valid.astype(np.float32),
            "scores": values.astype(np.float32),
        }  # fmt: skip
        _append(artifact, clip, upstream.digest(clip), rows, {"split": ""})
    artifact.seal([])
    return artifact.select({clip: upstream.digest(clip) for clip in scores}, upstream.clip_table())


def write_meshes(cache: Cache, upstream: Artifact, points: NDArray[np.float64]) -> Artifact:
    """Features of backbone face-mesh: the same points [P,3], parts of the crop's side, in all rows of all clips."""
    flat = points.reshape(-1)
    names = [f"p{number}" for number in range(len(flat))]
    artifact = cache.create(
        "embed", "face-mesh", {"made": str(upstream.path)}, features_schema({"values": 2, "points": len(flat)},
        names={"points": names}), upstream=[upstream.path],
    )  # fmt: skip
    for clip in upstream.clips:
        start = upstream.column(clip, "start")
        rows = {
            "start": start, "end": upstream.column(clip, "end"), "valid": upstream.column(clip, "valid"),
            "values": np.zeros((len(start), 2), np.float32),
            "points": np.tile(flat.astype(np.float32), (len(start), 1)),
        }  # fmt: skip
        _append(artifact, clip, upstream.digest(clip), rows, {})
    artifact.seal([])
    return artifact.select({clip: upstream.digest(clip) for clip in upstream.clips}, upstream.clip_table())


def _append(artifact: Artifact, name: str, source: str, rows: Mapping[str, Any], scalars: Mapping[str, Any]) -> None:
    part = artifact.new_part()
    part.append(dict(rows))
    part.end(name, source, dict(scalars))
    part.commit()


def _landmarks(box: Boxes) -> NDArray[np.float64]:
    x0, y0, x1, y1 = box
    parts = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    return np.array([x0, y0]) + parts * np.array([x1 - x0, y1 - y0])


def still(path: Path) -> Clip:
    """A clip of a file, by its name."""
    return Clip(path.stem, path)
