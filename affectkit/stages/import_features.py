"""`affectkit import`: Take over features that were made elsewhere, one file a clip.

Features that were made elsewhere, one file a clip -> an artifact like that of `embed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.digests import Digests
from affectkit.errors import ClipError, UsageError, listed, no_folder
from affectkit.media import decoder_version, scan
from affectkit.media.sampling import Rate
from affectkit.stages.inputs import REQUIRED, clips, file
from affectkit.stages.map_stage import MapStage, Told
from affectkit.stages.row_counts import counted, row_notices
from affectkit.stages.sink import Sink
from affectkit.stages.stage import Context
from affectkit.stages.submit import display_intervals
from affectkit.store import Artifact, Schema, features_schema
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.crops import MOST_FRAMES
from affectkit.tables.feature_files import SUFFIXES, TIMES, FeatureFile, FileLayout, Style, read_features
from affectkit.tables.frame_numbers import FrameNumbers
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.ids import ClipChoice, choose
from affectkit.tables.source_digests import clip_entries, media_sources, sound_sources
from affectkit.tables.sources import sources as listed_sources
from affectkit.types import Clip, Floats

_MOST_SHAPES = 16  # files that are read until two agree


class ImportConfig(Config):
    """How the files are read; every field is part of the fingerprint."""

    style: Style = Field(
        "clips",
        description="clips: times in columns, else --videos or --fps; muse: two metadata columns first, the first one "
        "the time in ms; affwild2: a row a frame, times by --videos or --fps",
    )
    name: str = Field(description="what the features are called", min_length=1, max_length=80)
    fps: Rate | str | None = Field(
        None, union_mode="left_to_right", json_schema_extra={"also": "--source-fps"},
        description="rows a second, or a table clip,fps, where files give no times or number frames",
    )  # fmt: skip
    first_frame: int = Field(1, ge=0, le=1, description="the number of a clip's first frame in the column frame")
    time_unit: Literal["s", "ms"] | None = Field(
        None, description="of the columns start, end, timestamp  [default: s; ms for style muse]"
    )
    array: str | None = Field(None, description="the array with the features, where a file has several")
    valid: str = Field("valid", description="the column that says which rows count, if there is one")
    leave_out: list[str] = Field([], description="a column that is no feature (repeatable)")
    dtype: Literal["float32", "float16"] = Field("float32", description="how features are stored")

    @property
    def layout(self) -> FileLayout:
        """How a file is laid out."""
        return FileLayout(self.style, self.valid, tuple(self.leave_out), self.array)

    def recorded(self, times: CropTimes) -> dict[str, Any]:
        """The fields as the fingerprint takes them: rates of a table enter clip by clip."""
        fields = self.model_dump(mode="json", exclude={"first_frame"}) | {"fps": times.assumed}
        return fields if self.first_frame == 1 else fields | {"first_frame": self.first_frame}

    @property
    def unit(self) -> float:
        """Seconds of one unit of time."""
        return 1e-3 if (self.time_unit or ("ms" if self.style == "muse" else "s")) == "ms" else 1.0


@dataclass(frozen=True)
class _Shape:
    """What all files have: dimensions, and names where they have any; `of` is the clip that says so, `timed` whether it
    has times of its own beside numbers of frames."""

    dim: int
    names: tuple[str, ...] | None
    of: str
    timed: bool

    def differs(self, one: FeatureFile) -> str | None:
        """What is different in a file; None where nothing is."""
        if one.values.shape[1] != self.dim:
            more = _first_unlike(one.names, self.names)
            return f"{one.values.shape[1]} features, where {self.of} has {self.dim}{more}"
        if one.names and self.names and one.names != self.names:
            named, usual = next(pair for pair in zip(one.names, self.names, strict=True) if pair[0] != pair[1])
            return f"column {named}, where {self.of} has {usual}"
        return None


def _check(source: Path, config: ImportConfig, videos: Path | None) -> None:
    if videos and not videos.is_dir():
        raise UsageError(f"--videos {no_folder(videos)}")
    if videos and config.fps:
        raise UsageError("--videos and --fps both say when rows are: give one of them")
    if config.style == "affwild2" and not (videos or config.fps):
        raise UsageError("style affwild2 has a row a frame: give --videos DIR, or --fps with the rate of all videos")
    if config.style == "muse" and (videos or config.fps):
        raise UsageError(f"style muse has times of its own: leave {'--videos' if videos else '--fps'} away")


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


def _shape(clips: Sequence[Clip], config: ImportConfig, times: CropTimes) -> _Shape:
    """What the first two files that agree have, else the first that can be read. Raises UsageError where none can, and
    where that one has times that `times` says as well."""
    cause, shapes = "", list[_Shape]()
    for clip in clips:
        try:
            one = read_features(clip.path, config.layout)
        except ClipError as error:
            cause = cause or f"{clip.path}: {error}"
            continue
        agreed = next((shape for shape in shapes if shape.differs(one) is None), None)
        if agreed is None and config.style == "clips" and not shapes and (refused := conflict(one, times)):
            raise UsageError(f"{clip.path}: {refused}")
        if agreed is not None:
            return agreed
        shapes.append(_Shape(one.values.shape[1], one.names, clip.id, bool(one.timed)))
        if len(shapes) == _MOST_SHAPES:
            break
    if not shapes:
        raise UsageError(f"none of {len(clips)} files can be read, the first: {cause}")
    return shapes[0]


def _first_unlike(names: Sequence[str] | None, usual: Sequence[str] | None) -> str:
    """The first column that one of two files lacks, for a message; nothing where columns have no names."""
    if not names or not usual:
        return ""
    more, fewer = [name for name in names if name not in usual], [name for name in usual if name not in names]
    said = [
        f"{len(unlike)} {what} (such as {unlike[0]})" for unlike, what in ((more, "more"), (fewer, "missing")) if unlike
    ]
    return f": {', '.join(said)}" if said else ""


def _take(clip: Clip, config: ImportConfig, shape: _Shape, times: CropTimes, taken: Taken, sink: Sink) -> None:
    """Append one file's rows. Raises ClipError."""
    one = read_features(clip.path, config.layout)
    if differs := shape.differs(one):
        raise ClipError(differs)
    if np.isinf(one.values).any():
        row, column = (int(place) for place in np.argwhere(np.isinf(one.values))[0])
        raise ClipError(f"infinite value in row {row + 1}, dimension {column + 1}")
    placed, start, end, beyond = in_time(clip, one, config.style, config.unit, times, taken.numbers)
    valid = np.asarray(~np.isnan(placed.values).any(axis=1))
    if "valid" in placed.beside:
        valid &= np.nan_to_num(placed.beside["valid"]) != 0
    if beyond:
        sink.damage(clip.id, f"{beyond} rows are beyond the last frame of the video: times go on at its rate")
    sink.count(len(start))
    values = np.where(valid[:, None], placed.values, 0)
    sink.append({"start": start, "end": end, "valid": valid, "values": values})
    sink.end(clip.id, status="partial" if beyond else "ok")
    taken.add(clip.id, one, by_frame=is_by_frame(one, config.style, times))


_LARGEST = 1 << 30  # bytes of a clip with the rows that its numbers of frames leave out
_GAP = 1.5  # of the usual step: rows farther apart than that do not reach to the next one


def in_time(
    clip: Clip, one: FeatureFile, style: Style, unit: float, times: CropTimes, numbers: FrameNumbers
) -> tuple[FeatureFile, Floats, Floats, int]:
    """The rows with start and end [T] (s), and how many of them are beyond the video.

    A row a frame where the style says so, where the file has no times, and where frames are numbered and `times` says
    when they are; else by the file's own times, in units of `unit` seconds. Raises ClipError.
    """
    if is_by_frame(one, style, times):
        return by_frame(clip, one, times, numbers)
    start, end = of_columns(one.beside, unit)
    if style != "muse" and (refused := conflict(one, times)):
        raise ClipError(refused)
    return one, start, end, 0


def is_by_frame(one: FeatureFile, style: Style, times: CropTimes) -> bool:
    """Whether rows are frames, in order or by their numbers, and not where the file's own times say."""
    return style == "affwild2" or not one.timed or (times.are_given and "frame" in one.beside)


def conflict(one: FeatureFile, times: CropTimes) -> str | None:
    """What is wrong where a file says when its rows are, without numbers of frames, and `times` says it as well."""
    if not times.are_given or not one.timed or "frame" in one.beside:
        return None
    option = "--videos" if times.videos else "--fps"
    said = ", ".join(one.timed)
    return (
        f"rows have times of their own ({said}) and no column frame, which {option} would give times to: "
        f"leave {option} away, or the file's times ({' '.join(f'--leave-out {name}' for name in one.timed)})"
    )


def by_frame(
    clip: Clip, one: FeatureFile, times: CropTimes, numbers: FrameNumbers
) -> tuple[FeatureFile, Floats, Floats, int]:
    """A row a frame, start and end [T] (s), and how many are beyond the video; frames left out are NaN."""
    if not times.are_given:
        raise ClipError("no times: a column start and end, or timestamp, or --videos, or --fps is needed")
    number = one.beside.get("frame")
    if number is not None and len(number):
        if number.min() == 0 and times.first_frame == 1:
            raise numbers.zero(clip.id)
        one = _spread(one, number, times.first_frame)
    frames = np.arange(len(one.values))
    fps = times.rate_of(clip.id)
    if fps is not None:
        return one, frames / fps, (frames + 1) / fps, 0
    index = scan(times.video_of(clip))
    if number is not None and len(number):
        numbers.add(clip.id, int(number.min()), int(number.max()), len(index))
    return one, *display_intervals(index, frames), max(0, len(frames) - len(index))


def _spread(one: FeatureFile, number: Floats, first_frame: int) -> FeatureFile:
    """Rows at the frames that `number` [T] says, counted from `first_frame`."""
    if not (np.isfinite(number).all() and (number == np.floor(number)).all() and number.min() >= first_frame):
        raise ClipError(f"frame is a whole number, {first_frame} or more")
    if len(np.unique(number)) < len(number):
        raise ClipError("two rows are of one frame (of two persons?)")
    frames = int(min(number.max() - first_frame, MOST_FRAMES)) + 1
    if frames > MOST_FRAMES or frames * one.values.shape[1] * 8 > _LARGEST:
        raise ClipError(f"frame {number.max():g} is too high")
    places = number.astype(np.intp) - first_frame
    values = np.full((frames, one.values.shape[1]), np.nan)
    values[places] = one.values
    beside: dict[str, Floats] = {name: np.zeros(frames) for name in one.beside if name not in TIMES}
    for name, column in beside.items():
        column[places] = one.beside[name]
    return FeatureFile(values, one.names, beside, one.unnamed)


def of_columns(beside: Mapping[str, Floats], unit: float) -> tuple[Floats, Floats]:
    """start, end [T] (s) by columns. A row with a lone timestamp lasts until the next one, before a gap as long as
    rows usually do; a single row lasts a second."""
    given: dict[str, Floats] = {name: beside[name] * unit for name in ("start", "end", "timestamp") if name in beside}
    start = given["start"] if "start" in given else given["timestamp"]
    if not np.isfinite(start).all():
        raise ClipError(f"row {int(np.argmin(np.isfinite(start))) + 1} has no time")
    back = np.flatnonzero(np.diff(start) < 0)
    if len(back):
        raise ClipError(f"times go back at row {int(back[0]) + 2}: rows are sorted by time")
    if start.size and start[0] < 0:
        raise ClipError(f"the first row begins at {start[0]:g} s, before the clip")
    end = given["end"] if "start" in given and "end" in given else _until(start)
    if not (np.isfinite(end) & (end > start)).all():
        raise ClipError(f"row {int(np.argmin(end > start)) + 1} does not end after its start")
    return start, end


def _until(start: Floats) -> Floats:
    steps = np.diff(start)
    if not len(steps):
        return start + 1.0
    usual = float(np.median(steps))
    length = np.where(steps > _GAP * usual, usual, steps)
    return np.asarray(start + np.append(length, usual))


_NO_FEATURES = frozenset({
    "id", "index", "row", "face_id", "faceid", "face", "person_id", "confidence", "success", "detected",
    "time", "times", "seconds", "sec", "ms", "t", "frametime", "frame_time", "time_ms", "timestamp_ms",
    "frameindex", "frame_index", "frameid", "frame_id", "frame_number", "framenumber", "frame_nr", "frameno",
    "label", "split", "subject",
})  # fmt: skip


@dataclass(repr=False)
class Taken:
    """Counts over the files that were taken now."""

    numbers: FrameNumbers
    unnamed: dict[str, list[str]] = field(default_factory=dict)
    timed: dict[str, list[str]] = field(default_factory=dict)

    def add(self, clip: str, one: FeatureFile, *, by_frame: bool) -> None:
        """Count a file; `by_frame`: its rows are by numbers of frames, its own times unused."""
        if one.unnamed:
            self.unnamed.setdefault(", ".join(name or "a blank header" for name in one.unnamed), []).append(clip)
        if by_frame and one.timed:
            self.timed.setdefault(", ".join(one.timed), []).append(clip)

    def notices(self, names: Sequence[str] | None) -> list[str]:
        """A line for each thing to know; `names` of the features, where they have any."""
        odd = [name for name in names or () if name.casefold() in _NO_FEATURES]
        found = []
        if odd:
            found.append(f"taken as features: {', '.join(odd)}; leave out what is none by --leave-out")
        found += [
            f"columns without a name left out ({name}): {listed(clips, 'clips')}"
            for name, clips in self.unnamed.items()
        ]
        found += [
            f"times are those of the numbered frames, not of {name}: {listed(clips, 'clips')}"
            for name, clips in self.timed.items()
        ]
        return found + self.numbers.notices()


@dataclass(frozen=True, repr=False)
class Resolved:
    """Files by clip, what they have in common, where their times come from, and what was met in them."""

    source: Path
    clips: Mapping[str, Clip]
    config: ImportConfig
    times: CropTimes
    about_times: Sequence[str]
    shape: _Shape
    taken: Taken


class ImportFeatures(MapStage):
    """Take over features that were made elsewhere, one file a clip.

    A CSV has a header; its columns start and end, or timestamp, say when its rows are, or with --videos or --fps the
    column frame; all others are features. Rows with an empty or NaN cell are kept as rows that do not count. `.npz` and
    torch files may hold the times as arrays of those names. Nothing is unpickled.

    Examples:

    `affectkit import openface/ --name openface --valid success --leave-out face_id --leave-out confidence`

    `affectkit import feats/egemaps/ --style muse --name egemaps`

    `affectkit import embeddings/ --style affwild2 --name mae --videos videos/`
    """

    name = folder = "import"
    version = 1
    makes = "features"
    says = "features of {name}"
    Config = ImportConfig
    runtime = ("workers", "rehash", "retry_failed")

    @dataclass(frozen=True)
    class Inputs:
        """A folder of feature files, and where the times of their rows come from."""

        source: Path = file(
            "a folder with one file a clip: .csv, .npy, .npz, .pt, .safetensors", kind="folder", default=REQUIRED,
            position=True,
        )  # fmt: skip
        videos: Path | None = file("folder of the videos that give rows their times", kind="folder")
        clips: ClipChoice = clips()

    def replayed(self, config: Mapping[str, Any], step: Mapping[str, Any]) -> ImportConfig:
        raise UsageError(
            f"it was trained on imported features ({config['name']}), which no recipe makes from media: "
            "import those of the new clips under the same name, then predict from them"
        )

    def resolve(self, inputs: Inputs, config: ImportConfig) -> Resolved:
        """The first two files that agree say how many dimensions there are, and what they are called."""
        _check(inputs.source, config, inputs.videos)
        clips = {clip.id: clip for clip in _files(inputs.source)}
        chosen = choose(inputs.clips, list(clips))
        times = CropTimes(inputs.videos, None if config.fps is None else frame_rates(config.fps), config.first_frame)
        notices = times.notices(list(clips))
        shape = _shape(list(clips.values()), config, times)
        if chosen is not None:
            clips = {name: clips[name] for name in clips if name in set(chosen)}
        return Resolved(inputs.source, clips, config, times, notices, shape, Taken(FrameNumbers(config.first_frame)))

    def called(self, resolved: Resolved) -> str:
        return resolved.config.name

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        times, shape = resolved.times, resolved.shape
        by_number = times.are_given and shape.timed and resolved.config.style != "affwild2"
        return {
            "config": resolved.config.recorded(times),
            "videos": decoder_version() if times.videos else None,
            "dim": shape.dim,
            "names": list(shape.names) if shape.names else None,
            **({"times": "by the numbers of frames"} if by_number else {}),
        }

    def sources(self, resolved: Resolved, digests: Digests) -> dict[str, str]:
        clips, times = list(resolved.clips.values()), resolved.times
        joined = media_sources(_videos_of(clips, times), digests) if times.videos else {}
        return {clip: times.source_of(clip, digest) for clip, digest in sound_sources(clips, digests, joined).items()}

    def entries(self, resolved: Resolved) -> dict[str, dict[str, Any]]:
        return clip_entries(resolved.clips.values())

    def table(self, resolved: Resolved, context: Context) -> Schema:
        names = {"values": list(resolved.shape.names)} if resolved.shape.names else None
        return features_schema(resolved.shape.dim, resolved.config.dtype, names)

    def provenance(self, resolved: Resolved) -> dict[str, Any]:
        return {**super().provenance(resolved), "source": str(resolved.source.resolve())}

    def title(self, resolved: Resolved) -> str:
        return f"import {resolved.config.name}"

    def compute(self, resolved: Resolved, missing: list[str], sink: Sink, context: Context) -> None:
        """Each file's rows; those with NaN are kept with valid = 0 and zeros."""
        for name in missing:
            try:
                _take(resolved.clips[name], resolved.config, resolved.shape, resolved.times, resolved.taken, sink)
            except ClipError as error:
                sink.fail(name, str(error))

    def notices(self, resolved: Resolved) -> Sequence[str]:
        return resolved.about_times

    def tell(self, resolved: Resolved, selected: Artifact, clips: Sequence[str]) -> Told:
        counts = counted(selected, clips)
        lines = row_notices(counts, "a number in every column")
        return (*lines, *resolved.taken.notices(resolved.shape.names)), counts.as_dict()


STAGE = ImportFeatures
