"""`affectkit functionals`: Summarise features over windows: means, deviations, extremes, fitted curves.

A feature sequence -> one row a window, with what each dimension does in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from affectkit.config import Config
from affectkit.digests import Digests
from affectkit.errors import ClipError, unknown
from affectkit.stages import quality_gates
from affectkit.stages.inputs import artifacts, clips
from affectkit.stages.map_stage import MapStage, Told, chosen, entries_of
from affectkit.stages.row_counts import counted, row_notices, seen_in
from affectkit.stages.sink import Sink, checked
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Features, Schema, features_schema
from affectkit.store import features as column_of
from affectkit.summaries import FUNCTIONALS, SETS, Functional, Summary, summaries
from affectkit.tables.ids import ClipChoice
from affectkit.types import FeatureSequence

_DEFAULT_SET = "fun"


class FunctionalsConfig(Config):
    """What is computed; every field is part of the fingerprint."""

    set: Literal["sun-visual", "sun-audio", "fun", "all"] | None = Field(
        None,
        description="sun-visual: mean, max, min; sun-audio: mean, std; fun: mean, std, curvature, slope, offset  "
        "[default: fun]",
    )
    functional: list[str] = Field([], description=f"instead of a set (repeatable): {', '.join(FUNCTIONALS)}")
    window: float | Literal["clip"] = Field(4.0, description="seconds of a window, or clip: one over the whole clip")
    hop: float | None = Field(
        None, ge=1e-3, le=1e6, allow_inf_nan=False, description="seconds between windows  [default: half a window]"
    )
    column: str | None = Field(
        None, description="the layer or named component to take (or FEATURES:layer, FEATURES:component)"
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="how functionals are stored")

    @model_validator(mode="after")
    def _consistent(self) -> FunctionalsConfig:
        if strange := [name for name in self.functional if name not in FUNCTIONALS]:
            raise unknown("functional", strange[0], FUNCTIONALS)
        if self.set and self.functional:
            raise ValueError("give either a set or functionals one by one")
        if twice := [name for name in self.functional if self.functional.count(name) > 1]:
            raise ValueError(f"functional {twice[0]} is given twice")
        if self.window == "clip":
            if self.hop is not None:
                raise ValueError("window clip is one window: it has no hop")
        elif not 1e-3 <= self.window <= 1e6:
            raise ValueError(f"a window lasts from 0.001 to 1000000 seconds, or clip (given {self.window:g})")
        return self

    @property
    def names(self) -> tuple[Functional, ...]:
        """The functionals, in the order of the result."""
        one_by_one = tuple(name for given in self.functional for name in FUNCTIONALS if name == given)
        return one_by_one or SETS[self.set or _DEFAULT_SET]

    @property
    def step(self) -> float | None:
        """Seconds between windows; None where there is one."""
        return None if self.window == "clip" else self.hop or self.window / 2


def _summarise(rows: FeatureSequence, config: FunctionalsConfig, sink: Sink) -> None:
    try:
        for piece in summaries(
            rows.values, rows.start, rows.end, rows.valid, config.names, config.window, config.step, np.float32
        ):
            sink.count(len(piece.start))
            sink.append(_rows(piece, config.dtype))
    except ValueError as error:  # times that no window can be laid over
        raise ClipError(str(error)) from error


def _rows(piece: Summary, dtype: str) -> dict[str, Any]:
    """Rows as they are stored, checked before they are narrowed. Raises ClipError."""
    if not np.isfinite(piece.values).all():
        raise ClipError("a functional is beyond float32")
    if dtype == "float16" and piece.values.size and np.abs(piece.values).max() > np.finfo(np.float16).max:
        raise ClipError("a functional is beyond float16: repeat with --dtype float32")
    return {"start": piece.start, "end": piece.end, "valid": piece.valid, "values": piece.values.astype(dtype)}


@dataclass(frozen=True)
class Resolved:
    """The features, and clips of them."""

    features: Features
    config: FunctionalsConfig
    clips: Sequence[str]


class SummariseFeatures(MapStage):
    """Summarise features over windows: means, deviations, extremes, fitted curves.

    Windows begin every hop; the last one ends with the clip. Slope and curvature are per second and per second
    squared, the offset is the fitted line at the window's start. Invalid rows do not count.

    Examples:

    `affectkit functionals "$FEATURES" --set sun-visual --window 4 --hop 2`

    `affectkit functionals "$FEATURES" --functional mean --functional slope --window clip`

    `affectkit functionals "$LAYERS:layer_07" --set sun-audio`
    """

    name = folder = "functionals"
    version = 1
    makes = "features"
    says = "functionals of {inputs} over windows"
    Config = FunctionalsConfig
    runtime = ("retry_failed",)

    @dataclass(frozen=True)
    class Inputs:
        """The features; of several layers one."""

        features: Features = artifacts(
            "features", help="what embed printed; of several layers one: PATH:layer_07", metavar="FEATURES"
        )
        clips: ClipChoice = clips()
        face_quality: Features | None = quality_gates.face_quality()
        min_face_size: float | None = quality_gates.limit("min_face_size")
        max_yaw: float | None = quality_gates.limit("max_yaw")
        min_sharpness: float | None = quality_gates.limit("min_sharpness")

    def dim(self, config: FunctionalsConfig, upstream: int) -> int:
        return upstream * len(config.names)

    def resolve(self, inputs: Inputs, config: FunctionalsConfig) -> Resolved:
        features = inputs.features if config.column is None else column_of(inputs.features.artifact, config.column)
        config = config.model_copy(update={"column": features.name})
        (features,) = quality_gates.gated([features], quality_gates.gates_of(inputs))
        return Resolved(features, config, chosen(inputs.clips, features))

    def called(self, resolved: Resolved) -> str:
        """The set's name, however it was asked for."""
        names = resolved.config.names
        return next((name for name, members in SETS.items() if members == names), "functionals")

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        config, gates = resolved.config, quality_gates.of([resolved.features])
        return {
            "functionals": list(config.names),
            "window": config.window,
            "hop": config.step,
            "column": resolved.features.name,
            "dtype": config.dtype,
            "upstream": resolved.features.artifact.stage.fingerprint,
            **({} if gates is None else {"face_quality": gates.measured.identity, **gates.limits.asked}),
        }

    def sources(self, resolved: Resolved, digests: Digests) -> dict[str, str]:
        quality_gates.check_measured(quality_gates.of([resolved.features]), resolved.clips)
        return {clip: resolved.features.digest(clip) for clip in resolved.clips}

    def entries(self, resolved: Resolved) -> dict[str, dict[str, Any]]:
        return entries_of(resolved.features.artifact, resolved.clips)

    def table(self, resolved: Resolved, context: Context) -> Schema:
        """The dimensions of the first functional come first, then those of the second. Where the input's dimensions
        have names, the result's are `mean <name>`, ..."""
        features, config = resolved.features, resolved.config
        named = features.names
        names = {"values": [f"{functional} {name}" for functional in config.names for name in named]} if named else None
        return features_schema(self.dim(config, features.dim), config.dtype, names)

    def upstream(self, resolved: Resolved) -> list[Path]:
        gates = quality_gates.of([resolved.features])
        return [resolved.features.artifact.folder, *([] if gates is None else [gates.measured.artifact.folder])]

    def title(self, resolved: Resolved) -> str:
        return f"functionals {self.called(resolved)}"

    def unit(self, resolved: Resolved) -> str:
        return "windows"

    def compute(self, resolved: Resolved, missing: list[str], sink: Sink, context: Context) -> None:
        """A row a window; one without a valid row stays in the table with valid = 0 and zeros."""
        artifact = resolved.features.artifact
        for clip in missing:
            if not checked(sink, clip, artifact):
                continue
            try:
                _summarise(resolved.features.sequence(clip), resolved.config, sink)
                sink.end(clip, status=artifact.status(clip))
            except ClipError as error:
                sink.fail(clip, str(error))

    def tell(self, resolved: Resolved, selected: Artifact, clips: Sequence[str]) -> Told:
        counts = counted(selected, clips)
        left_out = quality_gates.lines([resolved.features], clips)
        return [*left_out, *row_notices(counts, seen_in([resolved.features.artifact]))], counts.as_dict()


STAGE = SummariseFeatures
