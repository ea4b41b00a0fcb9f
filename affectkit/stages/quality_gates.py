"""Quality gates: rows of features whose face is too small, turned too far or too blurred are read as rows without one.

What is measured comes from features with named components, those of backbone face-mesh; rows are matched by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from affectkit.config import Config, canonical_json, validate
from affectkit.digests import sha256_lines
from affectkit.errors import AffectkitError, UsageError, listed
from affectkit.moments import holder
from affectkit.stages.inputs import artifacts, value
from affectkit.stages.trained import lineage
from affectkit.store import Artifact, Features, ancestors
from affectkit.store import features as features_of
from affectkit.types import Bools, FeatureSequence, Floats

FLAG = "face_flag"
SEEN = 0.5
"""A face flag from which on the mesh has seen a face: below, what it measured means nothing."""
_HELP = "face-mesh features of the same clips, for --min-face-size, --max-yaw and --min-sharpness"


class Limits(Config):
    """What a face must be; None: anything."""

    min_face_size: float | None = Field(None, ge=0, description="pixels a side of the face's box in the video")
    max_yaw: float | None = Field(None, ge=0, le=180, description="degrees to either side")
    min_sharpness: float | None = Field(None, ge=0, description="variance of the Laplacian, see face-mesh")

    @property
    def asked(self) -> dict[str, float]:
        """Those that are not None."""
        return {name: limit for name, limit in self.model_dump().items() if limit is not None}


_MEASURES = {"min_face_size": "face_size", "max_yaw": "yaw", "min_sharpness": "sharpness"}
_WORDS = {
    "min_face_size": "with faces smaller than {:g} pixels", "max_yaw": "with yaw above {:g}",
    "min_sharpness": "with sharpness below {:g}",
}  # fmt: skip


class GatedInputs(Protocol):
    """The inputs of a stage that reads features through gates."""

    @property
    def face_quality(self) -> Features | None: ...
    @property
    def min_face_size(self) -> float | None: ...
    @property
    def max_yaw(self) -> float | None: ...
    @property
    def min_sharpness(self) -> float | None: ...


def face_quality(help: str = _HELP) -> Any:
    """The input that says what the gates go by."""
    return artifacts("features", option=True, default=None, metavar="FEATURES", help=help)


def limit(name: str) -> Any:
    """The input of one gate, a field of `Limits`."""
    helps = {
        "min_face_size": "rows with a smaller face are read as rows without one (pixels a side, in the video)",
        "max_yaw": "rows with a head that is turned further are read as rows without a face (degrees)",
        "min_sharpness": "rows with a face more blurred are read as rows without one (0.02 is soft, 0.1 crisp)",
    }
    most = 180 if name == "max_yaw" else 1e6
    return value(float, None, helps[name], least_value=0, most_value=most)


@dataclass(frozen=True)
class QualityGates:
    """Limits, and the features that say what they are held against."""

    measured: Features
    limits: Limits

    @property
    def identity(self) -> str:
        """The features' identity and the limits, as text."""
        return canonical_json([self.measured.identity, self.limits.asked])

    def about(self) -> dict[str, Any]:
        """What predict needs to make the same gates again, as JSON."""
        return {
            "limits": self.limits.asked, "name": self.measured.name, "folder": str(self.measured.artifact.folder),
            "features": lineage(self.measured.artifact),
        }  # fmt: skip

    @staticmethod
    def again(record: Mapping[str, Any], measured: Features | None) -> QualityGates:
        """Those of `about`, by other features where some are given. Raises UsageError where there are none."""
        limits = validate(Limits, record["limits"], "the quality gates of a trained head")
        if measured is None:
            try:
                measured = features_of(Artifact(Path(record["folder"])), record["name"])
            except UsageError as error:
                raise UsageError(
                    f"the head was trained with quality gates ({_said(limits)}), by features that are not there any "
                    f"more: give those of these clips with --face-quality ({error})"
                ) from None
        return QualityGates(measured, limits)

    def failing(self, clip: str, rows: FeatureSequence) -> dict[str, Bools]:
        """[T] of each limit the rows that do not keep it; first those that nothing was measured of."""
        measured = self.measured.sequence(clip)
        place = holder(np.asarray(measured.start), np.asarray(measured.end), np.asarray(rows.middle))
        seen = (place >= 0) & np.asarray(measured.valid, bool)[place] if len(measured) else np.zeros(len(rows), bool)
        values = np.asarray(measured.values, np.float64)[place] if len(measured) else np.zeros((len(rows), 0))
        names = self.measured.names or []
        if FLAG in names and len(measured):
            seen &= values[:, names.index(FLAG)] >= SEEN
        failing = {"": ~seen}
        for name, most in self.limits.asked.items():
            measure = values[:, names.index(_MEASURES[name])] if len(measured) else np.zeros(len(rows))
            fails = np.abs(measure) > most if name == "max_yaw" else measure < most
            failing[name] = seen & fails
        return failing


@dataclass(frozen=True)
class GatedFeatures(Features):
    """Features in which a row that a gate closes on is not valid."""

    gates: QualityGates | None = None

    @property
    def identity(self) -> str:
        return super().identity + ("" if self.gates is None else f" {self.gates.identity}")

    def digest(self, clip: str) -> str:
        """A digest of the clip's bytes, and of what was measured of it."""
        assert self.gates is not None
        return sha256_lines([super().digest(clip), self.gates.measured.digest(clip)])

    def sequence(self, clip: str) -> FeatureSequence:
        rows = super().sequence(clip)
        assert self.gates is not None
        closed = np.logical_or.reduce(list(self.gates.failing(clip, rows).values()))
        valid = np.asarray(rows.valid, bool) & ~closed
        values: Floats = np.where(valid[:, None], rows.values, np.zeros((), rows.values.dtype))
        return replace(rows, values=values, valid=valid)

    def left_out(self, clips: Iterable[str]) -> str:
        """A line that counts the rows that the gates close on, of those of these clips that are valid without them;
        empty where there are none."""
        assert self.gates is not None
        total, closed = 0, 0
        counts = dict.fromkeys(["", *self.gates.limits.asked], 0)
        for clip in clips:
            rows = super().sequence(clip)
            valid = np.asarray(rows.valid, bool)
            failing = self.gates.failing(clip, rows)
            total += int(valid.sum())
            closed += int((valid & np.logical_or.reduce(list(failing.values()))).sum())
            for name, fails in failing.items():
                counts[name] += int((valid & fails).sum())
        limits = self.gates.limits.asked
        causes = [
            f"{count:,} {_WORDS[name].format(limits[name]) if name else 'without a mesh'}"
            for name, count in counts.items() if count
        ]  # fmt: skip
        return f"{closed:,} of {total:,} rows left out by quality: {', '.join(causes)}" if causes else ""


def gates_of(inputs: GatedInputs) -> QualityGates | None:
    """The gates that inputs ask for. Raises UsageError for limits without features to hold them against, and the
    other way round."""
    limits = Limits(
        min_face_size=inputs.min_face_size, max_yaw=inputs.max_yaw, min_sharpness=inputs.min_sharpness
    )  # fmt: skip
    if inputs.face_quality is None:
        if limits.asked:
            name = next(iter(limits.asked)).replace("_", "-")
            raise UsageError(
                f"--{name} needs --face-quality FEATURES, what embed --backbone face-mesh printed of these clips"
            )
        return None
    if not limits.asked:
        raise UsageError("--face-quality is for --min-face-size, --max-yaw and --min-sharpness: give one of them")
    names = inputs.face_quality.names or []
    lacking = [_MEASURES[name] for name in limits.asked if _MEASURES[name] not in names]
    if lacking:
        raise UsageError(
            f"--face-quality {inputs.face_quality.path} has no component {lacking[0]}: needed is what embed "
            "--backbone face-mesh printed"
        )
    return QualityGates(inputs.face_quality, limits)


def gated(features: Sequence[Features], gates: QualityGates | None) -> list[Features]:
    """The features, those of faces through the gates. Raises UsageError where there are gates and no faces."""
    if gates is None:
        return list(features)
    passed = [each if _is_heard(each.artifact) else through(each, gates) for each in features]
    if not any(isinstance(each, GatedFeatures) for each in passed):
        raise UsageError("--face-quality gates rows of faces, and these features are made from sound alone")
    return passed


def through(features: Features, gates: QualityGates) -> GatedFeatures:
    """Features through gates."""
    return GatedFeatures(features.artifact, features.column, features.only, features.component, gates)


def of(features: Sequence[Features]) -> QualityGates | None:
    """The gates of features, where some have any."""
    return next((each.gates for each in features if isinstance(each, GatedFeatures)), None)


def lines(features: Sequence[Features], clips: Sequence[str]) -> list[str]:
    """A line for each of the features that rows are left out of."""
    said = [each.left_out(clips) for each in features if isinstance(each, GatedFeatures)]
    return [line for line in said if line]


def check_measured(gates: QualityGates | None, clips: Iterable[str]) -> None:
    """Raises UsageError where nothing was measured of some of the clips."""
    if gates is None:
        return
    if absent := [clip for clip in clips if clip not in gates.measured]:
        raise UsageError(
            f"{listed(absent, 'clips')} not in --face-quality {gates.measured.path}: embed them by face-mesh as well"
        )


def _is_heard(artifact: Artifact) -> bool:
    try:
        return "audio" in {each.stage.stage for each in (*ancestors(artifact), artifact)}
    except AffectkitError:  # what it was made from is gone
        return False


def _said(limits: Limits) -> str:
    return ", ".join(f"{name} {most:g}" for name, most in limits.asked.items())
