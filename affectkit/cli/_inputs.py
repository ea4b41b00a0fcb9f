"""What a stage reads as the command line gives it: arguments and options, and the values that they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit import plugins
from affectkit.api.arguments import opened
from affectkit.api.names import stages_of
from affectkit.cli._complete import artifacts
from affectkit.cli._options import INPUTS, parameter
from affectkit.config import validate
from affectkit.errors import UsageError
from affectkit.stages import inputs as what
from affectkit.stages.predict_published import PublishedModel, suffixes_for
from affectkit.stages.training_data import AuxiliarySource
from affectkit.store.features import names_features
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.labels import DatasetChoice, LabelChoice, MediaChoice
from affectkit.tables.sources import clips_of

_OUTSIDE = MediaChoice.model_fields["allow_outside"]


def parameters_of(one: what.Input) -> Iterator[inspect.Parameter]:
    """The parameters of an input."""
    if isinstance(one, what.LabelsInput):
        yield from (parameter(*item, panel=INPUTS) for item in LabelChoice.model_fields.items())
        return
    yield _parameter(one)
    if isinstance(one, what.MediaInput):
        yield from (parameter(*item, panel=INPUTS) for item in MediaChoice.model_fields.items())
    elif isinstance(one, what.ArtifactsInput) and one.or_media:
        yield parameter("allow_outside", _OUTSIDE, panel=INPUTS)


def value_of(one: what.Input, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    """The value that the parameters of an input mean; `before`: the inputs before it. Raises UsageError."""
    return _VALUES[type(one)](one, given, before)


def _parameter(one: what.Input) -> inspect.Parameter:
    kind = _shell_type(one)
    is_required = one.is_required and not isinstance(one, what.MediaInput) and not (one.option and one.many)
    metavar = one.metavar or None
    completion = None
    if isinstance(one, what.ArtifactsInput | what.AuxiliaryInput):
        completion = artifacts(stages_of(one.makes), or_models=isinstance(one, what.ArtifactsInput) and one.or_model)
    if one.option:
        bounds: dict[str, Any] = (
            {"min": one.least_value, "max": one.most_value} if isinstance(one, what.ValueInput) else {}
        )
        about: Any = typer.Option(
            one.flag, help=one.help, metavar=metavar, rich_help_panel=one.panel, autocompletion=completion, **bounds
        )
    else:
        about = typer.Argument(help=one.help, metavar=metavar, show_default=False, autocompletion=completion)
    if not is_required:
        kind = kind | None
    default = inspect.Parameter.empty if is_required else one.default if _is_plain(one) else None
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about]
    )


def _is_plain(one: what.Input) -> bool:
    return isinstance(one, what.ValueInput) and not one.many


def _shell_type(one: what.Input) -> Any:
    if isinstance(one, what.ValueInput) and not one.many:
        return one.type
    if isinstance(one, what.FileInput):
        return Path
    return list[str] if one.many else str


def _artifacts(one: what.ArtifactsInput, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    texts = given[one.name]
    if texts is None:
        return None
    if not one.many:
        return _opened(one, texts, given.get("column"))
    if one.or_media and not all(map(names_features, texts)):
        return clips_of(texts, suffixes_for(before["head"]), allow_outside=given["allow_outside"])
    return [_opened(one, text) for text in texts]


def _opened(one: what.ArtifactsInput, text: str, column: str | None = None) -> Any:
    if "predictions" in one.makes or (one.or_table and not names_features(text)):
        return Path(text)
    if one.or_model and plugins.names_model(text):
        return PublishedModel(text)
    return opened(one.makes, f"{text}:{column}" if column else text)


def _media(one: what.MediaInput, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    return _choice(MediaChoice, given).clips(given[one.name] or [], one.suffixes)


def _labels(one: what.LabelsInput, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    choice: LabelChoice = _choice(LabelChoice, given)
    return choice.source() if one.is_required else choice.source_if_any()


def _choice(model: type[DatasetChoice], given: Mapping[str, Any]) -> Any:
    return validate(model, {name: given[name] for name in model.model_fields}, "option")


def _rates(one: what.RatesInput, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    text = given[one.name]
    return None if text is None else frame_rates(text, one.flag)


def _auxiliary(one: what.AuxiliaryInput, given: Mapping[str, Any], before: Mapping[str, Any]) -> list[AuxiliarySource]:
    return [AuxiliarySource.of(text, lambda source: opened(one.makes, source)) for text in given[one.name] or []]


def _pairs(one: what.ValueInput, texts: list[str] | None) -> dict[str, str]:
    """NAME=VALUE texts."""
    pairs = dict(text.partition("=")[::2] for text in texts or [])
    if not all(pairs.values()):
        raise UsageError(
            f"{one.flag} {' '.join(texts or [])} is not NAME=PATH, with the name of a detector or backbone"
        )
    return pairs


def _plain(one: what.Input, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    value = given[one.name]
    if isinstance(one, what.ValueInput) and one.is_pairs:
        return _pairs(one, value)
    return [] if one.many and value is None else value


_VALUES: dict[type[what.Input], Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]] = {
    what.ArtifactsInput: _artifacts,
    what.MediaInput: _media,
    what.LabelsInput: _labels,
    what.FileInput: _plain,
    what.RatesInput: _rates,
    what.ClipsInput: _plain,
    what.AuxiliaryInput: _auxiliary,
    what.ValueInput: _plain,
}
