"""affectkit finetune with the networks that read sequences: pyramids of crops, windows of sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network_inputs import make_sound
from stage_calls import finetune
from tuned_networks import SMALL
from tuning_factory import crops, expr_labels, va_labels

from affectkit import metrics, tasks
from affectkit.config import Runtime
from affectkit.stages.finetune import FinetuneConfig
from affectkit.stages.stage import Result
from affectkit.stages.training_data import AuxiliarySource
from affectkit.store import Artifact, Cache, Features

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from affectkit.learning.order import labelled  # noqa: E402
from affectkit.learning.saved import open_network  # noqa: E402
from affectkit.tables.label_tables import read_labels  # noqa: E402
from affectkit.training import engine  # noqa: E402
from affectkit.training.parallel import alone  # noqa: E402
from affectkit.training.tuning import row_scores  # noqa: E402

RATE, SECONDS = 16_000, 3


pytestmark = pytest.mark.usefixtures("quick_training")


def loudness(number: int) -> np.ndarray:
    """[SECONDS] how loud each second of a clip is, in 0..1."""
    return np.random.default_rng([number, 2]).random(SECONDS)


def sound(root: Path) -> Artifact:
    """A hum that is as high as the second's label says."""
    clips = {}
    for number in range(8):
        rng = np.random.default_rng(number)
        time = np.arange(RATE) / RATE
        parts = [np.sin(2 * np.pi * (150 + 1500 * level) * time) for level in loudness(number)]
        clips[f"c{number}"] = (0.3 * np.concatenate(parts) + 0.01 * rng.normal(size=RATE * SECONDS)).astype(np.float32)
    return make_sound(Cache(root), clips, RATE)


def pitch_labels(path: Path) -> Path:
    lines = ["clip,start,end,split,valence,arousal"]
    for number in range(8):
        for second, level in enumerate(loudness(number)):
            value = 2 * level - 1
            lines.append(f"c{number},{second},{second + 1},{'val' if number > 5 else 'train'},{value},{-value}")
    path.write_text("\n".join(lines) + "\n")
    return path


def fit(
    root: Path, upstream: Artifact, labels: Path, network: str, task: str, options: list[str], **how: Any
) -> Result:
    config = FinetuneConfig(
        task=task, network=network, weights="random",
        option=[*SMALL[network], "epochs=3", "batch_size=8", "warmup_steps=0", *options],
    )  # fmt: skip
    return finetune(Cache(root), upstream, labels, config, Runtime(progress=False, workers=1), device="cpu", **how)


def score_again(done: Result, upstream: Artifact, labels: Path) -> float:
    """The validation score by what was saved."""
    saved = open_network(done.artifact.path)
    known = read_labels(labels, saved.header.task)
    held = saved.network.units(upstream, ["c6", "c7"], known, "midpoint", False)
    which = np.flatnonzero(labelled(held))
    task = saved.header.task
    raw = row_scores(saved.module, held, which, task.outputs, saved.network.options, alone("cpu"), 1)
    rows = np.isfinite(raw).all(axis=1) & np.isfinite(held.labels).all(axis=1)
    return metrics.main(task, held.labels[rows], metrics.probabilities(task, raw[rows]))


CASES = [
    ("pyramid", "expr", ["dropout=0.2", "augment=0.2", "channels_last=true"]),
    ("pyramid", "va", ["accumulate=2", "trainable_blocks=2", "checkpointing=true"]),
    ("speech", "va", ["augment=0.5", "accumulate=2", "trainable_blocks=2", "hop=1"]),
]


@pytest.mark.parametrize(("network", "task", "options"), CASES)
def test_networks_go_on_after_a_kill_and_are_what_was_saved(
    network: str, task: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if network == "speech":
        upstream, labels = sound(tmp_path / "in"), pitch_labels(tmp_path / "labels.csv")
    else:
        make = expr_labels if task == "expr" else va_labels
        upstream, labels = crops(tmp_path / "in"), make(tmp_path / "labels.csv")
    whole = fit(tmp_path / "whole", upstream, labels, network, task, options)
    assert score_again(whole, upstream, labels) == pytest.approx(whole.report["val_score"]["mean"], abs=1e-6)
    plain = engine.Trainer.epoch

    class Killed(Exception):
        pass

    def killed(trainer: Any) -> Any:
        if len(trainer.run.history) == 2:
            raise Killed
        return plain(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "epoch", killed)
        with pytest.raises(Killed):
            fit(tmp_path / "cache", upstream, labels, network, task, options)
    epochs: list[int] = []

    def counted(trainer: Any) -> Any:
        epochs.append(len(trainer.run.history))
        return plain(trainer)

    monkeypatch.setattr(engine.Trainer, "epoch", counted)
    done = fit(tmp_path / "cache", upstream, labels, network, task, options)
    assert epochs == [2]
    file = "network.safetensors"
    assert (done.artifact.path / file).read_bytes() == (whole.artifact.path / file).read_bytes()
    assert done.report == whole.report


@pytest.mark.slow
def test_sound_is_learnt_from(tmp_path: Path) -> None:
    labels = pitch_labels(tmp_path / "labels.csv")
    upstream = sound(tmp_path / "in")
    done = fit(tmp_path / "cache", upstream, labels, "speech", "va", ["epochs=12", "learning_rate=0.005"])
    history = [json.loads(line) for line in (done.artifact.path / "history.jsonl").read_text().splitlines()]
    assert done.report["val_score"]["mean"] > 0.5
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert [step["stage"] for step in done.artifact.stage.provenance["features"][0]] == ["audio"]


def test_clips_learn_along_from_labels_over_time(tmp_path: Path) -> None:
    """TLHN's: a class a clip, with valence and arousal, from labels a frame, as one label a clip."""
    upstream = crops(tmp_path / "in")
    names = tasks.get("compound").targets
    lines = [f"c{n},{'val' if n > 5 else 'train'},{names[n % 7]}" for n in range(8)]
    (tmp_path / "compound.csv").write_text("clip,split,label\n" + "\n".join(lines) + "\n")
    along = AuxiliarySource(Features(upstream), va_labels(tmp_path / "va.csv"), tasks.get("va"))
    done = fit(
        tmp_path / "cache", upstream, tmp_path / "compound.csv", "pyramid", "compound", ["epochs=1", "preset=tlhn"],
        auxiliary=[along],
    )  # fmt: skip
    header = open_network(done.artifact.path).header
    assert [one.count for one in header.outputs] == [7, 2] and header.auxiliary[0].level == "clip"
    assert done.report["units"]["train"] >= 6
