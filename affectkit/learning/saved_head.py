"""A head on disk: `head.json` and `head.safetensors`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.learning.saved_files import SavedFiles
from affectkit.tasks import Task

FILES = SavedFiles("head", "head")
H = TypeVar("H", bound="HeadHeader")


class HeadHeader(Config):
    """What every saved head says of itself. A head's own header adds what it needs to be built again."""

    version: int
    task: Task
    options: dict[str, Any]
    inputs: int = Field(ge=1, le=1 << 20, description="feature dimensions")


def read_header(folder: Path, model: type[H], version: int, task: Task) -> H:
    """What a head of this version and task says of itself. Raises UsageError for another one, and as
    `SavedFiles.read_header`."""
    header = FILES.read_header(folder, model)
    if header.version != version:
        raise UsageError(
            f"{folder} holds a head of version {header.version}; this is version {version}: train it again"
        )
    if any(getattr(header.task, field) != getattr(task, field) for field in ("kind", "level", "targets")):
        raise UsageError(f"{folder} holds a head for task {header.task.name}, which is not task {task.name}")
    return header
