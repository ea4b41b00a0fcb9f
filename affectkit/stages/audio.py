"""`affectkit extract audio`: Decode the sound of each clip, and find where there is speech in it.

Media -> waveforms, with a row a stretch of speech.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit.config import Config, Runtime
from affectkit.errors import AffectkitError, ClipError, UsageError
from affectkit.media import MEDIA_SUFFIXES, Waveform, decoder_version, read_audio
from affectkit.prefetch import ahead, worker_count
from affectkit.stages.faces import clip_error
from affectkit.stages.inputs import file, media
from affectkit.stages.map_stage import Outcome, Sink, run, with_notices
from affectkit.stages.row_counts import sound_notices
from affectkit.stages.stage import CLIPS_KEPT, Context, Need, Result, Stage
from affectkit.store import Cache, waveforms_schema
from affectkit.tables.sources import are_crops, clip_entries, sound_sources
from affectkit.types import Clip, Floats, Openings

VERSION = 1
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


def extract_audio(
    cache: Cache, clips: Sequence[Clip], config: AudioConfig, runtime: Runtime, *,
    mouth: Path | None = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """One waveform a clip, with a row a stretch of speech on the clip's own clock.

    Without `vad` the one row is the whole waveform; a clip in which nobody speaks has no row. `mouth`: the table of
    mouth openings by which `vad mouth` finds speech.
    """
    if are_crops(clips):
        raise UsageError(f"{clips[0].path} is a folder of crops, which has no sound: name media files")
    openings = _openings(config, mouth)
    inputs = {
        "stage": "audio",
        "version": VERSION,
        "config": config.recipe(),
        "speech": config.versions(),
        "resampler": f"soxr-{version('soxr')}",
        "decoder": decoder_version(),
    }
    artifact = cache.create(
        "audio", "waveform", inputs, waveforms_schema(), out=out, extra={"config": config.model_dump(mode="json")}
    )
    listed = {clip.id: clip for clip in clips}

    def compute(missing: list[str], sink: Sink) -> None:
        counted = 0.0
        prepare = _Prepare(config, openings or {})
        for clip, made in ahead([listed[clip] for clip in missing], prepare, min(worker_count(runtime), _MOST_AHEAD)):
            if isinstance(made, ClipError):
                sink.fail(clip.id, str(made))
                continue
            _write(sink, clip.id, made)
            sink.count(int(counted + made.waveform.duration) - int(counted))
            counted += made.waveform.duration

    joined = {clip.id: _digest(openings.get(clip.id)) for clip in clips} if openings is not None else {}
    sources = sound_sources(clips, cache.digests(runtime.rehash), joined)
    done = run(
        artifact, sources, compute, runtime, what="extract audio", unit="s of sound", entries=clip_entries(clips)
    )
    return with_notices(done, sound_notices(done.artifact, listed, speech=config.vad != "none"))


def _openings(config: AudioConfig, mouth: Path | None) -> Mapping[str, Openings] | None:
    if (config.vad == "mouth") != (mouth is not None):
        raise UsageError(
            "--vad mouth needs a table of mouth openings: --mouth CSV" if mouth is None
            else f"--mouth {mouth} is of use only with --vad mouth"
        )  # fmt: skip
    if mouth is None:
        return None
    from affectkit.tables.openings import read_openings

    return read_openings(mouth)


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
                raise ClipError("not in the table of mouth openings (--mouth)")
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


class ExtractAudio(Stage):
    """Decode the sound of each clip: mono, at one sampling rate, and where there is speech in it.

    Every stretch of speech is a row, in seconds on the clock of the clip's face rows; without --vad the one row is all
    of the sound.

    Examples:

    `affectkit extract audio clips/ --vad silero`

    `affectkit extract audio talk.wav --vad energy --top-db 25 --denoise spectral-gate`

    `affectkit extract audio clips/ --vad mouth --mouth openings.csv`
    """

    name = "extract-audio"
    makes = "sound"
    says = "sound of {inputs}"
    Config = AudioConfig
    runtime = ("workers", "rehash", "retry_failed")
    is_map = True
    kept = CLIPS_KEPT

    @dataclass(frozen=True)
    class Inputs:
        """Media, and for one kind of voice activity a table."""

        media: Sequence[Clip] = media(
            MEDIA_SUFFIXES, help="video or audio files, a folder, a manifest CSV, or - (paths on stdin)"
        )
        mouth: Path | None = file("for --vad mouth: a CSV of mouth openings")

    def needs(self, config: AudioConfig, files: Mapping[str, Path]) -> Iterator[Need]:
        yield Need("vad", f"packages of vad {config.vad}", config.versions)

    def run(self, inputs: Inputs, config: AudioConfig, context: Context) -> Result:
        return Result.of(extract_audio(
            context.cache, inputs.media, config, context.runtime, mouth=inputs.mouth, out=context.out
        ))  # fmt: skip


STAGE = ExtractAudio
