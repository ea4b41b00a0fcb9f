"""`affectkit overlay`: Draw faces and scores on the videos: an MP4 a clip, with its sound and exact times.

Faces, predictions, meshes -> a folder of videos.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from affectkit import plugins
from affectkit.config import Config, fingerprint
from affectkit.devices import resolve
from affectkit.digests import sha256_file
from affectkit.errors import ClipError, HostileFile, MissingFile, UsageError, listed, named
from affectkit.media import decoder_version
from affectkit.overlays.canvas import Style
from affectkit.overlays.hiding import Hiding
from affectkit.plugins import Detector
from affectkit.stages.inputs import REQUIRED, artifacts, clips, file
from affectkit.stages.map_stage import LISTED
from affectkit.stages.overlay_clip import Drawing, Drawn, draw_clip, faces_left
from affectkit.stages.overlay_sources import ClipSource, Drawable, OverlaySources, lacking, opened_all
from affectkit.stages.sink import Meter, meter
from affectkit.stages.stage import Context, Result, Stage, TextTable
from affectkit.store import Artifact, Failure
from affectkit.store.atomic import atomically, explained, write_text
from affectkit.store.result_folder import file_names
from affectkit.store.upkeep import remove_dead
from affectkit.tables.ids import ClipChoice, choose
from affectkit.untrusted import read_object
from affectkit.weights import advising

SUFFIX, RECORD = ".mp4", ".json"


class OverlayConfig(Config):
    """How clips are drawn."""

    style: Style = Field(
        "boxes",
        description="faces in boxes with the strongest class; their mesh; bars of all scores; or the circumplex",
    )
    anonymise: Hiding | None = Field(
        None,
        description="no face is seen: blurred, under a plain box, or nothing of the picture but landmarks and mesh",
    )
    hide_margin: float = Field(
        0.4, ge=0, le=5, description="hidden around a face: times its longer side; more where it moves fast"
    )
    hold: float = Field(
        1.0, ge=0, le=3600, description="seconds that a face is hidden before it is first found and after the last time"
    )
    detect: bool = Field(
        True,
        description="to hide faces: look for them in every frame as well, with the detector that found those known",
    )
    check_hidden: bool = Field(
        False, description="run that detector on the result as well, and keep none in which it finds a face"
    )
    quality: int = Field(75, ge=1, le=100, description="quality of the pictures: higher is better, and larger")
    sound: bool = Field(True, description="with the video's sound")

    def drawing(self) -> Drawing:
        """What drawing one clip needs of it."""
        return Drawing(self.style, self.anonymise, self.hide_margin, self.hold, self.quality, self.sound)


@dataclass(frozen=True)
class _Finder:
    """A detector that is ready, and what it is called."""

    name: str
    detector: Detector
    identity: dict[str, Any]


class Overlay(Stage):
    """Draw faces and scores on the videos: an MP4 a clip, with its sound and exact times.

    Every frame is shown when the video shows it, and the sound is the video's own. A score is drawn only where a row
    has one. With --anonymise faces are hidden, which needs every face to be known (extract faces --face all); they are
    looked for in every frame once more, and with --check-hidden in the result.

    Examples:

    `affectkit overlay "$P" --out videos`

    `affectkit overlay "$FACES" "$P" --style circumplex --clips 'day1/*' --out videos`

    `affectkit overlay "$FACES" --anonymise blur --check-hidden --out videos`
    """

    name = "overlay"
    makes = "file"
    says = "{inputs} drawn on their videos"
    version = 1
    Config = OverlayConfig
    runtime = ("workers", "rehash", "progress")
    has_device = True
    kept = "finished clips are kept, repeat the command to go on"

    @dataclass(frozen=True)
    class Inputs:
        """What is drawn, of which clips, and where results go."""

        what: Sequence[Drawable] = artifacts(
            "crops", "features", "predictions", many=True,
            help="faces, predictions, features of backbone face-mesh, or the folder of analyze; one or more",
        )  # fmt: skip
        out: Path = file("the folder for the videos", kind="made", default=REQUIRED)
        videos: Path | None = file("where the videos are now, if they have moved", kind="folder")
        clips: ClipChoice = clips()

    def run(self, inputs: Inputs, config: OverlayConfig, context: Context) -> Result:
        """Draw the clips that are not drawn yet in this way."""
        if config.check_hidden and config.anonymise not in ("blur", "box"):
            raise UsageError(
                "--check-hidden looks for faces that --anonymise blur or box has left: give one of those with it"
            )
        drawn = opened_all(inputs.what)
        sources = OverlaySources(drawn, inputs.videos, context.cache.digests(context.runtime.rehash))
        chosen = choose(inputs.clips, sources.clips) if inputs.clips is not None else sources.clips
        chosen = sorted(set(chosen or []))
        if not chosen:
            raise UsageError(f"{named([str(each.path) for each in drawn])}: no clip has any rows to draw")
        _check_style(config, drawn)
        notices = lacking(drawn, chosen)
        if sources.failed:
            notices.append(f"not drawn, failed when they were analysed: {listed(sources.failed, 'clips')}")
        names = file_names(sources.clips, (SUFFIX, RECORD))
        folder = _Folder(inputs.out, {clip: names[clip] for clip in chosen})
        finders = _Finders(context.device) if config.anonymise in ("blur", "box") else None
        run = _Run(self, config, context, folder, sources, finders)
        with meter("overlay", len(chosen), "frames", context.runtime.progress) as counter:
            for clip in chosen:
                run.draw(clip, counter)
        if config.anonymise in ("blur", "box") and not config.check_hidden and run.made:
            notices.append("nobody has looked whether faces are left: --check-hidden runs the detector on the result")
        notices += [f"{clip}: {told}" for clip, told in run.told]
        files = {clip: f"{name}{SUFFIX}" for clip, name in folder.names.items() if clip in run.files}
        report = {
            "style": config.style,
            "anonymise": config.anonymise,
            "drawn": run.made,
            "kept": run.kept,
            "files": files,
        }
        return Result(
            inputs.out, cached=not run.made and not run.failed, report=report, failed=tuple(run.failed),
            notices=tuple(dict.fromkeys(notices)),
        )  # fmt: skip

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        notices = result.notices
        yield from (f"note: {notice}" for notice in notices[:LISTED])
        if len(notices) > LISTED:
            yield f"note: {len(notices)} notes, the first {LISTED} are listed; --json has all"
        yield from (f"failed: {failure.clip}: {failure.cause}" for failure in result.failed[:LISTED])
        if len(result.failed) > LISTED:
            yield f"{len(result.failed)} clips failed, the first {LISTED} are listed; --json has all"
        report = result.report
        yield f"{report['drawn']} clips drawn, {report['kept']} there already, {len(result.failed)} failed"

    def json(self, result: Result) -> dict[str, Any]:
        failed = {failure.clip: failure.cause for failure in result.failed}
        return {"folder": str(result.path), "cached": result.cached, "failed": failed, **result.report}


STAGE = Overlay


class _Run:
    """The clips of one command: what was made, what was there, what failed."""

    def __init__(
        self, stage: Overlay, config: OverlayConfig, context: Context, folder: _Folder, sources: OverlaySources,
        finders: _Finders | None,
    ) -> None:  # fmt: skip
        self._stage, self._config, self._context = stage, config, context
        self._folder, self._sources, self._finders = folder, sources, finders
        self.made = self.kept = 0
        self.failed: list[Failure] = []
        self.files: set[str] = set()
        self.told: list[tuple[str, str]] = []

    def draw(self, clip: str, counter: Meter) -> None:
        """Draw one clip; what is wrong with it ends it alone."""
        try:
            source = self._sources.source(clip)
            _check_clip(self._config, source)
            needed = self._config.detect or self._config.check_hidden
            finder = self._finders.of(source) if self._finders is not None and needed else None
            made_from = self._identity(source, finder)
            if self._folder.is_current(clip, made_from):
                self.kept += 1
                self.told += [(clip, each) for each in self._folder.notices(clip)]
            else:
                done = self._draw(source, made_from, finder, counter)
                self.told += [(clip, each) for each in done]
                self.made += 1
            self.files.add(clip)
            counter.advance(clips=1)
        except (ClipError, HostileFile) as error:
            self._fail(clip, str(error), counter)
        except MemoryError:
            self._fail(clip, "not enough memory for its pictures", counter)

    def _fail(self, clip: str, cause: str, counter: Meter) -> None:
        self.failed.append(Failure(clip, "", cause))
        counter.advance(clips=1, failed=1)

    def _identity(self, source: ClipSource, finder: _Finder | None) -> str:
        return fingerprint({
            "stage": self._stage.name, "version": self._stage.version, "config": self._config.model_dump(mode="json"),
            "media": source.digest or _stamp(source.media.path), "rows": list(source.rows),
            "models": [each.model for each in source.curves], "decoder": decoder_version(),
            "detector": None if finder is None else finder.identity,
        })  # fmt: skip

    def _draw(self, source: ClipSource, made_from: str, finder: _Finder | None, counter: Meter) -> list[str]:
        config, threads = self._config, self._context.runtime.workers
        path = self._folder.begin(source.id, made_from)
        with atomically(path) as temporary:
            detector = None if finder is None else finder.detector
            done = draw_clip(
                source, config.drawing(), temporary, threads, lambda frames: counter.advance(rows=frames),
                detector if config.detect else None, checked=config.check_hidden and finder is not None,
                expect=counter.expect,
            )  # fmt: skip
            if config.check_hidden and finder is not None:
                _refuse_faces(temporary, done, finder, threads, lambda frames: counter.advance(rows=frames))
        notices = [*source.notices, *done.notices]
        if config.anonymise in ("blur", "box") and not any(face.valid.any() for face in source.faces):
            notices.append(
                "no face was known in it before" if config.detect else "no face is known in it: none is hidden"
            )
        self._folder.end(source.id, made_from, done, source, notices, is_hidden=config.anonymise is not None)
        return notices


def _refuse_faces(path: Path, done: Drawn, finder: _Finder, threads: int, count: Callable[[int], None]) -> None:
    """Raises ClipError where the detector finds a face in the result."""
    left = faces_left(path, done.picture, finder.detector, threads, count)
    if left:
        raise ClipError(
            f"{finder.name} finds a face in {len(left)} of {done.frames} frames of the result (the first at "
            f"{left[0][0]:.2f} s), so it is not kept: give a larger --hide-margin or --hold, or --anonymise mesh-only"
        )


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _check_style(config: OverlayConfig, drawn: Sequence[Artifact]) -> None:
    """Raises UsageError where what the style shows is not among what is drawn."""
    scores = [each for each in drawn if "scores" in each.schema.columns]
    has_mesh = any("points" in each.schema.columns for each in drawn)
    if config.style == "mesh" and not has_mesh:
        raise UsageError(
            "--style mesh draws the points of features of face-mesh: give what embed FACES --backbone face-mesh "
            "printed as well"
        )
    if config.style in ("bars", "circumplex") and not scores:
        raise UsageError(f"--style {config.style} draws scores: give what predict printed as well")
    if config.style == "circumplex":
        columns = {name for each in scores for name in each.schema.names["scores"]}
        if not any({"valence", "arousal"} <= set(each.schema.names["scores"]) for each in scores):
            raise UsageError(
                f"--style circumplex draws valence and arousal; these predictions have {named(sorted(columns))}: give "
                "--style bars"
            )


def _check_clip(config: OverlayConfig, source: ClipSource) -> None:
    """Raises ClipError where faces could be seen that nobody looked for."""
    if config.anonymise in (None, "mesh-only"):
        return
    if not source.face_rules:
        raise ClipError("--anonymise needs to know where faces are: give what extract faces --face all printed as well")
    rule = source.media.face or (source.face_rules[0] if source.face_rules else "")
    if rule != "all":
        raise ClipError(
            f"its faces are those of the rule {rule}, so others would be seen: give what affectkit extract faces "
            f"{source.media.path} --face all printed"
        )


class _Finders:
    """The detectors that found faces, each loaded once."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._loaded: dict[str, _Finder] = {}

    def of(self, source: ClipSource) -> _Finder:
        """The detector by which a clip's faces were found. Raises UsageError where it is not to be had."""
        config = source.detectors[0] if source.detectors else {}
        name, option, weights = config.get("detector"), config.get("option") or [], config.get("weights") or "auto"
        if not isinstance(name, str) or not isinstance(option, list):
            raise ClipError("its faces do not say which detector found them: leave out --detect and --check-hidden")
        key = json.dumps([name, option, weights])
        if key not in self._loaded:
            plugin = plugins.get("detectors", name)
            options = plugins.parse_options(plugin, [str(each) for each in option], name)
            with advising(None):
                files = plugins.weights("detectors", name, plugin, options, str(weights))
            detector = plugins.instance("detectors", name, plugin, options, files, resolve(self._device))
            identity = {**plugins.identity(name, plugin, options), "weights": files.sha256}
            self._loaded[key] = _Finder(name, detector, identity)
        return self._loaded[key]


class _Folder:
    """The folder of videos: beside each lies a small record of what it was made from.

    names: of the files of each clip, without suffix.
    """

    def __init__(self, root: Path, names: dict[str, str]) -> None:
        """Raises UsageError for a path that is no folder, and where a file of somebody else has a clip's name."""
        self._root, self.names = root, names
        if os.path.lexists(root) and not root.is_dir():
            raise UsageError(f"--out {root} is a file: name a folder for the videos")
        with explained(root):
            root.mkdir(parents=True, exist_ok=True)
        strangers = [
            f"{name}{SUFFIX}" for name in names.values()
            if os.path.lexists(root / f"{name}{SUFFIX}") and not self._record(name)
        ]  # fmt: skip
        if strangers:
            raise UsageError(
                f"{root} holds other files of the same names ({named(strangers)}): move them away, or name another "
                "folder"
            )

    def is_current(self, clip: str, made_from: str) -> bool:
        """Whether a clip's video is there as it was written, and was made from the same."""
        record, path = self._record(self.names[clip]), self._path(clip)
        if record.get("made_from") != made_from or not record.get("sha256") or not path.is_file() or path.is_symlink():
            return False
        with explained(path):
            return record["sha256"] == sha256_file(path)

    def notices(self, clip: str) -> list[str]:
        """What was said of a clip when it was drawn."""
        notices = self._record(self.names[clip]).get("notices")
        return [each for each in notices if isinstance(each, str)] if isinstance(notices, list) else []

    def begin(self, clip: str, made_from: str) -> Path:
        """The path of a video that is about to be written; its record says so."""
        path = self._path(clip)
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_dead(path)
        self._write(clip, {"format": 1, "made_from": made_from, "sha256": ""})
        return path

    def end(
        self, clip: str, made_from: str, done: Drawn, source: ClipSource, notices: Sequence[str], *, is_hidden: bool
    ) -> None:
        """Say what a video is that has been written; not what it was made from, where faces are hidden."""
        about = {key: value for key, value in asdict(done).items() if key not in ("notices", "picture")}
        self._write(clip, {
            "format": 1, "made_from": made_from, "sha256": sha256_file(self._path(clip)), "clip": clip,
            "source": None if is_hidden else str(source.media.path), **about, "notices": list(notices),
        })  # fmt: skip

    def _path(self, clip: str) -> Path:
        return self._root / f"{self.names[clip]}{SUFFIX}"

    def _record(self, name: str) -> dict[str, Any]:
        try:
            return read_object(self._root / f"{name}{RECORD}", "the record of a video")
        except MissingFile:
            return {}

    def _write(self, clip: str, content: dict[str, Any]) -> None:
        write_text(self._root / f"{self.names[clip]}{RECORD}", json.dumps(content, indent=1, ensure_ascii=False))
