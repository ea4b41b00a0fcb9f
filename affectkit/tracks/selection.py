"""Which of the faces in a clip is meant: the face rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from affectkit.errors import unknown
from affectkit.tracks.linking import Track, areas
from affectkit.types import Detections, Floats

FaceRule = Literal["largest", "confident", "longest", "nearest", "left", "right", "all"]
FACE_RULES: dict[FaceRule, str] = {
    "largest": "the track with the largest area, summed over its frames",
    "confident": "the lasting track with the highest mean score",
    "longest": "the track with the most frames",
    "nearest": "in the first frame with faces the most confident one, then always the one nearest to the last",
    "left": "the lasting track whose mean centre is leftmost in the image",
    "right": "the lasting track whose mean centre is rightmost in the image",
    "all": "every track that is long enough, each as a clip of its own",
}
assert tuple(FACE_RULES) == get_args(FaceRule)

# A track lasts if it has this share of the longest track's frames: one false detection must not win.
_LASTING = 0.25


def face_rule(name: str) -> FaceRule:
    """`name` as a face rule; a `UsageError` that lists the rules otherwise.

    >>> face_rule("left")
    'left'
    """
    for rule in FACE_RULES:
        if rule == name:
            return rule
    raise unknown("face rule", name, FACE_RULES)


def choose(tracks: Sequence[Track], rule: FaceRule, *, min_length: int = 1) -> list[Track]:
    """The tracks that `rule` means, of those in a clip; none only if there are none.

    - `largest`: area summed over the frames, so a face must be both large and there. Mean area would let a passer-by
      close to the camera win.
    - `longest`: most frames.
    - `confident`, `left`, `right`: highest mean score, smallest and greatest mean centre x, among lasting tracks: those
      with at least a quarter of the longest track's frames.
    - `all`: every track of `min_length` frames or more, else the longest, by first appearance, then from left to right.

    Ties go to the track that appeared first. `nearest` takes one face a frame and links nothing: see `Nearest`.
    """
    if rule == "nearest":
        raise ValueError("nearest chooses frame by frame, not among tracks")
    if not tracks:
        return []
    longest = max(tracks, key=len)
    if rule == "all":
        return sorted((t for t in tracks if len(t) >= min_length), key=_appearance) or [longest]
    lasting = [t for t in tracks if len(t) >= _LASTING * len(longest)]
    candidates = tracks if rule in ("largest", "longest") else lasting
    return [max(sorted(candidates, key=_appearance), key=_MERIT[rule])]


class Nearest:
    """SUN's rule (arXiv 2403.12609): one face a frame, without tracks.

    The first frame that has faces gives the most confident one; every later frame the face whose centre is nearest to
    that of the face before. A frame without faces gives none and keeps the centre.
    """

    def __init__(self) -> None:
        self.centre: Floats | None = None

    def pick(self, detections: Detections) -> int | None:
        """Index of the frame's face, and follow it; None where there is no face."""
        chosen = nearest(detections, self.centre)
        if chosen is not None:
            self.centre = _centre(detections.boxes[chosen])
        return chosen

    def narrow(self, before: Detections, after: Detections) -> tuple[Detections, Detections]:
        """The face that would be picked in each of two frames, and nothing else; follows neither."""
        here = nearest(before, self.centre)
        centre = self.centre if here is None else _centre(before.boxes[here])
        return _only(before, here), _only(after, nearest(after, centre))


def nearest(detections: Detections, centre: Floats | None) -> int | None:
    """Index of the face nearest to `centre` [2], of the most confident one if there is no centre yet."""
    if not len(detections):
        return None
    if centre is None:
        return int(np.argmax(detections.scores))
    middles = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
    return int(np.argmin(np.linalg.norm(middles - centre, axis=1)))


def _only(detections: Detections, index: int | None) -> Detections:
    rows = slice(0, 0) if index is None else slice(index, index + 1)
    return Detections(detections.boxes[rows], detections.scores[rows], detections.landmarks[rows])


def _centre(box: Floats) -> Floats:
    return np.asarray((box[:2] + box[2:]) / 2, np.float64)


def _appearance(track: Track) -> tuple[int, float]:
    return track.rows[0], float(track.boxes[0][0])


def _middle(track: Track) -> float:
    boxes = np.stack(track.boxes)
    return float(np.mean(boxes[:, 0] + boxes[:, 2]) / 2)


_MERIT: dict[str, Callable[[Track], float]] = {
    "largest": lambda track: float(areas(track.boxes).sum()),
    "longest": len,
    "confident": lambda track: float(np.mean(track.scores)),
    "left": lambda track: -_middle(track),
    "right": _middle,
}
