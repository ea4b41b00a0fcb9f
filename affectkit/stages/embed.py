"""`affectkit embed`: crops -> a feature sequence a clip, through one frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import Field

from affectkit import plugins
from affectkit.config import Config, Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.stages._crop_batches import embed_crops
from affectkit.stages._devices import resolved
from affectkit.stages._map import Outcome, Sink, check_numerics, entries_of, recorded_numerics, run
from affectkit.store import Artifact, Cache, features_schema

VERSION = 1


class EmbedConfig(Config):
    """What is computed; every field is part of the fingerprint."""

    backbone: str = Field(description="a plugin (affectkit list backbones) or any timm model by name")
    option: list[str] = Field([], description="a backbone option, key=value (repeatable)")
    weights: str = Field("auto", description="auto, a file, or random")
    dtype: Literal["float32", "float16"] = Field("float32", description="how features are stored")


def embed(
    cache: Cache,
    crops: Artifact,
    config: EmbedConfig,
    numerics: Numerics,
    runtime: Runtime,
    *,
    clips: Iterable[str] | None = None,
    out: Path | None = None,
) -> Outcome:
    """Embed every valid crop of a faces artifact (or of some of its `clips`).

    Rows without a face stay in the table with valid = 0 and zeros. The backbone always runs one fixed batch shape,
    filled across clips, so a clip's features do not depend on its neighbours.
    """
    if crops.stage.stage != "faces":
        raise UsageError(f"{crops.path} was made by {crops.stage.stage}; embed takes what extract faces made")
    name, plugin, options = plugins.backbone(config.backbone, config.option)
    weights = plugin.weights(options, config.weights)
    inputs = {
        "stage": "embed",
        "version": VERSION,
        "dtype": config.dtype,
        "backbone": {"name": name, "version": plugin.version, "options": plugins.describe(options)},
        "weights": weights.sha256,
        "decoder": f"pillow-{version('pillow')}",
        "upstream": crops.stage.fingerprint,
    }
    artifact = cache.find("embed", name, inputs, out)
    model = None
    if artifact is None:
        numerics = resolved(numerics, 32)
        model = plugin(options, weights, numerics)
        artifact = cache.create(
            "embed", name, inputs, features_schema(model.dim, config.dtype),
            numerics=recorded_numerics(numerics), upstream=[crops.path], out=out,
            extra={"config": config.model_dump(mode="json"), "weights": weights.about()},
        )  # fmt: skip
    chosen = list(clips) if clips is not None else crops.clips
    entries = entries_of(crops, chosen)

    def compute(missing: list[str], sink: Sink) -> None:
        chosen_numerics = resolved(numerics, 32)
        check_numerics(artifact, recorded_numerics(chosen_numerics))
        backbone = model or plugin(options, weights, chosen_numerics)
        embed_crops(crops, missing, backbone, chosen_numerics.batch_size or 32, runtime, config.dtype, sink)

    sources = {clip: crops.digest(clip) for clip in chosen}
    return run(artifact, sources, compute, runtime, what=f"embed {name}", unit="crops", entries=entries)
