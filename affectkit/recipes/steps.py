"""What a step of a recipe is: a stage with settings, what it reads, and what it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from affectkit.config import Config, mark_of
from affectkit.media.sampling import Rate
from affectkit.stages import inputs as what
from affectkit.stages.stage import Stage
from affectkit.tables.labels import DatasetLabels, LagChoice

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Ref:
    """A step as another one's input, or one output of it (`b1:layer_07`)."""

    step: str
    column: str = ""

    @staticmethod
    def of(text: str) -> Ref:
        """`step` or `step:output`."""
        return Ref(*text.partition(":")[::2])

    def __str__(self) -> str:
        return f"{self.step}:{self.column}" if self.column else self.step


class AuxiliaryTask(Config):
    """A task that is learnt along."""

    from_: str = Field(alias="from", description="a step that makes features")
    labels: str = Field(description="a data set of the recipe, or a CSV file")
    task: str = Field(description="the task")


_KEYS: dict[type[what.Input], tuple[str, Any]] = {
    what.MediaInput: ("data", str), what.LabelsInput: ("labels", str | None), what.ArtifactsInput: ("", str | None),
    what.FileInput: ("", str | None), what.RatesInput: ("", Rate | str | None),
    what.AuxiliaryInput: ("", list[AuxiliaryTask]),
}  # fmt: skip
"""Of each sort of input its key in a step, where that is not the input's own name, and the type of its value."""


@cache
def keys_of(stage: Stage) -> type[Config]:
    """The model of what a step says of its inputs, beside `from`."""
    fields: dict[str, Any] = {}
    for one in stage.inputs:
        if isinstance(one, what.ArtifactsInput) and one.or_model:
            several = one.many and one.option
            kind = str | list[str] | None if several else str | None
            description = one.help if several else "a published model, in place of a step's"
            fields["model"] = (kind, Field(None, description=description))
            if several:
                continue
        if not one.in_recipes or isinstance(one, what.ClipsInput) or one in stage.positions:
            continue
        if isinstance(one, what.LabelsInput):
            lag = LagChoice.model_fields["label_lag"]
            fields["label_lag"] = (lag.annotation, lag)
        name, kind = ("", one.type) if isinstance(one, what.ValueInput) else _KEYS[type(one)]
        is_made = isinstance(one, what.FileInput) and one.kind == "made"  # a recipe has a place for it
        is_required = (one.is_required and not one.many and not is_made) or isinstance(one, what.MediaInput)
        kind = str if is_required and isinstance(one, what.FileInput | what.LabelsInput) else kind
        default: Any = ... if is_required else [] if one.many else None if is_made else one.default
        more: dict[str, Any] = {"union_mode": "left_to_right"} if isinstance(one, what.RatesInput) else {}
        if isinstance(one, what.ValueInput):
            more = {"ge": one.least_value, "le": one.most_value}
        fields[name or one.name] = (kind, Field(default, description=one.help, **more))
    model: type[Config] = create_model(f"KeysOf{type(stage).__name__}", __base__=Config, **fields)
    return model


@cache
def models_of(stage: Stage) -> tuple[type[Config], ...]:
    """The models that read a step's settings."""
    return (*stage.configs, keys_of(stage))


@cache
def settings_of(stage: Stage) -> Mapping[str, type[Config]]:
    """Every setting, with the model that reads it. The device is the whole run's."""
    return {
        item.alias or name: model
        for model in models_of(stage) for name, item in model.model_fields.items() if name != "device"
    }  # fmt: skip


def is_own(model: type[Config], setting: str) -> bool:
    """Whether a setting is about one step, so that a default for all steps is not meant for it."""
    return setting in model.model_fields and bool(mark_of(model.model_fields[setting], "is_own"))


@cache
def files_of(stage: Stage) -> Mapping[str, str]:
    """The settings that are paths of what must be there: `file` or `folder`."""
    inputs = {one.name: one.kind for one in stage.inputs if isinstance(one, what.FileInput) and one.kind != "made"}
    inputs |= {one.name: "file" for one in stage.inputs if isinstance(one, what.RatesInput) or is_either(one)}
    config = {name: "file" for name, item in stage.Config.model_fields.items() if is_file(item)}
    return inputs | config


def is_either(one: what.Input) -> bool:
    """Whether an input is a file, or where it is written "@step" what a step makes."""
    return isinstance(one, what.ArtifactsInput) and one.or_table


def is_file(item: FieldInfo) -> bool:
    """Whether a text in a config's field is the path of a file."""
    return bool(mark_of(item, "is_file"))


@dataclass(frozen=True, repr=False)
class Step:
    """A step that has been checked: `inputs` are those of `from`, `needs` all steps that come first."""

    name: str
    stage: Stage
    inputs: tuple[Ref, ...]
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    configs: Mapping[type[Config], Config]
    keys: Any
    paths: Mapping[str, Path] = field(default_factory=dict)
    weights_of: str | None = None

    def __repr__(self) -> str:
        return f"Step({self.name}: {self.stage.name})"

    def config(self, model: type[C]) -> C:
        """Its settings for a model."""
        found = self.configs[model]
        assert isinstance(found, model)
        return found

    def setting(self, name: str) -> Any:
        """A setting of whichever of its config models has it; empty where none has."""
        return next((getattr(one, name) for one in self.configs.values() if name in type(one).model_fields), "")

    @property
    def aux(self) -> list[AuxiliaryTask]:
        """Tasks to learn along."""
        found: list[AuxiliaryTask] = getattr(self.keys, "aux", [])
        return found

    @property
    def model(self) -> str:
        """The published model that stands in for a step; empty where none does."""
        model = getattr(self.keys, "model", None)
        return model if isinstance(model, str) and any(one.or_model for one in self.stage.positions) else ""

    @property
    def plugin(self) -> str:
        """The name of its plugin, given or not; empty where it has none."""
        return str(self.setting(self.stage.plugin[1]) or "") if self.stage.plugin else ""

    @property
    def words(self) -> str:
        """What it does, for people."""
        sources = ", ".join(map(str, self.inputs)) or str(getattr(self.keys, "data", ""))
        plugin = self.plugin or f"what {self.weights_of} made"
        task, form = self.setting("task"), self.setting("format")
        return self.stage.says.format(inputs=sources, plugin=plugin, task=task, format=form)


@dataclass(frozen=True)
class DataSet:
    """A data set of a recipe; without a root where the user has not said where it lies."""

    name: str
    dataset: str
    option: tuple[str, ...]
    root: Path | None

    def source(self) -> DatasetLabels:
        """As the stages take it."""
        assert self.root is not None
        return DatasetLabels(self.dataset, self.root, self.option)
