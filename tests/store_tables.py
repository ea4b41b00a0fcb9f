"""Tables of random content for the tests of the store and of export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from affectkit.store import Artifact, Cache, Column, Schema, faces_schema, features_schema, predictions_schema
from affectkit.store.schema import ROWS

WAVEFORM = Schema(
    columns={
        **ROWS,
        "samples": Column(per="clip"),
        "sampling_rate": Column(per="scalar", dtype="<i4"),
        "origin": Column(per="scalar", dtype="<f8"),
    }
)
LAYERS = Schema(columns={**ROWS, "layer_07": Column(dtype="<f2", shape=(3,)), "layer_12": Column(shape=(2, 2))})
SCHEMAS = {
    "faces": faces_schema(),
    "features": features_schema(5),
    "features16": features_schema(4, "float16"),
    "predictions": predictions_schema(["valence", "arousal"]),
    "waveform": WAVEFORM,
    "layers": LAYERS,
}

Record = dict[str, Any]


def artifact(root: Path, schema: Schema, stage: str = "embed", **inputs: Any) -> Artifact:
    """An empty artifact in a cache under `root`."""
    return Cache(root).create(stage, "test", {"stage": stage, **inputs}, schema)


def record(schema: Schema, length: int, seed: int = 0) -> Record:
    """A clip of `length` rows: every column of the schema, the times as in a real clip."""
    rng = np.random.default_rng([seed, length])
    made: Record = {}
    for name, column in schema.columns.items():
        if column.per == "ragged":
            made[name] = [rng.bytes(int(rng.integers(0, 40))) for _ in range(length)]
        elif column.per == "scalar":
            made[name] = ["train", "val", ""][seed % 3] if column.dtype == "utf-8" else int(rng.integers(1, 99))
        else:
            count = length if column.per == "row" else int(rng.integers(0, 50)) * (length > 0)
            made[name] = rng.normal(size=(count, *column.shape)).astype(column.dtype)
    made |= {"start": np.arange(length) / 5, "end": np.arange(1, length + 1) / 5}
    return made | {"valid": rng.integers(0, 2, length).astype("u1")}


def write(table: Artifact, records: dict[str, Record], per_part: int = 1, source: str = "s") -> None:
    """Finished parts with some clips each; `source` is completed by the clip's id."""
    items = list(records.items())
    for first in range(0, len(items), per_part):
        part = table.new_part()
        for clip, values in items[first : first + per_part]:
            end(table.schema, part, clip, values, source + clip)
        part.commit()


def keys(clips: Iterable[str], source: str = "s") -> set[tuple[str, str]]:
    """The rows that `write` makes of clips."""
    return {(clip, source + clip) for clip in clips}


def as_before(table: Artifact, entries: dict[str, Any] | None = None) -> None:
    """Make an artifact what it would be from before there were selections."""
    for path in table.segment_paths():
        with h5py.File(path) as file:
            columns = {name: file[name][()] for name in file if name not in ("sha256", "content_sha256")}
            columns["sha256"] = file["content_sha256"][()]
        with h5py.File(path, "w") as file:
            for name, values in columns.items():
                file.create_dataset(name, data=values)
    shutil.rmtree(table.folder / "selections", ignore_errors=True)
    if entries is not None:
        (table.folder / "clips.json").write_text(json.dumps(entries))


def end(schema: Schema, part: Any, clip: str, values: Record, source: str, status: str = "ok") -> str:
    """One clip in one call of `append`."""
    scalars = {name: value for name, value in values.items() if schema.columns[name].per == "scalar"}
    part.append({name: value for name, value in values.items() if name not in scalars})
    return part.end(clip, source, scalars, status)


def assert_same(schema: Schema, found: Record, expected: Record) -> None:
    """Every column has the stored type and the expected content, bit by bit."""
    assert found.keys() == expected.keys()
    for name, column in schema.columns.items():
        if column.per == "ragged":
            assert [bytes(item) for item in found[name]] == expected[name]
        elif isinstance(expected[name], str):
            assert found[name] == expected[name]
        else:
            wanted = np.asarray(expected[name], column.dtype)
            assert found[name].dtype == wanted.dtype
            assert found[name].shape == wanted.shape
            assert found[name].tobytes() == wanted.tobytes()


# A run of many clips, as a stage does it, for tests that disturb it

CLIPS = 36
RUN_SCHEMA = SCHEMAS["faces"]


def every(count: int = CLIPS) -> dict[str, Record]:
    """The clips of one run, in the order of the run."""
    return {f"clip {n * 5 % count:02d}": record(RUN_SCHEMA, 40 + n % 7, n) for n in range(count)}


def missing(table: Artifact) -> list[str]:
    """The clips that a run still has to compute."""
    done = table.finished()
    return [clip for clip in every() if (clip, "s" + clip) not in done]
