"""`affectkit import`: features that were made elsewhere, one file a clip -> an artifact like that of `embed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from affectkit.config import Config, Runtime
from affectkit.errors import ClipError, UsageError, no_folder
from affectkit.manifest import sources as listed_sources
from affectkit.media import decoder_version
from affectkit.stages._feature_files import SUFFIXES, Layout, Style, read_features
from affectkit.stages._imported_rows import by_frame, of_columns
from affectkit.stages._map import Outcome, Sink, run
from affectkit.stages._row_counts import EITHER, row_notices
from affectkit.stages.sources import CropTimes, clip_entries, media_sources, sound_sources
from affectkit.store import Cache, features_schema
from affectkit.types import Clip

VERSION = 1


class ImportConfig(Config):
    """How the files are read; every field is part of the fingerprint."""

    style: Style = Field(
        "clips",
        description="clips: times in columns, else --videos or --fps; muse: two metadata columns first, the first one "
        "the time in ms; affwild2: a row a frame, times by --videos or --fps",
    )
    name: str = Field(description="what the features are called", min_length=1, max_length=80)
    fps: float | None = Field(None, gt=0, le=1000, description="rows a second, where files give no times")
    time_unit: Literal["s", "ms"] | None = Field(
        None, description="of the columns start, end, timestamp  [default: s; ms for style muse]"
    )
    array: str | None = Field(None, description="the array with the features, where a file has several")
    valid: str = Field("valid", description="the column that says which rows count, if there is one")
    leave_out: list[str] = Field([], description="a column that is no feature (repeatable)")
    dtype: Literal["float32", "float16"] = Field("float32", description="how features are stored")

    @property
    def layout(self) -> Layout:
        """How a file is laid out."""
        return Layout(self.style, self.valid, tuple(self.leave_out), self.array)

    @property
    def unit(self) -> float:
        """Seconds of one unit of time."""
        return 1e-3 if (self.time_unit or ("ms" if self.style == "muse" else "s")) == "ms" else 1.0


@dataclass(frozen=True)
class _Shape:
    """What all files have: dimensions, and names where they have any; `of` is the clip that says so."""

    dim: int
    names: tuple[str, ...] | None
    of: str


def import_features(
    cache: Cache, source: Path, config: ImportConfig, runtime: Runtime, *,
    videos: Path | None = None, clips: Sequence[str] | None = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """Take over the files below a folder; a clip's id is its file's path without the suffix.

    Rows with NaN are kept with valid = 0 and zeros. The first file that can be read says how many dimensions there are,
    and what they are called. Raises UsageError where there is none.
    """
    _check(source, config, videos)
    found = _files(source)
    shape = _shape(found, config)
    inputs = {
        "stage": "import",
        "version": VERSION,
        "config": config.model_dump(mode="json"),
        "videos": decoder_version() if videos else None,
        "dim": shape.dim,
        "names": list(shape.names) if shape.names else None,
    }
    schema = features_schema(shape.dim, config.dtype, {"values": list(shape.names)} if shape.names else None)
    artifact = cache.create(
        "import", config.name, inputs, schema, out=out,
        extra={"config": config.model_dump(mode="json"), "source": str(source.resolve())},
    )  # fmt: skip
    chosen = [clip for clip in found if clips is None or clip.id in set(clips)]
    by_id, times = {clip.id: clip for clip in chosen}, CropTimes(videos, config.fps)

    def compute(missing: list[str], sink: Sink) -> None:
        for name in missing:
            try:
                _take(by_id[name], config, shape, times, sink)
            except ClipError as error:
                sink.fail(name, str(error))

    digests = cache.digests(runtime.rehash)
    joined = media_sources(_videos_of(chosen, times), digests) if videos else {}
    sources = sound_sources(chosen, digests, joined)
    entries = clip_entries(chosen)
    return run(
        artifact, sources, compute, runtime, what=f"import {config.name}", unit="rows", entries=entries,
        tell=lambda counts: row_notices(counts, EITHER),
    )  # fmt: skip


def clips_below(source: Path) -> list[str]:
    """The ids of the clips in a folder of feature files. Raises UsageError."""
    return [clip.id for clip in _files(source)]


def _check(source: Path, config: ImportConfig, videos: Path | None) -> None:
    if videos and not videos.is_dir():
        raise UsageError(f"--videos {no_folder(videos)}")
    if videos and config.fps:
        raise UsageError("--videos and --fps both say when rows are: give one of them")
    if config.style == "affwild2" and not (videos or config.fps):
        raise UsageError("style affwild2 has a row a frame: give --videos DIR, or --fps with the rate of all videos")
    if config.style == "muse" and videos:
        raise UsageError("style muse has times of its own: leave --videos away")


def _files(source: Path) -> list[Clip]:
    if not source.is_dir():
        raise UsageError(f"{no_folder(source)}: features are imported from a folder with one file a clip")
    found = [clip for clip in listed_sources([str(source)], media_suffixes=SUFFIXES) if not clip.path.is_dir()]
    if not found:
        raise UsageError(f"{source} holds no feature files ({', '.join(sorted(SUFFIXES))})")
    return found


def _videos_of(clips: Sequence[Clip], times: CropTimes) -> list[Clip]:
    """The clips with their videos as paths, as far as there are videos."""
    found = []
    for clip in clips:
        try:
            found.append(Clip(clip.id, times.video_of(clip)))
        except ClipError:
            continue
    return found


def _shape(clips: Sequence[Clip], config: ImportConfig) -> _Shape:
    cause = ""
    for clip in clips:
        try:
            one = read_features(clip.path, config.layout)
        except ClipError as error:
            cause = cause or f"{clip.path}: {error}"
            continue
        return _Shape(one.values.shape[1], one.names, clip.id)
    raise UsageError(f"none of {len(clips)} files can be read, the first: {cause}")


def _take(clip: Clip, config: ImportConfig, shape: _Shape, times: CropTimes, sink: Sink) -> None:
    """Append one file's rows. Raises ClipError."""
    one = read_features(clip.path, config.layout)
    if one.values.shape[1] != shape.dim:
        raise ClipError(f"{one.values.shape[1]} features, where {shape.of} has {shape.dim}")
    if one.names and shape.names and one.names != shape.names:
        differs = next(pair for pair in zip(one.names, shape.names, strict=True) if pair[0] != pair[1])
        raise ClipError(f"column {differs[0]}, where {shape.of} has {differs[1]}")
    if np.isinf(one.values).any():
        row, column = (int(place) for place in np.argwhere(np.isinf(one.values))[0])
        raise ClipError(f"infinite value in row {row + 1}, dimension {column + 1}")
    if config.style == "affwild2" or not set(one.beside) & {"start", "timestamp"}:
        one, start, end, beyond = by_frame(clip, one, times)
    else:
        start, end, beyond = *of_columns(one.beside, config.unit, config.fps), 0
    valid = np.asarray(~np.isnan(one.values).any(axis=1))
    if "valid" in one.beside:
        valid &= np.nan_to_num(one.beside["valid"]) != 0
    if beyond:
        sink.damage(clip.id, f"{beyond} rows are beyond the last frame of the video: times go on at its rate")
    sink.count(len(start))
    values = np.where(valid[:, None], one.values, 0)
    sink.append({"start": start, "end": end, "valid": valid, "values": values})
    sink.end(clip.id, status="partial" if beyond else "ok")
