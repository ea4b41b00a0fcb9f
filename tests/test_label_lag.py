"""Labels that come late: moved where they are read, and how late they are, estimated without the test clips."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from recipe_factory import RECIPE, write_recipe, write_set

import affectkit as ak
from affectkit import tasks
from affectkit.annotations import lag
from affectkit.errors import Notice, UsageError
from affectkit.tables.labels import LaggedLabels, identity, lagged, read
from affectkit.types import ClipLabels

VA, EXPR = tasks.get("va"), tasks.get("expr")
LATE = 2.2


def smooth(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise without what is quicker than half a second, at 25 a second."""
    kernel = np.exp(-0.5 * (np.arange(-40, 41) / 12) ** 2)
    return np.convolve(rng.normal(size=count + 80), kernel, "valid")[:count] / 6


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """`p.csv`, and `labels.csv` that say the same 2.2 s later; the test clip's are 4 s late."""
    rng = np.random.default_rng(0)
    times = np.arange(40 * 25) / 25
    scores, labels = [], []
    for number, split in enumerate(("train", "val", "train", "test")):
        signal = smooth(rng, len(times) + 100)
        delay = round(25 * (4 if split == "test" else LATE))
        clip = {"clip": f"c{number}", "start": times, "end": times + 0.04, "split": split}
        here, before = signal[100:], signal[100 - delay : 100 - delay + len(times)]
        scores.append(pd.DataFrame(clip | {"valence": here, "arousal": -here}))
        labels.append(pd.DataFrame(clip | {"valence": before, "arousal": -before}))
    pd.concat(scores).to_csv(tmp_path / "p.csv", index=False)
    pd.concat(labels).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def test_the_lag_is_found_and_test_clips_are_not_looked_at(late: Path, affectkit: Command) -> None:
    said = affectkit("label-lag", "p.csv", "--labels", "labels.csv", "--task", "va", "--json")
    report = json.loads(said.stdout)
    assert report["lag"] == pytest.approx(LATE, abs=0.01)
    assert report["columns"] == {"valence": pytest.approx(LATE, abs=0.01), "arousal": pytest.approx(LATE, abs=0.01)}
    assert set(report["clips"]) == {"c0", "c1", "c2"} and report["left_out"] == ["1 clips of split test (c3)"]
    assert report["interval"][0] <= report["lag"] + 1e-6 and report["interval"][1] >= report["lag"] - 1e-6
    assert report["correlation"]["best"] > 0.99 > 0.5 > report["correlation"]["unshifted"]


def test_the_lag_taken_off_is_no_lag(late: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        report = ak.evaluate(late / "p.csv", labels=late / "labels.csv", task="va", label_lag=4.0, cache=late / "cache")
    notices = [str(each.message) for each in told if issubclass(each.category, Notice)]
    left_out = "left out, before the start of their clips: 400"
    assert notices == [f"labels are taken 4 s earlier (--label-lag): 3600 rows of 4 clips; {left_out}"]
    assert report.report["scores"]["ccc"] > 0.99  # evaluate scores the test clip
    plain = ak.evaluate(late / "p.csv", labels=late / "labels.csv", task="va", cache=late / "cache")
    assert plain.report["scores"]["ccc"] < 0.5 and plain.path != report.path


def test_moved_labels_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("clip,start,end,valence,arousal\na,0,1,1,1\na,1,2,2,2\na,2,4,3,3\nb,,,4,4\n")
    assert lagged(path, 0) is path
    moved = LaggedLabels(path, 1.5)
    with pytest.warns(Notice, match="2 rows of 2 clips; left out, before the start of their clips: 1"):
        labels = read(moved, VA)
    assert (labels["a"].start.tolist(), labels["a"].end.tolist()) == ([0, 0.5], [0.5, 2.5])
    assert labels["a"].values.tolist() == [[2, 2], [3, 3]]
    assert (labels["b"].start.tolist(), labels["b"].end.tolist()) == ([0], [np.inf])
    others = {identity(path, VA), identity(moved, VA), identity(LaggedLabels(path, 1.0), VA)}
    assert len(others) == 3 and identity(LaggedLabels(path, 1.5), VA) == identity(moved, VA)
    with pytest.raises(UsageError, match="no label has a time after 5 s"):
        read(LaggedLabels(path, 5.0), VA)
    with pytest.raises(UsageError, match="labels of eri are of whole clips"):
        path.write_text("clip," + ",".join(tasks.get("eri").targets) + "\na" + ",0" * 7 + "\n")
        read(LaggedLabels(path, 5.0), tasks.get("eri"))


def test_what_is_refused(late: Path, affectkit: Command) -> None:
    base = ("label-lag", "p.csv", "--labels", "labels.csv", "--task", "va")
    for more, words in (
        (("--label-lag", "1"), "label-lag estimates what --label-lag is set to: leave that out"),
        (("--most", "50"), "give a smaller --most"),
        (("--least", "3", "--most", "3.1"), "least to most are 3 to 2000 steps"),
    ):
        said = affectkit(*base, *more)
        assert said.returncode == 2 and words in said.stderr and "Traceback" not in said.stderr, said.stderr
    said = affectkit("evaluate", *base[1:], "--label-lag", "-1")
    assert said.returncode == 2 and "--label-lag should be greater than or equal to 0 (given -1.0)" in said.stderr


def test_a_curve_against_numpys_correlation() -> None:
    rng = np.random.default_rng(3)
    start = np.arange(300) / 10
    scores, values = smooth(rng, 300)[:, None], rng.normal(size=(400, 1))
    labels = ClipLabels(np.arange(400) / 10, np.arange(1, 401) / 10, values)
    moments = lag.lag_moments(start, start + 0.1, scores, labels, values, np.array([0.0, 1.0, 2.0]), 0.1)
    assert moments is not None and moments.count == 300
    expected = [np.corrcoef(scores[:, 0], values[shift : shift + 300, 0])[0, 1] for shift in (0, 10, 20)]
    np.testing.assert_allclose(moments.curve[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(lag.pooled([moments, moments])[:, 0], expected, atol=1e-6)


def test_classes_and_flat_signals(tmp_path: Path, affectkit: Command) -> None:
    times = np.arange(200) / 10
    classes = (times // 3 % 2).astype(int)
    clip = {"clip": "a", "start": times, "end": times + 0.1}
    pd.DataFrame(clip | {"label": classes}).to_csv(tmp_path / "labels.csv", index=False)
    early = ((times + 1.5) // 3 % 2).astype(int)
    scores = {name: (early == number).astype(float) for number, name in enumerate(EXPR.targets)}
    pd.DataFrame(clip | scores).to_csv(tmp_path / "p.csv", index=False)
    base = ("label-lag", "p.csv", "--labels", "labels.csv", "--task", "expr")
    said = affectkit(*base, "--most", "2.5", "--least", "0")
    assert "lag: 1.50 s" in said.stderr and "of 1 clips each" in said.stderr, said.stderr
    flat = {name: np.full(200, 1 / 8) for name in EXPR.targets}
    pd.DataFrame(clip | flat).to_csv(tmp_path / "p.csv", index=False)
    assert "constant in every clip" in affectkit(*base).stderr


def test_a_step_of_a_recipe_has_it_too(tmp_path: Path, affectkit: Command) -> None:
    (tmp_path / "set").mkdir()
    write_set(tmp_path / "set")
    late_text = RECIPE.replace('task = "va"\nhead = "mlp"', 'task = "va"\nlabel_lag = 0.2\nhead = "mlp"')
    assert late_text != RECIPE
    heads = set()
    for name, text in (("plain.toml", RECIPE), ("late.toml", late_text)):
        write_recipe(tmp_path / name, text)
        said = affectkit("run", name, "--root", "set", "--until", "net")
        assert said.returncode == 0 and ("labels are taken 0.2 s earlier" in said.stderr) == (text != RECIPE), (
            said.stderr
        )
        heads.add(affectkit("cache", "show", "latest", "--json").stdout)
    assert len(heads) == 2
    write_recipe(tmp_path / "wrong.toml", late_text.replace("label_lag = 0.2", "label_lag = -1"))
    said = affectkit("run", "wrong.toml", "--root", "set", "--until", "net")
    assert said.returncode == 2 and "label_lag" in said.stderr
