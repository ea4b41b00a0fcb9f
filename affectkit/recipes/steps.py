"""What a step of a recipe is: a stage with settings, what it reads, and what it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from affectkit import plugins
from affectkit.config import Config
from affectkit.media.sampling import Rate
from affectkit.tables.labels import DatasetLabels

if TYPE_CHECKING:
    from affectkit.recipes.run import Session

C = TypeVar("C", bound=Config)
Makes = Literal["crops", "sound", "features", "head", "network", "predictions", "report", "file"]


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


@dataclass(frozen=True)
class Slot:
    """Inputs of one sort that a stage takes one after the other: how many at least, and whether more."""

    makes: tuple[Makes, ...]
    least: int = 1
    more: bool = False


class Media(Config):
    """Media of a data set. Its folder comes from --root."""

    data: str = Field(description="a data set of the recipe")


class FacesPlaces(Media):
    """As `extract faces` takes them."""

    videos: str | None = Field(None, description="for folders of crops: the videos their times come from")
    source_fps: Rate | str | None = Field(
        None,
        union_mode="left_to_right",
        description="for folders of crops: their rate, recorded as assumed, or a table clip,fps",
    )
    first_frame: int = Field(1, ge=0, le=1, description="for folders of crops: the number of a clip's first frame")


class AudioPlaces(Media):
    """As `extract audio` takes them."""

    mouth: str | None = Field(None, description="for vad mouth: a CSV of mouth openings")


class Labelled(Config):
    """Labels of a data set of the recipe, or of a table."""

    labels: str = Field(description="a data set of the recipe, or a CSV file")
    splits: str | None = Field(None, description="CSV clip,split that overrides other splits")


class Along(Config):
    """A task that is learnt along."""

    from_: str = Field(alias="from", description="a step that makes features")
    labels: str = Field(description="a data set of the recipe, or a CSV file")
    task: str = Field(description="the task")


class TrainPlaces(Labelled):
    """As `train-head` and `finetune` take them."""

    aux: list[Along] = Field([], description="tasks to learn along")


class ScorePlaces(Labelled):
    """As `evaluate` takes them."""

    against: str | None = Field(None, description="another step's predictions to compare with")


class PredictPlaces(Config):
    """As `predict` takes them."""

    at: str | None = Field(None, description="CSV clip,start,end: predict its rows")


class SubmitPlaces(Config):
    """As `submit` takes them."""

    template: str = Field(description="the organisers' file")
    videos: str | None = Field(None, description="folder of the videos that give frames their times")
    out: str | None = Field(None, description="the file to write  [default: in the run's folder]")


class Nothing(Config):
    """A stage without any."""


@dataclass(frozen=True, repr=False)
class Kind:
    """A stage, as recipes use it.

    configs: its own config models; places: what else it is told; takes: what it may read, one of several rows of slots,
    which `wants` says in words; `plugin`: the group and the setting that names the plugin which `option` is for;
    `files` and `folders`: those of its places that must exist; along: what tasks learnt along are read from; `call`
    runs the stage.
    """

    name: str
    makes: Makes
    configs: tuple[type[Config], ...]
    call: Callable[[Step, Session], Any]
    says: str
    takes: tuple[tuple[Slot, ...], ...] = ((),)
    wants: str = "no input"
    places: type[Config] = Nothing
    plugin: tuple[plugins.Group, str] | None = None
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    along: tuple[Makes, ...] = ("features",)

    @property
    def settings(self) -> dict[str, type[Config]]:
        """Every setting, with the model that reads it. The device is the whole run's."""
        models = (*self.configs, self.places)
        return {
            item.alias or name: model
            for model in models for name, item in model.model_fields.items() if name != "device"
        }  # fmt: skip

    def accepts(self, given: Sequence[Makes]) -> bool:
        """Whether inputs of these sorts fill one of the rows of slots."""
        return any(_fills(row, given) for row in self.takes)


@dataclass(frozen=True, repr=False)
class Step:
    """A step that has been checked: `inputs` are those of `from`, `needs` all steps that come first."""

    name: str
    kind: Kind
    inputs: tuple[Ref, ...]
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    configs: Mapping[type[Config], Config]
    places: Any
    paths: Mapping[str, Path] = field(default_factory=dict)
    weights_of: str | None = None

    def __repr__(self) -> str:
        return f"Step({self.name}: {self.kind.name})"

    def config(self, model: type[C]) -> C:
        """Its settings for a model."""
        found = self.configs[model]
        assert isinstance(found, model)
        return found

    def setting(self, name: str) -> Any:
        """A setting of whichever of its config models has it; empty where none has."""
        return next((getattr(one, name) for one in self.configs.values() if name in type(one).model_fields), "")

    @property
    def aux(self) -> list[Along]:
        """Tasks to learn along."""
        found: list[Along] = getattr(self.places, "aux", [])
        return found

    @property
    def plugin(self) -> str:
        """The name of its plugin, given or not; empty where it has none."""
        return str(self.setting(self.kind.plugin[1]) or "") if self.kind.plugin else ""

    @property
    def words(self) -> str:
        """What it does, for people."""
        sources = ", ".join(map(str, self.inputs)) or str(getattr(self.places, "data", ""))
        plugin = self.plugin or f"what {self.weights_of} made"
        task, form = self.setting("task"), self.setting("format")
        return self.kind.says.format(inputs=sources, plugin=plugin, task=task, format=form)


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


def _fills(row: Sequence[Slot], given: Sequence[Makes]) -> bool:
    at = 0
    for slot in row:
        count = 0
        while at < len(given) and given[at] in slot.makes and (slot.more or count < slot.least):
            at, count = at + 1, count + 1
        if count < slot.least:
            return False
    return at == len(given)
