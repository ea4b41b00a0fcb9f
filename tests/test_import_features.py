"""import: files of every layout become features with the right rows; bad files are refused one by one."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from media_factory import make_clip
from numpy.typing import NDArray
from safetensors.numpy import save_file
from stage_calls import functionals, import_features, predict, train

from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.media import scan
from affectkit.stages.functionals import FunctionalsConfig
from affectkit.stages.import_features import ImportConfig
from affectkit.stages.map_stage import Outcome
from affectkit.stages.replay import replay
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.trained import lineage
from affectkit.store import Artifact, Cache, features
from affectkit.store.export import export
from affectkit.tables.sources import clips_of

RUNTIME = Runtime(workers=1, progress=False)
VALUES = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)


def run(cache: Cache, source: Path, **fields: Any) -> tuple[Outcome, Artifact]:
    videos = fields.pop("videos", None)
    done = import_features(cache, source, ImportConfig(**{"name": "mine"} | fields), RUNTIME, videos=videos)
    return done, Artifact(done.path)


def csv(path: Path, header: str, rows: Sequence[Sequence[object]], *, mark: str = "", end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_bytes((mark + end.join(lines) + end).encode())
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def npy_header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """What a .npy file begins with, for a shape that need not be true."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".pt", ".pth", ".safetensors"])
def test_every_sort_of_file_gives_the_same_rows(tmp_path: Path, cache: Cache, suffix: str) -> None:
    path = folder(tmp_path / "f") / f"a{suffix}"
    if suffix == ".csv":
        csv(path, "x,y,z", [[repr(float(cell)) for cell in row] for row in VALUES], mark="\ufeff", end="\r\n")
    elif suffix == ".npy":
        np.save(path, np.asfortranarray(VALUES))
    elif suffix == ".npz":
        np.savez_compressed(path, embedding=VALUES)
    elif suffix == ".safetensors":
        save_file({"values": VALUES}, path)
    else:
        torch.save(torch.from_numpy(VALUES) if suffix == ".pt" else {"values": torch.from_numpy(VALUES)}, path)
    done, made = run(cache, path.parent, fps=5)
    assert not done.failed and made.clips == ["a"] and made.stage.stage == "import"
    one = features(made).sequence("a")
    assert one.values.tobytes() == VALUES.tobytes() and one.valid.all()
    assert np.allclose(one.start, np.arange(10) / 5) and np.allclose(one.end, np.arange(1, 11) / 5)
    assert made.schema.names.get("values") == (["x", "y", "z"] if suffix == ".csv" else None)


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_times_in_columns(tmp_path: Path, cache: Cache, unit: str) -> None:
    """start and end as they are; a lone timestamp lasts until the next row, before a gap as long as usual."""
    scale = 1000 if unit == "ms" else 1
    csv(tmp_path / "f/both.csv", "Start,End,x", [[0, 0.5 * scale, 1], [2 * scale, 3 * scale, 2]])
    stamps = [0.0, 0.2, 0.4, 1.4, 1.6]
    csv(tmp_path / "f/day1/lone.csv", "timestamp,x", [[stamp * scale, 1] for stamp in stamps])
    csv(tmp_path / "f/single.csv", "timestamp,x", [[3 * scale, 1]])
    done, made = run(cache, tmp_path / "f", time_unit=unit)
    assert not done.failed and made.clips == ["both", "day1/lone", "single"]
    both, lone, single = (features(made).sequence(clip) for clip in made.clips)
    assert both.start.tolist() == [0, 2] and both.end.tolist() == [0.5, 3]
    assert np.allclose(lone.start, stamps) and np.allclose(lone.end, [0.2, 0.4, 0.6, 1.6, 1.8])
    assert (single.start[0], single.end[0]) == (3, 4)


def test_times_in_arrays(tmp_path: Path, cache: Cache) -> None:
    start, valid = np.arange(10) / 4 + 1, np.arange(10) != 3
    np.savez(folder(tmp_path / "f") / "a.npz", values=VALUES, start=start, end=start + 0.2, valid=valid, other=VALUES)
    with_more = {"feat": torch.from_numpy(VALUES).double(), "timestamp": torch.from_numpy(start), "fps": 4, "who": "me"}
    torch.save(with_more, tmp_path / "f/b.pt")
    one, two = (features(run(cache, tmp_path / "f")[1]).sequence(clip) for clip in "ab")
    assert np.allclose(one.start, start) and np.allclose(one.end, start + 0.2)
    assert (one.valid == valid).all() and not one.values[3].any()
    assert np.allclose(two.start, start) and np.allclose(two.end, start + 0.25)


def test_muse_files(tmp_path: Path, cache: Cache) -> None:
    """Two metadata columns first, whatever they are called; the first one is the time in ms."""
    rows = [[0, 1, 0.5, -1], [500, 1, 0.25, "nan"], [1000, 2, "", 1], [1500, 2, 1, 2]]
    csv(tmp_path / "f/12345.csv", "timestamp,segment_id,F0,F1", rows, mark="\ufeff", end="\r\n")
    csv(tmp_path / "f/7.csv", "timestamp,segment_id,F0,F1", rows[:2], end="\r\n\r\n")
    done, made = run(cache, tmp_path / "f", style="muse")
    assert not done.failed and made.clips == ["12345", "7"] and made.schema.names["values"] == ["F0", "F1"]
    one = features(made).sequence("12345")
    assert one.start.tolist() == [0, 0.5, 1, 1.5] and one.end.tolist() == [0.5, 1, 1.5, 2]
    assert one.valid.tolist() == [True, False, False, True]
    assert one.values.tolist() == [[0.5, -1], [0, 0], [0, 0], [1, 2]]


def test_frames_by_number_and_by_video(tmp_path: Path, cache: Cache) -> None:
    """Frame 1 is the first one; frames that the file leaves out do not count; the video gives the times."""
    shown = [0, 1, 2, 5, 6, 10]
    make_clip(folder(tmp_path / "videos") / "v.mp4", len(shown), pts=shown)
    index = scan(tmp_path / "videos" / "v.mp4")
    rows = [[1, 99, 1, 0.5], [2, 99, 0, 0.25], [5, 99, 1, 2]]
    csv(tmp_path / "f/v_left.csv", "frame,timestamp,success,x", rows)
    np.save(tmp_path / "f/v_right.npy", np.ones((8, 1), np.float32))
    done, made = run(cache, tmp_path / "f", style="affwild2", videos=tmp_path / "videos", valid="success")
    left, right = (features(made).sequence(clip) for clip in ("v_left", "v_right"))
    assert left.valid.tolist() == [True, False, False, False, True]
    assert left.values.ravel().tolist() == [0.5, 0, 0, 0, 2]
    assert np.allclose(left.start, index.times[:5]) and np.allclose(left.end, index.times[1:6])
    step = float(index.step * index.tick)
    assert np.allclose(right.start[6:], index.duration + step * np.arange(2)) and right.end[5] == index.duration
    assert done.damaged == (("v_right", "2 rows are beyond the last frame of the video: times go on at its rate"),)
    assert made.status("v_right") == "partial" and made.status("v_left") == "ok"


def test_openface_tables(tmp_path: Path, cache: Cache) -> None:
    header = "frame, face_id, timestamp, confidence, success, AU01_r, AU02_r"
    csv(tmp_path / "f/a.csv", header, [[n + 1, 0, n / 25, 0.98, int(n != 2), n, -n] for n in range(4)])
    _, made = run(cache, tmp_path / "f", valid="success", leave_out=["face_id", "confidence"])
    one = features(made).sequence("a")
    assert made.schema.names["values"] == ["AU01_r", "AU02_r"] and one.valid.tolist() == [True, True, False, True]
    assert np.allclose(one.start, np.arange(4) / 25) and np.allclose(one.end, np.arange(1, 5) / 25)


def test_a_row_without_numbers_keeps_its_place(tmp_path: Path, cache: Cache) -> None:
    csv(tmp_path / "f/a.csv", "x,y", [[1, 2], ["", ""], ["nan", "NaN"], [3, 4]])
    one = features(run(cache, tmp_path / "f", fps=10)[1]).sequence("a")
    assert one.valid.tolist() == [True, False, False, True] and np.allclose(one.start, np.arange(4) / 10)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def _files_of_every_fault(place: Path) -> dict[str, str]:
    """Writes files that cannot be taken; what the cause says of each."""

    def array(name: str, data: bytes, cause: str) -> None:
        (place / f"{name}.npy").write_bytes(data)
        causes[name] = cause

    def text(name: str, header: str, rows: Sequence[Sequence[object]], cause: str) -> None:
        csv(place / f"{name}.csv", header, rows)
        causes[name] = cause

    causes: dict[str, str] = {}
    array("huge", npy_header((1 << 40, 3)) + bytes(120), "declares [1099511627776, 3] of float32 in")
    array("torn", npy_header((10, 3)) + bytes(100), "is cut off: 100 of 120 bytes")
    array("negative", npy_header((-1, 3)) + bytes(100), "declares [-1, 3]")
    array("objects", npy_header((10, 3), "|O") + bytes(1000), "holds object, not real numbers")
    array("complex", npy_header((10, 3), "<c8") + bytes(1000), "holds complex64")
    array("garbage", b"\x80\x04nothing", "no .npy file")
    array("empty", b"", "empty file")
    np.save(place / "cube.npy", np.zeros((2, 3, 3)))
    causes["cube"] = "not [2, 3, 3]"
    np.save(place / "wide.npy", np.zeros((4, 5)))
    causes["wide"] = "5 features, where a has 3"
    np.save(place / "infinite.npy", np.full((2, 3), np.inf))
    causes["infinite"] = "infinite value in row 1, dimension 1"
    np.save(place / "beyond.npy", np.full((2, 3), 1e300))
    causes["beyond"] = "beyond float32"
    np.savez(place / "two.npz", one=VALUES, other=VALUES)
    causes["two"] = "The file has one, other: name one (--array)"
    np.savez(place / "short.npz", values=VALUES, start=np.zeros(3), end=np.ones(3))
    causes["short"] = "where the features have 10 rows"
    with zipfile.ZipFile(place / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("values.npy", npy_header((1 << 36, 3)) + bytes(1 << 16))
    causes["bomb"] = "declares [68719476736, 3]"
    (place / "notzip.npz").write_bytes(b"PK nothing")
    causes["notzip"] = "no .npz file"
    os.mkfifo(place / "pipe.npy")
    causes["pipe"] = "not a regular file"
    torch.save({"values": Evil()}, place / "evil.pt")
    causes["evil"] = "not a checkpoint of plain tensors"
    torch.save({"values": torch.zeros(1).expand(1 << 20, 3)}, place / "expanded.pt")
    causes["expanded"] = "more than the file holds"
    torch.save({"values": [1, 2]}, place / "list.pt")
    causes["list"] = "The file has none"
    text("text", "x,y,z", [[1, 2, "happy"]], "z is 'happy', not a number")
    text("cells", "x,y,z", [[1, 2, 3], [1, 2]], "2 cells under 3 columns")
    text("other", "x,y,q", [[1, 2, 3]], "column q, where b has z")
    text("backwards", "timestamp,x,y,z", [[0, 1, 1, 1], [2, 1, 1, 1], [1, 1, 1, 1]], "go back at row 3")
    text("untimed", "timestamp,x,y,z", [["", 1, 1, 1]], "row 1 has no time")
    text("early", "timestamp,x,y,z", [[-1, 1, 1, 1]], "before the clip")
    text("instant", "start,end,x,y,z", [[1, 1, 1, 1, 1]], "does not end after its start")
    text("columnless", "timestamp,start", [[1, 1]], "no feature columns")
    text("twice", "frame,x,y,z", [[1, 0, 0, 0], [1, 0, 0, 0]], "two rows are of one frame")
    text("zeroth", "frame,x,y,z", [[0, 0, 0, 0]], "--first-frame 0")
    text("half", "frame,x,y,z", [[1.5, 0, 0, 0]], "1 or more")
    text("timed", "timestamp,x,y,z", [[0, 1, 1, 1]], "leave --fps away")
    text("far", "frame,x,y,z", [[1e15, 0, 0, 0]], "too high")
    return causes


def test_bad_files_fail_one_by_one(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = folder(tmp_path / "f")
    csv(place / "a.csv", "x,y,z", [[1, 2, 3]])
    causes = _files_of_every_fault(place)
    causes["other"] = "column q, where a has z"
    done, made = run(cache, place, fps=5)
    assert {failure.clip for failure in done.failed} == causes.keys() and made.clips == ["a"]
    for failure in done.failed:
        assert causes[failure.clip] in failure.cause, (failure.clip, failure.cause)
    assert not (tmp_path / "evil").exists()
    again, _ = run(cache, place, fps=5)
    assert again.computed == 0 and len(again.failed) == len(causes)


def test_only_what_has_changed_is_computed(tmp_path: Path, cache: Cache) -> None:
    place = folder(tmp_path / "f")
    for name in "abc":
        np.save(place / f"{name}.npy", VALUES)
    assert run(cache, place, fps=5)[0].computed == 3
    assert (run(cache, place, fps=5)[0].computed, run(cache, place, fps=5)[0].cached) == (0, 3)
    np.save(place / "b.npy", VALUES + 1)
    np.save(place / "d.npy", VALUES)
    done, made = run(cache, place, fps=5)
    assert done.computed == 2 and features(made).sequence("b").values.tobytes() == (VALUES + 1).tobytes()
    other, _ = run(cache, place, fps=25)
    assert other.path != done.path and run(cache, place, fps=5, name="else")[0].path != done.path


def test_another_video_is_another_source(tmp_path: Path, cache: Cache) -> None:
    np.save(folder(tmp_path / "f") / "v.npy", VALUES[:4])
    make_clip(folder(tmp_path / "videos") / "v.mp4", 4, pts=[0, 1, 2, 3])
    run(cache, tmp_path / "f", videos=tmp_path / "videos")
    make_clip(tmp_path / "videos" / "v.mp4", 4, pts=[0, 2, 4, 9])
    done, made = run(cache, tmp_path / "f", videos=tmp_path / "videos")
    assert done.computed == 1 and np.allclose(features(made).sequence("v").start, np.array([0, 2, 4, 9]) / 30)
    np.save(tmp_path / "f" / "w.npy", VALUES)
    done, _ = run(cache, tmp_path / "f", videos=tmp_path / "videos")
    assert [failure.clip for failure in done.failed] == ["w"] and "no video w" in done.failed[0].cause


def test_what_is_refused_at_once(tmp_path: Path, cache: Cache) -> None:
    place = folder(tmp_path / "f")
    np.save(place / "a.npy", VALUES)
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (tmp_path / "none", {}, "is not a folder"),
        (place / "a.npy", {}, "is not a folder"),
        (folder(tmp_path / "empty"), {}, r"holds no"),
        (place, {"style": "affwild2"}, "give --videos DIR, or --fps"),
        (place, {"videos": tmp_path, "fps": 5}, "give one of them"),
        (place, {"videos": tmp_path / "none"}, "is not a folder"),
        (place, {"style": "muse", "videos": tmp_path}, "leave --videos away"),
        (place, {"style": "muse", "fps": 5}, "leave --fps away"),
        (place, {"fps": "none.csv"}, "neither a rate .* nor a table"),
        (place, {"fps": "0"}, "0 is not a rate"),
        (place, {"style": "muse"}, "none of 1 files can be read, the first: .*style muse reads CSV"),
    ]
    for source, fields, message in cases:
        with pytest.raises(UsageError, match=message):
            run(cache, source, **fields)
    csv(place / "a.csv", "x", [[1]])
    with pytest.raises(UsageError, match="two contents"):
        run(cache, place, fps=5)
    (place / "a.csv").unlink()
    done, _ = run(cache, place)
    assert "--videos, or --fps is needed" in done.failed[0].cause


def test_float16_is_refused_where_it_is_too_narrow(tmp_path: Path, cache: Cache) -> None:
    place = folder(tmp_path / "f")
    np.save(place / "a.npy", VALUES)
    np.save(place / "b.npy", VALUES * 1e6)
    done, made = run(cache, place, fps=5, dtype="float16")
    assert [failure.clip for failure in done.failed] == ["b"] and "beyond float16" in done.failed[0].cause
    assert features(made).sequence("a").values.dtype == np.float16


def planted(place: Path, clips: int, seed: int) -> dict[str, NDArray[Any]]:
    """Files whose first two dimensions follow valence and arousal; one in nine rows is missing."""
    rng, curves = np.random.default_rng(seed), {}
    for number in range(clips):
        curve = np.tanh(rng.standard_normal((45, 2)).cumsum(axis=0) / 4)
        values = np.hstack([curve, rng.normal(0, 0.1, (45, 2))])
        values[::9] = np.nan
        curves[f"c{number}"] = curve
        np.save(place / f"c{number}.npy", values)
    return curves


def test_functionals_heads_and_predictions_work_on_them(tmp_path: Path, cache: Cache) -> None:
    curves = planted(folder(tmp_path / "f"), 8, 0)
    _, made = run(cache, tmp_path / "f", fps=5)
    summary = functionals(cache, made, FunctionalsConfig(window=2), RUNTIME)
    assert summary.computed == 8 and not summary.failed
    lines = ["clip,start,end,split,valence,arousal"]
    for number, (clip, curve) in enumerate(curves.items()):
        split = "train" if number < 5 else "val"
        lines += [f"{clip},{t / 5},{(t + 1) / 5},{split},{v:.4f},{a:.4f}" for t, (v, a) in enumerate(curve)]
    (tmp_path / "va.csv").write_text("\n".join(lines) + "\n")
    settings = TrainConfig(task="va", head="kernel-elm", option=["functionals=none", "normalise=standard"])
    trained = train(cache, [features(made)], tmp_path / "va.csv", settings, RUNTIME, device="cpu")
    (steps,) = trained.artifact.stage.provenance["features"]
    assert [step["stage"] for step in steps] == ["import"] and steps[0]["config"]["name"] == "mine"
    assert [step["stage"] for step in lineage(Artifact(summary.path))] == ["import", "functionals"]
    # Those of new clips, imported under the same name, are of the same recipe.
    planted(folder(tmp_path / "g"), 3, 1)
    (tmp_path / "g" / "c2.npy").rename(tmp_path / "g" / "new.npy")
    _, new = run(Cache(tmp_path / "elsewhere"), tmp_path / "g", fps=5)
    done = predict(cache, trained.artifact, [features(new)], RUNTIME, device="cpu")
    scores = Artifact(done.path).read("new")["scores"]
    assert not done.failed and scores.shape == (45, 2) and np.isfinite(scores[1:9]).all()
    truth = np.load(tmp_path / "g" / "c0.npy")
    there = np.isfinite(truth).all(axis=1)
    found = np.asarray(Artifact(done.path).read("c0")["scores"])
    assert all(np.corrcoef(found[there, k], truth[there, k])[0, 1] > 0.9 for k in range(2))
    make_clip(tmp_path / "clip.mp4", 5)
    with pytest.raises(UsageError, match=r"imported features \(mine\), which no recipe makes from media"):
        replay(cache, trained.artifact, clips_of([str(tmp_path / "clip.mp4")]), RUNTIME)


def test_what_is_exported_in_muses_layout_comes_back(tmp_path: Path, cache: Cache) -> None:
    values = VALUES.copy()
    values[4] = np.nan
    np.savez(folder(tmp_path / "f") / "a.npz", values=values, timestamp=np.arange(10) / 3)
    csv(tmp_path / "f" / "day1" / "b.csv", "timestamp,x,y,z", [[0.25, 1, 2, 3], [0.75, 4, 5, 6]])
    _, made = run(cache, tmp_path / "f")
    out = export(made, "muse", tmp_path / "feats" / "mine")
    lines = (out / "day1" / "b.csv").read_text().split("\n")
    assert lines == ["timestamp,segment_id,values_0,values_1,values_2", "250,1,1.0,2.0,3.0", "750,1,4.0,5.0,6.0", ""]
    _, back = run(cache, out, style="muse")
    for clip in ("a", "day1/b"):
        one, two = features(made).sequence(clip), features(back).sequence(clip)
        assert one.values.tobytes() == two.values.tobytes() and (one.valid == two.valid).all()
        assert np.allclose(one.start, two.start, atol=1e-9) and np.allclose(one.end, two.end, atol=1e-8)
    with pytest.raises(UsageError, match="it exists"):
        export(made, "muse", out)


def test_command_line(tmp_path: Path, affectkit: Command) -> None:
    place = folder(tmp_path / "f")
    np.save(place / "a.npy", VALUES)
    np.save(place / "b.npy", VALUES)
    done = affectkit("import", "f", "--name", "mine", "--fps", 5, "--clips", "a")
    assert done.returncode == 0, done.stderr
    made = done.stdout.strip()
    assert made.count("\n") == 0 and Artifact(tmp_path / made).clips == ["a"]
    (place / "c.npy").write_bytes(b"nothing")
    failed = affectkit("import", "f", "--name", "mine", "--fps", 5, "--json")
    about = json.loads(failed.stdout)
    assert (
        failed.returncode == 3
        and about["folder"] == str(Path(made).parents[1])
        and (about["computed"], about["cached"]) == (1, 1)
    )
    assert list(about["failed"]) == ["c"]
    exported = affectkit("export", made, "--to", "csv", "--out", "x.csv")
    assert exported.returncode == 0 and (tmp_path / "x.csv").read_text().startswith("clip,start,end,valid,values_0")
    for wrong in (["f", "--fps", "5"], ["f", "--name", "m", "--style", "affwild2"], ["none", "--name", "m"]):
        refused = affectkit("import", *wrong)
        assert refused.returncode == 2 and not refused.stdout and "Traceback" not in refused.stderr
