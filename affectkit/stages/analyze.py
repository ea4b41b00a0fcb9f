"""`affectkit analyze`: Score the videos given by published models: tables, a summary and pictures, without labels.

Media -> a folder with tables of scores, a summary, episodes and curves.
"""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from affectkit import __version__
from affectkit.config import Config
from affectkit.drawing.curves import clock
from affectkit.errors import UsageError, listed
from affectkit.media import AUDIO_SUFFIXES, MEDIA_SUFFIXES
from affectkit.media.sampling import Rate
from affectkit.progress import part_of
from affectkit.stages.analysis_folder import RECORD, WHAT, AnalysisFolder, FolderOptions, WrittenAnalysis, rows_in_words
from affectkit.stages.analysis_texts import models_text, readme
from affectkit.stages.inputs import REQUIRED, artifacts, file, media
from affectkit.stages.predict_published import DETECTOR, FPS, PublishedModel
from affectkit.stages.report import page_of
from affectkit.stages.scorers import VALENCE_INDEX, Scored, ScorerOptions, hears, names_of, score
from affectkit.stages.sink import meter
from affectkit.stages.smooth import LONGEST, Choice
from affectkit.stages.stage import Context, Result, Stage, TextTable
from affectkit.store import Artifact
from affectkit.store.result_folder import ResultFolder
from affectkit.tables.score_tables import FaceSummary
from affectkit.tables.sources import are_crops, clips_of
from affectkit.tracks import FaceRule
from affectkit.types import Clip

MODEL = "mini-xception"
LONGEST_ABSENCE = 600.0
"""Seconds after which a face that comes back near where it was is still the same one, where a clip is about one face:
people turn away and leave the picture, and what follows belongs to them."""
NUMBERED = (
    "faces are numbered clip by clip, and a number is no person: who is away for long or moves across a cut has "
    "another one after it; summary.csv says when and where each was seen"
)
LISTED = 30
"""Faces that are listed one by one, and clips that failed."""


class AnalyzeConfig(Config):
    """What is computed, and what is made of it."""

    fps: Rate | Literal["native"] = Field(FPS, description="frames a second that are looked at, or native")
    face: FaceRule = Field("largest", description="which face a clip is about; all: each of them")
    detector: str = Field(DETECTOR, description="what finds faces (affectkit list detectors)")
    detect_every: int = Field(1, ge=1, le=100, description="detect on every k-th of these frames, interpolate between")
    vad: Literal["none", "silero", "energy"] = Field(
        "none", description="what finds speech: models that hear score speech alone, and tables say where it is"
    )
    task: str | None = Field(
        None,
        description="scores of this task, where a model's names fit  [default: all that it scores]",
        json_schema_extra={"is_own": True},
    )
    smooth: Choice | None = Field(
        None,
        description="hamming, box, median or gaussian window over the raw scores, or none  "
        "[default: hamming; of what was trained here what train-head chose]",
    )
    half_width: float | None = Field(
        None, ge=0, le=LONGEST, description="seconds that the window reaches to either side  [default: 0.5]"
    )
    option: list[str] = Field([], description="an option of the model, key=value, or MODEL.key=value (repeatable)")
    weights: str = Field("auto", description="the model's weights: auto, or a file")
    threshold: float = Field(0.5, allow_inf_nan=False, description="an episode: a score is so high or higher")
    gap: float = Field(0.5, ge=0, le=3600, description="gaps shorter than this many seconds don't end an episode")
    figures: bool = Field(True, description="draw curves and an overview (extra figures)")
    report: bool = Field(True, description="write a page with the videos' curves, report/index.html (extra report)")


class Analyze(Stage):
    """Score the videos given by published models: tables, a summary and pictures, without labels.

    Faces are found once for all models that see, sound is decoded once for those that hear. Everything is cached: the
    same line goes on after an interrupt, and writes again only what changed. A score says how an expression looks, not
    what a person feels.

    Examples:

    `affectkit analyze video.mp4 --out results`

    `affectkit analyze interviews/ --face all --out results --json`

    `affectkit analyze talk.mp4 --model mini-xception --task expr --threshold 0.7 --out results`
    """

    name = "analyze"
    makes = "file"
    says = "scores of {inputs}, as tables and pictures"
    version = 1
    Config = AnalyzeConfig
    runtime = ("workers", "rehash", "retry_failed", "progress")
    has_device = True
    kept = "finished clips are kept, repeat the command to go on"

    @dataclass(frozen=True)
    class Inputs:
        """Media, models, and where results go."""

        media: Sequence[Clip] = media(
            MEDIA_SUFFIXES, help="video or audio files, a folder, a manifest CSV, or - (paths on stdin)"
        )
        model: Sequence[PublishedModel | Artifact] = artifacts(
            "head", "network", "system", or_model=True, many=True, option=True, default=None, metavar="MODEL",
            help="a published model (affectkit list models), what train-head or finetune printed, or a bundle file; "
            "repeatable  [default: mini-xception]",
        )  # fmt: skip
        out: Path = file("the folder for the results", kind="made", default=REQUIRED)

    def run(self, inputs: Inputs, config: AnalyzeConfig, context: Context) -> Result:
        """Run every model, then write the folder; what is there and current is left as it is."""
        models = list(inputs.model or [PublishedModel(MODEL)])
        ResultFolder(inputs.out, RECORD, WHAT)  # raises for a folder with other files, before hours of work
        clips, notices = _heard_or_seen(inputs.media, models)
        options = _options(models, config)
        steps = _Steps(models, config)
        scored = score(models, clips, options, replace(context, out=None), steps)
        line = line_of(clips, models, config, inputs.out)
        folder = AnalysisFolder(inputs.out, scored, [clip.id for clip in clips], _folder_options(scored, config))
        with steps("tables"), meter("write", len(clips), "rows", context.runtime.progress) as counter:
            written = folder.write(_about(scored, clips, config, line), _texts(scored, config, line), counter)
        failed = (*scored.failed, *written.failed)
        notices = [*notices, *_recipe_notices(models, config), *scored.notices, *written.notices]
        if any(summary.face for summary in written.faces):
            notices.append(NUMBERED)
        page, said = page_of(inputs.out, context) if config.report else (None, [])
        notices += [line for line in said if line not in notices]
        report = _report(scored, written, clips) | {"page": None if page is None else str(page)}
        cached = scored.is_cached and not written.changed
        return Result(
            inputs.out, cached=cached, report=report, failed=tuple(failed), notices=tuple(dict.fromkeys(notices))
        )

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        yield from super().lines(result)
        yield from (f"failed: {failure.clip}: {failure.cause}" for failure in result.failed[:LISTED])
        if len(result.failed) > LISTED:
            yield f"{len(result.failed)} failures, the first {LISTED} are listed; --json has all"
        if faces := result.report["faces"]:
            yield _table(result.report)
            if len(faces) > LISTED:
                yield f"{len(faces)} faces, the first {LISTED} are listed; all are in {result.path / 'summary.csv'}"
        yield f"{result.report['caution']} Models: {result.path / 'models.md'}"
        if page := result.report["page"]:
            yield f"to look at: {page}"

    def json(self, result: Result) -> dict[str, Any]:
        failed = {failure.clip: failure.cause for failure in result.failed}
        return {"folder": str(result.path), "cached": result.cached, "failed": failed, **result.report}


STAGE = Analyze


class _Steps:
    """Says of which step of how many the progress is."""

    def __init__(self, models: Sequence[PublishedModel | Artifact], config: AnalyzeConfig) -> None:
        kinds = {model.kind for model in models if isinstance(model, PublishedModel)}
        self._count = len(models) + ("image" in kinds) + ("audio" in kinds or config.vad != "none") + 1
        self._number = 0

    def __call__(self, what: str) -> AbstractContextManager[None]:
        self._number += 1
        return part_of(f"step {self._number} of {max(self._number, self._count)}")


def _heard_or_seen(clips: Sequence[Clip], models: Sequence[PublishedModel | Artifact]) -> tuple[list[Clip], list[str]]:
    """The clips that a model can do something with; a line for those that are sound alone where no model hears."""
    if not clips:
        raise UsageError("no media: give video files, or a folder that holds some")
    if are_crops(clips):
        raise UsageError(
            f"{clips[0].path} is a folder of crops, without times: affectkit extract faces --source-fps RATE, then "
            "affectkit predict MODEL FACES"
        )
    if any(hears(model) for model in models):
        return list(clips), []
    sound = [clip for clip in clips if clip.path.suffix.lower() in AUDIO_SUFFIXES]
    if len(sound) == len(clips):
        raise UsageError(
            f"no videos: {listed([clip.id for clip in sound], 'files')} of sound alone, and "
            f"{', '.join(names_of(models))} sees faces; give videos, or a model that hears (affectkit list models)"
        )
    names = {clip.id for clip in sound}
    lines = [f"left out, sound alone: {listed(sorted(names))}; no model here hears"] if sound else []
    return [clip for clip in clips if clip.id not in names], lines


def _options(models: Sequence[PublishedModel | Artifact], config: AnalyzeConfig) -> ScorerOptions:
    """How the models are run. Raises UsageError for an option that may be meant for several."""
    names = names_of(models)
    published = [name for name, model in zip(names, models, strict=True) if isinstance(model, PublishedModel)]
    if not published and (config.option or config.weights != "auto"):
        what = "--option" if config.option else "--weights"
        raise UsageError(f"{what} is for published models; what was trained here has its own")
    if len(published) > 1 and config.weights not in ("auto", "random"):
        raise UsageError(
            f"--weights {config.weights} may be of any of {', '.join(published)}: analyze with one of them at a time"
        )
    option: dict[str, list[str]] = {name: [] for name in published}
    for text in config.option:
        name = next((each for each in published if text.startswith(f"{each}.")), None)
        if name is None and len(published) > 1:
            raise UsageError(f"-o {text} may be of any of {', '.join(published)}: give it as -o {published[0]}.{text}")
        option[name or published[0]].append(text if name is None else text.removeprefix(f"{name}."))
    faces = {name: getattr(config, name) for name in ("fps", "face", "detector", "detect_every")}
    if config.face != "all":
        faces["max_gap"] = LONGEST_ABSENCE
    rows = {"smooth": config.smooth, "half_width": config.half_width}
    return ScorerOptions(faces, config.vad, rows, config.task, option, config.weights, config.threshold)


def _folder_options(scored: Scored, config: AnalyzeConfig) -> FolderOptions:
    unseen = "no face found" if not all(scorer.hears for scorer in scored.scorers) else "no speech"
    return FolderOptions(config.threshold, config.gap, config.figures, config.vad != "none", unseen)


def _recipe_notices(models: Sequence[PublishedModel | Artifact], config: AnalyzeConfig) -> list[str]:
    """A line where an option says how faces are found, and a model has a recipe of its own."""
    trained = [name for name, model in zip(names_of(models), models, strict=True) if isinstance(model, Artifact)]
    defaults = AnalyzeConfig()
    changed = [name for name in ("fps", "face", "detector", "detect_every", "vad")
               if getattr(config, name) != getattr(defaults, name)]  # fmt: skip
    if not trained or not changed:
        return []
    verb = "is" if len(changed) == 1 else "are"
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
    return [f"{', '.join(trained)}: faces and sound as in training; {flags} {verb} for published models"]


def _texts(scored: Scored, config: AnalyzeConfig, line: str) -> dict[str, str]:
    fps = "every frame" if config.fps == "native" else f"{config.fps:g} a second"
    return {
        "README.md": readme(scored.scorers, scored.prefixes, line, config.threshold, config.gap, fps),
        "models.md": models_text(scored.scorers),
    }


def _about(scored: Scored, clips: Sequence[Clip], config: AnalyzeConfig, line: str) -> dict[str, Any]:
    """What the record says, for whatever reads the folder: models, artifacts, media."""
    models = {
        scorer.name: {
            "predictions": str(scorer.predictions.path.absolute()), "columns": scorer.columns, "prefix": prefix,
            "hears": scorer.hears, "smoothing": scorer.smoothed, "card": dict(scorer.about),
        }
        for scorer, prefix in zip(scored.scorers, scored.prefixes, strict=True)
    }  # fmt: skip
    return {
        "affectkit": __version__, "command": line, "config": config.model_dump(mode="json"), "models": models,
        "faces": None if scored.faces is None else str(scored.faces.path.absolute()),
        "sound": None if scored.sound is None else str(scored.sound.path.absolute()),
        "clips": {clip.id: str(clip.path.absolute()) for clip in clips},
        "failed": {failure.clip: failure.cause for failure in scored.failed},
    }  # fmt: skip


def _report(scored: Scored, written: WrittenAnalysis, clips: Sequence[Clip]) -> dict[str, Any]:
    """For machines and for people: each face's summary, and which scores stand for it in a line."""
    return {
        "models": [scorer.name for scorer in scored.scorers],
        "clips": len(clips),
        "columns": list(written.columns),
        "lead": _lead_columns(scored, written.columns),
        "faces": [
            _face(summary, scored) | {"few": (summary.clip, summary.face) in written.few} for summary in written.faces
        ],
        "written": len(written.changed),
        "caution": "A score says how an expression looks or sounds, not what a person feels.",
    }


def _face(summary: FaceSummary, scored: Scored) -> dict[str, Any]:
    prefixes = [prefix for scorer, prefix in zip(scored.scorers, scored.prefixes, strict=True) for _ in scorer.classes]
    return {
        "clip": summary.clip, "face": summary.face, "seconds": round(summary.seconds, 3), "rows": summary.rows,
        "face_rows": summary.face_rows,
        "place": {
            name: None if math.isnan(value) else round(value, 3) for name, value in asdict(summary.place).items()
        },
        "face_share": summary.face_share, "scored_share": summary.scored_share,
        "dominant": {
            prefix: {"class": name, "share": share}
            for prefix, (name, share) in zip(prefixes, summary.dominant, strict=True)
        },
        "mean": {each.column: each.mean for each in summary.scores},
        "episodes": {each.column: len(each.episodes) for each in summary.scores},
    }  # fmt: skip


def _lead_columns(scored: Scored, columns: Sequence[str]) -> list[str]:
    """The scores that are told in a line: valence indices, and the first three values of each model."""
    told = []
    for scorer, prefix in zip(scored.scorers, scored.prefixes, strict=True):
        values = [name for name in scorer.columns if name not in scorer.probabilities][:3]
        told += [f"{prefix}{name}" for name in (VALENCE_INDEX, *values) if f"{prefix}{name}" in columns]
    return told or list(columns[:3])


def _table(report: Mapping[str, Any]) -> TextTable:
    """One line a face, for people."""
    faces = report["faces"][:LISTED]
    has_faces = any(face["face"] for face in faces)
    several = len(report["models"]) > 1
    mostly = list(faces[0]["dominant"])
    headers = ["clip", *(["face", "seen", "about (x, y; px)"] if has_faces else []), "length", "with a face"]
    headers += [f"{prefix}mostly" if several else "mostly" for prefix in mostly]
    headers += [f"{'' if several else 'mean '}{name.replace('_', ' ')}" for name in report["lead"]]
    rows = []
    for face in faces:
        cells = [
            face["clip"],
            *([face["face"] or "-", *_place(face["place"])] if has_faces else []),
            clock(face["seconds"]),
            _percent(face["face_share"]) + (f" ({rows_in_words(face['face_rows'])})" if face["few"] else ""),
        ]
        for prefix in mostly:
            strongest = face["dominant"][prefix]
            name = strongest["class"].removeprefix(prefix)
            cells.append(f"{name} ({_percent(strongest['share'])})" if name else "-")
        cells += ["-" if math.isnan(face["mean"][name]) else f"{face['mean'][name]:+.2f}" for name in report["lead"]]
        rows.append(tuple(cells))
    return TextTable(tuple(headers), tuple(rows))


def _place(place: Mapping[str, float | None]) -> tuple[str, str]:
    """From when to when a face was seen, and where in the picture it was."""
    if place["first"] is None or place["last"] is None:
        return "-", "-"
    where = "-" if place["x"] is None else f"{place['x']:.0f}, {place['y']:.0f}; {place['side']:.0f}"
    return f"{clock(place['first'])}-{clock(place['last'])}", where


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.0%}"


def line_of(
    clips: Sequence[Clip], models: Sequence[PublishedModel | Artifact], config: AnalyzeConfig, out: Path
) -> str:
    """The command that makes it again: the folder that holds exactly these clips, else their files."""
    words = ["affectkit", "analyze", *_media_words(clips)]
    for model in models:
        if models != [PublishedModel(MODEL)]:
            words += ["--model", model.name if isinstance(model, PublishedModel) else str(model.path)]
    defaults = AnalyzeConfig()
    for name in AnalyzeConfig.model_fields:
        value, flag = getattr(config, name), f"--{name.replace('_', '-')}"
        if value == getattr(defaults, name):
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
            continue
        for text in value if isinstance(value, list) else [value]:
            words += [flag, f"{text:g}" if isinstance(text, float) else str(text)]
    return " ".join(map(shlex.quote, [*words, "--out", str(out)]))


def _media_words(clips: Sequence[Clip]) -> list[str]:
    is_plain = all(clip.start is None and clip.end is None and clip.face is None for clip in clips)
    first = clips[0].path
    depth = len(Path(clips[0].id).parts)
    root = first.parents[depth - 1] if len(first.parents) >= depth else first.parent
    if is_plain and len(clips) > 1:
        try:
            with warnings.catch_warnings(action="ignore"):  # they were told when the clips were looked up
                below = clips_of([str(root)], MEDIA_SUFFIXES)
            if {(clip.id, clip.path) for clip in below} == {(clip.id, clip.path) for clip in clips}:
                return [str(root)]
        except UsageError:
            pass
    if is_plain and all(clip.id == clip.path.stem for clip in clips):
        return [str(clip.path) for clip in clips]
    return ["MANIFEST.csv"]
