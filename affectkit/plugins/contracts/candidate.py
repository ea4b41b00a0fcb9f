"""A plugin that is held to its contract, and what obligations are written with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from affectkit.config import Config, Numerics
from affectkit.devices import threads_of_torch
from affectkit.errors import AffectkitError
from affectkit.tasks import Task
from affectkit.weights import WeightsFile


class Broken(AssertionError):
    """An obligation is not kept; the message says how."""


@dataclass(frozen=True)
class Candidate:
    """A plugin with options, and what it is tried on: `choice` of weights; `task` of a head, network, fuser or reader;
    `root` of a reader; `samples` (images [N,3,H,W] or frames [N,H,W,3]) instead of noise. `kept` is what several
    obligations share."""

    group: str
    name: str
    plugin: type[Any]
    options: Config
    choice: str = "auto"
    task: Task | None = None
    root: Path | None = None
    samples: Any = None
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def weights(self) -> WeightsFile:
        """Its weights."""
        found: WeightsFile = self.plugin.weights(self.options, self.choice)
        return found

    def make(self) -> Any:
        """A new instance."""
        if self.group in ("backbones", "models"):
            return self.plugin(self.options, self.weights, Numerics(device="cpu", batch_size=8))
        if self.group == "detectors":
            return self.plugin(self.options, self.weights, "cpu")
        return self.plugin(self.options, self.root if self.group == "datasets" else self.task)

    @cached_property
    def instance(self) -> Any:
        """One instance, for what needs no new one."""
        return self.make()


Obligation = Callable[[Candidate], None]


def hold(holds: Any, otherwise: str) -> None:
    """Raises Broken unless it holds."""
    if not holds:
        raise Broken(otherwise)


def refused(call: Callable[[], Any], error: type[Exception], what: str, words: str = "") -> None:
    """Raises Broken unless the call raises this error, with these words."""
    try:
        call()
    except error as raised:
        hold(words in str(raised), f"{what}: {type(raised).__name__} does not say '{words}': {raised}")
        return
    except Exception as raised:
        if isinstance(raised, AffectkitError) and issubclass(error, AffectkitError):
            return
        wrong(f"{what} raised {type(raised).__name__} ({raised}), not {error.__name__}")
    wrong(f"{what} was accepted; needed is a {error.__name__}")


def wrong(how: str) -> NoReturn:
    """Raises Broken."""
    raise Broken(how)


def same(found: Any, expected: Any, what: str) -> None:
    """Raises Broken unless both are the same numbers; of mappings, each of them."""
    if isinstance(found, Mapping):
        hold(found.keys() == expected.keys(), f"{what}: outputs {sorted(found)}, not {sorted(expected)}")
        for name in found:
            same(found[name], expected[name], f"{what} ({name})")
        return
    ours, theirs = np.asarray(found), np.asarray(expected)
    hold(ours.shape == theirs.shape, f"{what}: shape {list(ours.shape)}, not {list(theirs.shape)}")
    if not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
        apart = np.nanmax(np.abs(ours - theirs)) if ours.dtype.kind == "f" else "some"
        wrong(f"{what}: values differ (by up to {apart})")


@contextmanager
def two_threads() -> Iterator[None]:
    """Products split over threads: where a row's place in a batch could matter."""
    if "torch" not in sys.modules:
        yield
        return
    with threads_of_torch(2):
        yield
