"""train-head --aux: another task's labels are learnt along, and nothing that is held out leaks through them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from affectkit.errors import UsageError
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.training_data import AuxiliarySource, head_data
from affectkit.store import Artifact, Cache, Features, features_schema

SPLITS = {"a": "train", "b": "train", "c": "val", "d": "test"}


@pytest.fixture
def features(cache: Cache) -> Artifact:
    artifact = cache.create("embed", "planted", {"stage": "embed"}, features_schema(4))
    part = artifact.new_part()
    for seed, clip in enumerate([*SPLITS, "other"]):
        times = np.arange(41) / 5
        values = np.random.default_rng(seed).standard_normal((40, 4))
        part.append({"start": times[:-1], "end": times[1:], "valid": np.ones(40), "values": values})
        part.end(clip, "0" * 64)
    part.commit()
    artifact.seal()
    return artifact


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Valence and arousal of the clips with splits, expressions of all clips without."""
    rng = np.random.default_rng(0)
    va, expr = ["clip,split,start,end,valence,arousal"], ["clip,start,end,label"]
    for clip in [*SPLITS, "other"]:
        for row in range(40):
            times = f"{row / 5},{(row + 1) / 5}"
            if clip in SPLITS:
                va.append(f"{clip},{SPLITS[clip]},{times},{rng.uniform(-1, 1):.3f},{rng.uniform(-1, 1):.3f}")
            expr.append(f"{clip},{times},{rng.integers(8)}")
    for name, lines in (("va.csv", va), ("expr.csv", expr)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path / "va.csv", tmp_path / "expr.csv"


def learnt(features: Artifact, tables: tuple[Path, Path], aux: Path) -> list[str]:
    """The auxiliary clips that are used."""
    from affectkit import tasks

    source = AuxiliarySource.of(f"{features.path}:{aux}:expr")
    data = head_data([Features(features)], tables[0], tasks.get("va"), TrainConfig(task="va"), None, [source])
    return [example.clip for example in data.auxiliary[0].train]


def test_clips_that_are_held_out_are_not_learnt_from(features: Artifact, tables: tuple[Path, Path]) -> None:
    assert learnt(features, tables, tables[1]) == ["a", "b", "other"]


def test_nor_is_anybody_seen_there(features: Artifact, tables: tuple[Path, Path], tmp_path: Path) -> None:
    _, expr = tables
    who = {"a": "ann", "b": "bob", "c": "cem", "d": "dan", "other": "cem"}
    for path in tables:
        head, *lines = path.read_text().splitlines()
        body = [f"{line},{who[line.partition(',')[0]]}" for line in lines]
        path.write_text("\n".join([f"{head},subject", *body]) + "\n")
    assert learnt(features, tables, expr) == ["a", "b"]


def test_a_split_of_its_own_counts_too(features: Artifact, tables: tuple[Path, Path]) -> None:
    head, *lines = tables[1].read_text().splitlines()
    body = [f"{line},{'val' if line.startswith('b,') else 'train'}" for line in lines]
    tables[1].write_text("\n".join([f"{head},split", *body]) + "\n")
    assert learnt(features, tables, tables[1]) == ["a", "other"]


def test_the_command(affectkit: Command, features: Artifact, tables: tuple[Path, Path]) -> None:
    small = ["-o", "epochs=2", "-o", "hidden=8", "--device", "cpu", "--json"]
    plain = ["train-head", str(features.path), "--labels", str(tables[0]), "--task", "va", "--head", "lstm", *small]
    aux = ["--aux", f"{features.path}:{tables[1]}:expr"]
    alone, along = (json.loads(affectkit(*plain, *more).stdout)["artifact"] for more in ([], aux))
    assert alone != along
    assert json.loads(affectkit(*plain, *aux).stdout)["cached"]
    text = tables[1].read_text()
    tables[1].write_text(text.replace(text.splitlines()[1], f"{text.splitlines()[1][:-1]}7"))
    assert not json.loads(affectkit(*plain, *aux).stdout)["cached"]  # other labels, another head
    predicted = affectkit("predict", along, str(features.path))
    assert predicted.returncode == 0
    assert Artifact(Path(predicted.stdout.strip())).schema.names["scores"] == ["valence", "arousal"]


@pytest.mark.parametrize("text", ["features", "a:b", "a:b:", ":labels.csv:va", "a:b:mood"])
def test_what_is_no_auxiliary_task_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        AuxiliarySource.of(text)
