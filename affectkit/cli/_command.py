"""Commands made from stages: their options, and what is printed of their results."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer
from rich.table import Table as RichTable

from affectkit.api.arguments import run_fields
from affectkit.api.names import Naming, name_result, with_paths
from affectkit.cli._inputs import parameters_of, value_of
from affectkit.cli._options import COMPUTED, RUN, AsOption, CacheOption, DeviceOption, JsonOption, OutOption, parameter
from affectkit.cli._results import NOTE, SOME_FAILED, columns, log, log_table, print_json, say_kept
from affectkit.config import Config, Numerics, Runtime, validate
from affectkit.errors import AffectkitError
from affectkit.learning.processes import NoMemory, Processes
from affectkit.progress import chosen
from affectkit.stages.catalogue import StageEntry
from affectkit.stages.resumable import KeptInterrupt
from affectkit.stages.stage import Context, Result, Stage, TextTable
from affectkit.store import Cache, names

USAGE, INTERRUPTED = 2, 130
_PROGRESS = "progress"


def command_of(entry: StageEntry) -> Callable[..., None]:
    """The function of a stage's command, with the signature that Typer reads."""
    stage = entry.load()

    def call(**given: Any) -> None:
        with chosen(given.get(_PROGRESS)):
            _run(stage, given)

    parameters = list(_parameters(stage))
    call.__doc__ = inspect.cleandoc(stage.__doc__ or "")
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _parameters(stage: Stage) -> Iterator[inspect.Parameter]:
    """Positions first, then options by panel; what must be given before what may be."""
    inputs = [each for one in stage.inputs for each in parameters_of(one)]
    own = stage.Config.__annotations__  # before what it shares with other configs
    fields = sorted(stage.Config.model_fields.items(), key=lambda item: item[0] not in own)
    options = [parameter(*item, panel=COMPUTED) for item in fields]
    run = [parameter(name, field, panel=RUN) for name, field in run_fields(stage)]
    extra = {"cache": CacheOption, "as_json": JsonOption}
    if stage.makes != "file":
        extra |= {"out": OutOption, "name_given": AsOption}
    if stage.has_device:
        extra["device"] = DeviceOption
    defaults = {"device": "auto", "as_json": False}
    run += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=annotation
        )
        for name, annotation in extra.items()
    ]  # fmt: skip
    yield from sorted([*inputs, *options, *run], key=lambda each: each.default is not inspect.Parameter.empty)


def _run(stage: Stage, given: Mapping[str, Any]) -> None:
    processes = Processes.here()
    name = given.get("name_given")
    cache = Cache(given["cache"])
    try:
        if name is not None:
            names.check(name)
        given = with_paths(stage, given, cache)
        config = _read(stage.Config, given)
        context = Context(
            cache, _read(Runtime, given), given.get("device", "auto"), _read(Numerics, given),
            None if stage.makes == "file" else given["out"],
        )  # fmt: skip
        stage.check_positions({one.name: given.get(one.name) for one in stage.positions})
        inputs: dict[str, Any] = {}
        for one in stage.inputs:
            inputs[one.name] = value_of(one, given, inputs)
        result = stage.run(stage.Inputs(**inputs), config, context)
    except KeptInterrupt as interrupt:
        say_kept(interrupt.lines)
        raise
    except KeyboardInterrupt:
        if processes.first:
            raise
        raise SystemExit(INTERRUPTED) from None
    except AffectkitError as error:
        if processes.first:
            raise
        _say_own(error)
        raise typer.Exit(USAGE) from None
    if processes.first:
        naming = name_result(cache, stage, result, name)
        code = present(stage, result, given["as_json"], naming)
        if naming.problem:
            raise naming.problem
        if code:
            raise typer.Exit(code)


def _read(model: type[Config], given: Mapping[str, Any]) -> Any:
    return validate(model, {name: given[name] for name in model.model_fields if name in given}, "option")


def _say_own(error: AffectkitError) -> None:
    """What is wrong with all processes process 0 says; what is wrong with this one's data or device it says itself."""
    from affectkit.learning.crop_table import BrokenRow

    if isinstance(error, BrokenRow | NoMemory):
        log(f"affectkit: {error}")


def present(stage: Stage, result: Result, as_json: bool, naming: Naming) -> int:
    """Print a result: the path (or JSON) on stdout, lines for people on stderr. Returns the exit code of what went
    wrong."""
    said = [f"{NOTE}{naming.note}"] if naming.note else []
    about = {"name": naming.name} if naming.name else {}
    lines = [*stage.lines(result), *said]
    for line in lines:
        if isinstance(line, TextTable):
            log_table(_drawn(line))
        else:
            log(line)
    if as_json:
        notes = [line.removeprefix(NOTE) for line in lines if isinstance(line, str) and line.startswith(NOTE)]
        print_json({**stage.json(result), **about, "notices": notes})
    else:
        typer.echo(result.printed or str(result.path))
    return result.code or (SOME_FAILED if result.failed else 0)


def _drawn(table: TextTable) -> RichTable:
    drawn = columns(*table.headers)
    for row in table.rows:
        drawn.add_row(*row)
    return drawn
