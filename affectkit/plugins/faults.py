"""A plugin's fault is one line that names the plugin and what it broke.

Whatever a plugin makes or returns enters a stage through `instance`, `loaded` or `weights`. They check it as the
group's protocol has it, and make one line of any error of another package's code. An error of our own code is a bug,
and shows its traceback.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from affectkit.config import Config
from affectkit.errors import AffectkitError, ClipError, UsageError
from affectkit.plugins.protocols import Epoch, Monitor
from affectkit.types import Clip, ClipLabels, Detections
from affectkit.weights import WeightsFile


class PluginFault(AffectkitError):
    """A plugin does not do what its protocol says."""


class Named:
    """A plugin as messages name it."""

    def __init__(self, group: str, name: str, plugin: type[Any]) -> None:
        self.group, self.name, self.plugin = group, name, plugin
        self.is_ours = plugin.__module__.startswith("affectkit.")

    def __str__(self) -> str:
        where = "" if self.is_ours else f" ({self.plugin.__module__})"
        return f"{self.group.removesuffix('s')} '{self.name}'{where}"

    def require(self, holds: bool, what: str) -> None:
        """Raises PluginFault unless it holds."""
        if not holds:
            self.refuse(what)

    def refuse(self, what: str) -> NoReturn:
        """Raises PluginFault."""
        raise PluginFault(f"{self}: {what}")

    @contextmanager
    def errors(self, doing: str, passed: Sequence[BaseException] = ()) -> Iterator[None]:
        """Make a PluginFault of an error in another package's code, unless it only `passed` through there."""
        try:
            yield
        except (AffectkitError, ClipError, MemoryError):
            raise
        except Exception as error:
            if self.is_ours or any(error is one for one in passed):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(str(error).split())
            cause = f"{type(error).__name__}{': ' if text else ''}{text} ({Path(frame.filename).name}:{frame.lineno})"
            raise PluginFault(f"{self}: {doing} raised {cause}") from error


def instance(group: str, name: str, plugin: type[Any], *arguments: Any) -> Any:
    """`plugin(*arguments)`, which is checked: what it says of itself, and what it returns."""
    who = Named(group, name, plugin)
    with who.errors("its construction"):
        return _Checked(who, plugin(*arguments))


def loaded(group: str, name: str, plugin: type[Any], *arguments: Any) -> Any:
    """`plugin.load(*arguments)`, which is checked as `instance` is."""
    who = Named(group, name, plugin)
    with who.errors("load"):
        return _Checked(who, plugin.load(*arguments))


def weights(group: str, name: str, plugin: type[Any], options: Config, choice: str) -> WeightsFile:
    """`plugin.weights(options, choice)`. Raises UsageError, PluginFault."""
    who = Named(group, name, plugin)
    with who.errors("weights"):
        found = plugin.weights(options, choice)
    who.require(isinstance(found, WeightsFile), f"weights returned {said(found)}; needed is a WeightsFile")
    assert isinstance(found, WeightsFile)
    for field in ("name", "sha256", "licence", "source"):
        value = getattr(found, field)
        who.require(isinstance(value, str) and bool(value), f"its weights have no {field} ({value!r})")
    return found


class _Checked:
    """A plugin's instance, each of whose results is checked."""

    def __init__(self, who: Named, own: Any) -> None:
        object.__setattr__(self, "_who", who)
        object.__setattr__(self, "_own", own)
        if own_check := _OF_ITSELF.get(who.group):
            own_check(who, own)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._own, name)
        return partial(self._call, name, value) if name in _RESULTS.get(self._who.group, ()) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._own, name, value)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._call("__call__", self._own, *arguments, **named)

    def __repr__(self) -> str:
        return repr(self._own)

    def _call(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        who: Named = self._who
        passed: list[BaseException] = []
        if "monitor" in named:
            named["monitor"] = _noting(named["monitor"], passed)
        with who.errors("a call" if name == "__call__" else name, passed):
            found = call(*arguments, **named)
            if name == "refitted":
                return _Checked(who, found)
        if check := _RESULTS[who.group].get(name):
            check(who, self._own, found, *arguments)
        return found


def _noting(monitor: Monitor, raised: list[BaseException]) -> Monitor:
    """A monitor that notes what is raised by it, to cut a training short."""

    def noting(epoch: Epoch) -> None:
        try:
            monitor(epoch)
        except BaseException as error:
            raised.append(error)
            raise

    return noting


def said(value: Any) -> str:
    """What a value is, for messages.

    >>> said(np.zeros((2, 3))), said([1, 2]), said(None)
    ('float64 [2,3]', 'a list of 2', 'None')
    """
    if isinstance(value, np.ndarray):
        return f"{value.dtype} [{','.join(map(str, value.shape))}]"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1


def _array(who: Named, value: Any, shape: tuple[int, ...], what: str, kinds: str = "f") -> None:
    is_right = isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in kinds
    needed = f"a numpy array of floats [{','.join(map(str, shape))}]"
    who.require(is_right, f"{what} {said(value)}; needed is {needed}")


# ---- backbones


def _backbone(who: Named, own: Any) -> None:
    if who.plugin.kind == "image":
        dim = getattr(own, "dim", None)
        is_right = _is_count(dim) or (who.group == "models" and dim == 0)
        who.require(is_right, f"its dim is {dim!r}; needed is a number of 1 or more")
        return
    outputs, rate = getattr(own, "outputs", None), getattr(own, "sampling_rate", None)
    is_right = isinstance(outputs, Mapping) and all(map(_is_count, outputs.values()))
    is_right = is_right and (bool(outputs) or who.group == "models")
    who.require(is_right, f"its outputs are {outputs!r}; needed are names with dimensions of 1 or more")
    who.require(_is_count(rate), f"its sampling_rate is {rate!r}; needed are samples a second")
    for name in ("names", "images", "frames"):
        who.require(hasattr(own, name), f"it has no {name}")


def _embeddings(who: Named, own: Any, found: Any, batch: Any) -> None:
    if who.plugin.kind == "image":
        if (outputs := getattr(own, "outputs", None)) is None:
            shape = (len(batch), int(own.dim))
            _array(who, found, shape, f"for {len(batch)} crops and its dim of {own.dim} it returned")
            return
        who.require(isinstance(found, Mapping), f"it returned {said(found)}; needed is a dictionary of its outputs")
        for name, dim in outputs.items():
            who.require(name in found, f"it returned no output {name}")
            _array(who, np.asarray(found[name]), (len(batch), int(dim)), f"its output {name} is")
        return
    who.require(isinstance(found, Mapping), f"it returned {said(found)}; needed is a dictionary of its outputs")
    rows = len(own.frames(batch.shape[1])[0])
    for name, dim in own.outputs.items():
        who.require(name in found, f"it returned no output {name}")
        _array(who, np.asarray(found[name]), (len(batch), rows, int(dim)), f"its output {name} is")
    if own.images:
        who.require("image" in found, "it has images, and returned none")


def _frames(who: Named, own: Any, found: Any, samples: int) -> None:
    is_right = isinstance(found, tuple) and len(found) == 2 and len(found[0]) == len(found[1])
    who.require(is_right, f"frames returned {said(found)}; needed are starts and ends, as many of both")


# ---- models


def _published(who: Named, model: Any, scores: Any, batch: Any) -> None:
    is_table = isinstance(scores, np.ndarray) and scores.ndim == 2 and scores.dtype.kind == "f"
    is_right = is_table and len(scores) == len(batch)
    who.require(is_right, f"for {len(batch)} rows scores returned {said(scores)}; needed are floats [{len(batch)},K]")


# ---- detectors


def _faces(who: Named, own: Any, found: Any, frames: Any) -> None:
    is_right = isinstance(found, list) and len(found) == len(frames)
    who.require(is_right, f"for {len(frames)} frames it returned {said(found)}; needed is a list of as many Detections")
    for one in found:
        who.require(isinstance(one, Detections), f"it returned {said(one)} for a frame; needed are Detections")


# ---- heads


def _history(who: Named, own: Any, found: Any, *_: Any) -> None:
    is_right = isinstance(found, list) and bool(found) and all(isinstance(one, Epoch) for one in found)
    who.require(is_right, f"fit returned {said(found)}; needed is a list of Epochs, one or more")


def _scores(who: Named, own: Any, found: Any, examples: Any) -> None:
    is_right = isinstance(found, list) and len(found) == len(examples)
    who.require(
        is_right, f"for {len(examples)} clips predict returned {said(found)}; needed is a list of as many arrays"
    )
    task = getattr(own, "task", None)
    for example, one in zip(examples, found, strict=True):
        rows = len(example.inputs[0]) if task is None or task.level == "time" else 1
        columns = task.outputs if task is not None else np.shape(one)[-1] if np.ndim(one) == 2 else 1
        _array(who, one, (rows, columns), f"for clip '{example.clip}' predict returned")


# ---- fusers


def _combined(who: Named, own: Any, found: Any, scores: Any) -> None:
    task = getattr(own, "task", None)
    columns = task.outputs if task is not None else np.shape(found)[-1] if np.ndim(found) == 2 else scores.shape[-1]
    _array(who, found, (scores.shape[1], columns), f"for scores {list(scores.shape)} combine returned")


def _state(who: Named, own: Any, found: Any) -> None:
    try:
        text = json.dumps(found)
    except (TypeError, ValueError) as error:
        raise PluginFault(f"{who}: what state returned is no JSON: {error}") from None
    who.require(text.startswith("{"), f"state returned {said(found)}; needed is a dictionary")


# ---- networks


def _module(who: Named, own: Any, found: Any, *_: Any) -> None:
    who.require(callable(getattr(found, "parameters", None)), f"build returned {said(found)}; needed is a torch module")
    dim = getattr(own, "dim", None)
    who.require(_is_count(dim), f"its dim is {dim!r} after build; needed is a number of 1 or more")


# ---- data sets


def _clips(who: Named, own: Any, found: Any) -> None:
    is_right = isinstance(found, list) and all(isinstance(one, Clip) for one in found)
    who.require(is_right, f"clips returned {said(found)}; needed is a list of Clips")


def _labels(who: Named, own: Any, found: Any, task: Any) -> None:
    is_right = isinstance(found, dict) and all(isinstance(one, ClipLabels) for one in found.values())
    who.require(is_right, f"labels returned {said(found)}; needed are ClipLabels by clip")
    for clip, one in found.items():
        columns = len(task.label_columns)
        who.require(
            one.values.shape[1] == columns,
            f"labels of clip '{clip}' have {one.values.shape[1]} columns; task {task.name} has {columns}",
        )


_Check = Callable[..., None]
_OF_ITSELF: dict[str, _Check] = {"backbones": _backbone, "models": _backbone}
_RESULTS: dict[str, dict[str, _Check | None]] = {
    "backbones": {"__call__": _embeddings, "frames": _frames},
    "models": {"__call__": _embeddings, "frames": _frames, "scores": _published},
    "detectors": {"__call__": _faces},
    "heads": {"fit": _history, "predict": _scores, "save": None, "refitted": None},
    "fusers": {"fit": None, "combine": _combined, "state": _state},
    "networks": {"build": _module, "units": None, "embed": None, "blocks": None},
    "datasets": {"clips": _clips, "labels": _labels, "rows": None, "splits": None, "label_files": None, "notes": None},
}
"""What is called of an instance, and how its results are checked."""

_METHODS = {
    "detectors": ("weights", "__call__"),
    "backbones": ("weights", "__call__"),
    "models": ("weights", "card", "scores", "__call__"),
    "heads": ("fit", "predict", "save", "load"),
    "networks": ("weights", "build", "blocks", "units", "embed"),
    "fusers": ("fit", "combine", "state"),
    "datasets": ("clips", "labels", "rows", "splits", "label_files", "notes"),
}


def groups_like(plugin: type[Any]) -> list[str]:
    """The groups whose methods a class has, the one with the most first."""
    fits = [group for group, names in _METHODS.items() if all(callable(_method(plugin, name)) for name in names)]
    fits = [group for group in fits if group != "detectors" or not hasattr(plugin, "kind")]  # a backbone sees or hears
    return sorted(fits, key=lambda group: -len(_METHODS[group]))


def _method(plugin: type[Any], name: str) -> Any:
    """What a class defines under a name; `__call__` only where its instances can be called."""
    if name == "__call__" and not any(name in vars(one) for one in plugin.__mro__):
        return None
    return getattr(plugin, name, None)


def check_class(who: Named) -> None:
    """Raises UsageError where a class lacks what every plugin of its group has."""
    plugin = who.plugin
    lacking = [name for name in _METHODS[who.group] if not callable(_method(plugin, name))]
    if lacking:
        raise UsageError(f"{who}: {plugin.__name__} has no {', '.join(lacking)}")
    options, version = getattr(plugin, "Options", None), getattr(plugin, "version", None)
    if not (isinstance(options, type) and issubclass(options, Config)):
        raise UsageError(f"{who}: its Options are {options!r}; needed is an affectkit.config.Config")
    if not isinstance(version, int) or isinstance(version, bool):
        raise UsageError(f"{who}: its version is {version!r}; needed is a whole number, bumped when results change")
    if who.group in ("backbones", "models", "networks") and getattr(plugin, "kind", None) not in ("image", "audio"):
        raise UsageError(f"{who}: its kind is {getattr(plugin, 'kind', None)!r}; needed is 'image' or 'audio'")
    hears = who.group in ("backbones", "models") and plugin.kind == "audio"
    if hears and getattr(plugin, "padding", None) not in ("zero", "none"):
        raise UsageError(f"{who}: its padding is {getattr(plugin, 'padding', None)!r}; needed is 'zero' or 'none'")
