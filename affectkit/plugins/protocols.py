"""What each kind of plugin is: protocols, and what passes between a plugin and its stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config, Numerics
from affectkit.plugins.cards import ModelCard
from affectkit.plugins.outputs import Outputs
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels, Detections, FeatureSequence, Floats
from affectkit.weights import WeightsFile


class Plugin(Protocol):
    """What every plugin has. `version` is bumped by hand when results change."""

    version: ClassVar[int]
    Options: ClassVar[type[Config]]


class Detector(Plugin, Protocol):
    """Finds faces. Constructed as `Detector(options, weights, device)`; `device` is cpu or cuda[:N].

    A class that has `concurrent = True` takes calls from several threads at once: it gets several clips at a time.
    """

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """The weights meant by `choice` (auto or a path), without loading torch. Raises UsageError."""

    def __init__(self, options: Any, weights: WeightsFile, device: str) -> None: ...

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB of one size -> one `Detections` a frame, best score first, in pixels."""


class Backbone(Plugin, Protocol):
    """A frozen network that embeds images or windows of sound. Preprocessing is inside, on the device.

    Constructed as `Backbone(options, weights, numerics)` with a resolved `numerics.device` and `numerics.batch_size`.
    """

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """The weights meant by `choice` (auto, a path, or random), without loading torch where the answer is
        known already. Raises UsageError."""

    def __init__(self, options: Any, weights: WeightsFile, numerics: Numerics) -> None: ...


class ImageBackbone(Backbone, Protocol):
    """Embeds face crops; `dim` is the embedding's dimension D.

    Four more attributes may be there. `names` labels the components of an output, where they mean something, as an
    AudioBackbone's. `outputs` names several results with their dimensions, `values` first; the call then gives all of
    them by name. `contract` is the crop that it must be given. `reads` names columns of the crops' table (`boxes`
    [N,4], `landmarks` [N,5,2], in pixels of the video): the call is given their rows by name beside the batch, zeros
    where that is filled up.
    """

    kind: ClassVar[Literal["image"]]
    dim: int

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> [N,D]. The caller always passes one fixed batch shape."""


class AudioBackbone(Backbone, Protocol):
    """Embeds windows of a waveform.

    `sampling_rate` (Hz) is what it hears. `outputs` names its results with their dimensions D: `values` for most, one a
    layer (`layer_07`) where several are asked for. `names` labels the components of an output, where they mean
    something. `images`: whether it also gives the encoded picture that each row was made from. `padding`: whether a
    window that the clip ends in is filled with zeros or passed as it is.
    """

    kind: ClassVar[Literal["audio"]]
    padding: ClassVar[Literal["zero", "none"]]
    sampling_rate: int
    outputs: Mapping[str, int]
    names: Mapping[str, list[str]]
    images: bool

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """start, end [F] (s, from the window's start) of the rows that a window of `samples` samples gives: one row
        for all of it, or one a frame. F is 0 where the window is too short for one."""

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S], about -1..1, any N and S -> each of `outputs` as float32 [N,F,D].

        A window's result must not depend on its neighbours. The caller passes one fixed N for each S. With `images`,
        `image` is a list of N lists of F encoded pictures.
        """


class Model(Backbone, Protocol):
    """A published network with scores of its own, which needs no labels to be used. It is a backbone as well, by its
    penultimate layer: an ImageBackbone or an AudioBackbone with two methods more. One that gives no embedding has
    dim 0 (one that hears: no outputs)."""

    kind: ClassVar[Literal["image", "audio"]]

    @classmethod
    def card(cls, options: Any, weights: WeightsFile) -> ModelCard:
        """What is known of it, its outputs among that; read without torch."""

    def scores(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W], or float32 [N,S] of sound -> [N,K] in the order of the card's columns: probabilities of
        classes (each task's add up to 1), values. A row must not depend on its neighbours."""


@dataclass(frozen=True, repr=False)
class Example:
    """One clip as a head sees it: its input sequences (one for most heads) and, for training, its labels.

    labels [T,K] (time level, aligned to the rows of the first input) or [1,K] (clip level); NaN = invalid.
    Multiclass labels have one column, the class index. `subject` is who is seen or heard, where that is known.
    """

    clip: str
    inputs: tuple[FeatureSequence, ...]
    labels: Floats | None = None
    subject: str | None = None

    def __repr__(self) -> str:
        return f"Example({self.clip}, {self.inputs})"


@dataclass(frozen=True)
class Epoch:
    """What a head reports while it trains; learning_rate is that of the epoch's last step."""

    epoch: int
    epochs: int
    loss: float
    score: float
    best: float
    learning_rate: float | None = None
    seconds: float | None = field(default=None, compare=False)


Monitor = Callable[[Epoch], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a head trained that is at its best weights so far now: it can be saved."""

    def __init__(self, history: list[Epoch]) -> None:
        super().__init__()
        self.history = history


@dataclass(frozen=True, repr=False)
class Auxiliary:
    """Another task, learnt beside a head's own from clips and labels of its own; only its training clips are used.

    Its examples have inputs of the same dimensions as the head's.
    """

    task: Task
    train: Sequence[Example]

    def __repr__(self) -> str:
        return f"Auxiliary({self.task.name}, {len(self.train)} clips)"


class Head(Plugin, Protocol):
    """Learns from cached features. Constructed as `Head(options, task)`.

    Four more attributes may be there. `selects` says whether `fit` chooses anything by the val clips (when to stop, an
    option); True where it is missing. Where it is False, `val` is scored only and may be empty (the score is NaN then),
    and cross-validation trains on all folds but one. `refitted(examples, *, seed, device)` is for heads whose choice
    can be made once and kept: a new head of what this one has chosen, fitted on all `examples`; train-head calls it
    with the train and val clips. `groups` says whether `fit` looks at the subjects of its examples;
    `notices` are lines that say what `fit` left out.
    """

    def __init__(self, options: Any, task: Task) -> None: ...

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
        """Fit on `train`, select on `val` by the task's metric; returns the history.

        `auxiliary` tasks are learnt along; a head that cannot raises UsageError. `state` is a folder of the head's own,
        kept until it is fitted: one that trains in epochs leaves there what it needs to go on after a kill, and goes on
        from what it finds; the result is that of an uninterrupted run. Raises `Interrupted` for Ctrl-C where there is
        something to save.
        """

    def predict(self, examples: Sequence[Example], *, device: str) -> list[Floats]:
        """Raw scores (regression: values; else logits) per example: [T,K] at time level, [1,K] at clip level.
        A row that cannot be predicted is NaN."""

    def save(self, folder: Path) -> None:
        """Write safetensors + JSON into an existing folder."""

    @classmethod
    def load(cls, folder: Path, task: Task) -> Head:
        """The head that `save` wrote; never unpickles."""


@dataclass(frozen=True, repr=False)
class Units:
    """What a network is trained and run on: U units (a crop, a window of sound, a pyramid of crops), each answered by L
    scores about rows of a label table. Every batch of `load` has the same shape but for its number of units.

    labels [R,K], NaN = invalid (multiclass: one column, the class index); clip c of `clips` has the rows
    offsets[c]:offsets[c+1], which hold from start [R] to end [R] (s); a clip-level task has one row a clip.
    targets [U,L]: the row of the label table that each score is about, -1 for none. A row that several scores are about
    takes their mean. `load(which, rng)` reads the chosen units as one tensor, augmented where there is a generator; it
    is called from several threads, and the same generator state gives the same bits.
    """

    clips: Sequence[str]
    offsets: NDArray[np.int64]
    start: Floats
    end: Floats
    labels: Floats
    targets: NDArray[np.int64]
    load: Callable[[NDArray[np.int64], np.random.Generator | None], Any]

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"Units({len(self.targets)} of {len(self.clips)} clips)"


class Network(Plugin, Protocol):
    """A backbone and a head of its own, trained together on cached crops or waveforms (`affectkit finetune`).
    Constructed as `Network(options, task)`; its `Options` extend `affectkit.learning.options.TuningOptions`.
    """

    kind: ClassVar[Literal["image", "audio"]]
    """Whether it reads a faces or an audio artifact."""

    dim: int
    """Dimension of `embed`'s result, known after `build`."""

    options: Any
    task: Task

    architecture: dict[str, Any]
    """What `build` took from the files of the weights beside tensors, as JSON (a model's config, a pinned name): set by
    `build` with weights, saved with the network, and given back before `build` without. Empty where options say all."""

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """What training starts from: that of the backbone, see `Backbone.weights`."""

    def __init__(self, options: Any, task: Task) -> None: ...

    def build(self, weights: WeightsFile | None, outputs: Sequence[Outputs]) -> Any:
        """A torch module from a batch of `load` (on the device) to raw scores [B,L,K]: the task's own columns first,
        then those of tasks learnt along, K of all `outputs` (one a task) together. Its attribute `output` is
        `affectkit.nets.joints.output_layer(outputs)`, the activations that `forward` ends with. Without weights:
        the architecture alone, to load a state into."""

    def blocks(self, module: Any) -> list[list[Any]]:
        """The parameters from the input to the output, each in one group: the last is what is new (the head). For
        layer-wise rates and gradual unfreezing. What is in no group is never trained."""

    def units(
        self, upstream: Any, clips: Sequence[str], labels: Mapping[str, ClipLabels] | None, pooling: str, training: bool
    ) -> Units:
        """The units of these clips of a faces or audio artifact. `labels` None: all there are, to predict (K is then
        the task's, all NaN). Units without a label may be among them. For a task that is learnt along it is asked of a
        network of the same options and that task. Raises UsageError for an artifact that it cannot read."""

    def embed(self, module: Any, batch: Any) -> Any:
        """A batch of `load` -> embeddings [B,dim], one a unit: what the head reads. For `affectkit embed` a crop is a
        unit of one image, and an audio network has `sampling_rate` and `frames` as an AudioBackbone has."""


class Fuser(Plugin, Protocol):
    """Combines the scores of M models. Constructed as `Fuser(options, task)`.

    Scores are [M,N,K]: values, or probabilities for classes; truth is [N,K] or class indices [N]; groups [N] are
    clips or subjects. NaN marks a missing score.

    `inputs` names the K columns that it reads where they are not the task's own (None, or left out): a fuser may make
    one task's scores of another's, and combine then gives the task's columns. `reads_unlabelled` (or left out): whether
    rows without a label take part in what it learns.

    Two more methods may be there. `restore(state, arrays)` makes a new fuser what one was that gave them, so that
    `combine` gives the same bits: without it, a fusion cannot be put into a bundle. `arrays()` is what was learnt
    beside `state()`, numbers by name, where JSON is no place for it (or left out: there is nothing).
    """

    inputs: ClassVar[tuple[str, ...] | None] = None
    reads_unlabelled: ClassVar[bool] = False

    def __init__(self, options: Any, task: Task) -> None: ...

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None: ...

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]."""

    def state(self) -> dict[str, Any]:
        """What was learnt, as JSON-able values for the provenance (weights a class, ...)."""


@dataclass(frozen=True, repr=False)
class RawLabels:
    """Labels of one clip as its file gives them, before they have times: values [R,K], NaN = invalid (multiclass: one
    column, the class index); row r is on line `first_line` + r of `path` (None: rows do not follow one another)."""

    values: Floats
    path: Path
    first_line: int | None = None

    def __repr__(self) -> str:
        return f"RawLabels({len(self.values)} rows x {self.values.shape[1]}, {self.path.name})"


class Dataset(Plugin, Protocol):
    """A data set's own layout. Constructed as `Dataset(options, root)`; `root` is a directory, and files outside it
    are read only where an option names them.

    `tasks` are the names of the tasks that it has labels for; empty: any task that its columns fit. A task of another
    name with the same kind, level and targets is served too. Where files say the times of labels, `says_times = True`
    lets `dataset check` hold them against the media. Where they say what several raters said, `agreement(task)` is how
    far those agree, by label column and measure, and `dataset check` says so. Every method raises UsageError, with file
    and line where there are any, for files that are missing, malformed or outside the root, and for tasks that it has
    no labels for.
    """

    tasks: ClassVar[tuple[str, ...]]

    def __init__(self, options: Any, root: Path) -> None: ...

    def clips(self) -> list[Clip]:
        """The media that are there, sorted by id: videos, folders of crops or stills; ids as label files name them.
        Split, subject and face rule are filled where the layout says them. A labelled clip without media is absent."""

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """Labels by clip id, sorted, with times, split and subject. Times of rows a frame are the frames' display
        intervals, those of the rows that `extract faces` makes with `--fps native`."""

    def rows(self, task: Task) -> dict[str, RawLabels]:
        """What the label files hold, by clip id, sorted, without looking at media; clips without a row as well."""

    def splits(self, task: Task | None = None) -> dict[str, str]:
        """Split by clip id, of labelled and unlabelled clips, sorted. Where tasks have splits of their own, those of
        `task`; without one, the splits that all tasks agree on."""

    def label_files(self, task: Task) -> list[Path]:
        """The files that labels and splits are read from, sorted."""

    def notes(self) -> list[str]:
        """What was assumed or left out in reading so far, a line each."""
