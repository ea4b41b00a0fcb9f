"""openSMILE: eGeMAPS and ComParE acoustic features (Eyben et al., ACM MM 2010), through the package `opensmile`.

`level=functionals` (the default) gives one row a window: 88 features of eGeMAPSv02 (Eyben et al., IEEE TAC 2016) or
6373 of ComParE 2016. `level=lld` gives the low-level descriptors behind them, 25 or 65, every 10 ms, at the times that
openSMILE states: 20 ms long in eGeMAPS and 60 ms in ComParE, whose last row repeats the time of the one before.

A window shorter than openSMILE's longest frame (60 ms, 960 samples) has no row; one that the clip ends in is passed as
short as it is. Samples are cut to -1..1 first, for openSMILE takes 16-bit integers and would wrap round. Values are
passed on as they are, those that are not finite too: the embed stage refuses such a clip.

openSMILE is no free software: audEERING's research licence, for non-commercial use. It runs on the CPU, window by
window, so `device`, `precision` and `batch_size` change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from affectkit.config import Config, Numerics
from affectkit.errors import UsageError, require
from affectkit.types import Floats
from affectkit.weights import WeightsFile

SAMPLING_RATE = 16000
HOP = 160
LONGEST_FRAME = 960
LLD_SECONDS = {"egemaps": 0.02, "compare": 0.06}
SETS = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}
LEVELS = {"functionals": "Functionals", "lld": "LowLevelDescriptors"}
_SPELLINGS = {full.lower(): short for short, full in SETS.items()}
LOUDEST = 1 - 2**-15
"""The highest sample that fits 16 bits."""


def _short(given: Any) -> Any:
    """The set's own name as ours."""
    return _SPELLINGS.get(given.lower(), given.lower()) if isinstance(given, str) else given


class OpensmileOptions(Config):
    """Which features."""

    set: Annotated[Literal["egemaps", "compare"], BeforeValidator(_short)] = Field(
        "egemaps", description="egemaps (eGeMAPSv02) or compare (ComParE_2016)"
    )
    level: Literal["functionals", "lld"] = Field(
        "functionals", description="functionals: one row a window; lld: low-level descriptors, one row each 10 ms"
    )


class Opensmile:
    """Acoustic features of speech with names."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "none"
    Options: ClassVar[type[Config]] = OpensmileOptions
    sampling_rate = SAMPLING_RATE
    images = False

    @classmethod
    def weights(cls, options: OpensmileOptions, choice: str) -> WeightsFile:
        """There are none: the version of the package stands for them. Raises MissingExtra where it is not installed,
        and UsageError for a path or random."""
        from importlib.metadata import version

        if choice != "auto":
            raise UsageError(f"opensmile has no weights (given {choice}): leave out --weights")
        require("opensmile", "opensmile", "opensmile", "backbone opensmile")
        installed = version("opensmile")
        licence = "audEERING research licence, non-commercial"
        return WeightsFile(SETS[options.set], None, installed, licence, f"package opensmile {installed}")

    def __init__(self, options: OpensmileOptions, weights: WeightsFile, numerics: Numerics) -> None:
        import opensmile

        self._options = options
        self._smile = opensmile.Smile(
            getattr(opensmile.FeatureSet, SETS[options.set]), getattr(opensmile.FeatureLevel, LEVELS[options.level])
        )
        features = list(self._smile.feature_names)
        self.names: Mapping[str, list[str]] = {"values": features}
        self.outputs = {"values": len(features)}

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the window, or one each 10 ms; none for less than 960 samples."""
        if samples < LONGEST_FRAME:
            return np.zeros(0), np.zeros(0)
        if self._options.level == "functionals":
            return np.zeros(1), np.full(1, samples / SAMPLING_RATE)
        rows = 2 + (samples - LONGEST_FRAME) // HOP
        index = np.arange(rows)
        if self._options.set == "compare":
            index = np.minimum(index, max(rows - 2, 1))
        start = index * HOP / SAMPLING_RATE
        return start, np.minimum(start + LLD_SECONDS[self._options.set], samples / SAMPLING_RATE)

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """float32 [N,S] -> values float32 [N,F,D]."""
        count, samples = batch.shape
        start, _ = self.frames(samples)
        values = np.zeros((count, len(start), self.outputs["values"]), np.float32)
        if len(start):
            for window, rows in zip(batch, values, strict=True):
                rows[:] = self._extract(window, start)
        return {"values": values}

    def _extract(self, window: NDArray[np.float32], start: Floats) -> NDArray[np.float32]:
        """[S] -> [F,D], at the times that `frames` told."""
        told, _, values = self._smile.process(window.clip(-1, LOUDEST)[None], SAMPLING_RATE)
        if len(told) != len(start) or not np.allclose(told.total_seconds(), start, atol=1e-6):
            raise RuntimeError(f"this release of openSMILE places its rows elsewhere: {len(told)}, not {len(start)}")
        return np.asarray(values, np.float32)


PLUGIN = Opensmile
