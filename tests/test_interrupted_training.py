"""train-head that is killed or interrupted: what it keeps, how it goes on, and what is left in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import child_environment
from stage_calls import predict, train

from affectkit.config import Runtime
from affectkit.errors import HostileFile, MissingExtra, UsageError
from affectkit.heads import lstm
from affectkit.plugins import Epoch
from affectkit.stages.resumable import Stopped
from affectkit.stages.stage import Result
from affectkit.stages.train_head import TrainConfig
from affectkit.store import Artifact, Cache, Features, atomic, features_schema
from affectkit.store.upkeep import leftovers, remove

torch = pytest.importorskip("torch")
from affectkit.training import resume  # noqa: E402

ROWS, DIM, EPOCHS = 12, 4, 5
OPTIONS = ["hidden=8", f"epochs={EPOCHS}", "learning_rate=0.01"]
RUNTIME = Runtime(progress=False)


def write_features(root: Path) -> Artifact:
    """Eight clips whose features are a mixture of valence and arousal."""
    artifact = Cache(root).create("embed", "planted", {"planted": 1}, features_schema(DIM, "float32"))
    part = artifact.new_part()
    for number in range(8):
        rng = np.random.default_rng(number)
        start = np.arange(ROWS) / 5
        values = (curves(number) @ np.eye(2, DIM) + 0.1 * rng.normal(size=(ROWS, DIM))).astype(np.float32)
        part.append({"start": start, "end": start + 0.2, "valid": np.ones(ROWS, np.uint8), "values": values})
        part.end(f"c{number}", f"{number:064x}")
    part.commit()
    artifact.seal()
    return artifact


def curves(number: int) -> np.ndarray:
    t = np.arange(ROWS) / 5
    return 0.8 * np.stack([np.sin(t * 2 + number), np.cos(t * 3 + number)], axis=1)


def write_labels(path: Path) -> Path:
    lines = ["clip,start,end,split,valence,arousal"]
    for number in range(8):
        split = "train" if number < 6 else "val"
        for row, (valence, arousal) in enumerate(curves(number)):
            lines.append(f"c{number},{row / 5},{(row + 1) / 5},{split},{valence:.4f},{arousal:.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(autouse=True)
def _every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)
    monkeypatch.setattr(atomic, "fsync", lambda path: None)  # no power is lost here, and it takes long


@pytest.fixture
def features(tmp_path: Path) -> Artifact:
    return write_features(tmp_path / "features")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "va.csv")


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, int]]]:
    """end(seed, epoch, error): training ends after that epoch of that seed; returns the epochs trained since."""
    plain = lstm.Lstm.fit

    def prepare(at_seed: int | None = None, at_epoch: int = 0, error: type[BaseException] = Killed) -> Any:
        trained: list[tuple[int, int]] = []

        def fit(self: Any, *data: Any, seed: int, monitor: Any, **how: Any) -> Any:
            def watched(epoch: Epoch) -> None:
                monitor(epoch)
                trained.append((seed, epoch.epoch))
                if (seed, epoch.epoch) == (at_seed, at_epoch):
                    raise error

            return plain(self, *data, seed=seed, monitor=watched, **how)

        monkeypatch.setattr(lstm.Lstm, "fit", fit)
        return trained

    return prepare


def fit(root: Path, features: Artifact, labels: Path, out: Path | None = None, **fields: Any) -> Result:
    tensorboard = fields.pop("tensorboard", None)
    config = TrainConfig(**{"task": "va", "head": "lstm", "option": OPTIONS, "seeds": 3} | fields)
    return train(
        Cache(root), [Features(features)], labels, config, RUNTIME, device="cpu", out=out, tensorboard=tensorboard
    )


def contents(artifact: Artifact) -> dict[str, Any]:
    """All files of a head, but for times."""
    found: dict[str, Any] = {}
    for path in sorted(artifact.path.rglob("*")):
        name = str(path.relative_to(artifact.path))
        if path.name == "history.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert all(line.pop("seconds") > 0 for line in lines)
            found[name] = lines
        elif path.is_file() and path.name != "stage.json":
            found[name] = path.read_bytes()
    return found


def states(root: Path) -> list[Path]:
    return sorted(root.glob("**/.*.state"))


ALL = [(seed, epoch) for seed in range(3) for epoch in range(1, EPOCHS + 1)]


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_killed_training_goes_on_where_it_was(
    by_hand: bool, tmp_path: Path, features: Artifact, labels: Path, end: Any
) -> None:
    whole = fit(tmp_path / "whole", features, labels)
    root = tmp_path / "cache"
    out = tmp_path / "outs" / "model" if by_hand else None
    assert len(contents(whole.artifact)) == 3 * 3 + 1
    for stop in [(0, 2), (1, EPOCHS), (2, 3)]:
        end(*stop)
        with pytest.raises(Killed):
            fit(root, features, labels, out)
        assert not list(root.glob("train-head/lstm*"))
        (state,) = states(tmp_path / "outs" if by_hand else root)
        assert sorted(path.name for path in state.glob("seed_*")) == [f"seed_{seed}" for seed in range(stop[0])]
        assert [path.name for path in (state / "training").iterdir()] == [f"seed_{stop[0]}"]
    trained = end()
    done = fit(root, features, labels, out)
    assert trained == [(2, 4), (2, 5)]
    assert contents(done.artifact) == contents(whole.artifact)
    assert done.report == whole.report
    assert states(tmp_path) == []
    assert fit(root, features, labels, out).cached


def test_what_another_recipe_left_is_not_used(tmp_path: Path, features: Artifact, labels: Path, end: Any) -> None:
    out = tmp_path / "model"
    end(1, 2)
    with pytest.raises(Killed):
        fit(tmp_path, features, labels, out, seed=0)
    trained = end()
    other = [*OPTIONS[:-1], "learning_rate=0.02"]
    done = fit(tmp_path, features, labels, out, option=other)
    assert trained == ALL
    end()
    assert contents(done.artifact) == contents(fit(tmp_path / "again", features, labels, option=other).artifact)


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path, features: Artifact, labels: Path) -> None:
    (tmp_path / ".model.state").mkdir()
    (tmp_path / ".model.state" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"\.model\.state is needed .* move it away"):
        fit(tmp_path, features, labels, tmp_path / "model")
    assert (tmp_path / ".model.state" / "thesis.tex").exists()


def test_a_seed_that_was_being_kept_is_trained_again(
    tmp_path: Path, features: Artifact, labels: Path, end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the files of a finished seed."""
    from affectkit.stages import resumable

    def killed(path: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(resumable, "fsync", killed)
        with pytest.raises(Killed):
            fit(tmp_path / "cache", features, labels)
    trained = end()
    done = fit(tmp_path / "cache", features, labels)
    assert trained == ALL[EPOCHS:]  # the first goes on from its last epoch
    end()
    assert contents(done.artifact) == contents(fit(tmp_path / "whole", features, labels).artifact)


@pytest.mark.parametrize(
    ("stop", "seeds", "stopped"), [((0, 3), [0], {"after_epochs": 3}), ((2, 1), [0, 1], {"after_seeds": 2})]
)
def test_ctrl_c_leaves_a_head_that_predicts(
    stop: tuple[int, int], seeds: list[int], stopped: dict[str, int], tmp_path: Path, features: Artifact, labels: Path,
    end: Any,
) -> None:  # fmt: skip
    root = tmp_path / "cache"
    end(*stop, KeyboardInterrupt)
    with pytest.raises(Stopped) as caught:
        fit(root, features, labels, seeds=3)
    best = Artifact(caught.value.best)
    assert best.path == states(root)[0] / "best"
    report = json.loads((best.path / "head.json").read_text())
    assert (sorted(map(int, report["val_score"]["seeds"])), report["stopped"]) == (seeds, stopped)
    for seed in seeds:
        history = [json.loads(line) for line in (best.path / f"seed_{seed}" / "history.jsonl").read_text().splitlines()]
        assert len(history) == (3 if stop[0] == 0 else EPOCHS)
        assert report["val_score"]["seeds"][str(seed)] == max(epoch["score"] for epoch in history)
    done = predict(Cache(root), best, [Features(features)], RUNTIME, device="cpu")
    assert (done.computed, done.failed) == (8, ())
    assert [artifact.stage.stage for artifact in Cache(root).artifacts()] == ["predict"]  # nothing half-done is listed
    end()
    whole = fit(root, features, labels, seeds=3)
    assert "stopped" not in whole.report and states(root) == []


def test_ctrl_c_keeps_epochs_that_were_too_quick_to_be_written(
    tmp_path: Path, features: Artifact, labels: Path, end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SECONDS", 1e9)
    whole = fit(tmp_path / "whole", features, labels, seeds=1)
    end(0, 3, KeyboardInterrupt)
    with pytest.raises(Stopped) as caught:
        fit(tmp_path / "cache", features, labels, seeds=1)
    assert caught.value.after == "3 epochs"
    trained = end()
    done = fit(tmp_path / "cache", features, labels, seeds=1)
    assert trained == [(0, 4), (0, 5)] and contents(done.artifact) == contents(whole.artifact)


def test_ctrl_c_before_anything_is_plain(tmp_path: Path, features: Artifact, labels: Path, monkeypatch: Any) -> None:
    def interrupted(*args: Any, **how: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lstm.Lstm, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(tmp_path, features, labels)
    assert not isinstance(caught.value, Stopped)


def test_a_head_whose_report_is_damaged_is_an_error_and_loses_nothing(
    tmp_path: Path, features: Artifact, labels: Path
) -> None:
    whole = fit(tmp_path, features, labels, seeds=1)
    before = contents(whole.artifact)
    (whole.path / "head.json").write_text("{}")
    with pytest.raises(HostileFile, match=r"head\.json"):
        fit(tmp_path, features, labels, seeds=1)
    assert {name: content for name, content in contents(whole.artifact).items() if name != "head.json"} == {
        name: content for name, content in before.items() if name != "head.json"
    }


def test_gc_removes_what_nobody_goes_on_with(tmp_path: Path, features: Artifact, labels: Path, end: Any) -> None:
    end(0, 1)
    with pytest.raises(Killed):
        fit(tmp_path, features, labels)
    now = time.time()
    assert list(leftovers(Cache(tmp_path))) == []
    assert list(leftovers(Cache(tmp_path), 30, now + 29 * 86400)) == []
    (found,) = [one for one in leftovers(Cache(tmp_path), 30, now + 31 * 86400) if one.path.name.endswith(".state")]
    assert found.nbytes > 0 and "interrupted training" in found.why
    remove(found)
    assert states(tmp_path) == []


# ---- the command


SLOW = """
import sys, time
from affectkit.training import resume
from affectkit.heads.lstm import Lstm
resume.SECONDS, resume.SHARE = 0.0, 1e9
plain = Lstm.fit
def fit(self, *data, seed, monitor, **how):
    def slowly(epoch):
        monitor(epoch)
        print(seed, epoch.epoch, file=sys.stderr, flush=True)
        time.sleep(0.2)
    return plain(self, *data, seed=seed, monitor=slowly, **how)
Lstm.fit = fit
from affectkit.cli import main
sys.argv[0] = "affectkit"
main()
"""


def test_ctrl_c_and_the_same_command_again(tmp_path: Path, features: Artifact, labels: Path, affectkit: Any) -> None:
    options = [part for option in [*OPTIONS, "epochs=15"] for part in ("-o", option)]
    line = ["train-head", str(features.path), "--labels", str(labels), "--task", "va", "--head", "lstm", *options]
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, *line], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=child_environment(tmp_path),
    )  # fmt: skip
    assert child.stderr is not None
    told: list[str] = []
    for text in child.stderr:
        if text.strip() == "0 3":  # once more where Ctrl-C came while it was written
            if "0 3" not in told:
                os.kill(child.pid, signal.SIGINT)
            text = "0 3"
        if text not in told:
            told.append(text)
    assert child.wait() == 130
    child.communicate()
    assert told[-1] == "affectkit: interrupted; what was trained is kept, repeat the command to go on\n"
    assert "the best so far" in told[-2] and "kept: 3 epochs" in told[-3]
    best = told[-2].split()[-1]
    assert affectkit("predict", best, features.path, "--device", "cpu").returncode == 0
    done = affectkit(*line, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    history = Path(json.loads(done.stdout)["artifact"]) / "seed_0" / "history.jsonl"
    if not history.exists():
        history = tmp_path / history
    assert [json.loads(text)["epoch"] for text in history.read_text().splitlines()] == [*range(1, 16)]
    assert states(tmp_path) == []


# ---- TensorBoard


def test_curves_are_those_of_the_history(tmp_path: Path, features: Artifact, labels: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = fit(tmp_path / "cache", features, labels, seeds=2, tensorboard=tmp_path / "curves")
    plain = fit(tmp_path / "plain", features, labels, seeds=2)
    assert plain.artifact.path.name == done.artifact.path.name  # no part of the recipe
    for seed in (0, 1):
        events = accumulator.EventAccumulator(str(tmp_path / "curves" / f"seed_{seed}"))
        events.Reload()
        history = [
            json.loads(text)
            for text in (done.artifact.path / f"seed_{seed}" / "history.jsonl").read_text().splitlines()
        ]
        for tag, name in (("loss", "loss"), ("ccc", "score"), ("learning_rate", "learning_rate")):
            found = events.Scalars(tag)
            assert [one.step for one in found] == [epoch["epoch"] for epoch in history]
            np.testing.assert_allclose([one.value for one in found], [epoch[name] for epoch in history], rtol=1e-6)


def test_without_the_package_nothing_is_trained(
    tmp_path: Path, features: Artifact, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingExtra, match=r"affectkit\[tensorboard\]"):
            fit(tmp_path / "cache", features, labels, tensorboard=tmp_path / "curves")
    (tmp_path / "file").write_text("")
    pytest.importorskip("tensorboard")
    with pytest.raises(UsageError, match="file is not a folder"):
        fit(tmp_path / "cache", features, labels, tensorboard=tmp_path / "file")
    assert not (tmp_path / "cache").exists()
