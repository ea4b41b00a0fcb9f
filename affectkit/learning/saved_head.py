"""A head on disk: `head.json` (what to build) beside `head.safetensors` (what was learnt). Never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from affectkit.config import Config, explain
from affectkit.errors import HostileFile, MissingFile, UsageError
from affectkit.tasks import Task
from affectkit.untrusted import opened, read_object

HEADER = "head.json"
TENSORS = "head.safetensors"
LARGEST_HEADER = 1 << 20  # bytes

H = TypeVar("H", bound="Header")


class Header(Config):
    """What every saved head says of itself. A head's own header adds what it needs to be built again."""

    version: int
    task: Task
    options: dict[str, Any]
    inputs: int = Field(ge=1, le=1 << 20, description="feature dimensions")


def write(folder: Path, header: Header, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write both files into an existing folder. Raises OSError, which safetensors' own writer hides."""
    from safetensors.numpy import save

    (folder / TENSORS).write_bytes(save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))
    (folder / HEADER).write_text(header.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read(folder: Path, model: type[H], version: int, task: Task) -> tuple[H, dict[str, NDArray[Any]]]:
    """The header and the tensors.

    Raises UsageError for a missing file, another version or another task; HostileFile for a file that is not what it
    claims.
    """
    header = _header(folder / HEADER, model)
    if header.version != version:
        raise UsageError(
            f"{folder} holds a head of version {header.version}; this is version {version}: train it again"
        )
    if any(getattr(header.task, field) != getattr(task, field) for field in ("kind", "level", "targets")):
        raise UsageError(f"{folder} holds a head for task {header.task.name}, which is not task {task.name}")
    return header, _tensors(folder / TENSORS)


def _header(path: Path, model: type[H]) -> H:
    try:
        return model.model_validate(read_object(path, "the header of a head", LARGEST_HEADER))
    except MissingFile:
        raise _missing(path) from None
    except ValidationError as error:
        raise HostileFile(f"{path}: {explain(error)[:500]}") from None


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        with opened(path, "the tensors of a head", inside=True):
            return load_file(path)
    except MissingFile:
        raise _missing(path) from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise HostileFile(f"{path} is not a safetensors file: {error}") from None


def _missing(path: Path) -> UsageError:
    return UsageError(f"no head in {path.parent}: {path.name} is missing")
