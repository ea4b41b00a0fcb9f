"""Label tables: what each cell means, what is refused, and labels at the times of feature rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectkit import tasks
from affectkit.errors import UsageError
from affectkit.tables.label_tables import read_labels
from affectkit.tables.pooling import align, check_pooling
from affectkit.tasks import Task
from affectkit.types import ClipLabels

VA, EXPR, AU, ERI, COMPOUND = (tasks.get(name) for name in ("va", "expr", "au", "eri", "compound"))
NAN = float("nan")


@pytest.fixture
def read(tmp_path: Path):
    def read_text(text: str, task: Task) -> dict[str, ClipLabels]:
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode())
        return read_labels(path, task)

    return read_text


def same(given, expected) -> bool:
    return np.array_equal(given, expected, equal_nan=True)


# --- cells


def test_time_level_regression(read):
    labels = read(
        "\ufeffclip,start,end,Arousal, valence,split,subject,note\r\n"
        "b,1,2,0.4,0.3,Devel,anna,x\r\nb,0,1,0.2,0.1,,,y\r\na,0,0.5,-1,1,train,bob,\r\n\r\n",
        VA,
    )
    assert list(labels) == ["a", "b"]
    assert same(labels["b"].start, [0, 1]) and same(labels["b"].end, [1, 2])
    assert same(labels["b"].values, [[0.1, 0.2], [0.3, 0.4]])
    assert (labels["b"].split, labels["b"].subject) == ("val", "anna")
    assert (labels["a"].split, labels["a"].subject) == ("train", "bob")


@pytest.mark.parametrize("cell", ["", " ", "NaN", "nan", "NA", "n/a", "-5", "-5.0", "None"])
def test_an_invalid_target_invalidates_the_row(read, cell):
    labels = read(f"clip,start,end,valence,arousal\na,0,1,{cell},0.5\na,1,2,0.5,{cell}\na,2,3,0.5,-0.5\n", VA)
    assert same(labels["a"].values, [[NAN, NAN], [NAN, NAN], [0.5, -0.5]])


def test_a_marker_drops_a_multilabel_row_and_an_empty_cell_only_itself(read):
    header = "clip,start,end," + ",".join(AU.targets)
    ones = ",1" * 11
    labels = read(f"{header}\na,0,1,-1{ones}\na,1,2,{ones}\na,2,3,0{ones}\n", AU)
    values = labels["a"].values
    assert np.isnan(values[0]).all()
    assert np.isnan(values[1, 0]) and (values[1, 1:] == 1).all()
    assert same(values[2], [0] + [1] * 11)


def test_classes_by_name_or_index(read):
    cells = ["Neutral", "happiness", " OTHER ", "4", "4.0", "0", "", "nan", "-1", "-1.0"]
    rows = "".join(f"a,{i},{i + 1},{cell}\n" for i, cell in enumerate(cells))
    labels = read(f"clip,start,end,label\n{rows}", EXPR)
    assert same(labels["a"].values.ravel(), [0, 4, 7, 4, 4, 0, NAN, NAN, NAN, NAN])


def test_a_name_wins_over_an_index_and_over_an_empty_word(read):
    task = Task(name="odd", kind="multiclass", level="clip", targets=("1", "0", "None"), metric="war")
    labels = read("clip,label\na,1\nb,0\nc,None\nd,2\ne,none\n", task)
    assert [labels[clip].values[0, 0] for clip in "abcde"] == [0, 1, 2, 2, 2]


def test_clip_level_labels(read):
    columns = ",".join(reversed(ERI.targets))
    labels = read(f"clip,{columns}\nx/1,7,6,5,4,3,2,1\nx/2,,6,5,4,3,2,1\n", ERI)
    assert same(labels["x/1"].values, [[1, 2, 3, 4, 5, 6, 7]])
    assert same(labels["x/1"].start, [0]) and same(labels["x/1"].end, [np.inf])
    assert np.isnan(labels["x/2"].values).all()


def test_the_times_of_a_manifest_do_not_matter_to_a_clip_level_task(read):
    labels = read("clip,path,start,end,label\na,a.mp4,10,20,Sadly_Angry\n", COMPOUND)
    assert same(labels["a"].start, [0]) and same(labels["a"].end, [np.inf]) and same(labels["a"].values, [[6]])


def test_labels_without_times_hold_for_the_whole_clip(read):
    labels = read("clip,valence,arousal\na,0.1,0.2\n", VA)
    assert same(align(labels["a"], np.array([0.0, 99.0]), np.array([1.0, 100.0])), [[0.1, 0.2]] * 2)
    mixed = read("clip,start,end,valence,arousal\na,,,0.1,0.2\nb,,1,0,0\nb,1,,1,1\n", VA)
    assert same(mixed["a"].end, [np.inf]) and same(mixed["b"].start, [0, 1]) and same(mixed["b"].end, [1, np.inf])


def test_rounded_times_touch(read):
    labels = read("clip,start,end,valence,arousal\na,0.0333,0.0667,2,2\na,0,0.0334,1,1\na,0.0667,0.1,3,3\n", VA)
    assert same(labels["a"].end, [0.0333, 0.0667, 0.1]) and same(labels["a"].values[:, 0], [1, 2, 3])


def test_ids_in_either_unicode_form_are_one_clip(read):
    labels = read("clip,start,end,valence,arousal\nZoe\u0308,0,1,1,1\nZo\u00eb,1,2,1,1\n", VA)
    assert list(labels) == ["Zo\u00eb"] and len(labels["Zo\u00eb"]) == 2


# --- what is refused


@pytest.mark.parametrize(
    ("task", "text", "problem"),
    [
        (VA, "clip,valence\na,1\n", "no column arousal among clip, valence; labels for va need clip, valence, arousal"),
        (EXPR, "clip,Neutral\na,1\n", "no column label"),
        (VA, "clip,start,valence,arousal\na,0,1,1\n", "start and end come together"),
        (VA, "clip,valence,arousal\n", "no rows"),
        (VA, "clip,valence,arousal\n../a,1,1\n", ":2: clip id '../a'"),
        (VA, "clip,valence,arousal\na,1,1\nb,x,1\n", ":3: valence is 'x', not a number"),
        (VA, "clip,valence,arousal\na,1,1\nb,1,inf\n", ":3: arousal is inf"),
        (VA, "clip,valence,arousal\na,1,1\nb,1\n", ":3: 2 cells under 3 columns"),
        (VA, "clip,valence,arousal\n\na,1,1\na,2,2\n", ":4: clip 'a' has two labels for one time .*line 3"),
        (VA, "clip,start,end,valence,arousal\na,0,2,1,1\na,1,3,1,1\n", ":3: clip 'a' has two labels.*line 2"),
        (VA, "clip,start,end,valence,arousal\na,1,2,1,1\nb,0,1,1,1\na,0,9,1,1\n", ":4: clip 'a' has two lab.*line 2"),
        (VA, "clip,start,end,valence,arousal\na,0,.0005,1,1\na,0,.0005,1,1\n", "two labels for one time"),
        (VA, "clip,start,end,valence,arousal\na,,,1,1\na,5,6,1,1\n", "two labels for one time"),
        (VA, "clip,start,end,valence,arousal\na,2,1,1,1\n", ":2: start 2, end 1: these are seconds, 0 <= start < end"),
        (VA, "clip,start,end,valence,arousal\na,1,1,1,1\n", ":2: start 1, end 1"),
        (VA, "clip,start,end,valence,arousal\na,-1,1,1,1\n", ":2: start -1, end 1"),
        (VA, "clip,split,valence,arousal\na,tarin,1,1\n", ":2: unknown split 'tarin'"),
        (
            VA,
            "clip,start,end,split,valence,arousal\na,0,1,val,1,1\na,1,2,,1,1\na,2,3,test,1,1\n",
            "clip 'a' has two values of split: test and val",
        ),
        (
            VA,
            "clip,start,end,subject,valence,arousal\na,0,1,x,1,1\na,1,2,y,1,1\n",
            ":3: clip 'a' has two values of subject: x and y",
        ),
        (EXPR, "clip,label\na,8\n", ":2: label '8' is no class of expr .accepted: 0 Neutral, .*, 7 Other"),
        (EXPR, "clip,label\na,0\nb,2.5\n", ":3: label '2.5'"),
        (EXPR, "clip,label\na,0\nb,-2\n", ":3: label '-2'"),
        (EXPR, "clip,label\na,Happy\n", ":2: label 'Happy' is no class"),
        (EXPR, "clip,label\na,inf\n", ":2: label 'inf' is no class"),
        (AU, "clip," + ",".join(AU.targets) + "\na" + ",1" * 11 + ",2\n", ":2: AU26 is 2, needed is 0 or 1"),
        (ERI, "clip," + ",".join(ERI.targets) + "\na" + ",1" * 7 + "\na" + ",1" * 7 + "\n", ":3: clip 'a' has two"),
        (COMPOUND, "clip,start,end,label\na,0,1,0\na,1,2,1\n", ":3: clip 'a' has two labels"),
    ],
)
def test_bad_labels_name_file_and_line(read, task, text, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        read(text, task)
    assert "labels.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_large_table_reads_the_same_as_its_lines(read):
    rng = np.random.default_rng(0)
    rows = [
        (f"c{clip}", i / 30, (i + 1) / 30, *rng.uniform(-1, 1, 2).round(4)) for clip in range(20) for i in range(500)
    ]
    rng.shuffle(rows)
    text = "clip,start,end,valence,arousal\n" + "".join(f"{c},{s!r},{e!r},{v},{a}\n" for c, s, e, v, a in rows)
    labels = read(text, VA)
    for name in ("c0", "c19"):
        expected = np.array(sorted(row[1:] for row in rows if row[0] == name), float)
        np.testing.assert_allclose(labels[name].start, expected[:, 0], rtol=1e-15)
        np.testing.assert_array_equal(labels[name].values, expected[:, 2:])


# --- labels at the times of feature rows


def naive(labels: ClipLabels, start, end, pooling: str) -> np.ndarray:
    """The definition, one row and one interval at a time."""
    out = np.full((len(start), labels.values.shape[1]), np.nan)
    for row, (s, e) in enumerate(zip(start, end, strict=True)):
        for k in range(out.shape[1]):
            time: dict[float, float] = {}
            for a, b, value in zip(labels.start, labels.end, labels.values[:, k], strict=True):
                if pooling == "midpoint" and a <= (s + e) / 2 < b:
                    out[row, k] = value
                shared = min(b, e) - max(a, s)
                if shared > 0 and not np.isnan(value):
                    time[value] = time.get(value, 0.0) + shared
            if pooling == "mean" and time:
                out[row, k] = sum(value * t for value, t in time.items()) / sum(time.values())
            if pooling == "mode" and time:
                out[row, k] = min(time, key=lambda value: (-round(time[value], 9), value))
    return out


@pytest.mark.parametrize("pooling", ["midpoint", "mean", "mode"])
@pytest.mark.parametrize("seed", range(8))
def test_alignment_equals_the_definition(pooling, seed):
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.choice([0.0, 0.25, 0.5, 1.0, 0.37], 61)) + rng.uniform(0, 2)
    edges = np.unique(edges)
    keep = np.sort(rng.choice(len(edges) - 1, len(edges) * 2 // 3, replace=False))
    values = rng.integers(0, 4, (len(keep), 2)).astype(float)
    values[rng.random(values.shape) < 0.2] = np.nan
    end = edges[keep + 1].copy()
    if seed % 2:
        end[-1] = np.inf
    labels = ClipLabels(edges[keep], end, values)
    start = np.concatenate([rng.uniform(-1, edges[-1] + 2, 80), edges])
    stop = start + rng.choice([0.2, 0.25, 1.0, 4.0], len(start))
    np.testing.assert_allclose(align(labels, start, stop, pooling), naive(labels, start, stop, pooling), atol=1e-9)


def test_label_intervals_are_half_open():
    labels = ClipLabels(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([[1.0], [2.0]]))
    middles = np.array([-0.001, 0.0, 0.999, 1.0, 1.999, 2.0, NAN])
    assert same(align(labels, middles - 0.5, middles + 0.5).ravel(), [NAN, 1, 1, 2, 2, NAN, NAN])


def test_rows_without_duration_take_the_label_of_their_instant():
    labels = ClipLabels(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([[1.0], [2.0]]))
    instants = np.array([0.5, 1.0, 3.0])
    for pooling in ("midpoint", "mean", "mode"):
        assert same(align(labels, instants, instants, pooling).ravel(), [1, 2, NAN])


@pytest.mark.parametrize("pooling", ["midpoint", "mean", "mode"])
def test_whole_clips_and_clips_without_labels(pooling):
    whole = ClipLabels(np.zeros(1), np.full(1, np.inf), np.array([[3.0, NAN]]))
    start, end = np.array([0.0, 5.0]), np.array([np.inf, 6.0])
    np.testing.assert_allclose(align(whole, start, end, pooling), [[3, NAN], [3, NAN]])
    none = ClipLabels(np.zeros(0), np.zeros(0), np.zeros((0, 2)))
    assert same(align(none, start, end, pooling), np.full((2, 2), NAN))
    assert align(whole, np.zeros(0), np.zeros(0), pooling).shape == (0, 2)


def test_unsorted_labels_are_sorted():
    labels = ClipLabels(np.array([1.0, 0.0]), np.array([2.0, 1.0]), np.array([[2.0], [1.0]]))
    assert same(align(labels, np.array([0.0, 1.0]), np.array([1.0, 2.0])).ravel(), [1, 2])


def test_pooling_that_does_not_fit_a_task_is_refused():
    for pooling, task in (("midpoint", VA), ("mean", VA), ("midpoint", EXPR), ("mode", EXPR), ("mode", AU)):
        check_pooling(pooling, task)
    with pytest.raises(UsageError, match=r"'mean' does not fit expr .multiclass.; take midpoint or mode"):
        check_pooling("mean", EXPR)
    with pytest.raises(UsageError, match=r"'mode' does not fit va .regression.; take midpoint or mean"):
        check_pooling("mode", VA)
