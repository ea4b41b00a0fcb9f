"""`affectkit embed`: crops -> a feature sequence a clip, through one frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit import plugins
from affectkit.config import Config, Numerics, Runtime
from affectkit.errors import ClipError, UsageError
from affectkit.stages._devices import resolved
from affectkit.stages._map import Outcome, Sink, check_numerics, entries_of, recorded_numerics, run
from affectkit.stages._prefetch import ahead, worker_count
from affectkit.store import Artifact, Cache, features_schema
from affectkit.tracks import decode_crops
from affectkit.weights import WeightsFile

VERSION = 1


class EmbedConfig(Config):
    """What is computed; every field is part of the fingerprint."""

    backbone: str = Field(description="a plugin (affectkit list backbones) or any timm model by name")
    option: list[str] = Field([], description="a backbone option, key=value (repeatable)")
    weights: str = Field("auto", description="auto, a file, or random")
    dtype: Literal["float32", "float16"] = Field("float32", description="how features are stored")


def embed(
    cache: Cache,
    crops: Artifact,
    config: EmbedConfig,
    numerics: Numerics,
    runtime: Runtime,
    *,
    clips: Iterable[str] | None = None,
    out: Path | None = None,
) -> Outcome:
    """Embed every valid crop of a faces artifact (or of some of its `clips`).

    Rows without a face stay in the table with valid = 0 and zeros. The backbone always runs one fixed batch shape,
    filled across clips, so a clip's features do not depend on its neighbours.
    """
    if crops.stage.stage != "faces":
        raise UsageError(f"{crops.path} was made by {crops.stage.stage}; embed takes what extract faces made")
    name, plugin, options = plugins.backbone(config.backbone, config.option)
    weights = plugin.weights(options, config.weights)
    inputs = {
        "stage": "embed",
        "version": VERSION,
        "dtype": config.dtype,
        "backbone": {"name": name, "version": plugin.version, "options": plugins.describe(options)},
        "weights": weights.sha256,
        "decoder": f"pillow-{version('pillow')}",
        "upstream": crops.stage.fingerprint,
    }
    artifact = cache.find("embed", name, inputs, out)
    model = None
    if artifact is None:
        numerics = resolved(numerics)
        model = plugin(options, weights, numerics)
        artifact = cache.create(
            "embed", name, inputs, features_schema(model.dim, config.dtype),
            numerics=recorded_numerics(numerics), upstream=[crops.path], out=out,
            extra={"config": config.model_dump(mode="json"), "weights": describe_weights(weights)},
        )  # fmt: skip
    chosen = list(clips) if clips is not None else crops.clips
    entries = entries_of(crops, chosen)

    def compute(missing: list[str], sink: Sink) -> None:
        chosen_numerics = resolved(numerics)
        check_numerics(artifact, recorded_numerics(chosen_numerics))
        backbone = model or plugin(options, weights, chosen_numerics)
        _embed_crops(crops, missing, backbone, chosen_numerics.batch_size, runtime, config.dtype, sink)

    sources = {clip: crops.digest(clip) for clip in chosen}
    return run(artifact, sources, compute, runtime, what=f"embed {name}", unit="crops", entries=entries)


@dataclass(frozen=True)
class _Span:
    """Rows [first, last) of one clip whose crops are images [at, at + valid rows) of a batch."""

    clip: str
    first: int
    last: int
    is_end: bool


@dataclass(frozen=True)
class _Batch:
    spans: list[_Span]
    images: list[Any]


def _embed_crops(
    crops: Artifact, clips: list[str], backbone: Any, size: int, runtime: Runtime, dtype: str, sink: Sink
) -> None:
    side = int(crops.stage.inputs["config"]["size"])
    failed: set[str] = set()
    with ThreadPoolExecutor(worker_count(runtime)) as pool:
        for batch, (images, broken) in ahead(_batches(crops, clips, size), lambda b: _decode(b, size, side, pool)):
            values = backbone(images) if batch.images else np.zeros((0, backbone.dim), np.float32)
            at = 0
            for span in batch.spans:
                at = _emit(crops, span, values, at, broken, dtype, failed, sink)


def _batches(crops: Artifact, clips: Iterable[str], size: int) -> Iterator[_Batch]:
    """All rows of all clips in order, cut where `size` crops are together."""
    spans: list[_Span] = []
    images: list[Any] = []
    for clip in clips:
        valid = np.asarray(crops.column(clip, "valid"))
        encoded = crops.column(clip, "image")
        total, first = len(valid), 0
        faces = np.flatnonzero(valid)
        while True:
            done = int(np.searchsorted(faces, first))
            room = faces[done : done + size - len(images)]
            is_end = done + len(room) == len(faces)
            last = total if is_end else int(room[-1]) + 1
            images += [encoded[row] for row in room]
            spans.append(_Span(clip, first, last, is_end))
            if len(images) == size:
                yield _Batch(spans, images)
                spans, images = [], []
            if is_end:
                break
            first = last
    if spans:
        yield _Batch(spans, images)


def _decode(batch: _Batch, size: int, side: int, pool: ThreadPoolExecutor) -> tuple[Any, dict[int, str]]:
    """uint8 [size,3,side,side] in the fixed batch shape, and the images that could not be decoded."""
    images = np.zeros((size, side, side, 3), np.uint8)
    broken = decode_crops(batch.images, images[: len(batch.images)], pool)
    return images.transpose(0, 3, 1, 2), broken


def _emit(
    crops: Artifact, span: _Span, values: np.ndarray, at: int, broken: dict[int, str], dtype: str,
    failed: set[str], sink: Sink,
) -> int:  # fmt: skip
    rows = {name: crops.column(span.clip, name)[span.first : span.last] for name in ("start", "end", "valid")}
    count = int(np.count_nonzero(rows["valid"]))
    if span.clip not in failed:
        try:
            for index in range(at, at + count):
                if index in broken:
                    raise ClipError(f"crop of row {span.first + index - at} cannot be read: {broken[index]}")
            sink.append(rows | {"values": _scatter(values[at : at + count], rows["valid"], dtype)})
            if span.is_end:
                sink.end(span.clip, status=crops.status(span.clip))
        except ClipError as error:
            failed.add(span.clip)
            sink.fail(span.clip, str(error))
    return at + count


def _scatter(values: np.ndarray, valid: np.ndarray, dtype: str) -> np.ndarray:
    """Values of the valid rows among zeros, checked before they are narrowed. Raises ClipError."""
    if not np.isfinite(values).all():
        raise ClipError("the backbone gave values that are not finite")
    if dtype == "float16" and values.size and np.abs(values).max() > np.finfo(np.float16).max:
        raise ClipError("a value is beyond float16: repeat with --dtype float32")
    rows = np.zeros((len(valid), values.shape[1]), dtype)
    rows[np.asarray(valid, bool)] = values
    return rows


def describe_weights(weights: WeightsFile) -> dict[str, str | None]:
    """What the provenance says of a weight file."""
    return {
        "name": weights.name,
        "path": str(weights.path) if weights.path else None,
        "sha256": weights.sha256,
        "licence": weights.licence,
        "source": weights.source,
    }
