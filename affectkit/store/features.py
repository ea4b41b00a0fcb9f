"""One feature column of an artifact, or one named component of it, as FEATURES arguments name it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.errors import UsageError
from affectkit.store.artifact import Artifact
from affectkit.store.kinds import FEATURES, wrong_kind
from affectkit.store.schema import Column, Schema
from affectkit.store.segment import ClipRows
from affectkit.store.selection import is_artifact
from affectkit.types import FeatureSequence

DEFAULT = "values"
_SAID = 4  # names of components in a message


@dataclass(frozen=True)
class Features:
    """What a head reads: a column of an artifact, `values` where the artifact has one, or one `component` of that, by
    its name; `only` these clips of it, where the artifact holds those of several data sets."""

    artifact: Artifact
    column: str = DEFAULT
    only: frozenset[str] | None = None
    component: str = ""

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
        """The artifact's fingerprint, and the column where it is not `values`, or the component's name."""
        fingerprint = self.artifact.stage.fingerprint
        return fingerprint if self.name == DEFAULT else f"{fingerprint}:{self.name}"

    @property
    def name(self) -> str:
        """What `features` is to be asked for: the component where there is one, else the column."""
        return self.component or self.column

    @property
    def names(self) -> list[str] | None:
        """What its D components are called; None where nothing says so."""
        return [self.component] if self.component else self.artifact.schema.names.get(self.column)

    @property
    def dim(self) -> int:
        """D, how many components a row has."""
        return 1 if self.component else self.artifact.schema.columns[self.column].shape[0]

    def digest(self, clip: str) -> str:
        """The digest of the clip's bytes."""
        return self.artifact.digest(clip)

    def clip_table(self) -> Mapping[str, dict[str, Any]]:
        """What the user said of each clip."""
        return self.artifact.clip_table()

    def sequence(self, clip: str) -> FeatureSequence:
        """The clip's features."""
        rows = self.artifact.sequence(clip, self.column)
        if not self.component:
            return rows
        place = self.artifact.schema.names[self.column].index(self.component)
        return replace(rows, values=np.ascontiguousarray(rows.values[:, place : place + 1]))


class FeaturePart(Artifact):
    """An artifact of features as if it held one column of them alone, or one component, beside the times."""

    def __init__(self, part: Features) -> None:
        whole = part.artifact
        super().__init__(whole.path, dry=whole.dry, selection=whole.selection)
        self._part = part

    @property
    def schema(self) -> Schema:
        """Times and the column, with the component's name where it is one."""
        part, whole = self._part, super().schema
        columns = {name: whole.columns[name] for name in ("start", "end", "valid")}
        columns[part.column] = Column(dtype=whole.columns[part.column].dtype, shape=(part.dim,))
        return Schema(columns=columns, names={} if part.names is None else {part.column: part.names})

    def column(self, clip: str, name: str) -> Any:
        """One column of one clip; of a component [T,1]."""
        return self._part.sequence(clip).values if name == self._part.column else super().column(clip, name)

    @cached_property
    def _index(self) -> dict[str, ClipRows]:
        return self._part.artifact._index  # the files are read by the schema that they were written with


def measured(artifact: Artifact, clip: str, name: str) -> Any:
    """A column of a clip for people and other programs: named components of features are NaN in rows that are not
    valid, where zeros lie, since a zero of a named quantity would be read as one that was measured. All else is as it
    is stored."""
    values = artifact.column(clip, name)
    if name not in artifact.schema.names or name not in feature_columns(artifact.schema):
        return values
    values = np.array(values)
    values[np.asarray(artifact.column(clip, "valid")) == 0] = np.nan
    return values


def open_features(text: str) -> Features:
    """The features that `PATH`, `PATH:column` or `PATH:component` names. Raises UsageError where there are none, or
    several to choose from."""
    path, column = _split(text)
    return features(Artifact(path), column)


def names_features(text: str) -> bool:
    """Whether `PATH`, `PATH:column` or `PATH:component` is an artifact or a selection of one, and no media file or
    folder."""
    return is_artifact(_split(text)[0])


def _split(text: str) -> tuple[Path, str]:
    path, found, column = text.rpartition(":")
    if found and not is_artifact(Path(text)):
        return Path(path), column
    return Path(text), ""


def features(artifact: Artifact, name: str = "") -> Features:
    """A feature column of an artifact, or a component of one: the one named, else `values`, else its only column. A
    column comes before a component of the same name. Raises UsageError."""
    known = feature_columns(artifact.schema) if artifact.stage.table is not None else []
    if not known:
        raise wrong_kind(artifact.path, artifact.stage.stage, *FEATURES)
    if name and name not in known:
        return _component(artifact, known, name)
    chosen = name or (DEFAULT if DEFAULT in known else known[0] if len(known) == 1 else "")
    if not chosen:
        raise UsageError(f"{artifact.path} holds {', '.join(known)}: name one, as {artifact.path}:{known[-1]}")
    return Features(artifact, chosen)


def _component(artifact: Artifact, columns: Sequence[str], name: str) -> Features:
    named = {column: artifact.schema.names[column] for column in columns if column in artifact.schema.names}
    holders = [column for column, names in named.items() if names.count(name) == 1]
    if len(holders) == 1:
        return Features(artifact, holders[0], component=name)
    if holders or any(name in names for names in named.values()):
        raise UsageError(f"{artifact.path} has several components '{name}': take a whole column ({', '.join(columns)})")
    components = [one for names in named.values() for one in names]
    nearest = get_close_matches(name, [*columns, *components], 1)
    meant = f"; did you mean {nearest[0]}?" if nearest else ""
    some = f", with named components such as {', '.join(components[:_SAID])}" if components else ""
    raise UsageError(f"{artifact.path} has no features '{name}' (it has {', '.join(columns)}{some}){meant}")


def feature_columns(schema: Schema) -> list[str]:
    """The columns of a table that are features: vectors, a row each, but no scores, boxes or landmarks."""
    if {"scores", "boxes"} & schema.columns.keys():
        return []
    columns = schema.columns.items()
    return [name for name, column in columns if column.per == "row" and len(column.shape) == 1]
