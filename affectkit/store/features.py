"""One feature column of an artifact, as FEATURES arguments name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectkit.errors import UsageError
from affectkit.store.artifact import Artifact
from affectkit.store.kinds import FEATURES, wrong_kind
from affectkit.store.schema import Schema
from affectkit.store.selection import is_artifact
from affectkit.types import FeatureSequence

DEFAULT = "values"


@dataclass(frozen=True)
class Features:
    """What a head reads: a column of an artifact, `values` where the artifact has one; `only` these clips of it, where
    the artifact holds those of several data sets."""

    artifact: Artifact
    column: str = DEFAULT
    only: frozenset[str] | None = None

    def __contains__(self, clip: object) -> bool:
        return clip in self.artifact and (self.only is None or clip in self.only)

    @property
    def path(self) -> Path:
        return self.artifact.path

    @property
    def clips(self) -> list[str]:
        return [clip for clip in self.artifact.clips if self.only is None or clip in self.only]

    @property
    def identity(self) -> str:
        """The artifact's fingerprint, and the column where it is not `values`."""
        fingerprint = self.artifact.stage.fingerprint
        return fingerprint if self.column == DEFAULT else f"{fingerprint}:{self.column}"

    def digest(self, clip: str) -> str:
        """The digest of the clip's bytes."""
        return self.artifact.digest(clip)

    def clip_table(self) -> Mapping[str, dict[str, Any]]:
        """What the user said of each clip."""
        return self.artifact.clip_table()

    def sequence(self, clip: str) -> FeatureSequence:
        """The clip's features."""
        return self.artifact.sequence(clip, self.column)


def open_features(text: str) -> Features:
    """The features that `PATH` or `PATH:column` names. Raises UsageError where there are none, or several to choose
    from."""
    path, column = _split(text)
    return features(Artifact(path), column)


def names_features(text: str) -> bool:
    """Whether `PATH` or `PATH:column` is an artifact or a selection of one, and no media file or folder."""
    return is_artifact(_split(text)[0])


def _split(text: str) -> tuple[Path, str]:
    path, found, column = text.rpartition(":")
    if found and not is_artifact(Path(text)):
        return Path(path), column
    return Path(text), ""


def features(artifact: Artifact, column: str = "") -> Features:
    """A feature column of an artifact: the one named, else `values`, else its only one. Raises UsageError."""
    known = feature_columns(artifact.schema) if artifact.stage.table is not None else []
    if not known:
        raise wrong_kind(artifact.path, artifact.stage.stage, *FEATURES)
    if column and column not in known:
        raise UsageError(f"{artifact.path} has no features '{column}' (it has {', '.join(known)})")
    chosen = column or (DEFAULT if DEFAULT in known else known[0] if len(known) == 1 else "")
    if not chosen:
        raise UsageError(f"{artifact.path} holds {', '.join(known)}: name one, as {artifact.path}:{known[-1]}")
    return Features(artifact, chosen)


def feature_columns(schema: Schema) -> list[str]:
    """The columns of a table that are features: vectors, a row each, but no scores, boxes or landmarks."""
    if {"scores", "boxes"} & schema.columns.keys():
        return []
    columns = schema.columns.items()
    return [name for name, column in columns if column.per == "row" and len(column.shape) == 1]
