"""Bundles: one file that holds a trained model, predicts as it does, and is refused where a bit of it is another."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip
from stage_calls import embed, extract_faces, fuse, predict, train
from stage_factory import clips_in, portrait
from test_published import POINTS, code
from tuned_networks import finetune

import affectkit as ak
from affectkit import plugins, tasks
from affectkit.config import Numerics, Runtime, canonical_json, fingerprint
from affectkit.errors import AffectkitError, HostileFile, Notice, UsageError
from affectkit.plugins import CAUTION
from affectkit.plugins.contracts.fusers import table
from affectkit.stages import faces as faces_stage
from affectkit.stages import model_card
from affectkit.stages.bundle import is_bundle, opened_bundle
from affectkit.stages.bundling import write_bundle, write_card
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.faces import FacesConfig
from affectkit.stages.fuse import FuseConfig, gated_fuser
from affectkit.stages.predict import PredictConfig
from affectkit.stages.scorers import names_of
from affectkit.stages.train_head import TrainConfig
from affectkit.store import Artifact, Cache, Features
from affectkit.store.bundle_file import BundleManifest, read_manifest, unpack, write_bundle_file

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

RUNTIME = Runtime(workers=1, progress=False)
SPLITS = {"a": "train", "b": "train", "c": "val", "d": "test"}
FRAMES, FPS = 6, 10
FACES = FacesConfig(fps=FPS, detector="centerface", size=32)
HEADS = {
    "mlp": TrainConfig(task="va", head="mlp", option=["hidden=8", "epochs=2"], smooth="box", half_width=0.2),
    "kernel-elm": TrainConfig(task="va", head="kernel-elm"),
}
FUSERS = ("dwf", "equal", "nnls", "best-single", "rank-average", "stacking", "random-forest", "auto")


@dataclass(frozen=True)
class Made:
    """Clips, and what was made of them in one cache: crops, features, labels, and by the name of a head that, its
    predictions."""

    cache: Cache
    media: Path
    faces: Artifact
    features: Artifact
    labels: Path
    heads: dict[str, Artifact]
    scores: dict[str, Artifact]


def embedded(cache: Cache, faces: Artifact, **config: Any) -> Artifact:
    return embed(
        cache, faces, EmbedConfig(**{"backbone": "mean-pixel"} | config), Numerics(device="cpu", batch_size=8), RUNTIME
    ).artifact


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    cache, media = Cache(folder / "cache"), folder / "clips"
    media.mkdir()
    for number, clip in enumerate(SPLITS):
        light = 25 * np.sin(np.arange(FRAMES) * (1 + number / 3))
        make_clip(media / f"{clip}.mp4", [np.clip(portrait() + shade, 0, 255).astype(np.uint8) for shade in light])
    faces = extract_faces(cache, clips_in(media), FACES, RUNTIME, device="cpu").artifact
    features = embedded(cache, faces)
    rng = np.random.default_rng(0)
    lines = ["clip,start,end,split,valence,arousal"]
    for clip, split in SPLITS.items():
        for row in range(FRAMES):
            valence, arousal = rng.uniform(-1, 1, 2)
            lines.append(f"{clip},{row / FPS},{(row + 1) / FPS},{split},{valence:.3f},{arousal:.3f}")
    (folder / "va.csv").write_text("\n".join(lines) + "\n")
    heads, scores = {}, {}
    for name, config in HEADS.items():
        trained = train(cache, [Features(features)], folder / "va.csv", config, RUNTIME, device="cpu").artifact
        assert trained is not None
        heads[name] = trained
        scores[name] = predict(cache, trained, [Features(features)], RUNTIME, device="cpu").artifact
    return Made(cache, media, faces, features, folder / "va.csv", heads, scores)


@pytest.fixture(scope="module")
def bundle(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head's bundle."""
    return write_bundle(made.heads["kernel-elm"], tmp_path_factory.mktemp("bundle") / "my.affect").path


def fused(made: Made, method: str, **config: Any) -> Artifact:
    sets = [artifact.path for artifact in made.scores.values()]
    artifact = fuse(made.cache, sets, made.labels, FuseConfig(task="va", method=method, **config)).artifact
    assert artifact is not None
    return artifact


def rows(artifact: Artifact) -> dict[str, list[Any]]:
    """All that a table says of each clip, bit for bit."""
    names = sorted(artifact.schema.columns)
    return {
        clip: [value if isinstance(value := artifact.column(clip, name), str) else np.asarray(value).tobytes()
               for name in names]
        for clip in artifact.clips
    }  # fmt: skip


def on_media(cache: Cache, model: Artifact, media: Path, **config: Any) -> Artifact:
    clips = clips_in(media)
    return predict(cache, model, clips, RUNTIME, device="cpu", config=PredictConfig(**config)).artifact  # type: ignore[arg-type]


# ---- the same predictions


@pytest.mark.parametrize("name", HEADS)
def test_a_head_predicts_the_same_bits_from_its_bundle(made: Made, tmp_path: Path, name: str) -> None:
    path = write_bundle(made.heads[name], tmp_path / "my.affect").path
    other = Cache(tmp_path / "other")
    opened = opened_bundle(str(path), other)
    assert (opened.stage.fingerprint, opened.folder.parent) == (
        made.heads[name].stage.fingerprint,
        other.root / "bundles",
    )
    elsewhere = on_media(other, opened, made.media)
    assert rows(elsewhere) == rows(made.scores[name])
    from_features = predict(
        Cache(tmp_path / "third"), opened, [Features(made.features)], RUNTIME, device="cpu"
    ).artifact
    assert rows(from_features) == rows(made.scores[name])
    note = elsewhere.stage.provenance["bundle"]
    assert note["sha256"] == made.cache.digests()(path) and note["file"] == "my.affect"

    beside = predict(made.cache, opened_bundle(str(path), made.cache), [Features(made.features)], RUNTIME, device="cpu")
    assert (beside.computed, beside.artifact.path) == (0, made.scores[name].path), "the head's own are taken"


def test_a_network_predicts_the_same_bits_from_its_bundle(made: Made, tmp_path: Path) -> None:
    network = finetune(made.cache, made.faces, "static", "va", splits=SPLITS)
    scores = predict(made.cache, network, [made.faces], RUNTIME, device="cpu").artifact
    written = write_bundle(network, tmp_path / "net.affect")
    assert written.manifest.weights[0].member == "network.safetensors"
    other = Cache(tmp_path / "other")
    opened = opened_bundle(str(written.path), other)
    assert rows(on_media(other, opened, made.media)) == rows(scores)
    beside = predict(made.cache, opened_bundle(str(written.path), made.cache), [made.faces], RUNTIME, device="cpu")
    assert (beside.computed, beside.artifact.path) == (0, scores.path)
    assert str(tmp_path) not in written.path.read_bytes().decode("latin-1"), "nobody's folders are told"


@pytest.mark.parametrize("method", FUSERS)
def test_a_fused_system_predicts_the_same_bits_as_fuse(made: Made, tmp_path: Path, method: str) -> None:
    together = fused(made, method, **({"rate": 5.0} if method == "equal" else {}))
    path = write_bundle(together, tmp_path / "fused.affect").path
    opened = opened_bundle(str(path), made.cache)
    again = on_media(made.cache, opened, made.media)
    assert rows(again) == rows(together)
    assert again.stage.provenance["bundle"]["file"] == "fused.affect"


def test_shared_steps_of_a_system_are_computed_once(made: Made, tmp_path: Path) -> None:
    together, other = fused(made, "dwf"), Cache(tmp_path / "other")
    opened = opened_bundle(str(write_bundle(together, tmp_path / "f.affect").path), other)
    assert rows(on_media(other, opened, made.media)) == rows(together)
    stages = sorted(folder.parent.name for folder in other.folders())
    assert stages == ["bundles", "embed", "faces", "predict", "predict", "predict"]
    with pytest.raises(UsageError, match="is a fused system, whose models read several things: give it media"):
        predict(other, opened, [Features(made.features)], RUNTIME, device="cpu")
    with pytest.raises(UsageError, match="--rate is for one model"):
        on_media(other, opened, made.media, rate=3.0)


def test_a_clip_that_fails_is_told_once_and_stops_no_other(made: Made, tmp_path: Path) -> None:
    opened = opened_bundle(str(write_bundle(fused(made, "dwf"), tmp_path / "f.affect").path), made.cache)
    media = tmp_path / "new"
    media.mkdir()
    shutil.copy(made.media / "a.mp4", media / "again.mp4")
    (media / "broken.mp4").write_text("no video")
    done = predict(made.cache, opened, clips_in(media), RUNTIME, device="cpu")  # type: ignore[arg-type]
    assert [failure.clip for failure in done.failed] == ["broken"]
    assert done.artifact.clips == ["again"]
    assert done.artifact.column("again", "split") == ""
    assert np.array_equal(done.artifact.column("again", "scores"), fused(made, "dwf").column("a", "scores"))


def test_a_head_on_a_fine_tuned_network_brings_it_along(made: Made, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    faces = extract_faces(cache, clips_in(made.media), FACES, RUNTIME, device="cpu").artifact
    network = finetune(cache, faces, "static", "va", splits=SPLITS)
    features = embedded(cache, faces, backbone=None, weights=str(network.path))
    head = train(cache, [Features(features)], made.labels, HEADS["kernel-elm"], RUNTIME, device="cpu").artifact
    assert head is not None
    scores = predict(cache, head, [Features(features)], RUNTIME, device="cpu").artifact
    path = write_bundle(head, tmp_path / "my.affect").path
    shutil.rmtree(network.path)
    other = Cache(tmp_path / "other")
    assert rows(on_media(other, opened_bundle(str(path), other), made.media)) == rows(scores)


def test_a_published_model_is_a_part_of_a_system(made: Made, package: Any, tmp_path: Path) -> None:
    package(code("image"), POINTS)
    published = ak.predict("bright", made.faces, task="va", device="cpu", cache=made.cache.root, progress=False)
    sets = [made.scores["mlp"].path, published.path]
    together = fuse(made.cache, sets, made.labels, FuseConfig(task="va", method="dwf")).artifact
    assert together is not None
    written = write_bundle(together, tmp_path / "f.affect")
    assert ("embed bright", "MIT") in {(file.step, file.licence) for file in written.manifest.weights}
    other = Cache(tmp_path / "other")
    opened = opened_bundle(str(written.path), other)
    assert rows(on_media(other, opened, made.media)) == rows(together)
    assert "bright: MIT" in model_card.card_of(opened).licences["weights"]


@pytest.mark.parametrize("method", ["dwf", "stacking"])
def test_a_gate_is_part_of_a_system(method: str) -> None:
    task = tasks.get("expr")
    scores, truth, groups = table(task)
    options = plugins.get("fusers", method).Options()
    fuser = gated_fuser(method, options, task, 1.2)
    fuser.fit(scores, truth, groups, seed=0)
    without = gated_fuser(method, options, task, "none")
    without.restore(fuser.state(), fuser.arrays())
    again = gated_fuser(method, options, task, "auto")
    again.restore(json.loads(json.dumps(fuser.state())), fuser.arrays())
    assert np.array_equal(again.combine(scores), fuser.combine(scores))
    assert not np.array_equal(without.combine(scores), fuser.combine(scores))


def test_a_fusion_of_fusions_is_a_system_of_systems(made: Made, tmp_path: Path) -> None:
    inner = fused(made, "dwf")
    sets = [inner.path, made.scores["mlp"].path]
    outer = fuse(made.cache, sets, made.labels, FuseConfig(task="va", method="equal")).artifact
    assert outer is not None
    opened = opened_bundle(str(write_bundle(outer, tmp_path / "f.affect").path), Cache(tmp_path / "other"))
    assert rows(on_media(Cache(tmp_path / "other"), opened, made.media)) == rows(outer)


def test_weights_given_by_path_go_along(made: Made, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    file = tmp_path / "mine" / "net.safetensors"
    file.parent.mkdir()
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), file)
    cache = Cache(tmp_path / "cache")
    faces = extract_faces(cache, clips_in(made.media), FACES, RUNTIME, device="cpu").artifact
    features = embedded(cache, faces, backbone="test_resnet", weights=str(file))
    head = train(cache, [Features(features)], made.labels, HEADS["kernel-elm"], RUNTIME, device="cpu").artifact
    assert head is not None
    scores = predict(cache, head, [Features(features)], RUNTIME, device="cpu").artifact
    written = write_bundle(head, tmp_path / "my.affect")
    assert any("its licence is not known" in notice for notice in written.notices)
    (member,) = [weights.member for weights in written.manifest.weights if weights.member]
    assert member.startswith("weights/") and member.endswith("-net.safetensors")
    file.write_bytes(b"another")
    with pytest.raises(UsageError, match="are not those that it was made with"):
        write_bundle(head, tmp_path / "again.affect")
    shutil.rmtree(file.parent)
    with pytest.raises(UsageError, match="are not there any more"):
        write_bundle(head, tmp_path / "again.affect")
    other = Cache(tmp_path / "other")
    opened = opened_bundle(str(written.path), other)
    assert rows(on_media(other, opened, made.media)) == rows(scores)
    same = write_bundle(opened, tmp_path / "copy.affect").path
    assert same.read_bytes() == written.path.read_bytes()


def test_a_model_with_the_same_recipe_and_other_weights_is_not_taken_for_it(
    made: Made, bundle: Path, tmp_path: Path
) -> None:
    """Fingerprints say how a head was trained; a stranger's bundle may say the same."""
    forged = changed(bundle, tmp_path, {"head.json": lambda text: text.replace(b'"cautions": [', b'"cautions": ["", ')})
    opened = opened_bundle(str(forged), made.cache)
    done = predict(made.cache, opened, [Features(made.features)], RUNTIME, device="cpu")
    assert done.computed == len(SPLITS)
    assert done.artifact.folder != made.scores["kernel-elm"].folder


def test_another_decoder_is_a_notice_for_a_bundle(
    made: Made, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces_stage, "decoder_version", lambda: "another-9")
    other = Cache(tmp_path / "other")
    done = predict(other, opened_bundle(str(bundle), other), clips_in(made.media), RUNTIME, device="cpu")  # type: ignore[arg-type]
    assert any("decoded by another-9 here" in notice for notice in done.notices)
    assert rows(done.artifact) == rows(made.scores["kernel-elm"])
    with pytest.raises(UsageError, match="does not reproduce the head's faces recipe"):
        on_media(Cache(tmp_path / "third"), made.heads["kernel-elm"], made.media)


# ---- the file


def test_the_same_model_gives_the_same_bytes_and_any_program_opens_it(made: Made, bundle: Path, tmp_path: Path) -> None:
    again = write_bundle(made.heads["kernel-elm"], tmp_path / "again.affect")
    assert again.path.read_bytes() == bundle.read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == ["manifest.json", *sorted(names[1:])] and "seed_0/refitted/head.safetensors" in names
        assert all(one.compress_type == zipfile.ZIP_STORED and stat.S_ISREG(one.external_attr >> 16)
                   for one in archive.infolist())  # fmt: skip
        assert json.loads(archive.read("manifest.json"))["affectkit"] == ak.__version__
        assert not any(word in archive.read("stage.json") for word in (os.uname().nodename.encode(), b'upstream": ["/'))
        assert str(made.cache.root).encode() not in b"".join(map(archive.read, names))


@pytest.mark.parametrize("apart", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_anywhere_is_refused_in_one_line(bundle: Path, tmp_path: Path, apart: int) -> None:
    content, path = bundle.read_bytes(), tmp_path / "flipped.affect"
    for place in sorted({*range(0, len(content), apart), *range(60), *range(len(content) - 60, len(content))}):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        with pytest.raises(AffectkitError) as refused:
            unpack(path)
        assert "\n" not in str(refused.value) and "flipped.affect" in str(refused.value), place


def test_a_file_that_is_cut_or_longer_is_refused(bundle: Path, tmp_path: Path) -> None:
    content, path = bundle.read_bytes(), tmp_path / "cut.affect"
    for length in (0, 1, 30, 100, 2000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(AffectkitError, match=r"cut.affect is (not a bundle|damaged)"):
            unpack(path)
    for more in (b"\0", content):
        path.write_bytes(content + more)
        with pytest.raises(HostileFile, match="longer than it says"):
            unpack(path)


def test_versions_are_told(made: Made, bundle: Path, tmp_path: Path) -> None:
    manifest, members = taken_apart(bundle)
    older, newer = tmp_path / "older.affect", tmp_path / "newer.affect"
    write_bundle_file(older, manifest.model_copy(update={"affectkit": "0.0.7"}), members)
    with pytest.warns(Notice, match=r"older.affect was made by affectkit 0.0.7; this is affectkit"):
        opened_bundle(str(older), Cache(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened_bundle(str(bundle), Cache(tmp_path / "cache"))
    write_bundle_file(newer, manifest.model_copy(update={"format": 2, "affectkit": "9.1"}), members)
    with pytest.raises(UsageError, match=r"format 2, made by affectkit 9.1; .* formats up to 1: update affectkit"):
        opened_bundle(str(newer), Cache(tmp_path / "cache"))


# ---- strangers' files


def taken_apart(bundle: Path) -> tuple[BundleManifest, dict[str, bytes]]:
    with zipfile.ZipFile(bundle) as archive:
        return read_manifest(bundle), {name: archive.read(name) for name in archive.namelist()[1:]}


def changed(bundle: Path, folder: Path, changes: dict[str, Callable[[bytes], bytes | None]], **manifest: Any) -> Path:
    """A bundle whose digests are right and whose members are others (None: gone)."""
    said, members = taken_apart(bundle)
    for name, change in changes.items():
        content = change(members.get(name, b""))
        if content is None:
            del members[name]
        else:
            members[name] = content
    out = folder / "changed.affect"
    write_bundle_file(out, said.model_copy(update=manifest), members)
    return out


def archive_of(*entries: tuple[str, bytes] | zipfile.ZipInfo, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for entry in entries:
            if isinstance(entry, zipfile.ZipInfo):
                archive.writestr(entry, b"/etc/passwd")
            else:
                archive.writestr(*entry)
    return file.getvalue()


def test_zips_that_are_no_bundles_are_refused(bundle: Path, tmp_path: Path) -> None:
    manifest, members = taken_apart(bundle)
    entries = [("manifest.json", manifest.content), *members.items()]
    link = zipfile.ZipInfo("stage.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    hostile = {
        "packed again": archive_of(*entries),
        "bomb": archive_of(entries[0], ("stage.json", b"0" * (1 << 24)), compression=zipfile.ZIP_DEFLATED),
        "twice": archive_of(*entries, entries[-1]),
        "link": archive_of(entries[0], link),
        "no manifest": archive_of(*entries[1:]),
        "huge": bundle.read_bytes()[:18] + b"\xff" * 8 + bundle.read_bytes()[26:],
        "text": b"no bundle at all",
        "pickle": b"\x80\x04.",
    }  # fmt: skip
    for name, content in hostile.items():
        path = tmp_path / "hostile.affect"
        path.write_bytes(content)
        with pytest.raises(AffectkitError, match="hostile") as refused:
            opened_bundle(str(path), Cache(tmp_path / "cache"))
        assert "\n" not in str(refused.value), name
    assert not list((tmp_path / "cache").glob("bundles/*"))


@pytest.mark.parametrize(
    "name",
    ["../x.json", "/x.json", "a//b.json", "a/../b.json", "a\\b.json", "C:x.json", ".hidden.json", "a/b/c/d/e/f/g/h/i",
     "STAGE.json", "stage.json/x", "x" * 200, "manifest.json", "nul\0.json", "é.json", "trailing."],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_meet_are_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    manifest, members = taken_apart(bundle)
    with pytest.raises(UsageError):
        write_bundle_file(tmp_path / "x.affect", manifest, members | {name: b"{}"})
    told = manifest.model_dump(mode="json")
    told["members"][name] = {"bytes": 2, "sha256": "0" * 64}
    content = (json.dumps(told) + "\n").encode()
    path = tmp_path / "y.affect"
    path.write_bytes(archive_of(("manifest.json", content)))
    with pytest.raises(HostileFile):
        read_manifest(path)


def with_record(change: Callable[[dict[str, Any]], None]) -> dict[str, Callable[[bytes], bytes]]:
    def changed_record(content: bytes) -> bytes:
        record = json.loads(content)
        change(record)
        record["fingerprint"] = fingerprint(record["inputs"])
        return canonical_json(record).encode()

    return {"stage.json": changed_record}


def in_step(place: int, **config: Any) -> dict[str, Callable[[bytes], bytes]]:
    return with_record(lambda record: record["provenance"]["features"][0][place]["config"].update(config))


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "code": (in_step(1, backbone="/tmp/evil.py:Evil"), "code of one's own"),
    "weights": (in_step(0, weights="/etc/passwd"), "weights outside of the bundle"),
    "mark": (in_step(0, weights="bundle:../../x"), "weights outside of the bundle"),
    "option": (in_step(1, option=["model=/etc"]), "a path"),
    "settings": (in_step(1, window="ages"), "settings that no embed has"),
    "no stage": (with_record(lambda record: record["provenance"]["features"][0][0].update(stage="rm")), "no features"),
    "no recipe": (with_record(lambda record: record["provenance"].pop("features")), "has no recipe"),
    "no steps": (with_record(lambda record: record["provenance"].update(features=[[]])), "has no steps"),
    "no media": (
        with_record(lambda record: record["provenance"]["features"][0].pop(0)),
        "its recipe begins with embed",
    ),
    "window": (
        {"head.json": lambda text: text.replace(b"{", b'{"smoothing": {"kind": "box", "half_width": 1e300},', 1)},
        "half_width",
    ),
    "no model": (with_record(lambda record: record.update(stage="embed")), "holds no model"),
    "no head": (with_record(lambda record: record["inputs"].pop("head")), "another one than the manifest says"),
    "pickle": ({"seed_0/head.pkl": lambda _: b"\x80\x04."}, "it holds seed_0/head.pkl"),
    "note": ({"bundle.json": lambda _: b"{}"}, "and no bundle.json"),
    "no card": ({"card.toml": lambda _: None}, "a bundle has stage.json and card.toml"),
    "card": ({"card.toml": lambda _: b"name = 3"}, "the card"),
    "report": ({"head.json": lambda _: b"{}"}, "not a report"),
    "forged": ({"stage.json": lambda text: text.replace(b'"seeds"', b'"sweets"')}, "does not follow from its inputs"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_bundles_that_lead_out_or_hold_something_else_are_refused(bundle: Path, tmp_path: Path, case: str) -> None:
    changes, words = HOSTILE[case]
    path = changed(bundle, tmp_path, changes)
    with pytest.raises(AffectkitError, match=re.escape(words)) as refused:
        opened_bundle(str(path), Cache(tmp_path / "cache"))
    assert str(refused.value).startswith(f"{path} is refused: ") and "\n" not in str(refused.value)
    assert not list((tmp_path / "cache").glob("bundles/*")), "nothing of it stays"


def test_a_system_that_is_not_what_it_says_is_refused(made: Made, tmp_path: Path) -> None:
    path = write_bundle(fused(made, "random-forest"), tmp_path / "f.affect").path

    def other_state(content: bytes) -> bytes:
        record = json.loads(content)
        record["state"]["trees"] = 3
        return json.dumps(record).encode()

    hostile: list[dict[str, Any]] = [
        {"system.json": other_state}, {"fuser.safetensors": lambda text: text[:-1] + b"\x01"},
        {"fuser.safetensors": lambda _: None}, {"members/01/stage.json": lambda _: None},
    ]  # fmt: skip
    for changes in hostile:
        with pytest.raises(AffectkitError, match="is refused"):
            opened_bundle(str(changed(path, tmp_path, changes)), Cache(tmp_path / "cache"))


# ---- where it is unpacked


def test_it_is_unpacked_once_and_again_where_that_was_changed(made: Made, bundle: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    folder = opened_bundle(str(bundle), cache).folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert opened_bundle(str(shutil.copy(bundle, tmp_path / "copy.affect")), cache).folder == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    report = folder / "head.json"
    content = report.read_bytes()
    report.write_bytes(content.replace(b"ccc", b"mae"))
    with pytest.warns(Notice, match=r"head.json has changed: the bundle is unpacked again"):
        opened_bundle(str(bundle), cache)
    assert report.read_bytes() == content


def test_a_cache_that_cannot_be_written(
    made: Made, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    served = opened_bundle(str(bundle), cache).folder
    make = Path.mkdir

    def refuse(path: Path, *arguments: Any, **named: Any) -> None:
        if cache.root in path.parents:
            raise OSError(errno.EROFS, "Read-only file system")
        make(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert opened_bundle(str(bundle), cache).folder == served
    shutil.rmtree(served)
    alone = opened_bundle(str(bundle), cache).folder
    assert cache.root not in alone.parents and opened_bundle(str(bundle), cache).folder == alone
    scores = predict(made.cache, Artifact(alone), [Features(made.features)], RUNTIME, device="cpu").artifact
    assert rows(scores) == rows(made.scores["kernel-elm"])


class TestHub:
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    @pytest.fixture
    def hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
        """A hub cache with two bundles in one repository, and no network."""
        import socket

        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        repository = tmp_path / "hub" / "models--lab--faces"
        snapshot = repository / "snapshots" / self.COMMIT
        (snapshot / "sub").mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(self.COMMIT)
        (repository / "blobs").mkdir()
        shutil.copy(bundle, repository / "blobs" / "blob")
        for link in (snapshot / "model.affect", snapshot / "sub" / "x.affect"):
            link.symlink_to(repository / "blobs" / "blob")

        def refuse(*_: object, **__: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    @pytest.mark.usefixtures("hub")
    @pytest.mark.parametrize("text", ["hub:lab/faces", "hub:lab/faces/sub/x.affect", f"hub:lab/faces@{COMMIT}"])
    def test_a_repository_is_read(self, made: Made, tmp_path: Path, text: str) -> None:
        assert is_bundle(text)
        assert opened_bundle(text, Cache(tmp_path / "cache")).stage == opened_bundle(text, made.cache).stage

    @pytest.mark.usefixtures("hub")
    def test_what_is_not_there_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="fetch it by hand and give its path"):
            opened_bundle("hub:lab/other", Cache(tmp_path))
        for text in ("hub:lab", "hub:../x/y", "hub:a/b/c.zip", "hub:", "hub:a/b/../c.affect"):
            with pytest.raises(UsageError, match="is not hub:USER/REPO"):
                opened_bundle(text, Cache(tmp_path))


def test_what_is_a_bundle(made: Made, bundle: Path, tmp_path: Path) -> None:
    other = shutil.copy(bundle, tmp_path / "renamed.bin")
    (tmp_path / "folder.affect").mkdir()
    assert is_bundle(str(bundle)) and is_bundle(str(other)) and is_bundle("nowhere.affect")
    for text in (str(made.heads["mlp"].path), str(tmp_path / "folder.affect"), str(made.labels), "mlp", "", "x" * 5000):
        assert not is_bundle(text), text


# ---- cards


def test_the_card_says_what_is_known_and_can_be_edited(made: Made, bundle: Path, tmp_path: Path) -> None:
    head = made.heads["kernel-elm"]
    report = ak.evaluate(
        made.scores["kernel-elm"].path, labels=made.labels, task="va", split="test", cache=made.cache.root
    )
    written = write_bundle(head, tmp_path / "my.affect", scores=report.artifact)
    opened = opened_bundle(str(written.path), Cache(tmp_path / "cache"))
    card = model_card.card_of(opened)
    assert card.columns == ("valence", "arousal")
    assert card.contract is not None and (card.contract.margin, card.contract.size) == ("0.2", 32)
    assert "train: 2 clips, val: 1 clip, test: 1 clip" in card.trained_on
    ccc = report.report["scores"]["ccc"]
    assert card.reported.startswith(f"ccc {ccc:.3f}, "), "no interval, one clip: the number is told all the same"
    assert "(split test: 1 clip, 6 rows; no intervals)" in card.reported
    more = ak.evaluate(
        made.scores["kernel-elm"].path, labels=made.labels, task="va", split="train", cache=made.cache.root
    )
    said = model_card.scores_said(head, more.artifact)
    assert re.match(r"ccc -?\d\.\d{3} \[-?\d\.\d{3}, -?\d\.\d{3}\], ", said), said
    assert "2 clips, 12 rows; intervals of 95% by clip)" in said
    assert "centerface: MIT" in card.licences["weights"] and CAUTION in card.intended
    assert "selected by" in model_card.card_of(head).reported

    edited = write_card(opened, tmp_path / "card.toml")
    text = edited.read_text().replace("none are recorded", 'fails "in the dark"'.replace('"', '\\"'))
    edited.write_text(text)
    again = write_bundle(opened, tmp_path / "again.affect", card=edited)
    other = opened_bundle(str(again.path), Cache(tmp_path / "cache"))
    assert model_card.card_of(other).failures == 'fails "in the dark"'
    assert write_card(other, tmp_path / "same.toml").read_text() == text
    assert 'fails "in the dark"' in write_card(other, tmp_path / "card.md").read_text()
    assert rows(on_media(made.cache, other, made.media)) == rows(made.scores["kernel-elm"])

    edited.write_text(text.replace("failures", "failings"))
    with pytest.raises(UsageError, match=r"failings.*did you mean 'failures'"):
        write_bundle(opened, tmp_path / "x.affect", card=edited)
    other_scores = ak.evaluate(made.scores["mlp"].path, labels=made.labels, task="va", cache=made.cache.root)
    with pytest.raises(UsageError, match="is of other predictions"):
        write_bundle(head, tmp_path / "x.affect", scores=other_scores.artifact)


def test_models_are_called_as_their_cards_are(made: Made, tmp_path: Path) -> None:
    cache, head = Cache(tmp_path / "cache"), made.heads["mlp"]
    plain = opened_bundle(str(write_bundle(head, tmp_path / "my.affect").path), cache)
    card = write_card(plain, tmp_path / "card.toml")
    card.write_text(card.read_text().replace('name = "va-mlp"', 'name = "Lab/faces 2"'))
    edited = opened_bundle(str(write_bundle(plain, tmp_path / "edited.affect", card=card).path), cache)
    assert names_of([head, plain, edited, edited]) == ["mlp", "va-mlp", "Lab_faces_2", "Lab_faces_2-2"]
    models = [str(tmp_path / "my.affect"), str(tmp_path / "edited.affect")]
    with pytest.warns(Notice, match="a face in 2 of 2 frames"):
        done = ak.analyze(
            made.media / "a.mp4", model=models, out=tmp_path / "out", cache=made.cache.root, figures=False,
            device="cpu", progress=False,
        )  # fmt: skip
    assert list(done.models) == ["va-mlp", "Lab_faces_2"] and "Lab_faces_2.valence" in done.frame().columns
    assert done.models["Lab_faces_2"]["card"]["name"] == "Lab/faces 2"


def test_licences_that_forbid_most_come_first() -> None:
    weights = [{"name": "a", "licence": "MIT"}, {"name": "b", "licence": "unknown (given by path)"},
               {"name": "c", "licence": "CC-BY-NC-SA-4.0"}]  # fmt: skip
    told = model_card.licences_of(weights)
    assert told == "NO COMMERCIAL USE. c: CC-BY-NC-SA-4.0; b: unknown (given by path); a: MIT"
    assert model_card.licences_of(weights[:1]) == "a: MIT"


# ---- what cannot be one


def test_what_cannot_be_bundled_says_why(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "x.affect"
    for artifact, words in (
        (made.features, "holds features, made by embed: a bundle is made of a head"),
        (made.scores["mlp"], "holds predictions, made by predict: a bundle is made of a head"),
    ):
        with pytest.raises(UsageError, match=words):
            write_bundle(artifact, out)
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("clip,start,end,valence,arousal\n" + "".join(
        f"{clip},{row / FPS},{(row + 1) / FPS},0.{row},0.1\n" for clip in SPLITS for row in range(FRAMES)))  # fmt: skip
    sets = [made.scores["mlp"].path, elsewhere]
    with_table = fuse(made.cache, sets, made.labels, FuseConfig(task="va", method="equal")).artifact
    assert with_table is not None
    with pytest.raises(UsageError, match="1 of what it fuses are tables made elsewhere"):
        write_bundle(with_table, out)
    (tmp_path / "rows.csv").write_text("clip,start,end\n" + "".join(f"{clip},0,0.1\n" for clip in SPLITS))
    at = predict(
        made.cache, made.heads["mlp"], [Features(made.features)], RUNTIME, device="cpu", at=tmp_path / "rows.csv"
    )
    sets = [made.scores["kernel-elm"].path, at.artifact.path]
    of_rows = fuse(made.cache, sets, made.labels, FuseConfig(task="va", method="equal")).artifact
    assert of_rows is not None
    with pytest.raises(UsageError, match="the rows of a table"):
        write_bundle(of_rows, out)
    assert not out.exists()


def test_a_fusion_that_did_not_keep_its_fuser_says_so(made: Made, tmp_path: Path) -> None:
    together = fused(made, "stacking", seed=5)
    (together.folder / "fuser.safetensors").unlink()
    with pytest.raises(UsageError, match="does not hold what its fuser learnt"):
        write_bundle(together, tmp_path / "x.affect")


def test_code_of_ones_own_cannot_be_bundled(made: Made, tmp_path: Path) -> None:
    (tmp_path / "bright.py").write_text(
        "from affectkit.config import Config\nfrom affectkit.weights import WeightsFile\n\n\nclass Bright:\n"
        "    '''Mean colour.'''\n\n    version, kind, Options, dim = 1, 'image', Config, 3\n\n    @classmethod\n"
        "    def weights(cls, options, choice):\n        return WeightsFile('bright', None, 'none', 'none', 'none')\n\n"
        "    def __init__(self, options, weights, numerics):\n        pass\n\n    def __call__(self, batch):\n"
        "        return batch.mean(axis=(2, 3)).astype('float32')\n"
    )
    features = embedded(made.cache, made.faces, backbone=f"{tmp_path / 'bright.py'}:Bright")
    head = train(made.cache, [Features(features)], made.labels, HEADS["kernel-elm"], RUNTIME, device="cpu").artifact
    assert head is not None
    with pytest.raises(UsageError, match="embed step uses code of one's own, and a bundle holds no code"):
        write_bundle(head, tmp_path / "x.affect")


# ---- commands and Python


def test_commands(made: Made, affectkit: Command, tmp_path: Path, environment: dict[str, str]) -> None:
    environment["AFFECTKIT_CACHE"] = str(made.cache.root)
    head = str(made.heads["mlp"].path)
    done = affectkit("export", head, "--to", "bundle", "--out", "my.affect")
    assert (done.returncode, done.stdout) == (0, "my.affect\n"), done.stderr
    line = affectkit("predict", "my.affect", str(made.media), "--device", "cpu", "--json")
    assert (line.returncode, json.loads(line.stdout)["cached"]) == (0, len(SPLITS)), line.stderr
    assert affectkit("export", "my.affect", "--to", "card", "--out", "card.toml").stdout == "card.toml\n"
    assert (
        affectkit("export", "my.affect", "--to", "bundle", "--card", "card.toml", "--out", "b.affect").returncode == 0
    )
    told = affectkit("list", "models", "b.affect")
    assert told.returncode == 0 and "va-mlp" in told.stdout and "licence of weights" in told.stdout, told.stderr
    for arguments, words in (
        (["list", "models", "nowhere.affect"], "cannot read nowhere.affect"),
        (["predict", "nowhere.affect", str(made.media)], "cannot read nowhere.affect"),
        (["predict", "card.toml", str(made.media)], "card.toml is not an artifact"),
        (["export", head, "--to", "bundle", "--clips", "a"], "--clips is for tables"),
        (["export", head, "--card", "card.toml"], "--card is for --to bundle"),
        (["export", str(made.features.path), "--to", "bundle"], "a bundle is made of a head"),
        (["export", head, "--to", "bndle"], "unknown format 'bndle': did you mean 'bundle'?"),
        (["train-head", "my.affect", "--labels", "x.csv", "--task", "va"], "my.affect"),
    ):
        refused = affectkit(*arguments)
        assert (refused.returncode, words in refused.stderr, "Traceback" in refused.stderr) == (2, True, False), (
            arguments, refused.stderr,
        )  # fmt: skip


def test_python(made: Made, tmp_path: Path) -> None:
    head = ak.open(made.heads["mlp"].path)
    path = ak.export(head, "bundle", out=tmp_path / "my.affect")
    model = ak.open(path, cache=tmp_path / "cache")
    assert (model.task.name, model.card.columns) == ("va", ("valence", "arousal"))
    for given in (path, str(path), model):
        scores = ak.predict(given, str(made.media), device="cpu", cache=tmp_path / "cache", progress=False)
        assert rows(scores.artifact) == rows(made.scores["mlp"])
    system = ak.open(ak.export(fused(made, "dwf"), "bundle", out=tmp_path / "f.affect"), cache=tmp_path / "cache")
    assert "models 2" in repr(system) and np.isnan(system.val_score)
    assert ak.export(made.scores["mlp"].path, out=tmp_path / "p.csv").read_text().startswith("clip,")
