"""`affectkit embed`: Run a frozen backbone over cached crops or waveforms and keep the embeddings.

Crops or waveforms -> a feature sequence a clip, through one backbone, frozen or fine-tuned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from affectkit import plugins
from affectkit.config import Config, Numerics, Runtime
from affectkit.devices import resolved
from affectkit.errors import UsageError
from affectkit.learning import saved
from affectkit.progress import doing
from affectkit.speech.windows import Windowing, whole_clips
from affectkit.stages import finetuned_backbone
from affectkit.stages.batches import Lengths, embed_crops, embed_windows
from affectkit.stages.inputs import artifacts, clips
from affectkit.stages.map_stage import Outcome, Sink, entries_of, run
from affectkit.stages.numerics import asked_numerics, recorded_numerics, table_of
from affectkit.stages.row_counts import SEEN, row_notices
from affectkit.stages.stage import CLIPS_KEPT, Context, Result, Stage
from affectkit.store import Artifact, Cache, Schema, features_schema
from affectkit.store.kinds import wrong_kind
from affectkit.tables.ids import ClipChoice, choose
from affectkit.weights import WeightsFile

VERSION = 1
WINDOW = 4.0
LONGEST = 600.0  # s, of what is heard at once
BATCH_SIZES = {"image": 32, "audio": 8}
_UPSTREAM = {"image": "faces", "audio": "audio"}
_UNITS = {"image": "crops", "audio": "rows"}

Seconds = float


class EmbedConfig(Config):
    """What is computed; every field is part of the fingerprint."""

    backbone: str | None = Field(
        None, description="a plugin (affectkit list backbones) or any timm model by name; none for a fine-tuned network"
    )
    option: list[str] = Field([], description="a backbone option, key=value (repeatable)")
    weights: str = Field(
        "auto", description="auto, a file, random, or what finetune printed", json_schema_extra={"artifact": "network"}
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="how features are stored")
    window: Seconds | Literal["clip"] | None = Field(
        None, description="speech: window in seconds, or clip: one over all of the clip's sound  [default: 4]"
    )
    hop: Seconds | None = Field(None, gt=0, le=600, description="speech: seconds between windows  [default: half]")
    min_window: Seconds | None = Field(
        None,
        gt=0,
        le=600,
        description="speech: the least sound that a window may hold, but for a clip's only one "
        "[default: half a window]",
    )
    padding: Literal["zero", "none"] | None = Field(
        None, description="speech: fill a clip's last windows with zeros, or not  [default: the backbone's]"
    )

    @field_validator("window")
    @classmethod
    def _lasts(cls, window: Seconds | Literal["clip"] | None) -> Seconds | Literal["clip"] | None:
        if isinstance(window, float) and not 0 < window <= LONGEST:
            raise ValueError(f"a window lasts more than 0 and up to {LONGEST:g} seconds, or clip")
        return window

    @model_validator(mode="after")
    def _windows_fit(self) -> EmbedConfig:
        if self.window == "clip":
            if given := [name for name in ("hop", "min_window", "padding") if getattr(self, name) is not None]:
                raise ValueError(f"window clip is one window of the clip's own length: it has no {given[0]}")
            return self
        window = WINDOW if self.window is None else self.window
        for name in ("hop", "min_window"):
            if (getattr(self, name) or 0) > window:
                raise ValueError(f"{name} {getattr(self, name):g} is longer than the window of {window:g} s")
        return self

    def windowing(self, padding: Literal["zero", "none"]) -> Windowing:
        """The windows meant, for a backbone with this padding of its own."""
        if self.window == "clip":
            return whole_clips()
        window = self.window or WINDOW
        return Windowing(
            window, self.hop or window / 2, self.min_window or window / 2, (self.padding or padding) == "zero"
        )

    def refuse_windows(self, name: str) -> None:
        """Raises UsageError where an option of windows was given for a backbone that sees."""
        given = [field for field in ("window", "hop", "min_window", "padding") if getattr(self, field) is not None]
        if given:
            option = given[0].replace("_", "-")
            raise UsageError(f"--{option} is for speech; backbone {name} embeds face crops, a row a frame")


def embed(
    cache: Cache,
    upstream: Artifact,
    config: EmbedConfig,
    numerics: Numerics,
    runtime: Runtime,
    *,
    clips: Iterable[str] | None = None,
    out: Path | None = None,
) -> Outcome:
    """Embed every valid crop of a faces artifact, or windows over the waveforms of an audio artifact (or of some of
    its `clips`).

    Rows without a face or speech stay in the table with valid = 0 and zeros. The backbone always runs one fixed batch
    shape, filled across clips, so a clip's features do not depend on its neighbours.
    """
    name, plugin, options, config = chosen_backbone(config)
    check_upstream(name, plugin, upstream)
    weights = plugin.weights(options, config.weights)
    inputs = {
        "stage": "embed",
        "version": VERSION,
        "dtype": config.dtype,
        "backbone": plugins.identity(name, plugin, options),
        "weights": weights.sha256,
        "upstream": upstream.stage.fingerprint,
        **_inputs(name, plugin, config),
    }
    chosen = list(clips) if clips is not None else upstream.clips
    sources = {clip: upstream.digest(clip) for clip in chosen}
    told = list(notices(weights))
    if plugin.kind == "audio":
        windowing, lengths = config.windowing(plugin.padding), Lengths.of(upstream, chosen)
        sources |= {clip: _with_short_window(sources[clip]) for clip in lengths.short(windowing)}
        told += lengths.notices(windowing)
    models: list[Any] = []

    @functools.cache
    def choices() -> Numerics:
        return resolved(numerics, BATCH_SIZES[plugin.kind])

    def create(recorded: dict[str, Any], variant: str) -> Artifact:
        with doing(f"embed {name}", f"loading {name}", runtime.progress):
            models.append(plugin(options, weights, choices()))
        return cache.create(
            "embed", name, inputs, _schema(models[0], config, upstream), numerics=recorded, upstream=[upstream.folder],
            out=out, variant=variant, extra={"config": config.model_dump(mode="json"), "weights": weights.about()},
        )  # fmt: skip

    artifact, which = table_of(
        cache.variants("embed", name, inputs, out), sources, runtime, asked=asked_numerics(numerics),
        here=lambda: recorded_numerics(choices()), create=create, out=out,
    )  # fmt: skip
    send = _sender(plugin, config, upstream, runtime)

    def compute(missing: list[str], sink: Sink) -> None:
        if not models:
            sink.say(f"loading {name}")
        model = models[0] if models else plugin(options, weights, choices())
        send(missing, model, choices().batch_size, sink)

    entries = entries_of(upstream, chosen)
    what, unit = f"embed {name}", _UNITS[plugin.kind]
    return run(
        artifact, sources, compute, runtime, what=what, unit=unit, entries=entries, notices=(*told, *which),
        tell=lambda counts: row_notices(counts, SEEN[upstream.stage.stage]),
        rows_of=(lambda clip: len(upstream.clip_rows(clip))) if plugin.kind == "image" else None,
    )  # fmt: skip


def _with_short_window(source: str) -> str:
    """The source of a clip whose only window is kept though it is short: rows from when it was zeros are not current,
    and no other clip's are touched."""
    return sha256(f"{source} short window".encode()).hexdigest()


def chosen_backbone(config: EmbedConfig) -> tuple[str, type[Any], Config, EmbedConfig]:
    """The artifact's name, the backbone, its options, and the config with what the backbone says of it: for a
    fine-tuned network its own windows, where no others were given, and its place as a whole path.

    Raises UsageError where a backbone is missing, or one too many.
    """
    folder = Path(config.weights).expanduser()
    is_network = config.weights not in ("auto", "random") and saved.is_finetuned(folder)
    if config.backbone is not None:
        if is_network:
            raise UsageError(
                f"--weights {config.weights} is a fine-tuned network, backbone and all: leave --backbone "
                f"{config.backbone} out"
            )
        return *plugins.backbone(config.backbone, config.option), config
    if not is_network:
        raise UsageError(
            "--backbone is missing (affectkit list backbones); without it, --weights takes what finetune printed"
            + ("" if config.weights in ("auto", "random") else f", and {config.weights} holds no fine-tuned network")
        )
    name, plugin, options = finetuned_backbone.backbone(folder)
    if config.option:
        raise UsageError(f"{name} takes no options (given {config.option[0]}): it is as it was trained")
    own: dict[str, Any] = {"weights": str(folder.resolve())}
    if plugin.kind == "audio":
        said = saved.read_header(folder).options
        if config.window != "clip":
            own |= {key: getattr(config, key) or said.get(key) for key in ("window", "hop", "min_window")}
    return name, plugin, options, EmbedConfig.model_validate(config.model_dump() | own)


def check_upstream(name: str, plugin: type[Any], upstream: Artifact) -> None:
    """Raises UsageError where the artifact is not what the backbone embeds."""
    if upstream.stage.stage != _UPSTREAM[plugin.kind]:
        error = wrong_kind(upstream.path, upstream.stage.stage, _UPSTREAM[plugin.kind])
        raise UsageError(f"backbone {name} {'embeds face crops' if plugin.kind == 'image' else 'listens'}; {error}")


def notices(weights: WeightsFile) -> tuple[str, ...]:
    """What a user of these weights must know."""
    if "-NC" not in weights.licence.upper() and "NON-COMMERCIAL" not in weights.licence.upper():
        return ()
    return (f"the licence of {weights.name} forbids commercial use: {weights.licence}",)


def _inputs(name: str, plugin: type[Any], config: EmbedConfig) -> dict[str, Any]:
    """What enters the fingerprint for this kind of backbone only."""
    if plugin.kind == "image":
        config.refuse_windows(name)
        return {"decoder": f"pillow-{version('pillow')}"}
    windowing = config.windowing(plugin.padding)
    if config.window == "clip":
        return {"windows": "clip"}
    return {"windows": {"window": windowing.window, "hop": windowing.hop, "min_window": windowing.shortest,
                        "padded": windowing.padded}}  # fmt: skip


def _schema(model: Any, config: EmbedConfig, upstream: Artifact) -> Schema:
    if model.kind == "image":
        return features_schema(model.dim, config.dtype)
    _check_rate(model, upstream)
    return features_schema(model.outputs, config.dtype, model.names, images=model.images)


def _check_rate(model: plugins.AudioBackbone, audio: Artifact) -> None:
    rate = audio.stage.inputs["config"]["sampling_rate"]
    if rate != model.sampling_rate:
        raise UsageError(
            f"{audio.path} holds sound at {rate} Hz; this backbone hears {model.sampling_rate} Hz: "
            f"extract audio --sampling-rate {model.sampling_rate}"
        )


def _sender(
    plugin: type[Any], config: EmbedConfig, upstream: Artifact, runtime: Runtime
) -> Callable[[list[str], Any, Any, Sink], None]:
    """What sends clips through a backbone of this kind."""
    if plugin.kind == "image":
        return lambda clips, model, size, sink: embed_crops(upstream, clips, model, size, runtime, config.dtype, sink)
    windowing = config.windowing(plugin.padding)

    def send(clips: list[str], model: Any, size: Any, sink: Sink) -> None:
        if config.window == "clip":
            clips = _short_enough(upstream, clips, sink)
        embed_windows(upstream, clips, model, windowing, size, config.dtype, sink)

    return send


def _short_enough(audio: Artifact, clips: list[str], sink: Sink) -> list[str]:
    """The clips that may be one window; the others fail."""
    lengths = Lengths.of(audio, clips)
    seconds = {clip: samples / lengths.sampling_rate for clip, samples in lengths.samples.items()}
    for clip in [clip for clip in clips if seconds[clip] > LONGEST]:
        sink.fail(clip, f"{seconds[clip]:.0f} s of sound are more than a window may hold ({LONGEST:g} s): "
                        "give --window SECONDS")  # fmt: skip
    return [clip for clip in clips if seconds[clip] <= LONGEST]


class Embed(Stage):
    """Run a frozen backbone over cached crops or waveforms and keep the embeddings.

    Examples:

    `affectkit embed "$FACES" --backbone resnet50.tv_in1k`

    `affectkit embed "$FACES" --backbone vgg16 -o layer=fc2 --dtype float16`

    `affectkit embed "$FACES" --backbone efficientnet-lite0 --device cuda --precision bfloat16`

    `affectkit embed "$AUDIO" --backbone wav2vec2 -o model=microsoft/wavlm-base -o layers=6,9 --window 4 --hop 2`

    `affectkit embed "$AUDIO" --backbone deepspectrum -o net=vgg16.tv_in1k -o net.layer=fc2 --window 1 --hop 0.5`
    """

    name = "embed"
    makes = "features"
    says = "{plugin} on {inputs}"
    Config = EmbedConfig
    plugin = ("backbones", "backbone")
    runtime = ("workers", "retry_failed")
    has_numerics = True
    is_map = True
    kept = CLIPS_KEPT

    @dataclass(frozen=True)
    class Inputs:
        """Crops for a backbone that sees, sound for one that listens."""

        artifact: Artifact = artifacts("crops", "sound", help="what extract faces or extract audio printed")
        clips: ClipChoice = clips()

    def mistakes(self, config: Mapping[str, Any], inputs: int, plugin: Any) -> Iterator[tuple[str, str]]:
        is_network = str(config.get("weights", "")).startswith("@")
        if plugin is None and not is_network:
            yield "", 'needs backbone (affectkit list backbones), or weights = "@STEP" of a finetune step'
        if plugin is not None and is_network:
            yield (
                "backbone",
                (f'weights = "{config["weights"]}" brings its own backbone: leave {config.get("backbone")} out'),
            )

    def run(self, inputs: Inputs, config: EmbedConfig, context: Context) -> Result:
        chosen = choose(inputs.clips, inputs.artifact.clips)
        return Result.of(embed(
            context.cache, inputs.artifact, config, context.numerics, context.runtime, clips=chosen, out=context.out
        ))  # fmt: skip


STAGE = Embed
