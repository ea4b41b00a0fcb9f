"""Figures of evaluate: which there are, what they show, and that they are the same bytes each time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from stage_calls import evaluate, fuse

from affectkit import tasks
from affectkit.errors import MissingExtra, UsageError
from affectkit.stages import figures
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.fuse import FuseConfig
from affectkit.stages.scoring import reliability
from affectkit.stages.stage import Result
from affectkit.store import Cache
from affectkit.tasks import Task


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: quicker."""
    monkeypatch.setitem(figures.STYLE, "savefig.dpi", 60)


CLIPS = ["a/1", "a/2", "b/1", "b/2", "c"]


def files(folder: Path, task: Task, rows: int = 8) -> tuple[Path, Path]:
    """Predictions and labels of five clips; each clip is worse than the one before."""
    random = np.random.default_rng(0)
    times = task.level == "time"
    head = "clip," + ("start,end," if times else "") + "split,"
    labels, given = [head + ",".join(task.label_columns)], [head + ",".join(task.targets)]
    for number, clip in enumerate(CLIPS):
        for row in range(rows if times else 1):
            if task.kind == "regression":
                truth = random.uniform(-1, 1, task.outputs)
                scores = truth + random.normal(0, 0.05 + 0.4 * number, task.outputs)
            elif task.kind == "multilabel":
                truth = random.integers(2, size=task.outputs)
                scores = np.clip(truth * 0.6 + 0.2 + random.normal(0, 0.05 + 0.2 * number, task.outputs), 0, 1)
            else:
                truth = random.integers(task.outputs, size=1)
                scores = np.eye(task.outputs)[truth[0]] + random.random(task.outputs) * (0.1 + number)
                scores = scores / scores.sum()
            start = f"{clip},{row / 5},{(row + 1) / 5},test," if times else f"{clip},test,"
            labels.append(start + ",".join(str(value) for value in truth))
            given.append(start + ",".join(repr(float(value)) for value in scores))
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "given.csv").write_text("\n".join(given) + "\n")
    return folder / "given.csv", folder / "labels.csv"


def drawn(cache: Cache, folder: Path, name: str, **fields: Any) -> tuple[Result, set[str]]:
    config = EvaluateConfig(**{"task": name, "figures": True, "draws": 20} | fields)
    done = evaluate(cache, *files(folder, tasks.get(name)), config)
    made = {path.name for path in (done.artifact.path / "figures").iterdir()}
    stems = {name.partition(".")[0] for name in made}
    assert made == {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")}
    return done, stems


@pytest.mark.parametrize(
    ("name", "clips", "expected"),
    [
        ("va", "b/*", {"scores", "per_clip", "over_time_01", "over_time_02"}),
        ("expr", "c", {"scores", "per_clip", "confusion", "reliability", "over_time_01"}),
        pytest.param("au", "c", {"scores", "per_clip", "reliability", "over_time_01"}, marks=pytest.mark.slow),
        ("eri", None, {"scores", "predicted_true"}),
        ("compound", None, {"scores", "confusion", "reliability"}),
    ],
)
def test_each_task_has_its_figures(
    cache: Cache, tmp_path: Path, name: str, clips: str | None, expected: set[str]
) -> None:
    from PIL import Image

    done, made = drawn(cache, tmp_path, name, draw_clips=clips)
    assert made == expected
    for stem in made:
        with Image.open(done.artifact.path / "figures" / f"{stem}.png") as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 60
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edge == 255).all()  # nothing is cut off
        assert (pixels < 128).any()


def test_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        with matplotlib.rc_context(figures.STYLE):
            figures.save(figures.confusion(["x", "y"], np.array([[8, 2], [0, 3]])), tmp_path / folder / "figure")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name
        assert b"<dc:date>" not in path.read_bytes()


def test_without_the_option_nothing_is_drawn(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = evaluate(cache, *files(tmp_path, tasks.get("va")), EvaluateConfig(task="va", draws=20))
    assert not (plain.artifact.path / "figures").exists()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"drawing figures needs .*affectkit\[figures\]"):
        drawn(cache, tmp_path, "va")
    assert len(list(cache.root.glob("evaluate/*"))) == 1


def test_clips_to_draw(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--draw-clips 'x\*' matches none of 5 scored clips"):
        drawn(cache, tmp_path, "va", draw_clips="x*")
    va, scores = tasks.get("va"), {"low": 0.1, "high": 0.9, "mid": 0.5, "other": 0.6}
    assert list(figures.chosen(va, scores, None)) == ["high", "other", "low"]
    assert figures.chosen(va, scores, None)["low"] == "worst of 4 clips: ccc 0.100"
    by_error = va.model_copy(update={"metric": "mae"})
    assert list(figures.chosen(by_error, scores, None)) == ["low", "mid", "high"]
    assert list(figures.chosen(va, {"only": 0.3}, None)) == ["only"]
    with pytest.raises(UsageError, match="at most 20 are drawn"):
        figures.chosen(va, {f"clip{number}": 0.0 for number in range(21)}, "*")


def lines(figure: Any) -> Iterator[tuple[str, np.ndarray]]:
    for axes in figure.axes:
        for line in axes.lines:
            yield str(line.get_label()), np.asarray(line.get_ydata(), float)


def test_a_gap_in_the_rows_is_a_gap_in_the_line() -> None:
    time = np.array([0.0, 0.2, 0.4, 5.0, 5.2])
    at, values = figures._with_gaps(time, np.full(5, 0.2), np.arange(5.0))
    assert np.isnan(at).tolist() == [False, False, False, True, False, False]
    assert np.isnan(values[3])
    even, same = figures._with_gaps(time[:3], np.full(3, 0.2), np.arange(3.0))
    assert np.array_equal(even, time[:3])
    assert np.array_equal(same, np.arange(3.0))


def test_what_the_figures_show() -> None:
    rows = np.array([[8, 2], [0, 0]])
    texts = [text.get_text() for text in figures.confusion(["Neutral", "Anger"], rows).axes[0].texts]
    assert texts == ["80 %\n8", "20 %\n2", "0", "0"]
    curve = reliability([0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1])
    figure = figures.reliability({"top class": curve})
    assert figure.axes[0].get_title() == "top class: ECE 0.250"
    assert any(np.array_equal(values, [0.5, 1.0]) for _, values in lines(figure))
    figure = figures.per_clip(tasks.get("va"), {"x": 0.5, "y": 0.1}, 0.7)
    assert [label for label, _ in lines(figure)][1:] == ["pooled over all rows: 0.700", "mean over clips: 0.300"]


def test_weights_of_a_fusion(cache: Cache, tmp_path: Path) -> None:
    va = tasks.get("va")
    assert figures.fused_weights(tmp_path) is None
    predictions, labels = files(tmp_path, va)
    second = tmp_path / "second.csv"
    second.write_text(predictions.read_text())
    (tmp_path / "splits.csv").write_text("clip,split\na/1,val\na/2,val\nb/1,val\nb/2,test\nc,test\n")
    splits = tmp_path / "splits.csv"
    config = FuseConfig(task="va", option=["draws=20"])
    fused = fuse(cache, [predictions, second], labels, config, splits=splits)
    drawing = EvaluateConfig(task="va", figures=True, draws=20, draw_clips="c")
    done = evaluate(cache, fused.artifact.path, labels, drawing, splits=splits)
    assert (done.artifact.path / "figures" / "weights.svg").exists()
    models, weights = figures.fused_weights(fused.artifact.path) or ([], np.zeros(0))
    assert models == ["given.csv", "second.csv"]
    assert weights.tolist() == fused.report["fuser"]["weights"]
    texts = [text.get_text() for text in figures.weights(va, models, weights).axes[0].texts]
    assert texts == [f"{weight:.2f}" for weight in weights.ravel()]


def test_models_of_one_name_are_numbered_and_other_fusions_have_no_weights(tmp_path: Path) -> None:
    report: dict[str, Any] = {
        "partly_missing": {"a/x.csv": [], "b/x.csv": []}, "fuser": {"weights": [[0.9], [0.1]]}, "in_sample": {},
        "fitted_on": {"split": "val", "rows": 2, "clips": 1}, "held_out": {"rows": 0, "clips": 0, "how": "test clips"},
    }  # fmt: skip
    (tmp_path / "fuser.json").write_text(json.dumps(report))
    models, weights = figures.fused_weights(tmp_path) or ([], np.zeros(0))
    assert (models, weights.tolist()) == (["model 1", "model 2"], [[0.9], [0.1]])
    (tmp_path / "fuser.json").write_text(json.dumps(report | {"fuser": {"trees": 20}}))
    assert figures.fused_weights(tmp_path) is None
