"""Heads that are fitted at once, not by gradient: a learner on functionals of windows or clips.

A head of this kind is a plugin file with its `Options`, how it learns, and what it writes; all else is here.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from affectkit import metrics
from affectkit.config import Config, validate
from affectkit.errors import HostileFile, UsageError
from affectkit.learning import features, saved_head
from affectkit.learning.options import Seconds
from affectkit.learning.saved_head import FILES
from affectkit.learning.segments import Names, Recipe, Segments
from affectkit.learning.windows import SECONDS_AT_TIME_LEVEL
from affectkit.plugins import Auxiliary, Epoch, Example, Monitor
from affectkit.summaries import FUNCTIONALS, SETS
from affectkit.tasks import Level, Task
from affectkit.types import Floats, without_face

Normalise = Literal["canonical", "standard", "standard-power", "standard-unit", "power", "power-unit", "unit", "none"]
ROWS_AS_THEY_ARE = "none"


class StaticOptions(Config):
    """What is learnt from. A segment is a window, or a row where there are no functionals; rows without a face or
    speech never count, and a segment needs a row of every input that does.

    Clip level: a segment learns its clip's label, and the clip's score is the mean over its segments. Time level: it
    learns the mean (classes: the most frequent) of its rows' labels, and a row's score is the mean over the segments
    that hold it.
    """

    functionals: str = Field(
        "fun",
        description="a set (fun, sun-visual, sun-audio, all), names divided by commas, or none: rows as they are; with "
        "several inputs, / divides what is for each",
    )
    window: Seconds | Literal["auto", "clip"] = Field(
        "auto", description="window in seconds, or clip: the whole clip (auto: 4 s for time-level tasks, else clip)"
    )
    stride: Seconds | None = Field(None, description="seconds between windows (default: half a window)")
    normalise: Normalise = Field(
        "standard",
        description="of the functionals, fitted on the training split: standard (z-scores), power (signed square "
        "root), unit (length 1), two of them, or canonical: all three",
    )

    @field_validator("functionals")
    @classmethod
    def _known(cls, given: str) -> str:
        parts = given.split("/")
        if ROWS_AS_THEY_ARE in parts and len(set(parts)) > 1:
            raise ValueError("none is for all inputs or for no input")
        for name in [name for part in parts for name in part.split(",")]:
            if name not in (*SETS, *FUNCTIONALS, ROWS_AS_THEY_ARE) or ("," in given and name == ROWS_AS_THEY_ARE):
                raise ValueError(f"'{name}' is neither a set ({', '.join(SETS)}), nor of {', '.join(FUNCTIONALS)}")
        return given

    def recipe(self, task: Task, dims: Sequence[int]) -> Recipe:
        """How clips of these inputs become segments. Raises UsageError for options that do not fit each other or the
        number of inputs."""
        window, stride = self._window(task.level)
        if self.functionals.startswith(ROWS_AS_THEY_ARE):
            return Recipe(task, tuple(dims), None, window, stride)
        parts = [_names(part) for part in self.functionals.split("/")]
        if len(parts) not in (1, len(dims)):
            raise UsageError(
                f"option functionals={self.functionals} is for {len(parts)} inputs; there are {len(dims)}: give one "
                "for all, or one for each"
            )
        return Recipe(task, tuple(dims), tuple(parts * len(dims) if len(parts) == 1 else parts), window, stride)

    def _window(self, level: Level) -> tuple[float | Literal["clip"], float | None]:
        window = self.window
        if window == "auto":
            window = SECONDS_AT_TIME_LEVEL if level == "time" else "clip"
        if self.stride is not None and window == "clip":
            raise UsageError(f"option stride={self.stride:g} needs a window in seconds, not the whole clip")
        if self.stride is not None and window != "clip" and self.stride > window:
            raise UsageError(f"option stride={self.stride:g} is longer than window={window:g}: rows would be left out")
        return window, self.stride


def _names(part: str) -> Names:
    """`sun-visual,slope` -> mean, max, min, slope; each once."""
    found = [one for name in part.split(",") for one in SETS.get(name, (name,))]
    return tuple(dict.fromkeys(found))  # type: ignore[arg-type]


Matrix = NDArray[np.float64]


class StaticHeader(saved_head.HeadHeader):
    """What every head of this kind needs to read clips again: the dimensions of its inputs."""

    dims: list[int] = Field(min_length=1, max_length=1000)


class SegmentModel(Protocol):
    """What a head learns."""

    def scores(self, x: Matrix) -> Matrix:
        """Of normalised segments [P,D] -> [P,K], to be averaged."""

    def raw(self, scores: Matrix) -> Matrix:
        """Averaged scores [S,K] as the raw scores that `Head.predict` gives."""


@dataclass(frozen=True, repr=False)
class Split:
    """The segments of a split, their normalised values x [P,D], and who each is of: `groups` [P] names subjects, or
    clips where there is no subject."""

    segments: Segments
    x: Matrix
    task: Task
    groups: NDArray[np.str_]

    def score(self, scores: Matrix, raw: Callable[[Matrix], Matrix]) -> float:
        """The task's metric, of scores [P,K] of the segments, on what is labelled and scored; `raw`: a model's."""
        found = raw(self.segments.spread(scores))
        truth = self.segments.truth
        there = np.isfinite(truth).all(axis=1) & np.isfinite(found).all(axis=1)
        return metrics.main(self.task, truth[there], metrics.probabilities(self.task, found[there]))


@dataclass(frozen=True, repr=False)
class FittedSegments:
    """How clips are read, how their segments are normalised, and what is made of them."""

    recipe: Recipe
    normaliser: Any
    model: Any


class StaticHead(ABC):
    """Follows `affectkit.plugins.Head`. Clips are predicted one by one: their scores cannot depend on each other."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[StaticOptions]]
    Header: ClassVar[type[StaticHeader]] = StaticHeader

    selects = False
    """Whether `fit` chooses anything by the val clips."""

    def __init__(self, options: Any, task: Task) -> None:
        self.options = options
        self.task = task
        self.fitted: FittedSegments | None = None
        self.notices: list[str] = []

    @abstractmethod
    def learn(self, train: Split, val: Split, *, seed: int, device: str) -> SegmentModel:
        """Fit on the segments of `train`, which are all labelled. Raises UsageError."""

    @abstractmethod
    def written(self, model: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A model as fields of the header and tensors."""

    @abstractmethod
    def restored(self, header: Any, tensors: dict[str, NDArray[Any]], normaliser: Any) -> SegmentModel:
        """What `written` gave as a model again. Raises HostileFile, or KeyError for a tensor that is missing."""

    def fit(
        self,
        train: Sequence[Example],
        val: Sequence[Example],
        *,
        seed: int,
        device: str,
        monitor: Monitor,
        auxiliary: Sequence[Auxiliary] = (),
        state: Path | None = None,
    ) -> list[Epoch]:
        """See `affectkit.plugins.Head.fit`. The history is one epoch, whose loss is the error on the training segments:
        the mean square, or the share of classes or labels that are wrong. `state` is not needed.

        Raises UsageError: no labelled row in a split, bad features or labels, options that do not fit them.
        """
        features.refuse(auxiliary, type(self).__module__.rpartition(".")[2].replace("_", "-"))
        began = time.perf_counter()
        for split, examples in (("train", train), ("val", val)):
            if not examples and (split == "train" or self.selects):
                raise UsageError(f"the {split} split has no clips with features and labels")
        recipe = self.options.recipe(self.task, [one.dim for one in train[0].inputs])
        learnt = recipe.read("train", train)
        held = recipe.read("val", val) if val else learnt.where(np.zeros(len(learnt), bool))
        if unlabelled := int((~learnt.labelled).sum()):
            self.notices = [f"train windows without a label, which are not learnt from: {unlabelled} of {len(learnt)}"]
        learnt = learnt.where(learnt.labelled)
        normaliser = _normaliser(self.options.normalise).fit(learnt.values)
        splits = [
            Split(one, normaliser.transform(one.values) if len(one) else one.values, self.task, _groups(one, examples))
            for one, examples in ((learnt, train), (held, val))
        ]
        model = self.learn(*splits, seed=seed, device=device)
        self.fitted = FittedSegments(recipe, normaliser, model)
        score = splits[1].score(model.scores(splits[1].x), model.raw) if len(held) else float("nan")
        loss = _error(self.task, learnt.labels, model.raw(model.scores(splits[0].x)))
        history = [Epoch(1, 1, loss, score, score, seconds=time.perf_counter() - began)]
        monitor(history[0])
        return history

    def refitted(self, examples: Sequence[Example], *, seed: int, device: str) -> Self:
        """See `affectkit.plugins.Head`: the scaling and the model are those of all `examples`."""
        again = type(self)(self.settled(), self.task)
        again.fit(examples, (), seed=seed, device=device, monitor=lambda epoch: None)
        return again

    def settled(self) -> Any:
        """The options, with what was chosen in place of what says how to choose."""
        return self.options

    def predict(self, examples: Sequence[Example], *, device: str) -> list[Floats]:
        """See `affectkit.plugins.Head.predict`. Raises UsageError for features that cannot be read or are not of the
        dimensions that the head was trained on."""
        fitted = self._fitted()
        return [self._predict(example, fitted) for example in examples]

    def save(self, folder: Path) -> None:
        """Write `head.json` and `head.safetensors` into an existing folder."""
        fitted = self._fitted()
        fields, tensors = self.written(fitted.model)
        header = self.Header(
            version=self.version, task=self.task, options=self.options.model_dump(mode="json"),
            inputs=sum(fitted.recipe.dims), dims=list(fitted.recipe.dims), **fields,
        )  # fmt: skip
        scaling = {"normaliser.mean": fitted.normaliser.mean_, "normaliser.scale": fitted.normaliser.scale_}
        FILES.write(folder, header, tensors | scaling)

    @classmethod
    def load(cls, folder: Path, task: Task) -> Self:
        """The head that `save` wrote. Raises UsageError or HostileFile, see `saved_head`."""
        header = saved_head.read_header(folder, cls.Header, cls.version, task)
        tensors = FILES.read_tensors(folder)
        head = cls(validate(cls.Options, header.options, str(folder / FILES.header)), task)
        recipe = head.options.recipe(task, header.dims)
        normaliser = _restored(head.options.normalise, tensors, recipe.width)
        try:
            model = head.restored(header, tensors, normaliser)
        except KeyError as error:
            raise HostileFile(f"{folder / FILES.tensors} does not fit {FILES.header}: no {error}") from None
        head.fitted = FittedSegments(recipe, normaliser, model)
        return head

    def _predict(self, example: Example, fitted: FittedSegments) -> Floats:
        rows = 1 if self.task.level == "clip" else len(example.inputs[0]) if example.inputs else 0
        found = np.full((rows, self.task.outputs), np.nan, np.float32)
        segments = fitted.recipe.of_clip(Example(example.clip, example.inputs))
        if len(segments):
            scores = fitted.model.scores(fitted.normaliser.transform(segments.values))
            found[:] = fitted.model.raw(segments.spread(scores))
        return found

    def _fitted(self) -> FittedSegments:
        if self.fitted is None:
            raise RuntimeError("fit or load the head first")
        return self.fitted


def _groups(segments: Segments, examples: Sequence[Example]) -> NDArray[np.str_]:
    """[P] the subject of each segment, or its clip where no subject is named."""
    names = np.array([one.subject or without_face(one.clip) for one in examples], np.str_)
    return names[segments.clip] if len(segments) else names[:0]


def tensor(tensors: Mapping[str, NDArray[Any]], name: str, dtype: Any, *shape: int | None) -> NDArray[Any]:
    """A tensor that has to have this type and shape (None: any size) and no NaN. Raises HostileFile, KeyError."""
    values = tensors[name]
    fits = len(values.shape) == len(shape) and all(
        want in (None, got) for got, want in zip(values.shape, shape, strict=True)
    )
    if not fits or values.dtype != dtype or not np.isfinite(values).all():
        raise HostileFile(f"a saved head's {name} is not finite {np.dtype(dtype).name} {list(shape)}")
    return values


def _normaliser(kind: Normalise) -> Any:
    from affectkit.kernels.normalise import CanonicalNormaliser

    parts = {"standard", "power", "unit"} if kind == "canonical" else set(kind.split("-"))
    return CanonicalNormaliser(zscore="standard" in parts, power="power" in parts, unit_rows="unit" in parts)


def _restored(kind: Normalise, tensors: dict[str, NDArray[Any]], width: int) -> Any:
    normaliser = _normaliser(kind)
    try:
        normaliser.mean_ = tensor(tensors, "normaliser.mean", np.float64, width)
        normaliser.scale_ = tensor(tensors, "normaliser.scale", np.float64, width)
    except KeyError as error:
        raise HostileFile(f"a saved head's tensors lack {error}") from None
    if not (normaliser.scale_ > 0).all():
        raise HostileFile("a saved head's normaliser.scale is not above 0")
    normaliser.n_features_in_ = width
    return normaliser


def _error(task: Task, labels: Floats, raw: Matrix) -> float:
    if task.kind == "regression":
        return float(np.mean((labels - raw) ** 2))
    if task.kind == "multiclass":
        return float(np.mean(labels[:, 0] != raw.argmax(axis=1)))
    return float(np.mean((raw >= 0) != (labels == 1)))
