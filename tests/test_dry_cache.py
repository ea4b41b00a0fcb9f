"""A dry cache: what is there is found, what is missing is told, and nothing is written or fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from affectkit import downloads
from affectkit.config import Runtime
from affectkit.digests import Digests
from affectkit.errors import UsageError
from affectkit.stages.catalogue import entries, maker
from affectkit.stages.map_stage import MapStage, Sink
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Cache, Features, NotMade, Schema, features_schema
from affectkit.weights import hub

SCHEMA = features_schema(2, "float32")
RUNTIME = Runtime(progress=False)


class OneRow(MapStage):
    """A row a clip; its inputs are the digests of clips."""

    name = folder = "embed"
    version = 1

    def resolve(self, inputs: dict[str, str], config: None) -> dict[str, str]:
        return inputs

    def called(self, given: dict[str, str]) -> str:
        return "x"

    def identity(self, given: dict[str, str]) -> dict[str, Any]:
        return {"a": 1}

    def sources(self, given: dict[str, str], digests: Digests) -> dict[str, str]:
        return given

    def entries(self, given: dict[str, str]) -> dict[str, dict[str, Any]]:
        return {}

    def table(self, given: dict[str, str], context: Context) -> Schema:
        return SCHEMA

    def provenance(self, given: dict[str, str]) -> dict[str, Any]:
        return {}

    def compute(self, given: dict[str, str], missing: list[str], sink: Sink, context: Context) -> None:
        for clip in missing:
            if clip == "broken":
                sink.fail(clip, "cannot be read")
                continue
            sink.append({"start": [0.0], "end": [1.0], "valid": [1], "values": [[1.0, 2.0]]})
            sink.end(clip)


def made(root: Path, clips: list[str]) -> Artifact:
    done = OneRow().run(dict.fromkeys(clips, "v1"), None, Context(Cache(root), RUNTIME))
    return Artifact(done.folder)


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
    dry = Context(Cache(tmp_path, dry=True), RUNTIME)
    sources = {"a": "v1", "b": "v2", "broken": "v1", "new": "v1"}
    done = OneRow().run(sources, None, dry)
    artifact = done.artifact
    assert (done.pending, done.cached, [one.clip for one in done.failed]) == (("b", "new"), 1, ["broken"])
    retried = replace(dry, runtime=RUNTIME.model_copy(update={"retry_failed": True}))
    again = OneRow().run(sources, None, retried)
    assert (again.pending, again.failed) == (("b", "broken", "new"), ())
    with pytest.raises(AssertionError):
        artifact.seal()
    with pytest.raises(AssertionError):
        artifact.new_part()
    assert listing(tmp_path) == before


def test_a_stage_is_known_by_the_name_of_its_artifacts() -> None:
    stages = [stage for entry in entries().values() if isinstance(stage := entry.load(), MapStage)]
    assert len(stages) >= 6 and all(maker(stage.folder) is stage for stage in stages)


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
