"""Stages called as functions, as many tests want them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectkit.config import Numerics, Runtime
from affectkit.stages.audio import AudioConfig, ExtractAudio
from affectkit.stages.compare import Compare, CompareConfig
from affectkit.stages.cross_validate import CrossValidate
from affectkit.stages.embed import Embed, EmbedConfig
from affectkit.stages.evaluate import Evaluate, EvaluateConfig
from affectkit.stages.faces import ExtractFaces, FacesConfig
from affectkit.stages.finetune import Finetune, FinetuneConfig
from affectkit.stages.functionals import FunctionalsConfig, SummariseFeatures
from affectkit.stages.fuse import Fuse, FuseConfig
from affectkit.stages.import_features import ImportConfig, ImportFeatures
from affectkit.stages.map_stage import Outcome
from affectkit.stages.predict import Predict, PredictConfig
from affectkit.stages.stage import Context, Result
from affectkit.stages.train_head import TrainConfig, TrainHead
from affectkit.stages.training_data import AuxiliarySource
from affectkit.store import Artifact, Cache, Features
from affectkit.store import features as column_of
from affectkit.tables.crop_times import CropTimes
from affectkit.types import Clip


def evaluate(
    cache: Cache, predictions: Path, labels: Any, config: EvaluateConfig, *, out: Path | None = None, **more: Any
) -> Result:
    """The stage `evaluate`."""
    return Evaluate().run(
        Evaluate.Inputs(predictions=predictions, labels=labels, **more), config, Context(cache, out=out)
    )


def compare(
    cache: Cache, sets: Sequence[Path], labels: Any, config: CompareConfig, *, out: Path | None = None, **more: Any
) -> Result:
    """The stage `compare`."""
    return Compare().run(Compare.Inputs(predictions=sets, labels=labels, **more), config, Context(cache, out=out))


def fuse(
    cache: Cache, sets: Sequence[Path], labels: Any, config: FuseConfig, *, out: Path | None = None, **more: Any
) -> Result:
    """The stage `fuse`."""
    return Fuse().run(Fuse.Inputs(predictions=sets, labels=labels, **more), config, Context(cache, out=out))


def extract_faces(
    cache: Cache, clips: Sequence[Clip], config: FacesConfig, runtime: Runtime, *, device: str = "auto",
    times: CropTimes | None = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """The stage `extract faces`."""
    times = times or CropTimes()
    inputs = ExtractFaces.Inputs(
        media=clips, videos=times.videos, source_fps=times.source_fps, first_frame=times.first_frame
    )
    return ExtractFaces().run(inputs, config, Context(cache, runtime, device, out=out))


def extract_audio(
    cache: Cache, clips: Sequence[Clip], config: AudioConfig, runtime: Runtime, *, mouth: Path | None = None,
    out: Path | None = None,
) -> Outcome:  # fmt: skip
    """The stage `extract audio`."""
    return ExtractAudio().run(ExtractAudio.Inputs(media=clips, mouth=mouth), config, Context(cache, runtime, out=out))


def embed(
    cache: Cache, upstream: Artifact, config: EmbedConfig, numerics: Numerics, runtime: Runtime, *,
    clips: Any = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """The stage `embed`."""
    context = Context(cache, runtime, numerics=numerics, out=out)
    return Embed().run(Embed.Inputs(artifact=upstream, clips=clips), config, context)


def functionals(
    cache: Cache, features: Artifact, config: FunctionalsConfig, runtime: Runtime, *, clips: Any = None,
    out: Path | None = None,
) -> Outcome:  # fmt: skip
    """The stage `functionals`."""
    inputs = SummariseFeatures.Inputs(features=column_of(features, config.column or ""), clips=clips)
    return SummariseFeatures().run(inputs, config, Context(cache, runtime, out=out))


def import_features(
    cache: Cache, source: Path, config: ImportConfig, runtime: Runtime, *, videos: Path | None = None,
    clips: Any = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """The stage `import`."""
    inputs = ImportFeatures.Inputs(source=source, videos=videos, clips=clips)
    return ImportFeatures().run(inputs, config, Context(cache, runtime, out=out))


def predict(
    cache: Cache, head: Artifact, features: Sequence[Features | Artifact], runtime: Runtime, *,
    config: PredictConfig | None = None, at: Path | None = None, device: str = "auto", clips: Any = None,
    out: Path | None = None,
) -> Outcome:  # fmt: skip
    """The stage `predict` for a head."""
    inputs = Predict.Inputs(head=head, inputs=features, at=at, clips=clips)
    return Predict().run(inputs, config or PredictConfig(), Context(cache, runtime, device, out=out))


def predict_network(cache: Cache, network: Artifact, upstream: Artifact, runtime: Runtime, **more: Any) -> Outcome:
    """The stage `predict` for a fine-tuned network."""
    return predict(cache, network, [upstream], runtime, **more)


def train(
    cache: Cache, features: Sequence[Features], labels: Any, config: TrainConfig, runtime: Runtime, *,
    device: str = "auto", auxiliary: Sequence[AuxiliarySource] = (), out: Path | None = None, **more: Any,
) -> Result:  # fmt: skip
    """The stage `train-head`."""
    inputs = TrainHead.Inputs(features=features, labels=labels, aux=auxiliary, **more)
    return TrainHead().run(inputs, config, Context(cache, runtime, device, out=out))


def cross_validate(
    cache: Cache, features: Sequence[Features], labels: Any, config: TrainConfig, runtime: Runtime, *, folds: int,
    device: str = "auto", out: Path | None = None, **more: Any,
) -> Result:  # fmt: skip
    """The stage `train-head --folds`."""
    inputs = CrossValidate.Inputs(features=features, labels=labels, folds=folds, **more)
    return CrossValidate().run(inputs, config, Context(cache, runtime, device, out=out))


def finetune(
    cache: Cache, upstream: Artifact, labels: Any, config: FinetuneConfig, runtime: Runtime, *, device: str = "auto",
    auxiliary: Sequence[AuxiliarySource] = (), out: Path | None = None, **more: Any,
) -> Result:  # fmt: skip
    """The stage `finetune`."""
    inputs = Finetune.Inputs(artifact=upstream, labels=labels, aux=auxiliary, **more)
    return Finetune().run(inputs, config, Context(cache, runtime, device, out=out))
