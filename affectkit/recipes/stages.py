"""The stages that a recipe can be made of, and how each is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit import tasks
from affectkit.config import Numerics
from affectkit.recipes.steps import (
    AudioPlaces,
    FacesPlaces,
    Kind,
    Labelled,
    PredictPlaces,
    Ref,
    ScorePlaces,
    Slot,
    Step,
    SubmitPlaces,
    TrainPlaces,
)
from affectkit.stages.audio import AudioConfig, extract_audio
from affectkit.stages.compare import CompareConfig, compare
from affectkit.stages.embed import EmbedConfig, embed
from affectkit.stages.evaluate import EvaluateConfig, evaluate
from affectkit.stages.faces import FacesConfig, extract_faces
from affectkit.stages.finetune import FinetuneConfig, finetune
from affectkit.stages.functionals import FunctionalsConfig, functionals
from affectkit.stages.fuse import FuseConfig, fuse
from affectkit.stages.predict import PredictConfig, predict, predict_network
from affectkit.stages.submit import SubmitConfig, submit
from affectkit.stages.train import AuxiliarySource, TrainConfig, train
from affectkit.store import Features
from affectkit.store import features as column_of
from affectkit.store.atomic import explained
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.frame_rates import frame_rates

if TYPE_CHECKING:
    from affectkit.recipes.run import Session


def _faces(step: Step, run: Session) -> Any:
    rate = step.places.source_fps
    rates = None if rate is None else frame_rates(step.paths["source_fps"] if isinstance(rate, str) else rate)
    times = CropTimes(step.paths.get("videos"), rates, step.places.first_frame)
    config = step.config(FacesConfig)
    return extract_faces(run.cache, run.media(step), config, run.runtime, device=run.device, times=times)


def _audio(step: Step, run: Session) -> Any:
    mouth = step.paths.get("mouth")
    return extract_audio(run.cache, run.media(step), step.config(AudioConfig), run.runtime, mouth=mouth)


def _embed(step: Step, run: Session) -> Any:
    config, numerics = step.config(EmbedConfig), step.config(Numerics)
    if step.weights_of:
        config = config.model_copy(update={"weights": str(run.made[step.weights_of].path)})
    (upstream,) = step.inputs
    numerics = numerics.model_copy(update={"device": run.device})
    return embed(run.cache, run.artifact(upstream), config, numerics, run.runtime)


def _functionals(step: Step, run: Session) -> Any:
    (upstream,) = step.inputs
    given, config = run.artifact(upstream), step.config(FunctionalsConfig)
    config = config.model_copy(update={"column": column_of(given, upstream.column or config.column or "").column})
    return functionals(run.cache, given, config, run.runtime)


def _train(step: Step, run: Session) -> Any:
    auxiliary = [
        AuxiliarySource(run.features(Ref.of(one.from_)), labels, tasks.get(one.task))
        for one, labels in zip(step.aux, run.aux_labels(step), strict=True)
    ]
    return train(
        run.cache, [run.features(one) for one in step.inputs], run.labels(step), step.config(TrainConfig), run.runtime,
        device=run.device, splits=step.paths.get("splits"), auxiliary=auxiliary,
    )  # fmt: skip


def _finetune(step: Step, run: Session) -> Any:
    (upstream,) = step.inputs
    auxiliary = [
        AuxiliarySource(Features(run.artifact(Ref.of(one.from_))), labels, tasks.get(one.task))
        for one, labels in zip(step.aux, run.aux_labels(step), strict=True)
    ]
    return finetune(
        run.cache, run.artifact(upstream), run.labels(step), step.config(FinetuneConfig), run.runtime,
        device=run.device, splits=step.paths.get("splits"), auxiliary=auxiliary,
    )  # fmt: skip


def _predict(step: Step, run: Session) -> Any:
    head, *inputs = step.inputs
    if run.made[head.step].step.kind.makes == "network":
        return predict_network(
            run.cache, run.artifact(head), run.artifact(inputs[0]), run.runtime, config=step.config(PredictConfig),
            at=step.paths.get("at"), device=run.device,
        )  # fmt: skip
    return predict(
        run.cache, run.artifact(head), [run.features(one) for one in inputs], run.runtime,
        config=step.config(PredictConfig), at=step.paths.get("at"), device=run.device,
    )  # fmt: skip


def _fuse(step: Step, run: Session) -> Any:
    sets, config = [run.scores(one.step) for one in step.inputs], step.config(FuseConfig)
    return fuse(run.cache, sets, run.labels(step), config, splits=step.paths.get("splits"))


def _evaluate(step: Step, run: Session) -> Any:
    (predictions,), other = step.inputs, step.places.against
    return evaluate(
        run.cache, run.scores(predictions.step), run.labels(step), step.config(EvaluateConfig),
        splits=step.paths.get("splits"), against=run.scores(other) if other else None,
    )  # fmt: skip


def _compare(step: Step, run: Session) -> Any:
    sets, config = [run.scores(one.step) for one in step.inputs], step.config(CompareConfig)
    return compare(run.cache, sets, run.labels(step), config, splits=step.paths.get("splits"))


def _submit(step: Step, run: Session) -> Any:
    (predictions,) = step.inputs
    out = run.submission(step)
    with explained(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    config = step.config(SubmitConfig)
    if isinstance(config.fps, str):
        config = config.model_copy(update={"fps": str(step.paths["fps"])})
    return submit(run.scores(predictions.step), step.paths["template"], out, config, videos=step.paths.get("videos"))


_SEEN = Slot(("crops", "sound"))
_FEATURES = Slot(("features",), more=True)
_PREDICTIONS = Slot(("predictions",))

STAGES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("extract-faces", "crops", (FacesConfig,), _faces, "faces of {inputs} ({plugin})",
             places=FacesPlaces, plugin=("detectors", "detector"), files=("source_fps",), folders=("videos",)),
        Kind("extract-audio", "sound", (AudioConfig,), _audio, "sound of {inputs}", places=AudioPlaces,
             files=("mouth",)),
        Kind("embed", "features", (EmbedConfig, Numerics), _embed, "{plugin} on {inputs}", ((_SEEN,),),
             "crops or sound", plugin=("backbones", "backbone")),
        Kind("functionals", "features", (FunctionalsConfig,), _functionals, "functionals of {inputs} over windows",
             ((Slot(("features",)),),), "features"),
        Kind("train-head", "head", (TrainConfig,), _train, "{plugin} for {task} on {inputs}", ((_FEATURES,),),
             "features, one or more", TrainPlaces, ("heads", "head"), ("splits",)),
        Kind("finetune", "network", (FinetuneConfig,), _finetune, "{plugin}, trained whole for {task} on {inputs}",
             ((_SEEN,),), "crops or sound", TrainPlaces, ("networks", "network"), ("splits",),
             along=("crops", "sound")),
        Kind("predict", "predictions", (PredictConfig,), _predict, "scores of {inputs}",
             ((Slot(("head",)), _FEATURES), (Slot(("network",)), _SEEN)),
             "a head and its features, or a network and its crops or sound", PredictPlaces, files=("at",)),
        Kind("fuse", "predictions", (FuseConfig,), _fuse, "{plugin} of {inputs}",
             ((Slot(("predictions",), more=True),),), "predictions", Labelled, ("fusers", "method"), ("splits",)),
        Kind("evaluate", "report", (EvaluateConfig,), _evaluate, "{inputs} against labels of {task}",
             ((_PREDICTIONS,),), "predictions", ScorePlaces, None, ("splits",)),
        Kind("compare", "report", (CompareConfig,), _compare, "{inputs} side by side",
             ((Slot(("predictions",), least=2, more=True),),), "two or more predictions", Labelled, None, ("splits",)),
        Kind("submit", "file", (SubmitConfig,), _submit, "{inputs} as {format}", ((_PREDICTIONS,),), "predictions",
             SubmitPlaces, None, ("template", "fps"), ("videos",)),
    )
}  # fmt: skip
