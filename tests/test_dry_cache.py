"""A dry cache: what is there is found, what is missing is told, and nothing is written or fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectkit import downloads
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.stages import map_stage
from affectkit.stages.map_stage import Sink
from affectkit.store import Artifact, Cache, Features, NotMade, features_schema
from affectkit.weights import hub

SCHEMA = features_schema(2, "float32")
RUNTIME = Runtime(progress=False)


def compute(clips: list[str], sink: Sink) -> None:
    for clip in clips:
        if clip == "broken":
            sink.fail(clip, "cannot be read")
            continue
        sink.append({"start": [0.0], "end": [1.0], "valid": [1], "values": [[1.0, 2.0]]})
        sink.end(clip)


def made(root: Path, clips: list[str]) -> Artifact:
    artifact = Cache(root).create("embed", "x", {"a": 1}, SCHEMA)
    map_stage.run(artifact, dict.fromkeys(clips, "v1"), compute, RUNTIME, what="x", unit="rows")
    return Artifact(artifact.path)


def listing(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}


def test_what_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    dry = Cache(tmp_path / "none", dry=True)
    with pytest.raises(NotMade) as told:
        dry.create("embed", "x", {"a": 1}, SCHEMA)
    assert told.value.path == dry.path("embed", "x", {"a": 1})
    with pytest.raises(NotMade):
        dry.find("embed", "x", {"a": 1})
    with pytest.raises(NotMade):
        dry.create_whole("fuse", "x", {"a": 1}, lambda folder: None)
    assert not (tmp_path / "none").exists()


def test_missing_and_failed_clips_are_counted_and_left_alone(tmp_path: Path) -> None:
    made(tmp_path, ["a", "b", "broken"])
    before = listing(tmp_path)
    artifact = Cache(tmp_path, dry=True).create("embed", "x", {"a": 1}, SCHEMA)
    sources = {"a": "v1", "b": "v2", "broken": "v1", "new": "v1"}
    done = map_stage.run(artifact, sources, compute, RUNTIME, what="x", unit="rows")
    assert (done.pending, done.cached, [one.clip for one in done.failed]) == (("b", "new"), 1, ["broken"])
    again = map_stage.run(
        artifact, sources, compute, RUNTIME.model_copy(update={"retry_failed": True}), what="x", unit=""
    )
    assert (again.pending, again.failed) == (("b", "broken", "new"), ())
    with pytest.raises(AssertionError):
        artifact.seal()
    with pytest.raises(AssertionError):
        artifact.new_part()
    assert listing(tmp_path) == before


def test_digests_are_not_noted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    digest = Cache(tmp_path / "dry", dry=True).digests()(tmp_path / "file")
    assert not (tmp_path / "dry").exists()
    assert Cache(tmp_path / "wet").digests()(tmp_path / "file") == digest
    assert (tmp_path / "wet" / "digests.sqlite").exists()


def test_features_of_some_clips_only(tmp_path: Path) -> None:
    some = Features(made(tmp_path, ["a", "b"]), only=frozenset({"b", "c"}))
    assert some.clips == ["b"]
    assert ("a" in some, "b" in some, "c" in some) == (False, True, False)
    assert some.identity == Features(some.artifact).identity


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("urllib.request.urlopen", asked)
    monkeypatch.setattr("socket.getaddrinfo", asked)
    with downloads.offline():
        with pytest.raises(OSError, match="nothing is fetched here"):
            downloads.download("https://example.org/x", tmp_path / "x", lambda part: None)
        with pytest.raises(UsageError, match="nothing is fetched here"):
            hub("none/none", "model.safetensors")
    with pytest.raises(AssertionError, match="the network was asked"):
        downloads.require_host("https://example.org")
