"""extract faces of several clips at once: what each gives is the same, and one that fails stops no other."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_factory import cut_off
from stage_calls import extract_faces
from stage_factory import clips_in, face_clips

from affectkit.config import Runtime
from affectkit.detectors.centerface import CenterFace
from affectkit.errors import AffectkitError
from affectkit.stages import faces, sink
from affectkit.stages.faces import FacesConfig
from affectkit.stages.map_stage import Outcome
from affectkit.stages.sink import Meter
from affectkit.store import Artifact, Cache

NAMES = ["a", "b", "c", "d", "e"]
COLUMNS = ("start", "end", "valid", "boxes", "landmarks", "score", "frame_index")


@pytest.fixture
def concurrent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """CenterFace takes calls from several threads; the threads that call it."""
    callers: list[int] = []
    detect = CenterFace.__call__

    def counted(self: CenterFace, frames: np.ndarray) -> Any:
        callers.append(threading.get_ident())
        return detect(self, frames)

    monkeypatch.setattr(CenterFace, "concurrent", True, raising=False)
    monkeypatch.setattr(CenterFace, "__call__", counted)
    return callers


def extract(cache: Cache, folder: Path, workers: int, **fields: Any) -> tuple[Outcome, Artifact]:
    config = FacesConfig(**{"detector": "centerface", "size": 32, "fps": "native"} | fields)
    done = extract_faces(cache, clips_in(folder), config, Runtime(workers=workers, progress=False), device="cpu")
    return done, Artifact(done.path)


@pytest.mark.parametrize("rule", ["largest", "all"])
def test_equal_to_one_after_the_other(tmp_path: Path, concurrent: list[int], rule: str) -> None:
    folder = face_clips(tmp_path / "clips", NAMES)
    _, alone = extract(Cache(tmp_path / "one"), folder, 1, face=rule, min_length=1)
    assert set(concurrent) == {threading.get_ident()}
    concurrent.clear()
    done, together = extract(Cache(tmp_path / "three"), folder, 3, face=rule, min_length=1)
    assert len(set(concurrent)) > 1
    assert done.computed == 5 and done.rows == 25
    assert together.clips == alone.clips
    for clip in alone.clips:
        assert together.digest(clip) == alone.digest(clip)
        for column in COLUMNS:
            np.testing.assert_array_equal(together.column(clip, column), alone.column(clip, column))
        assert list(map(bytes, together.column(clip, "image"))) == list(map(bytes, alone.column(clip, "image")))


def test_one_after_the_other_where_the_detector_does_not_say_so(
    tmp_path: Path, concurrent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(CenterFace, "concurrent")
    extract(Cache(tmp_path / "cache"), face_clips(tmp_path / "clips", NAMES), 3)
    assert set(concurrent) == {threading.get_ident()}


def test_a_clip_that_fails_stops_no_other(tmp_path: Path, concurrent: list[int]) -> None:
    folder = face_clips(tmp_path / "clips", NAMES, frames=20)
    (folder / "b.mp4").write_bytes(b"no video")
    cut_off(folder / "c.mp4", folder / "d.mp4", 0.7)
    cache = Cache(tmp_path / "cache")
    done, artifact = extract(cache, folder, 3)
    assert {failure.clip for failure in done.failed} >= {"b"}
    assert {"a", "c", "e"} <= set(artifact.clips)
    again, _ = extract(cache, folder, 3)
    assert again.computed == 0 and again.failed == done.failed


def test_an_error_of_our_own_ends_all_and_keeps_what_is_finished(
    tmp_path: Path, concurrent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = face_clips(tmp_path / "clips", NAMES)
    written, finished = faces.append_track, []

    def full_disk(target: Any, track: Any) -> None:
        if len(finished) == 2:
            raise AffectkitError("no space left")
        finished.append(1)
        written(target, track)

    monkeypatch.setattr(faces, "append_track", full_disk)
    monkeypatch.setattr(sink, "_COMMIT_SECONDS", 0.0)
    cache, before = Cache(tmp_path / "cache"), threading.active_count()
    with pytest.raises(AffectkitError, match="no space left"):
        extract(cache, folder, 2)
    assert threading.active_count() == before
    monkeypatch.setattr(faces, "append_track", written)
    done, artifact = extract(cache, folder, 2)
    assert (done.cached, done.computed) == (2, 3) and artifact.clips == NAMES


def test_an_interrupt_leaves_what_has_begun_and_keeps_what_is_finished(
    tmp_path: Path, concurrent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = face_clips(tmp_path / "clips", NAMES, frames=8)
    rows, main, waited = [], threading.main_thread(), faces.as_completed

    def interrupted(running: Any) -> Any:
        assert threading.current_thread() is main
        while len(rows) < 20:
            pass
        raise KeyboardInterrupt

    plain = sink.Sink.count

    def count(self: sink.Sink, more: int, clip: str = "") -> None:
        rows.append(clip)
        plain(self, more, clip)

    monkeypatch.setattr(faces, "as_completed", interrupted)
    monkeypatch.setattr(sink.Sink, "count", count)
    cache, before = Cache(tmp_path / "cache"), threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        extract(cache, folder, 2)
    assert threading.active_count() == before
    monkeypatch.setattr(faces, "as_completed", waited)
    monkeypatch.setattr(sink.Sink, "count", plain)
    done, artifact = extract(cache, folder, 2)
    assert done.cached >= 1 and done.cached + done.computed == 5
    assert artifact.clips == NAMES


def test_progress_counts_the_clips_under_way() -> None:
    shares: list[float | None] = []

    class Shown:
        silent = False

        def show(self, share: float | None, note: str) -> None:
            shares.append(share)

        def say(self, note: str) -> None: ...

    counter = Meter("frames", 4, None, Shown())  # type: ignore[arg-type]
    counter.expect(10, "a")
    counter.expect(20, "b")
    counter.advance(rows=5, clip="a")
    assert shares[-1] == pytest.approx(0.5 / 4)
    counter.advance(rows=10, clip="b")
    assert shares[-1] == pytest.approx(1 / 4)
    counter.advance(clips=1, clip="b")
    assert shares[-1] == pytest.approx(1.5 / 4)
    counter.advance(clips=1, failed=1, clip="a")
    assert shares[-1] == pytest.approx(2 / 4)
