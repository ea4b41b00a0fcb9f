"""embed and predict with fine-tuned networks: on crops, on sound, and from media."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip
from network_inputs import make_crops, make_sound, pictures
from stage_calls import embed, predict_network
from stage_factory import face_clips, no_face
from tuned_networks import SMALL, finetune

from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.learning import saved
from affectkit.moments import interpolate
from affectkit.smoothing import smooth
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.map_stage import Outcome
from affectkit.stages.predict import PredictConfig
from affectkit.store import Artifact, Cache

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

RUNTIME = Runtime(workers=1, progress=False)
SIDE, RATE = 24, 16_000
FACES = pictures(40, SIDE)
LENGTHS = {"a": 5, "b": 1, "c": 20, "d": 0}
SECONDS = {"a": 2.3, "b": 0.7, "c": 0.3}


def faces(cache: Cache, lengths: dict[str, int] = LENGTHS) -> Artifact:
    """Clips of different lengths; every fourth row has no face."""
    clips: dict[str, list[Any]] = {}
    for place, (clip, length) in enumerate(lengths.items()):
        clips[clip] = [None if row % 4 == 2 else FACES[(place * 7 + row) % 40] for row in range(length)]
    return make_crops(cache, clips, SIDE)


def sound(cache: Cache) -> Artifact:
    rng = np.random.default_rng(0)
    waves = {clip: (0.1 * rng.standard_normal(round(s * RATE))).astype(np.float32) for clip, s in SECONDS.items()}
    return make_sound(cache, waves, RATE, offset=0.5)


def upstream(cache: Cache, name: str) -> Artifact:
    return sound(cache) if name == "speech" else faces(cache)


def run_embed(cache: Cache, given: Artifact, network: Artifact | Path, size: int = 8, **more: Any) -> Outcome:
    weights = network if isinstance(network, Path) else network.path
    config = EmbedConfig(**{"weights": str(weights)} | more.pop("config", {}))
    return embed(cache, given, config, Numerics(device="cpu", batch_size=size), RUNTIME, **more)


def run_predict(cache: Cache, network: Artifact, given: Artifact, **more: Any) -> Artifact:
    config = PredictConfig(**more.pop("config", {}))
    return Artifact(predict_network(cache, network, given, RUNTIME, config=config, device="cpu", **more).path)


def column(artifact: Artifact, name: str) -> dict[str, bytes]:
    return {clip: np.ascontiguousarray(artifact.column(clip, name)).tobytes() for clip in artifact.clips}


# ---- embed


@pytest.mark.parametrize("name", ["static", "pyramid"])
def test_embeddings_of_crops_are_the_networks_own(name: str, cache: Cache) -> None:
    crops = faces(cache)
    network = finetune(cache, crops, name, "va")
    found = Artifact(run_embed(cache, crops, network).path)
    opened = saved.open_network(network.path)
    assert found.stage.name == f"finetuned-{name}" and found.schema.columns["values"].shape == (opened.network.dim,)
    for clip, length in LENGTHS.items():
        sequence = found.sequence(clip)
        assert sequence.valid.tolist() == [row % 4 != 2 for row in range(length)]
        rows = np.flatnonzero(sequence.valid)
        if len(rows):
            encoded = [FACES[(list(LENGTHS).index(clip) * 7 + row) % 40] for row in rows]
            batch = torch.tensor(np.stack(encoded).transpose(0, 3, 1, 2)[:, None])
            with torch.inference_mode():
                own = opened.network.embed(opened.module, batch).numpy()
            np.testing.assert_allclose(sequence.values[rows], own, atol=1e-5)
            assert len(rows) == 1 or np.std(own, axis=0).max() > 1e-4


def test_embeddings_of_sound_are_the_networks_own_in_its_own_windows(cache: Cache) -> None:
    audio = sound(cache)
    network = finetune(cache, audio, "speech", "va")
    found = Artifact(run_embed(cache, audio, network).path)
    opened = saved.open_network(network.path)
    sequence = found.sequence("a")
    assert sequence.start.tolist() == pytest.approx([0.5, 0.9, 1.3, 1.7, 2.1])
    assert sequence.end.tolist() == pytest.approx([1.5, 1.9, 2.3, 2.7, 2.8])
    assert found.sequence("c").valid.tolist() == [True]  # 0.3 s are less than the least window, and all that there is
    samples = np.asarray(audio.column("a", "samples"))
    with torch.inference_mode():
        for row, begin in enumerate((0, 0.4, 0.8, 1.2, 1.6)):
            window = torch.tensor(samples[round(begin * RATE) : round((begin + 1) * RATE)])[None]
            own = opened.network.embed(opened.module, window)[0].numpy()
            np.testing.assert_allclose(sequence.values[row], own, atol=1e-5)
    other = Artifact(run_embed(cache, audio, network, config={"window": 2.0, "hop": 1.0}).path)
    assert other.path != found.path and other.sequence("a").end[0] == 2.5


@pytest.mark.parametrize("name", list(SMALL))
def test_embeddings_do_not_depend_on_neighbours_or_interruptions(name: str, cache: Cache, tmp_path: Path) -> None:
    given = upstream(cache, name)
    network = finetune(cache, given, name, "va")
    whole = column(Artifact(run_embed(cache, given, network).path), "values")
    pieces = Cache(tmp_path / "pieces")
    for clips in (["c"], ["b"], None):
        done = run_embed(pieces, given, network, clips=clips)
    assert column(Artifact(done.path), "values") == whole
    again = run_embed(cache, given, network)
    assert (again.computed, again.cached) == (0, len(whole))


def test_the_fingerprint_follows_the_weights_and_the_licence_is_told(cache: Cache, tmp_path: Path) -> None:
    crops = faces(cache)
    first = finetune(cache, crops, "static", "va")
    moved = shutil.copytree(first.path, tmp_path / "moved")
    assert run_embed(cache, crops, moved).path == run_embed(cache, crops, first).path
    other = finetune(cache, crops, "static", "va", licence="CC-BY-NC-4.0")
    done = run_embed(cache, crops, other)
    assert done.path != run_embed(cache, crops, first).path
    assert done.notices[0] == "the licence of finetuned-static forbids commercial use: CC-BY-NC-4.0"
    assert Artifact(done.path).stage.provenance["weights"]["licence"] == "CC-BY-NC-4.0"


def test_what_embed_cannot_mean(cache: Cache, tmp_path: Path) -> None:
    crops, audio = faces(cache), sound(cache)
    static, speech = finetune(cache, crops, "static", "va"), finetune(cache, audio, "speech", "va")
    for given, network, config, message in (
        (audio, static, {}, "backbone finetuned-static embeds face crops; .* holds sound.*: give what extract faces"),
        (crops, speech, {}, "finetuned-speech listens; .* holds face crops.*: give what extract audio"),
        (crops, static, {"backbone": "resnet18"}, "is a fine-tuned network, backbone and all: leave --backbone resnet"),
        (crops, static, {"option": ["layer=fc2"]}, "finetuned-static takes no options"),
        (crops, static, {"window": 2.0}, "--window is for speech"),
        (crops, tmp_path, {}, "--backbone is missing .* and .* holds no fine-tuned network"),
    ):
        with pytest.raises(UsageError, match=message):
            run_embed(cache, given, network, config=config)
    with pytest.raises(UsageError, match="--backbone is missing"):
        embed(cache, crops, EmbedConfig(), Numerics(device="cpu"), RUNTIME)


# ---- predict


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("task", ["va", "compound"])
def test_predictions_are_means_over_units_one_by_one(name: str, task: str, cache: Cache) -> None:
    given = upstream(cache, name)
    network = finetune(cache, given, name, task, splits={"a": "test"})
    found = run_predict(cache, network, given)
    opened = saved.open_network(network.path)
    units = opened.network.units(given, given.clips, None, "midpoint", False)
    summed = np.zeros((len(units.labels), opened.header.task.outputs))
    count = np.zeros(len(units.labels))
    with torch.inference_mode():
        for number in range(len(units)):
            scores = opened.module(units.load(np.array([number]), None))[0].numpy()
            for target, score in zip(units.targets[number], scores, strict=True):
                if target >= 0:
                    summed[target] += score
                    count[target] += 1
    with np.errstate(invalid="ignore"):
        raw = summed / count[:, None]
    if task == "compound":
        raw = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    for place, clip in enumerate(given.clips):
        rows = slice(*units.offsets[place : place + 2])
        np.testing.assert_allclose(found.column(clip, "scores"), raw[rows], atol=1e-5)
        valid = np.asarray(found.column(clip, "valid"), bool)
        assert np.array_equal(valid, np.isfinite(raw[rows]).all(axis=1))
        np.testing.assert_allclose(found.column(clip, "start"), units.start[rows])
        np.testing.assert_allclose(found.column(clip, "end"), units.end[rows])
        assert found.column(clip, "split") == ("test" if clip == "a" else "")
    assert found.schema.names["scores"] == list(opened.header.task.targets)
    assert np.isfinite(raw).any()


@pytest.mark.parametrize("name", list(SMALL))
def test_predictions_do_not_depend_on_neighbours_or_interruptions(name: str, cache: Cache, tmp_path: Path) -> None:
    given = upstream(cache, name)
    network = finetune(cache, given, name, "va")
    whole = column(run_predict(cache, network, given), "scores")
    pieces = Cache(tmp_path / "pieces")
    for clips in (["c"], ["b"], None):
        found = run_predict(pieces, network, given, clips=clips)
    assert column(found, "scores") == whole
    done = predict_network(cache, network, given, RUNTIME, device="cpu")
    assert (done.computed, done.cached) == (0, len(whole))


def test_rows_are_smoothed_and_moved_as_a_heads(cache: Cache, tmp_path: Path) -> None:
    crops = faces(cache)
    network = finetune(cache, crops, "pyramid", "va")
    raw = np.asarray(run_predict(cache, network, crops).column("c", "scores"))
    middle = (np.arange(20) + 0.5) / 5
    wide = run_predict(cache, network, crops, config={"smooth": "hamming", "half_width": 0.5})
    expected = smooth(raw, middle, "hamming", 0.5)
    np.testing.assert_allclose(wide.column("c", "scores"), expected, atol=1e-6)
    fast = run_predict(cache, network, crops, config={"rate": 10.0})
    assert len(fast.column("c", "start")) == 40
    at = (np.arange(40) + 0.5) / 10
    np.testing.assert_allclose(fast.column("c", "scores"), interpolate(raw, middle, at, None), atol=1e-6)
    (tmp_path / "rows.csv").write_text("clip,start,end\nc,1.0,1.4\n")
    there = predict_network(cache, network, crops, RUNTIME, at=tmp_path / "rows.csv", device="cpu")
    assert "left out" in there.notices[0] and Artifact(there.path).clips == ["c"]
    np.testing.assert_allclose(
        Artifact(there.path).column("c", "scores"), interpolate(raw, middle, np.array([1.2]), None), atol=1e-6
    )


def test_a_crop_that_cannot_be_read_fails_its_clip_alone(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Artifact, "check", lambda *_: None)  # it finds damage before anything is decoded
    crops = faces(cache)
    network = finetune(cache, crops, "static", "va")
    whole = column(run_predict(Cache(tmp_path / "whole"), network, crops), "scores")
    image = bytes(crops.column("c", "image")[4])
    path = crops.clip_rows("c").segment.path
    path.write_bytes(path.read_bytes().replace(image, b"not a pic" + image[9:]))
    done = predict_network(cache, network, Artifact(crops.path), RUNTIME, device="cpu")
    (failure,) = done.failed
    assert (failure.clip, done.computed) == ("c", 3)
    assert "crop of row 4 cannot be read" in failure.cause
    del whole["c"]
    assert column(Artifact(done.path), "scores") == whole


def test_an_artifact_of_another_recipe_is_refused(cache: Cache, tmp_path: Path) -> None:
    crops, audio = faces(cache), sound(cache)
    network = finetune(cache, crops, "static", "va")
    with pytest.raises(UsageError, match=r"was made by another recipe than what .* was trained on"):
        run_predict(cache, network, audio)
    with pytest.raises(UsageError, match="needed is a trained head or a fine-tuned network"):
        run_predict(cache, crops, crops)
    with pytest.raises(UsageError, match="has one score a clip"):
        run_predict(cache, finetune(cache, crops, "static", "compound"), crops, config={"rate": 5.0})


# ---- the command, and media


@pytest.fixture
def line(affectkit: Command) -> Any:
    """Runs a line that must succeed, and gives what it prints."""

    def run(*arguments: object) -> str:
        done = affectkit(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_media_are_predicted_by_a_network_and_by_a_head_on_it(line: Any, affectkit: Command, tmp_path: Path) -> None:
    face_clips(tmp_path / "clips", ["a", "b"], frames=6)
    extract = ["--detector", "centerface", "--fps", "10", "--size", "32", "--device", "cpu"]
    crops = tmp_path / line("extract", "faces", "clips", *extract)
    cache = Cache(tmp_path / "cache")
    network = finetune(cache, Artifact(crops), "static", "va")
    predicted = tmp_path / line("predict", network.path, crops, "--device", "cpu")
    assert line("predict", network.path, "clips", "--device", "cpu") == str(predicted)

    (tmp_path / "new").mkdir()
    make_clip(tmp_path / "new" / "nobody.mp4", [no_face()] * 6)
    shutil.copy(tmp_path / "clips" / "a.mp4", tmp_path / "new" / "again.mp4")
    (tmp_path / "new" / "broken.mp4").write_text("no video")
    done = affectkit("predict", network.path, "new", "--device", "cpu", "--json", "--cache", "elsewhere")
    report = json.loads(done.stdout)
    assert (done.returncode, report["computed"], list(report["failed"])) == (3, 2, ["broken"])
    again = Artifact(tmp_path / report["artifact"])
    assert column(again, "scores")["again"] == column(Artifact(predicted), "scores")["a"]
    assert not np.asarray(again.column("nobody", "valid")).any()

    features = tmp_path / line("embed", crops, "--weights", network.path, "--device", "cpu", "--batch-size", "8")
    rows = [f"{clip},{n / 10},{(n + 1) / 10},{split},{n / 10},0.2" for clip, split in (("a", "train"), ("b", "val"))
            for n in range(2)]  # fmt: skip
    (tmp_path / "va.csv").write_text("\n".join(["clip,start,end,split,valence,arousal", *rows]) + "\n")
    options = ["-o", "width=8", "-o", "heads=1", "-o", "layers=1", "-o", "epochs=1"]
    head = line("train-head", features, "--labels", "va.csv", "--task", "va", *options, "--device", "cpu")
    by_features = line("predict", head, features, "--device", "cpu")
    assert line("predict", head, "clips", "--device", "cpu") == by_features
    network.path.rename(tmp_path / "moved")
    refused = affectkit("predict", head, "clips", "--device", "cpu", "--cache", "third")
    assert refused.returncode == 2 and "holds no fine-tuned network" in refused.stderr
    moved = ["--weights-of", f"finetuned-static={tmp_path / 'moved'}"]
    assert Path(line("predict", head, "clips", "--device", "cpu", *moved)).name == Path(by_features).name


def test_mistakes_of_the_command_are_one_line(affectkit: Command, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    crops = faces(cache)
    network = finetune(cache, crops, "static", "va")
    for arguments, words in (
        (["embed", crops.path], "--backbone is missing"),
        (["embed", crops.path, "--weights", network.path, "--backbone", "resnet18"], "leave --backbone resnet18 out"),
        (["embed", crops.path, "--weights", crops.path], "holds no fine-tuned network"),
        (["predict", network.path, crops.path, crops.path], "it reads one artifact, 2 are given"),
        (["predict", network.path, crops.path, "--weights-of", "x=y"], "--weights-of is for media"),
        (["predict", crops.path, crops.path], "needed is a trained head or a fine-tuned network"),
        (["predict", crops.path, "clips"], "needed is a trained head or a fine-tuned network"),
    ):
        done = affectkit(*arguments, "--device", "cpu")
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
