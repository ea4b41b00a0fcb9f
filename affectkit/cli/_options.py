"""Typer options from the stages' own config models: one description for the shell, validation and the fingerprint."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from affectkit.api.names import artifact_of
from affectkit.cli._complete import artifacts, completion_of
from affectkit.config import Config, Runtime, mark_of, validate
from affectkit.progress import chosen
from affectkit.store.kinds import STAGES_OF

COMPUTED, INPUTS, RUN, OUTPUT = "What is computed", "Inputs", "Run", "Output"
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="cache folder (default: $AFFECTKIT_CACHE or .affectkit)", rich_help_panel=OUTPUT,
    ),
]  # fmt: skip
OutOption = Annotated[
    Path | None, typer.Option("--out", help="name the artifact's folder by hand", rich_help_panel=OUTPUT)
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", help="name what is made: later commands take the name", metavar="NAME", rich_help_panel=OUTPUT
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print the result as JSON", rich_help_panel=OUTPUT)]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N", rich_help_panel=RUN)]
ClipsOption = Annotated[
    str | None,
    typer.Option(
        "--clips", help="only these clips: a file of ids, or a pattern like 'subject1/*'", rich_help_panel=INPUTS
    ),
]

_SHORT = {"option": "-o"}


def with_configs(
    *, runtime: Collection[str] = (), **models: type[Config]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of config models as options; the function gets validated instances instead.

    `@with_configs(config=EmbedConfig)` replaces the parameter `config` by one option a field. `runtime`: the settings
    of `Runtime` that the command uses, for a parameter of that name.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        fields = {name: dict(model.model_fields) for name, model in models.items()}
        if runtime:
            fields["runtime"] = {name: Runtime.model_fields[name] for name in runtime}
        parameters = [
            parameter(*item, RUN if name == "runtime" else COMPUTED)
            for name, each in fields.items() for item in each.items()
        ]  # fmt: skip
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in own.items() if name not in fields]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            for name, each in fields.items():
                values = {field: given.pop(field) for field in each}
                given[name] = validate(models.get(name, Runtime), values, "option")
            asked = [one.progress for one in given.values() if isinstance(one, Runtime)]
            with chosen(asked[0] if asked else None):
                command(**given)

        ordered = sorted(parameters, key=lambda p: p.default is not inspect.Parameter.empty)
        wrapper.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in ordered}
        return wrapper

    return decorate


def parameter(name: str, field: FieldInfo, panel: str | None = None) -> inspect.Parameter:
    """A config's field as an option of a panel of the help."""
    annotation = _shell_type(field.annotation)
    default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        default = inspect.Parameter.empty
    if annotation is str and default is not inspect.Parameter.empty:
        default = str(default)
    also = mark_of(field, "also")
    flags = [f"--{name.replace('_', '-')}", *(str(flag) for flag in (_SHORT.get(name), also) if flag)]
    if field.annotation in (bool, bool | None):
        flags[0] += f"/--no-{name.replace('_', '-')}"
    completion = artifacts(STAGES_OF[makes]) if (makes := artifact_of(field)) else completion_of(name)
    option = typer.Option(*flags, help=field.description, rich_help_panel=panel, autocompletion=completion)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option]
    )


def _shell_type(annotation: Any) -> Any:
    """What Typer can parse; anything richer goes in as text and is parsed by the model."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not type(None)]
        shell = _shell_type(kinds[0]) if len(kinds) == 1 else str
        return shell | None if len(kinds) < len(inner) else shell
    if origin in (list, tuple):
        return list[_shell_type(inner[0])]  # type: ignore[misc]
    if origin is Literal and not all(isinstance(value, str) for value in inner):
        return str
    return annotation
