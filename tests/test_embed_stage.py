"""embed: features that depend on nothing but their own crop, whatever else was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_factory import make_clip
from numpy.typing import NDArray
from stage_calls import embed, extract_faces
from stage_factory import clips_in, crop_folder, portrait

from affectkit.backbones.mean_pixel import MeanPixel
from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.stages import batches as crop_batches
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.faces import FacesConfig
from affectkit.stages.map_stage import Outcome
from affectkit.store import Artifact, Cache
from affectkit.tables.crop_times import CropTimes
from affectkit.tracks import decode_crop

RUNTIME = Runtime(workers=1, progress=False)
SIDE = 16
LENGTHS = {"a": 5, "b": 1, "c": 12, "d": 4, "e": 8}


def crops_of(cache: Cache, folder: Path, side: int = SIDE) -> Artifact:
    """A faces artifact of folders of crops."""
    config = FacesConfig(fps="native", size=side, format="png")
    done = extract_faces(cache, clips_in(folder), config, RUNTIME, times=CropTimes(source_fps=10))
    return Artifact(done.path)


def noise(number: int, side: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture
def crops(cache: Cache, tmp_path: Path) -> Artifact:
    """Five clips of different lengths; every fourth frame has no face."""
    for place, (clip, length) in enumerate(LENGTHS.items()):
        pictures = [None if index % 4 == 2 else noise(100 * place + index) for index in range(length)]
        crop_folder(tmp_path / "crops" / clip, pictures)
    return crops_of(cache, tmp_path / "crops")


def run(cache: Cache, crops: Artifact, batch_size: int = 4, **options: Any) -> tuple[Outcome, Artifact]:
    config = EmbedConfig(**{"backbone": "mean-pixel"} | options.pop("config", {}))
    numerics = Numerics(device="cpu", batch_size=batch_size)
    done = embed(cache, crops, config, numerics, options.pop("runtime", RUNTIME), **options)
    return done, Artifact(done.path)


def values(artifact: Artifact) -> dict[str, bytes]:
    return {clip: np.ascontiguousarray(artifact.column(clip, "values")).tobytes() for clip in artifact.clips}


def test_features_are_those_of_the_decoded_crops(cache: Cache, crops: Artifact) -> None:
    done, features = run(cache, crops)
    assert (done.computed, done.rows, done.unit) == (5, sum(LENGTHS.values()), "crops")
    for clip in crops.clips:
        valid = np.asarray(crops.column(clip, "valid"), bool)
        found = features.sequence(clip)
        for name in ("start", "end"):
            assert np.array_equal(getattr(found, name), crops.column(clip, name))
        assert np.array_equal(found.valid, valid)
        assert not found.values[~valid].any()
        encoded = crops.column(clip, "image")
        for row in np.flatnonzero(valid):
            cells = decode_crop(encoded[row]).reshape(8, SIDE // 8, 8, SIDE // 8, 3).mean(axis=(1, 3)) / 255
            assert np.allclose(found.values[row].reshape(3, 8, 8), cells.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "batch_size"),
    [
        ("mean-pixel", 1),
        ("mean-pixel", 4),
        ("mean-pixel", 64),
        ("test_resnet", 8),
        ("test_vit", 3),
        pytest.param("resnet18", 8, marks=pytest.mark.slow),
    ],
)
def test_features_do_not_depend_on_the_neighbours(
    tmp_path: Path, crops: Artifact, backbone: str, batch_size: int
) -> None:
    config = {"backbone": backbone, "weights": "random"}

    def features(name: str, *orders: list[str] | None) -> dict[str, bytes]:
        for clips in orders:
            _, artifact = run(Cache(tmp_path / name), crops, batch_size, config=config, clips=clips)
        return values(artifact)

    together = features("together", None)
    assert len(set(together.values())) == 5
    assert features("backwards", sorted(LENGTHS, reverse=True)) == together
    assert features("resumed", ["c"], ["e", "a"], None) == together
    for clip in ("b", "c"):
        assert features(f"alone-{clip}", [clip]) == {clip: together[clip]}


def test_an_interrupted_run_goes_on_where_it_stopped(
    cache: Cache, crops: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = run(Cache(tmp_path / "other"), crops)
    forward = MeanPixel.__call__
    calls = []

    def interrupted(self: MeanPixel, batch: Any) -> Any:
        calls.append(len(batch))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(MeanPixel, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(cache, crops)
    (artifact,) = [one for one in cache.artifacts() if one.stage.stage == "embed"]
    assert {clip for clip, _ in artifact.finished()} == {"a", "b"}
    done, artifact = run(cache, crops)
    assert (done.computed, done.cached) == (3, 2)
    assert values(artifact) == values(whole)


def test_the_backbone_always_runs_one_shape(cache: Cache, crops: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    forward = MeanPixel.__call__
    monkeypatch.setattr(MeanPixel, "__call__", lambda self, batch: shapes.append(batch.shape) or forward(self, batch))
    run(cache, crops, batch_size=4)
    valid = sum(int(np.sum(crops.column(clip, "valid"))) for clip in crops.clips)
    assert set(shapes) == {(4, 3, SIDE, SIDE)}
    assert len(shapes) == -(-valid // 4)


def test_only_clips_whose_crops_are_new_are_embedded(cache: Cache, crops: Artifact, tmp_path: Path) -> None:
    first, _ = run(cache, crops)
    again, _ = run(cache, crops)
    assert (again.path, again.computed, again.cached) == (first.path, 0, 5)
    crop_folder(tmp_path / "crops" / "f", [noise(1)])
    (tmp_path / "crops" / "a" / "00001.png").write_bytes((tmp_path / "crops" / "a" / "00002.png").read_bytes())
    more, _ = run(cache, crops_of(cache, tmp_path / "crops"))
    assert (more.folder, more.computed, more.cached) == (first.folder, 2, 4)


def test_some_clips_only(cache: Cache, crops: Artifact) -> None:
    done, artifact = run(cache, crops, clips=["c", "a"])
    assert (done.computed, artifact.clips) == (2, ["a", "c"])
    with pytest.raises(UsageError, match="unknown clips, the first: nobody"):
        run(cache, crops, clips=["nobody"])


def test_every_face_of_a_clip_keeps_its_features(cache: Cache, tmp_path: Path) -> None:
    make_clip(tmp_path / "pair.mp4", [np.concatenate([portrait(), portrait()[::-1, ::-1], portrait()], axis=1)] * 3)
    config = FacesConfig(detector="centerface", fps="native", size=32, face="all")
    faces = extract_faces(cache, clips_in(tmp_path / "pair.mp4"), config, RUNTIME, device="cpu")
    crops = Artifact(faces.path)
    assert len(crops.clips) >= 2
    _, features = run(cache, crops)
    assert features.clips == crops.clips
    again, _ = run(cache, crops)
    assert again.computed == 0


def test_clips_without_any_face_have_zeros(cache: Cache, tmp_path: Path) -> None:
    for place in (2, 3):
        make_clip(tmp_path / f"none{place}.mp4", [np.zeros((64, 64, 3), np.uint8)] * place)
    clips = [tmp_path / f"none{place}.mp4" for place in (2, 3)]
    config = FacesConfig(detector="centerface", fps="native", size=32)
    crops = Artifact(extract_faces(cache, clips_in(*clips), config, RUNTIME, device="cpu").path)
    done, features = run(cache, crops)
    assert (done.computed, done.failed) == (2, ())
    assert [features.column(clip, "values").shape for clip in features.clips] == [(2, 192), (3, 192)]
    assert not any(features.column(clip, "values").any() for clip in features.clips)


def spoil(artifact: Artifact, clip: str, row: int, change: Callable[[bytearray], None]) -> None:
    """Change the stored bytes of one crop in place."""
    image = artifact.column(clip, "image")[row]
    path = artifact.clip_rows(clip).segment.path
    data = bytearray(path.read_bytes())
    at = bytes(data).index(bytes(image))
    crop = data[at : at + len(image)]
    change(crop)
    data[at : at + len(image)] = crop
    path.write_bytes(data)


def test_a_crop_that_cannot_be_decoded_fails_its_clip_and_no_other(
    cache: Cache, crops: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Artifact, "check", lambda *_: None)  # it finds damage before anything is decoded
    _, whole = run(Cache(tmp_path / "other"), crops)

    def garble(crop: bytearray) -> None:
        crop[:8] = b"not a pic"[:8]

    spoil(crops, "c", 4, garble)
    done, artifact = run(cache, Artifact(crops.path))
    (failure,) = done.failed
    assert (failure.clip, done.computed) == ("c", 4)
    assert "crop of row 4 cannot be read: crop is neither JPEG nor PNG" in failure.cause
    expected = values(whole)
    del expected["c"]
    assert values(artifact) == expected
    again, _ = run(cache, Artifact(crops.path))
    assert (again.computed, again.cached, len(again.failed)) == (0, 4, 1)
    retried, _ = run(cache, Artifact(crops.path), runtime=Runtime(workers=1, progress=False, retry_failed=True))
    assert (retried.computed, len(retried.failed)) == (0, 1)


def test_float16_is_checked_before_it_is_stored(cache: Cache, crops: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    _, full = run(cache, crops)
    _, half = run(cache, crops, config={"dtype": "float16"})
    assert half.path != full.path
    assert half.column("c", "values").dtype == np.float16
    assert np.array_equal(half.column("c", "values"), full.column("c", "values").astype(np.float16))
    forward = MeanPixel.__call__

    def large(self: MeanPixel, batch: Any) -> Any:
        scores = forward(self, batch)
        scores[:, 0] = np.where(np.arange(len(scores)) == 1, 70_000, scores[:, 0])
        return scores

    monkeypatch.setattr(MeanPixel, "__call__", large)
    done, artifact = run(Cache(cache.root / "second"), crops, batch_size=64, config={"dtype": "float16"})
    assert [failure.clip for failure in done.failed] == ["a"]
    assert "beyond float16" in done.failed[0].cause
    assert artifact.clips == ["b", "c", "d", "e"]


def test_values_that_are_not_finite_fail_their_clip(
    cache: Cache, crops: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = MeanPixel.__call__

    def broken(self: MeanPixel, batch: Any) -> Any:
        scores = forward(self, batch)
        scores[0] = np.nan
        return scores

    monkeypatch.setattr(MeanPixel, "__call__", broken)
    done, _ = run(cache, crops, batch_size=64)
    assert [(failure.clip, "not finite" in failure.cause) for failure in done.failed] == [("a", True)]


def test_numerics_are_not_mixed_in_one_artifact(cache: Cache, crops: Artifact) -> None:
    run(cache, crops, batch_size=4, clips=["a"])
    apart, other = run(cache, crops, batch_size=8)
    assert (apart.computed, other.stage.numerics["batch_size"]) == (5, 8)
    done, artifact = run(cache, crops, batch_size=4)
    assert (done.computed, done.folder) == (0, apart.folder)  # all of it is there
    assert any("made with batch_size 8, not batch_size 4" in told for told in done.notices)
    alone, first = run(cache, crops, batch_size=4, clips=["a"])
    assert (alone.computed, first.stage.numerics["batch_size"]) == (0, 4)
    assert first.folder != artifact.folder


def test_what_is_recorded(cache: Cache, crops: Artifact) -> None:
    _, artifact = run(cache, crops, batch_size=4)
    about = artifact.stage
    assert about.numerics == {
        "device": "cpu", "precision": "float32", "batch_size": 4, "channels_last": False, "compile": False,
    }  # fmt: skip
    assert about.inputs["upstream"] == crops.stage.fingerprint
    assert about.upstream == [str(crops.folder.resolve())]
    assert about.provenance["weights"]["sha256"] == "none"
    assert artifact.clip_table() == crops.clip_table()


def test_weights_and_crops_enter_the_fingerprint(cache: Cache, crops: Artifact, tmp_path: Path) -> None:
    _, first = run(cache, crops)
    _, other = run(cache, crops_of(cache, tmp_path / "crops", side=24))
    assert other.path != first.path
    random = {"backbone": "test_resnet", "weights": "random"}
    assert run(cache, crops, clips=["b"], config=random)[1].stage.inputs["weights"] == "random"


def test_only_faces_are_embedded(cache: Cache, crops: Artifact) -> None:
    _, features = run(cache, crops)
    with pytest.raises(UsageError, match="give what extract faces printed"):
        run(cache, features)


def test_rows_are_cut_into_batches_across_clips(cache: Cache, crops: Artifact) -> None:
    batches = list(crop_batches._batches(crops, crops.clips, 4))
    sizes = [len(batch.images) for batch in batches]
    assert sizes[:-1] == [4] * (len(sizes) - 1)
    assert sum(sizes) == sum(int(np.sum(crops.column(clip, "valid"))) for clip in crops.clips)
    spans = [span for batch in batches for span in batch.spans]
    for clip, length in LENGTHS.items():
        own = [(span.first, span.last) for span in spans if span.clip == clip]
        assert [first for first, _ in own] == [0, *(last for _, last in own[:-1])]
        assert own[-1][1] == length
        assert [span.is_end for span in spans if span.clip == clip] == [False] * (len(own) - 1) + [True]
