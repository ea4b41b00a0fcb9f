"""What the Python function of a stage takes, and what those values mean: made from the stage, as its command is."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from affectkit import plugins, tasks
from affectkit.api.names import stages_of, with_paths
from affectkit.config import Config, Numerics, Runtime, validate
from affectkit.errors import UsageError
from affectkit.stages import inputs as what
from affectkit.stages.predict_published import PublishedModel, suffixes_for
from affectkit.stages.stage import Context, Stage
from affectkit.stages.training_data import AuxiliarySource
from affectkit.store import Artifact, Cache, Features, is_artifact, open_artifact, open_features
from affectkit.store.features import features as column_of
from affectkit.store.features import names_features
from affectkit.store.kinds import wrong_kind
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.labels import (
    DatasetChoice,
    DatasetLabels,
    LabelChoice,
    Labels,
    LagChoice,
    MediaChoice,
    lagged,
)
from affectkit.tables.sources import clips_of
from affectkit.types import Clip

REQUIRED = what.REQUIRED
_PROGRESS = "progress"


@dataclass(frozen=True)
class Argument:
    """One parameter: its type as text, its default (REQUIRED where it has none) and what it is for."""

    name: str
    type: str
    default: Any
    help: str
    is_position: bool = False


def arguments_of(stage: Stage) -> list[Argument]:
    """The parameters of a stage's function: positions first, then inputs, what is computed and how it runs."""
    inputs = [argument for each in stage.inputs for argument in _of_input(each)]
    computed = [_of_field(*item) for item in stage.Config.model_fields.items()]
    if stage.plugin is not None:
        computed = [_of_plugin(each) if each.name == stage.plugin[1] else each for each in computed]
    how = [_of_field(*item) for item in run_fields(stage)]
    if stage.has_device:
        how.append(Argument("device", "str", "auto", "auto, cpu, cuda or cuda:N"))
    how.append(Argument("cache", "PathText | None", None, "cache folder (default: $AFFECTKIT_CACHE or .affectkit)"))
    if stage.makes != "file":
        how.append(Argument("out", "PathText | None", None, "name the artifact's folder by hand"))
        how.append(Argument("as_name", "str | None", None, "a name for what is made, which stands for its path"))
    arguments = [*inputs, *computed, *how]
    return sorted(arguments, key=lambda argument: (not argument.is_position, argument.is_position and _has(argument)))


def run_fields(stage: Stage) -> Iterator[tuple[str, FieldInfo]]:
    """The settings of numerics and of running that a stage has."""
    if stage.has_numerics:
        yield from Numerics.model_fields.items()
    for name, item in Runtime.model_fields.items():
        if name in stage.runtime or (name == _PROGRESS and stage.makes not in ("report", "file")):
            yield name, item


def _has(argument: Argument) -> bool:
    """Whether it has a default."""
    return argument.default is not REQUIRED


def _of_field(name: str, item: FieldInfo) -> Argument:
    default = REQUIRED if item.is_required() else item.get_default(call_default_factory=True)
    default = tuple(default) if isinstance(default, list) else default
    return Argument(name, _type_of_field(name, item), default, " ".join((item.description or "").split()))


def _of_plugin(argument: Argument) -> Argument:
    """One that takes a plugin's class as well as its name."""
    return replace(argument, type=argument.type.replace("str", "PluginSource", 1))


def _type_of_field(name: str, item: FieldInfo) -> str:
    if name in ("option", "dataset_option"):
        return "Sequence[str] | Mapping[str, Any]"
    text = text_of(item.annotation)
    return text.replace("str", "PathText", 1) if name == "weights" else text


def text_of(annotation: Any) -> str:
    """A type as it is written.

    >>> text_of(float | Literal["native"] | None), text_of(list[str])
    ('float | Literal["native"] | None', 'Sequence[str]')
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(map(text_of, inner)))
    if origin is Literal:
        return f"Literal[{', '.join(map(_literal, inner))}]"
    if origin in (list, tuple):
        return f"Sequence[{text_of(inner[0])}]"
    if hasattr(annotation, "__metadata__"):
        return text_of(annotation.__origin__)
    return "PathText" if annotation is Path else getattr(annotation, "__name__", str(annotation))


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _of_input(each: what.Input) -> Iterator[Argument]:
    if isinstance(each, what.LabelsInput):
        yield Argument("labels", "LabelSource | None", None, each.help)
        yield from (_of_field(name, item) for name, item in LabelChoice.model_fields.items() if name != "labels")
        return
    if isinstance(each, what.MediaInput):
        yield Argument(each.name, "MediaSource | None", None, each.help, is_position=True)
        yield from (_of_field(*item) for item in MediaChoice.model_fields.items())
        return
    default = REQUIRED if each.is_required else each.default
    if each.many and each.option:
        default = None if _is_pairs(each) else ()
    kind = _type_of_input(each) + (" | None" if default is None else "")
    yield Argument(name_of(each), kind, default, each.help, not each.option)
    if isinstance(each, what.ArtifactsInput) and each.or_media:
        yield _of_field("allow_outside", MediaChoice.model_fields["allow_outside"])


def name_of(each: what.Input) -> str:
    """What an input is called: as its option on the command line."""
    return each.flag.removeprefix("--").replace("-", "_")


def _type_of_input(each: what.Input) -> str:
    if isinstance(each, what.ValueInput):
        if _is_pairs(each):
            return "Mapping[str, PathText]"
        return f"Sequence[{text_of(each.type)}]" if each.many else text_of(each.type)
    if isinstance(each, what.ArtifactsInput):
        source = "TableSource" if "predictions" in each.makes else "ArtifactSource"
        source = "ArtifactSource | DataFrame" if each.or_table else source
        more = " | MediaSource" if each.or_media else " | str" if each.or_model else ""
        return f"{source} | Sequence[{source}]{more}" if each.many else source
    if isinstance(each, what.FileInput):
        return "TableSource" if each.kind == "file" else "PathText"
    return _TYPES[type(each)]


_TYPES: dict[type[what.Input], str] = {
    what.RatesInput: "float | TableSource", what.ClipsInput: "str | Sequence[str]",
    what.AuxiliaryInput: "Sequence[str | tuple[ArtifactSource, LabelSource, str]]",
}  # fmt: skip


class Reader:
    """Reads the values of one call: `inputs`, `config` and `context` as a stage's `run` takes them.

    Tables that are pandas frames are written to files for as long as the call lasts; what is kept of them, as of any
    table, is a digest of their content.
    """

    def __init__(self, stage: Stage, values: Mapping[str, Any], tables: TableFiles) -> None:
        self._stage, self._tables = stage, tables
        folder = values["cache"]
        self._cache = Cache(None if folder is None else _path(folder))
        self._values = with_paths(stage, values, self._cache)

    def config(self) -> Any:
        """Raises UsageError in the words of the command line, for any value that it would refuse."""
        return self._read(self._stage.Config)

    def context(self) -> Context:
        """The cache, and how to run."""
        out = None if self._stage.makes == "file" else self._values["out"]
        return Context(
            self._cache, self._read(Runtime), self._values.get("device", "auto"),
            self._read(Numerics), None if out is None else _path(out),
        )  # fmt: skip

    def inputs(self) -> Any:
        """What is read. Raises UsageError for what is not there, or is something else."""
        stage = self._stage
        stage.check_positions({each.name: self._texts(each) for each in stage.positions})
        read: dict[str, Any] = {}
        for each in stage.inputs:
            read[each.name] = self._input(each, read)
        return stage.Inputs(**read)

    def _read(self, model: type[Config]) -> Any:
        present = {name: self._values[name] for name in model.model_fields if name in self._values}
        if self._stage.plugin is not None and (setting := self._stage.plugin[1]) in present:
            present[setting] = self._plugin(self._stage.plugin[0], present[setting])
        return validate(model, {name: self._plain(name, value) for name, value in present.items()}, "option")

    def _plugin(self, group: plugins.Group, value: Any) -> Any:
        """The name of a plugin."""
        return value if value is None or isinstance(value, str) else plugins.name_of(group, value)

    def _plain(self, name: str, value: Any) -> Any:
        """A value as the command line could have given it."""
        if isinstance(value, Mapping):
            return [f"{key}={text}" for key, text in _leaves(value)]
        if is_frame(value):
            return str(self._tables.path(name, value))
        return os.fspath(value) if isinstance(value, os.PathLike) else _of_numpy(value)

    def _texts(self, each: what.ArtifactsInput) -> Any:
        """The paths that a position names; what is no path is left out."""
        value = self._values[name_of(each)]
        if not each.many:
            return _path_text(value)
        return [_path_text(item) for item in _listed(value)]

    def _input(self, each: what.Input, before: Mapping[str, Any]) -> Any:
        name = name_of(each)
        value = self._values[name]
        if isinstance(each, what.MediaInput):
            return self._media(each, value)
        if isinstance(each, what.LabelsInput):
            return self._labels(each, value)
        if each.is_required and not each.option and (value is None or _is_empty(value)):
            raise UsageError(f"{name}: nothing is given ({each.help})")
        if value is None:
            return None
        if isinstance(each, what.ArtifactsInput):
            return self._artifacts(each, value, before)
        if isinstance(each, what.RatesInput):
            rate = self._tables.path(name, value) if is_frame(value) else value
            return frame_rates(rate, each.flag)
        if isinstance(each, what.AuxiliaryInput):
            return [self._along(each, item) for item in _listed(value)]
        if isinstance(each, what.FileInput):
            return self._tables.path(name, value)
        if isinstance(each, what.ValueInput):
            return self._bounded(each, _of_numpy(value))
        return value if isinstance(value, str) else os.fspath(value) if isinstance(value, os.PathLike) else list(value)

    def _media(self, each: what.MediaInput, value: Any) -> list[Clip]:
        items = [] if value is None else _listed(value)
        if items and all(isinstance(item, Clip) for item in items):
            return list(items)
        clips: list[Clip] = self._choice(MediaChoice).clips([str(_path(item)) for item in items], each.suffixes)
        return clips

    def _labels(self, each: what.LabelsInput, value: Any) -> Labels | None:
        labels = None if value is None else labels_from(value, self._tables)
        if isinstance(labels, DatasetLabels):
            return lagged(labels, self._choice(LagChoice).label_lag)
        choice: LabelChoice = self._choice(LabelChoice, labels=labels)
        return choice.source() if each.is_required else choice.source_if_any()

    def _choice(self, model: type[DatasetChoice] | type[LagChoice], **more: Any) -> Any:
        values = {name: self._plain(name, self._values[name]) for name in model.model_fields if name not in more}
        return validate(model, values | more, "option")

    def _artifacts(self, each: what.ArtifactsInput, value: Any, before: Mapping[str, Any]) -> Any:
        if not each.many:
            return self._opened(each, value, self._values.get("column"))
        items = _listed(value)
        if each.or_media and items and not any(_is_stored(item) for item in items):
            if all(isinstance(item, Clip) for item in items):
                return items
            texts = [os.fspath(item) for item in items]
            if not all(map(names_features, texts)):
                media = [os.fspath(_path(text)) for text in texts]
                return clips_of(media, suffixes_for(before["head"]), allow_outside=self._values["allow_outside"])
        return [self._opened(each, item) for item in items]

    def _opened(self, each: what.ArtifactsInput, value: Any, column: str | None = None) -> Any:
        if "predictions" in each.makes or (each.or_table and not _is_stored(value) and not _names_features(value)):
            return self._tables.path(each.name, value)
        if each.or_model and isinstance(value, str) and plugins.names_model(value):
            return PublishedModel(value)
        if column and (path := _path_text(value)):
            value = f"{path}:{column}"
        return opened(each.makes, value)

    def _along(self, each: what.AuxiliaryInput, item: Any) -> AuxiliarySource:
        if isinstance(item, str):
            return AuxiliarySource.of(item, lambda text: opened(each.makes, text))
        source, labels, task = item
        stored = opened(each.makes, source)
        column = Features(stored) if isinstance(stored, Artifact) else stored
        return AuxiliarySource(column, labels_from(labels, self._tables), tasks.get(os.fspath(task)))

    def _bounded(self, each: what.ValueInput, value: Any) -> Any:
        """A plain value within its bounds; several as a list."""
        if _is_pairs(each):
            return {name: os.fspath(path) for name, path in dict(value).items()}
        if each.many:
            return list(_listed(value))
        accepted = (int, float) if each.type is float else each.type
        if not isinstance(value, accepted) or isinstance(value, bool) != (each.type is bool):
            raise UsageError(f"{each.flag} takes {text_of(each.type)} (given {value!r})")
        low, high = each.least_value, each.most_value
        if (low is not None and value < low) or (high is not None and value > high):
            raise UsageError(f"{each.flag} {value} is not in the range {low} to {high}")
        return value


class TableFiles(AbstractContextManager["TableFiles"]):
    """CSV files of pandas frames, there until the context ends."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._count = 0

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def path(self, name: str, table: Any) -> Path:
        """The path that was given, or the file of a frame, whose index is a column where it has a name. Equal frames
        have equal bytes. Raises UsageError for anything else."""
        if not is_frame(table):
            return _path(table)
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="affectkit-")
        self._count += 1
        path = Path(self._folder.name) / f"{name}-{self._count}.csv"
        has_names = any(level is not None for level in table.index.names)
        (table.reset_index() if has_names else table).to_csv(path, index=False, lineterminator="\n")
        return path


def labels_from(value: Any, tables: TableFiles) -> Labels:
    """Labels of a CSV's path, a pandas frame, or (data set, root). Raises UsageError for anything else."""
    if isinstance(value, DatasetLabels):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return DatasetLabels(str(value[0]), _path(value[1]))
    return tables.path("labels", value)


def opened(makes: Sequence[what.Makes], value: Any) -> Any:
    """What a stage reads of these sorts: `Features` where that is all it takes, else an `Artifact`, or either.

    Takes what a stage's function returned, `Artifact`, `Features`, a path, or "PATH:column". Raises UsageError.
    """
    value = getattr(value, "stored", value)
    if isinstance(value, Features):
        return value if "features" in makes else value.artifact
    from_text = not isinstance(value, Artifact)
    if "features" not in makes:
        artifact: Artifact = open_artifact(_path(value)) if from_text else value
        wanted = stages_of(makes)
        if wanted and artifact.stage.stage not in wanted:
            raise wrong_kind(artifact.path, artifact.stage.stage, *wanted)
        return artifact
    if from_text:
        text = os.fspath(_path(value))
        if not is_artifact(Path(text)):
            return open_features(text)
        value = open_artifact(text)
    if len(makes) > 1 and value.stage.stage in ("faces", "audio"):
        return value
    return column_of(value)


def _is_empty(value: Any) -> bool:
    return isinstance(value, list | tuple) and not value


def _of_numpy(value: Any) -> Any:
    """A number of numpy as Python's."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value


def is_frame(value: Any) -> bool:
    """Whether a value is a pandas frame, told without importing pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_csv")


def _path(value: Any) -> Path:
    """Raises UsageError for what is no path."""
    try:
        return Path(value).expanduser()
    except TypeError:
        raise UsageError(f"a path is needed, or what an affectkit function returned (given {value!r})") from None


def _path_text(value: Any) -> str:
    """The path of what has one, else nothing."""
    value = value.path if isinstance(value, Artifact | Features | Clip) else value
    return os.fspath(value) if isinstance(value, str | os.PathLike) else ""


def _is_pairs(each: what.Input) -> bool:
    return isinstance(each, what.ValueInput) and each.is_pairs


def _is_stored(value: Any) -> bool:
    return isinstance(getattr(value, "stored", value), Artifact | Features)


def _names_features(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and names_features(os.fspath(value))


def _listed(value: Any) -> list[Any]:
    """Several values, or the only one, as a list."""
    is_several = isinstance(value, Sequence | Iterator) and not isinstance(value, str | bytes)
    return list(value) if is_several else [value]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, text) of nested options: 8 is "8", True "true", [1, 2] "1,2"."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
