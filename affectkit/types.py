"""What flows between stages: frozen, shape-checked on creation, times in seconds.

Shapes: T rows of one clip, D feature dimensions, N rows of many clips, K targets or classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

SPLITS = ("train", "val", "test")
_FACE = re.compile(r"(?<=.)#[0-9]+\Z")


def face_id(clip: str, number: int) -> str:
    """The id of one face of a clip with several, as the face rule `all` numbers them from 0.

    >>> face_id("anna", 1)
    'anna#1'
    """
    return f"{clip}#{number}"


def without_face(name: str) -> str:
    """The clip that a face belongs to; any other id as it is.

    A face's id ends in # and digits 0 to 9, after something else: `anna#1`, not `anna#`, `anna#²` or `#1`.

    >>> without_face("anna#1"), without_face("anna")
    ('anna', 'anna')
    """
    return _FACE.sub("", name) if "#" in name else name


def is_face(name: str) -> bool:
    """Whether an id is that of one face of a clip.

    >>> is_face("anna#1"), is_face("anna#")
    (True, False)
    """
    return without_face(name) != name


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Clip:
    """A stretch of one media file (or a folder of crops) that is processed as a unit.

    `start` and `end` cut the file, in seconds from its first video frame; `face` overrides the face rule.
    """

    id: str
    path: Path
    start: float | None = None
    end: float | None = None
    split: str | None = None
    subject: str | None = None
    face: str | None = None


@dataclass(frozen=True)
class Contract:
    """The face crop that a network was trained on, and must be given: a wrong one can turn its scores round.

    margin, shape, align: as `extract faces` cuts (`affectkit.tracks.CropConfig`); size: pixels a side that the network
    sees; colour: what its weights were trained on (a grey network is still given RGB, and makes it grey itself);
    normalisation: of the pixels, in words, which the network does itself as well.
    """

    margin: str
    shape: Literal["square", "letterbox"]
    size: int
    align: bool = False
    colour: Literal["rgb", "grey"] = "rgb"
    normalisation: str = ""


@dataclass(frozen=True, repr=False)
class Detections:
    """Faces found in one frame: boxes [K,4] (x0, y0, x1, y1 in pixels), scores [K], landmarks [K,5,2]
    (left eye, right eye, nose, left mouth corner, right mouth corner, as seen in the image)."""

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __post_init__(self) -> None:
        k = len(self.boxes)
        _require(self.boxes.shape == (k, 4), f"boxes are [K,4], not {self.boxes.shape}")
        _require(self.scores.shape == (k,), f"scores are [{k}], not {self.scores.shape}")
        _require(self.landmarks.shape == (k, 5, 2), f"landmarks are [{k},5,2], not {self.landmarks.shape}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"Detections({len(self)} faces)"

    @staticmethod
    def none() -> Detections:
        """A frame without a face."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


@dataclass(frozen=True, repr=False)
class FaceTrack:
    """One person's face through a clip: a row per sampled frame, valid = 0 where there is no face.

    start, end [T] (s); boxes [T,4]; landmarks [T,5,2]; score [T]; crops: T encoded images (JPEG or PNG bytes,
    empty where invalid); valid [T]; frame_index [T], the frame's number in the file, in order of presentation.
    """

    start: Floats
    end: Floats
    boxes: Floats
    landmarks: Floats
    score: Floats
    crops: Sequence[bytes]
    valid: Bools
    frame_index: NDArray[np.integer]

    def __post_init__(self) -> None:
        t = len(self.start)
        for name, shape in (
            ("end", (t,)), ("boxes", (t, 4)), ("landmarks", (t, 5, 2)), ("score", (t,)), ("valid", (t,)),
            ("frame_index", (t,)),
        ):  # fmt: skip
            got = getattr(self, name).shape
            _require(got == shape, f"{name} is {list(shape)}, not {list(got)}")
        _require(len(self.crops) == t, f"{t} crops are needed, not {len(self.crops)}")

    def __len__(self) -> int:
        return len(self.start)

    def __repr__(self) -> str:
        return f"FaceTrack({len(self)} frames, {int(self.valid.sum())} with a face)"


@dataclass(frozen=True, repr=False)
class FeatureSequence:
    """Embeddings of one clip over time: start, end [T] (s), values [T,D], valid [T].

    Rows that are not valid hold zeros and never went through a backbone.
    """

    start: Floats
    end: Floats
    values: Floats
    valid: Bools

    def __post_init__(self) -> None:
        t = len(self.start)
        _require(self.values.ndim == 2, f"values are [T,D], not {list(self.values.shape)}")
        for name in ("end", "values", "valid"):
            got = len(getattr(self, name))
            _require(got == t, f"{name} has {got} rows where start has {t}")

    def __len__(self) -> int:
        return len(self.start)

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    @property
    def middle(self) -> Floats:
        """[T] the moment each row stands for (s)."""
        return (np.asarray(self.start) + np.asarray(self.end)) / 2

    def __repr__(self) -> str:
        return f"FeatureSequence({len(self)} x {self.dim}, {int(np.sum(self.valid))} valid)"


@dataclass(frozen=True, repr=False)
class ClipLabels:
    """Labels of one clip: start, end [R] (s; 0 and inf at clip level), values [R,K] (multiclass: one column
    holding the class index), NaN = invalid. `split` and `subject` as the table gives them."""

    start: Floats
    end: Floats
    values: Floats
    split: str | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        _require(self.values.ndim == 2, f"values are [R,K], not {list(self.values.shape)}")
        _require(len(self.start) == len(self.end) == len(self.values), "start, end and values differ in length")

    def __len__(self) -> int:
        return len(self.start)

    def __repr__(self) -> str:
        return f"ClipLabels({len(self)} rows x {self.values.shape[1]})"


@dataclass(frozen=True, repr=False)
class Openings:
    """How far a person's mouth is open through a clip: start, end [R] (s), opening [R] in any unit that grows with the
    distance between the lips, NaN = unknown. Rows need not cover the clip."""

    start: Floats
    end: Floats
    opening: Floats

    def __post_init__(self) -> None:
        r = len(self.start)
        for name in ("start", "end", "opening"):
            got = getattr(self, name).shape
            _require(got == (r,), f"{name} is [{r}], not {list(got)}")

    def __len__(self) -> int:
        return len(self.start)

    def __repr__(self) -> str:
        return f"Openings({len(self)} rows, {int(np.isfinite(self.opening).sum())} known)"


@dataclass(frozen=True, repr=False)
class Predictions:
    """Scores of many clips: clip [N], start, end [N] (s), scores [N,K] (NaN where invalid), column names [K],
    split per row ("" = none), observed [N], the share of what a score was made from that had a face or speech (0 to 1;
    NaN where nobody says). A clip-level prediction is one row. Rows of a clip are contiguous."""

    clip: NDArray[np.str_]
    start: Floats
    end: Floats
    scores: Floats
    columns: tuple[str, ...]
    split: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, "U5"))
    observed: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        n = len(self.clip)
        if not len(self.split) and n:
            object.__setattr__(self, "split", np.full(n, "", "U5"))
        if not len(self.observed) and n:
            object.__setattr__(self, "observed", np.full(n, np.nan))
        _require(self.scores.shape == (n, len(self.columns)),
                 f"scores are [{n},{len(self.columns)}], not {list(self.scores.shape)}")  # fmt: skip
        for name in ("start", "end", "split", "observed"):
            got = len(getattr(self, name))
            _require(got == n, f"{name} has {got} rows where clip has {n}")

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def valid(self) -> Bools:
        """[N] rows in which every score is finite."""
        return np.asarray(np.isfinite(self.scores).all(axis=1))

    def select(self, rows: Array) -> Predictions:
        """The given rows (mask or indices)."""
        return Predictions(
            self.clip[rows],
            self.start[rows],
            self.end[rows],
            self.scores[rows],
            self.columns,
            self.split[rows],
            self.observed[rows],
        )

    def __repr__(self) -> str:
        return f"Predictions({len(self)} rows, {', '.join(self.columns)})"
