"""Tables out of the cache: the same numbers in every format, in files that other programs read."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from store_tables import CLIPS, RUN_SCHEMA, SCHEMAS, artifact, every, record, write

import affectkit as ak
from affectkit.api.clip_tables import FeatureTable
from affectkit.errors import AffectkitError, MissingExtra, UsageError
from affectkit.store import Artifact, Schema, features_schema, open_artifact, predictions_schema
from affectkit.store.export import FORMATS, export
from affectkit.tables.predictions import read_predictions
from affectkit.tasks import get

LENGTHS = {'é, "x"\n': 3, "b": 0, "a": 4}


def sealed(root: Path, schema: Schema, **changes: Any) -> tuple[Artifact, dict[str, Any]]:
    """An artifact of three clips, and what was written."""
    records = {clip: record(schema, length, seed) | changes for seed, (clip, length) in enumerate(LENGTHS.items())}
    table = artifact(root, schema)
    write(table, records)
    table.seal()
    return table, records


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(records: dict[str, Any], name: str) -> np.ndarray:
    """A row column of all clips, in the order of their ids."""
    return np.concatenate([records[clip][name] for clip in sorted(records)])


@pytest.mark.parametrize("to", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["features", "features16", "layers", "faces", "waveform"])
def test_rows_as_a_table(tmp_path: Path, name: str, to: str) -> None:
    schema = SCHEMAS[name]
    table, records = sealed(tmp_path, schema)
    out = export(table, to, tmp_path / "new" / f"table.{to}")
    found = pd.read_csv(out, keep_default_na=True) if to == "csv" else pd.read_parquet(out)
    expected = {"clip": np.repeat(sorted(LENGTHS), [LENGTHS[clip] for clip in sorted(LENGTHS)])}
    expected |= {column: rows(records, column) for column in ("start", "end", "valid")}
    for column, described in schema.columns.items():
        if described.per == "row" and column not in expected:
            values = rows(records, column).reshape(7, -1)
            names = [f"{column}_{n}" for n in range(values.shape[1])] if described.shape else [column]
            expected |= dict(zip(names, values.T, strict=True))
    assert list(found.columns) == list(expected)
    for column, values in expected.items():
        got = found[column].to_numpy()
        assert got.astype(values.dtype).tolist() == values.tolist(), column
        if to == "parquet" and column != "clip":
            assert got.dtype == values.dtype
    assert names_in(out.parent) == [out.name]


def named_features(root: Path) -> Artifact:
    """Two rows of a measure with a name and of an embedding, of which the first is not valid."""
    schema = features_schema({"values": 2, "points": 1}, names={"values": ["mouth_opening", "yaw"]})
    table = artifact(root, schema)
    rows = {"start": [0.0, 0.2], "end": [0.2, 0.4], "valid": [0, 1], "points": [[0.0], [3.0]]}
    write(table, {"a": rows | {"values": [[0.0, 0.0], [0.5, 0.0]]}})
    table.seal()
    return table


def test_named_components_are_empty_where_nothing_was_measured(tmp_path: Path) -> None:
    table = named_features(tmp_path)
    lines = export(table, "csv", tmp_path / "t.csv").read_text().splitlines()
    assert lines == [
        "clip,start,end,valid,mouth_opening,yaw,points_0", "a,0.0,0.2,0,,,0.0", "a,0.2,0.4,1,0.5,0.0,3.0",
    ]  # fmt: skip
    frame = FeatureTable(table).frame()
    for read in (pd.read_parquet(export(table, "parquet", tmp_path / "t.parquet")), frame):
        assert (read["mouth_opening"].mean(), read["points_0"].tolist()) == (0.5, [0.0, 3.0])
    assert FeatureTable(table).of_layer("yaw").frame()["yaw"].isna().tolist() == [True, False]
    with np.load(export(table, "npz", tmp_path / "t.npz")) as stored:
        assert stored["values"].tolist() == [[0.0, 0.0], [0.5, 0.0]]
    assert table.column("a", "values")[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("to", ["csv", "parquet", "npz", "muse"])
def test_one_component_or_column_alone(tmp_path: Path, to: str) -> None:
    table = named_features(tmp_path)
    yaw = ak.export(f"{table.path}:yaw", to, out=tmp_path / f"yaw.{to}")
    assert yaw.read_bytes() if yaw.is_file() else (yaw / "a.csv").read_bytes()
    if to == "csv":
        assert yaw.read_text() == "clip,start,end,valid,yaw\na,0.0,0.2,0,\na,0.2,0.4,1,0.0\n"
        points = ak.export(FeatureTable(table).of_layer("points"), out=tmp_path / "points.csv")
        assert points.read_text().splitlines()[0] == "clip,start,end,valid,points_0"
    elif to == "npz":
        with np.load(yaw) as stored:
            assert (stored["values_names"].tolist(), stored["values"].tolist()) == (["yaw"], [[0.0], [0.0]])
    elif to == "muse":
        assert (yaw / "a.csv").read_text() == "timestamp,segment_id,yaw\n0,1,\n200,1,0.0\n"


def test_parts_that_cannot_be_exported(tmp_path: Path) -> None:
    table = named_features(tmp_path)
    for name, to, message in [
        ("yawn", "csv", "did you mean yaw"), ("yaw", "bundle", "is features"), ("yaw", "images", "export|faces"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=message):
            ak.export(f"{table.path}:{name}", to, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_predictions_csv_is_what_fuse_and_evaluate_read(tmp_path: Path) -> None:
    schema = predictions_schema(["valence", "arousal"])
    scores = np.array([[0.1, -0.25], [np.nan, np.nan], [1 / 3, 1e-7]], "f4")
    rows = {"start": [0.0, 0.2, 0.4], "end": [0.2, 0.4, 0.6], "valid": [1, 0, 1], "observed": [1, 0, 0.25]}
    rows |= {"scores": scores}
    table = artifact(tmp_path, schema)
    write(table, {"vid,1": rows | {"split": "val"}, "vid 2": rows | {"split": ""}})
    table.seal()
    out = export(table, "csv", tmp_path / "p.csv")
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "clip,start,end,split,valence,arousal,valid,observed"
    assert lines[1] == "vid 2,0.0,0.2,,0.1,-0.25,1,1.0"
    assert lines[5] == '"vid,1",0.2,0.4,val,,,0,0.0'
    read = read_predictions(out, get("va"))
    assert read.columns == ("valence", "arousal")
    np.testing.assert_array_equal(read.scores.astype("f4"), np.r_[scores, scores])
    assert read.split.tolist() == [""] * 3 + ["val"] * 3
    assert read.observed.tolist() == [1, 0, 0.25] * 2
    parquet = pd.read_parquet(export(table, "parquet", tmp_path / "p.parquet"))
    assert list(parquet.columns) == lines[0].split(",")
    assert parquet["split"].tolist() == [""] * 3 + ["val"] * 3


def test_prediction_of_a_whole_clip(tmp_path: Path) -> None:
    table = artifact(tmp_path, predictions_schema(["valence", "arousal"]))
    row = {"start": [0], "end": [np.inf], "valid": [1], "observed": [1], "scores": [[0.5, 1]], "split": "test"}
    write(table, {"a": row})
    table.seal()
    read = read_predictions(export(table, "csv", tmp_path / "p.csv"), get("va"))
    assert (read.start.tolist(), read.end.tolist(), read.scores.tolist()) == ([0], [np.inf], [[0.5, 1]])


@pytest.mark.parametrize("name", SCHEMAS)
def test_npz_holds_every_column_without_objects(tmp_path: Path, name: str) -> None:
    schema = SCHEMAS[name]
    table, records = sealed(tmp_path, schema)
    with np.load(export(table, "npz", tmp_path / "t.npz"), allow_pickle=False) as found:
        clips = found["clip"].tolist()
        assert clips == sorted(records)
        assert found["offsets"].tolist() == [0, *np.cumsum([LENGTHS[clip] for clip in clips])]
        for column, described in schema.columns.items():
            values = [records[clip][column] for clip in clips]
            if described.per == "row":
                assert found[column].tobytes() == np.concatenate(values).astype(described.dtype).tobytes()
                assert found[column].shape == (7, *described.shape)
            elif described.per == "ragged":
                ends = found[column + "_offsets"]
                pieces = [found[column][a:b].tobytes() for a, b in pairwise(ends)]
                assert pieces == [item for value in values for item in value]
            elif described.per == "clip":
                for value, a, b in zip(values, *(found[column + "_offsets"][s] for s in np.s_[:-1, 1:]), strict=True):
                    np.testing.assert_array_equal(found[column][a:b], value)
            else:
                assert found[column].tolist() == values
        for column, labels in schema.names.items():
            assert found[column + "_names"].tolist() == labels


def test_only_the_clips_asked_for_in_that_order(tmp_path: Path) -> None:
    table, _ = sealed(tmp_path, SCHEMAS["features"])
    out = export(table, "csv", tmp_path / "t.csv", ["b", "a"])
    assert pd.read_csv(out)["clip"].tolist() == ["a"] * 4
    with np.load(export(table, "npz", tmp_path / "t.npz", ["b", "a"])) as found:
        assert found["clip"].tolist() == ["b", "a"]
    for to in FORMATS:
        with pytest.raises(UsageError, match="holds no clip 'nobody'"):
            export(table, to, tmp_path / "none", ["a", "nobody"])
    assert not (tmp_path / "none").exists()


def test_only_clips_without_rows(tmp_path: Path) -> None:
    table, _ = sealed(tmp_path, SCHEMAS["features"])
    header = b"clip,start,end,valid,values_0,values_1,values_2,values_3,values_4\n"
    assert export(table, "csv", tmp_path / "t.csv", ["b"]).read_bytes() == header
    assert pd.read_parquet(export(table, "parquet", tmp_path / "t.parquet", ["b"])).shape == (0, 9)
    with np.load(export(table, "npz", tmp_path / "t.npz", ["b"])) as found:
        assert found["values"].shape == (0, 5)


def test_many_small_clips_share_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr("affectkit.store.export._GROUP_ROWS", 4)
    table = artifact(tmp_path, SCHEMAS["features"])
    write(table, {f"{n}": record(SCHEMAS["features"], 1) for n in range(10)}, per_part=10)
    table.seal()
    file = pq.ParquetFile(export(table, "parquet", tmp_path / "t.parquet"))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [4, 4, 2]


def encoded(kind: str, grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(buffer, kind)
    return buffer.getvalue()


def crops_of(*images: bytes) -> dict[str, Any]:
    return record(RUN_SCHEMA, len(images)) | {"image": list(images), "valid": [bool(image) for image in images]}


def test_crops_as_image_files(tmp_path: Path) -> None:
    table = artifact(tmp_path, RUN_SCHEMA)
    jpeg, png = encoded("JPEG", 200), encoded("PNG", 50)
    write(table, {"day 1/vid#0": crops_of(jpeg, b"", jpeg), "day 1": crops_of(png), "none": crops_of(b"")})
    table.seal()
    out = export(table, "images", tmp_path / "crops")
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert files == {"day 1/vid#0/00001.jpg": jpeg, "day 1/vid#0/00003.jpg": jpeg, "day 1/00001.png": png}
    assert (out / "none").is_dir()
    with pytest.raises(UsageError, match="exists"):
        export(table, "images", out)


@pytest.mark.parametrize("clip", ["../up", "a/../../b", "/etc/x", "..", "a//b", "./a", "a/.", "", "nul\0l"])
def test_crops_stay_inside_their_folder(tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affectkit.store.writing._check_text", lambda *_: None)  # as a forged file may hold it
    table = artifact(tmp_path / "cache", RUN_SCHEMA)
    write(table, {clip: crops_of(encoded("PNG", 1)), "good": crops_of(encoded("PNG", 1))})
    table.seal()
    with pytest.raises(UsageError, match="cannot name a folder"):
        export(table, "images", tmp_path / "deep" / "crops")
    assert names_in(tmp_path / "deep") == []
    export(table, "images", tmp_path / "deep" / "crops", ["good"])


def test_only_faces_have_crops(tmp_path: Path) -> None:
    table, _ = sealed(tmp_path, SCHEMAS["features"])
    with pytest.raises(UsageError, match="needed are face crops"):
        export(table, "images", tmp_path / "crops")


def test_unknown_format_and_nothing_to_export(tmp_path: Path) -> None:
    table, _ = sealed(tmp_path, SCHEMAS["features"])
    with pytest.raises(UsageError, match="did you mean 'csv'"):
        export(table, "cvs", tmp_path / "x")
    for to in FORMATS:
        with pytest.raises(UsageError, match="no clips"):
            export(table, to, tmp_path / "x", [])


def test_target_named_like_a_column(tmp_path: Path) -> None:
    for name in ("start", "clip", "split"):
        table, _ = sealed(tmp_path / name, predictions_schema([name, "arousal"]))
        for to in ("csv", "parquet"):
            with pytest.raises(UsageError, match=f"named '{name}'"):
                export(table, to, tmp_path / "x")
        export(table, "npz", tmp_path / f"{name}.npz")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = sealed(tmp_path, SCHEMAS["features"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"affectkit\[parquet\]"):
        export(table, "parquet", tmp_path / "x")


def test_old_file_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    table, _ = sealed(tmp_path / "cache", SCHEMAS["features"])
    folder = tmp_path / "out"
    folder.mkdir()
    for to in ("csv", "parquet", "npz"):
        out = folder / f"t.{to}"
        out.write_text("old")
        damaged = open_artifact(table.path)
        kept = type(damaged).column
        seen = []

        def column(self: Artifact, clip: str, name: str, kept: Any = kept, seen: list[str] = seen) -> Any:
            seen.append(name)
            if len(seen) > 5:
                raise KeyboardInterrupt
            return kept(self, clip, name)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Artifact, "column", column)
            export(damaged, to, out)
        assert out.read_text() == "old"
    assert names_in(folder) == ["t.csv", "t.npz", "t.parquet"]


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    table, _ = sealed(tmp_path / "cache", SCHEMAS["features"])
    (tmp_path / "file").write_text("x")
    for to in FORMATS.keys() - {"images"}:
        for out in (tmp_path / "file" / "below" / "t", tmp_path / "cache", tmp_path / ("n" * 300)):
            with pytest.raises(AffectkitError, match="cannot be written"):
                export(table, to, out)


FULL = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from affectkit.errors import AffectkitError
from affectkit.store import open_artifact
from affectkit.store.export import export
import pyarrow.parquet
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for to in ("csv", "parquet", "npz", "images"):
    try:
        export(open_artifact(sys.argv[1]), to, Path(sys.argv[2]) / to)
    except AffectkitError as error:
        print(error)
"""


def test_full_disk(tmp_path: Path) -> None:
    table = artifact(tmp_path, RUN_SCHEMA)
    clips = every()
    for values in clips.values():
        values["image"][0] = b"x" * 4000
    write(table, clips, per_part=CLIPS)
    table.seal()
    (tmp_path / "out").mkdir()
    child = subprocess.run(
        [sys.executable, "-c", FULL, table.path, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert child.stderr == ""
    assert child.returncode == 0
    lines = child.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("no room to write") for line in lines)
    assert names_in(tmp_path / "out") == []


def test_csv_is_plain_rfc4180(tmp_path: Path) -> None:
    table, _ = sealed(tmp_path, SCHEMAS["features"])
    with export(table, "csv", tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file, strict=True))
    assert {len(line) for line in lines} == {9}
    assert lines[-1][0] == 'é, "x"\n'
