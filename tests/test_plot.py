"""`affectkit plot`: what is drawn equals the numbers, in every format, and what cannot be drawn is said in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from recipe_factory import RECIPE, write_recipe, write_set
from scipy import stats

from affectkit import tasks
from affectkit.drawing import style
from affectkit.errors import UsageError
from affectkit.stages.plot_data import (
    LABELS,
    PlotData,
    PlotSet,
    PlotTrack,
    circumplex_rows,
    mean_interval,
    merged,
    sampled,
    spaghetti_of,
    uncovered,
)
from affectkit.tables.label_tables import read_labels
from affectkit.tables.predictions import read_predictions
from affectkit.tables.subjects import Subjects
from affectkit.tasks import Task
from affectkit.types import Predictions

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: quicker."""
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 60)


def write_tables(folder: Path, task: Task, clips: int = 4, rows: int = 10) -> tuple[Path, Path]:
    """Predictions and labels of clips of two subjects, a fifth of a second a row; the third row of the first clip has
    no score."""
    random = np.random.default_rng(0)
    times = task.level == "time"
    head = "clip," + ("start,end," if times else "")
    labels, scores = [f"{head}split,subject,{','.join(task.label_columns)}"], [head + ",".join(task.targets)]
    for number in range(clips):
        for row in range(rows if times else 1):
            if task.kind == "multiclass":
                truth, score = random.integers(task.outputs, size=1), random.dirichlet(np.ones(task.outputs))
            elif task.kind == "multilabel":
                truth, score = random.integers(2, size=task.outputs), random.random(task.outputs)
            else:
                truth, score = random.uniform(-1, 1, (2, task.outputs))
            begin = f"c{number}," + (f"{row / 5},{(row + 1) / 5}," if times else "")
            labels.append(f"{begin}test,s{number % 2}," + ",".join(f"{value:.6f}" for value in truth))
            lacks = times and (number, row) == (0, 2)
            scores.append(begin + ",".join("" if lacks else repr(float(value)) for value in score))
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "scores.csv").write_text("\n".join(scores) + "\n")
    return folder / "scores.csv", folder / "labels.csv"


def data_of(folder: Path, name: str, **more: Any) -> PlotData:
    """The tables of a task as `plot` reads them."""
    task = tasks.get(name)
    scores, labels = write_tables(folder, task)
    read = read_labels(labels, task)
    sets = [PlotSet("scores", read_predictions(scores, task))]
    return PlotData(task, sorted(read), sets, read, None, Subjects.named(read), **more)


def figures(data: PlotData, kind: str) -> Iterator[tuple[str, Any]]:
    """Every figure of a kind, by its file's name."""
    from affectkit.stages.plot_figures import DRAWN

    with style.styled():
        yield from ((name, draw()) for name, draw in DRAWN[kind](data))


# The numbers


def test_lines_over_time_are_the_rows(tmp_path: Path) -> None:
    data = data_of(tmp_path, "va")
    drawn = dict(figures(data, "timeline"))
    assert list(drawn) == ["timeline-valence", "timeline-arousal"]
    for column, figure in enumerate(drawn.values()):
        for axes, clip in zip(figure.axes, data.clips, strict=True):
            assert axes.get_title(loc="left") == clip
            for source, colour in (("scores", style.BLUE), (LABELS, style.BLACK)):
                (line,) = (line for line in axes.lines if line.get_color() == colour)
                track = data.tracks(source)[clip]
                x, y = line.get_data()
                assert np.allclose(x.reshape(-1, 2), track.times)
                assert np.array_equal(y[::2], track.values[:, column], equal_nan=True)
    assert data.unscored("c0") == [(0.4, pytest.approx(0.6))] and data.unscored("c1") == []
    shaded = [patch for patch in figure.axes[0].patches if patch.get_facecolor()[:3] == (228 / 255,) * 3]
    assert [round(patch.get_width(), 6) for patch in shaded] == [0.2]


def test_labels_lie_over_predictions(tmp_path: Path) -> None:
    ((_, figure), _) = figures(data_of(tmp_path, "va"), "timeline")
    lines = [line.get_color() for line in figure.axes[0].lines if line.get_zorder() > 2]
    assert lines == [style.BLUE, style.BLACK]


@pytest.mark.parametrize("name", ["expr", "au"])
def test_classes_over_time_are_shaded_by_probability_and_marked_where_true(name: str, tmp_path: Path) -> None:
    data = data_of(tmp_path, name)
    ((_, figure),) = figures(data, "timeline")
    for axes, clip in zip(figure.axes, data.clips, strict=True):
        (image,) = axes.images
        scores, truth = data.tracks("scores")[clip], data.tracks(LABELS)[clip]
        assert np.allclose(image.get_array().filled(np.nan), scores.values.T, equal_nan=True)
        seconds = np.zeros(data.task.outputs)
        for lines in axes.collections:
            for (begin, place), (end, _) in lines.get_segments():
                seconds[int(place)] += end - begin
        assert np.allclose(seconds, (truth.values == 1).sum(axis=0) / 5)


def test_many_clips_are_on_pages_and_every_one_is_there(tmp_path: Path) -> None:
    scores, _ = write_tables(tmp_path, tasks.get("va"), clips=100, rows=3)
    predictions = read_predictions(scores, tasks.get("va"))
    clips = sorted(set(predictions.clip.tolist()))
    data = PlotData(tasks.get("va"), clips, [PlotSet("scores", predictions)], None)
    titles: list[str] = []
    for name, figure in figures(data, "timeline"):
        assert figure.get_figwidth() == style.PAGE and figure.get_figheight() <= style.TALLEST + 0.01
        titles += [axes.get_title(loc="left") for axes in figure.axes] if "valence" in name else []
    assert titles == clips


def test_long_clips_are_a_band_and_a_mean() -> None:
    from affectkit.stages.plot_figures import MEANS, STRETCHES, _draw_line

    start = np.arange(3000) / 5
    track = PlotTrack(np.stack([start, start + 0.2], axis=1), np.sin(start)[:, None])
    axes = style.figure_of(3, 3).add_subplot()
    _draw_line(axes, track, 0, style.BLUE, 1.0)
    (line,), (band,) = axes.lines, axes.collections
    means = track.values.reshape(MEANS, -1).mean(axis=1)
    assert np.allclose(line.get_ydata(), np.repeat(means, 2))
    heights = band.get_paths()[0].vertices[:, 1]
    ends = track.values.reshape(STRETCHES, -1)
    assert np.allclose([heights.min(), heights.max()], [ends.min(), ends.max()])


def test_densities_are_shares_of_rows_at_the_same_scale(tmp_path: Path) -> None:
    from affectkit.stages.plot_figures import FEW_CELLS

    data = data_of(tmp_path, "va")
    ((_, figure),) = figures(data, "circumplex")
    rows = circumplex_rows(data)
    assert [len(values) for values in rows.values()] == [40, 39]
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["labels: 40 rows", "scores: 39 rows"]
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    for axes, values in zip(panels, rows.values(), strict=True):
        share = axes.images[0].get_array().filled(0)
        assert share.shape == (FEW_CELLS, FEW_CELLS) and share.sum() == pytest.approx(100)
        column, line = (int((values[0, k] + 1) / 2 * FEW_CELLS) for k in (0, 1))
        assert share[line, column] > 0
        crosses = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "P"]
        assert np.allclose(crosses, [values.mean(axis=0)])
        assert (axes.get_xlabel(), panels[0].get_ylabel()) == ("valence", "arousal")
    circle = next(line for line in panels[0].lines if len(line.get_xdata()) > 300)
    assert np.allclose(np.hypot(*circle.get_data()), 1)


def test_subjects_are_means_of_their_clips_and_the_band_is_a_t_interval(tmp_path: Path) -> None:
    data = data_of(tmp_path, "va", by_subject=True)
    table = spaghetti_of(data, LABELS)
    assert list(table.names) == ["s0", "s1"] and table.lines.shape == (2, 10, 2)
    tracks = data.tracks(LABELS)
    expected = np.stack([
        (tracks["c0"].values + tracks["c2"].values) / 2, (tracks["c1"].values + tracks["c3"].values) / 2
    ])  # fmt: skip
    assert np.allclose(table.lines, expected)
    assert np.allclose(table.mean, expected.mean(axis=0))
    low, high = stats.t.interval(0.95, 1, loc=expected.mean(axis=0), scale=stats.sem(expected, axis=0))
    assert np.allclose(table.low, low) and np.allclose(table.high, high)
    ((_, figure),) = figures(data, "subjects")
    axes = figure.axes[0]
    assert axes.get_title() == "valence, labels (n = 2)"
    lines = [line.get_ydata() for line in axes.lines]
    assert np.allclose(lines[:2], expected[..., 0]) and np.allclose(lines[2], expected[..., 0].mean(axis=0))


def test_of_clip_level_tasks_a_line_runs_over_the_targets(tmp_path: Path) -> None:
    data = data_of(tmp_path, "eri", by_subject=True)
    table = spaghetti_of(data, "scores")
    values = data.sets[0].predictions.scores
    assert table.edges is None and np.allclose(table.lines, [values[::2].mean(axis=0), values[1::2].mean(axis=0)])


@pytest.mark.parametrize("seed", range(3))
def test_an_interval_of_the_mean_is_students(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(7, 3))
    mean, low, high, counts = mean_interval(values, 0.9)
    expected = stats.t.interval(0.9, 6, loc=values.mean(axis=0), scale=stats.sem(values))
    assert np.allclose((low, high), expected) and np.allclose(mean, values.mean(axis=0)) and (counts == 7).all()
    assert np.isnan(mean_interval(values[:1], 0.9)[1]).all()


def test_what_is_left_of_a_clip_and_what_touches() -> None:
    assert uncovered(0, 3, np.zeros((0, 2))) == [(0.0, 3.0)]
    assert uncovered(0, 3, np.array([[0.0, 3.0]])) == []
    assert merged(np.zeros((0, 2))).shape == (0, 2)
    track = PlotTrack(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[0.2], [0.4]]))
    assert np.array_equal(sampled(track, 0, 3, 3), [[0.2, np.nan, 0.4]], equal_nan=True)


def test_confusion_and_reliability_are_those_of_evaluate(affectkit: Command, tmp_path: Path) -> None:
    from affectkit.stages.plot import Plot, PlotConfig, _data
    from affectkit.stages.plot_figures import confusions, reliabilities

    task = tasks.get("expr")
    scores, labels = write_tables(tmp_path, task, rows=30)
    done = affectkit("evaluate", scores, "--labels", labels, "--task", "expr", "--draws", 0, "--json")
    report = json.loads(done.stdout)
    inputs = Plot.Inputs(predictions=[scores], labels=labels, out=tmp_path / "out")
    data = _data(inputs, PlotConfig(task="expr"), task, [])
    with style.styled():
        ((_, confusion),) = ((name, draw()) for name, draw in confusions(data))
        ((_, reliability),) = ((name, draw()) for name, draw in reliabilities(data))
    texts = [text.get_text().split("\n")[-1] for text in confusion.axes[0].texts]
    assert texts == [str(count) for row in report["confusion"]["rows"] for count in row]
    curve = report["calibration"]["curves"]["top class"]
    assert [bar.get_height() for bar in reliability.axes[1].patches] == curve["rows"]
    points = reliability.axes[0].lines[1].get_ydata()
    assert np.allclose(points, [share for share, rows in zip(curve["share"], curve["rows"], strict=True) if rows])


# The command


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("va", {"timeline-valence", "timeline-arousal", "circumplex", "subjects"}),
        ("expr", {"timeline", "subjects-labels", "subjects-scores", "reliability", "confusion"}),
        pytest.param("au", {"timeline", "subjects-labels", "subjects-scores", "reliability"}, marks=pytest.mark.slow),
        ("eri", {"subjects"}),
        ("compound", {"subjects", "reliability", "confusion"}),
    ],
)  # fmt: skip
def test_each_task_has_its_kinds(affectkit: Command, tmp_path: Path, name: str, expected: set[str]) -> None:
    from PIL import Image

    scores, labels = write_tables(tmp_path, tasks.get(name))
    done = affectkit("plot", scores, "--labels", labels, "--task", name, "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {file.removesuffix(".png") for file in said["files"]} == expected
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*said["files"], "figures.json"}
    for file in said["files"]:
        with Image.open(tmp_path / "out" / file) as image:
            assert image.width in (210, 300, 420)  # a column, or a page, at 60 dots an inch
            pixels = np.asarray(image.convert("L"))
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edge == 255).all(), file  # nothing is cut off
        assert (pixels < 160).any()


def test_the_same_line_writes_nothing_and_another_place_the_same_bytes(affectkit: Command, tmp_path: Path) -> None:
    write_tables(tmp_path, tasks.get("va"))
    line = ["plot", "scores.csv", "--clips", "c0", "--format", "png,svg,pdf", "--json", "--out"]
    first = json.loads(affectkit(*line, "out").stdout)
    assert not first["cached"] and len(first["files"]) == first["written"] == 9
    again = json.loads(affectkit(*line, "out").stdout)
    assert again["cached"] and again["written"] == 0
    affectkit(*line, "other")
    for file in first["files"]:
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "other" / file).read_bytes(), file
    for mark in (b"<dc:date>", b"CreationDate", b"Matplotlib v"):
        assert not any(mark in (tmp_path / "out" / file).read_bytes() for file in first["files"])
    fewer = json.loads(affectkit(*line[:4], "--format", "svg", "--kind", "circumplex", "--json", "--out", "out").stdout)
    assert fewer["files"] == ["circumplex.svg"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"circumplex.svg", "figures.json"}


def test_labels_alone_predictions_alone_and_some_clips(affectkit: Command, tmp_path: Path) -> None:
    write_tables(tmp_path, tasks.get("expr"))
    labels = json.loads(affectkit("plot", "--labels", "labels.csv", "--task", "expr", "--out", "a", "--json").stdout)
    assert labels["kinds"] == ["timeline", "subjects"] and labels["sources"] == ["labels"]
    scores = json.loads(affectkit("plot", "scores.csv", "--clips", "c[01]", "--out", "b", "--json").stdout)
    assert (scores["kinds"], scores["clips"], scores["task"]) == (["timeline"], 2, "expr")
    assert "scores: 1 of 20 rows have no score" in scores["notices"]


def test_without_any_score_what_there_is_is_drawn_and_said(affectkit: Command, tmp_path: Path) -> None:
    scores, _ = write_tables(tmp_path, tasks.get("va"))
    lines = scores.read_text().splitlines()
    empty = [lines[0], *(",".join(line.split(",")[:3]) + ",," for line in lines[1:])]
    scores.write_text("\n".join(empty) + "\n")
    done = affectkit("plot", "scores.csv", "--labels", "labels.csv", "--task", "va", "--out", "out", "--json")
    said = json.loads(done.stdout)
    assert said["kinds"] == ["timeline", "circumplex", "subjects"]
    assert "scores: 40 of 40 rows have no score" in said["notices"]
    assert any("has both a label and a score" in notice for notice in said["notices"])


def test_several_sets_have_names_and_files_of_their_own(affectkit: Command, tmp_path: Path) -> None:
    write_tables(tmp_path, tasks.get("compound"))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "scores.csv").write_text((tmp_path / "scores.csv").read_text())
    done = affectkit("plot", "scores.csv", "x/scores.csv", "--labels", "labels.csv", "--task", "compound",
                     "--kind", "confusion", "--out", "out", "--json")  # fmt: skip
    said = json.loads(done.stdout)
    assert said["sources"] == ["labels", "scores 1", "scores 2"]
    assert said["files"] == ["confusion-scores-1.png", "confusion-scores-2.png"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--out out", "nothing to draw: give predictions, or --labels CSV and --task NAME"),
        ("scores.csv --labels labels.csv --out out", "labels are of a task: give --task NAME"),
        ("scores.csv --kind pie --out out", "unknown kind of figures 'pie'"),
        ("scores.csv --format png,gif --out out", "unknown format of figures 'gif'"),
        ("scores.csv --format , --out out", "names no format of figures"),
        ("scores.csv --split later --out out", "--split 'later' is none of train, val, test"),
        ("scores.csv --split val --out out", "none of 4 clips is in split 'val'"),
        ("scores.csv --clips z* --out out", "--clips 'z*' matches none of 4 clips"),
        ("scores.csv --kind confusion --out out", "--kind confusion: it is for classes"),
        ("scores.csv --kind subjects --by subject --out out", "clip 'c0' has no subject"),
        ("odd.csv --out out", "are of no built-in task: give --task"),
        ("scores.csv --task expr --out out", "no column Neutral"),
        ("scores.csv scores.csv scores.csv scores.csv scores.csv scores.csv scores.csv --out out", "6 at most"),
        ("scores.csv --out full", "full holds other files"),
    ],
)
def test_bad_input_is_one_line(affectkit: Command, tmp_path: Path, line: str, message: str) -> None:
    write_tables(tmp_path, tasks.get("va"))
    (tmp_path / "odd.csv").write_text("clip,start,end,joy\na,0,1,0.5\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    done = affectkit("plot", *line.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_columns_of_several_tasks_ask_for_one(affectkit: Command, tmp_path: Path) -> None:
    scores, _ = write_tables(tmp_path, tasks.get("va"))
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join([lines[0] + ",low,high", *(line + ",0.5,0.5" for line in lines[1:])]) + "\n")
    done = affectkit("plot", "scores.csv", "--out", "out")
    assert done.returncode == 2 and "say which by --task va or arousal-2" in done.stderr


def test_without_matplotlib_a_line_says_what_to_install(
    affectkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import util

    write_tables(tmp_path, tasks.get("va"))
    before = util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "matplotlib" else before(name))
    done = affectkit("plot", "scores.csv", "--out", "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "drawing figures needs the package matplotlib: pip install 'affectkit[figures]'" in done.stderr


@pytest.mark.parametrize("name", ["a$b$ {x} ^_%", "<script>alert(1)</script>", "x" * 250, "日本"])
def test_any_name_is_text(affectkit: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "scores.csv").write_text(f'clip,start,end,valence,arousal\n"{name}",0,1,0.5,0.1\n', encoding="utf-8")
    done = affectkit("plot", "scores.csv", "--format", "svg", "--out", "out")
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "out").glob("*.svg"):
        assert "<script" not in path.read_text(encoding="utf-8")


STEPS = """\
[steps.pictures]
stage = "plot"
from = "net-scores"
labels = "main"
task = "va"
kind = ["circumplex", "timeline"]

[steps.bare]
stage = "plot"
from = "net-scores"

[tiny]"""


def test_a_recipe_may_have_figures(affectkit: Command, tmp_path: Path) -> None:
    write_set(tmp_path / "set", {"train": 1, "val": 1, "test": 1})
    write_recipe(tmp_path / "r.toml", RECIPE.replace("[tiny]", STEPS, 1))
    dry = affectkit("run", "r.toml", "--root", "set", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    write_recipe(tmp_path / "r.toml", RECIPE.replace("[tiny]", STEPS.replace('task = "va"\n', ""), 1))
    wrong = affectkit("run", "r.toml", "--root", "set", "--dry-run")
    assert wrong.returncode == 2 and "labels are of a task: say which" in wrong.stderr


@pytest.mark.slow
def test_a_recipe_ends_with_figures(affectkit: Command, tmp_path: Path) -> None:
    write_recipe(tmp_path / "r.toml", RECIPE.replace("[tiny]", STEPS, 1))
    write_set(tmp_path / "set")
    for step in ("pictures", "bare"):
        line = ["run", "r.toml", "--root", "set", "--cache", "cache", "--out", "run"]
        done = affectkit(*line, "--until", step)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "run" / step / "circumplex.png").is_file()


def test_the_function_draws_frames_and_artifacts(tmp_path: Path) -> None:
    import pandas as pd

    import affectkit as ak

    scores, labels = write_tables(tmp_path, tasks.get("va"))
    drawn = ak.plot(pd.read_csv(scores), labels=pd.read_csv(labels), task="va", kind=["circumplex"], out=tmp_path / "o")
    assert drawn.report["files"] == ["circumplex.png"] and drawn.path == tmp_path / "o"
    with pytest.raises(UsageError, match="labels are of a task"):
        ak.plot(scores, labels=labels, out=tmp_path / "o")


def test_formats_are_read_in_any_order() -> None:
    assert style.formats(" PDF,png , pdf") == ("pdf", "png")


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([-0.5, 1.1], [-1, 0, 1]), ([0.2, 0.9], [0, 0.5, 1]), ([np.nan], [-1, 0, 1]), ([-30, 95], [0, 50])],
)
def test_the_axis_of_a_target_has_round_ticks(values: list[float], ticks: list[float]) -> None:
    from affectkit.stages.plot_figures import _range_of

    task = tasks.get("va")
    scores = np.repeat(np.array(values)[:, None], 2, axis=1)
    start = np.arange(len(values), dtype=float)
    rows = Predictions(np.full(len(values), "a"), start, start + 1, scores, tuple(task.targets))
    reach = _range_of(PlotData(task, ["a"], [PlotSet("x", rows)], None), 0)
    assert set(ticks) <= set(reach.ticks) and len(reach.ticks) <= 4
    finite = [value for value in values if np.isfinite(value)]
    assert all(reach.low <= value <= reach.high for value in [*finite, *reach.ticks])


def test_a_lag_is_of_labels(affectkit: Command, tmp_path: Path) -> None:
    write_tables(tmp_path, tasks.get("va"))
    line = ["plot", "scores.csv", "--label-lag", "0.4", "--kind", "timeline", "--out", "out"]
    alone = affectkit(*line)
    assert alone.returncode == 2 and "--label-lag 0.4 is of labels: give --labels CSV" in alone.stderr
    done = affectkit(*line, "--labels", "labels.csv", "--task", "va")
    assert done.returncode == 0 and "labels are taken 0.4 s earlier" in done.stderr
