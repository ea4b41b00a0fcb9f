"""`affectkit analyze`: its folder against the predictions that it comes from, and what may go wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from media_factory import make_audio, make_clip, make_sound
from recipe_factory import write_recipe
from stage_factory import crop_folder, face_clips, no_face, portrait
from test_published import code

import affectkit as ak
from affectkit.emotions import valence_index
from affectkit.errors import UsageError
from affectkit.stages.analysis_folder import counted_faces
from affectkit.stages.scorers import names_of, shared_contract
from affectkit.tables.episodes import episodes
from affectkit.tables.score_tables import FaceSummary
from affectkit.types import Contract

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
BOTH = "[affectkit.models]\nbright = bright\nloud = loud\n"
Install = Callable[[str, str], Path]
FAST = {"weights": "random", "detector": "centerface", "fps": 10, "device": "cpu", "progress": False}
WORDS = ["--weights", "random", "--detector", "centerface", "--fps", "10", "--no-figures"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with a face, with none for a while, with two faces, with sound; one that is broken."""
    root = tmp_path_factory.mktemp("analyze")
    clips = root / "clips"
    face_clips(clips, ["day 1/Zoë", "b"], frames=9)
    make_clip(clips / "gap.mp4", [portrait()] * 6 + [no_face()] * 45 + [portrait()] * 6)
    make_clip(clips / "pair.mp4", [np.concatenate([portrait(), portrait()], axis=1)] * 6)
    make_clip(clips / "sound.mp4", [portrait()] * 40, audio=True)
    (clips / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module")
def result(folder: Path) -> ak.AnalysisResult:
    """The default analysis of them, with pictures."""
    with pytest.warns(ak.Notice):
        return ak.analyze(folder / "clips", out=folder / "out", cache=folder / "cache", **FAST)


def table_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"clip": str, "face": str}, keep_default_na=False, na_values=[""])


def test_tables_are_the_predictions(result: ak.AnalysisResult) -> None:
    predictions = ak.open(result.models["mini-xception"]["predictions"])
    for clip, name in (("day 1/Zoë", "day 1/Zoë"), ("gap", "gap")):
        table, truth = table_of(result.path / f"tables/{name}.csv"), predictions[clip]
        assert list(table) == ["clip", "start", "end", "face", *CLASSES, "valence_index", "valid", "observed", "model"]
        assert np.allclose(table[CLASSES], truth.scores, rtol=1e-5, equal_nan=True)
        assert np.allclose(table[["start", "end", "observed"]].T, [truth.start, truth.end, truth.observed], rtol=1e-5)
        index = valence_index(truth.scores, CLASSES)
        assert index is not None and np.allclose(table["valence_index"], index, atol=1e-5, equal_nan=True)
        assert (table["valid"] == np.isfinite(truth.scores).all(axis=1)).all()
        assert set(table["clip"]) == {clip} and set(table["model"]) == {"mini-xception"}
    gap = table_of(result.path / "tables/gap.csv")
    assert 0 < gap["valid"].sum() < len(gap) and gap.loc[gap["valid"] == 0, CLASSES].isna().all(axis=None)


def test_the_table_of_all_clips_is_theirs_one_after_the_other(result: ak.AnalysisResult) -> None:
    parts = [table_of(result.path / f"tables/{clip}.csv") for clip in result.clips]
    assert result.clips == ["b", "day 1/Zoë", "gap", "pair", "sound"]
    whole = pd.concat(parts, ignore_index=True)
    pd.testing.assert_frame_equal(table_of(result.path / "scores.csv"), whole)
    frame = result.frame()
    assert frame["valid"].dtype == bool and len(frame) == len(whole)
    assert len(result.frame(["b"])) == len(parts[0])
    with pytest.raises(UsageError, match="holds no clip 'x'"):
        result.frame(["x"])
    parquet = pd.read_parquet(result.path / "scores.parquet")
    assert list(parquet) == list(whole) and np.allclose(parquet[CLASSES], whole[CLASSES], rtol=1e-5, equal_nan=True)
    assert parquet["clip"].tolist() == whole["clip"].tolist()


def test_the_summary_and_episodes_follow_from_the_tables(result: ak.AnalysisResult) -> None:
    summary, frame = result.summary.set_index("clip"), result.frame()
    assert summary.loc["gap", "face_share"] == pytest.approx(4 / 19) and summary.loc["b", "face_share"] == 1
    assert summary.loc["sound", "seconds"] == pytest.approx(40 / 30, abs=0.1)
    listed = result.episodes
    for clip in result.clips:
        rows = frame[frame["clip"] == clip]
        for column in [*CLASSES, "valence_index"]:
            values = rows[column].dropna()
            assert summary.loc[clip, f"{column}_mean"] == pytest.approx(values.mean(), rel=1e-4, abs=1e-5)
            assert summary.loc[clip, f"{column}_sd"] == pytest.approx(values.std(), rel=1e-2, abs=1e-5)
            assert summary.loc[clip, f"{column}_p90"] == pytest.approx(values.quantile(0.9), rel=1e-4, abs=1e-5)
            times = (rows["start"].to_numpy(), rows["end"].to_numpy())
            found = episodes(*times, rows[column].to_numpy(), 0.5, 0.5)
            of_column = listed[(listed["clip"] == clip) & (listed["column"] == column)]
            assert summary.loc[clip, f"{column}_episodes"] == len(found) == len(of_column)
            assert np.allclose(of_column["start"], [each.start for each in found], atol=1e-6)
            assert np.allclose(of_column["peak"], [each.peak for each in found], atol=1e-5)


def test_the_broken_clip_is_listed_and_stops_nothing(result: ak.AnalysisResult) -> None:
    assert list(result.failed) == ["broken"] and result.exit_code == 3 and "b" in result.clips
    assert list(ak.open(result.path).failed) == ["broken"]
    assert "AnalysisResult 5 clips" in repr(result) and "<table" in result._repr_html_()


def test_the_folder_says_what_the_model_is(result: ak.AnalysisResult) -> None:
    text = (result.path / "models.md").read_text()
    card = result.models["mini-xception"]["card"]
    for said in ("not what a person feels", card["trained_on"], "MIT", "margin 0", "hamming window, 0.5 s"):
        assert said in text
    readme = (result.path / "README.md").read_text()
    assert "Rows with a face alone have scores of mini-xception." in readme and "up to 1 s" not in readme
    assert f"affectkit analyze {result.path.parent / 'clips'} --fps 10" in readme and "--weights random" in readme


def test_the_folder_says_which_classes_of_a_task_a_model_does_not_know(folder: Path, tmp_path: Path) -> None:
    run = {"cache": folder / "cache", "figures": False, "report": False, **FAST}
    with pytest.warns(ak.Notice, match="Other, which expr asks for"):
        result = ak.analyze(folder / "clips/b.mp4", out=tmp_path / "o", task="expr", **run)
    assert (result.frame()["Other"] == 0).all()
    for name in ("README.md", "models.md"):
        assert "mini-xception has no Other, which expr asks for: scores of 0" in (tmp_path / "o" / name).read_text()


def test_another_analysis_in_the_folder_is_told(folder: Path, tmp_path: Path) -> None:
    run = {"out": tmp_path / "o", "cache": folder / "cache", "figures": False, "report": False, **FAST}
    ak.analyze(folder / "clips/b.mp4", **run)
    with pytest.warns(ak.Notice, match=r"tables/b\.csv.* of an earlier analysis removed: a folder holds one"):
        ak.analyze(folder / "clips/gap.mp4", **run)
    with pytest.warns(ak.Notice, match=r"no episodes: the highest of all scores is 0\.\d+, less than --threshold 1"):
        ak.analyze(folder / "clips/gap.mp4", threshold=1, **run)


def test_every_face_has_a_picture(result: ak.AnalysisResult) -> None:
    pictures = {path.relative_to(result.path).as_posix() for path in result.path.rglob("*.png")}
    assert pictures == {"overview.png", *(f"curves/{clip}.png" for clip in result.clips)}
    for path in pictures:
        assert (result.path / path).read_bytes().startswith(b"\x89PNG")


def test_again_it_is_all_there(result: ak.AnalysisResult, folder: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in result.path.rglob("*") if path.suffix in (".csv", ".png")}
    run = {"out": folder / "out", "cache": folder / "cache", **FAST}
    with pytest.warns(ak.Notice):
        again = ak.analyze(folder / "clips", **run)
    assert again.cached and again.report["written"] == 0
    (result.path / "tables/b.csv").unlink()
    (result.path / "curves/gap.png").write_bytes(b"mine")
    with pytest.warns(ak.Notice, match="changed by hand"):
        again = ak.analyze(folder / "clips", **run)
    assert again.report["written"] == 2
    kept = [path for path in times if path.name not in ("b.csv", "gap.png")]
    assert all(path.stat().st_mtime_ns == times[path] for path in kept)


def test_several_faces_are_told_apart(folder: Path, tmp_path: Path) -> None:
    result = ak.analyze(folder / "clips/pair.mp4", out=tmp_path / "o", face="all", cache=folder / "cache", **FAST)
    frame = result.frame()
    assert frame.groupby("face").size().to_dict() == {"0": 2, "1": 2}
    summary = result.summary
    assert (summary["first_seen"] == 0).all() and (summary["last_seen"] > 0.1).all()
    assert (summary["face_x"].diff()[1:].abs() > summary["face_size"][1:] * 0.8).all() and (summary["face_y"] > 0).all()
    assert result.summary["face"].tolist() == ["0", "1"] and set(result.summary["clip"]) == {"pair"}
    assert sorted(path.name for path in (tmp_path / "o/curves").iterdir()) == ["pair-face0.png", "pair-face1.png"]
    predictions = ak.open(result.models["mini-xception"]["predictions"])
    assert np.allclose(frame.loc[frame["face"] == "1", CLASSES], predictions["pair#1"].scores, rtol=1e-5)


def test_a_clip_may_be_called_as_another_ones_face(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name, source in (("pair", "pair"), ("pair-face1", "b")):
        (tmp_path / f"v/{name}.mp4").symlink_to(folder / f"clips/{source}.mp4")
    result = ak.analyze(tmp_path / "v", out=tmp_path / "o", face="all", cache=folder / "cache", **FAST)
    assert len(list((result.path / "curves").iterdir())) == len(result.summary) == 3


def test_a_clip_without_faces_has_no_face_of_a_number(folder: Path, tmp_path: Path, affectkit: Command) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/pair.mp4").symlink_to(folder / "clips/pair.mp4")
    make_clip(tmp_path / "v/empty.mp4", [no_face()] * 6)
    run = affectkit("analyze", "v", "--out", "o", "--face", "all", "--cache", folder / "cache", *WORDS[:-1])
    assert run.returncode == 0, run.stderr
    assert "a number is no person" in run.stderr
    summary = table_of(tmp_path / "o/summary.csv").set_index("clip")
    assert summary.loc["empty", "face"] is np.nan and summary.loc["pair", "face"].tolist() == ["0", "1"]
    assert np.isnan(summary.loc["empty", "first_seen"]) and (tmp_path / "o/curves/empty.png").is_file()


def test_few_rows_are_told(folder: Path, tmp_path: Path, affectkit: Command) -> None:
    words = ["analyze", folder / "clips/gap.mp4", folder / "clips/sound.mp4", "--out", "o", "--cache", folder / "cache"]
    run = affectkit(*words, *WORDS)
    assert run.returncode == 0, run.stderr
    assert "1 of 2 summaries is of fewer than 10 rows with a face (gap: 4)" in run.stderr and "(4 rows)" in run.stderr
    assert table_of(tmp_path / "o/summary.csv").set_index("clip")["face_rows"].to_dict() == {"gap": 4, "sound": 14}


def test_faces_and_clips_are_counted_apart() -> None:
    faces = [FaceSummary(clip, face, 1, 5, 1, 1, ()) for clip, face in (("a", "0"), ("a", "1"), ("b", ""))]
    assert counted_faces(faces) == "2 faces in 2 clips"
    assert (counted_faces(faces[2:]), counted_faces(faces[:1])) == ("1 clip", "1 face in 1 clip")


@pytest.fixture
def two_models(package: Install, tmp_path: Path) -> None:
    """A model that sees and one that hears, each with classes and values."""
    site = package(code("image"), BOTH)
    (site / "loud.py").write_text(code("audio").replace('"bright"', '"loud"'))


@pytest.mark.usefixtures("two_models")
def test_models_that_see_and_hear_share_rows(folder: Path, tmp_path: Path) -> None:
    run = {"cache": folder / "cache", **FAST, "detector": "centerface", "vad": "energy"}
    with pytest.warns(ak.Notice) as said:
        result = ak.analyze(
            [folder / "clips/sound.mp4", folder / "clips/b.mp4"], model=["bright", "loud"], out=tmp_path / "o",
            option={"bright.steep": 2}, **run,
        )  # fmt: skip
    assert any("1 clip is without sound (b): no scores of loud" in str(each.message) for each in said)
    assert not result.failed
    frame = result.frame()
    names = [
        f"{m}.{c}" for m in ("bright", "loud") for c in ("happy", "sad", "contempt", "angry", "valence", "arousal")
    ]
    assert [c for c in frame if "." in c and not c.endswith("_index")] == names
    assert "speech" in frame and set(frame.loc[frame["clip"] == "sound", "speech"]) <= {0, 1}
    assert frame.loc[frame["clip"] == "b", [name for name in names if name.startswith("loud")]].isna().all(axis=None)
    heard = ak.open(result.models["loud"]["predictions"])["sound"]
    rows = frame[frame["clip"] == "sound"]
    middle = (rows["start"] + rows["end"]) / 2
    wanted = np.interp(middle, (heard.start + heard.end) / 2, heard.scores[:, 4])
    assert np.allclose(rows["loud.valence"], wanted, atol=1e-5)
    assert set(result.episodes["model"]) <= {"bright", "loud"}
    assert (tmp_path / "o/overview.png").is_file() and (tmp_path / "o/overview.loud.png").is_file()
    assert result.models["bright"]["prefix"] == "bright." and list(result.models) == ["bright", "loud"]


@pytest.mark.usefixtures("two_models")
def test_sound_alone_is_scored_where_a_model_hears(tmp_path: Path, affectkit: Command) -> None:
    make_sound(tmp_path / "tone.wav", 0.1 * np.sin(np.arange(96000) / 5, dtype=np.float32), 16000)
    make_audio(tmp_path / "m.m4a")
    run = affectkit("analyze", "tone.wav", "m.m4a", "--model", "loud", "--out", "o", "--json")
    assert run.returncode == 0, run.stderr
    table = table_of(tmp_path / "o/tables/tone.csv")
    assert table["start"].tolist() == [0, 2, 4] and table["valid"].all()
    assert json.loads(run.stdout)["faces"][0]["clip"] == "tone"
    run = affectkit("analyze", "tone.wav", "--out", "p")
    assert run.returncode == 2 and "no videos: 1 files (tone) of sound alone" in run.stderr, run.stderr


def test_a_head_of_ones_own_is_a_model_too(folder: Path, tmp_path: Path, affectkit: Command) -> None:
    run: dict[str, Any] = {"cache": tmp_path / "cache", "progress": False}
    clips = folder / "clips"
    faces = ak.extract_faces([clips / "b.mp4", clips / "sound.mp4"], detector="centerface", fps=10, size=48, **run)
    features = ak.embed(faces, backbone="mean-pixel", device="cpu", **run)
    labels = pd.DataFrame(
        {"clip": c, "start": t / 10, "end": t / 10 + 0.1, "split": s, "valence": t / 9 - 0.5, "arousal": 0.1 * t}
        for c, s in (("b", "train"), ("sound", "val")) for t in range(3 if c == "b" else 10)
    )  # fmt: skip
    head = ak.train_head(features, labels=labels, task="va", head="mlp", option={"epochs": 1}, **run)
    result = ak.analyze([clips / "b.mp4"], model=[head, "mini-xception"], out=tmp_path / "o", figures=False,
                        cache=tmp_path / "cache", **{**FAST, "weights": "random"})  # fmt: skip
    frame = result.frame()
    scores = ak.predict(head, clips / "b.mp4", **run)["b"].scores
    assert np.allclose(frame[["mlp.valence", "mlp.arousal"]], scores, rtol=1e-5)
    assert "mini-xception.happy" in frame and "mini-xception.valence_index" in frame
    assert "Rows up to 1 s from a face have scores of mlp." in (tmp_path / "o/README.md").read_text()
    assert "mlp" in result.models["mlp"]["card"]["name"] and result.models["mlp"]["smoothing"] == "none"
    bundle = affectkit("export", head.path, "--to", "bundle", "--out", "mine.affect", "--cache", tmp_path / "cache")
    assert bundle.returncode == 0, bundle.stderr
    alone = ak.analyze([clips / "b.mp4"], model=tmp_path / "mine.affect", out=tmp_path / "p",
                       figures=False, **run)  # fmt: skip
    assert np.allclose(alone.frame()[["valence", "arousal"]], scores, rtol=1e-5)


def test_the_command_prints_the_folder_or_json(folder: Path, affectkit: Command, tmp_path: Path) -> None:
    words = ["analyze", folder / "clips/b.mp4", folder / "clips/broken.mp4", "--cache", folder / "cache", *WORDS]
    run = affectkit(*words, "--out", "out dir")
    assert (run.returncode, run.stdout) == (3, "out dir\n")
    assert "failed: broken" in run.stderr and "not what a person feels" in run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.split()[:2] == ["b", "0:00"]]
    assert "100%" in line
    run = affectkit(*words, "--out", "out dir", "--json")
    said = json.loads(run.stdout)
    assert said["folder"] == "out dir" and said["cached"] and list(said["failed"]) == ["broken"]
    assert said["faces"][0]["mean"].keys() == {*CLASSES, "valence_index"}
    with (tmp_path / "out dir/summary.csv").open() as file:
        assert next(csv.DictReader(file))["happy_mean"]


def test_without_matplotlib_a_line_says_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from affectkit.stages import analysis_folder

    monkeypatch.setattr(analysis_folder, "find_spec", lambda name: None)
    with pytest.warns(ak.Notice) as said:
        result = ak.analyze(folder / "clips/b.mp4", out=tmp_path / "o", cache=folder / "cache", **FAST)
    lines = [str(each.message) for each in said]
    assert sum("affectkit[figures]" in line for line in lines) == 1
    assert sum("affectkit[parquet]" in line for line in lines) == 1
    assert not list(result.path.rglob("*.png")) and not list(result.path.rglob("*.parquet"))
    assert (tmp_path / "o/tables/b.csv").is_file()


def test_no_face_anywhere_is_a_result(tmp_path: Path, affectkit: Command) -> None:
    make_clip(tmp_path / "empty.mp4", [no_face()] * 6)
    run = affectkit("analyze", "empty.mp4", "--out", "o", *WORDS[:-1])
    assert run.returncode == 0, run.stderr
    assert "1 clip (empty) without faces" in run.stderr
    table = table_of(tmp_path / "o/tables/empty.csv")
    assert len(table) == 2 and table["happy"].isna().all() and not table["valid"].any()
    assert (tmp_path / "o/curves/empty.png").is_file()


def test_results_beside_the_videos_are_no_media(folder: Path, tmp_path: Path, affectkit: Command) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/b.mp4").symlink_to(folder / "clips/b.mp4")
    for _ in range(2):
        run = affectkit("analyze", "v", "--out", "v/results", "--cache", folder / "cache", *WORDS[:-1])
        assert run.returncode == 0, run.stderr
    assert "v: results of an analysis are left out (results)" in run.stderr
    assert json.loads((tmp_path / "v/results/analysis.json").read_text())["command"].startswith("affectkit analyze v/b")


def test_nothing_readable_is_an_empty_result(folder: Path, tmp_path: Path, affectkit: Command) -> None:
    run = affectkit("analyze", folder / "clips/broken.mp4", "--out", "o", *WORDS)
    assert (run.returncode, run.stdout) == (3, "o\n")
    assert ak.open(tmp_path / "o").frame().empty and ak.open(tmp_path / "o").summary.empty


def test_a_task_of_whole_clips_is_a_row_a_clip(folder: Path, tmp_path: Path) -> None:
    result = ak.analyze(folder / "clips/b.mp4", out=tmp_path / "o", cache=folder / "cache", task="dfew", figures=False,
                        **FAST)  # fmt: skip
    assert len(result.frame()) == 1 and "Happy" in result.frame()
    assert "smoothing here | none" in (tmp_path / "o/models.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clips", "--out", "clips"], "holds other files"),
        (["nowhere.mp4", "--out", "o"], "no such file"),
        (["clips/b.mp4", "--out", "o", "--model", "mini-xceptoin"], "did you mean 'mini-xception'"),
        (["clips/b.mp4", "--out", "o", "--detector", "centreface"], "did you mean 'centerface'"),
        (["clips/b.mp4", "--out", "o", "-o", "x=1"], "x"),
        (["clips/b.mp4", "--out", "o", "--half-width", "1", "--smooth", "none"], "half"),
        (["clips/b.mp4", "--out", "o", "--task", "au"], "that is not task au"),
        (["clips/b.mp4", "--out", "o", "--threshold", "2"], "--threshold 2: scores are probabilities"),
        (["clips/b.mp4", "--out", "o", "--threshold", "nan"], "threshold"),
        (["clips/b.mp4"], "--out"),
        (["crops", "--out", "o"], "crops is a folder of crops"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path, tmp_path: Path, affectkit: Command, words: list[str], message: str
) -> None:
    (tmp_path / "clips").symlink_to(folder / "clips")
    crop_folder(tmp_path / "crops", [portrait()])
    run = affectkit("analyze", *words, *(["--weights", "random"] if "-o" not in words else []))
    assert (run.returncode, run.stderr.count("\n")) == (2, 1) and message in run.stderr, run.stderr
    assert not (tmp_path / "o").exists()


RECIPE = """
title = "Scores without labels"
[data.main]
media = "clips/"
[steps.look]
stage = "analyze"
data = "main"
model = MODEL
detector = "centerface"
weights = "random"
figures = false
fps = 10
"""


def test_a_recipe_analyses(folder: Path, tmp_path: Path, affectkit: Command) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/b.mp4").symlink_to(folder / "clips/b.mp4")
    write_recipe(tmp_path / "r.toml", RECIPE.replace("MODEL", '["mini-xception"]'))
    run = affectkit("run", "r.toml")
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.glob("cache/run/*/look/tables/b.csv"))
    write_recipe(tmp_path / "r.toml", RECIPE.replace("MODEL", '["mini-xceptoin"]'))
    run = affectkit("run", "r.toml")
    assert run.returncode == 2 and "did you mean 'mini-xception'" in run.stderr, run.stderr


def test_models_of_one_crop_share_the_largest() -> None:
    small, large = (Contract("0.2", "square", size) for size in (64, 224))
    assert shared_contract([("a", small), ("b", None), ("c", large)]) == large
    assert shared_contract([("b", None)]) is None
    wide = shared_contract(
        [("a", small), ("d", Contract("0", "square", 64)), ("e", Contract("0", "square", 112, True))]
    )
    assert wide == Contract("0.5", "square", 256)
    with pytest.raises(UsageError, match="d wants a margin in pixels"):
        shared_contract([("a", small), ("d", Contract("10px", "square", 64))])


def test_each_model_is_given_its_own_crop_of_the_shared_one(package: Install, folder: Path, tmp_path: Path) -> None:
    stated = code("image").replace('(CLASSES, BUILT_IN["va"]), None,', '(CLASSES, BUILT_IN["va"]), WIDE,')
    wide = 'from affectkit.types import Contract\nWIDE = Contract("0.4", "square", 96)\n'
    package(wide + stated, "[affectkit.models]\nbright = bright\n")
    run: dict[str, Any] = {"cache": tmp_path / "cache", "figures": False, "smooth": "none", **FAST}
    clip = folder / "clips/b.mp4"
    with pytest.warns(ak.Notice, match="crops are cut again for mini-xception") as said:
        both = ak.analyze(clip, model=["mini-xception", "bright"], out=tmp_path / "o", **run).frame()
    differ = "scores differ a little from those of the model alone"
    assert sum(differ in str(each.message) for each in said) == 1
    assert all(differ in (tmp_path / f"o/{name}").read_text() for name in ("README.md", "models.md"))
    for model, tolerance in (("mini-xception", 0.05), ("bright", 0.01)):
        alone = ak.analyze(clip, model=[model], out=tmp_path / model, **run).frame()
        assert differ not in (tmp_path / model / "models.md").read_text()
        names = [name for name in both if name.startswith(f"{model}.")]
        assert np.allclose(both[names], alone[[name.partition(".")[2] for name in names]], atol=tolerance)


def test_names_of_models_are_short_and_differ() -> None:
    from affectkit.stages.predict_published import PublishedModel

    names = names_of(
        [PublishedModel("a/b.onnx"), PublishedModel("hub:USER/net"), PublishedModel("b"), PublishedModel("b")]
    )
    assert names == ["b", "net", "b-2", "b-3"]


def test_smoothing_turns_no_sign_over_where_the_raw_scores_agree() -> None:
    """The default: rows at 5 a second whose index keeps its sign for a second keep it smoothed."""
    from affectkit.metrics import probabilities
    from affectkit.models.mini_xception import TASK
    from affectkit.smoothing import smooth

    random = np.random.default_rng(0)
    time = np.arange(100) / 5
    raw = random.normal(size=(100, 7))
    raw[:50, 4] += 3  # sad, then happy
    raw[50:, 3] += 3
    before = valence_index(probabilities(TASK, raw), CLASSES)
    after = valence_index(probabilities(TASK, smooth(raw, time, "hamming", 0.5)), CLASSES)
    assert before is not None and after is not None
    assert (after[:47] < 0).all() and (after[53:] > 0).all()
    assert np.sign(after).tolist().count(1) in range(47, 54)


def test_the_folder_has_a_page_to_look_at(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", [portrait()] * 6)
    run = {"media": clip, "fps": 5, "figures": False, "device": "cpu", "cache": tmp_path / "cache"}
    result = ak.analyze(**run, out=tmp_path / "o")
    page = (tmp_path / "o/report/index.html").read_text()
    assert "clip" in page and len(list((tmp_path / "o/report/data").iterdir())) == 1
    shown = [path for path in (result.path / "report").rglob("*") if path.suffix in (".html", ".js")]
    before = {path: path.stat().st_mtime_ns for path in shown}
    ak.analyze(**run, out=tmp_path / "o")
    assert {path: path.stat().st_mtime_ns for path in shown} == before
    ak.analyze(**run, out=tmp_path / "without", report=False)
    assert not (tmp_path / "without/report").exists()
