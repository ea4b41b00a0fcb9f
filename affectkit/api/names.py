"""Names, `latest` and unique beginnings of artifacts, wherever a stage reads one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from affectkit import plugins
from affectkit.config import mark_of
from affectkit.errors import AffectkitError, Notice, UsageError
from affectkit.stages import inputs as what
from affectkit.stages.bundle import is_bundle, opened_bundle
from affectkit.stages.stage import Result, Stage
from affectkit.store import Cache, names
from affectkit.store.kinds import STAGES_OF
from affectkit.store.names import LATEST, resolve_column

_BUNDLED = frozenset({"head", "network", "system"})
"""What bundles hold."""


def with_paths(stage: Stage, given: Mapping[str, Any], cache: Cache) -> dict[str, Any]:
    """What was given to a stage, with the path of every artifact in place of its name, `latest` or beginning.

    Raises UsageError for a text that denotes none, or several.
    """
    resolved = dict(given)
    for one in stage.inputs:
        path = _PATHS.get(type(one))
        value = given.get(one.name)
        if path is None or value is None:
            continue
        is_list = isinstance(value, list | tuple)
        paths = [
            path(one, each, cache) if isinstance(each, str) else _of_bundle(one, each, cache)
            for each in (value if is_list else [value])
        ]
        resolved[one.name] = paths if is_list else paths[0]
    for name, field in stage.Config.model_fields.items():
        if (makes := artifact_of(field)) and isinstance(given.get(name), str):
            is_file = makes in _BUNDLED and is_bundle(given[name])
            resolved[name] = (
                str(opened_bundle(given[name], cache).path)
                if is_file
                else resolve_column(cache, given[name], STAGES_OF[makes], strict=False)
            )
    return resolved


def _artifact_path(one: what.ArtifactsInput, text: str, cache: Cache) -> str:
    """Media and tables, which the input may be as well, are no artifacts: their paths stay as they are, as names of
    published models do. A bundle means what is in it."""
    if _BUNDLED.intersection(one.makes) and is_bundle(text):
        return str(opened_bundle(text, cache).path)
    if one.or_model and (plugins.is_source(text) or (plugins.names_model(text) and not os.path.lexists(text))):
        return text
    if text.partition(":")[0] == LATEST and not os.path.lexists(text):
        path = resolve_column(cache, text, stages_of(one.makes))
        warnings.warn(f"{text} is {path}", Notice, stacklevel=2)
        return path
    is_word = one.or_model and text.strip(".") and os.sep not in text and not os.path.lexists(text)
    if is_word and resolve_column(cache, text, strict=False) == text:
        raise plugins.no_model(text)
    is_table = "predictions" in one.makes and bool(Path(text).suffix or os.sep in text)
    return resolve_column(cache, text, stages_of(one.makes), strict=not (one.or_media or one.or_table or is_table))


def _of_bundle(one: what.Input, value: Any, cache: Cache) -> Any:
    """What is in a bundle whose path is given as one; any other value as it is."""
    if isinstance(one, what.ArtifactsInput) and isinstance(value, Path) and is_bundle(str(value)):
        return _artifact_path(one, str(value), cache)
    return value


def _auxiliary_path(one: what.AuxiliaryInput, text: str, cache: Cache) -> str:
    artifact, *rest = text.rsplit(":", 2)
    if len(rest) < 2 or not artifact:
        return text  # not what the option takes, which its reader says
    return ":".join([resolve_column(cache, artifact, stages_of(one.makes)), *rest])


def stages_of(makes: Sequence[what.Makes]) -> tuple[str, ...]:
    """The stages whose artifacts an input takes."""
    return tuple(stage for each in makes for stage in STAGES_OF.get(each, ()))


_PATHS: dict[type[what.Input], Callable[[Any, str, Cache], str]] = {
    what.ArtifactsInput: _artifact_path, what.AuxiliaryInput: _auxiliary_path,
}  # fmt: skip


def artifact_of(field: FieldInfo) -> str:
    """What sort of artifact a config's field may name; empty for none."""
    return str(mark_of(field, "artifact") or "")


@dataclass(frozen=True)
class Naming:
    """The name that a result was given, a line where the name was another's before, and what came of it otherwise."""

    name: str | None = None
    note: str | None = None
    problem: AffectkitError | None = None


def name_result(cache: Cache, stage: Stage, result: Result, name: str | None) -> Naming:
    """Note what was made as what is `latest`, and by its name. That the cache cannot be written matters to a name
    alone: complete artifacts are served from a read-only one."""
    if stage.makes == "file" or result.artifact is None:
        return Naming()
    try:
        return Naming(name, names.keep(cache, result.path, result.artifact.stage.stage, name))
    except AffectkitError as error:
        if name is None:
            return Naming()
        return Naming(problem=UsageError(f"--as {name}: the name is not kept, all else is done: {error}"))
