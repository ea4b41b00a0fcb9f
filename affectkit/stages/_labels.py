"""Where labels come from: a CSV, or a data set in its own layout."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field

from affectkit import plugins
from affectkit.config import Config
from affectkit.digests import sha256_file
from affectkit.errors import UsageError
from affectkit.manifest import read_labels
from affectkit.stages._predictions import identity as identity_of_table
from affectkit.tasks import Task
from affectkit.types import ClipLabels


@dataclass(frozen=True)
class DatasetLabels:
    """`--dataset NAME --root DIR`, with the reader's options as key=value."""

    name: str
    root: Path
    option: tuple[str, ...] = ()

    def open(self) -> Any:
        """The reader. Raises UsageError."""
        plugin = plugins.get("datasets", self.name)
        if not self.root.is_dir():
            raise UsageError(f"--root {self.root} is not a folder: it is where data set {self.name} lies")
        return plugin(plugins.parse_options(plugin, self.option, self.name), self.root)


Labels = Path | DatasetLabels


class LabelChoice(Config):
    """What the command line says of labels."""

    labels: Path | None = Field(None, description="CSV: clip[,start,end][,split][,subject],<targets>")
    dataset: str | None = Field(None, description="or a data set in its own layout (affectkit list datasets)")
    root: Path | None = Field(None, description="where the data set lies")
    dataset_option: list[str] = Field([], description="an option of the data set's reader, key=value (repeatable)")

    def source(self) -> Labels:
        """Raises UsageError unless it is a table, or a data set and its root."""
        if self.labels is not None and self.dataset is None and self.root is None and not self.dataset_option:
            return self.labels
        if self.labels is None and self.dataset is not None and self.root is not None:
            return DatasetLabels(self.dataset, self.root, tuple(self.dataset_option))
        raise UsageError("labels come from --labels CSV, or from --dataset NAME --root DIR: give one of them")


def read(labels: Labels, task: Task) -> dict[str, ClipLabels]:
    """Labels by clip. Raises UsageError that names file and line."""
    if isinstance(labels, Path):
        return read_labels(labels, task)
    reader = labels.open()
    if task.name not in reader.tasks:
        known = ", ".join(reader.tasks)
        raise UsageError(f"data set {labels.name} has no labels for task {task.name} (it has {known})")
    found: dict[str, ClipLabels] = reader.labels(task)
    if not found:
        raise UsageError(f"{labels.root} holds no labels of task {task.name} as data set {labels.name} lays them out")
    return found


def identity(labels: Labels, task: Task) -> str:
    """What the labels are: the digest of a table's bytes, or of a reader, its options and every file it reads."""
    if isinstance(labels, Path):
        return identity_of_table(labels)
    reader = labels.open()
    total = sha256(f"{labels.name} {reader.version} {sorted(labels.option)} ".encode())
    for path in sorted(reader.label_files(task)):
        total.update(f"{path.relative_to(labels.root)} {sha256_file(path)} ".encode())
    return total.hexdigest()
