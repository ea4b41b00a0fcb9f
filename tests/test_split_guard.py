"""Splits that share a clip are refused, under whatever name it comes twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectkit import tasks
from affectkit.errors import UsageError
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.training_data import head_data
from affectkit.store import Artifact, Cache, Features, features_schema, waveforms_schema
from affectkit.tables.splits import SplitRequest, deal, resolve_splits
from affectkit.tables.subjects import Subjects
from affectkit.types import ClipLabels


def features(cache: Cache, seeds: dict[str, int], valid: bool = True) -> Artifact:
    """Clips whose features are those of their seed."""
    artifact = cache.create("embed", "planted", {"stage": "embed"}, features_schema(3))
    part = artifact.new_part()
    for clip, seed in seeds.items():
        times = np.arange(11) / 5
        values = np.random.default_rng(seed).standard_normal((10, 3)) * valid
        part.append({"start": times[:-1], "end": times[1:], "valid": np.full(10, valid), "values": values})
        part.end(clip, "0" * 64)
    part.commit()
    artifact.seal()
    return artifact


def labels(path: Path, splits: dict[str, str]) -> Path:
    lines = [f"{clip},{split},{n / 5},{(n + 1) / 5},0.{n},-0.{n}" for clip, split in splits.items() for n in range(10)]
    path.write_text("clip,split,start,end,valence,arousal\n" + "\n".join(lines) + "\n")
    return path


def test_a_copy_in_another_split_is_refused(cache: Cache, tmp_path: Path) -> None:
    table = labels(tmp_path / "va.csv", {"a": "train", "b": "train", "c": "val", "d": "test"})
    config, task = TrainConfig(task="va"), tasks.get("va")
    head_data([Features(features(cache, {"a": 1, "b": 1, "c": 2, "d": 3}))], table, task, config, None)
    twins = features(Cache(tmp_path / "twins"), {"a": 1, "b": 2, "c": 1, "d": 3})
    with pytest.raises(UsageError, match=r"'a' \(train\) and 'c' \(val\) have equal features"):
        head_data([Features(twins)], table, task, config, None)
    hidden = features(Cache(tmp_path / "hidden"), {"a": 1, "b": 2, "c": 3, "d": 1})
    with pytest.raises(UsageError, match=r"'a' \(train\) and 'd' \(test\)"):
        head_data([Features(hidden)], table, task, config, None)
    nobody = features(Cache(tmp_path / "nobody"), {"a": 1, "b": 2, "c": 3, "d": 4}, valid=False)
    head_data([Features(nobody)], table, task, config, None)  # nothing to see, so nothing is shared


def test_faces_of_one_clip_stay_together(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("clip,split\na#0,train\na#1,val\nb,test\n")
    with pytest.raises(UsageError, match="faces of one clip are in two splits: 'a#0' in train, 'a#1' in val"):
        resolve_splits(["a#0", "a#1", "b"], {}, {}, SplitRequest(tmp_path / "splits.csv"))


def one_artifact(cache: Cache, values: dict[str, np.ndarray], upstream: Artifact | None = None) -> Artifact:
    """Clips of these features [T,D], made of another artifact where there is one."""
    width = next(iter(values.values())).shape[1]
    above = [upstream.path] if upstream else []
    artifact = cache.create("embed", "planted", {"stage": "embed"}, features_schema(width), upstream=above)
    part = artifact.new_part()
    for clip, rows in values.items():
        times = np.arange(len(rows) + 1) / 5
        part.append({"start": times[:-1], "end": times[1:], "valid": np.ones(len(rows), bool), "values": rows})
        part.end(clip, "0" * 64)
    part.commit()
    artifact.seal()
    return artifact


def sound(cache: Cache, samples: dict[str, np.ndarray]) -> Artifact:
    artifact = cache.create("audio", "waveform", {"stage": "audio"}, waveforms_schema())
    part = artifact.new_part()
    for clip, values in samples.items():
        part.append({"start": np.zeros(1), "end": np.ones(1), "valid": np.ones(1, bool), "samples": values})
        part.end(clip, "0" * 64, {"sampling_rate": 16000, "offset": 0.0, "origin": 0.0})
    part.commit()
    artifact.seal()
    return artifact


NOISE = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
SPLITS = {"a": "train", "b": "val", "muted-1": "train", "muted-2": "val"}


def with_alike(alike: np.ndarray) -> dict[str, np.ndarray]:
    """Two clips of their own, and two that are alike, which are in two splits."""
    return {"a": NOISE + 1, "b": NOISE + 2, "muted-1": alike, "muted-2": alike.copy()}


@pytest.mark.parametrize(
    "alike",
    [np.zeros((10, 4), np.float32), np.full((10, 4), -18.4, np.float32), np.tile(NOISE[:1], (10, 1)),
     np.zeros((1, 4), np.float32), np.array([[0, 1, 0, 0]], np.float32)],
    ids=["zeros", "floor", "a still", "one row of zeros", "one row of a code"],
)  # fmt: skip
def test_features_that_say_nothing_are_no_proof_of_a_copy(cache: Cache, tmp_path: Path, alike: np.ndarray) -> None:
    table = labels(tmp_path / "va.csv", SPLITS)
    made = Features(one_artifact(cache, with_alike(alike)))
    data = head_data([made], table, tasks.get("va"), TrainConfig(task="va"), None)
    assert [one.clip for one in data.train] == ["a", "muted-1"]


@pytest.mark.parametrize("alike", [NOISE, NOISE[:1]], ids=["rows", "one row"])
def test_varied_features_of_silence_are_no_proof_either(cache: Cache, tmp_path: Path, alike: np.ndarray) -> None:
    """Deep features of silence vary, by the network's own edges, and are the same in every muted recording."""
    table, noise = labels(tmp_path / "va.csv", SPLITS), np.random.default_rng(1).standard_normal(16000)
    dither = np.where(np.arange(16000) % 2, 1, -1) / 32768
    heard = sound(cache, {"a": noise, "b": noise[::-1], "muted-1": dither, "muted-2": dither})
    silent = one_artifact(cache, with_alike(alike), heard)
    config, task = TrainConfig(task="va"), tasks.get("va")
    head_data([Features(silent)], table, task, config, None)
    other = Cache(tmp_path / "loud")
    heard = sound(other, {"a": noise, "b": noise[::-1], "muted-1": noise / 100, "muted-2": noise / 100})
    with pytest.raises(UsageError, match=r"'muted-1' \(train\) and 'muted-2' \(val\) have equal features"):
        head_data([Features(one_artifact(other, with_alike(alike), heard))], table, task, config, None)


def test_a_copy_among_muted_recordings_is_found(cache: Cache, tmp_path: Path) -> None:
    clips = with_alike(np.zeros((10, 4), np.float32)) | {"c": NOISE + 1}
    table = labels(tmp_path / "va.csv", SPLITS | {"c": "val"})
    with pytest.raises(UsageError, match=r"'a' \(train\) and 'c' \(val\)"):
        head_data([Features(one_artifact(cache, clips))], table, tasks.get("va"), TrainConfig(task="va"), None)


def test_subjects_who_share_a_clip_are_drawn_together() -> None:
    """Faces of one clip share its sound and light: a draw by subject that parts them would be refused."""
    names = {f"c{n}#{face}": f"s{n}" if face else f"s{n + 1}" for n in range(0, 12, 2) for face in (0, 1)}
    names |= {"c0#2": "s2", "d": "s20"}
    whole = {name: ClipLabels(np.zeros(1), np.ones(1), np.zeros((1, 2)), None, who) for name, who in names.items()}
    for seed in range(8):
        request = SplitRequest(val_fraction=0.4, by="subject", seed=seed)
        splits = resolve_splits(list(whole), whole, {}, request)
        assert set(splits.values()) == {"train", "val"}
        assert len({splits[name] for name in splits if name.startswith(("c0#", "c2#"))}) == 1  # joined by s2
        fold = deal(list(whole), whole, tasks.get("va"), 3, "subject", Subjects.named(whole), seed)
        assert len({fold[name] for name in fold if name.startswith(("c0#", "c2#"))}) == 1


def test_everybody_in_a_clip_that_is_held_out_is_held_out() -> None:
    subjects = Subjects({"a#0": "anna", "a#1": "ben", "b": "eva"})
    assert [subjects.everybody(name) for name in ("a", "a#1", "b#0", "c")] == [
        {"anna", "ben"}, {"anna", "ben"}, {"eva"}, frozenset(),
    ]  # fmt: skip
    assert [subjects.of(name) for name in ("a#1", "a", "b#0")] == ["ben", None, "eva"]
