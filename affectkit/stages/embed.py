"""`affectkit embed`: Run a frozen backbone over cached crops or waveforms and keep the embeddings.

Crops or waveforms -> a feature sequence a clip, through one backbone, frozen or fine-tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from affectkit import plugins
from affectkit.config import Config, Numerics
from affectkit.devices import resolved
from affectkit.digests import Digests
from affectkit.errors import UsageError
from affectkit.learning import saved
from affectkit.learning.published import scores_of
from affectkit.plugins import ModelCard
from affectkit.progress import doing
from affectkit.speech.windows import Windowing, whole_clips
from affectkit.stages import finetuned_backbone
from affectkit.stages.batches import Lengths, embed_crops, embed_windows, outputs_of
from affectkit.stages.crop_contracts import CropMatch, matched, stated
from affectkit.stages.inputs import artifacts, clips
from affectkit.stages.map_stage import MapStage, Told, chosen, entries_of
from affectkit.stages.numerics import asked_numerics, recorded_numerics
from affectkit.stages.row_counts import SEEN, counted, row_notices
from affectkit.stages.sink import Sink
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Schema, features_schema
from affectkit.store.kinds import wrong_kind
from affectkit.tables.ids import ClipChoice
from affectkit.types import Contract
from affectkit.weights import WeightsFile

WINDOW = 4.0
LONGEST = 600.0  # s, of what is heard at once
BATCH_SIZES = {"image": 32, "audio": 8}
_UPSTREAM = {"image": "faces", "audio": "audio"}
_UNITS = {"image": "crops", "audio": "rows"}

Seconds = float


class EmbedConfig(Config):
    """What is computed; every field is part of the fingerprint."""

    backbone: str | None = Field(
        None,
        description="a plugin (affectkit list backbones), any timm model by name, or FILE.py:CLASS; none for a "
        "fine-tuned network",
    )
    option: list[str] = Field([], description="a backbone option, key=value (repeatable)")
    output: Literal["embedding", "scores"] = Field(
        "embedding", description="of a published model (affectkit list models): its embedding, or its own scores"
    )
    weights: str = Field(
        "auto", description="auto, a file, random, or what finetune printed", json_schema_extra={"artifact": "network"}
    )
    crops_are: str | None = Field(
        None,
        description="for a network that wants a certain crop, of folders of crops: margin=0.2,shape=square (or "
        "letterbox), aligned, or matching (as it wants them)",
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

    @field_validator("crops_are")
    @classmethod
    def _said_once(cls, crops_are: str | None) -> str | None:
        """One spelling for one statement, because the text enters the fingerprint."""
        return None if crops_are is None else stated(crops_are)[0]

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
        found = plugins.backbone(config.backbone, config.option)
        if plugins.is_source(config.backbone):  # what is recorded is run again from any folder
            config = config.model_copy(update={"backbone": plugins.absolute(config.backbone)})
        return *found, config
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


@dataclass(repr=False)
class Resolved:
    """The backbone, what it embeds, and clips of that; `lengths` of their sound. The backbone is loaded once."""

    name: str
    plugin: type[Any]
    options: Config
    weights: WeightsFile
    config: EmbedConfig
    upstream: Artifact
    clips: Sequence[str]
    lengths: Lengths | None
    match: CropMatch | None = None
    loaded: Any = None

    @property
    def windowing(self) -> Windowing:
        """The windows of a backbone that listens."""
        return self.config.windowing(self.plugin.padding)

    def numerics(self, context: Context) -> Numerics:
        """Those that it runs with here."""
        return resolved(context.numerics, BATCH_SIZES[self.plugin.kind])

    def load(self, context: Context) -> Any:
        """The backbone itself."""
        if self.loaded is None:
            numerics = self.numerics(context)
            group: plugins.Group = "backbones" if self.card is None else "models"
            self.loaded = plugins.instance(group, self.name, self.plugin, self.options, self.weights, numerics)
            contract = getattr(self.loaded, "contract", None)
            if self.card is None and contract is not None and contract != self.contract:
                self._named.refuse("its contract is not that of its class, which is asked before anything is loaded")
            if self.card is not None and self.config.output == "scores":
                self.loaded = scores_of(self.loaded, self.card)
        return self.loaded

    @cached_property
    def card(self) -> ModelCard | None:
        """What is known of a published model; None for any other backbone."""
        if not plugins.is_model(self.plugin):
            return None
        card: ModelCard = self.plugin.card(self.options, self.weights)
        return card

    @property
    def contract(self) -> Contract | None:
        """The crop that the backbone must be given. Raises PluginFault for one that is no `Contract`."""
        contract = getattr(self.plugin, "contract", None) if self.card is None else self.card.contract
        if contract is not None and not isinstance(contract, Contract):
            self._named.refuse(f"its contract is a {type(contract).__name__}, not an affectkit.types.Contract")
        return contract

    @property
    def _named(self) -> plugins.Named:
        return plugins.Named("backbones" if self.card is None else "models", self.name, self.plugin)


class Embed(MapStage):
    """Run a frozen backbone over cached crops or waveforms and keep the embeddings.

    Examples:

    `affectkit embed "$FACES" --backbone resnet50.tv_in1k`

    `affectkit embed "$FACES" --backbone vgg16 -o layer=fc2 --dtype float16`

    `affectkit embed "$FACES" --backbone efficientnet-lite0 --device cuda --precision bfloat16`

    `affectkit embed "$AUDIO" --backbone wav2vec2 -o model=microsoft/wavlm-base -o layers=6,9 --window 4 --hop 2`

    `affectkit embed "$AUDIO" --backbone deepspectrum -o net=vgg16.tv_in1k -o net.layer=fc2 --window 1 --hop 0.5`
    """

    name = folder = "embed"
    version = 1
    makes = "features"
    says = "{plugin} on {inputs}"
    Config = EmbedConfig
    plugin = ("backbones", "backbone")
    runtime = ("workers", "retry_failed")
    has_numerics = True

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

    def resolve(self, inputs: Inputs, config: EmbedConfig) -> Resolved:
        upstream = inputs.artifact
        clips = chosen(inputs.clips, upstream)
        name, plugin, options, config = chosen_backbone(config)
        check_upstream(name, plugin, upstream)
        if config.output == "scores" and not plugins.is_model(plugin):
            raise UsageError(f"--output scores is for published models (affectkit list models); {name} has no scores")
        weights = plugins.weights("backbones", name, plugin, options, config.weights)
        if plugin.kind == "image":
            config.refuse_windows(name)
        lengths = Lengths.of(upstream, clips) if plugin.kind == "audio" else None
        resolved = Resolved(name, plugin, options, weights, config, upstream, clips, lengths)
        if plugin.kind == "image":
            resolved.match = matched(name, resolved.contract, upstream, clips, config.crops_are)
        elif config.crops_are is not None:
            raise UsageError(f"--crops-are is for networks that see; {name} listens")
        return resolved

    def called(self, resolved: Resolved) -> str:
        return f"{resolved.name}-scores" if resolved.config.output == "scores" else resolved.name

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        if resolved.plugin.kind == "image":
            more: dict[str, Any] = {"decoder": f"pillow-{version('pillow')}"}
        elif resolved.config.window == "clip":
            more = {"windows": "clip"}
        else:
            cut = resolved.windowing
            more = {"windows": {"window": cut.window, "hop": cut.hop, "min_window": cut.shortest, "padded": cut.padded}}
        return {
            "dtype": resolved.config.dtype,
            "backbone": plugins.identity(resolved.name, resolved.plugin, resolved.options),
            "weights": resolved.weights.sha256,
            "upstream": resolved.upstream.stage.fingerprint,
            **more,
            **({} if resolved.match is None else resolved.match.identity),
            **({"output": "scores"} if resolved.config.output == "scores" else {}),
        }

    def sources(self, resolved: Resolved, digests: Digests) -> dict[str, str]:
        sources = {clip: resolved.upstream.digest(clip) for clip in resolved.clips}
        short = [] if resolved.lengths is None else resolved.lengths.short(resolved.windowing)
        return sources | {clip: _with_short_window(sources[clip]) for clip in short}

    def entries(self, resolved: Resolved) -> dict[str, dict[str, Any]]:
        return entries_of(resolved.upstream, resolved.clips)

    def table(self, resolved: Resolved, context: Context) -> Schema:
        with doing(self.title(resolved), f"loading {resolved.name}", context.runtime.progress):
            return _columns(resolved.load(context), resolved)

    def upstream(self, resolved: Resolved) -> list[Path]:
        return [resolved.upstream.folder]

    def provenance(self, resolved: Resolved) -> dict[str, Any]:
        card = {} if resolved.card is None else {"card": resolved.card.about()}
        return {**super().provenance(resolved), "weights": resolved.weights.about(), **card}

    def asked(self, resolved: Resolved, context: Context) -> dict[str, Any]:
        return asked_numerics(context.numerics)

    def recorded(self, resolved: Resolved, context: Context) -> dict[str, Any]:
        return recorded_numerics(resolved.numerics(context))

    def title(self, resolved: Resolved) -> str:
        return f"embed {resolved.name}"

    def unit(self, resolved: Resolved) -> str:
        return _UNITS[resolved.plugin.kind]

    def rows_of(self, resolved: Resolved, clips: Sequence[str]) -> int | None:
        return None if resolved.lengths is not None else sum(len(resolved.upstream.clip_rows(clip)) for clip in clips)

    def compute(self, resolved: Resolved, missing: list[str], sink: Sink, context: Context) -> None:
        """A row a crop or a window; those without a face or speech stay in the table with valid = 0 and zeros. The
        backbone runs one fixed batch shape, filled across clips, so that a clip's features do not depend on its
        neighbours."""
        if resolved.loaded is None:
            sink.say(f"loading {resolved.name}")
        model, size, dtype = resolved.load(context), resolved.numerics(context).batch_size, resolved.config.dtype
        assert size is not None
        _check_columns(resolved, _columns(model, resolved), sink.artifact)
        if resolved.lengths is None:
            embed_crops(resolved.upstream, missing, model, size, context.runtime, dtype, sink, resolved.match)
            return
        if resolved.config.window == "clip":
            missing = _short_enough(resolved.lengths, missing, sink)
        embed_windows(resolved.upstream, missing, model, resolved.windowing, size, dtype, sink)

    def notices(self, resolved: Resolved) -> Sequence[str]:
        windows = [] if resolved.lengths is None else resolved.lengths.notices(resolved.windowing)
        crops = [] if resolved.match is None else resolved.match.notices()
        return (*notices(resolved.weights), *_crop_notices(resolved), *windows, *crops)

    def tell(self, resolved: Resolved, selected: Artifact, clips: Sequence[str]) -> Told:
        counts = counted(selected, clips)
        return row_notices(counts, SEEN[resolved.upstream.stage.stage]), counts.as_dict()


STAGE = Embed


def _crop_notices(resolved: Resolved) -> tuple[str, ...]:
    """A line where a published model sees crops, and nobody has stated which it must be given."""
    is_stated = resolved.card is None or resolved.plugin.kind != "image" or resolved.card.contract is not None
    return () if is_stated else (f"{resolved.name}: {plugins.UNSTATED_CROP}",)


def _columns(model: Any, resolved: Resolved) -> Schema:
    """The columns of a backbone's table. Raises UsageError for sound at another rate than it hears."""
    if model.kind == "image":
        return features_schema(outputs_of(model), resolved.config.dtype, getattr(model, "names", None))
    _check_rate(model, resolved.upstream)
    return features_schema(model.outputs, resolved.config.dtype, model.names, images=model.images)


def _check_columns(resolved: Resolved, schema: Schema, artifact: Artifact) -> None:
    """Raises PluginFault where a backbone gives other columns than its table has: it changed, its version did not."""
    gives, has = ({key: column.shape for key, column in each.columns.items()} for each in (schema, artifact.schema))
    if gives != has:
        key = next(key for key in gives.keys() | has.keys() if gives.get(key) != has.get(key))
        shapes = [list(each[key]) if key in each else "none" for each in (gives, has)]
        plugins.Named("backbones", resolved.name, resolved.plugin).refuse(
            f"it gives {key} {shapes[0]}, and {artifact.folder}, made by its version {resolved.plugin.version}, holds "
            f"{shapes[1]}: bump its version"
        )


def _check_rate(model: plugins.AudioBackbone, audio: Artifact) -> None:
    rate = audio.stage.inputs["config"]["sampling_rate"]
    if rate != model.sampling_rate:
        raise UsageError(
            f"{audio.path} holds sound at {rate} Hz; this backbone hears {model.sampling_rate} Hz: "
            f"extract audio --sampling-rate {model.sampling_rate}"
        )


def _short_enough(lengths: Lengths, clips: list[str], sink: Sink) -> list[str]:
    """The clips that may be one window; the others fail."""
    seconds = {clip: lengths.samples[clip] / lengths.sampling_rate for clip in clips}
    for clip in [clip for clip in clips if seconds[clip] > LONGEST]:
        sink.fail(clip, f"{seconds[clip]:.0f} s of sound are more than a window may hold ({LONGEST:g} s): "
                        "give --window SECONDS")  # fmt: skip
    return [clip for clip in clips if seconds[clip] <= LONGEST]
