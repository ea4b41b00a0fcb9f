"""`affectkit extract` and `affectkit embed`: from media to cached features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affectkit.cli._options import CacheOption, ClipsOption, JsonOption, OutOption, with_configs
from affectkit.cli._results import choose, finish
from affectkit.config import Numerics, Runtime
from affectkit.media import MEDIA_SUFFIXES, VIDEO_SUFFIXES
from affectkit.stages.audio import AudioConfig, extract_audio
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.embed import embed as run_embed
from affectkit.stages.faces import FacesConfig, extract_faces
from affectkit.store import Cache, open_artifact
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.labels import MediaChoice

SourceArgument = Annotated[
    list[str] | None,
    typer.Argument(help="media files, a folder, folders of crops, a manifest CSV, or - (paths on stdin)"),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Decode media: face tracks and sound.")
    group.command("faces")(faces)
    group.command("audio")(audio)
    app.add_typer(group, name="extract")
    app.command("embed")(embed)


@with_configs(config=FacesConfig, where=MediaChoice, runtime=Runtime)
def faces(
    config: FacesConfig,
    where: MediaChoice,
    runtime: Runtime,
    source: SourceArgument = None,
    device: DeviceOption = "auto",
    videos: Annotated[Path | None, typer.Option(help="for folders of crops: the videos their times come from")] = None,
    source_fps: Annotated[
        str | None,
        typer.Option(
            help="for folders of crops: their rate, recorded as assumed, or a table clip,fps", metavar="RATE|TABLE"
        ),
    ] = None,
    first_frame: Annotated[
        int, typer.Option(min=0, max=1, help="for folders of crops: the number of a clip's first frame in file names")
    ] = 1,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find, track and crop the face of each clip.

    Every sampled frame is a row; a frame without a face stays as a row with valid = 0.

    Examples:

    `affectkit extract faces clips/ --detector centerface --fps 5`

    `affectkit extract faces talk.mp4 --frames 32 --face nearest --margin 10px --shape letterbox`

    `affectkit extract faces cropped_aligned/ --videos videos/`

    `affectkit extract faces --dataset affwild2 --root AffWild2/ --fps 5`
    """
    times = CropTimes(videos, None if source_fps is None else frame_rates(source_fps, "--source-fps"), first_frame)
    done = extract_faces(
        Cache(cache), where.clips(source or [], VIDEO_SUFFIXES), config, runtime, device=device, times=times, out=out
    )
    finish(done, as_json)


@with_configs(config=AudioConfig, where=MediaChoice, runtime=Runtime)
def audio(
    config: AudioConfig,
    where: MediaChoice,
    runtime: Runtime,
    source: Annotated[
        list[str] | None, typer.Argument(help="video or audio files, a folder, a manifest CSV, or - (paths on stdin)")
    ] = None,
    mouth: Annotated[Path | None, typer.Option(help="for --vad mouth: a CSV of mouth openings")] = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode the sound of each clip: mono, at one sampling rate, and where there is speech in it.

    Every stretch of speech is a row, in seconds on the clock of the clip's face rows; without --vad the one row is all
    of the sound.

    Examples:

    `affectkit extract audio clips/ --vad silero`

    `affectkit extract audio talk.wav --vad energy --top-db 25 --denoise spectral-gate`

    `affectkit extract audio clips/ --vad mouth --mouth openings.csv`
    """
    clips = where.clips(source or [], MEDIA_SUFFIXES)
    finish(extract_audio(Cache(cache), clips, config, runtime, mouth=mouth, out=out), as_json)


@with_configs(config=EmbedConfig, numerics=Numerics, runtime=Runtime)
def embed(
    artifact: Annotated[Path, typer.Argument(help="what extract faces or extract audio printed", metavar="ARTIFACT")],
    config: EmbedConfig,
    numerics: Numerics,
    runtime: Runtime,
    clips: ClipsOption = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a frozen backbone over cached crops or waveforms and keep the embeddings.

    Examples:

    `affectkit embed "$FACES" --backbone resnet50.tv_in1k`

    `affectkit embed "$FACES" --backbone vgg16 -o layer=fc2 --dtype float16`

    `affectkit embed "$FACES" --backbone efficientnet-lite0 --device cuda --precision bfloat16`

    `affectkit embed "$AUDIO" --backbone wav2vec2 -o model=microsoft/wavlm-base -o layers=6,9 --window 4 --hop 2`

    `affectkit embed "$AUDIO" --backbone deepspectrum -o net=vgg16.tv_in1k -o net.layer=fc2 --window 1 --hop 0.5`
    """
    upstream = open_artifact(artifact)
    chosen = choose(clips, upstream.clips)
    finish(run_embed(Cache(cache), upstream, config, numerics, runtime, clips=chosen, out=out), as_json)
