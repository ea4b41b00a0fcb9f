"""The functionals stage: numbers of the right rows, only what is missing is computed, what cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip
from numpy.typing import NDArray
from pydantic import ValidationError
from stage_calls import embed, extract_faces, functionals, train
from stage_factory import clips_in, column_bytes, datasets, portrait

from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.faces import FacesConfig
from affectkit.stages.functionals import FunctionalsConfig
from affectkit.stages.map_stage import Outcome
from affectkit.stages.replay import _Chain, replay
from affectkit.stages.stage import Context
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.trained import lineage
from affectkit.store import Artifact, Cache, faces_schema, features_schema
from affectkit.store import features as column_of
from affectkit.summaries import SETS
from affectkit.summaries import functionals as numbers

RUNTIME = Runtime(workers=1, progress=False)
LENGTHS = {"a": 40, "b": 1, "c": 130, "empty": 0, "blank": 20}
DIM = 3
Rows = Mapping[str, NDArray[Any]]


def rows_of(clip: str, length: int, columns: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """A clip's rows, 5 a second; one in four has no face, in `blank` none has one."""
    rng = np.random.default_rng(sorted(LENGTHS).index(clip) if clip in LENGTHS else 99)
    valid = np.zeros(length, bool) if clip == "blank" else np.arange(length) % 4 != 2
    values = {name: rng.standard_normal((length, dim)) * valid[:, None] for name, dim in columns.items()}
    start = np.arange(length) / 5
    return {"start": start, "end": start + 0.2, "valid": valid} | values


def write(artifact: Artifact, clips: Mapping[str, Rows], partial: Sequence[str] = ()) -> Artifact:
    """Further clips, or others of the same ids, in place of those that an artifact shows."""
    part, sources = artifact.new_part(), {clip: artifact.source(clip) for clip in artifact.clips}
    for clip, rows in clips.items():
        if len(rows["start"]):
            part.append(dict(rows))
        source = sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in rows.values())).hexdigest()
        part.end(clip, source, {}, "partial" if clip in partial else "ok")
        sources[clip] = source
    part.commit()
    artifact.seal()
    return Artifact(
        artifact.select(sources, {clip: {"path": f"{clip}.mp4", "split": "train"} for clip in sources}).path
    )


def made_by_embed(
    cache: Cache, columns: Mapping[str, int] | None = None, names: Mapping[str, list[str]] | None = None
) -> Artifact:
    shape = dict(columns or {"values": DIM})
    artifact = cache.create("embed", "net", {"columns": shape}, features_schema(shape, names=names))
    return write(artifact, {clip: rows_of(clip, length, shape) for clip, length in LENGTHS.items()}, partial=["c"])


@pytest.fixture
def features(cache: Cache) -> Artifact:
    """Features of five clips: c is partial, `empty` has no row, `blank` no valid one."""
    return made_by_embed(cache)


def run(cache: Cache, features: Artifact, **options: Any) -> tuple[Outcome, Artifact]:
    given = {name: options.pop(name) for name in ("clips", "out") if name in options}
    done = functionals(cache, features, FunctionalsConfig(**options), RUNTIME, **given)
    return done, Artifact(done.path)


def values(artifact: Artifact) -> dict[str, bytes]:
    return {clip: column_bytes(artifact, clip, "values") for clip in artifact.clips}


@pytest.mark.parametrize("options", [{}, {"set": "all", "hop": 1}, {"set": "sun-visual", "window": "clip"}])
def test_the_numbers_are_those_of_each_clip(cache: Cache, features: Artifact, options: dict[str, Any]) -> None:
    done, made = run(cache, features, **options)
    assert (done.computed, done.partial, done.failed, done.unit) == (5, 1, (), "windows")
    names = SETS[options.get("set", "fun")]
    for clip in features.clips:
        one = features.sequence(clip)
        right = numbers(
            one.values, one.start, one.end, one.valid, names, options.get("window", 4), options.get("hop", 2)
        )
        found = made.sequence(clip)
        assert np.array_equal(found.values, right.values.astype(np.float32))
        for name in ("start", "end", "valid"):
            assert np.array_equal(getattr(found, name), getattr(right, name))
        assert made.status(clip) == features.status(clip)
        assert made.source(clip) == features.digest(clip)
    assert done.rows == sum(len(made.sequence(clip)) for clip in made.clips)
    assert len(made.sequence("empty")) == 0
    assert len(made.sequence("blank")) and not made.sequence("blank").valid.any()


def test_a_rerun_computes_nothing_and_a_new_clip_only_itself(cache: Cache, features: Artifact) -> None:
    _, first = run(cache, features)
    before = datasets(first.folder / "data.h5")
    again, _ = run(cache, features)
    assert (again.computed, again.cached) == (0, 5)
    grown = write(features, {"new": rows_of("new", 30, {"values": DIM})})
    done, made = run(cache, grown)
    assert (done.computed, done.cached, done.folder) == (1, 5, first.folder)
    assert sorted(made.clips) == sorted([*LENGTHS, "new"])
    assert datasets(first.folder / "data.h5") == before


def test_a_changed_clip_is_computed_again(cache: Cache, features: Artifact) -> None:
    _, first = run(cache, features)
    old = values(first)
    rows = rows_of("a", 40, {"values": DIM})
    rows["values"] = rows["values"] + 1
    done, made = run(cache, write(features, {"a": rows}))
    assert (done.computed, done.cached) == (1, 4)
    assert {clip for clip, now in values(made).items() if now != old[clip]} == {"a"}


def test_a_resumed_run_has_the_same_bytes(tmp_path: Path, features: Artifact) -> None:
    def made(name: str, *orders: list[str] | None) -> dict[str, bytes]:
        for clips in orders:
            _, artifact = run(Cache(tmp_path / name), features, set="all", hop=0.4, clips=clips)
        return values(artifact)

    together = made("together", None)
    assert made("resumed", ["c"], ["blank", "a"], None) == together
    assert made("backwards", sorted(LENGTHS, reverse=True)) == together


def test_an_interrupted_run_keeps_what_was_done(
    cache: Cache, features: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = values(run(Cache(cache.root / "other"), features)[1])
    target = "affectkit.stages.functionals._rows"

    def stop(piece: Any, dtype: str) -> dict[str, Any]:
        if len(piece.start) > 10:  # clip c
            raise KeyboardInterrupt
        return {"start": piece.start, "end": piece.end, "valid": piece.valid, "values": piece.values}

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(target, stop)
        run(cache, features)
    done, made = run(cache, features)
    assert 0 < done.computed < 5
    assert values(made) == whole


def test_a_long_clip_is_written_in_pieces(cache: Cache, features: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = values(run(Cache(cache.root / "other"), features, hop=0.2)[1])
    monkeypatch.setattr("affectkit.summaries.summary._PIECE", 1)
    monkeypatch.setattr("affectkit.summaries.summary._MOST_WINDOWS", 16)
    made = run(cache, features, hop=0.2)[1]
    assert made.sequence("c").values == pytest.approx(np.frombuffer(whole["c"], "<f4").reshape(-1, 5 * DIM), abs=1e-6)
    assert len(made.sequence("c")) > 16 * 3


def test_what_is_recorded(cache: Cache, features: Artifact) -> None:
    _, made = run(cache, features, set="sun-audio", window=2)
    about = made.stage
    assert (about.stage, about.name, about.numerics) == ("functionals", "sun-audio", {})
    assert about.inputs["upstream"] == features.stage.fingerprint
    assert about.inputs["hop"] == 1
    assert about.upstream == [str(features.folder.resolve())]
    assert FunctionalsConfig.model_validate(about.provenance["config"]) == FunctionalsConfig(
        set="sun-audio", window=2, column="values"
    )
    assert made.clip_table() == features.clip_table()


def test_one_recipe_however_it_is_spelt(cache: Cache, features: Artifact) -> None:
    first, _ = run(cache, features, set="sun-visual", hop=2)
    second, _ = run(cache, features, functional=["mean", "max", "min"])
    other, made = run(cache, features, functional=["max", "mean"])
    assert first.path == second.path
    assert other.path != first.path and made.stage.name == "functionals"
    assert run(cache, features)[1].stage.name == "fun"


def test_layers_are_taken_by_name(cache: Cache) -> None:
    layers = made_by_embed(cache, {"layer_03": 2, "layer_07": 4})
    done, made = run(cache, layers, column="layer_07", functional=["last"])
    assert done.computed == 5
    assert made.sequence("a").dim == 4
    assert np.array_equal(made.sequence("a").values[-1], layers.sequence("a", "layer_07").values[39])
    assert run(cache, layers, column="layer_03", functional=["last"])[0].path != done.path
    for column, message in ((None, "holds layer_03, layer_07: name one"), ("layer_09", "no features 'layer_09'")):
        with pytest.raises(UsageError, match=message):
            run(cache, layers, column=column)


def test_names_are_carried_along(cache: Cache) -> None:
    named = made_by_embed(cache, {"values": 2}, {"values": ["valence", "arousal"]})
    _, made = run(cache, named, functional=["mean", "std"])
    assert made.schema.names == {"values": ["mean valence", "mean arousal", "std valence", "std arousal"]}
    again, twice = run(cache, made, functional=["max"], window="clip")
    assert twice.schema.names["values"][0] == "max mean valence"
    assert again.computed == 5
    assert run(cache, made_by_embed(cache))[1].schema.names == {}


def test_what_float16_cannot_hold_fails_its_clip(cache: Cache, features: Artifact) -> None:
    rows = rows_of("a", 40, {"values": DIM})
    rows["values"] = rows["values"] * 1e6
    done, made = run(cache, write(features, {"a": rows}), dtype="float16")
    assert [failure.clip for failure in done.failed] == ["a"]
    assert "repeat with --dtype float32" in done.failed[0].cause
    assert made.sequence("c").values.dtype == np.float16


def test_times_that_no_window_fits_fail_their_clip(cache: Cache, features: Artifact) -> None:
    rows = rows_of("a", 40, {"values": DIM})
    rows["end"][-1] = rows["start"][-1] = 1e12
    done, made = run(cache, write(features, {"a": rows}))
    assert [failure.clip for failure in done.failed] == ["a"] and "more than 10,000,000 hops" in done.failed[0].cause
    assert "c" in made and "a" not in made


def test_only_features_are_summarised(cache: Cache) -> None:
    faces = cache.create("faces", "detector", {}, faces_schema())
    with pytest.raises(UsageError, match="holds face crops, made by extract faces; needed are features"):
        run(cache, faces)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"set": "fun", "functional": ["mean"]}, "either a set or functionals"),
        ({"functional": ["mean", "mean"]}, "mean is given twice"),
        ({"window": 0}, "from 0.001 to"),
        ({"window": "whole"}, "'clip'"),
        ({"window": "clip", "hop": 1}, "has no hop"),
        ({"hop": 0}, "greater than or equal to 0.001"),
    ],
)
def test_options_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FunctionalsConfig(**fields)


def test_a_recipe_is_replayed_from_what_is_recorded(cache: Cache, features: Artifact) -> None:
    _, made = run(cache, features, set="sun-visual", window=2)
    chain = _Chain(Context(Cache(cache.root / "elsewhere"), RUNTIME, "cpu"), made, [], {})
    chain.made[features.stage.fingerprint] = features, ["a", "c"]
    chain.run(lineage(made)[-1:])
    assert (chain.artifact.folder.name, chain.names, chain.failed) == (made.folder.name, ["a", "c"], [])
    assert values(chain.artifact) == {clip: values(made)[clip] for clip in ("a", "c")}


@pytest.mark.slow
def test_new_media_go_through_functionals(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name, light in (("a", 1.0), ("b", 0.9)):
        make_clip(tmp_path / "clips" / f"{name}.mp4", [(portrait() * light).astype(np.uint8)] * 12)
    (tmp_path / "va.csv").write_text("clip,split,valence,arousal\na,train,0.1,0.2\nb,val,0.3,0.4\n")
    config = FacesConfig(detector="centerface", fps=10, size=32)
    faces = Artifact(extract_faces(cache, clips_in(tmp_path / "clips"), config, RUNTIME, device="cpu").path)
    numerics = Numerics(device="cpu", batch_size=4)
    embedded = Artifact(embed(cache, faces, EmbedConfig(backbone="mean-pixel"), numerics, RUNTIME).path)
    _, made = run(cache, embedded, set="sun-visual", window=0.2, hop=0.1)
    small = TrainConfig(task="va", option=["width=8", "heads=1", "layers=1", "epochs=1"])
    head = train(cache, [column_of(made)], tmp_path / "va.csv", small, RUNTIME, device="cpu").artifact
    again = replay(Cache(tmp_path / "elsewhere"), head, clips_in(tmp_path / "clips"), RUNTIME, device="cpu")
    assert (again.clips, again.failed) == (["a", "b"], [])
    assert again.features[0].artifact.folder.name == made.folder.name
    assert values(again.features[0].artifact) == values(made)


def test_the_command(affectkit: Command, cache: Cache, features: Artifact) -> None:
    line = ["functionals", features.path, "--set", "sun-visual", "--window", 4, "--hop", 2]
    done = affectkit(*line)
    assert done.returncode == 0, done.stderr
    made = Artifact(Path(done.stdout.strip()))
    assert made.sequence("c").dim == 3 * DIM and sorted(made.clips) == sorted(LENGTHS)
    said = json.loads(affectkit(*line, "--json").stdout)
    assert (said["artifact"], said["computed"], said["cached"]) == (str(made.path), 0, 5)
    some = json.loads(affectkit(*line, "--json", "--clips", "b*", "--out", "mine").stdout)
    assert (some["folder"], some["computed"]) == ("mine", 2)


def test_the_command_and_layers(affectkit: Command, cache: Cache) -> None:
    layers = made_by_embed(cache, {"layer_03": 2, "layer_07": 4})
    short = affectkit("functionals", f"{layers.path}:layer_07")
    assert short.returncode == 0, short.stderr
    assert affectkit("functionals", layers.path, "--column", "layer_07").stdout == short.stdout
    missing = affectkit("functionals", layers.path)
    assert missing.returncode == 2 and "holds layer_03, layer_07" in missing.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--functional", "meen"], "unknown functional 'meen': did you mean 'mean'?"),
        (["--functional", "mean", "--set", "fun"], "give either a set or functionals"),
        (["--set", "sun"], "'sun-visual'"),
        (["--window", "0"], "from 0.001 to"),
        (["--window", "long"], "given 'long'"),
        (["--column", "layer_01"], "no features 'layer_01' (it has values)"),
        (["--clips", "zzz*"], "matches none of 5 clips"),
    ],
)
def test_what_the_command_refuses(affectkit: Command, features: Artifact, options: list[str], message: str) -> None:
    done = affectkit("functionals", features.path, *options)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
