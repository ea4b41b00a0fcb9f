"""`import affectkit as ak`: one function a stage, made from the catalogue, with the names, defaults and errors of the
command line."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from textwrap import fill
from typing import Any

from affectkit.api import results
from affectkit.api.arguments import REQUIRED, Argument, Reader, TableFiles, arguments_of
from affectkit.api.names import name_result
from affectkit.errors import Notice, UsageError, unknown
from affectkit.progress import chosen
from affectkit.stages import catalogue
from affectkit.stages.resumable import KeptInterrupt
from affectkit.stages.stage import Result, Stage

_LISTED = 3
_EXAMPLE = re.compile(r"`affectkit ([^`]+)`")
open_output = results.open_output


@cache
def function(name: str) -> Callable[..., results.Output]:
    """The function of a stage, by its name in Python. Raises KeyError."""
    stage = catalogue.functions()[name].load()
    arguments = arguments_of(stage)
    names = [argument.name for argument in arguments]
    signature = inspect.Signature([_parameter(argument) for argument in arguments])

    def call(*positions: Any, **named: Any) -> results.Output:
        if strange := [key for key in named if key not in names]:
            raise unknown(f"argument of {name}", strange[0], names)
        try:
            bound = signature.bind(*positions, **named)
        except TypeError as error:
            raise UsageError(f"{name}: {error}{_help_of(str(error), arguments)}") from None
        bound.apply_defaults()
        return _output(stage, bound.arguments)

    call.__name__ = call.__qualname__ = name
    call.__module__ = "affectkit"
    call.__doc__ = _docstring(stage, name, arguments)
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _help_of(message: str, arguments: list[Argument]) -> str:
    """What an argument that an error names is for."""
    helps = {f"argument: '{argument.name}'": argument.help for argument in arguments}
    return next((f" ({text})" for end, text in helps.items() if message.endswith(end)), "")


def _output(stage: Stage, values: Mapping[str, Any]) -> results.Output:
    # Before torch loads: its idle threads must not spin on the cores that decode.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with TableFiles() as tables, chosen(values.get("progress")):
        reader = Reader(stage, values, tables)
        config, context = reader.config(), reader.context()
        try:
            result = stage.run(reader.inputs(), config, context)
        except KeptInterrupt as interrupt:
            for line in interrupt.lines:
                print(line, file=sys.stderr)
            raise
    naming = name_result(context.cache, stage, result, values.get("as_name"))
    if naming.problem:
        raise naming.problem
    if naming.note:
        warn(naming.note)
    output = results.of_result(result)
    for line in (*_lost(output, result), *(result.notices if result.code == 0 else ())):
        warn(line)
    return output


def warn(line: str) -> None:
    """Warn at the line outside of affectkit that asked for the work, each time: other runs may say the same."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] == "affectkit":
        frame = frame.f_back
    warnings.warn_explicit(line, Notice, frame.f_code.co_filename, frame.f_lineno, frame.f_globals["__name__"])


def _lost(output: results.Output, result: Result) -> Iterator[str]:
    """A line where clips could be read in part, one where they failed."""
    if damaged := dict(getattr(result, "damaged", ())):
        yield f"{_count(damaged)} read as far as possible ({_first(damaged)}): .partial has all of them"
    if output.failed:
        yield f"{_count(output.failed)} failed ({_first(output.failed)}): .failed has all of them"


def _count(clips: Mapping[str, str]) -> str:
    return "1 clip" if len(clips) == 1 else f"{len(clips)} clips"


def _first(causes: Mapping[str, str]) -> str:
    first = [f"{clip}: {cause}" for clip, cause in list(causes.items())[:_LISTED]]
    return "; ".join(first) + ("; ..." if len(causes) > _LISTED else "")


class _Type:
    """A type that a signature shows as it is written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _parameter(argument: Argument) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if argument.is_position else inspect.Parameter.KEYWORD_ONLY
    default = inspect.Parameter.empty if argument.default is REQUIRED else argument.default
    return inspect.Parameter(argument.name, kind, default=default, annotation=_Type(argument.type))


def _docstring(stage: Stage, name: str, arguments: list[Argument]) -> str:
    """The stage's own, its examples in Python, and every parameter."""
    text = inspect.cleandoc(stage.__doc__ or "")
    text, _, examples = text.partition("\n\nExamples:\n")
    calls = [call for line in _EXAMPLE.findall(examples) if (call := python_example(name, line, arguments))]
    if calls:
        text += "\n\nExamples:\n\n" + "\n".join(f"    {call}" for call in calls)
    listed = (
        fill(f"{each.name}: {each.help}", 100, initial_indent=" " * 4, subsequent_indent=" " * 8) for each in arguments
    )
    return f"{text}\n\nParameters:\n\n" + "\n".join(listed) + "\n"


def python_example(name: str, line: str, arguments: list[Argument]) -> str:
    """A command line as a call of the function; empty for one that has no such form.

    >>> from affectkit.stages import catalogue
    >>> arguments = arguments_of(catalogue.get("embed"))
    >>> python_example("embed", 'embed "$FACES" --backbone vgg16 -o layer=fc2', arguments)
    'ak.embed(faces, backbone="vgg16", option={"layer": "fc2"})'
    """
    words = shlex.split(line)
    del words[: 2 if name.startswith("extract_") else 1]
    by_name = {argument.name: argument for argument in arguments}
    positions: list[str] = []
    named: dict[str, list[str]] = {}
    while words:
        word = words.pop(0)
        flag = "option" if word == "-o" else word.removeprefix("--").replace("-", "_")
        if not word.startswith("-"):
            positions.append(_literal(word))
        elif flag == "json":
            continue
        elif flag not in by_name:
            return ""
        elif by_name[flag].type in ("bool", "bool | None"):
            named[flag] = ["True"]
        else:
            named.setdefault(flag, []).append(words.pop(0))
    several = [argument for argument in arguments if argument.is_position and "Sequence" in argument.type]
    if several and len(positions) > sum(argument.is_position for argument in arguments):
        place = arguments.index(several[0])
        positions[place:] = [f"[{', '.join(positions[place:])}]"]
    return f"ak.{name}({', '.join([*positions, *(_keyword(by_name[key], texts) for key, texts in named.items())])})"


def _keyword(argument: Argument, words: list[str]) -> str:
    if argument.name == "option":
        pairs = [word.partition("=")[::2] for word in words]
        return "option={" + ", ".join(f'"{key}": {_literal(value)}' for key, value in pairs) + "}"
    if words == ["True"]:
        return f"{argument.name}=True"
    values = [_literal(word, argument.type) for word in words]
    if argument.name == "aux":
        values = [f"({', '.join(map(_literal, word.split(':')))})" for word in words]
    several = argument.type.startswith("Sequence")
    return f"{argument.name}=[{', '.join(values)}]" if several else f"{argument.name}={values[0]}"


def _literal(word: str, kind: str = "float") -> str:
    """A word as Python: a variable, a number where there may be one, else a text."""
    if word.startswith("$") and word[1:].isidentifier():
        return word[1:].lower()
    is_number = re.fullmatch(r"-?\d+(\.\d+)?", word) is not None
    return word if is_number and ("float" in kind or "int" in kind) else f'"{word}"'
