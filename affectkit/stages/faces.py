"""`affectkit extract faces`: Find, track and crop the face of each clip.

Media -> face tracks with encoded crops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import Event, Lock
from types import TracebackType
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from affectkit import plugins
from affectkit.config import Config, Runtime
from affectkit.devices import resolve
from affectkit.digests import Digests
from affectkit.downloads import offline
from affectkit.errors import AffectkitError, ClipError, MissingExtra, UsageError, no_folder
from affectkit.media import (
    STILL_SUFFIXES,
    VIDEO_SUFFIXES,
    Frame,
    Sampling,
    StillReader,
    VideoReader,
    decoder_version,
    is_plain,
    read_picture,
    scan,
    upright_rgb,
)
from affectkit.media.sampling import Rate
from affectkit.plugins import Detector
from affectkit.prefetch import MOST_BYTES, prefetched, worker_count
from affectkit.stages.inputs import file, media, rates, value
from affectkit.stages.map_stage import MapStage, Outcome, Told
from affectkit.stages.row_counts import face_notices
from affectkit.stages.sink import Sink
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Schema, faces_schema
from affectkit.store.atomic import explained
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.crops import crop_frames
from affectkit.tables.frame_numbers import FrameNumbers
from affectkit.tables.frame_rates import FrameRates, Rates, frame_rates
from affectkit.tables.source_digests import clip_entries, crop_sources, media_sources
from affectkit.tables.sources import are_crops
from affectkit.tracks import (
    CropConfig,
    FaceRule,
    FaceTracker,
    LinkConfig,
    detect_every,
    face_rule,
    pixels_in,
    rescaled,
)
from affectkit.tracks.decoding import MAX_SIDE
from affectkit.types import Clip, Detections, FaceTrack, Floats
from affectkit.weights import WeightsFile, flags

PRECROPPED = "precropped"
"""What stands in place of a detector where crops were made elsewhere."""
_ROWS_AT_ONCE = 256
_CLIPS_AT_ONCE = 4  # each holds some pictures


class FacesConfig(CropConfig, LinkConfig):
    """What is computed; every field is part of the fingerprint."""

    fps: Rate | Literal["native"] | None = Field(
        None, description="frames a second, or native  [default: 5; of folders of crops, native]"
    )
    frames: int | None = Field(None, ge=1, le=1_000_000, description="or: frames a clip, spread evenly")
    face: FaceRule = Field("largest", description="which face a clip is about")
    detector: str = Field("retinaface", description="a detector (affectkit list detectors)")
    option: list[str] = Field([], description="an option of the detector, key=value (repeatable)")
    weights: str = Field("auto", description="the detector's weights: auto or a file")
    detect_every: int = Field(1, ge=1, le=100, description="detect on every k-th sampled frame, interpolate between")
    on_truncated: Literal["keep", "fail"] = Field(
        "keep", description="a damaged file: keep what decodes and mark the clip partial, or fail"
    )

    @model_validator(mode="after")
    def _one_sampling(self) -> FacesConfig:
        if self.fps is not None and self.frames is not None:
            raise ValueError("give either fps or frames")
        return self

    @property
    def sampling(self) -> Sampling:
        """The frames to look at."""
        return Sampling(frames=self.frames) if self.frames else Sampling(fps=self.fps or 5.0)

    @property
    def crop_sampling(self) -> Sampling:
        """The crops to take of a folder: all, unless fewer are asked for."""
        return Sampling(frames=self.frames) if self.frames else Sampling(fps=self.fps or "native")

    def recipe(self) -> dict[str, Any]:
        """The fields as the fingerprint takes them; detector and weights enter by what they are."""
        fields = self.model_dump(mode="json", exclude={"detector", "option", "weights", "fps", "frames"})
        return fields | {"sampling": self.sampling.model_dump(mode="json", exclude_none=True)}

    def crop_recipe(self) -> dict[str, Any]:
        """The fields that matter to folders of crops, as the fingerprint takes them."""
        sampling = self.crop_sampling.model_dump(mode="json", exclude_none=True)
        return {"sampling": sampling, "size": self.size, "format": self.format, "quality": self.quality}


def _numerics(device: str) -> dict[str, Any]:
    return {"device": device.split(":")[0]}


class _Extractor:
    """Detects, tracks and cuts, clip by clip, in bounded memory.

    A detector that is `concurrent` gets several clips at once, on as many cores; what a clip gives is the same.
    """

    def __init__(self, detector: Detector, config: FacesConfig, runtime: Runtime, folder: Path) -> None:
        self._detector = detector
        self._config = config
        self._threads = worker_count(runtime)
        self._folder = folder
        self._turn = Lock()
        self._stopped = Event()

    def run(self, clips: Sequence[Clip], rules: Mapping[str, FaceRule], sink: Sink) -> None:
        """Send the rows of all clips to the sink, or why there are none."""
        most = _CLIPS_AT_ONCE if getattr(self._detector, "concurrent", False) else 1
        lanes = max(1, min(most, self._threads, len(clips)))
        waiting = _TakenOnce(clips)
        with ThreadPoolExecutor(self._threads) as pool:
            if lanes == 1:
                self._lane(waiting, 1, rules, pool, sink)
                return
            with ThreadPoolExecutor(lanes, "clips") as workers:
                running = [workers.submit(self._lane, waiting, lanes, rules, pool, sink) for _ in range(lanes)]
                try:
                    for lane in as_completed(running):
                        lane.result()
                finally:
                    self._stopped.set()  # an error or Ctrl-C: what the others have begun is left
                    with self._turn:  # what one of them is writing is complete, and nothing follows
                        pass

    def _lane(
        self, clips: Iterable[Clip], lanes: int, rules: Mapping[str, FaceRule], pool: ThreadPoolExecutor, sink: Sink
    ) -> None:
        """Clip after clip, beside other lanes."""
        threads = -(-self._threads // lanes)
        decoded = decode_all(clips, self._config.sampling, threads, self._config.on_truncated)
        most_bytes = MOST_BYTES // lanes
        with closing(prefetched(decoded, nbytes=lambda step: step.nbytes, most_bytes=most_bytes)) as ready:
            for clip, steps in groupby(ready, key=lambda step: step.clip):
                cause = None
                try:
                    self._one(clip, steps, rules[clip], pool, sink)
                except ClipError as error:
                    cause = str(error)
                except MemoryError:
                    cause = "not enough memory for its pictures"
                with self._turn:
                    if self._stopped.is_set():
                        break
                    if cause is not None:
                        sink.fail(clip, cause)

    def _one(self, clip: str, steps: Iterator[Decoded], rule: FaceRule, pool: ThreadPoolExecutor, sink: Sink) -> None:
        """One clip, unless the run is ended meanwhile."""
        ended: list[VideoReader | StillReader] = []
        with FileSpool(self._folder) as spool:
            tracker = FaceTracker(rule, self._config, self._config, pool=pool, spool=spool)
            found = detect_every(
                self._frames(steps, ended, sink), _Detect(self._detector), self._config.detect_every,
                time=lambda frame: frame.start, nbytes=lambda frame: frame.image.nbytes, rule=rule,
            )  # fmt: skip
            for frame, faces in found:
                if self._stopped.is_set():
                    return
                tracker.add(frame.start, frame.end, frame.index, frame.image, faces)
                with self._turn:
                    sink.count(1, clip)
            (reader,) = ended
            status = "partial" if reader.partial else "ok"
            scalars = {"origin": reader.origin}
            tracks = tracker.finish()
            with self._turn:
                if self._stopped.is_set():
                    return
                if reader.problem:
                    sink.damage(clip, reader.problem)
                for face in reversed(range(len(tracks))):
                    append_track(sink, tracks[face])
                    if rule == "all":
                        sink.end_face(clip, face, scalars, status)
                    else:
                        sink.end(clip, scalars, status)

    def _frames(self, steps: Iterable[Decoded], ended: list[VideoReader | StillReader], sink: Sink) -> Iterator[Frame]:
        """The frames of one clip; its reader goes to `ended`. Raises the clip's ClipError."""
        for step in steps:
            if step.error is not None:
                raise step.error
            if step.expected is not None:
                with self._turn:
                    sink.expect(step.expected, step.clip)
            if step.reader is not None:
                ended.append(step.reader)
            if step.frame is not None:
                yield step.frame


class _TakenOnce(Iterator[Clip]):
    """Clips that several threads take from, each once, in order."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        self._clips = iter(clips)
        self._turn = Lock()

    def __next__(self) -> Clip:
        with self._turn:
            return next(self._clips)


class _Detect:
    """Finds the faces of a clip's frames, each at its own size; in pixels of the clip's first frame."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._size: tuple[int, ...] = ()

    def __call__(self, frames: list[Frame]) -> list[Detections]:
        found: list[Detections] = []
        for shape, alike in groupby((frame.image for frame in frames), key=lambda image: image.shape):
            self._size = self._size or shape
            images = list(alike)
            stacked = images[0][None] if len(images) == 1 else np.stack(images)
            found += [rescaled(faces, 1 / pixels_in(shape, self._size)) for faces in self._detector(stacked)]
        return found


def append_track(sink: Sink, track: FaceTrack) -> None:
    """Write a track's rows, a few at a time: its crops may lie on the disk."""
    for first in range(0, len(track), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        sink.append({
            "start": track.start[rows], "end": track.end[rows], "valid": track.valid[rows],
            "image": list(track.crops[rows]), "boxes": track.boxes[rows], "landmarks": track.landmarks[rows],
            "score": track.score[rows], "frame_index": track.frame_index[rows],
        })  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """One step of a clip's decoding: the begin (with the number of frames that are expected), a frame, the end (with
    its reader), or the error that ended it."""

    clip: str
    expected: int | None = None
    frame: Frame | None = None
    reader: VideoReader | StillReader | None = None
    error: ClipError | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the picture."""
        return 0 if self.frame is None else self.frame.image.nbytes


def decode_all(
    clips: Iterable[Clip], sampling: Sampling, threads: int, on_truncated: Literal["keep", "fail"]
) -> Iterator[Decoded]:
    """All sampled frames of all clips, in order; a clip that cannot be decoded ends with its error."""
    for clip in clips:
        try:
            reader = _open(clip, sampling, threads, on_truncated)
            yield Decoded(clip.id, expected=reader.expected)
            for frame in reader:
                yield Decoded(clip.id, frame=frame)
            yield Decoded(clip.id, reader=reader)
        except AffectkitError:
            raise
        except Exception as error:  # whatever a damaged file provokes ends that clip only
            yield Decoded(clip.id, error=clip_error(error, clip.path))


def _open(
    clip: Clip, sampling: Sampling, threads: int, on_truncated: Literal["keep", "fail"]
) -> VideoReader | StillReader:
    if clip.path.suffix.lower() in STILL_SUFFIXES:
        return StillReader(clip.path, sampling, start=clip.start, end=clip.end)
    return VideoReader(clip.path, sampling, start=clip.start, end=clip.end, threads=threads, on_truncated=on_truncated)


def clip_error(error: Exception, path: Path) -> ClipError:
    """What ended the reading of one file, as that clip's error."""
    if isinstance(error, ClipError):
        return error
    if isinstance(error, OSError):
        return ClipError(f"{path} cannot be read: {error.strerror or error}")
    return ClipError(f"cannot be read: {type(error).__name__}{': ' if str(error) else ''}{error}")


_IN_MEMORY = 8 << 20


class FileSpool:
    """A list of byte strings that can be appended to and read back.

    >>> with FileSpool(Path(".")) as spool:
    ...     spool.append(b"ab")
    ...     spool.append(b"cde")
    ...     spool[1], len(spool)
    (b'cde', 2)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115
        self._ends = [0]

    def __enter__(self) -> FileSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, data: bytes, /) -> None:
        with explained(self._folder):
            self._file.seek(self._ends[-1])
            self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def __getitem__(self, index: int, /) -> bytes:
        self._file.seek(self._ends[index])
        return self._file.read(self._ends[index + 1] - self._ends[index])


_LARGEST_FILE = 64 << 20


def add_crops(
    clip: Clip, config: CropConfig, sampling: Sampling, times: CropTimes, numbers: FrameNumbers, sink: Sink
) -> None:
    """Append one folder's sampled rows. Boxes are the whole crop, landmarks unknown (zeros), scores 1.

    Frames beyond the last of the video are dropped and the clip is marked partial. Raises ClipError.
    """
    crops = crop_frames(clip.path, times.first_frame)
    files = dict(zip(crops.numbers.tolist(), crops.paths, strict=True))
    starts, ends, origin = _times(clip, crops.frames, times)
    if times.videos is not None:
        lowest, highest = (int(crops.numbers[place]) + times.first_frame - 1 for place in (0, -1))
        numbers.add(clip.id, lowest, highest, len(starts))
    rows = sampling.pick(starts, float(ends[-1]))
    sink.expect(len(rows))
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        frames = rows[first : first + _ROWS_AT_ONCE]
        _append(sink, [files.get(int(frame) + 1) for frame in frames], starts[frames], ends[frames], frames, config)
    dropped = int(np.sum(crops.numbers > len(starts)))
    if dropped:
        sink.damage(clip.id, f"{dropped} crops are beyond the {len(starts)} frames of the video: left out")
    sink.end(clip.id, {"origin": origin}, "partial" if dropped else "ok")


def _times(clip: Clip, frames: int, times: CropTimes) -> tuple[Floats, Floats, float]:
    """Display interval of each frame (s), and the moment of the first on the file's clock."""
    if clip.start is not None or clip.end is not None:
        raise ClipError("start and end cut media files; a folder of crops is taken whole")
    fps = times.rate_of(clip.id)
    if fps is not None:
        return np.arange(frames) / fps, (np.arange(frames) + 1) / fps, 0.0
    index = scan(times.video_of(clip))
    return index.times, np.append(index.times[1:], index.duration), index.origin


def _append(
    sink: Sink, files: list[Path | None], starts: Floats, ends: Floats, frames: np.ndarray, config: CropConfig
) -> None:
    encoded = [b"" if path is None else _encoded(path, config) for path in files]
    valid = np.array([bool(data) for data in encoded])
    size = config.size
    sink.count(len(files))
    sink.append({
        "start": starts, "end": ends, "valid": valid, "image": encoded, "frame_index": frames,
        "boxes": valid[:, None] * np.array([[0, 0, size, size]], np.float32),
        "landmarks": np.zeros((len(valid), 5, 2), np.float32), "score": valid.astype(np.float32),
    })  # fmt: skip


def _encoded(path: Path, config: CropConfig) -> bytes:
    """The file's own bytes where they have the size and format already, else upright, resized whole and encoded."""
    from PIL import Image

    if path.stat().st_size > _LARGEST_FILE:
        raise ClipError(f"{path} is larger than {_LARGEST_FILE >> 20} MB: not a face crop")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClipError(f"{path} cannot be read: {error.strerror}") from None
    wanted = (config.size, config.size)
    try:
        with read_picture(BytesIO(data), formats=("JPEG", "PNG"), max_side=MAX_SIDE) as picture:
            is_jpeg = data[:3] == b"\xff\xd8\xff"
            kept = picture.size == wanted and is_jpeg == (config.format == "jpeg") and is_plain(picture)
            pixels = upright_rgb(picture)
    except ClipError as error:
        raise ClipError(f"{path}: {error}") from None
    if kept:
        return data
    image = Image.fromarray(pixels).resize(wanted, Image.Resampling.BILINEAR, reducing_gap=3.0)
    out = BytesIO()
    image.save(out, "JPEG", quality=config.quality) if config.format == "jpeg" else image.save(out, "PNG")
    return out.getvalue()


class _Tracks(MapStage):
    """Face tracks with encoded crops, of whatever clips."""

    name = "extract-faces"
    folder = "faces"
    version = 1

    def entries(self, resolved: Any) -> dict[str, dict[str, Any]]:
        return clip_entries(resolved.clips.values())

    def table(self, resolved: Any, context: Context) -> Schema:
        return faces_schema()

    def unit(self, resolved: Any) -> str:
        return "frames"


@dataclass(frozen=True)
class Resolved:
    """Clips by id, the rule of each, and the detector."""

    clips: Mapping[str, Clip]
    rules: Mapping[str, FaceRule]
    config: FacesConfig
    plugin: type[Any]
    options: Config
    weights: WeightsFile


class ExtractFaces(_Tracks):
    """Find, track and crop the face of each clip.

    Every sampled frame is a row; a frame without a face stays as a row with valid = 0.

    Examples:

    `affectkit extract faces clips/ --detector centerface --fps 5`

    `affectkit extract faces talk.mp4 --frames 32 --face nearest --margin 10px --shape letterbox`

    `affectkit extract faces cropped_aligned/ --videos videos/`

    `affectkit extract faces --dataset affwild2 --root AffWild2/ --fps 5`
    """

    makes = "crops"
    says = "faces of {inputs} ({plugin})"
    Config = FacesConfig
    plugin = ("detectors", "detector")
    runtime = ("workers", "rehash", "retry_failed")
    has_device = True

    @dataclass(frozen=True)
    class Inputs:
        """Media, and of folders of crops where their times come from."""

        media: Sequence[Clip] = media(
            VIDEO_SUFFIXES, help="media files, a folder, folders of crops, a manifest CSV, or - (paths on stdin)"
        )
        videos: Path | None = file("for folders of crops: the videos their times come from", kind="folder")
        source_fps: Rates | None = rates("for folders of crops: their rate, recorded as assumed, or a table clip,fps")
        first_frame: int = value(
            int, 1, "for folders of crops: the number of a clip's first frame in file names", least_value=0,
            most_value=1,
        )  # fmt: skip

        @property
        def times(self) -> CropTimes:
            """Where folders of crops have their times from."""
            return CropTimes(self.videos, self.source_fps, self.first_frame)

    def weights_matter(self, clips: Sequence[Clip]) -> bool:
        return not are_crops(clips)

    def replayed(self, config: Mapping[str, Any], step: Mapping[str, Any]) -> FacesConfig:
        if step["inputs"]["detector"]["name"] == PRECROPPED:
            raise UsageError(
                "it was trained on folders of crops, which no recipe makes from media: "
                "extract faces and embed, then predict from those features"
            )
        return FacesConfig.model_validate(config)

    def run(self, inputs: Inputs, config: FacesConfig, context: Context) -> Outcome:
        """Detect faces in media, take folders of crops as they are."""
        if are_crops(inputs.media):
            return _TakeCrops().run(inputs, config, context)
        return super().run(inputs, config, context)

    def resolve(self, inputs: Inputs, config: FacesConfig) -> Resolved:
        if inputs.times != CropTimes():
            raise UsageError(
                "--videos, --source-fps and --first-frame give times to folders of crops; media have their own"
            )
        clips = {clip.id: clip for clip in inputs.media}
        rules = {name: face_rule(clip.face) if clip.face else config.face for name, clip in clips.items()}
        plugin = plugins.get("detectors", config.detector)
        options = plugins.parse_options(plugin, config.option, config.detector)
        try:
            weights = plugins.weights("detectors", config.detector, plugin, options, config.weights)
        except AffectkitError as error:
            if flags().detector is None or config.weights != "auto":
                raise
            raise UsageError(f"{error}{_others(config.detector)}") from None
        return Resolved(clips, rules, config, plugin, options, weights)

    def called(self, resolved: Resolved) -> str:
        return resolved.config.detector

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        return {
            "config": resolved.config.recipe(),
            "detector": plugins.identity(resolved.config.detector, resolved.plugin, resolved.options),
            "weights": resolved.weights.sha256,
            "decoder": decoder_version(),
        }

    def sources(self, resolved: Resolved, digests: Digests) -> dict[str, str]:
        return media_sources(resolved.clips.values(), digests)

    def provenance(self, resolved: Resolved) -> dict[str, Any]:
        return {**super().provenance(resolved), "weights": resolved.weights.about()}

    def asked(self, resolved: Resolved, context: Context) -> dict[str, Any]:
        return {} if context.device == "auto" else _numerics(context.device)

    def recorded(self, resolved: Resolved, context: Context) -> dict[str, Any]:
        return _numerics(resolve(context.device))

    def compute(self, resolved: Resolved, missing: list[str], sink: Sink, context: Context) -> None:
        """A row a sampled frame, valid = 0 where no face is; one face track a clip, one a face with `--face all`."""
        sink.say(f"loading {resolved.config.detector}")
        detector = plugins.instance(
            "detectors",
            resolved.config.detector,
            resolved.plugin,
            resolved.options,
            resolved.weights,
            resolve(context.device),
        )
        extractor = _Extractor(detector, resolved.config, context.runtime, sink.folder)
        extractor.run([resolved.clips[clip] for clip in missing], resolved.rules, sink)

    def tell(self, resolved: Resolved, selected: Artifact, clips: Sequence[str]) -> Told:
        return face_notices(selected, clips), {}


@dataclass(frozen=True)
class _Crops:
    """Folders of crops by clip, where their times come from, and the numbers of frames that were met."""

    clips: Mapping[str, Clip]
    config: FacesConfig
    times: CropTimes
    about_times: Sequence[str]
    numbers: FrameNumbers


class _TakeCrops(_Tracks):
    """Folders of crops as they are: no detector runs, and times come from videos or an assumed rate."""

    def resolve(self, inputs: ExtractFaces.Inputs, config: FacesConfig) -> _Crops:
        times, clips = inputs.times, {clip.id: clip for clip in inputs.media}
        if (times.videos is None) == (times.source_fps is None):
            raise UsageError(
                "folders of crops carry no times: give --videos DIR (exact), or --source-fps RATE (assumed)"
            )
        if times.videos is not None and not times.videos.is_dir():
            raise UsageError(f"--videos {no_folder(times.videos)}")
        if times.source_fps is not None and not isinstance(times.source_fps, FrameRates):
            frame_rates(times.source_fps, "--source-fps")
        return _Crops(clips, config, times, times.notices(list(clips)), FrameNumbers(times.first_frame))

    def called(self, resolved: _Crops) -> str:
        return PRECROPPED

    def identity(self, resolved: _Crops) -> dict[str, Any]:
        times = resolved.times
        return {
            "config": resolved.config.crop_recipe(),
            "detector": {"name": PRECROPPED},
            "times": "videos" if times.assumed is None else {"source_fps": times.assumed},
            "decoder": decoder_version(),
            **({} if times.first_frame == 1 else {"first_frame": times.first_frame}),
        }

    def sources(self, resolved: _Crops, digests: Digests) -> dict[str, str]:
        return crop_sources(resolved.clips.values(), digests, resolved.times)

    def provenance(self, resolved: _Crops) -> dict[str, Any]:
        return {**super().provenance(resolved), "times_assumed": resolved.times.source_fps is not None}

    def title(self, resolved: _Crops) -> str:
        return "take crops"

    def compute(self, resolved: _Crops, missing: list[str], sink: Sink, context: Context) -> None:
        for clip in missing:
            try:
                add_crops(
                    resolved.clips[clip],
                    resolved.config,
                    resolved.config.crop_sampling,
                    resolved.times,
                    resolved.numbers,
                    sink,
                )
            except ClipError as error:
                sink.fail(clip, str(error))

    def notices(self, resolved: _Crops) -> Sequence[str]:
        return resolved.about_times

    def tell(self, resolved: _Crops, selected: Artifact, clips: Sequence[str]) -> Told:
        return (*face_notices(selected, clips, "a crop"), *resolved.numbers.notices()), {}


STAGE = ExtractFaces


def _others(detector: str) -> str:
    """What may find faces instead: detectors whose weights are here, and those that an extra brings."""
    at_hand, by_extra = [], []
    for name in plugins.names("detectors"):
        try:
            plugin = plugins.get("detectors", name)
            with offline():
                plugins.weights("detectors", name, plugin, plugin.Options(), "auto")
        except MissingExtra as error:
            by_extra.append(f"{name} (pip install 'affectkit[{error.extra}]')")
        except AffectkitError:
            continue  # to be downloaded as well
        else:
            at_hand.append(f"{name} (its weights are here)")
    others = [text for text in (*at_hand, *by_extra) if not text.startswith(f"{detector} ")]
    return f"; or choose another by {flags().detector}: {', '.join(others)}" if others else ""
