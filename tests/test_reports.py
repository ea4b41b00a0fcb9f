"""Reports that are cut off, forged or no files: those that can be computed again are, the others are one line."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stage_calls import compare, evaluate, fuse

from affectkit.errors import HostileFile, Notice
from affectkit.stages.compare import CompareConfig
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.fuse import FuseConfig
from affectkit.stages.reports import TrainedShape, history_of, read_report
from affectkit.store import Cache, NotMade

Remake = Callable[[Cache], Any]


def _table(path: Path, noise: float, seed: int) -> Path:
    random, lines = np.random.default_rng(seed), ["clip,start,end,split,valence,arousal"]
    for clip in range(6):
        for row in range(12):
            valence, arousal = np.sin(row + clip) + random.normal(0, noise, 2)
            lines.append(f"c{clip},{row},{row + 1},val,{valence:.6f},{arousal:.6f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(params=["evaluate", "against", "compare", "fuse"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Remake:
    labels = _table(tmp_path / "labels.csv", 0, 0)
    one, two = (_table(tmp_path / f"{n}.csv", 0.5, n) for n in (1, 2))
    scored = EvaluateConfig(task="va", draws=20)
    stages: dict[str, Remake] = {
        "evaluate": lambda cache: evaluate(cache, one, labels, scored),
        "against": lambda cache: evaluate(cache, one, labels, scored, against=two),
        "compare": lambda cache: compare(cache, [one, two], labels, CompareConfig(task="va", draws=20)),
        "fuse": lambda cache: fuse(cache, [one, two], labels, FuseConfig(task="va", method="equal")),
    }
    return stages[request.param]


def _report(folder: Path) -> Path:
    return next(file for file in folder.glob("*.json") if file.name not in ("stage.json", "clips.json"))


def _replaced(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


def _edited(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        report = json.loads(file.read_text())
        edit(report)
        file.write_text(json.dumps(report))

    return damage


def _shuffle(report: dict[str, Any]) -> None:
    """Every value becomes one of another kind."""
    for key, value in report.items():
        report[key] = [1] if isinstance(value, dict) else {"a": 1}


DAMAGE: dict[str, Callable[[Path], None]] = {
    "missing": lambda file: file.unlink(),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "empty": lambda file: file.write_bytes(b""),
    "a list": lambda file: file.write_text("[]"),
    "nothing": lambda file: file.write_text("{}"),
    "deep": lambda file: file.write_text('{"a":' * 100_000),
    "long integer": lambda file: file.write_text('{"a": ' + "1" * 5000 + "}"),
    "bytes": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "pipe": _replaced(os.mkfifo),
    "folder": _replaced(Path.mkdir),
    "link": _replaced(lambda file: file.symlink_to("/etc/passwd")),
    "device": _replaced(lambda file: file.symlink_to("/dev/zero")),
    "other kinds": _edited(_shuffle),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_report_that_cannot_be_used_is_made_again(kind: str, stage: Remake, cache: Cache) -> None:
    first = stage(cache)
    DAMAGE[kind](_report(first.artifact.path))
    with pytest.raises(NotMade):
        stage(Cache(cache.root, dry=True))
    with pytest.warns(Notice, match="made again") as told:
        again = stage(cache)
    assert len([one for one in told if issubclass(one.category, Notice)]) == 1
    assert again.report == first.report
    assert again.artifact.path == first.artifact.path
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stage(cache).report == json.loads(json.dumps(first.report))
    assert not list(cache.root.rglob(".tmp-*"))


TRAINED = {
    "task": {}, "val_score": {"metric": "ccc", "mean": float("nan"), "deviation": 0.0, "seeds": {"0": 0.5}},
    "clips": {"train": 3, "val": 2, "left_out": []}, "splits": {"a": "train"},
}  # fmt: skip


def test_what_was_trained_is_never_thrown_away_for_its_report(tmp_path: Path) -> None:
    file = tmp_path / "head.json"
    file.write_text(json.dumps(TRAINED))
    assert read_report(file, TrainedShape)["splits"] == {"a": "train"}
    for kind, damage in DAMAGE.items():
        if kind == "missing":
            continue
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
        file.write_text(json.dumps(TRAINED))
        damage(file)
        with pytest.raises(HostileFile) as caught:
            read_report(file, TrainedShape)
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}\n", '{"best": "x"}\n', "[1]\n", '{"best": 0.5}\n{"best"', "\n"])
def test_a_history_that_cannot_be_used_is_one_line(text: str, tmp_path: Path) -> None:
    (file := tmp_path / "history.jsonl").write_text(text)
    with pytest.raises(HostileFile, match="is not a history") as caught:
        history_of(file)
    assert "\n" not in str(caught.value)
    line = '{"epoch": 1, "epochs": 1, "loss": 0.5, "score": %s, "best": %s}\n'
    file.write_text(line % (0.25, 0.25) + line % ("NaN", "NaN"))
    assert np.isnan(history_of(file)[-1].best)
