"""Splits that share a clip are refused, under whatever name it comes twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectkit import tasks
from affectkit.errors import UsageError
from affectkit.manifest import SplitRequest, resolve_splits
from affectkit.stages._training_data import gather
from affectkit.stages.train import TrainConfig
from affectkit.store import Artifact, Cache, Features, features_schema


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
    gather([Features(features(cache, {"a": 1, "b": 1, "c": 2, "d": 3}))], table, task, config, None)
    twins = features(Cache(tmp_path / "twins"), {"a": 1, "b": 2, "c": 1, "d": 3})
    with pytest.raises(UsageError, match=r"'a' \(train\) and 'c' \(val\) have equal features"):
        gather([Features(twins)], table, task, config, None)
    hidden = features(Cache(tmp_path / "hidden"), {"a": 1, "b": 2, "c": 3, "d": 1})
    with pytest.raises(UsageError, match=r"'a' \(train\) and 'd' \(test\)"):
        gather([Features(hidden)], table, task, config, None)
    nobody = features(Cache(tmp_path / "nobody"), {"a": 1, "b": 2, "c": 3, "d": 4}, valid=False)
    gather([Features(nobody)], table, task, config, None)  # nothing to see, so nothing is shared


def test_faces_of_one_clip_stay_together(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("clip,split\na#0,train\na#1,val\nb,test\n")
    with pytest.raises(UsageError, match="faces of one clip are in two splits: 'a#0' in train, 'a#1' in val"):
        resolve_splits(["a#0", "a#1", "b"], {}, {}, SplitRequest(tmp_path / "splits.csv"))
