"""Scores only where something was seen: the reach, edge by edge, and what predictions say they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from numpy.typing import NDArray
from stage_calls import evaluate, fuse, predict, train

from affectkit import tasks
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.smoothing import smooth
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.fuse import FuseConfig
from affectkit.stages.observed import Observed
from affectkit.stages.predict import PredictConfig
from affectkit.stages.score_rows import RowRecipe, Scored
from affectkit.stages.smooth import of_head
from affectkit.stages.train_head import TrainConfig
from affectkit.store import Artifact, Cache, Features, features_schema, predictions_schema, write_table
from affectkit.store.export import export
from affectkit.tables.predictions import load, read_predictions
from affectkit.types import FeatureSequence

VA = tasks.get("va")
FPS, ROWS = 5, 60  # 12 s
RUNTIME = Runtime(workers=1, progress=False)
Bools = NDArray[np.bool_]


def gone(first: float, last: float, fps: float = FPS, seconds: float = 12.0) -> Bools:
    """A face in every row but those that begin from `first` to `last` (s)."""
    begin = np.arange(round(seconds * fps)) / fps
    return ~((begin >= first - 1e-9) & (begin < last - 1e-9))


def sequence(valid: Bools, fps: float = FPS) -> FeatureSequence:
    start = np.arange(len(valid)) / fps
    return FeatureSequence(start, start + 1 / fps, np.zeros((len(valid), 0)), valid)


def rows(valid: Bools, raw: NDArray[Any] | None = None, fps: float = FPS, **config: Any) -> dict[str, Any]:
    """What predict stores of a clip whose model has a score at every row."""
    one = sequence(valid, fps)
    scores = np.zeros((len(one), 2)) if raw is None else raw
    smoothing = config.pop("smoothing", None)
    recipe = RowRecipe.of([VA], of_head({"smoothing": smoothing}), PredictConfig(**config), None)
    return recipe.rows(Scored("a", one, [scores], [one]))


# ---- the reach


@pytest.mark.parametrize(
    ("fps", "reach", "kept"), [(5, None, 5), (25, None, 25), (4, 1.0, 4), (5, 2.0, 10), (5, 0.0, 0), (5, 0.5, 2)]
)
def test_a_gap_has_no_score_beyond_the_reach_on_either_side(fps: float, reach: float | None, kept: int) -> None:
    valid = gone(2, 7, fps)
    found = rows(valid, fps=fps, **({} if reach is None else {"reach": reach}))
    first, last = round(2 * fps), round(7 * fps)
    expected = np.ones(len(valid), bool)
    expected[first + kept : last - kept] = False
    assert found["valid"].tolist() == expected.tolist()
    assert np.isnan(found["scores"][~expected]).all() and np.isfinite(found["scores"][expected]).all()
    assert found["observed"].tolist() == valid.astype(float).tolist()


def test_a_gap_within_the_reach_keeps_its_scores_and_says_so() -> None:
    found = rows(gone(2, 3.8))
    assert found["valid"].all() and found["observed"].tolist() == gone(2, 3.8).astype(float).tolist()


@pytest.mark.parametrize("valid", [gone(0, 5), gone(7, 12)])
def test_a_face_that_comes_late_or_leaves(valid: Bools) -> None:
    found = rows(valid)
    assert found["valid"].sum() == valid.sum() + 5
    nearest = np.flatnonzero(~valid)[-5:] if valid[-1] else np.flatnonzero(~valid)[:5]
    assert np.flatnonzero(found["valid"] & ~valid).tolist() == nearest.tolist()


def test_nothing_seen_is_no_score() -> None:
    found = rows(np.zeros(ROWS, bool))
    assert not found["valid"].any() and not found["observed"].any()


@pytest.mark.parametrize("kind", ["hamming", "box", "gaussian", "median"])
def test_smoothing_does_not_reach_over_a_gap(kind: str) -> None:
    valid, raw = gone(2, 7), np.zeros((ROWS, 2))
    raw[:10], raw[10:35], raw[35:] = 0.25, 0.5, 0.75  # before, in the gap, after
    plain = rows(valid, raw, smooth=kind, half_width=6.0)
    assert plain["valid"].tolist() == [row < 15 or row >= 30 for row in range(ROWS)]
    time = sequence(valid).middle
    for side in (slice(0, 15), slice(30, 60)):
        np.testing.assert_allclose(plain["scores"][side], smooth(raw[side], time[side], kind, 6.0))  # type: ignore[arg-type]
    raw[30:] = -0.9
    assert np.array_equal(rows(valid, raw, smooth=kind, half_width=6.0)["scores"][:15], plain["scores"][:15])


def test_the_share_of_a_smoothing_window_that_was_observed() -> None:
    found = rows(gone(2, 7), smooth="box", half_width=0.4)  # two rows to either side
    assert found["observed"][6:13] == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2, 0])
    assert found["observed"][0] == 1


def test_other_rows_follow_the_same_rule() -> None:
    """--at and --rate: nothing is drawn across the gap, whatever the rate."""
    raw = np.repeat(np.where(np.arange(ROWS) < 25, -0.5, 0.5)[:, None], 2, axis=1)
    found = rows(gone(2, 7), raw, rate=25.0)
    middle = (found["start"] + found["end"]) / 2
    far = (middle > 1.9 + 1 + 1e-6) & (middle < 7.1 - 1 - 1e-6)
    assert np.array_equal(found["valid"], ~far)
    assert set(np.unique(found["scores"][~far]).tolist()) == {-0.5, 0.5}  # held at the edges, no line between
    assert (found["observed"][far] == 0).all() and found["observed"][middle < 1.9].min() == 1
    near = rows(gone(2, 7), raw, rate=25.0, max_gap=0.02)
    assert near["valid"].sum() < found["valid"].sum()


def test_rows_outside_of_the_clip_are_held_up_to_the_reach(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("clip,start,end\na,12.4,12.6\na,13.0,13.2\na,5,5.2\n")
    one = sequence(np.ones(ROWS, bool))
    for reach, expected in ((None, [1, 1, 0]), (2.0, [1, 1, 1])):
        recipe = RowRecipe.of([VA], None, PredictConfig(reach=reach), table)
        found = recipe.rows(Scored("a", one, [np.ones((ROWS, 2))], [one]))
        assert found["valid"].tolist() == [bool(x) for x in expected]
        assert found["observed"].tolist() == [1, 0, 0]


def test_rows_far_apart_are_no_gap_where_none_is_missing() -> None:
    start = np.arange(8) * 7.5
    one = FeatureSequence(start, start + 0.04, np.zeros((8, 0)), np.ones(8, bool))
    at = np.linspace(0, 52, 100)
    assert not Observed([one]).distance(at).any()
    lost = FeatureSequence(start[[0, 1, 2, 6, 7]], start[[0, 1, 2, 6, 7]] + 0.04, np.zeros((5, 0)), np.ones(5, bool))
    assert Observed([lost]).distance(np.array([30.0]))[0] == pytest.approx(14.98)  # rows that are not there at all
    wide = FeatureSequence(start, start + 7.5, np.zeros((8, 0)), np.arange(8) != 3)
    assert Observed([wide]).distance(np.array([0.1, 22.4, 26.0])).tolist() == pytest.approx([0, 0, 7.25])


def test_what_any_of_several_inputs_saw_is_observed() -> None:
    face, voice = sequence(gone(2, 7)), sequence(gone(4, 12))
    both = Observed([face, voice])
    assert both.whole == pytest.approx(35 / 60)
    seen = gone(2, 7) | gone(4, 12)
    assert np.array_equal(both.share(face.middle), seen.astype(float))
    assert both.within(face.middle, 1.0).sum() == seen.sum() + 10


@pytest.mark.parametrize(("valid", "observed"), [(gone(2, 7), 35 / 60), (np.zeros(ROWS, bool), 0.0)])
def test_one_score_a_clip_says_how_much_was_seen(valid: Bools, observed: float) -> None:
    task, one = tasks.get("eri"), sequence(valid)
    recipe = RowRecipe.of([task], None, PredictConfig(), None)
    found = recipe.rows(Scored("a", one, [np.full((1, 7), 0.5)], [one]))
    assert found["observed"].tolist() == [pytest.approx(observed)]
    assert found["valid"].tolist() == [observed > 0]
    with pytest.raises(UsageError, match="--reach is for tasks with scores over time; eri has one score a clip"):
        RowRecipe.of([task], None, PredictConfig(reach=2.0), None)


# ---- through the stages


@pytest.fixture
def head(cache: Cache, tmp_path: Path) -> tuple[Artifact, Artifact]:
    """A head that holds what it saw last, and features: of c2 the face is gone from 2 to 7 s, of c3 everywhere."""
    rng = np.random.default_rng(0)
    gaps = {"c0": np.ones(ROWS, bool), "c1": np.ones(ROWS, bool), "c2": gone(2, 7), "c3": np.zeros(ROWS, bool)}
    records, lines = [], ["clip,start,end,split,valence,arousal"]
    for clip, valid in gaps.items():
        start, curve = np.arange(ROWS) / FPS, rng.uniform(-0.8, 0.8, (ROWS, 2))
        values = np.where(valid[:, None], curve, 0).astype(np.float32)
        records.append((clip, clip, {"start": start, "end": start + 1 / FPS, "valid": valid, "values": values}))
        split = {"c0": "train", "c1": "val"}.get(clip, "test")
        lines += [f"{clip},{r / FPS},{(r + 1) / FPS},{split},{v:.4f},{a:.4f}" for r, (v, a) in enumerate(curve)]
    table = features_schema(2)
    made = cache.create_whole(
        "embed", "seen", {"stage": "embed"}, lambda folder: write_table(folder, table, records), table=table
    )
    (tmp_path / "va.csv").write_text("\n".join(lines) + "\n")
    option = ["hidden=4", "epochs=1", "window=0.2"]
    config = TrainConfig(task="va", head="lstm", option=option)
    done = train(cache, [Features(made)], tmp_path / "va.csv", config, RUNTIME, device="cpu")
    return done.artifact, made


def test_predictions_say_what_was_observed(cache: Cache, head: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    model, features = head
    done = predict(cache, model, [Features(features)], RUNTIME, device="cpu")
    found = Artifact(done.path)
    assert found.column("c2", "observed").tolist() == gone(2, 7).astype(float).tolist()
    assert found.column("c2", "valid").sum() == 45 and not found.column("c3", "valid").any()
    lines = (
        "scores at 165 of 240 rows, a face or speech in 155 of them; no score farther than 1 s from a face or speech",
        "1 of 4 clips is without any score: no face or speech (c3)",
    )
    assert done.notices == lines
    again = predict(cache, model, [Features(features)], RUNTIME, device="cpu")
    assert (again.cached, again.notices) == (4, lines)
    assert (again.counts["rows"], again.counts["valid"], again.counts["observed"]) == (240, 165, 155)
    assert again.counts["clips_without_valid_rows"] == ["c3"]
    wide = predict(cache, model, [Features(features)], RUNTIME, device="cpu", config=PredictConfig(reach=3))
    assert wide.path != done.path and Artifact(wide.path).column("c2", "valid").all()
    usual = predict(cache, model, [Features(features)], RUNTIME, device="cpu", config=PredictConfig(reach=1))
    assert usual.path == done.path
    for to in ("csv", "parquet"):
        out = export(found, to, tmp_path / f"p.{to}", ["c2"])
        table = pd.read_csv(out) if to == "csv" else pd.read_parquet(out)
        assert list(table.columns) == ["clip", "start", "end", "split", "valence", "arousal", "valid", "observed"]
        assert table["observed"].tolist() == gone(2, 7).astype(float).tolist() and table["valid"].sum() == 45
    read = read_predictions(tmp_path / "p.csv", VA)
    assert np.array_equal(read.observed, gone(2, 7)) and np.array_equal(read.valid, table["valid"] == 1)


def test_evaluate_counts_scores_of_rows_where_nothing_was_seen(
    cache: Cache, head: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    model, features = head
    done = predict(cache, model, [Features(features)], RUNTIME, device="cpu")
    report = evaluate(cache, done.path, tmp_path / "va.csv", EvaluateConfig(task="va", draws=0)).report
    assert (report["rows"], report["rows_without_score"], report["rows_unobserved"]) == (45, 75, 10)


def test_a_fusion_observed_what_any_of_its_models_did(
    cache: Cache, head: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    model, features = head
    one = Artifact(predict(cache, model, [Features(features)], RUNTIME, device="cpu").path)
    lines = ["clip,start,end,split,valence,arousal,observed"]
    for clip in one.clips:
        lines += [f"{clip},{r / FPS},{(r + 1) / FPS},{one.column(clip, 'split')},0.1,0.2,0.25" for r in range(ROWS)]
    (tmp_path / "other.csv").write_text("\n".join(lines) + "\n")
    done = fuse(cache, [one.path, tmp_path / "other.csv"], tmp_path / "va.csv", FuseConfig(task="va", method="equal"))
    fused = done.artifact.column("c2", "observed")
    assert fused.tolist() == np.where(gone(2, 7), 1, 0.25).tolist()


def test_nothing_seen_in_any_clip_is_told(cache: Cache, head: tuple[Artifact, Artifact]) -> None:
    model, features = head
    done = predict(cache, model, [Features(features)], RUNTIME, device="cpu", clips=["c3"])
    assert done.notices[0].startswith("scores at 0 of 60 rows, a face or speech in 0 of them")
    assert "1 of 1 clips is without any score: no face or speech (c3)" in done.notices
    assert done.counts["observed"] == 0


def test_predictions_of_an_earlier_release_are_read(cache: Cache) -> None:
    schema = predictions_schema(["valence", "arousal"])
    older = schema.model_copy(update={"columns": {n: c for n, c in schema.columns.items() if n != "observed"}})
    record = {"start": np.zeros(1), "end": np.ones(1), "valid": np.ones(1), "scores": np.ones((1, 2)), "split": "val"}
    made = cache.create_whole(
        "predict", "old", {"stage": "predict"}, lambda f: write_table(f, older, [("a", "a", record)]), table=older
    )
    found = load(made.path, VA)
    assert found.valid.all() and np.isnan(found.observed).all()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("valid\na,0,1,0.1,0.2,maybe", "valid is 'maybe', needed is 0 or 1"),
        ("observed\na,0,1,0.1,0.2,1.5", "observed is 1.5, needed is a share from 0 to 1"),
    ],
)
def test_columns_of_a_table_that_say_something_else(tmp_path: Path, cells: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(f"clip,start,end,valence,arousal,{cells}\n")
    with pytest.raises(UsageError, match=rf"p.csv:2: {message}"):
        read_predictions(tmp_path / "p.csv", VA)


def test_rows_that_a_table_calls_invalid_have_no_score(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "clip,start,end,valid,valence,arousal\na,0,1,1,0.1,0.2\na,1,2,0,0,0\na,2,3,False,0,0\na,3,4,,0.3,0.3\n"
    )
    assert read_predictions(tmp_path / "p.csv", VA).valid.tolist() == [True, False, False, True]


def test_the_command_line(affectkit: Command, head: tuple[Artifact, Artifact]) -> None:
    model, features = head
    root = features.path.parents[1]
    done = affectkit("predict", str(model.path), str(features.path), "--cache", str(root), "--reach", "2", "--json")
    said = json.loads(done.stdout)
    assert said["counts"]["valid"] == 175 and "no score farther than 2 s" in said["notices"][0]
    assert "note: scores at 175 of 240 rows" in done.stderr
