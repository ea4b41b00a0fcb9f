"""Where labels come from: a CSV, or a data set in its own layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from affectkit import plugins
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


def labels_of(table: Path | None, dataset: str | None, root: Path | None, option: Sequence[str] | None) -> Labels:
    """What the command line says of labels. Raises UsageError unless it is a table, or a data set and its root."""
    if table is not None and dataset is None and root is None and not option:
        return table
    if table is None and dataset is not None and root is not None:
        return DatasetLabels(dataset, root, tuple(option or ()))
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
