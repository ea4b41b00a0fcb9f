"""Models over media without labels: each one's predictions, from faces and sound that all of them share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from affectkit import plugins, tasks
from affectkit.emotions import fit_to, valence_index
from affectkit.errors import UsageError
from affectkit.plugins import ModelCard
from affectkit.speech.windows import touches
from affectkit.stages import bundled
from affectkit.stages.audio import AudioConfig, ExtractAudio
from affectkit.stages.faces import ExtractFaces
from affectkit.stages.map_stage import Outcome
from affectkit.stages.model_card import card_of, recipes_of, task_of, text_of
from affectkit.stages.predict import Predict, PredictConfig
from affectkit.stages.predict_published import PublishedConfig, PublishedModel, faces_for, predict_published
from affectkit.stages.smooth import Choice, agree
from affectkit.stages.stage import Context
from affectkit.stages.trained import trained_report
from affectkit.store import Artifact, Failure
from affectkit.store.kinds import TRAINED
from affectkit.tables.score_tables import ScoreTable
from affectkit.tables.timeline import scores_at
from affectkit.tasks import Task
from affectkit.tracks.recrop import described
from affectkit.types import Bools, Clip, Contract, Floats, Predictions, face_id
from affectkit.weights import advising

VALENCE_INDEX = "valence_index"
_NO_SOUND = "no audio stream"
_OBSERVED = 0.5
"""The share of a score's window from which on a face (or speech) counts as seen, where rows alone say it."""
AnyModel: TypeAlias = PublishedModel | Artifact
Step = Callable[[str], AbstractContextManager[None]]
"""What is under way, for the progress."""


@dataclass(frozen=True, repr=False)
class ScorerOptions:
    """How models are run: see the options of `affectkit analyze`. option: of each model by its name; threshold: that a
    score must be able to reach."""

    faces: Mapping[str, Any]
    vad: str
    rows: Mapping[str, Any]
    task: str | None
    option: Mapping[str, Sequence[str]]
    weights: str
    threshold: float


@dataclass(frozen=True, repr=False)
class ScoringModel:
    """One model's predictions: its name among the models, its tasks, whether it hears, and what is known of it.

    fit: what of its names does not fit the task that was asked for; crops: what its crops were made of, where that
    changes its scores; both in words.
    """

    name: str
    predictions: Artifact
    outputs: tuple[Task, ...]
    hears: bool
    about: Mapping[str, Any]
    smoothed: str
    is_published: bool = False
    fit: tuple[str, ...] = ()
    crops: str = ""

    @property
    def columns(self) -> list[str]:
        """What it scores."""
        return list(self.predictions.schema.names["scores"])

    @property
    def classes(self) -> list[tuple[str, ...]]:
        """The names of its classes, of each output that has some."""
        return [task.targets for task in self.outputs if task.kind == "multiclass"]

    @property
    def probabilities(self) -> set[str]:
        """The scores that are between 0 and 1."""
        return {target for task in self.outputs if task.kind != "regression" for target in task.targets}

    def faces_of(self, clip: str) -> dict[str, str]:
        """The ids of a clip's faces by their numbers; "" for what is about the whole clip: its only face, or none."""
        names = {"": clip} if clip in self.predictions else {}
        while not names.get("") and (name := face_id(clip, len(names))) in self.predictions:
            names[str(len(names))] = name
        if list(names) == ["0"] and not self._shows_any(names["0"]):
            return {"": names["0"]}
        return names

    def rows_of(self, clip: str) -> dict[str, Predictions]:
        """The predictions of each face of a clip, by its number ("" for the only one). Raises HostileFile."""
        return {face: self._read(name, clip) for face, name in self.faces_of(clip).items()}

    def _shows_any(self, name: str) -> bool:
        """Whether a face was seen in any row, or may have been."""
        if "observed" not in self.predictions.schema.columns:
            return True
        return bool(np.any(np.nan_to_num(self.predictions.column(name, "observed"), nan=1.0) > 0))

    def _read(self, name: str, clip: str) -> Predictions:
        self.predictions.check(name)
        rows = self.predictions.read(name)
        count = len(rows["start"])
        observed = np.asarray(rows.get("observed", np.full(count, np.nan)), float)
        return Predictions(
            np.full(count, clip), np.asarray(rows["start"], float), np.asarray(rows["end"], float),
            np.asarray(rows["scores"], float), tuple(self.columns), np.full(count, ""), observed,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Scored:
    """What models made of media. faces and sound: what published models share, where any sees or hears."""

    scorers: Sequence[ScoringModel]
    faces: Artifact | None
    sound: Artifact | None
    failed: Sequence[Failure]
    notices: Sequence[str]
    is_cached: bool

    @property
    def prefixes(self) -> list[str]:
        """What stands before the columns of each model: its name, where there are several."""
        return [f"{each.name}." if len(self.scorers) > 1 else "" for each in self.scorers]

    def tables(self, clip: str, *, speech: bool) -> Iterator[tuple[ScoreTable, Bools]]:
        """The scores of each face of a clip, and which rows [T] show a face (or have speech, where all models hear).

        Rows are those of the first model that sees the clip, else of the first that has it; others are read at their
        times, as everywhere. `speech`: whether a column says where somebody speaks. Raises HostileFile.
        """
        of_scorer = [scorer.rows_of(clip) for scorer in self.scorers]
        seen_by = [rows for scorer, rows in zip(self.scorers, of_scorer, strict=True) if not scorer.hears]
        faces = list(dict.fromkeys(face for rows in seen_by or of_scorer for face in rows)) or list(
            dict.fromkeys(face for rows in of_scorer for face in rows)
        )
        for face in faces:
            yield self._table(clip, face, of_scorer, speech)

    def _table(
        self, clip: str, face: str, of_scorer: Sequence[Mapping[str, Predictions]], speech: bool
    ) -> tuple[ScoreTable, Bools]:
        """One face: a model that hears scores the clip, whichever face it is."""
        parts = [
            rows.get(face, rows.get("") if scorer.hears else None)
            for scorer, rows in zip(self.scorers, of_scorer, strict=True)
        ]
        order = sorted(range(len(parts)), key=lambda number: self.scorers[number].hears)
        base = next(parts[number] for number in order if parts[number] is not None)
        assert base is not None
        columns: list[str] = []
        blocks: list[Floats] = []
        classes: list[tuple[str, ...]] = []
        for scorer, prefix, rows in zip(self.scorers, self.prefixes, parts, strict=True):
            scores = np.full((len(base), len(scorer.columns)), np.nan) if rows is None else scores_at(rows, base)
            columns += [f"{prefix}{name}" for name in scorer.columns]
            blocks.append(scores)
            for names in scorer.classes:
                classes.append(tuple(f"{prefix}{name}" for name in names))
                index = valence_index(scores[:, [scorer.columns.index(name) for name in names]], names)
                if index is not None:
                    columns.append(f"{prefix}{VALENCE_INDEX}")
                    blocks.append(index[:, None])
        table = ScoreTable(
            clip, face, base.start, base.end, np.concatenate(blocks, axis=1), tuple(columns),
            base.valid, base.observed, self._speech(clip, base) if speech else None,
            self.scorers[0].name if len(self.scorers) == 1 else "", tuple(classes),
        )  # fmt: skip
        return table, self._seen(clip, face, base)

    def _seen(self, clip: str, face: str, rows: Predictions) -> Bools:
        """The rows [T] with a face: as the crops say, where they have the same rows, else by what was observed."""
        valid = self._of_crops(clip, face, "valid", len(rows))
        if valid is not None:
            return valid.astype(bool)
        return np.asarray(np.nan_to_num(rows.observed, nan=1.0) >= _OBSERVED)

    def boxes(self, clip: str, face: str, rows: int) -> Floats | None:
        """[T,4] where a face was, as the crops say, where they have as many rows."""
        return self._of_crops(clip, face, "boxes", rows)

    def _of_crops(self, clip: str, face: str, column: str, rows: int) -> Floats | None:
        name = face_id(clip, int(face)) if face else clip
        if self.faces is None or name not in self.faces or self.faces.length(name) != rows:
            return None
        return np.asarray(self.faces.column(name, column), float)

    def _speech(self, clip: str, rows: Predictions) -> Floats:
        if self.sound is None or clip not in self.sound:
            return np.full(len(rows), np.nan)
        stretches = np.stack([np.asarray(self.sound.column(clip, name), float) for name in ("start", "end")], axis=1)
        return touches(rows.start, rows.end, stretches).astype(float)


def score(
    models: Sequence[AnyModel], clips: Sequence[Clip], options: ScorerOptions, context: Context, step: Step
) -> Scored:
    """Every model's predictions of the clips. Published models that see share one artifact of faces, those that hear
    one of sound for each sampling rate; what was trained replays its own recipe.

    A clip that fails for one model is listed, and stops no other. Raises UsageError, MissingExtra before anything is
    computed, as far as models and weights say it.
    """
    names = names_of(models)
    chosen = [_Published.of(name, model, options) for name, model in zip(names, models, strict=True)
              if isinstance(model, PublishedModel)]  # fmt: skip
    by_name = {each.name: each for each in chosen}
    outputs = [task for each in chosen for task in each.outputs]
    _check_threshold(options.threshold, [*outputs, *(task_of(each) for each in models if isinstance(each, Artifact))])
    seeing, hearing = ([each for each in chosen if each.kind == kind] for kind in ("image", "audio"))
    outcomes: list[Outcome] = []
    faces: Artifact | None = None
    crops: dict[str, str] = {}
    if seeing:
        contracts = [(each.name, each.card.contract) for each in seeing]
        shared = shared_contract(contracts)
        config = faces_for(shared)
        crops = shared_crops(contracts, shared)
        config = config.model_validate(config.model_dump() | dict(options.faces))
        with step("faces"), advising(None, "--detector"):
            outcomes.append(ExtractFaces().run(ExtractFaces.Inputs(media=clips), config, context))
        faces = outcomes[-1].artifact
    rates = list(dict.fromkeys(each.card.sampling_rate for each in hearing)) or (
        [16000] if options.vad != "none" else []
    )
    sounds: dict[int, Artifact] = {}
    silent: list[str] = []
    for rate in rates:
        with step("sound"):
            heard = ExtractAudio().run(
                ExtractAudio.Inputs(media=clips), AudioConfig(sampling_rate=rate, vad=options.vad), context
            )
        sounds[rate] = heard.artifact
        silent = [failure.clip for failure in heard.failed if failure.cause.startswith(_NO_SOUND)]
        has_others = len(hearing) < len(models)
        outcomes.append(_without(heard, silent if has_others else []))
    scorers = []
    for name, model in zip(names, models, strict=True):
        with step(name):
            scorer, steps = _scorer(name, model, by_name.get(name), clips, faces, sounds, options, context)
        scorers.append(replace(scorer, crops=crops.get(name, "")))
        outcomes += steps
    notices = dict.fromkeys(notice for outcome in outcomes for notice in outcome.notices)
    if crops:
        notices[f"{', '.join(crops)}: {SHARED_CROPS}; analyze with one model at a time for its own"] = None
    if silent and len(hearing) < len(models):
        count = "1 clip is" if len(silent) == 1 else f"{len(silent)} clips are"
        more = f" ({', '.join(silent[:3])}{', ...' if len(silent) > 3 else ''})"
        who = ", ".join(each.name for each in hearing)
        notices[f"{count} without sound{more}" + (f": no scores of {who}" if who else "")] = None
    failed = {(failure.clip, failure.cause): failure for outcome in outcomes for failure in outcome.failed}
    cached = all(outcome.is_cached for outcome in outcomes)
    sound = next(iter(sounds.values()), None)
    return Scored(scorers, faces, sound, tuple(failed.values()), tuple(notices), cached)


def _check_threshold(threshold: float, outputs: Sequence[Task]) -> None:
    """Raises UsageError where no score of these tasks can be so high, or none lower: probabilities are 0 to 1, valence
    indices -1 to 1, and of values it is not known."""
    if -1 <= threshold <= 1 or any(task.kind == "regression" for task in outputs):
        return
    raise UsageError(
        f"--threshold {threshold:g}: scores are probabilities, 0 to 1, and the valence index, -1 to 1; "
        + ("no score is so high" if threshold > 1 else "all are higher")
    )


def hears(model: AnyModel) -> bool:
    """Whether a model can do with sound alone."""
    if isinstance(model, PublishedModel):
        return model.kind == "audio"
    return not any(step.get("stage") == "faces" for recipe in recipes_of(model) for step in recipe)


def names_of(models: Sequence[AnyModel]) -> list[str]:
    """A short name for each: a plugin's, a file's, that on the card of a bundle, or that of what was trained; of equal
    ones, the later are numbered.

    >>> names_of([PublishedModel("mini-xception"), PublishedModel("nets/my net.onnx"), PublishedModel("my_net.onnx")])
    ['mini-xception', 'my_net', 'my_net-2']
    """
    names: list[str] = []
    for model in models:
        name = re.sub(r"[^\w-]+", "_", _called(model)).strip("_") or "model"
        number = 1
        while (numbered := name if number == 1 else f"{name}-{number}") in names:
            number += 1
        names.append(numbered)
    return names


def _called(model: AnyModel) -> str:
    if isinstance(model, Artifact):
        return model.stage.name if bundled.folder_of(model) is None else text_of(model).name
    return Path(model.name).stem if model.name.endswith(".onnx") else model.name.rpartition("/")[2] or model.name


def shared_contract(contracts: Sequence[tuple[str, Contract | None]]) -> Contract | None:
    """One way to cut faces that shows what each of some models wants: where they were trained on different crops, each
    one's own is cut again from it, and it has twice the pixels that this takes.

    >>> shared_contract([("a", Contract("0", "square", 64)), ("b", Contract("0.2", "letterbox", 224))])
    Contract(margin='0.2', shape='square', size=448, align=False, colour='rgb', normalisation='')

    Raises UsageError for a margin in pixels beside another crop: how wide that is depends on the face.
    """
    stated = {name: contract for name, contract in contracts if contract is not None}
    cuts = {(each.margin, each.shape, each.align) for each in stated.values()}
    if len(cuts) <= 1:
        return max(stated.values(), key=lambda contract: contract.size, default=None)
    if in_pixels := [name for name, each in stated.items() if each.margin.endswith("px") and not each.align]:
        raise UsageError(f"{in_pixels[0]} wants a margin in pixels, which no other crop shows: analyze with it alone")
    margins = {name: _ALIGNED if each.align else float(each.margin) for name, each in stated.items()}
    widest = max(margins.values())
    size = max(ceil(each.size * (1 + 2 * widest) / (1 + 2 * margins[name])) for name, each in stated.items())
    return Contract(margin=f"{widest:g}", shape="square", size=min(_FINER * size, _LARGEST_CROP))


def shared_crops(contracts: Sequence[tuple[str, Contract | None]], shared: Contract | None) -> dict[str, str]:
    """Of each model that is given other pixels than by itself, which ones and out of which, in words.

    >>> shared_crops([("a", Contract("0", "square", 64)), ("b", None)], Contract("0", "square", 64))["b"]
    'margin 0.2, square, 224 px by itself; here out of margin 0, square, 64 px, which models share'
    """
    cut = faces_for(shared)
    wanted = {name: faces_for(contract) for name, contract in contracts}
    return {
        name: f"{described(alone)}, {alone.size} px by itself; here out of {described(cut)}, {cut.size} px, "
        "which models share"
        for name, alone in wanted.items() if (described(alone), alone.size) != (described(cut), cut.size)
    }  # fmt: skip


SHARED_CROPS = (
    "scores differ a little from those of the model alone, since crops are made from those that models share "
    "(mini-xception's by 0.006 in a middle row, 0.13 at most, its means over a clip by up to 0.03)"
)
_FINER = 2
"""Times more pixels of a shared crop than each model needs. Cut again from as many as needed, 5 % of the rows of
mini-xception change their strongest class, from twice as many none; more gain nothing beside what JPEG takes."""
_ALIGNED = 0.5
"""A margin that shows what an aligned crop does of most faces; embed refuses where it does not."""
_LARGEST_CROP = 1024


@dataclass(frozen=True, repr=False)
class _Published:
    """A published model whose weights and card are at hand."""

    name: str
    kind: str
    card: ModelCard
    config: PublishedConfig
    smoothed: str

    @staticmethod
    def of(name: str, model: PublishedModel, options: ScorerOptions) -> _Published:
        """Raises UsageError for options, weights or a task that do not fit."""
        texts = list(options.option.get(name, ()))
        plugin_name, plugin, parsed = plugins.backbone(model.name, texts)
        if not plugins.is_model(plugin):
            raise UsageError(f"{plugin_name} is no published model: it has no scores (affectkit list models)")
        weights = plugins.weights("models", plugin_name, plugin, parsed, options.weights)
        rows = dict(options.rows)
        task = None if options.task is None else tasks.get(options.task)
        is_whole = task is not None and task.level == "clip"
        kind: Choice = rows.get("smooth") or ("none" if is_whole else SMOOTH)
        width = rows.get("half_width")
        agree(kind, width, task or tasks.get("va"))
        rows = {"smooth": kind, "half_width": None if kind == "none" else HALF_WIDTH if width is None else width}
        config = PublishedConfig.model_validate(
            {**rows, "task": options.task, "option": texts, "weights": options.weights}
        )
        card: ModelCard = plugin.card(parsed, weights)
        if task is not None:
            fit_to(card.name, card.outputs, task)
        return _Published(name, str(plugin.kind), card, config, smoothing_of(rows))

    @property
    def outputs(self) -> tuple[Task, ...]:
        """Its tasks, or the one that its scores become."""
        return self.card.outputs if self.config.task is None else (tasks.get(self.config.task),)

    @property
    def fit(self) -> tuple[str, ...]:
        """What does not fit the task that its scores become, a line each."""
        if self.config.task is None:
            return ()
        return tuple(fit_to(self.card.name, self.card.outputs, tasks.get(self.config.task)).notices)


SMOOTH: Choice = "hamming"
HALF_WIDTH = 0.5
"""What smooths the scores of published models unless something else is asked for: seconds to either side."""


def smoothing_of(rows: Mapping[str, Any]) -> str:
    """What smooths scores, in words.

    >>> smoothing_of({"smooth": "hamming", "half_width": 0.5}), smoothing_of({"smooth": "none"})
    ('hamming window, 0.5 s to either side', 'none')
    """
    if rows.get("smooth") in (None, "none") or not rows.get("half_width"):
        return "none"
    return f"{rows['smooth']} window, {rows['half_width']:g} s to either side"


def _scorer(
    name: str, model: AnyModel, published: _Published | None, clips: Sequence[Clip], faces: Artifact | None,
    sounds: Mapping[int, Artifact], options: ScorerOptions, context: Context,
) -> tuple[ScoringModel, list[Outcome]]:  # fmt: skip
    """One model's predictions, and how they came about."""
    if published is None:
        assert isinstance(model, Artifact)
        return _trained(name, model, clips, options, context)
    source = faces if published.kind == "image" else sounds[published.card.sampling_rate]
    assert isinstance(model, PublishedModel) and source is not None
    outcome = predict_published(model, [source], None, None, published.config, context)
    about = published.card.about()
    scorer = ScoringModel(
        name, outcome.artifact, published.outputs, published.kind == "audio", about, published.smoothed, True,
        published.fit,
    )  # fmt: skip
    return scorer, [outcome]


def _trained(
    name: str, model: Artifact, clips: Sequence[Clip], options: ScorerOptions, context: Context
) -> tuple[ScoringModel, list[Outcome]]:
    """What a head, a network or a fused system says, by the recipe that it was trained with."""
    config = PredictConfig.model_validate({"task": options.task, **options.rows})
    card, task = card_of(model), task_of(model)
    outcome = Predict().run(Predict.Inputs(head=model, inputs=clips), config, context)
    about = card.about()
    return ScoringModel(name, outcome.artifact, (task,), hears(model), about, _smoothing(model, options)), [outcome]


def _smoothing(model: Artifact, options: ScorerOptions) -> str:
    """What smooths the scores of what was trained, in words."""
    if options.rows.get("smooth") or model.stage.stage not in TRAINED:
        return smoothing_of(options.rows) if options.rows.get("smooth") else "as it was fused"
    told = trained_report(model).get("smoothing") or {}
    return smoothing_of({"smooth": told.get("kind"), **told})


def _without(outcome: Outcome, clips: Sequence[str]) -> Outcome:
    """An outcome whose failures of these clips are none."""
    return replace(outcome, failed=tuple(each for each in outcome.failed if each.clip not in set(clips)))
