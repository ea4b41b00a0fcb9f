"""Features of faces and of sound share one clock: a flash and a beep are found in rows of the same time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_factory import make_flash_and_beep
from stage_calls import embed, extract_audio, extract_faces
from stage_factory import clips_in, portrait

from affectkit.config import Numerics, Runtime
from affectkit.stages.audio import AudioConfig
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.faces import FacesConfig
from affectkit.store import Artifact, Cache
from affectkit.types import FeatureSequence

RUNTIME = Runtime(workers=1, progress=False)
AT, HOP = 1.0, 0.05
FPS = 20


def loudest(sequence: FeatureSequence) -> float:
    """The middle of the row with the highest values."""
    return float(sequence.middle[np.argmax(np.where(sequence.valid, sequence.values.mean(axis=1), -np.inf))])


@pytest.mark.parametrize(
    ("suffix", "video_start", "audio_start", "rate", "channels"),
    [("mp4", 0.0, 0.0, 44100, 2), ("mkv", 0.0, 0.4, 44100, 2), ("mkv", 0.3, 0.0, 8000, 1), ("mp4", 0.0, 0.5, 8000, 1)],
)
def test_a_flash_and_a_beep_are_in_rows_of_one_time(
    cache: Cache, tmp_path: Path, suffix: str, video_start: float, audio_start: float, rate: int, channels: int
) -> None:
    face = portrait()
    clip = make_flash_and_beep(
        tmp_path / f"clip.{suffix}", seconds=1.6, at=AT, video_start=video_start, audio_start=audio_start,
        sampling_rate=rate, channels=channels, fps=FPS, pictures=((face * 0.5).astype(np.uint8), face),
    )  # fmt: skip
    clips, numerics = clips_in(clip), Numerics(device="cpu")
    faces = extract_faces(cache, clips, FacesConfig(detector="centerface", fps="native", size=32), RUNTIME)
    seen = embed(cache, Artifact(faces.path), EmbedConfig(backbone="mean-pixel"), numerics, RUNTIME)
    audio = extract_audio(cache, clips, AudioConfig(), RUNTIME)
    config = EmbedConfig(backbone="log-mel", option=["pool=mean"], window=2 * HOP, hop=HOP, min_window=HOP)
    heard = embed(cache, Artifact(audio.path), config, numerics, RUNTIME)
    flash, beep = (loudest(Artifact(one.path).sequence("clip")) for one in (seen, heard))
    expected = AT - video_start  # the clip's clock begins with its first picture
    assert abs(flash - (expected + 0.5 / FPS)) < 1e-3 + 0.5 / FPS
    assert abs(beep - (expected + 0.025)) <= HOP
    assert abs(flash - beep) <= HOP
