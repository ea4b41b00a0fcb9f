"""Plugin protocols and the registry.

A plugin is one module in `affectkit/<group>/`; the module's name is the plugin's name (`_` reads as `-`), and its
`PLUGIN` is a class that follows the group's protocol. Packages outside affectkit register such a module under the
entry point `affectkit.<group>`. Modules whose name begins with `_` are shared code.

A plugin module imports torch, timm, transformers and scikit-learn only inside functions: its `Options` are read by
`--help`, by listings and on every cache hit.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from affectkit.config import Config, Numerics, validate
from affectkit.errors import UsageError, unknown
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels, Detections, FeatureSequence, Floats
from affectkit.weights import WeightsFile

Group = Literal["detectors", "backbones", "heads", "fusers", "datasets"]
GROUPS: tuple[Group, ...] = ("detectors", "backbones", "heads", "fusers", "datasets")


class Plugin(Protocol):
    """What every plugin has. `version` is bumped by hand when results change."""

    version: ClassVar[int]
    Options: ClassVar[type[Config]]


class Detector(Plugin, Protocol):
    """Finds faces. Constructed as `Detector(options, weights, device)`; `device` is cpu or cuda[:N]."""

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
    """Embeds face crops; `dim` is the embedding's dimension D."""

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


class Nested(Config):
    """A backbone inside a plugin: its name, and as other keys its own options (`-o net=vgg16 -o net.layer=fc2`).

    >>> Nested.model_validate({"name": "vgg16", "layer": "fc2"}).given
    ['layer=fc2']
    """

    model_config = ConfigDict(extra="allow")
    name: str = Field(description="an image backbone (affectkit list backbones)")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def given(self) -> list[str]:
        """The options as key=value."""
        return [f"{key}={value}" for key, value in (self.model_extra or {}).items()]


@dataclass(frozen=True, repr=False)
class Example:
    """One clip as a head sees it: its input sequences (one for most heads) and, for training, its labels.

    labels [T,K] (time level, aligned to the rows of the first input) or [1,K] (clip level); NaN = invalid.
    Multiclass labels have one column, the class index.
    """

    clip: str
    inputs: tuple[FeatureSequence, ...]
    labels: Floats | None = None

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
    """Learns from cached features. Constructed as `Head(options, task)`."""

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


class Fuser(Plugin, Protocol):
    """Combines the scores of M models. Constructed as `Fuser(options, task)`.

    Scores are [M,N,K]: values, or probabilities for classes; truth is [N,K] or class indices [N]; groups [N] are
    clips or subjects. NaN marks a missing score.

    `inputs` names the K columns that it reads where they are not the task's own (None, or left out): a fuser may make
    one task's scores of another's, and combine then gives the task's columns.
    """

    inputs: ClassVar[tuple[str, ...] | None] = None

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
    name with the same kind, level and targets is served too. Every method raises UsageError, with file and line where
    there are any, for files that are missing, malformed or outside the root, and for tasks that it has no labels for.
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


def names(group: Group) -> list[str]:
    """Plugins of a group, sorted; nothing heavy is imported."""
    return sorted(_modules(group))


def get(group: Group, name: str) -> type[Any]:
    """The plugin class. Raises UsageError with the nearest accepted name, or for a package's plugin that is broken."""
    modules = _modules(group)
    if name not in modules:
        raise unknown(group.removesuffix("s"), name, modules)
    if not modules[name].startswith(f"{__package__}."):
        return _outside(group, name, modules[name])
    plugin = import_module(modules[name]).PLUGIN
    assert isinstance(plugin, type)
    return plugin


def backbone(name: str, options: Sequence[str] = ()) -> tuple[str, type[Any], Config]:
    """A backbone by plugin name, or any timm model by its own: (artifact name, plugin, options)."""
    if name in _modules("backbones"):
        plugin = get("backbones", name)
        return name, plugin, parse_options(plugin, options, name)
    plugin = get("backbones", "timm")
    return name, plugin, parse_options(plugin, [f"model={name}", *options], name)


def parse_options(plugin: type[Any], given: Iterable[str], name: str) -> Config:
    """`key=value` texts as the plugin's own validated options; dotted keys reach nested options."""
    tree: dict[str, Any] = {}
    for item in given:
        key, found, value = item.partition("=")
        if not found or not key:
            raise UsageError(f"option '{item}' is not key=value")
        _set(tree, key.split("."), value)
    return validate(plugin.Options, tree, f"options of {name}")


def describe(options: Config) -> Mapping[str, Any]:
    """Options as JSON-able values for fingerprints and provenance; a nested backbone by its own version and options."""
    nested = {name: value for name in type(options).model_fields if isinstance(value := getattr(options, name), Nested)}
    inner = {field: _identity(*backbone(value.name, value.given)) for field, value in nested.items()}
    return options.model_dump(mode="json", exclude=set(nested)) | inner


def _identity(name: str, plugin: type[Any], options: Config) -> dict[str, Any]:
    return {"name": name, "version": plugin.version, "options": describe(options)}


def _set(tree: dict[str, Any], path: list[str], value: str) -> None:
    """`net=vgg16` is short for `net.name=vgg16` where something of `net.` is given too."""
    *parents, leaf = path
    for key in parents:
        if not isinstance(tree.setdefault(key, {}), dict):
            tree[key] = {"name": tree[key]}
        tree = tree[key]
    if isinstance(tree.get(leaf), dict):
        tree, leaf = tree[leaf], "name"
    tree[leaf] = value


def _outside(group: Group, name: str, module: str) -> type[Any]:
    """The plugin of another package, whose mistakes are not ours."""
    try:
        plugin = import_module(module).PLUGIN
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageError(f"{group.removesuffix('s')} '{name}' ({module}) cannot be loaded: {error}") from error
    if not isinstance(plugin, type):
        raise UsageError(f"{group.removesuffix('s')} '{name}' ({module}): its PLUGIN is not a class")
    return plugin


def _modules(group: Group) -> dict[str, str]:
    package = import_module(f"affectkit.{group}")
    found = {
        info.name.replace("_", "-"): f"{package.__name__}.{info.name}"
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    }
    for point in entry_points(group=f"affectkit.{group}"):
        found.setdefault(point.name, point.module)
    return found
