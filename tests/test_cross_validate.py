"""train-head --folds: groups whole, classes even, and every clip predicted by a head that never saw it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from affectkit import metrics, tasks
from affectkit.errors import UsageError
from affectkit.store import Artifact, Cache, features_schema
from affectkit.tables.label_tables import read_labels
from affectkit.tables.predictions import load
from affectkit.tables.splits import deal
from affectkit.tables.subjects import Subjects
from affectkit.types import ClipLabels

VA, DFEW = tasks.get("va"), tasks.get("dfew")
CLIPS = [f"c{n:02d}" for n in range(12)]


def classes(kinds: list[int]) -> dict[str, ClipLabels]:
    return {
        f"c{n:02d}": ClipLabels(np.zeros(1), np.full(1, np.inf), np.array([[float(k)]])) for n, k in enumerate(kinds)
    }


def test_folds_spread_classes_and_keep_subjects() -> None:
    labels = classes([0] * 10 + [1] * 5 + [2] * 5)
    fold = deal(list(labels), labels, DFEW, 5, "clip", Subjects(), seed=1)
    for kind, clips in ((0, range(10)), (1, range(10, 15)), (2, range(15, 20))):
        counts = Counter(fold[f"c{n:02d}"] for n in clips)
        assert set(counts.values()) == {2 if kind == 0 else 1}
    who = {clip: f"s{n // 3}" for n, clip in enumerate(labels)}
    fold = deal(list(labels), labels, DFEW, 3, "subject", Subjects(who), seed=1)
    assert all(len({fold[clip] for clip in labels if who[clip] == one}) == 1 for one in set(who.values()))
    assert fold == deal(list(labels), labels, DFEW, 3, "subject", Subjects(who), seed=1)
    assert fold != deal(list(labels), labels, DFEW, 3, "subject", Subjects(who), seed=2)
    faces = {f"{clip}#{face}": labels[clip] for clip in ("c00", "c01", "c02") for face in (0, 1)}
    assert len(set(deal(list(faces), faces, DFEW, 3, "clip", Subjects()).values())) == 3
    with pytest.raises(UsageError, match="3 labelled clips cannot be dealt to 4 folds"):
        deal(list(faces), faces, DFEW, 4, "clip", Subjects())
    with pytest.raises(UsageError, match="clip 'c00' has no subject"):
        deal(list(labels), labels, DFEW, 3, "subject", Subjects())


@pytest.fixture
def planted(cache: Cache, tmp_path: Path) -> tuple[Artifact, Path]:
    """Features that say valence and arousal, and labels; the last clip is test."""
    artifact = cache.create("embed", "planted", {"stage": "embed"}, features_schema(4))
    part, lines = artifact.new_part(), ["clip,split,start,end,valence,arousal"]
    for seed, clip in enumerate(CLIPS):
        rng = np.random.default_rng(seed)
        truth = np.tanh(rng.standard_normal((20, 2)).cumsum(axis=0) / 3)
        times = np.arange(21) / 5
        values = np.concatenate([truth, rng.standard_normal((20, 2))], axis=1)
        part.append({"start": times[:-1], "end": times[1:], "valid": np.ones(20), "values": values})
        part.end(clip, "0" * 64)
        split = "test" if clip == CLIPS[-1] else "train"
        lines += [f"{clip},{split},{t},{u},{v},{a}" for t, u, (v, a) in zip(times, times[1:], truth, strict=False)]
    part.commit()
    artifact.seal()
    (tmp_path / "va.csv").write_text("\n".join(lines) + "\n")
    return artifact, tmp_path / "va.csv"


def test_every_clip_is_predicted_by_a_head_that_did_not_see_it(
    affectkit: Command, planted: tuple[Artifact, Path]
) -> None:
    features, labels = planted
    options = ["-o", "epochs=15", "-o", "learning_rate=0.02", "--device", "cpu", "--folds", "3", "--json"]
    line = ["train-head", str(features.path), "--labels", str(labels), "--task", "va", "--head", "mlp", *options]
    done = affectkit(*line)
    report = json.loads(done.stdout)
    assert "out of fold" in done.stderr
    artifact = Artifact(Path(report["artifact"]))
    assert artifact.clips == CLIPS[:-1]  # what is test stays for the end
    tables = [(artifact.path / f"fold_{n}.csv").read_text().splitlines()[1:] for n in range(3)]
    tested = [line.partition(",")[0] for table in tables for line in table if line.endswith(",test")]
    assert sorted(tested) == CLIPS[:-1]
    for table in tables:
        assert {line.partition(",")[2] for line in table} == {"train", "val", "test"}
    found = load(artifact.path, VA)
    known = read_labels(labels, VA)
    truth = np.concatenate([known[clip].values for clip in artifact.clips])
    assert report["pooled"] == pytest.approx(metrics.main(VA, truth, found.scores), abs=1e-6)
    assert report["pooled"] > 0.8 and len(report["folds"]) == 3
    assert json.loads(affectkit(*line).stdout)["cached"]
    evaluated = json.loads(affectkit("evaluate", str(artifact.path), "--labels", str(labels), "--task", "va",
                                     "--split", "train", "--json").stdout)  # fmt: skip
    assert evaluated["scores"]["ccc"] == pytest.approx(report["pooled"], abs=1e-6)


def test_what_folds_refuse(affectkit: Command, planted: tuple[Artifact, Path]) -> None:
    features, labels = planted
    line = ["train-head", str(features.path), "--labels", str(labels), "--task", "va", "--head", "mlp", "--folds"]
    for more, words in (
        (["20"], "11 labelled clips cannot be dealt to 20 folds"),
        (["3", "--val-fraction", "0.2"], "give one of them"),
        (["3", "--tune", "2"], "leave out --tune"),
    ):
        done = affectkit(*line, *more)
        assert done.returncode == 2 and words in done.stderr, done.stderr
