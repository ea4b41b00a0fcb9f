"""Artifacts: what is written is read back, whatever the order, the grouping or the interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_tables import LAYERS, SCHEMAS, WAVEFORM, artifact, as_before, assert_same, end, keys, record, write

from affectkit.errors import AffectkitError, ClipError, HostileFile, UsageError
from affectkit.store import UNREADABLE, Artifact, Cache, Column, Failure, Schema, features_schema, open_artifact
from affectkit.store import output as output_module
from affectkit.store import segment as segment_module
from affectkit.store.atomic import TEMPORARY, temporary_name
from affectkit.store.schema import ROWS
from affectkit.store.segment import ClipRows, Segment
from affectkit.store.upkeep import leftovers, nearest, remove, size, verify, why_miss

FEATURES = SCHEMAS["features"]


def some(schema: Schema, count: int = 12, seed: int = 0) -> dict[str, Any]:
    """Clips of 0, 1, 2, ... rows, in no order of their ids."""
    return {f"clip {n * 7 % 13:02d}": record(schema, n % 5, seed + n) for n in range(count)}


# What is written is read back


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("per_part", [1, 5, 100])
def test_round_trip(tmp_path: Path, name: str, per_part: int) -> None:
    schema, records = SCHEMAS[name], some(SCHEMAS[name])
    table = artifact(tmp_path, schema)
    write(table, records, per_part)
    assert open_artifact(table.path).finished() == keys(records)
    table.seal()
    again = open_artifact(table.path)
    assert again.clips == sorted(records)
    assert again.finished() == keys(records)
    for clip, expected in records.items():
        assert_same(schema, again.read(clip), expected)
    assert list(verify(again)) == []
    assert again.part_paths() == []


def test_sealed_file_is_sorted_and_plain(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    records = some(FEATURES)
    write(table, records, per_part=3)
    table.seal()
    with h5py.File(table.path / "data.h5") as file:
        clips = [clip.decode() for clip in file["clip"]]
        first, last = file["offsets"][4:6]
        np.testing.assert_array_equal(file["values"][first:last], records[clips[4]]["values"])
        assert all(file[name].chunks is None and file[name].compression is None for name in file)
        assert all(file[name].id.get_offset() % 64 == 0 for name in ("start", "end", "valid", "values"))
    assert clips == sorted(records)


@pytest.mark.parametrize(
    "clip",
    [
        "Ünïcödé/子供 - смех",
        "a b#0",
        "line\nbreak",
        "sep\u2028arator",
        "../up",
        "'quotes\"",
        "\N{CLOWN FACE}",
        "é" * 2000,
        "",
    ],
)
def test_any_text_is_an_id(tmp_path: Path, clip: str) -> None:
    table = artifact(tmp_path, FEATURES)
    values = record(FEATURES, 3)
    write(table, {clip: values, "other": record(FEATURES, 2)})
    table.seal([Failure(clip + "!", "s", "cause " + clip)])
    chosen = table.select({clip: "s" + clip, clip + "!": "s"}, {clip: {"path": clip}})
    again = open_artifact(chosen.path)
    assert again.clips == [clip]
    assert_same(FEATURES, again.read(clip), values)
    assert again.failures()[clip + "!"].cause == "cause " + clip
    assert again.clip_table() == {clip: {"path": clip}}


def test_clip_without_rows_beside_others(tmp_path: Path) -> None:
    for name in ("faces", "waveform"):
        schema = SCHEMAS[name]
        table = artifact(tmp_path, schema, name)
        records = {"a": record(schema, 0), "b": record(schema, 4), "c": record(schema, 0)}
        write(table, {clip: records[clip] for clip in "bca"}, per_part=2)
        table.seal()
        assert [table.length(clip) for clip in "abc"] == [0, 4, 0]
        for clip in "abc":
            assert_same(schema, table.read(clip), records[clip])


def test_only_empty_clips(tmp_path: Path) -> None:
    table = artifact(tmp_path, WAVEFORM)
    part = table.new_part()
    part.end("silent", "s", {"sampling_rate": 16000, "origin": 0.0})
    part.commit()
    table.seal()
    assert len(table.column("silent", "samples")) == 0
    assert table.read("silent")["sampling_rate"] == 16000
    assert list(verify(table)) == []


def test_reading_is_lazy_and_read_only(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    write(table, some(FEATURES))
    table.seal()
    values = table.column("clip 07", "values")
    assert not values.flags.writeable
    assert not values.flags.owndata
    sequence = table.sequence("clip 07")
    assert sequence.values.base is not None
    assert sequence.valid.dtype == bool


def test_what_is_not_there(tmp_path: Path) -> None:
    table = artifact(tmp_path, WAVEFORM)
    write(table, {"a": record(WAVEFORM, 1)})
    table.seal()
    assert "a" in table
    assert "b" not in table
    with pytest.raises(UsageError, match="holds no clip 'b'"):
        table.read("b")
    with pytest.raises(UsageError, match="holds no features 'values'"):
        table.sequence("a")
    sound = artifact(tmp_path, WAVEFORM, stage="audio")
    write(sound, {"a": record(WAVEFORM, 1)})
    sound.seal()
    with pytest.raises(UsageError, match=r"holds sound, .*needed are features"):
        sound.sequence("a")


# Writing


@pytest.mark.parametrize("name", SCHEMAS)
def test_streaming_in_several_calls_equals_one(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = SCHEMAS[name]
    whole, streamed = artifact(tmp_path / "1", schema), artifact(tmp_path / "2", schema)
    values = record(schema, 9)
    part = whole.new_part()
    digest = end(schema, part, "clip", values, "s")
    part.commit()
    monkeypatch.setattr("affectkit.store.writing._BUFFER_BYTES", 60)  # some calls reach HDF5, some wait
    part = streamed.new_part()
    for first, last in ((0, 1), (1, 1), (1, 4), (4, 9)):
        part.append({
            name: item[first:last] for name, item in values.items() if schema.columns[name].per in ("row", "ragged")
        })  # fmt: skip
    for column in (column for column in values if schema.columns[column].per == "clip"):
        for piece in np.array_split(values[column], 4):
            part.append({column: piece})
    scalars = {column: item for column, item in values.items() if schema.columns[column].per == "scalar"}
    assert part.end("clip", "s", scalars) == digest
    part.commit()
    whole.seal()
    streamed.seal()
    assert (whole.path / "data.h5").read_bytes() == (streamed.path / "data.h5").read_bytes()
    assert streamed.digest("clip") == digest


@pytest.mark.parametrize("buffer", [1, 1 << 20])
def test_rollback_drops_only_the_clip_under_way(tmp_path: Path, buffer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affectkit.store.writing._BUFFER_BYTES", buffer)
    schema = SCHEMAS["faces"]
    good = {f"c{n}": record(schema, n, n) for n in (3, 0, 5)}
    table = artifact(tmp_path, schema)
    part = table.new_part()
    for clip, values in good.items():
        part.append({name: item for name, item in record(schema, 4, 99).items() if name != "origin"})
        part.rollback()
        part.rollback()
        end(schema, part, clip, values, "s")
    part.append({name: item for name, item in record(schema, 2, 98).items() if name != "origin"})
    part.rollback()
    part.commit()
    table.seal()
    for clip, values in good.items():
        assert_same(schema, table.read(clip), values)
    assert list(verify(table)) == []


def test_commit_leaves_out_an_unfinished_clip(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    part = table.new_part()
    end(FEATURES, part, "whole", record(FEATURES, 3), "s")
    part.append(record(FEATURES, 2))
    part.commit()
    table.seal()
    assert table.clips == ["whole"]
    assert_same(FEATURES, table.read("whole"), record(FEATURES, 3))


def test_commit_of_nothing_and_discard_leave_no_file(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    part = table.new_part()
    part.append(record(FEATURES, 2))
    assert part.commit() is None
    part = table.new_part()
    end(FEATURES, part, "a", record(FEATURES, 2), "s")
    part.discard()
    part.discard()
    assert part.commit() is None
    assert list((table.path / "parts").iterdir()) == []


def test_caller_may_reuse_its_arrays(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    part = table.new_part()
    values, kept = record(FEATURES, 3), record(FEATURES, 3)
    part.append(values)
    values["values"][:] = -1
    part.end("a", "s")
    part.commit()
    table.seal()
    assert_same(FEATURES, table.read("a"), kept)
    assert list(verify(table)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"values": np.zeros((2, 5))},
        {"values": np.zeros((3, 6))},
        {"values": np.zeros(5)},
        {"values": np.zeros((3, 5, 1))},
        {"start": [0.0]},
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    table = artifact(tmp_path, FEATURES)
    part = table.new_part()
    with pytest.raises(ValueError, match=r"rows|shape"):
        part.append(record(FEATURES, 3) | change)
    part.rollback()
    end(FEATURES, part, "a", record(FEATURES, 3), "s")
    part.commit()
    table.seal()
    assert_same(FEATURES, table.read("a"), record(FEATURES, 3))


def test_missing_columns_and_scalars_are_refused(tmp_path: Path) -> None:
    part = artifact(tmp_path, WAVEFORM).new_part()
    part.append({"start": [0.0], "end": [1.0]})
    scalars = {"sampling_rate": 1, "origin": 0.0}
    with pytest.raises(ValueError, match=r"have \[0, 1\] rows"):
        part.end("a", "s", scalars)
    part.append({"valid": [1]})
    with pytest.raises(ValueError, match="expected"):
        part.end("a", "s", {"origin": 0.0})
    with pytest.raises(ValueError, match="expected"):
        part.end("a", "s", scalars | {"more": 1})
    part.end("a", "s", scalars)
    assert len(part) == 1
    part.discard()


@pytest.mark.parametrize("clip", ["x" * 4097, "nul\0", "\udcff"])
def test_id_that_cannot_be_stored_fails_that_clip_alone(tmp_path: Path, clip: str) -> None:
    table = artifact(tmp_path, FEATURES)
    part = table.new_part()
    part.append(record(FEATURES, 2))
    with pytest.raises(ClipError, match="clip"):
        part.end(clip, "s")
    part.rollback()
    end(FEATURES, part, "good", record(FEATURES, 3), "s")
    part.commit()
    table.seal([Failure(clip, "s", "no")])
    assert table.clips == ["good"]
    assert table.failures()[clip].cause == "no"


def test_value_beyond_float16_fails_the_clip(tmp_path: Path) -> None:
    schema = SCHEMAS["features16"]
    part = artifact(tmp_path, schema).new_part()
    values = record(schema, 2)
    for wide, fits in ((7e4, False), (-7e4, False), (6.5e4, True), (np.inf, True), (np.nan, True)):
        values["values"] = np.full((2, 4), wide)
        if fits:
            part.append(values)
        else:
            with pytest.raises(ClipError, match="beyond float16"):
                part.append(values)
    part.discard()


def test_hdf5_is_never_called_in_the_main_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only there does Python raise interrupts; one inside the file object would crash HDF5."""
    callers = set()
    kept = output_module._Disk.write

    def write_and_note(self: Any, data: Any, /) -> int:
        callers.add(threading.current_thread())
        return kept(self, data)

    monkeypatch.setattr(output_module._Disk, "write", write_and_note)
    part = artifact(tmp_path, FEATURES).new_part()
    end(FEATURES, part, "a", record(FEATURES, 3), "s")
    part.rollback()
    part.commit()
    assert callers
    assert threading.main_thread() not in callers


# One result, whatever happened on the way


def test_same_bytes_whatever_the_order_grouping_and_interruptions(tmp_path: Path) -> None:
    for name, schema in SCHEMAS.items():
        records = some(schema, 13)
        plain = artifact(tmp_path / name / "plain", schema)
        write(plain, dict(sorted(records.items())), per_part=100)
        plain.seal()
        shuffled = artifact(tmp_path / name / "shuffled", schema)
        items = list(records.items())
        write(shuffled, dict(items[:6]), per_part=4)
        abandoned = shuffled.new_part()  # killed here: a temporary file and finished parts stay
        end(schema, abandoned, items[6][0], items[6][1], "s")
        resumed = open_artifact(shuffled.path)
        assert resumed.finished() == keys(clip for clip, _ in items[:6])
        write(resumed, dict(items[6:]), per_part=1)
        resumed.seal()
        abandoned.discard()
        assert (resumed.path / "data.h5").read_bytes() == (plain.path / "data.h5").read_bytes(), name


def test_long_clips_are_copied_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [artifact(tmp_path / str(n), SCHEMAS["faces"]) for n in range(2)]
    records = {f"c{n}": record(SCHEMAS["faces"], 30 + n, n) for n in range(4)}
    for table in tables:
        write(table, dict(reversed(records.items())), per_part=2)
    tables[0].seal()
    monkeypatch.setattr("affectkit.store.sealing._BLOCK_BYTES", 100)
    monkeypatch.setattr("affectkit.store.segment._HELD_BYTES", 0)
    tables[1].seal()
    assert (tables[0].path / "data.h5").read_bytes() == (tables[1].path / "data.h5").read_bytes()


def test_later_segments_of_before_win_and_compact_merges(tmp_path: Path) -> None:
    schema = SCHEMAS["faces"]
    table, fresh = artifact(tmp_path / "1", schema), artifact(tmp_path / "2", schema)
    old, new, more = (
        {clip: record(schema, 4, seed) for clip in clips} for seed, clips in ((1, "abc"), (2, "bd"), (3, "e"))
    )
    for records, source in ((old, "old"), (new, "new"), (more, "new")):
        write(table, records, source=source)
        table.seal()
    as_before(table)
    table = open_artifact(table.path)
    assert [path.name for path in table.segment_paths()] == ["data.h5", "data.1.h5", "data.2.h5"]
    current = old | new | more
    for compacted in (False, True):
        if compacted:
            assert table.compact() == 1
        reader = open_artifact(table.path)
        assert reader.clips == list("abcde")
        assert reader.source("b") == "newb"
        for clip, values in current.items():
            assert_same(schema, reader.read(clip), values)
    assert [path.name for path in table.segment_paths()] == ["data.3.h5"]
    write(fresh, {clip: current[clip] for clip in "ac"}, source="old")
    write(fresh, {clip: current[clip] for clip in "bde"}, source="new")
    fresh.seal()
    assert (table.path / "data.3.h5").read_bytes() == (fresh.path / "data.h5").read_bytes()


def test_names_of_segments_are_never_used_twice(tmp_path: Path) -> None:
    table, names = artifact(tmp_path, FEATURES), []
    for round_ in range(3):
        for clip in "ab":
            write(table, {f"{clip}{round_}": record(FEATURES, 3)})
            table.seal()
            names.append(table.segment_paths()[-1].name)
        table.compact()
        names += [path.name for path in table.segment_paths()]
    assert names == ["data.h5", *(f"data.{n}.h5" for n in range(1, 9))]


def test_a_reader_opens_again_where_other_segments_lie_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between listing and opening, another process merges what was listed and seals more: all of it is seen."""
    table = artifact(tmp_path, FEATURES)
    for clip in "ab":
        write(table, {clip: record(FEATURES, 3)})
        table.seal()
    reader, opened = open_artifact(table.path), []

    class Meddled(Segment):
        def __init__(self, path: Path, *arguments: Any) -> None:
            super().__init__(path, *arguments)
            if not opened:
                opened.append(path)
                table.compact()
                write(table, {"c": record(FEATURES, 3)})
                table.seal()

    with monkeypatch.context() as patch:
        patch.setattr("affectkit.store.table.Segment", Meddled)
        assert reader.clips == ["a", "b", "c"]


def test_what_is_mapped_is_the_file_that_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is replaced between opening and mapping is not seen."""
    one, two = artifact(tmp_path, FEATURES), artifact(tmp_path, FEATURES, of="another")
    for table, clips, seed in ((one, "ab", 1), (two, "abc", 2)):
        write(table, {clip: record(FEATURES, 3, seed) for clip in clips})
        table.seal()
    kept = segment_module._checked

    def replaced(file: Any, path: Path, *arguments: Any) -> Any:
        (two.path / "data.h5").replace(path)
        return kept(file, path, *arguments)

    monkeypatch.setattr(segment_module, "_checked", replaced)
    segment = Segment(one.path / "data.h5", FEATURES)
    assert segment.ids == ["a", "b"]
    assert_same(FEATURES, ClipRows(segment, 1).read(), record(FEATURES, 3, 1))


@pytest.mark.parametrize("seed", range(6))
def test_any_history_keeps_every_version(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    schema = SCHEMAS[["faces", "waveform"][seed % 2]]
    table, expected = artifact(tmp_path, schema), {}
    for step in range(12):
        clips = [f"c{n}" for n in rng.permutation(9)[: rng.integers(1, 6)]]
        records = {clip: record(schema, int(rng.integers(0, 6)), 100 * seed + step) for clip in clips}
        write(table, records, per_part=int(rng.integers(1, 4)), source=f"{step} ")
        expected |= {(clip, f"{step} {clip}"): values for clip, values in records.items()}
        if rng.random() < 0.6:
            table.seal()
        if rng.random() < 0.3:
            table.compact()
    table.seal()
    for _ in range(2):
        assert table.rows.keys() == expected.keys()
        for key, values in expected.items():
            assert_same(schema, table.rows[key].read(), values)
        assert list(verify(table)) == []
        table.compact()


def test_reader_goes_on_while_segments_are_merged(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    for clip in "abc":
        write(table, {clip: record(FEATURES, 3, ord(clip))})
        table.seal()
    reader = open_artifact(table.path)
    assert len(reader) == 3
    table.compact()
    for clip in "abc":
        assert_same(FEATURES, reader.read(clip), record(FEATURES, 3, ord(clip)))


def test_segments_that_went_while_they_were_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = artifact(tmp_path, FEATURES)
    for clip in "ab":
        write(table, {clip: record(FEATURES, 3)})
        table.seal()
    listed, kept = [], Artifact.segment_paths

    def list_then_compact(self: Artifact) -> list[Path]:
        paths = kept(self)
        if self is reader and not listed:
            listed.extend(paths)
            table.compact()
        return paths

    reader = open_artifact(table.path)
    monkeypatch.setattr(Artifact, "segment_paths", list_then_compact)
    assert reader.clips == ["a", "b"]
    assert len(listed) == 2


def test_crash_between_sealing_and_removing_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = artifact(tmp_path, FEATURES)
    write(table, some(FEATURES), per_part=2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            table.seal()
    before = (table.path / "data.h5").read_bytes()
    assert len(table.part_paths()) == 6
    again = open_artifact(table.path)
    assert again.finished() == keys(some(FEATURES))
    again.seal()
    assert [path.name for path in again.segment_paths()] == ["data.h5"]
    assert (table.path / "data.h5").read_bytes() == before
    assert again.part_paths() == []


def test_every_unsealed_version_counts(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    for seed in range(6):
        write(table, {"a": record(FEATURES, 2, seed)}, source=f"version {seed} ")
    assert table.finished() == {("a", f"version {seed} a") for seed in range(6)}
    table.seal()
    for seed in range(6):
        chosen = table.select({"a": f"version {seed} a"}, {})
        assert_same(FEATURES, open_artifact(chosen.path).read("a"), record(FEATURES, 2, seed))


# Beside the data


def test_failures_are_kept_by_source_and_go_with_success(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    table.seal([Failure("a", "a1", "bad"), Failure("b", "b1", "worse")])
    table.seal([Failure("b", "b2", "still bad")])
    failures = open_artifact(table.path).failures()
    assert {clip: (f.source_sha256, f.cause) for clip, f in failures.items()} == {
        "a": ("a1", "bad"), "b": ("b2", "still bad"),
    }  # fmt: skip
    assert all(failure.time for failure in failures.values())
    write(table, {"b": record(FEATURES, 1)}, source="b3 ")
    table.seal()
    assert open_artifact(table.path).failed().keys() == {("a", "a1"), ("b", "b1"), ("b", "b2")}
    table.seal([Failure("b", "b3 b", "has rows"), Failure("b", "b4", "changed and broken")])
    assert open_artifact(table.path).failed().keys() == {("a", "a1"), ("b", "b1"), ("b", "b2"), ("b", "b4")}
    assert "b" in table
    write(table, {"a": record(FEATURES, 1)}, source="a1"[:1])
    table.seal([Failure("a", "aa", "has rows")])
    assert ("a", "a1") in table.failed()
    assert ("a", "aa") not in table.failed()


def test_a_file_that_could_not_be_read_goes_from_the_failures_with_its_rows(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    gone = [Failure(clip, UNREADABLE, "no such file") for clip in "ab"]
    table.seal(gone)
    write(table, {"a": record(FEATURES, 1)})
    table.seal()
    assert table.failed().keys() == {("b", UNREADABLE)}
    table.seal(gone[:1])
    assert table.failed().keys() == {("a", UNREADABLE), ("b", UNREADABLE)}
    assert "a" in table


def test_a_table_sees_what_was_sealed_since_it_was_asked(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    for number, clip in enumerate("abc"):
        write(table, {clip: record(FEATURES, 1)})
        table.seal()
        assert table.clips == list("abc"[: number + 1])


def test_the_folder_knows_what_was_said_of_each_clip_last(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    write(table, {clip: record(FEATURES, 1) for clip in "abc"})
    table.seal()
    one = table.select({"a": "sa", "b": "sb"}, {"a": {"split": "train"}, "b": {"split": "val"}})
    two = table.select({"b": "sb", "c": "sc"}, {"b": {"split": "test"}, "c": {}})
    os.utime(one.path, (1, 1))
    table.select({"z": "gone"}, {"z": {"split": "val"}})
    assert open_artifact(table.path).clip_table() == {"a": {"split": "train"}, "b": {"split": "test"}, "c": {}}
    assert open_artifact(one.path).clip_table() == {"a": {"split": "train"}, "b": {"split": "val"}}
    assert open_artifact(two.path).clip_table() == {"b": {"split": "test"}, "c": {}}


def test_sealing_nothing_new_writes_nothing(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    write(table, some(FEATURES))
    sources, entries = dict(keys(some(FEATURES))), {"a": {"split": "train"}}
    table.seal([Failure("z", "s", "no")])
    chosen = table.select(sources, entries)
    before = {path.name: path.stat().st_mtime_ns for path in table.path.iterdir()}
    open_artifact(table.path).seal()
    assert open_artifact(table.path).select(sources, entries).path == chosen.path
    assert {path.name: path.stat().st_mtime_ns for path in table.path.iterdir()} == before


def test_stage_file_says_what_was_asked_and_how(tmp_path: Path) -> None:
    numerics = {"device": "cpu", "batch_size": 32}
    inputs = {"stage": "embed", "config": {"fps": 5.0, "name": "é"}}
    made = Cache(tmp_path).create("embed", "res/net", inputs, FEATURES, numerics=numerics, upstream=[tmp_path])
    stage = open_artifact(made.path).stage
    assert stage.numerics == numerics
    assert stage.inputs == inputs
    assert stage.table == FEATURES
    assert stage.upstream == [str(tmp_path)]
    assert {"affectkit", "host", "created", "packages", "command"} <= stage.provenance.keys()
    assert made.path == tmp_path / "embed" / f"res_net-{stage.fingerprint[:12]}"


def test_create_finds_what_exists(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = cache.create("embed", "x", {"a": 1}, FEATURES, numerics={"batch_size": 1})
    text = (first.path / "stage.json").read_text()
    assert cache.create("embed", "x", {"a": 1}, FEATURES, numerics={"batch_size": 2}).stage.numerics == {
        "batch_size": 1
    }
    assert (first.path / "stage.json").read_text() == text
    assert cache.find("embed", "x", {"a": 2}) is None
    with pytest.raises(UsageError, match="another recipe"):
        cache.create("embed", "x", {"a": 2}, FEATURES, out=first.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="other things"):
        cache.create("embed", "x", {"a": 2}, FEATURES, out=tmp_path / "mine")
    assert [a.path for a in cache.artifacts()] == [first.path]


def test_fit_artifact_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise AffectkitError("no")

    with pytest.raises(AffectkitError):
        cache.create_whole("train-head", "lstm", {"a": 1}, fail)
    assert list((tmp_path / "train-head").iterdir()) == []
    made = cache.create_whole("train-head", "lstm", {"a": 1}, lambda folder: (folder / "w").write_text("1") and None)
    again = cache.create_whole("train-head", "lstm", {"a": 1}, lambda folder: (folder / "w").write_text("2") and None)
    assert made.path == again.path
    assert (made.path / "w").read_text() == "1"
    assert [path.name for path in (tmp_path / "train-head").iterdir()] == [made.path.name]
    with pytest.raises(UsageError, match=r"holds a trained head, .*needed are face crops"):
        _ = made.schema


def test_folder_that_is_no_artifact(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="is not an artifact"):
            open_artifact(path)


def test_recipe_edited_by_hand_is_noticed(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES, fps=5)
    file = table.path / "stage.json"
    stage = json.loads(file.read_text())
    file.write_text(json.dumps(stage | {"inputs": stage["inputs"] | {"fps": 6}}))
    with pytest.raises(HostileFile, match="does not follow from its inputs"):
        open_artifact(table.path)
    file.write_text(json.dumps(stage | {"format": 2}))
    with pytest.raises(UsageError, match="cache format 2"):
        open_artifact(table.path)


@pytest.mark.parametrize(
    "columns",
    [
        {"a/b": Column()},
        {"clip": Column()},
        {"offsets": Column()},
        {"image": Column(per="ragged"), "image_offsets": Column()},
        {"": Column()},
    ],
)
def test_schema_refuses_names_that_mislead(columns: dict[str, Column]) -> None:
    with pytest.raises(ValueError, match="column"):
        Schema(columns=ROWS | columns)


def test_schema_refuses_what_cannot_be_stored() -> None:
    for options in (
        {"dtype": "O"},
        {"dtype": "S9"},
        {"dtype": ">f4"},
        {"shape": (0,)},
        {"dtype": "utf-8"},
        {"shape": (1 << 31,)},
    ):
        with pytest.raises(ValueError, match=r"column|shape|text"):
            Column(**options)
    with pytest.raises(ValueError, match="every table has"):
        Schema(columns={"values": Column()})
    with pytest.raises(ValueError, match="do not match"):
        Schema(columns=dict(LAYERS.columns), names={"layer_07": ["a"]})


# Two processes on one artifact

SEALER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from store_tables import artifact, record, write, SCHEMAS
me, root, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
schema = SCHEMAS["features"]
table = artifact(root, schema)
print("ready", flush=True)
sys.stdin.readline()
from affectkit.store import Failure
for n in range(rounds):
    write(table, {{f"{{me}}-{{n}}-{{i}}": record(schema, i, n) for i in range(3)}}, per_part=2)
    write(table, {{f"both-{{n}}-{{i}}": record(schema, i, n) for i in range(3)}})
    table.seal([Failure(f"{{me}}-bad-{{n}}", "s", "no")])
    table.select({{f"{{me}}-{{n}}-0": f"s{{me}}-{{n}}-0"}}, {{f"{{me}}-{{n}}-0": {{"split": "train"}}}})
    assert f"{{me}}-{{n}}-2" in table
"""


def test_two_processes_seal_one_artifact(tmp_path: Path) -> None:
    rounds = 6
    code = SEALER.format(tests=str(Path(__file__).parent))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, me, tmp_path, str(rounds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for me in ("one", "two")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
        assert child.returncode == 0
    table = artifact(tmp_path, FEATURES)
    expected = {
        f"{who}-{n}-{i}": record(FEATURES, i, n)
        for who in ("one", "two", "both")
        for n in range(rounds)
        for i in range(3)
    }
    assert table.clips == sorted(expected)
    assert sum(len(segment.ids) for segment in table.segments) == len(expected)
    for clip, values in expected.items():
        assert_same(FEATURES, table.read(clip), values)
    assert table.failures().keys() == {f"{who}-bad-{n}" for who in ("one", "two") for n in range(rounds)}
    assert table.clip_table().keys() == {f"{who}-{n}-0" for who in ("one", "two") for n in range(rounds)}
    assert table.part_paths() == []
    assert list(verify(table)) == []


# Upkeep


@pytest.mark.parametrize("name", SCHEMAS)
def test_verify_finds_a_flipped_byte_in_any_column(tmp_path: Path, name: str) -> None:
    schema = SCHEMAS[name]
    table = artifact(tmp_path, schema)
    write(table, {clip: record(schema, 4, ord(clip)) for clip in "abc"})
    table.seal()
    file = table.path / "data.h5"
    kept = file.read_bytes()
    for column in [*schema.columns, "sha256", "status"]:
        with h5py.File(file) as opened:
            dataset = opened[column]
            where = dataset.id.get_offset() + dataset.nbytes // 2
        damaged = bytearray(kept)
        damaged[where] ^= 0x04
        file.write_bytes(damaged)
        found = list(verify(open_artifact(table.path)))
        assert len(found) == 1, column
        assert found[0][0] in "abc"
    file.write_bytes(kept[: len(kept) // 2])
    assert len(list(verify(open_artifact(table.path)))) == 1
    file.write_bytes(kept)
    assert list(verify(open_artifact(table.path))) == []


def test_why_miss_names_the_inputs_that_differ(tmp_path: Path) -> None:
    one = artifact(tmp_path, FEATURES, config={"fps": 5, "face": "largest"}, weights="x")
    two = artifact(tmp_path, FEATURES, config={"fps": 6, "face": "largest"})
    far = artifact(tmp_path, FEATURES, config={"fps": 7, "face": "nearest"})
    artifact(tmp_path, FEATURES, "faces", config={"fps": 5, "face": "largest"}, weights="x")
    assert why_miss(one, two) == [("config.fps", 5, 6), ("weights", "x", "(absent)")]
    assert why_miss(one, one) == []
    assert nearest(one, Cache(tmp_path)).path == two.path
    assert nearest(far, Cache(tmp_path)).path == two.path


def test_only_what_dead_processes_left_goes(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    part = table.new_part()  # ours, and we live
    code = (
        "import os, sys; from affectkit.store import open_artifact\n"
        "part = open_artifact(sys.argv[1]).new_part(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, table.path], check=False).returncode == -9
    ours = temporary_name(table.path / "x").name
    elsewhere = table.path / ours.replace(TEMPORARY, TEMPORARY + "another-host-9-", 1)
    unknown = table.path / (TEMPORARY + "notes")
    elsewhere.touch()
    unknown.touch()
    found = list(leftovers(Cache(tmp_path)))
    assert len(found) == 1
    assert found[0].path.parent == table.path / "parts"
    assert found[0].nbytes == size(found[0].path)
    remove(found[0])
    end(FEATURES, part, "a", record(FEATURES, 2), "s")
    part.commit()
    table.seal()
    assert table.clips == ["a"]
    assert elsewhere.exists()
    assert unknown.exists()
    assert list(leftovers(Cache(tmp_path))) == []


def test_artifacts_not_written_to_for_days(tmp_path: Path) -> None:
    table = artifact(tmp_path, FEATURES)
    now = (table.path / "stage.json").stat().st_mtime
    assert list(leftovers(Cache(tmp_path), 2, now + 86400)) == []
    (old,) = leftovers(Cache(tmp_path), 2, now + 3 * 86400)
    assert old.path == table.path
    remove(old)
    assert list(Cache(tmp_path).artifacts()) == []


def test_part_reads_like_a_segment(tmp_path: Path) -> None:
    schema = SCHEMAS["faces"]
    table = artifact(tmp_path, schema)
    write(table, {clip: record(schema, 4, ord(clip)) for clip in "ab"}, per_part=2)
    segment = Segment.part(table.part_paths()[0], schema)
    assert_same(schema, ClipRows(segment, 1).read(), record(schema, 4, ord("b")))
    segment.close()


def test_features_schema_types() -> None:
    assert features_schema(7, "float16").columns["values"] == Column(dtype="<f2", shape=(7,))
