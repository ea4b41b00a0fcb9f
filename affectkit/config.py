"""Configs: one frozen model gives options, validation, the fingerprint and the provenance."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from affectkit.errors import UsageError, unknown

Device = str
C = TypeVar("C", bound="Config")
_UNION_MEMBER = re.compile(r"int|float|str|bool|none|.*[^A-Za-z0-9_].*")  # pydantic ends a path with the member
Precision = Literal["float32", "bfloat16", "float16"]


class Config(BaseModel):
    """Frozen; unknown keys are refused. Fields are scalars, Literal, Optional, lists or tuples of those."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Numerics(Config):
    """Choices that do not change what is computed but can change the last digits.

    They are recorded with an artifact; a resumed artifact refuses to mix them.
    """

    device: Device = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Precision = Field("float32", description="arithmetic of the forward pass")
    batch_size: int | None = Field(
        None, ge=1, le=4096, description="fixed batch shape of the backbone  [default: 32 crops or 8 windows of speech]"
    )
    channels_last: bool = Field(False, description="NHWC memory format")
    compile: bool = Field(False, description="torch.compile the model")


class Runtime(Config):
    """How to run; never part of a fingerprint."""

    workers: int = Field(0, ge=0, le=256, description="decoding threads (0: one per core)")
    progress: bool | None = Field(
        None,
        description="progress and a summary on stderr: live on a terminal, else a line now and then  [default: on]",
    )
    rehash: bool = Field(False, description="digest every source again instead of trusting size and time")
    retry_failed: bool = Field(False, description="try the clips again that failed before")


def mark_of(field: FieldInfo, key: str) -> Any:
    """What a field of a config says of itself under a key of `json_schema_extra`; None where it says nothing."""
    extra = field.json_schema_extra
    return extra.get(key) if isinstance(extra, dict) else None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    >>> canonical_json({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(inputs: dict[str, Any]) -> str:
    """64 hexadecimal digits that identify a recipe: SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(inputs).encode()).hexdigest()


def explain(error: ValidationError) -> str:
    """A pydantic error as one line: each field, what it takes and what it got; of a union, all that it takes."""
    return "; ".join(f"{path}: {message}" if path else message for path, message in faults(error))


def faults(error: ValidationError) -> list[tuple[str, str]]:
    """What a pydantic error says of each field: its dotted path ("" for all together), what it takes and what it got;
    of a union, all that it takes."""
    takes: dict[tuple[str, str], list[str]] = {}
    for item in error.errors():
        path = [str(key) for key in item["loc"]]
        if len(path) > 1 and _UNION_MEMBER.fullmatch(path[-1]):
            path.pop()
        given = "" if item["type"] == "missing" or not path else f" (given {item['input']!r})"
        message = "no such key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        takes.setdefault((".".join(path), given), []).append(message)
    return [(path, f"{' or '.join(m)}{given}" if path else m[0]) for (path, given), m in takes.items()]


def validate(model: type[C], values: dict[str, Any], what: str) -> C:
    """`model` from loose values; a `UsageError` that names the fields otherwise."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        strangers = [str(e["loc"][0]) for e in error.errors() if e["type"] == "extra_forbidden" and len(e["loc"]) == 1]
        if strangers:
            kind = what.replace("options", "option", 1) if what.startswith("option") else f"key in {what}"
            raise unknown(kind, strangers[0], model.model_fields) from None
        if what == "option":
            raise UsageError("; ".join(_of_option(path, message) for path, message in faults(error))) from None
        raise UsageError(f"{what}: {explain(error)}") from None


def _of_option(path: str, message: str) -> str:
    """What is wrong with an option of the command line, by the name that it has there.

    >>> _of_option("min_window", "Input should be greater than 0 (given 0)")
    '--min-window should be greater than 0 (given 0)'
    """
    name, _, rest = path.partition(".")
    option = f"--{name.replace('_', '-')}" + (f" {rest}" if rest else "")
    if message.startswith("Input should"):
        return f"{option} {message.replace('Input should', 'should')}"
    return f"{option}: {message}" if path else message
