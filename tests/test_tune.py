"""train-head --tune: what is searched, that the planted best is found, and that a search can be gone on with."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import Field
from stage_calls import train

from affectkit import plugins, tasks
from affectkit.config import Config, Runtime
from affectkit.errors import MissingExtra, UsageError
from affectkit.heads.lstm import Lstm
from affectkit.plugins import Epoch
from affectkit.stages import tune as tune_module
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.tune import Tuned, tune
from affectkit.store import Artifact, Cache, Features, features_schema, write_table

RUNTIME = Runtime(workers=1, progress=False)
ROWS, FPS = 20, 5
SPLITS = {"a": "train", "b": "train", "c": "val", "d": "test"}
FITTED: list[Any] = []  # the options of every head that was fitted


class Hill:
    """A head whose validation score is known: highest at height=3, steep=true; too high is refused."""

    version: ClassVar[int] = 1

    class Options(Config):
        height: float = Field(0.0, ge=-100, le=100, description="best is 3")
        steep: bool = Field(False, description="best is true")
        layers: int = Field(1, ge=1, le=9, description="of no effect")
        epochs: int = Field(1, ge=1, description="the score grows with them")

    def __init__(self, options: Any, task: Any) -> None:
        self.options, self.task = options, task

    def fit(self, train: Any, val: Any, *, monitor: Callable[[Epoch], None], **others: Any) -> list[Epoch]:
        assert {one.clip for one in train} == {"a", "b"} and {one.clip for one in val} == {"c"}
        FITTED.append(self.options)
        if self.options.height > 50:
            raise UsageError("too high")
        top = 1 - abs(self.options.height - 3) / 100 + 0.1 * self.options.steep
        history = []
        for epoch in range(1, self.options.epochs + 1):
            score = top * epoch / self.options.epochs
            history.append(Epoch(epoch, self.options.epochs, 0.0, score, score))
            monitor(history[-1])
        return history

    def save(self, folder: Path) -> None:
        (folder / "hill").touch()


@pytest.fixture(autouse=True)
def hill(monkeypatch: pytest.MonkeyPatch) -> None:
    FITTED.clear()
    real = plugins.get
    monkeypatch.setattr(plugins, "get", lambda group, name: Hill if name == "hill" else real(group, name))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    rng = np.random.default_rng(0)
    start = np.arange(ROWS) / FPS
    about = {"start": start, "end": start + 1 / FPS, "valid": np.ones(ROWS, bool)}
    records = [(clip, clip, about | {"values": rng.normal(size=(ROWS, 3))}) for clip in SPLITS]
    table = features_schema(3)
    write = partial(write_table, schema=table, records=records)
    return Cache(tmp_path_factory.mktemp("features")).create_whole("embed", "x", {"stage": "embed"}, write, table=table)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "va.csv")


def write_labels(path: Path, seed: int = 0, test_seed: int = 0) -> Path:
    lines = ["clip,start,end,split,valence,arousal"]
    for clip, split in SPLITS.items():
        rng = np.random.default_rng(test_seed if split == "test" else seed)
        for row, (valence, arousal) in enumerate(rng.uniform(-1, 1, (ROWS, 2))):
            lines.append(f"{clip},{row / FPS},{(row + 1) / FPS},{split},{valence:.3f},{arousal:.3f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def search(
    cache: Cache, features: Artifact, labels: Path, trials: int, *texts: str, option: Sequence[str] = (),
    head: str = "hill", **fields: Any,
) -> Tuned:  # fmt: skip
    config = TrainConfig(task="va", head=head, option=list(option), **fields)
    return tune(cache, [Features(features)], labels, config, RUNTIME, trials=trials, search=texts, device="cpu")


def test_a_planted_best_is_found(cache: Cache, features: Artifact, labels: Path) -> None:
    found = search(cache, features, labels, 18, "height=-20..20", "steep=false,true", option=["epochs=7"])
    options = dict(item.split("=") for item in found.options)
    assert options["steep"] == "true"
    assert abs(float(options["height"]) - 3) < 2
    assert found.config.option == ["epochs=7", *found.options]
    assert (found.trials, found.computed, found.failed) == (18, 18, 0)
    assert 0 < found.pruned < 13  # the score grows alike in all trials, so the worse ones are seen early
    assert found.score == pytest.approx(1.1 - abs(float(options["height"]) - 3) / 100)
    assert json.loads(json.dumps(found.report))["trials"]["all"] == 18


def test_the_best_options_train_the_head_that_they_would_if_typed(
    cache: Cache, features: Artifact, labels: Path
) -> None:
    found = search(cache, features, labels, 5, "height=-20..20", option=["layers=2"])
    assert found.config.option[0] == "layers=2"
    assert {options.layers for options in FITTED} == {2}
    tuned = train(cache, [Features(features)], labels, found.config, RUNTIME, device="cpu")
    typed = TrainConfig(task="va", head="hill", option=["layers=2", found.options[0]])
    again = train(cache, [Features(features)], labels, typed, RUNTIME, device="cpu")
    assert (tuned.cached, again.cached, again.artifact.path) == (False, True, tuned.artifact.path)
    assert tuned.report["val_score"]["mean"] == pytest.approx(found.score)


def test_a_search_goes_on_where_it_was_and_costs_nothing_when_it_is_done(
    cache: Cache, features: Artifact, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(Cache(cache.root / "whole"), features, labels, 13, "height=-20..20", "layers=1..4")
    expected = [(one.height, one.layers) for one in FITTED]
    FITTED.clear()
    real, killed = Hill.fit, [4, 9]

    def fit(self: Hill, *arguments: Any, **others: Any) -> list[Epoch]:
        if killed and len(FITTED) == killed[0]:
            killed.pop(0)
            raise KeyboardInterrupt
        return real(self, *arguments, **others)

    monkeypatch.setattr(Hill, "fit", fit)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(cache, features, labels, 13, "height=-20..20", "layers=1..4")
    resumed = search(cache, features, labels, 13, "height=-20..20", "layers=1..4")
    assert resumed.computed == 4
    assert [(one.height, one.layers) for one in FITTED] == expected  # as if it had never stopped
    assert (resumed.options, resumed.score, resumed.pruned) == (whole.options, whole.score, whole.pruned)
    FITTED.clear()
    again = search(cache, features, labels, 13, "height=-20..20", "layers=1..4")
    assert (FITTED, again.computed, again.options) == ([], 0, resumed.options)
    fewer = search(cache, features, labels, 3, "height=-20..20", "layers=1..4")
    first = max(expected[:3], key=lambda tried: -abs(tried[0] - 3))
    assert (FITTED, fewer.trials) == ([], 3)
    assert fewer.options == [f"height={first[0]:g}", f"layers={first[1]}"]


@pytest.mark.parametrize("change", ["labels", "seed", "option", "search"])
def test_another_search_is_another_study(cache: Cache, features: Artifact, labels: Path, change: str) -> None:
    first = search(cache, features, labels, 2, "height=-20..20")
    fields: dict[str, Any] = {"seed": {"seed": 1}, "option": {"option": ["layers=2"]}}.get(change, {})
    if change == "labels":
        write_labels(labels, seed=1)
    text = "height=-20..30" if change == "search" else "height=-20..20"
    other = search(cache, features, labels, 2, text, **fields)
    assert (other.computed, other.study != first.study) == (2, True)


def test_labels_of_the_test_clips_change_nothing(cache: Cache, features: Artifact, labels: Path) -> None:
    first = search(cache, features, labels, 3, "height=-20..20")
    write_labels(labels, test_seed=9)
    again = search(cache, features, labels, 3, "height=-20..20")
    assert (again.computed, again.study) == (0, first.study)


def test_lists_are_gone_through_once_each(cache: Cache, features: Artifact, labels: Path) -> None:
    texts = ("height=1,5,4", "steep=false,true")
    some = search(cache, features, labels, 2, *texts)
    assert (some.trials, some.options) == (2, ["height=1", "steep=true"])
    found = search(cache, features, labels, 99, *texts)
    assert (found.trials, found.computed, found.pruned) == (6, 4, 0)
    assert [(one.height, one.steep) for one in FITTED] == [(h, s) for h in (1, 5, 4) for s in (False, True)]
    assert found.options == ["height=4", "steep=true"]
    assert search(cache, features, labels, 6, *texts).computed == 0


def test_options_that_cannot_be_trained_are_passed_over(cache: Cache, features: Artifact, labels: Path) -> None:
    found = search(cache, features, labels, 3, "height=60,2,70")
    assert (found.options, found.trials, found.failed) == (["height=2"], 3, 2)
    drawn = search(cache, features, labels, 12, "height=-90..90")
    assert 0 < drawn.failed == sum(one.height > 50 for one in FITTED[3:]) < 12
    assert search(cache, features, labels, 12, "height=-90..90").computed == 0
    with pytest.raises(UsageError, match="none of 2 trials could be trained; the last: too high"):
        search(cache, features, labels, 2, "height=60,70")


def test_an_error_is_better_when_lower(cache: Cache, features: Artifact, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nkind = "regression"\nlevel = "time"\ntargets = ["valence", "arousal"]\nmetric = "mae"\n'
    )
    config = TrainConfig(task=str(tmp_path / "mine.toml"), head="hill")
    found = tune(
        cache, [Features(features)], labels, config, RUNTIME, trials=9, search=["height=1,40,3"], device="cpu"
    )  # fmt: skip
    assert found.options == ["height=40"]


# What is searched


@pytest.mark.parametrize("head", plugins.names("heads"))
@pytest.mark.parametrize("task", ["va", "eri"])
def test_every_head_has_a_search_of_its_own(head: str, task: str) -> None:
    plugin = plugins.get("heads", head)
    space = tune_module.space(plugin, head, tasks.get(task), [], [])
    assert space
    if "learning_rate" in plugin.Options.model_fields:
        assert "learning_rate" in space
    assert ("window" in space) == (task == "va" and "window" in plugin.Options.model_fields)
    for pick in (0, -1):
        chosen = {key: values.tried[pick] for key, values in space.items()}
        plugins.parse_options(plugin, tune_module.typed(chosen), head)
    for key in set(space) - {tune_module.STRIDE_SHARE}:
        left = [one for one in space if one != key and (key, one) != ("window", tune_module.STRIDE_SHARE)]
        if left:
            assert list(tune_module.space(plugin, head, tasks.get(task), [f"{key}={space[key].tried[0]}"], [])) == left


@pytest.mark.parametrize("head", ["functionals", "kernel-elm"])
def test_heads_without_epochs_are_tuned_as_well(cache: Cache, features: Artifact, labels: Path, head: str) -> None:
    found = search(cache, features, labels, 3, head=head)
    assert (found.trials, found.computed) == (3, 3)
    assert found.failed < 3
    trained = train(cache, [Features(features)], labels, found.config, RUNTIME, device="cpu")
    assert trained.report["val_score"]["mean"] == pytest.approx(found.score, abs=1e-6)


def test_options_within_options_are_searched() -> None:
    found = tune_module.space(
        plugins.get("heads", "functionals"), "functionals", tasks.get("va"), [], ["params.alpha=1..9"]
    )
    assert list(found) == ["params.alpha"]


def test_search_texts() -> None:
    va = tasks.get("va")
    found = tune_module.space(
        Lstm, "lstm", va, [], ["hidden=8..64:log", "window=2,4", "stride-share=0.5,1", "dropout=0..0.5"]
    )
    assert {key: str(values) for key, values in found.items()} == {
        "hidden": "8..64:log", "window": "2,4", "stride-share": "0.5,1", "dropout": "0.0..0.5",
    }  # fmt: skip
    for texts, fixed, match in (
        (["hiden=1,2"], [], "did you mean 'hidden'"),
        (["hidden=8..x"], [], "ends of a range are numbers"),
        (["hidden=9..8"], [], "low < high"),
        (["dropout=0..0.5:log"], [], "0 < low < high"),
        (["dropout=0..0.5:lin"], [], "low < high"),
        (["hidden=8..99999"], [], "hidden"),
        (["normalise=none,never"], [], "normalise"),
        (["hidden=1,2"], ["hidden=3"], "-o hidden=... fixes it"),
        (["hidden=1,2", "hidden=3,4"], [], "given twice"),
        (["hidden=1,,2"], [], "empty value"),
        (["hidden"], [], "neither"),
        (["stride-share=0.5"], [], "needs --search window"),
        (["stride-share=0.5", "window=2,clip"], [], "in seconds"),
        (["stride-share=0.5,1.5", "window=2,4"], [], "at most 1"),
    ):
        with pytest.raises(UsageError, match=match.replace(".", r"\.")):
            tune_module.space(Lstm, "lstm", va, fixed, texts)
    with pytest.raises(UsageError, match="nothing of hill is left"):
        tune_module.space(Hill, "hill", va, ["layers=1"], [])


def test_without_optuna(
    cache: Cache, features: Artifact, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"affectkit\[tune\]"):
        search(cache, features, labels, 1)


def test_a_file_that_is_no_study_is_refused(cache: Cache, features: Artifact, labels: Path) -> None:
    study = search(cache, features, labels, 1, "height=1,2").study
    study.write_bytes(b"not a database" * 1000)
    with pytest.raises(UsageError, match="delete it"):
        search(cache, features, labels, 2, "height=1,2")


# A real head


def test_the_command_line(affectkit: Any, features: Artifact, labels: Path) -> None:
    line = ["train-head", features.path, "--labels", labels, "--task", "va", "--head", "lstm", "-o", "epochs=2"]
    sweep = ["--tune", "3", "--search", "window=1,2,4", "--search", "hidden=4"]
    done = affectkit(*line, *sweep, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["tuned"]["trials"]["all"], said["tuned"]["trials"]["now"]) == (3, 3)
    assert "tuned over 3 trials" in done.stderr and "optimistic" in done.stderr
    assert said["val_score"]["mean"] == pytest.approx(said["tuned"]["val"], abs=1e-6)
    typed = [word for option in said["tuned"]["options"] for word in ("-o", option)]
    assert affectkit(*line, *typed).stdout.strip() == said["artifact"]
    again = affectkit(*line, *sweep)
    assert again.stdout.strip() == said["artifact"]
    assert "0 now" in again.stderr
    drawn = affectkit(*line, "--tune", "1")
    assert drawn.returncode == 0, drawn.stderr
    assert "-o learning_rate=" in drawn.stderr
    for words, message in ((["--search", "window=1,2"], "--tune"), (["--tune", "0"], "--tune")):
        wrong = affectkit(*line, *words)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert message in wrong.stderr


@pytest.mark.slow
def test_a_killed_search_keeps_its_trials(child: Any, features: Artifact, labels: Path) -> None:
    line = ["train-head", features.path, "--labels", labels, "--task", "va", "--head", "mlp", "-o", "epochs=3"]
    tuned = [*line, "--tune", "12", "--search", "hidden=4..64", "--json"]
    whole = json.loads(child(*tuned, "--cache", "whole").stdout)
    words = [sys.executable, "-m", "affectkit", *map(str, tuned), "--cache", "killed"]
    process = subprocess.Popen(words, cwd=child.folder, env=child.environment, stdout=subprocess.DEVNULL)
    finished = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
    for _ in range(1000):
        time.sleep(0.05)
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(study_in(child.folder), uri=True)) as study,
        ):
            if study.execute(finished).fetchone()[0] >= 3:
                break
    process.kill()
    process.wait()
    resumed = json.loads(child(*tuned, "--cache", "killed").stdout)
    assert 0 < resumed["tuned"]["trials"]["now"] <= 9
    assert resumed["tuned"]["options"] == whole["tuned"]["options"]
    assert Path(resumed["artifact"]).name == Path(whole["artifact"]).name


def study_in(folder: Path) -> str:
    return f"file:{next((folder / 'killed').glob('tune/*/study.db'), folder / 'none')}?mode=ro"
