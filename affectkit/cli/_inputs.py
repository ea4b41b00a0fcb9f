"""What a stage reads as the command line gives it: arguments and options, and the values that they mean."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli._complete import artifacts
from affectkit.cli._options import INPUTS, artifact_of, parameter
from affectkit.errors import UsageError
from affectkit.stages import inputs as what
from affectkit.stages.replay import media_suffixes
from affectkit.stages.stage import Stage
from affectkit.stages.train import AuxiliarySource
from affectkit.store import Artifact, Cache, Features, open_artifact, open_features
from affectkit.store.features import names_features
from affectkit.store.kinds import STAGES_OF
from affectkit.store.names import resolve_column
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.labels import DatasetChoice, LabelChoice, MediaChoice
from affectkit.tables.sources import clips_of

_OUTSIDE = MediaChoice.model_fields["allow_outside"]


def parameters_of(one: what.Input) -> Iterator[inspect.Parameter]:
    """The parameters of an input."""
    if isinstance(one, what.Labels):
        yield from (parameter(*item, panel=INPUTS) for item in LabelChoice.model_fields.items())
        return
    yield _parameter(one)
    if isinstance(one, what.Media):
        yield from (parameter(*item, panel=INPUTS) for item in MediaChoice.model_fields.items())
    elif isinstance(one, what.Artifacts) and one.or_media:
        yield parameter("allow_outside", _OUTSIDE, panel=INPUTS)


def with_paths(stage: Stage, given: Mapping[str, Any], cache: Cache) -> dict[str, Any]:
    """What was given to a stage's command, with the path of every artifact in place of its name, `latest` or beginning.

    Raises UsageError for a text that denotes none, or several.
    """
    resolved = dict(given)
    for one in stage.inputs:
        texts = given.get(one.name)
        if texts and isinstance(one, what.Artifacts):
            resolved[one.name] = (
                [_artifact_path(one, text, cache) for text in texts] if one.many else _artifact_path(one, texts, cache)
            )
        elif texts and isinstance(one, what.Auxiliary):
            resolved[one.name] = [_auxiliary_path(one, text, cache) for text in texts]
    for name, field in stage.Config.model_fields.items():
        if (makes := artifact_of(field)) and given.get(name):
            resolved[name] = resolve_column(cache, given[name], STAGES_OF[makes], strict=False)
    return resolved


def _artifact_path(one: what.Artifacts, text: str, cache: Cache) -> str:
    """Media and tables, which the input may be as well, are no artifacts: their paths stay as they are."""
    is_table = "predictions" in one.makes and bool(Path(text).suffix or os.sep in text)
    return resolve_column(cache, text, stages_of(one.makes), strict=not (one.or_media or is_table))


def _auxiliary_path(one: what.Auxiliary, text: str, cache: Cache) -> str:
    artifact, *rest = text.rsplit(":", 2)
    if len(rest) < 2 or not artifact:
        return text  # not what the option takes, which its reader says
    return ":".join([resolve_column(cache, artifact, stages_of(one.makes)), *rest])


def stages_of(makes: tuple[what.Makes, ...]) -> tuple[str, ...]:
    """The stages whose artifacts an input takes."""
    return tuple(stage for each in makes for stage in STAGES_OF.get(each, ()))


def value_of(one: what.Input, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    """The value that the parameters of an input mean; `before`: the inputs before it. Raises UsageError."""
    return _VALUES[type(one)](one, given, before)


def _parameter(one: what.Input) -> inspect.Parameter:
    kind = _shell_type(one)
    is_required = one.is_required and not isinstance(one, what.Media) and not (one.option and one.many)
    metavar = one.metavar or None
    completion = artifacts(stages_of(one.makes)) if isinstance(one, what.Artifacts | what.Auxiliary) else None
    if one.option:
        bounds: dict[str, Any] = {"min": one.least_value, "max": one.most_value} if isinstance(one, what.Value) else {}
        flag = (one.flag if isinstance(one, what.Value) else "") or f"--{one.name.replace('_', '-')}"
        about: Any = typer.Option(
            flag, help=one.help, metavar=metavar, rich_help_panel=one.panel, autocompletion=completion, **bounds
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
    return isinstance(one, what.Value) and not one.many


def _shell_type(one: what.Input) -> Any:
    if isinstance(one, what.Value) and not one.many:
        return one.type
    if isinstance(one, what.File):
        return Path
    return list[str] if one.many else str


def _artifacts(one: what.Artifacts, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    texts = given[one.name]
    if texts is None:
        return None
    if not one.many:
        return _opened(one, texts)
    if one.or_media and not all(map(names_features, texts)):
        return clips_of(texts, media_suffixes(before["head"]), allow_outside=given["allow_outside"])
    return [_opened(one, text) for text in texts]


def _opened(one: what.Artifacts, text: str) -> Artifact | Features | Path:
    if "predictions" in one.makes:
        return Path(text)
    if "features" not in one.makes:
        return open_artifact(Path(text))
    if len(one.makes) > 1 and not text.rpartition(":")[2].isidentifier():
        artifact = open_artifact(Path(text))
        if artifact.stage.stage in ("faces", "audio"):
            return artifact
    return open_features(text)


def _media(one: what.Media, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    return _choice(MediaChoice, given).clips(given[one.name] or [], one.suffixes)


def _labels(one: what.Labels, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    return _choice(LabelChoice, given).source()


def _choice(model: type[DatasetChoice], given: Mapping[str, Any]) -> Any:
    return model.model_validate({name: given[name] for name in model.model_fields})


def _rates(one: what.Rates, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    text = given[one.name]
    return None if text is None else frame_rates(text, f"--{one.name.replace('_', '-')}")


def _auxiliary(one: what.Auxiliary, given: Mapping[str, Any], before: Mapping[str, Any]) -> list[AuxiliarySource]:
    opened: Any = open_features if "features" in one.makes else open_artifact
    return [AuxiliarySource.of(text, opened) for text in given[one.name] or []]


def _pairs(one: what.Value, texts: list[str] | None) -> dict[str, str]:
    """NAME=VALUE texts."""
    pairs = dict(text.partition("=")[::2] for text in texts or [])
    if not all(pairs.values()):
        flag = one.flag or f"--{one.name.replace('_', '-')}"
        raise UsageError(f"{flag} {' '.join(texts or [])} is not NAME=PATH, with the name of a detector or backbone")
    return pairs


def _plain(one: what.Input, given: Mapping[str, Any], before: Mapping[str, Any]) -> Any:
    value = given[one.name]
    if isinstance(one, what.Value) and one.metavar == "NAME=PATH":
        return _pairs(one, value)
    return [] if one.many and value is None else value


_VALUES: dict[type[what.Input], Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]] = {
    what.Artifacts: _artifacts, what.Media: _media, what.Labels: _labels, what.File: _plain, what.Rates: _rates,
    what.Clips: _plain, what.Auxiliary: _auxiliary, what.Value: _plain,
}  # fmt: skip
