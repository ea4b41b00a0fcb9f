"""Scores of published models, which nobody has to train: of crops, of sound, or of media, from which those are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from affectkit import plugins, tasks
from affectkit.config import Numerics
from affectkit.emotions import TaskFit, fit_to
from affectkit.errors import UsageError
from affectkit.media import MEDIA_SUFFIXES, VIDEO_SUFFIXES
from affectkit.plugins import ModelCard
from affectkit.stages.audio import AudioConfig, ExtractAudio
from affectkit.stages.crop_contracts import stated
from affectkit.stages.embed import LONGEST, Embed, EmbedConfig, Seconds
from affectkit.stages.faces import ExtractFaces, FacesConfig
from affectkit.stages.map_stage import Outcome
from affectkit.stages.replay import media_suffixes
from affectkit.stages.score_rows import RowRecipe, RowsConfig, Scored, ScoredRows
from affectkit.stages.sink import Sink, checked
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Features
from affectkit.tables.ids import ClipChoice
from affectkit.tasks import Task
from affectkit.types import Clip, Contract, Floats, without_face
from affectkit.weights import advising

FPS = 5.0
DETECTOR = "blazeface"
"""How faces are looked for in media: the detector that needs no download at run time, and frames a second."""
_LEAST = 1e-7  # of a probability: float32 knows no less beside 1
_READS = {"image": "crops", "audio": "sound"}


class PublishedConfig(RowsConfig):
    """What is computed of a published model, beside its rows."""

    task: str | None = Field(
        None,
        description="published models: scores of this task, where its names fit  [default: all that it scores]",
        json_schema_extra={"is_own": True},
    )
    option: list[str] = Field([], description="published models: an option, key=value (repeatable)")
    weights: str = Field("auto", description="published models: auto, or a file")
    window: Seconds | Literal["clip"] | None = Field(
        None, description="published models that hear: seconds a score is about, or clip  [default: 4]"
    )
    hop: float | None = Field(
        None, gt=0, le=LONGEST, description="published models that hear: seconds between scores  [default: half]"
    )
    crops_are: str | None = Field(
        None,
        description="published models, of folders of crops: margin=0.2,shape=square (or letterbox), aligned, or "
        "matching (as the model wants them)",
    )

    @field_validator("crops_are")
    @classmethod
    def _said_once(cls, crops_are: str | None) -> str | None:
        return None if crops_are is None else stated(crops_are)[0]

    def refuse_published(self, path: Path, task: Task) -> None:
        """Raises UsageError where something is given that only published models have; what was trained has a task, and
        may be given that."""
        changed = [name for name in PublishedConfig.__annotations__ if getattr(self, name) != _default(name)]
        if changed == ["task"] and tasks.get(str(self.task)).targets == task.targets:
            return
        if "=" in self.weights:
            raise UsageError(
                f"--weights {self.weights}: is --weights-of NAME=PATH now: where a weight file has moved to"
            )
        if changed:
            raise UsageError(f"--{changed[0]} is for published models; {path} is as it was trained, for {task.name}")


def _default(name: str) -> Any:
    return PublishedConfig.model_fields[name].get_default(call_default_factory=True)


@dataclass(frozen=True)
class PublishedModel:
    """A published model as it was named: a plugin, or a file of one."""

    name: str

    @property
    def kind(self) -> str:
        """Whether it sees (image) or hears (audio)."""
        return str(plugins.get("models", self.name).kind)


def suffixes_for(model: PublishedModel | Artifact) -> frozenset[str]:
    """What counts as media in a folder for a model: sound alone is not enough where it sees faces."""
    if isinstance(model, PublishedModel):
        return frozenset(VIDEO_SUFFIXES if model.kind == "image" else MEDIA_SUFFIXES)
    return media_suffixes(model)


def faces_for(contract: Contract | None) -> FacesConfig:
    """How faces are cut out of media for a model with this contract.

    >>> faces_for(Contract("0", "square", 64)).margin
    '0'
    """
    cut = {} if contract is None else {
        name: getattr(contract, name) for name in ("margin", "shape", "align", "size")
    }  # fmt: skip
    return FacesConfig.model_validate({"fps": FPS, "detector": DETECTOR, **cut})


@dataclass(frozen=True, repr=False)
class ResolvedModel:
    """A model's own scores as features, what is known of it, the split of each clip, and how scores become rows."""

    card: ModelCard
    features: Features
    recipe: RowRecipe
    config: PublishedConfig
    split: Mapping[str, str]
    about: Sequence[str]

    @property
    def upstream(self) -> list[Artifact]:
        """The artifact that is read."""
        return [self.features.artifact]


@dataclass(frozen=True)
class _Inputs:
    """The scores of a model as features, and what it is."""

    card: ModelCard
    features: Features
    at: Path | None
    clips: ClipChoice


class _Rows(ScoredRows):
    """Rows of predictions from a model's own scores."""

    def resolve(self, inputs: _Inputs, config: PublishedConfig) -> ResolvedModel:
        card, features = inputs.card, inputs.features
        fit = None if config.task is None else fit_to(card.name, card.outputs, tasks.get(config.task))
        recipe = RowRecipe.of(card.outputs, None, config, inputs.at, fit)
        clips, about = list(inputs.clips or ()), [] if fit is None else fit.notices
        if recipe.table:
            clips, more = recipe.table.meets(clips)
            about = [*about, *more]
        table = features.clip_table()
        split = {clip: table.get(without_face(clip), {}).get("split") or "" for clip in clips}
        return ResolvedModel(card, features, recipe, config, split, about)

    def called(self, resolved: ResolvedModel) -> str:
        return resolved.card.name

    def identity(self, resolved: ResolvedModel) -> dict[str, Any]:
        recipe = resolved.recipe
        return {
            "upstream": [resolved.features.identity],
            "columns": recipe.columns,
            **({"fit": _identity_of(recipe.fit)} if recipe.fit else {}),
            **recipe.resampled,
            **({"smoothing": asdict(recipe.smoothing)} if recipe.smoothing else {}),
        }

    def upstream(self, resolved: ResolvedModel) -> list[Path]:
        return [resolved.features.artifact.folder]

    def provenance(self, resolved: ResolvedModel) -> dict[str, Any]:
        return {**super().provenance(resolved), "card": resolved.card.about()}

    def title(self, resolved: ResolvedModel) -> str:
        return f"predict {resolved.card.name}"

    def scored(self, resolved: ResolvedModel, missing: list[str], sink: Sink, context: Context) -> Iterator[Scored]:
        for clip in missing:
            if checked(sink, clip, *resolved.upstream):
                sequence = resolved.features.sequence(clip)
                raw = _raw(resolved.card.outputs, np.asarray(sequence.values, np.float64))
                raw[~np.asarray(sequence.valid, bool)] = np.nan
                yield Scored(clip, sequence, [raw], [sequence])


def predict_published(
    model: PublishedModel, inputs: Sequence[Features | Artifact | Clip], at: Path | None, clips: ClipChoice,
    config: PublishedConfig, context: Context,
) -> Outcome:  # fmt: skip
    """Scores of a model at the rows of crops or sound; of media, those are made first.

    Its scores are kept as features (`affectkit embed --output scores`), so that other rows, smoothing or another task
    cost nothing. Raises UsageError.
    """
    name, plugin, options = plugins.backbone(model.name, config.option)
    if not plugins.is_model(plugin):
        raise UsageError(f"{name} is no published model: it has no scores of its own (affectkit list models)")
    scoring = EmbedConfig.model_validate({
        "backbone": model.name, "option": config.option, "output": "scores", "weights": config.weights,
        "window": config.window, "hop": config.hop, "crops_are": config.crops_are,
    })  # fmt: skip
    numerics = context.numerics if context.device == "auto" else Numerics(device=context.device)
    steps: list[Outcome] = []
    if media := [each for each in inputs if isinstance(each, Clip)]:
        weights = plugins.weights("models", name, plugin, options, config.weights)
        steps.append(made_for(plugin.kind, plugin.card(options, weights), media, context))
        source: Any = steps[0].artifact
    else:
        source = _source(name, plugin.kind, inputs)
    within = replace(context, numerics=numerics, out=None)
    scored = Embed().run(Embed.Inputs(artifact=source, clips=clips), scoring, within)
    steps.append(replace(scored, notices=tuple(line for line in scored.notices if line not in scored.told)))
    features = Features(scored.artifact)
    card: ModelCard = plugin.card(options, plugins.weights("models", name, plugin, options, config.weights))
    rows = _Rows().run(_Inputs(card, features, at, features.clips), config, context)
    notices = dict.fromkeys(notice for step in (*steps, rows) for notice in step.notices)
    failed = [failure for step in (*steps, rows) for failure in step.failed]
    return replace(rows, failed=tuple(failed), notices=tuple(notices))


def predict_scores(features: Features, clips: ClipChoice, config: PublishedConfig, context: Context) -> Outcome:
    """Predictions of a published model from its own scores, features that `embed --output scores` made. Raises
    UsageError."""
    said = EmbedConfig.model_validate(features.artifact.stage.provenance["config"])
    name, plugin, options = plugins.backbone(str(said.backbone), said.option)
    if said.output != "scores" or not plugins.is_model(plugin):
        raise UsageError(f"{features.path} holds no scores of a published model")
    card: ModelCard = plugin.card(options, plugins.weights("models", name, plugin, options, said.weights))
    return _Rows().run(_Inputs(card, features, None, clips), config, context)


def made_for(kind: str, card: ModelCard, media: Sequence[Clip], context: Context) -> Outcome:
    """The crops or the sound of media, as a model is given them."""
    within = replace(context, out=None)
    if kind == "audio":
        sound = AudioConfig(sampling_rate=card.sampling_rate)
        return ExtractAudio().run(ExtractAudio.Inputs(media=media), sound, within)
    with advising(None):
        return ExtractFaces().run(ExtractFaces.Inputs(media=media), faces_for(card.contract), within)


def _source(name: str, kind: str, inputs: Sequence[Any]) -> Artifact:
    """The crops or the sound that was given. Raises UsageError for anything else."""
    if len(inputs) != 1 or isinstance(inputs[0], Features):
        what = inputs[0].path if len(inputs) == 1 else f"{len(inputs)} artifacts"
        raise UsageError(f"{name} reads {_READS[kind]}, one artifact, or media (given {what})")
    artifact: Artifact = inputs[0]
    return artifact


def _identity_of(fit: TaskFit) -> dict[str, Any]:
    return {
        "task": fit.task.model_dump(mode="json", include={"kind", "level", "targets"}),
        "columns": list(fit.columns),
    }


def _raw(outputs: Sequence[Task], scores: Floats) -> Floats:
    """Scores before their softmax or sigmoid, [T,K]: what predictions of heads are smoothed as."""
    raw = np.array(scores)
    first = 0
    for task in outputs:
        part = slice(first, first + task.outputs)
        if task.kind != "regression":
            p = raw[:, part].clip(_LEAST, 1)
            raw[:, part] = np.log(p) if task.kind == "multiclass" else np.log(p / (1 - p).clip(_LEAST))
        first += task.outputs
    return raw
