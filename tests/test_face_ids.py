"""What is the id of a face, and of which clip: everybody who asks gets one answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectkit.errors import UsageError
from affectkit.stages.scoring import clusters
from affectkit.store.selection import Selection
from affectkit.tables.frame_rates import FrameRates
from affectkit.tables.sources import clips_of
from affectkit.tables.splits import SplitRequest, resolve_splits
from affectkit.types import ClipLabels, Predictions, face_id, is_face, without_face

FACES = {"a#1": "a", "a#0": "a", "a#01": "a", "a#12": "a", "a#1#2": "a#1", "##3": "#", "day1/a#1": "day1/a"}
NO_FACES = ("a#²", "a#", "#1", "a#٣", "a#１", "a#1 ", "a#1\n", "a#x1", "a #", "a#-1", "a")
CLIPS = FACES | {name: name for name in NO_FACES}
IDS = pytest.mark.parametrize("name", [name for name in CLIPS if name.strip() == name])


@pytest.mark.parametrize("name", CLIPS)
def test_a_face_is_of_the_clip_before_its_number(name):
    assert without_face(name) == CLIPS[name] and is_face(name) == (name in FACES)


@pytest.mark.parametrize("clip", ["a", "a#1", "#", "day1/a", "Zoë"])
def test_the_face_of_a_clip_leads_back_to_it(clip):
    assert [without_face(face_id(clip, number)) for number in (0, 7, 12)] == [clip] * 3


@IDS
def test_a_face_has_its_clips_split(name):
    labels = {other: ClipLabels(np.zeros(1), np.ones(1), np.zeros((1, 1)), split) for other, split in
              ((CLIPS[name], "val"), ("other", "train"))}  # fmt: skip
    assert resolve_splits([name, "other"], labels, {}, SplitRequest())[name] == "val"


@IDS
def test_faces_of_a_clip_are_not_parted(name):
    labels = {one: ClipLabels(np.zeros(1), np.ones(1), np.zeros((1, 1)), split) for one, split in
              ((name, "val"), (f"{CLIPS[name]}#9", "train"))}  # fmt: skip
    with pytest.raises(UsageError, match="faces of one clip"):
        resolve_splits(list(labels), labels, {}, SplitRequest())


@IDS
def test_a_face_has_its_clips_frame_rate(name):
    assert FrameRates(Path("fps.csv"), {CLIPS[name]: 25.0}).named(name) == CLIPS[name]


@IDS
def test_a_face_is_resampled_with_its_clip(name):
    rows = Predictions(np.array([name]), np.zeros(1), np.ones(1), np.zeros((1, 1)), ("valence",))
    assert clusters(rows, {}, "clip").tolist() == [CLIPS[name]]


@IDS
def test_a_face_is_selected_with_its_clip(name):
    assert (name, "digest") in Selection("f" * 64, {CLIPS[name]: "digest"}, {})


@pytest.mark.parametrize("name", ["a#1", "a#01", "a#²", "a#", "#1", "a#٣"])
def test_media_may_not_be_called_like_a_face(tmp_path, name):
    (tmp_path / f"{name}.mp4").write_bytes(b"x")
    if name in FACES:
        with pytest.raises(UsageError, match="ends in # and a number"):
            clips_of([str(tmp_path)])
    else:
        assert [clip.id for clip in clips_of([str(tmp_path)])] == [name]
