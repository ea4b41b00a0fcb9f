"""`affectkit functionals`: Summarise features over windows: means, deviations, extremes, fitted curves.

A feature sequence -> one row a window, with what each dimension does in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from affectkit.config import Config, Runtime
from affectkit.errors import ClipError, unknown
from affectkit.stages.inputs import artifacts, clips
from affectkit.stages.map_stage import Outcome, Sink, checked, entries_of, run
from affectkit.stages.row_counts import row_notices, seen_in
from affectkit.stages.stage import CLIPS_KEPT, Context, Result, Stage
from affectkit.store import Artifact, Cache, Features, features_schema
from affectkit.store import features as column_of
from affectkit.summaries import FUNCTIONALS, SETS, Functional, Summary, summaries
from affectkit.tables.ids import ClipChoice, choose
from affectkit.types import FeatureSequence

VERSION = 1
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
    column: str | None = Field(None, description="the layer to take, where a backbone gave several (or FEATURES:layer)")
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


def functionals(
    cache: Cache,
    features: Artifact,
    config: FunctionalsConfig,
    runtime: Runtime,
    *,
    clips: Iterable[str] | None = None,
    out: Path | None = None,
) -> Outcome:
    """Functionals of every clip of a feature artifact (or of some of its `clips`) over windows.

    The dimensions of the first functional come first, then those of the second. A window without a valid row stays in
    the table with valid = 0 and zeros. Where the input's dimensions have names, the result's are `mean <name>`, ...
    """
    given = column_of(features, config.column or "")
    schema, column = features.schema, given.column
    dim, named = schema.columns[column].shape[0], schema.names.get(column)
    inputs = {
        "stage": "functionals",
        "version": VERSION,
        "functionals": list(config.names),
        "window": config.window,
        "hop": config.step,
        "column": column,
        "dtype": config.dtype,
        "upstream": features.stage.fingerprint,
    }
    names = {"values": [f"{functional} {name}" for functional in config.names for name in named]} if named else None
    artifact = cache.create(
        "functionals", _name(config.names), inputs, features_schema(dim * len(config.names), config.dtype, names),
        upstream=[features.folder], out=out, extra={"config": config.model_dump(mode="json")},
    )  # fmt: skip
    chosen = list(clips) if clips is not None else features.clips

    def compute(missing: list[str], sink: Sink) -> None:
        for clip in missing:
            if not checked(sink, clip, features):
                continue
            try:
                _summarise(given.sequence(clip), config, sink)
                sink.end(clip, status=features.status(clip))
            except ClipError as error:
                sink.fail(clip, str(error))

    sources = {clip: features.digest(clip) for clip in chosen}
    entries = entries_of(features, chosen)
    what = f"functionals {artifact.stage.name}"
    seen = seen_in([features])
    return run(
        artifact, sources, compute, runtime, what=what, unit="windows", entries=entries,
        tell=lambda counts: row_notices(counts, seen),
    )  # fmt: skip


def _summarise(one: FeatureSequence, config: FunctionalsConfig, sink: Sink) -> None:
    try:
        for piece in summaries(
            one.values, one.start, one.end, one.valid, config.names, config.window, config.step, np.float32
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


def _name(names: tuple[Functional, ...]) -> str:
    """The set's name, however it was asked for."""
    return next((name for name, members in SETS.items() if members == names), "functionals")


class SummariseFeatures(Stage):
    """Summarise features over windows: means, deviations, extremes, fitted curves.

    Windows begin every hop; the last one ends with the clip. Slope and curvature are per second and per second
    squared, the offset is the fitted line at the window's start. Invalid rows do not count.

    Examples:

    `affectkit functionals "$FEATURES" --set sun-visual --window 4 --hop 2`

    `affectkit functionals "$FEATURES" --functional mean --functional slope --window clip`

    `affectkit functionals "$LAYERS:layer_07" --set sun-audio`
    """

    name = "functionals"
    makes = "features"
    says = "functionals of {inputs} over windows"
    Config = FunctionalsConfig
    runtime = ("retry_failed",)
    is_map = True
    kept = CLIPS_KEPT

    @dataclass(frozen=True)
    class Inputs:
        """The features; of several layers one."""

        features: Features = artifacts(
            "features", help="what embed printed; of several layers one: PATH:layer_07", metavar="FEATURES"
        )
        clips: ClipChoice = clips()

    def run(self, inputs: Inputs, config: FunctionalsConfig, context: Context) -> Result:
        features = inputs.features if config.column is None else column_of(inputs.features.artifact, config.column)
        config = config.model_copy(update={"column": features.column})
        chosen = choose(inputs.clips, features.clips)
        return Result.of(functionals(
            context.cache, features.artifact, config, context.runtime, clips=chosen, out=context.out
        ))  # fmt: skip


STAGE = SummariseFeatures
