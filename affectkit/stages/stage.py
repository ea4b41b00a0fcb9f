"""One description of a stage: what it is called, reads, makes and computes. Everything else is made from it.

A stage is a module of this folder whose docstring begins with "`affectkit COMMAND`: summary" and whose `STAGE` is a
subclass of `Stage`. From that follow the command, its keys in a recipe, the dry run and its function in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from affectkit.config import Config, Numerics, Runtime
from affectkit.plugins import Group
from affectkit.stages import inputs as what
from affectkit.stages.inputs import Input, Makes
from affectkit.store import Artifact, Cache, Failure, is_artifact
from affectkit.tasks import Task

TRAINING = "Training"


@dataclass(frozen=True)
class Context:
    """Where and how a stage runs; nothing of it is part of a fingerprint."""

    cache: Cache
    runtime: Runtime = field(default_factory=Runtime)
    device: str = "auto"
    numerics: Numerics = field(default_factory=Numerics)
    out: Path | None = None


@dataclass(frozen=True)
class TextTable:
    """Lines of cells under headers, for people."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Result:
    """What a stage made.

    path: what the next command takes; cached: whether it was there already, of a map stage how many clips were; report:
    what it says of itself; failed: clips without a result, with causes; notices: what the user must know; code: the
    exit code where something is wrong with what was looked at; printed: what is printed in place of the path.
    """

    path: Path
    artifact: Artifact | None = None
    cached: int = False
    report: Mapping[str, Any] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()
    code: int = 0
    printed: str = ""

    @property
    def is_cached(self) -> bool:
        """Whether nothing was computed, and nothing would be."""
        return bool(self.cached)


@dataclass(frozen=True)
class Need:
    """What must be there before a stage runs: the setting that needs it, what it is, and a check that raises."""

    setting: str
    what: str
    check: Callable[[], Any]


Settings = Config
"""`Config` where a stage's own model has that name."""


class Nothing(Config):
    """A stage without a choice of what is computed."""


class Stage:
    """What every stage has.

    version: raised by hand when results change; says: what it does, for the plan of a recipe; plugin: the group and the
    setting that names the plugin which `option` is for; runtime: the settings of `Runtime` that it uses; is_map:
    whether it works clip by clip; kept: what is kept when it is interrupted.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    makes: ClassVar[Makes]
    says: ClassVar[str]
    Config: ClassVar[type[Config]] = Nothing
    Inputs: ClassVar[type[Any]]
    plugin: ClassVar[tuple[Group, str] | None] = None
    runtime: ClassVar[tuple[str, ...]] = ()
    has_device: ClassVar[bool] = False
    has_numerics: ClassVar[bool] = False
    is_map: ClassVar[bool] = False
    kept: ClassVar[str] = ""

    def run(self, inputs: Any, config: Any, context: Context) -> Result:
        """Make the artifact, or take what is there of it; with a dry cache, only look."""
        raise NotImplementedError

    # What `run` of a FitStage or a MapStage is made of.

    def resolve(self, inputs: Any, config: Any) -> Any:
        """What identity and computing need, checked as far as that costs little. Raises UsageError."""
        raise NotImplementedError

    def called(self, resolved: Any) -> str:
        """The name before the fingerprint in the artifact's folder."""
        raise NotImplementedError

    def identity(self, resolved: Any) -> dict[str, Any]:
        """What the fingerprint is made of, beside the stage's name and version."""
        raise NotImplementedError

    def upstream(self, resolved: Any) -> list[Path]:
        """The artifacts that it is made from: those among `resolved.inputs`, where that is so called."""
        values = (
            [getattr(resolved.inputs, each.name) for each in self._artifacts] if hasattr(resolved, "inputs") else []
        )
        items = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
        paths = [item if isinstance(item, Path) else item.path for item in items if item is not None]
        return [path for path in paths if is_artifact(path)]

    def provenance(self, resolved: Any) -> dict[str, Any]:
        """What is kept of how it was made: the config, where `resolved` has one."""
        config = getattr(resolved, "config", None)
        return {} if config is None else {"config": config.model_dump(mode="json")}

    # What is told of a result.

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        """What is said of a result, for people."""
        yield from (f"note: {notice}" for notice in result.notices)

    def json(self, result: Result) -> dict[str, Any]:
        """What is said of a result, for machines."""
        return {"artifact": str(result.path), "cached": result.cached, **result.report}

    def check_positions(self, texts: Mapping[str, Any]) -> None:
        """Before any is opened: raises UsageError for positions that were swapped."""

    # What a recipe asks of a stage before anything runs.

    def reads_task(self, config: Any) -> tuple[Task, str] | None:
        """The task that predictions must be of, and the end of a sentence that says so; None where any will do."""
        return None

    def needs(self, config: Any, files: Mapping[str, Path]) -> Iterator[Need]:
        """What only some settings need; `files`: those of the inputs that are there."""
        yield from ()

    def mistakes(self, config: Mapping[str, Any], inputs: int, plugin: Any) -> Iterator[tuple[str, str]]:
        """(setting, what is wrong) of what no single setting shows, from a table as it is written."""
        yield from ()

    def dim(self, config: Any, upstream: int) -> int:
        """The dimensions of the features that it makes from features of so many."""
        return upstream

    def weights_matter(self, clips: Sequence[Any]) -> bool:
        """Whether the plugin's weights are needed for these clips."""
        return True

    @property
    def configs(self) -> tuple[type[Settings], ...]:
        """The models of what is computed, and of numerics."""
        return (self.Config, Numerics) if self.has_numerics else (self.Config,)

    @property
    def inputs(self) -> list[Input]:
        """What it reads."""
        return what.of(self.Inputs)

    @property
    def _artifacts(self) -> list[what.ArtifactsInput]:
        return [each for each in self.inputs if isinstance(each, what.ArtifactsInput)]

    @property
    def positions(self) -> list[what.ArtifactsInput]:
        """The artifacts that it reads, in the order that they are given."""
        return [each for each in self._artifacts if not each.option]

    def accepts(self, makes: Sequence[Makes]) -> bool:
        """Whether artifacts of these sorts, in this order, are what it reads."""
        at = 0
        for each in self.positions:
            count = 0
            while at < len(makes) and makes[at] in each.makes and (each.many or count < each.least):
                at, count = at + 1, count + 1
            if count < each.least:
                return False
        return at == len(makes)

    @property
    def wants(self) -> str:
        """What it reads, in words."""
        return " and ".join(map(_said, self.positions)) or "no input"


def _said(each: what.ArtifactsInput) -> str:
    words = " or ".join(dict.fromkeys(what.WORDS[one] for one in each.makes))
    if each.least == 2:
        return f"two or more {words}"
    return f"{words}, one or more" if each.many and "features" in each.makes else words
