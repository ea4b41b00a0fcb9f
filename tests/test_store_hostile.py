"""Files that somebody forged: refused in one line, without following links, unpacking or large allocations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_tables import SCHEMAS, WAVEFORM, artifact, record, write

from affectkit.errors import AffectkitError, HostileFile
from affectkit.store import Artifact, Failure, open_artifact
from affectkit.store.upkeep import verify

FEATURES, FACES = SCHEMAS["features"], SCHEMAS["faces"]
Change = Callable[[h5py.File], None]


@pytest.fixture(params=["sealed", "part"])
def is_sealed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "sealed")


@pytest.fixture
def table(tmp_path: Path) -> Artifact:
    """A sealed artifact of three clips."""
    made = artifact(tmp_path, FACES)
    write(made, {clip: record(FACES, 4, ord(clip)) for clip in "abc"}, per_part=3)
    made.seal()
    return made


def refuse(table: Artifact, *words: str) -> None:
    """Every way in refuses the file in one line, and none takes memory."""
    tracemalloc.start()
    one = Failure("z", "s", "no")  # with nothing at all to seal, nothing is read
    for use in (
        lambda a: a.clips, lambda a: a.finished(), lambda a: a.read("a"), lambda a: a.seal([one]), lambda a: len(a),
    ):  # fmt: skip
        with pytest.raises(HostileFile) as caught:
            use(open_artifact(table.path))
        message = str(caught.value)
        assert "\n" not in message
        assert str(table.path) in message
        assert all(word in message for word in words), message
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert all(clip == "" for clip, _ in verify(open_artifact(table.path)))


def forge(table: Artifact, change: Change) -> None:
    """Change data.h5 through h5py."""
    with h5py.File(table.path / "data.h5", "r+") as file:
        change(file)


def replaced(name: str, **options: Any) -> Change:
    """A change that stores a dataset anew."""

    def change(file: h5py.File) -> None:
        data = options.pop("data", file[name][()])
        del file[name]
        file.create_dataset(name, data=data, **options)

    return change


def edited(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A change of a dataset's content, perhaps of its length or type."""

    def change(file: h5py.File) -> None:
        data = edit(file[name][()])
        del file[name]
        file[name] = data

    return change


def linked(name: str, link: Any) -> Change:
    def change(file: h5py.File) -> None:
        file["kept"] = file[name]
        del file[name]
        file[name] = link

    return change


def grouped(name: str) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return change


# Where the bytes lie


@pytest.mark.parametrize("name", ["clip", "offsets", "boxes", "image", "image_offsets"])
@pytest.mark.parametrize("link", [h5py.SoftLink("/kept"), h5py.ExternalLink("other.h5", "/kept")])
def test_links_are_not_followed(table: Artifact, name: str, link: Any) -> None:
    with h5py.File(table.path / "other.h5", "w") as other, h5py.File(table.path / "data.h5") as file:
        other["kept"] = file[name][()]
    forge(table, linked(name, link))
    refuse(table, name, "link")


def test_external_storage(table: Artifact) -> None:
    secret = table.path / "secret"
    secret.write_bytes(b"x" * 4096)

    def change(file: h5py.File) -> None:
        shape, dtype = file["boxes"].shape, file["boxes"].dtype
        del file["boxes"]
        file.create_dataset("boxes", shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])

    forge(table, change)
    refuse(table, "boxes", "layout")


def test_virtual_dataset(table: Artifact) -> None:
    def change(file: h5py.File) -> None:
        file["kept"] = file["boxes"][()]
        layout = h5py.VirtualLayout(file["boxes"].shape, file["boxes"].dtype)
        layout[:] = h5py.VirtualSource(".", "kept", file["boxes"].shape)
        del file["boxes"]
        file.create_virtual_dataset("boxes", layout)

    forge(table, change)
    refuse(table, "boxes", "layout")


@pytest.mark.parametrize(
    "options", [{"chunks": True}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}]
)
def test_compressed_or_chunked(table: Artifact, options: dict[str, Any]) -> None:
    forge(table, replaced("boxes", **options))
    refuse(table, "boxes", "layout")


def test_compact_layout(table: Artifact) -> None:
    def change(file: h5py.File) -> None:
        data = file["score"][()]
        del file["score"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        file.create_dataset("score", data=data, dcpl=plist)

    forge(table, change)
    refuse(table, "score", "layout")


# What they are said to be


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("boxes", lambda data: data.astype("f8")),
        ("boxes", lambda data: data.astype(">f4")),
        ("boxes", lambda data: data.astype("i4")),
        ("boxes", lambda data: np.zeros(len(data), [("a", "f4", (4,))])),
        ("valid", lambda data: data.astype(bool)),
        ("image", lambda data: data.view("i1")),
        ("offsets", lambda data: data.astype("i4")),
        ("clip", lambda data: data.astype("S5000")),
        ("clip", lambda data: np.arange(len(data))),
    ],
)
def test_wrong_type(table: Artifact, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    forge(table, edited(name, edit))
    refuse(table, name, "type")


def test_objects(table: Artifact) -> None:
    for name, data, dtype in (
        ("clip", ["a", "b", "c"], h5py.string_dtype()),
        ("status", [b"ok"] * 3, h5py.vlen_dtype(np.uint8)),
        ("score", [None] * 12, h5py.ref_dtype),
    ):
        kept = (table.path / "data.h5").read_bytes()

        def change(file: h5py.File, name: str = name, data: list[Any] = data, dtype: Any = dtype) -> None:
            del file[name]
            dataset = file.create_dataset(name, (len(data),), dtype)
            if data[0] is not None:
                for row, value in enumerate(data):
                    dataset[row] = value if isinstance(value, str) else np.frombuffer(value, "u1")

        forge(table, change)
        refuse(table, name, "type")
        (table.path / "data.h5").write_bytes(kept)


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data[:-1],
        lambda data: data.reshape(-1),
        lambda data: data[:, :2],
        lambda data: data.reshape(-1, 2, 2),
        lambda data: data[0, 0],
        lambda data: h5py.Empty("f4"),
        lambda data: np.concatenate([data, data]),
    ],
)
def test_wrong_shape(table: Artifact, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    forge(table, edited("boxes", edit))
    refuse(table, "boxes")


@pytest.mark.parametrize("name", ["clip", "sha256", "offsets", "start", "image_offsets", "origin"])
def test_missing_dataset_or_a_group(table: Artifact, name: str) -> None:
    kept = (table.path / "data.h5").read_bytes()
    forge(table, lambda file: file.__delitem__(name))
    refuse(table, name)
    (table.path / "data.h5").write_bytes(kept)
    forge(table, grouped(name))
    refuse(table, name, "not a dataset")


@pytest.mark.parametrize("rows", [1 << 20, 1 << 40, (1 << 62) // 4, (1 << 60) - 1])
def test_huge_declared_shape(table: Artifact, rows: int) -> None:
    def change(file: h5py.File) -> None:
        del file["boxes"]
        try:
            file.create_dataset("boxes", (rows, 4), "f4")
        except (ValueError, OSError) as error:
            pytest.skip(f"this HDF5 does not make it: {error}")

    forge(table, change)
    refuse(table, "boxes", "declares")


def test_declared_but_never_written(table: Artifact) -> None:
    def change(file: h5py.File) -> None:
        shape = file["boxes"].shape
        del file["boxes"]
        file.create_dataset("boxes", shape, "f4")

    forge(table, change)
    refuse(table, "boxes", "inside the file")


# Tables that contradict themselves


@pytest.mark.parametrize("name", ["offsets", "image_offsets"])
@pytest.mark.parametrize(
    "edit",
    [
        lambda ends: ends[::-1],
        lambda ends: np.r_[ends[:1], ends[2], ends[1], ends[3:]],
        lambda ends: ends + 1,
        lambda ends: -ends,
        lambda ends: np.r_[ends[:-1], ends[-1] + 1],
        lambda ends: np.r_[ends[:-1], ends[-1] - 1],
        lambda ends: np.r_[ends[:-1], 1 << 62],
        lambda ends: ends[:-1],
        lambda ends: np.r_[ends, ends[-1]],
        lambda ends: ends[:0],
    ],
)
def test_offsets_that_lead_astray(table: Artifact, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    def lead(ends: np.ndarray) -> np.ndarray:
        forged = edit(ends).astype("i8")
        assert not np.array_equal(forged, ends)
        return forged

    forge(table, edited(name, lead))
    refuse(table)


def test_offsets_whose_differences_overflow(table: Artifact) -> None:
    steps = np.array([0, 1 << 62, -(1 << 63), -(1 << 62), 0, 12], "i8")
    assert (np.diff(steps) >= 0).all()  # they wrap around
    forge(table, edited("offsets", lambda ends: steps))
    forge(table, edited("clip", lambda clips: np.array([b"a", b"b", b"c", b"d", b"e"])))
    for name in ("source_sha256", "sha256", "status"):
        forge(table, edited(name, lambda texts: np.array([b"ok"] * 5)))
    forge(table, edited("origin", lambda values: np.zeros(5)))
    refuse(table, "offsets")


def test_offsets_of_a_column_of_a_clip(tmp_path: Path) -> None:
    table = artifact(tmp_path, WAVEFORM)
    write(table, {clip: record(WAVEFORM, 4, ord(clip)) for clip in "abc"}, per_part=3)
    table.seal()
    forge(table, edited("samples_offsets", lambda ends: np.r_[ends[:-1], ends[-1] + 1]))
    refuse(table, "samples")


@pytest.mark.parametrize("clips", [[b"a", b"b", b"a"], [b"a", b"\xff\xfe", b"c"]])
def test_clip_ids_that_are_no_ids(table: Artifact, clips: list[bytes]) -> None:
    forge(table, edited("clip", lambda _: np.array(clips)))
    forge(table, edited("source_sha256", lambda sources: sources[[0, 1, 0]]))  # one id may have two sources
    refuse(table)


def test_other_text_that_is_not_utf8(table: Artifact) -> None:
    forge(table, edited("source_sha256", lambda _: np.array([b"\xff"] * 3)))
    with pytest.raises(HostileFile, match="not UTF-8"):
        open_artifact(table.path).finished()
    with pytest.raises(HostileFile, match="not UTF-8"):
        open_artifact(table.path).source("a")


# Not even HDF5


@pytest.mark.parametrize(
    "content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4096), bytes(9999)]
)
def test_not_hdf5(table: Artifact, content: bytes) -> None:
    (table.path / "data.h5").write_bytes(content)
    refuse(table, "data.h5")


def test_truncated(table: Artifact) -> None:
    whole = (table.path / "data.h5").read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 600, 97):
        (table.path / "data.h5").write_bytes(whole[:size])
        refuse(table, "data.h5")


def test_pipe_folder_and_device(table: Artifact) -> None:
    file = table.path / "data.h5"
    file.unlink()
    os.mkfifo(file)
    refuse(table, "not a regular file")
    file.unlink()
    file.mkdir()
    refuse(table, "not a regular file")
    file.rmdir()
    file.symlink_to("/dev/zero")
    refuse(table, "not a regular file")


def test_a_link_to_a_sound_segment_is_not_followed(table: Artifact) -> None:
    """What lies in an artifact is its own: the segment of another artifact is that one's."""
    (table.path / "data.h5").rename(table.path / "moved")
    (table.path / "data.h5").symlink_to("moved")
    refuse(table, "not a regular file")
    assert (table.path / "moved").exists()


def test_names_that_are_no_segments_are_ignored(table: Artifact) -> None:
    for name in ("data.0.h5", "data.01.h5", "data.x.h5", "data.².h5", "data.1.2.h5", "data.-1.h5", "data.1.h5.bak"):
        (table.path / name).write_bytes(b"x")
    assert open_artifact(table.path).clips == ["a", "b", "c"]


# Parts, which a killed run left and somebody changed


def part_of(tmp_path: Path) -> tuple[Artifact, Path]:
    table = artifact(tmp_path, FEATURES)
    write(table, {"a": record(FEATURES, 3)})
    return table, table.part_paths()[0]


@pytest.mark.parametrize(
    "change",
    [
        replaced("values", compression="gzip"),
        linked("values", h5py.ExternalLink("other.h5", "/values")),
        edited("values", lambda values: values[:-1]),
        edited("clip", lambda clips: np.array([b"\xff"])),
        replaced("values", chunks=(1 << 23, 5), maxshape=(None, 5)),
        lambda file: file["values"].resize(1 << 40, axis=0),
    ],
)
def test_forged_part(tmp_path: Path, change: Change) -> None:
    table, path = part_of(tmp_path)
    with h5py.File(path, "r+") as file:
        change(file)
    refuse_part(table)


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_part_that_is_no_hdf5(tmp_path: Path, content: bytes) -> None:
    table, path = part_of(tmp_path)
    path.write_bytes(content)
    refuse_part(table)


def refuse_part(table: Artifact) -> None:
    tracemalloc.start()
    for use in (lambda a: a.finished(), lambda a: a.seal()):
        with pytest.raises(HostileFile) as caught:
            use(open_artifact(table.path))
        assert "\n" not in str(caught.value)
        assert "remove this part" in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert open_artifact(table.path).clips == []
    assert not (table.path / "data.h5").exists()


# The text files


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": []}, {"inputs": None}, {"stage": 3}, {"fingerprint": 5}, {"fingerprint": None}, {"upstream": "x"},
        {"table": {"columns": []}}, {"table": {"columns": {"a": {"dtype": "O"}}}}, {"table": 1}, {"numerics": [1]},
        {"table": {"columns": {"../x": {}}}}, {"table": {"columns": {"start": {"shape": [-1]}}}}, {"more": 1},
        {"table": {"columns": {"start": {"dtype": "V99999999999"}}}}, {"provenance": "x"}, {"format": "new"},
        {"inputs": {"a": float("nan")}}, {"inputs": {"a": float("inf")}}, {"inputs": {"a": "\ud800"}},
        {"stage": "x" * 100_000 + "\n"}, {"x" * 5000: "\n" * 5000},
    ],
)  # fmt: skip
def test_stage_file_with_wrong_types(table: Artifact, change: dict[str, Any]) -> None:
    file = table.path / "stage.json"
    stage = json.loads(file.read_text())
    file.write_text(json.dumps(stage | change))
    if change.keys() == {"stage"} and isinstance(change["stage"], str):
        assert open_artifact(table.path).stage.stage == change["stage"]
        return
    with pytest.raises(HostileFile) as caught:
        open_artifact(table.path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("name", ["stage.json", "clips.json", "failures.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"a": 1}',
        b'"text"',
        b"[" * 100_000,
        b"null",
        b"{}{}",
        b'{"clip": ["a"]}',
        b"NaN",
    ],
)
def test_text_file_that_is_something_else(table: Artifact, name: str, content: bytes) -> None:
    (table.path / name).write_bytes(content)
    with pytest.raises(HostileFile) as caught:
        opened = open_artifact(table.path)
        opened.clip_table()
        opened.failures()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["stage.json", "clips.json", "failures.jsonl"])
def test_text_file_that_is_a_pipe(table: Artifact, name: str) -> None:
    (table.path / name).unlink(missing_ok=True)
    os.mkfifo(table.path / name)
    with pytest.raises(HostileFile, match=r"regular file|larger than"):
        opened = open_artifact(table.path)
        opened.clip_table()
        opened.failures()


def test_text_file_of_many_gigabytes(table: Artifact) -> None:
    with (table.path / "stage.json").open("r+b") as file:
        file.truncate(1 << 36)  # sparse
    with pytest.raises(HostileFile, match=r"regular file|larger than"):
        open_artifact(table.path)


# Whatever somebody may think of: bytes changed at random. In a child, for HDF5 itself may crash or hang.

FUZZ = """
import resource, sys
from pathlib import Path
import numpy as np
from affectkit.errors import HostileFile
from affectkit.store import open_artifact
path, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
file = path / "data.h5"
whole = bytearray(file.read_bytes())
rng = np.random.default_rng(seed)
refused = 0
for _ in range(rounds):
    forged = bytearray(whole)
    for at in rng.integers(0, len(whole), rng.integers(1, 6)):
        forged[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))
    file.write_bytes(forged)
    try:
        opened = open_artifact(path)
        for clip in opened.clips:
            opened.read(clip), opened.digest(clip), opened.status(clip), opened.source(clip)
    except HostileFile as error:
        assert "\\n" not in str(error)
        refused += 1
print(refused)
"""


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_random_damage_is_refused_or_harmless(table: Artifact, seed: int) -> None:
    rounds = 300 if seed == 0 else 5000
    child = subprocess.run(
        [sys.executable, "-c", FUZZ, table.path, str(seed), str(rounds)], capture_output=True, text=True, timeout=250
    )
    assert child.stderr == ""
    assert child.returncode == 0
    assert int(child.stdout) > rounds // 20


def test_hostile_file_is_a_user_error() -> None:
    assert issubclass(HostileFile, AffectkitError)
