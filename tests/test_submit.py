"""submit: the organisers' rows in their order, what is refused, checking a file, and reading it back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from media_factory import make_clip
from stage_calls import evaluate

from affectkit import metrics, tasks
from affectkit.errors import AffectkitError, UsageError
from affectkit.media import scan
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.submit import FormatName, SubmitConfig, check, submit, submitted
from affectkit.store import Cache, predictions_schema, write_table
from affectkit.store.atomic import _is_the_systems
from affectkit.tables.crop_times import CropTimes
from affectkit.tables.predictions import records
from affectkit.tables.submissions import FORMATS
from affectkit.types import Predictions

FPS = 30
VA_HEADER = "image_location,valence,arousal"
EXPR_HEADER = "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
AU_HEADER = "image_location,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
CE_HEADER = (
    "image_location,Fearfully_Surprised,Happily_Surprised,Sadly_Surprised,Disgustedly_Surprised,Angrily_Surprised,"
    "Sadly_Fearful,Sadly_Angry"
)
HUME_HEADER = "File_ID,Adoration,Amusement,Anxiety,Disgust,Empathic-Pain,Fear,Surprise"
TASKS: dict[FormatName, str] = {
    "affwild2-va": "va", "affwild2-expr": "expr", "affwild2-au": "au", "cexpr": "compound", "hume-reaction": "eri",
}  # fmt: skip


def frames(*parts: tuple[str, Sequence[int]]) -> list[str]:
    return [f"{video}/{number:05d}.jpg" for video, numbers in parts for number in numbers]


def template(path: Path, header: str, names: Sequence[str], *, mark: str = "", end: str = "\n", rest: str = "") -> Path:
    path.write_bytes((mark + end.join([header, *(name + rest for name in names)]) + end).encode())
    return path


def predicted(task: str, clips: Sequence[str], rows: int, fps: float = FPS, seed: int = 0) -> Predictions:
    """Random scores of rows of 1/fps seconds."""
    rng, columns = np.random.default_rng(seed), tasks.get(task).targets
    scores = rng.uniform(0, 1, (len(clips) * rows, len(columns)))
    if task == "va":
        scores = 2 * scores - 1
    if tasks.get(task).kind == "multiclass":
        scores /= scores.sum(axis=1, keepdims=True)
    start = np.tile(np.arange(rows) / fps, len(clips))
    return Predictions(np.repeat(np.array(clips), rows), start, start + 1 / fps, scores, columns)


def artifact(cache: Cache, given: Predictions) -> Path:
    """An artifact as predict makes it."""
    schema = predictions_schema(list(given.columns))
    made = cache.create_whole(
        "predict", "head", {"scores": given.scores.tolist(), "clips": given.clip.tolist()},
        lambda folder: write_table(folder, schema, records(given)), table=schema,
    )  # fmt: skip
    return made.path


def table(path: Path, given: Predictions) -> Path:
    """A CSV, as anybody writes it; an empty cell is a row without a score."""
    lines = [",".join(["clip", "start", "end", *given.columns])]
    for clip, start, end, scores in zip(given.clip, given.start, given.end, given.scores, strict=True):
        cells = ["" if np.isnan(score) else repr(float(score)) for score in scores]
        lines.append(",".join([str(clip), repr(float(start)), repr(float(end)), *cells]))
    path.write_text("\n".join(lines) + "\n")
    return path


def config(format: FormatName, **fields: Any) -> SubmitConfig:
    given = {} if format == "hume-reaction" or "fps" in fields else {"fps": FPS}
    return SubmitConfig(**{"format": format, **given, **fields})


def lines_of(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")


@pytest.mark.parametrize("quirk", [{}, {"mark": "\ufeff", "end": "\r\n"}, {"rest": ",-5,-5"}, {"end": "\n\n"}])
def test_rows_are_the_templates_in_its_order(tmp_path: Path, cache: Cache, quirk: dict[str, str]) -> None:
    given = predicted("va", ["a", "day1/b_left"], 6)
    names = frames(("day1/b_left", [3, 1, 6]), ("a", [2, 5]), ("day1/b_left", [2]))
    wanted = template(tmp_path / "t.txt", VA_HEADER, names, **quirk)
    done = submit(artifact(cache, given), wanted, tmp_path / "new" / "out.txt", config("affwild2-va"))
    lines = lines_of(done.path)
    assert lines[0] == VA_HEADER and lines[-1] == "" and [line.split(",")[0] for line in lines[1:-1]] == names
    scores = np.float32(given.scores)
    for line, row in zip(lines[1:-1], [8, 6, 11, 1, 4, 7], strict=True):
        assert line.split(",")[1:] == [f"{value:.6f}" for value in scores[row]]
    assert done.report["rows"] == 6 and done.report["clips"] == 2 and done.report["assumed_fps"] == FPS
    assert done.report["rows_interpolated"] == done.report["rows_beyond_predictions"] == 0


def test_a_header_in_quotes_is_written_plainly(tmp_path: Path) -> None:
    given = table(tmp_path / "p.csv", predicted("va", ["a"], 2))
    wanted = template(tmp_path / "t.txt", '"image_location","valence","arousal"', ['"a/00001.jpg"', "a/00002.jpg"])
    done = submit(given, wanted, tmp_path / "out.txt", config("affwild2-va"))
    assert lines_of(done.path)[0] == VA_HEADER and '"' not in done.path.read_text()


@pytest.mark.parametrize(("format", "header"), [("affwild2-expr", EXPR_HEADER), ("cexpr", CE_HEADER)])
def test_classes_are_one_number(tmp_path: Path, format: FormatName, header: str) -> None:
    given = predicted(TASKS[format], ["a"], 50)
    wanted = template(tmp_path / "t.txt", header, frames(("a", range(1, 51))))
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "out.txt", config(format))
    lines = lines_of(done.path)
    assert lines[0] == header
    assert [line.split(",") for line in lines[1:-1]] == [
        [name, str(place)] for name, place in zip(frames(("a", range(1, 51))), given.scores.argmax(axis=1), strict=True)
    ]
    assert len({line.split(",")[1] for line in lines[1:-1]}) == len(given.columns)


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_action_units_are_zero_or_one(tmp_path: Path, threshold: float) -> None:
    given = predicted("au", ["a"], 20)
    given.scores[0, 0] = threshold  # is enough
    wanted = template(tmp_path / "t.txt", AU_HEADER, frames(("a", range(1, 21))))
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "o", config("affwild2-au", threshold=threshold))
    cells = np.array([line.split(",")[1:] for line in lines_of(done.path)[1:-1]], int)
    assert (cells == (given.scores >= threshold)).all() and cells[0, 0] == 1 and cells.shape == (20, 12)


@pytest.mark.parametrize("bracketed", [False, True])
def test_reactions_keep_their_ids(tmp_path: Path, bracketed: bool) -> None:
    """One row a clip: the mean of the clip's rows; ids in brackets are those without."""
    given = predicted("eri", ["[12345]", "[7]"] if bracketed else ["12345", "7"], 3)
    wanted = template(tmp_path / "t.csv", HUME_HEADER, ["[7]", "[12345]"], mark="\ufeff", end="\r\n", rest="," * 7)
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "out.csv", config("hume-reaction"))
    lines = lines_of(done.path)
    assert lines[0] == HUME_HEADER
    for line, rows in zip(lines[1:3], (slice(3, 6), slice(0, 3)), strict=True):
        means = given.scores[rows].mean(axis=0)
        assert line == ",".join(["[7]" if rows.start else "[12345]", *(f"{value:.6f}" for value in means)])


def test_frames_are_read_when_they_are_shown(tmp_path: Path) -> None:
    """Of a video of uneven rate, against the packets' times; `_left` and `_right` are persons of one video."""
    shown = np.array([0, 1, 2, 5, 6, 10, 11, 12])
    make_clip(tmp_path / "videos" / "v.mp4" if (tmp_path / "videos").mkdir() is None else tmp_path, 8, pts=list(shown))
    given = predicted("va", ["v", "v_left", "v_right"], 4, fps=8)
    names = frames(("v_left", range(1, 9)), ("v_right", range(1, 9)), ("v", [9]))
    wanted = template(tmp_path / "t.txt", VA_HEADER, names)
    path = table(tmp_path / "p.csv", given)
    done = submit(path, wanted, tmp_path / "out.txt", SubmitConfig(format="affwild2-va"), videos=tmp_path / "videos")
    index = scan(tmp_path / "videos" / "v.mp4")
    assert np.allclose(index.times, shown / 30)
    middle = np.append(index.times[:-1] + index.times[1:], index.times[-1] + index.duration) / 2
    rows = np.array([line.split(",")[1:] for line in lines_of(done.path)[1:-1]], float)
    for number, person in enumerate(("v_left", "v_right")):
        own = given.clip == person
        for k in range(2):
            held = np.interp(middle, (given.start[own] + given.end[own]) / 2, given.scores[own, k])
            assert np.allclose(rows[8 * number : 8 * number + 8, k], held, atol=1e-6)
    assert done.report["rows_beyond_video"] == 1 and done.report["assumed_fps"] is None
    assert done.report["rows_interpolated"] == 17 - done.report["rows_beyond_predictions"]
    assert done.report["interpolation"] == "linear between row middles"


def test_rows_before_and_after_all_predictions_are_held_and_counted(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.2], [0.3, 0.4]])
    given = Predictions(
        np.array(["a", "a"]), np.array([1.0, 1.1]), np.array([1.1, 1.2]), scores, ("valence", "arousal")
    )
    wanted = template(tmp_path / "t.txt", VA_HEADER, frames(("a", [1, 11, 12, 13, 40])))
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "o", config("affwild2-va", fps=10))
    assert [line.split(",")[1] for line in lines_of(done.path)[1:-1]] == [
        "0.100000", "0.100000", "0.300000", "0.300000", "0.300000",
    ]  # fmt: skip
    assert done.report["rows_beyond_predictions"] == 3 and done.report["rows_interpolated"] == 0


def test_one_prediction_a_clip_holds_for_all_its_frames_without_any_times(tmp_path: Path) -> None:
    given = predicted("compound", ["a", "b"], 1)
    wanted = template(tmp_path / "t.txt", CE_HEADER, frames(("b", [1, 2, 900]), ("a", [5])))
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "out.txt", SubmitConfig(format="cexpr"))
    first, second = given.scores.argmax(axis=1)
    assert [int(line.split(",")[1]) for line in lines_of(done.path)[1:-1]] == [second] * 3 + [first]
    assert done.report["rows_interpolated"] == done.report["rows_beyond_predictions"] == 0


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    good = predicted("va", ["a", "b"], 4)
    path = table(tmp_path / "p.csv", good)
    far = table(tmp_path / "far.csv", Predictions(good.clip, good.start, good.end, good.scores * 3, good.columns))
    gaps = good.scores.copy()
    gaps[1] = np.nan
    gappy = table(tmp_path / "gaps.csv", Predictions(good.clip, good.start, good.end, gaps, good.columns))
    silent = np.where((good.clip == "b")[:, None], np.nan, good.scores)
    silent_path = table(tmp_path / "silent.csv", Predictions(good.clip, good.start, good.end, silent, good.columns))
    expr = table(tmp_path / "expr.csv", predicted("expr", ["a", "b"], 4))
    names = frames(("a", range(1, 5)), ("b", range(1, 5)))
    t = template(tmp_path / "t.txt", VA_HEADER, names)
    more = template(tmp_path / "more.txt", VA_HEADER, names + frames(*((f"x{n}", [1, 2]) for n in range(5))))
    (tmp_path / "videos").mkdir()
    va = config("affwild2-va")
    hold, by_video = config("affwild2-va", missing="hold"), SubmitConfig(format="affwild2-va")
    cases: list[tuple[Path, Path, SubmitConfig, Path | None, str]] = [
        (path, more, va, None, r"10 rows of .* without a valid prediction: 5 \(x0, x1, x2, \.\.\.\); .* 2 \(a, b\)"),
        (far, t, va, None, r"\d rows have values beyond \[-1, 1\] .*: \d \(a/0000\d.jpg.*--out-of-range clip"),
        (gappy, t, va, None, r"1 rows of the template are at times without a score, in clips 1 \(a\): --missing hold"),
        (silent_path, t, hold, None, r"4 rows of .* without a valid prediction: 1 \(b\)"),
        (expr, t, va, None, "valence"),
        (path, t, by_video, None, r"--videos DIR, or --fps .*2 \(a, b\)"),
        (path, t, by_video, tmp_path / "videos", r"videos whose times cannot be read: 2 \(a: no video a "),
        (path, t, by_video, tmp_path / "nowhere", "not a folder"),
        (path, t, va, tmp_path / "videos", "give one of them"),
        (path, t, config("affwild2-expr"), None, "has the columns image_location, valence, arousal"),
        (path, template(tmp_path / "0", VA_HEADER, []), va, None, "no rows below its header"),
        (path, template(tmp_path / "1", VA_HEADER, ["a/00000.jpg"]), va, None, r"1 \('a/00000.jpg' on line 2"),
        (path, template(tmp_path / "2", VA_HEADER, ["a", "b"]), va, None, r"like video1/00001.jpg: 2 \('a' on"),
        (path, template(tmp_path / "3", VA_HEADER, names[:1] * 2), va, None, r"more than once: 1 \(a/00001.jpg\)"),
        (path, template(tmp_path / "4", VA_HEADER, ["a/1.jpg", "a/01.jpg"]), va, None, "more than once"),
        (path, template(tmp_path / "5", names[0] + ",0,0", names[1:]), va, None, "has the columns a/00001.jpg"),
        (path, template(tmp_path / "6", VA_HEADER, ["../a/00001.jpg"]), va, None, r"'\.\.'"),
        (path, tmp_path / "none.txt", va, None, "No such file"),
    ]  # fmt: skip
    out = tmp_path / "out" / "va.txt"
    for predictions, rows, how, videos, message in cases:
        with pytest.raises(UsageError, match=message):
            submit(predictions, rows, out, how, videos=videos)
    assert not out.exists() and not out.parent.exists()
    with pytest.raises(UsageError, match="is the file that is read"):
        submit(path, t, t, va)
    with pytest.raises(AffectkitError, match="not a regular file"):
        submit(path, t, tmp_path / "videos", va)
    assert lines_of(t)[0] == VA_HEADER and len(lines_of(t)) == 10


def test_the_systems_own_names_are_never_renamed_over(tmp_path: Path) -> None:
    """Where standard output goes to a file, /dev/stdout looks like one."""
    path = table(tmp_path / "p.csv", predicted("va", ["a"], 2))
    wanted = template(tmp_path / "t.txt", VA_HEADER, frames(("a", [1, 2])))
    with (tmp_path / "standard.txt").open("w") as file, pytest.raises(AffectkitError, match="not a regular file"):
        submit(path, wanted, Path(f"/proc/self/fd/{file.fileno()}"), config("affwild2-va"))
    assert all(_is_the_systems(Path(name)) for name in ("/dev/stdout", "/dev/fd/1", "/dev/null", "/proc/self/fd/1"))
    assert not any(_is_the_systems(Path(name)) for name in ("/dev/shm/out.txt", "out.txt", "/tmp/out.txt"))


def test_refused_for_reactions(tmp_path: Path) -> None:
    given = predicted("eri", ["1", "2"], 1)
    path = table(tmp_path / "p.csv", given)
    t = template(tmp_path / "t.csv", HUME_HEADER, ["[1]", "[2]"])
    with pytest.raises(UsageError, match="row a clip: --videos and --fps are for rows of frames"):
        submit(path, t, tmp_path / "o", SubmitConfig(format="hume-reaction", fps=25))
    with pytest.raises(UsageError, match=r"1 rows of .*: 1 \(3\); the predictions have 2 \(1, 2\)"):
        submit(path, template(tmp_path / "u.csv", HUME_HEADER, ["[1]", "[3]"]), tmp_path / "o", config("hume-reaction"))
    both = table(tmp_path / "both.csv", predicted("eri", ["1", "[1]"], 1))
    with pytest.raises(UsageError, match="with and without brackets"):
        submit(both, t, tmp_path / "o", config("hume-reaction"))
    negative = Predictions(given.clip, given.start, given.end, given.scores - 1, given.columns)
    with pytest.raises(UsageError, match=r"2 rows have values beyond \[0, 1\] .*\[1\], \[2\]"):
        submit(table(tmp_path / "n.csv", negative), t, tmp_path / "o", config("hume-reaction"))
    assert not (tmp_path / "o").exists()


def test_rows_without_a_score_may_be_held(tmp_path: Path) -> None:
    """Each takes the nearest row that has one, the earlier of two; against a plain loop."""
    rng = np.random.default_rng(3)
    scores = predicted("va", ["a"], 40).scores
    there = rng.random(40) < 0.3
    scores[~there] = np.nan
    full = predicted("va", ["a"], 40)
    given = Predictions(full.clip, full.start, full.end, scores, full.columns)
    wanted = template(tmp_path / "t.txt", VA_HEADER, frames(("a", range(1, 41))))
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "o", config("affwild2-va", missing="hold"))
    rows = np.array([line.split(",")[1:] for line in lines_of(done.path)[1:-1]], float)
    have = np.flatnonzero(there)
    for row in range(40):
        assert np.allclose(rows[row], scores[min(have, key=lambda at: (abs(at - row), at))], atol=1e-6)
    assert done.report["rows_held"] == int((~there).sum()) > 0


def test_values_may_be_cut_to_the_range(tmp_path: Path) -> None:
    given = predicted("va", ["a"], 30)
    wide = Predictions(given.clip, given.start, given.end, given.scores * 1.5, given.columns)
    wanted = template(tmp_path / "t.txt", VA_HEADER, frames(("a", range(1, 31))))
    done = submit(table(tmp_path / "p.csv", wide), wanted, tmp_path / "o", config("affwild2-va", out_of_range="clip"))
    rows = np.array([line.split(",")[1:] for line in lines_of(done.path)[1:-1]], float)
    assert np.allclose(rows, wide.scores.clip(-1, 1), atol=1e-6)
    assert done.report["rows_cut_to_range"] == int((np.abs(wide.scores) > 1).any(axis=1).sum()) > 0


def test_rounding_alone_is_not_beyond_the_range(tmp_path: Path) -> None:
    scores = np.array([[1 + 1e-9, -1 - 1e-9], [-1e-9, 0]])
    given = Predictions(
        np.array(["a", "a"]), np.arange(2) / FPS, (np.arange(2) + 1) / FPS, scores, ("valence", "arousal")
    )
    wanted = template(tmp_path / "t.txt", VA_HEADER, frames(("a", [1, 2])))
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "o", config("affwild2-va"))
    assert lines_of(done.path)[1:3] == ["a/00001.jpg,1.000000,-1.000000", "a/00002.jpg,0.000000,0.000000"]


@pytest.mark.parametrize("format", TASKS)
def test_round_trip(tmp_path: Path, format: FormatName) -> None:
    """What is read back are the predictions at the template's rows, and both score the same."""
    task, rng = tasks.get(TASKS[format]), np.random.default_rng(1)
    rows = 1 if format == "hume-reaction" else 60
    clips = [str(n) for n in range(40)] if format == "hume-reaction" else ["a", "b_left", "b_right"]
    given = predicted(task.name, clips, rows)
    names = [f"[{clip}]" for clip in clips] if rows == 1 else frames(*((clip, range(1, 61)) for clip in clips))
    wanted = template(tmp_path / "t.txt", FORMATS[format].header, names)
    done = submit(table(tmp_path / "p.csv", given), wanted, tmp_path / "out.txt", config(format, digits=4))
    back = submitted(done.path, format, CropTimes(source_fps=FPS))
    assert back.clip.tolist() == given.clip.tolist() and back.columns == given.columns
    if rows > 1:
        assert np.allclose(back.start, given.start) and np.allclose(back.end, given.end)
    if task.kind == "regression":
        assert np.abs(back.scores - given.scores).max() <= 0.5e-4 + 1e-12
        truth, tolerance = (given.scores + rng.normal(0, 0.3, given.scores.shape)).clip(-1, 1), 1e-4
    elif task.kind == "multiclass":
        assert (back.scores.argmax(axis=1) == given.scores.argmax(axis=1)).all()
        assert set(np.unique(back.scores)) == {0, 1} and (back.scores.sum(axis=1) == 1).all()
        truth, tolerance = rng.integers(0, task.outputs, (len(given), 1)).astype(float), 0.0
    else:
        assert (back.scores == (given.scores >= 0.5)).all()
        truth, tolerance = rng.integers(0, 2, given.scores.shape).astype(float), 0.0
    ours, theirs = metrics.main(task, truth, given.scores), metrics.main(task, truth, back.scores)
    assert ours == theirs if not tolerance else abs(ours - theirs) <= tolerance
    assert check(done.path, wanted, format).good


@pytest.mark.parametrize("format", ["affwild2-va", "affwild2-expr"])
def test_evaluate_says_the_same_of_predictions_and_of_their_submission(
    tmp_path: Path, cache: Cache, format: FormatName
) -> None:
    """Predictions at 5 a second, labels a frame: both are read at the labels' rows."""
    task, rng = tasks.get(TASKS[format]), np.random.default_rng(5)
    given, clips = table(tmp_path / "p.csv", predicted(task.name, ["a", "b"], 10, fps=5)), ("a", "b")
    names = frames(*((clip, range(1, 61)) for clip in clips))
    wanted = template(tmp_path / "t.txt", FORMATS[format].header, names)
    done = submit(given, wanted, tmp_path / "out.txt", config(format))
    back = submitted(done.path, format, CropTimes(source_fps=FPS))
    scores = {name: back.scores[:, place] for place, name in enumerate(back.columns)}
    rows = pd.DataFrame({"clip": back.clip, "start": back.start, "end": back.end, **scores})
    rows.to_csv(tmp_path / "back.csv", index=False)
    lines = [",".join(["clip", "start", "end", *task.label_columns])]
    for clip in clips:
        for row in range(60):
            cells = [rng.integers(0, 8)] if task.kind == "multiclass" else rng.uniform(-1, 1, 2).round(3)
            lines.append(",".join([clip, repr(row / FPS), repr((row + 1) / FPS), *map(str, cells)]))
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    ours, theirs = (
        evaluate(cache, path, tmp_path / "labels.csv", EvaluateConfig(task=task.name, draws=0)).report
        for path in (given, tmp_path / "back.csv")
    )
    assert ours["rows"] == theirs["rows"] == 120 and theirs["rows_interpolated"] == 0 < ours["rows_interpolated"]
    for name, value in ours["scores"].items():
        assert value == (
            theirs["scores"][name] if task.kind == "multiclass" else pytest.approx(theirs["scores"][name], abs=1e-5)
        )


def test_a_damaged_submission_is_not_read_back(tmp_path: Path) -> None:
    path = template(tmp_path / "s.txt", VA_HEADER, ["a/00001.jpg,0.5,2"])
    with pytest.raises(UsageError, match=r"no affwild2-va submission: values beyond \[-1, 1\]: 1 \(2 on line 2\)"):
        submitted(path, "affwild2-va", CropTimes(source_fps=25))
    with pytest.raises(UsageError, match="which videos, or which rate"):
        submitted(template(tmp_path / "g.txt", VA_HEADER, ["a/00001.jpg,0.5,0.5"]), "affwild2-va")


ROWS = {
    "affwild2-va": ["0.1,-0.2", "1,0", "-1.0,5e-1"],
    "affwild2-expr": ["0", "7", "3"],
    "affwild2-au": [",".join("0" * 12), ",".join("1" * 12), ",".join("01" * 6)],
    "cexpr": ["0", "6", "3"],
    "hume-reaction": ["0,1,0.5,0.25,0,0,1", *[",".join(["0.5"] * 7)] * 2],
}


def submission(path: Path, format: FormatName, cells: Sequence[str], names: Sequence[str] | None = None,
               header: str | None = None, **quirk: str) -> Path:  # fmt: skip
    rows = names or (["[1]", "[2]", "[3]"] if format == "hume-reaction" else frames(("a", [1, 2]), ("b_left", [1])))
    return template(
        path, header or FORMATS[format].header, [f"{n},{c}" for n, c in zip(rows, cells, strict=True)], **quirk
    )


@pytest.mark.parametrize("format", TASKS)
def test_good_files_pass(tmp_path: Path, format: FormatName) -> None:
    wanted = submission(tmp_path / "t", format, ROWS[format])
    found = check(submission(tmp_path / "s", format, ROWS[format], end="\r\n"), wanted, format)
    assert found.good and found.rows == 3, [str(problem) for problem in found.problems]


@pytest.mark.parametrize(
    ("format", "cells", "what", "count"),
    [
        ("affwild2-va", ["0.1,-0.2", "1.01,0", "-7,-7"], "values beyond [-1, 1]", 3),
        ("affwild2-va", ["0.1,nan", "inf,0", "0,0"], "cells that are NaN or infinite", 2),
        ("affwild2-va", ["0.1,", "one,0", "0_1,0"], "cells that are no number", 3),
        ("affwild2-va", ["0.1", "0,0,0", "0,0"], "rows with another number of cells", 2),
        ("hume-reaction", ["0,0,0,0,0,0,-0.1", *ROWS["hume-reaction"][1:]], "values beyond [0, 1]", 1),
        ("affwild2-expr", ["8", "-1", "3.0"], "cells that are no whole number from 0 to 7", 3),
        ("affwild2-expr", ["1", "Anger", "3"], "cells that are no whole number from 0 to 7", 1),
        ("affwild2-expr", ["0,1", "3", "3"], "rows with another number of cells", 1),
        ("cexpr", ["7", "6", "0"], "cells that are no whole number from 0 to 6", 1),
        ("affwild2-au", ["2" + ",0" * 11, *ROWS["affwild2-au"][1:]], "cells that are no whole number from 0 to 1", 1),
    ],
)  # fmt: skip
def test_wrong_cells_are_found(tmp_path: Path, format: FormatName, cells: list[str], what: str, count: int) -> None:
    wanted = submission(tmp_path / "t", format, ROWS[format])
    (problem,) = check(submission(tmp_path / "s", format, cells), wanted, format).problems
    assert (problem.what, problem.count) == (what, count) and len(problem.first) == min(3, count)


def test_wrong_rows_and_headers_are_found(tmp_path: Path) -> None:
    format: FormatName = "affwild2-va"
    cells, names = ROWS[format], frames(("a", [1, 2]), ("b_left", [1]))
    wanted = submission(tmp_path / "t", format, cells)

    def wrong(**fields: Any) -> dict[str, tuple[int, tuple[str, ...]]]:
        made = submission(tmp_path / "s", **{"format": format, "cells": cells, **fields})
        return {one.what: (one.count, one.first) for one in check(made, wanted, format).problems}

    order = "rows in another order than the template's"
    assert wrong(names=[names[1], names[0], names[2]])[order][0] == 2
    assert wrong(names=names[:2], cells=cells[:2]) == {"rows that are missing": (1, ("b_left/00001.jpg",))}
    twice = wrong(names=[*names, names[0]], cells=[*cells, cells[0]])
    assert twice == {"rows that are there twice": (1, ("a/00001.jpg",))}
    extra = wrong(names=[*names, "c/00001.jpg"], cells=[*cells, cells[0]])
    assert extra == {"rows that the template does not have": (1, ("c/00001.jpg",))}
    assert set(wrong(names=["a/1.jpg", *names[1:]])) == {
        "rows that the template does not have",
        "rows that are missing",
    }
    assert set(wrong(mark="\ufeff")) == {"byte-order mark before the header"}
    assert set(wrong(header='"image_location","valence","arousal"')) == {"quote characters"}
    assert set(wrong(header="image_location, valence, arousal")) == {"spaces in the header"}
    assert set(wrong(header="image_location,arousal,valence")) == {"another header"}
    assert set(wrong(header=EXPR_HEADER)) == {"another header"}
    assert wrong() == {}


def test_command_line(tmp_path: Path, affectkit: Command) -> None:
    given = predicted("va", ["a", "extra"], 6, fps=6)
    table(tmp_path / "p.csv", given)
    template(tmp_path / "t.txt", VA_HEADER, frames(("a", range(1, 31))))
    line = ["submit", "p.csv", "--format", "affwild2-va", "--template", "t.txt"]
    done = affectkit(*line, "--fps", 30, "--out", "va.txt")
    assert done.returncode == 0 and done.stdout == "va.txt\n", done.stderr
    said = " ".join(done.stderr.split())
    assert "30 rows of 1 clips" in said and "assumed to come at 30 a second" in said
    assert "rows read between predictions (linear between row middles)" in said and "1 (extra)" in said
    report = json.loads(affectkit(*line, "--fps", 30, "--out", "va.txt", "--json").stdout)
    assert report["rows"] == 30 and report["file"] == "va.txt" and report["clips_not_in_template"] == ["extra"]
    checked = affectkit("submit", "--check", "va.txt", "--format", "affwild2-va", "--template", "t.txt")
    assert checked.returncode == 0 and checked.stdout == "30 rows, nothing wrong\n"
    (tmp_path / "bad.txt").write_text((tmp_path / "va.txt").read_text().replace("a/00003.jpg,", "a/00003.jpg,x"))
    bad = affectkit("submit", "--check", "bad.txt", "--format", "affwild2-va", "--template", "t.txt")
    assert bad.returncode == 3 and bad.stdout == "30 rows, 1 problem\n"
    assert "wrong: cells that are no number: 1 (x" in bad.stderr and "on line 4" in bad.stderr
    as_json = affectkit("submit", "--check", "bad.txt", "--format", "affwild2-va", "--template", "t.txt", "--json")
    about = json.loads(as_json.stdout)
    assert as_json.returncode == 3 and not about["good"] and about["problems"][0]["count"] == 1
    for wrong in (
        [*line, "--out", "x.txt"],
        [*line, "--fps", "30"],
        ["submit", "--format", "affwild2-va", "--template", "t.txt", "--out", "x.txt"],
        ["submit", "p.csv", "--check", "va.txt", "--format", "affwild2-va", "--template", "t.txt"],
        ["submit", "--check", "none.txt", "--format", "affwild2-va", "--template", "t.txt"],
        ["submit", "p.csv", "--format", "affwild3", "--template", "t.txt", "--out", "x.txt"],
    ):
        refused = affectkit(*wrong)
        assert refused.returncode == 2 and not refused.stdout and "Traceback" not in refused.stderr, wrong
    assert not (tmp_path / "x.txt").exists()


def test_a_table_of_rates_gives_each_clip_its_own(tmp_path: Path) -> None:
    given = table(tmp_path / "p.csv", predicted("va", ["a", "b"], 8, fps=4))
    wanted = template(tmp_path / "t.txt", VA_HEADER, frames(("a", [1, 5]), ("b", [5])))
    rates = tmp_path / "rates.csv"
    rates.write_text("clip,fps\na,4\nb,8\nc,30\n")
    done = submit(given, wanted, tmp_path / "o", config("affwild2-va", fps=str(rates)))
    scores = predicted("va", ["a", "b"], 8, fps=4).scores
    lines = [line.split(",")[1] for line in lines_of(done.path)[1:4]]
    between = 0.25 * scores[9, 0] + 0.75 * scores[10, 0]  # frame 5 of b is shown from 0.5 to 0.625 s
    assert lines == [f"{value:.6f}" for value in (scores[0, 0], scores[4, 0], between)]
    assert done.report["notices"] == [f"{rates}: rows of clips that are not here: 1 (c)"]
    rates.write_text("clip,fps\na,4\n")
    with pytest.raises(UsageError, match="no fps of 1 of 2 clips, the first: 'b'"):
        submit(given, wanted, tmp_path / "o", config("affwild2-va", fps=str(rates)))
