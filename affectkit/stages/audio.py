"""`affectkit extract audio`: Decode the sound of each clip, and find where there is speech in it.

Media -> waveforms, with a row a stretch of speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit.config import Config
from affectkit.digests import Digests
from affectkit.errors import AffectkitError, ClipError, UsageError
from affectkit.media import MEDIA_SUFFIXES, Waveform, decoder_version, read_audio
from affectkit.prefetch import ahead, worker_count
from affectkit.stages.faces import clip_error
from affectkit.stages.inputs import artifacts, media
from affectkit.stages.map_stage import MapStage, Told
from affectkit.stages.row_counts import sound_notices
from affectkit.stages.sink import Sink
from affectkit.stages.stage import Context, Need
from affectkit.store import Artifact, Features, Schema, waveforms_schema
from affectkit.tables.source_digests import clip_entries, sound_sources
from affectkit.tables.sources import are_crops
from affectkit.types import Clip, FeatureSequence, Floats, Openings

_AT_ONCE = 1 << 20
_MOST_AHEAD = 4


class AudioConfig(Config):
    """What is computed; every field that matters is part of the fingerprint."""

    sampling_rate: int = Field(16000, ge=1000, le=192_000, description="samples a second of the waveforms (Hz)")
    vad: Literal["none", "silero", "energy", "mouth"] = Field(
        "none",
        description="what finds speech: silero, energy, or the mouth's opening (with --mouth); none: all is kept",
    )
    vad_threshold: float = Field(0.5, gt=0, lt=1, description="silero: probability from which on it is speech")
    top_db: float = Field(30, gt=0, le=200, description="energy: speech is at most so far below the loudest (dB)")
    denoise: Literal["none", "spectral-gate"] = Field(
        "none", description="noise reduction, before speech is looked for"
    )
    on_truncated: Literal["keep", "fail"] = Field(
        "keep", description="a damaged file: keep what decodes and mark the clip partial, or fail"
    )

    def recipe(self) -> dict[str, Any]:
        """The fields as the fingerprint takes them: those of other ways to find speech are left out."""
        unused = {"vad_threshold": "silero", "top_db": "energy"}
        return self.model_dump(mode="json", exclude={field for field, vad in unused.items() if vad != self.vad})

    def versions(self) -> dict[str, str]:
        """Versions of the packages that the result depends on. Raises MissingExtra for one that is not there."""
        used = [name for name in (self.vad, self.denoise) if name != "none"]
        if not used:
            return {}
        from affectkit import speech

        return {name: speech.version(name) for name in used}


def _openings(
    config: AudioConfig, mouth: Path | Features | None, clips: Iterable[str]
) -> Mapping[str, Openings] | None:
    """How far mouths are open, of a table, or of those among the clips that the features have. Raises UsageError."""
    if (config.vad == "mouth") != (mouth is not None):
        said = mouth.path if isinstance(mouth, Features) else mouth
        raise UsageError(
            "--vad mouth needs mouth openings: --mouth CSV, or --mouth FEATURES:mouth_opening of what embed --backbone "
            "face-mesh printed" if mouth is None
            else f"--mouth {said} is of use only with --vad mouth"
        )  # fmt: skip
    if mouth is None:
        return None
    if isinstance(mouth, Features):
        if mouth.dim != 1:
            raise UsageError(
                f"--mouth {mouth.path} has {mouth.dim} components: name the one that grows as a mouth opens, as "
                f"{mouth.path}:mouth_opening"
            )
        return {clip: _of_rows(mouth.sequence(clip)) for clip in clips if clip in mouth}
    from affectkit.tables.openings import read_openings

    return read_openings(mouth)


def _of_rows(rows: FeatureSequence) -> Openings:
    """Unknown where there is no face."""
    opening = np.where(np.asarray(rows.valid, bool), np.asarray(rows.values, np.float64)[:, 0], np.nan)
    return Openings(np.asarray(rows.start, np.float64), np.asarray(rows.end, np.float64), opening)


def _digest(openings: Openings | None) -> str:
    if openings is None:
        return "no mouth openings"
    columns = (openings.start, openings.end, openings.opening)
    return sha256(b"".join(np.ascontiguousarray(column, "<f8").tobytes() for column in columns)).hexdigest()


@dataclass(frozen=True)
class _Heard:
    """A clip's waveform and where somebody speaks in it: stretches [K,2] (s) on the clip's clock."""

    waveform: Waveform
    stretches: Floats


@dataclass(frozen=True)
class _Prepare:
    """Clips as what is written of them, or what is wrong with them; for several threads at once."""

    config: AudioConfig
    openings: Mapping[str, Openings]
    source: str = "the table of mouth openings"

    def __call__(self, clip: Clip) -> _Heard | ClipError:
        config = self.config
        try:
            waveform = read_audio(
                clip.path, start=clip.start, end=clip.end, sampling_rate=config.sampling_rate,
                on_truncated=config.on_truncated,
            )  # fmt: skip
            if config.denoise != "none":
                from affectkit.speech import denoise

                waveform = replace(waveform, samples=denoise(waveform.samples, waveform.sampling_rate))
            found = self._speech(clip.id, waveform)
        except AffectkitError:
            raise
        except Exception as error:  # whatever a damaged file provokes ends that clip only
            return clip_error(error, clip.path)
        inside = np.clip(found, waveform.offset, waveform.end)
        return _Heard(waveform, inside[inside[:, 0] < inside[:, 1]])

    def _speech(self, clip: str, waveform: Waveform) -> Floats:
        config = self.config
        if config.vad == "none":
            return np.array([[waveform.offset, waveform.end]])
        from affectkit import speech

        if config.vad == "mouth":
            if clip not in self.openings:
                raise ClipError(f"not in {self.source} (--mouth)")
            return speech.mouth_segments(self.openings[clip], waveform.end)
        return waveform.offset + speech.segments(
            waveform.samples, waveform.sampling_rate, config.vad, top_db=config.top_db, threshold=config.vad_threshold
        )


def _write(sink: Sink, clip: str, heard: _Heard) -> None:
    waveform, (start, end) = heard.waveform, heard.stretches.T
    sink.append({"start": start, "end": end, "valid": np.ones(len(start), np.uint8)})
    for first in range(0, len(waveform), _AT_ONCE):
        sink.append({"samples": waveform.samples[first : first + _AT_ONCE]})
    if waveform.problem:
        sink.damage(clip, waveform.problem)
    scalars = {"sampling_rate": waveform.sampling_rate, "offset": waveform.offset, "origin": waveform.origin}
    sink.end(clip, scalars, "partial" if waveform.problem else "ok")


@dataclass(frozen=True)
class Resolved:
    """Clips by id and, where that finds speech, when mouths are open."""

    clips: Mapping[str, Clip]
    config: AudioConfig
    openings: Mapping[str, Openings] | None
    mouth: Path | Features | None = None


class ExtractAudio(MapStage):
    """Decode the sound of each clip: mono, at one sampling rate, and where there is speech in it.

    Every stretch of speech is a row, in seconds on the clock of the clip's face rows; without --vad the one row is all
    of the sound.

    Examples:

    `affectkit extract audio clips/ --vad silero`

    `affectkit extract audio talk.wav --vad energy --top-db 25 --denoise spectral-gate`

    `affectkit extract audio clips/ --vad mouth --mouth "$MESH":mouth_opening`

    `affectkit extract audio clips/ --vad mouth --mouth openings.csv`
    """

    name = "extract-audio"
    folder = "audio"
    version = 1
    makes = "sound"
    says = "sound of {inputs}"
    Config = AudioConfig
    runtime = ("workers", "rehash", "retry_failed")

    @dataclass(frozen=True)
    class Inputs:
        """Media, and for one kind of voice activity when mouths are open."""

        media: Sequence[Clip] = media(
            MEDIA_SUFFIXES, help="video or audio files, a folder, a manifest CSV, or - (paths on stdin)"
        )
        mouth: Path | Features | None = artifacts(
            "features", option=True, default=None, or_table=True, metavar="FEATURES:NAME|CSV",
            help="for --vad mouth: a component of features (face-mesh: mouth_opening), or a CSV of mouth openings",
        )  # fmt: skip

    def needs(self, config: AudioConfig, files: Mapping[str, Path]) -> Iterator[Need]:
        yield Need("vad", f"packages of vad {config.vad}", config.versions)

    def replayed(self, config: Mapping[str, Any], step: Mapping[str, Any]) -> AudioConfig:
        chosen = AudioConfig.model_validate(config)
        if chosen.vad == "mouth" and "mouth" not in step["inputs"]:
            raise UsageError(
                "it was trained on speech gated by a table of mouth openings, which no recipe makes from media: "
                "extract audio --vad mouth and embed, then predict from those features"
            )
        return chosen

    def resolve(self, inputs: Inputs, config: AudioConfig) -> Resolved:
        if are_crops(inputs.media):
            raise UsageError(f"{inputs.media[0].path} is a folder of crops, which has no sound: name media files")
        clips = {clip.id: clip for clip in inputs.media}
        return Resolved(clips, config, _openings(config, inputs.mouth, clips), inputs.mouth)

    def called(self, resolved: Resolved) -> str:
        return "waveform"

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        return {
            "config": resolved.config.recipe(),
            "speech": resolved.config.versions(),
            "resampler": f"soxr-{version('soxr')}",
            "decoder": decoder_version(),
            **({"mouth": resolved.mouth.identity} if isinstance(resolved.mouth, Features) else {}),
        }

    def upstream(self, resolved: Resolved) -> list[Path]:
        return [resolved.mouth.artifact.folder] if isinstance(resolved.mouth, Features) else []

    def sources(self, resolved: Resolved, digests: Digests) -> dict[str, str]:
        openings = resolved.openings
        joined = {} if openings is None else {clip: _digest(openings.get(clip)) for clip in resolved.clips}
        return sound_sources(resolved.clips.values(), digests, joined)

    def entries(self, resolved: Resolved) -> dict[str, dict[str, Any]]:
        return clip_entries(resolved.clips.values())

    def table(self, resolved: Resolved, context: Context) -> Schema:
        return waveforms_schema()

    def unit(self, resolved: Resolved) -> str:
        return "s of sound"

    def compute(self, resolved: Resolved, missing: list[str], sink: Sink, context: Context) -> None:
        """One waveform a clip, with a row a stretch of speech on the clip's own clock. Without `vad` the one row is the
        whole waveform; a clip in which nobody speaks has no row."""
        counted = 0.0
        prepare = _Prepare(resolved.config, resolved.openings or {})
        if isinstance(resolved.mouth, Features):
            prepare = replace(prepare, source=f"the features {resolved.mouth.path}")
        threads = worker_count(context.runtime)
        for clip, heard in ahead([resolved.clips[clip] for clip in missing], prepare, min(threads, _MOST_AHEAD)):
            if isinstance(heard, ClipError):
                sink.fail(clip.id, str(heard))
                continue
            _write(sink, clip.id, heard)
            sink.count(int(counted + heard.waveform.duration) - int(counted))
            counted += heard.waveform.duration

    def tell(self, resolved: Resolved, selected: Artifact, clips: Sequence[str]) -> Told:
        return sound_notices(selected, clips, speech=resolved.config.vad != "none"), {}


STAGE = ExtractAudio
