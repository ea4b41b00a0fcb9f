"""Prediction sets, face tracks and scores for the tests of the report, made without a model."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from affectkit.stages.report import Report, ReportConfig
from affectkit.stages.stage import Context, Result
from affectkit.store import Artifact, Cache, Schema, faces_schema, predictions_schema, write_table
from affectkit.store.selection import Selection

VA = ("valence", "arousal")
HOSTILE = "</script><script>bad()</script>\"'><img src=x onerror=bad()>&lt;\u202egnp.\u2066{{7*7}}<!--"


def scores(rows: int, columns: int = 2, seed: int = 0) -> np.ndarray:
    """[T,K] a curve a column, with a stretch without a score."""
    values = np.tanh(np.random.default_rng(seed).normal(size=(rows, columns)).cumsum(axis=0) / 4).astype(np.float32)
    values[rows // 3 : rows // 3 + rows // 10] = np.nan
    return values


def predictions(
    cache: Cache, curves: Mapping[str, np.ndarray], columns: Sequence[str] = VA, *, name: str = "model",
    hop: float = 0.2, clips: Mapping[str, Mapping[str, Any]] | None = None, upstream: Sequence[Path] = (),
    stage: str = "predict", identity: Mapping[str, Any] | None = None, **provenance: Any,
) -> Artifact:  # fmt: skip
    """A prediction artifact; `clips`: what the user said of each clip."""
    schema = predictions_schema(list(columns))

    def records() -> Any:
        for clip, values in curves.items():
            start = np.arange(len(values)) * hop
            yield clip, f"source of {clip}"[:64], {
                "start": start, "end": start + hop, "valid": np.isfinite(values).all(axis=1).astype("u1"),
                "observed": np.ones(len(values), np.float32), "scores": values.astype(np.float32), "split": "val",
            }  # fmt: skip

    return _whole(cache, stage, name, schema, records(), clips, upstream, provenance, identity or {})


def faces(
    cache: Cache, rows: Mapping[str, int], *, unseen: Sequence[int] = (), name: str = "detector", hop: float = 0.2,
    clips: Mapping[str, Mapping[str, Any]] | None = None,
) -> Artifact:  # fmt: skip
    """A faces artifact with grey crops; `unseen`: the rows without a face."""

    def records() -> Any:
        for clip, count in rows.items():
            start = np.arange(count) * hop
            valid = np.array([number not in unseen for number in range(count)])
            path = Path((clips or {}).get(clip, {}).get("path", ""))
            source = sha256(path.read_bytes()).hexdigest() if path.is_file() else f"source of {clip}"[:64]
            yield clip, source, {
                "start": start, "end": start + hop, "valid": valid.astype("u1"),
                "image": [jpeg(40 + 5 * number) if seen else b"" for number, seen in enumerate(valid)],
                "boxes": np.zeros((count, 4), np.float32), "landmarks": np.zeros((count, 5, 2), np.float32),
                "score": np.ones(count, np.float32), "frame_index": np.arange(count), "origin": 0.0,
            }  # fmt: skip

    return _whole(cache, "faces", name, faces_schema(), records(), clips, (), {})


def jpeg(grey: int, side: int = 24) -> bytes:
    """A grey picture."""
    out = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), grey % 256, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def _whole(
    cache: Cache, stage: str, name: str, schema: Schema, records: Any, clips: Any, upstream: Sequence[Path],
    provenance: dict[str, Any], more: Mapping[str, Any] | None = None,
) -> Artifact:  # fmt: skip
    held = list(records)
    identity = {"stage": stage, "name": name, "clips": [clip for clip, _, _ in held], **(more or {})}
    artifact = cache.create_whole(
        stage, name, identity, lambda folder: write_table(folder, schema, held), table=schema, upstream=upstream,
        extra=provenance,
    )  # fmt: skip
    if clips is None:
        return artifact
    return artifact.select({clip: source for clip, source, _ in held}, clips)


def report(cache: Cache, out: Path, *what: Path, labels: Path | None = None, manifest: Path | None = None,
           **config: Any) -> Result:  # fmt: skip
    """The stage `report`."""
    inputs = Report.Inputs(what=what, labels=labels, manifest=manifest, out=out)
    return Report().run(inputs, ReportConfig.model_validate(config), Context(cache))


def text_of(out: Path) -> str:
    """The page."""
    return (out / "index.html").read_text(encoding="utf-8")


def data_of(out: Path) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', text_of(out), re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def chunk_of(out: Path, key: str) -> dict[str, Any]:
    """What a clip's file registers."""
    found = re.fullmatch(r'affectkitClip\("(\d+)",(\{.*\})\);\n', (out / "data" / f"{key}.js").read_text("ascii"), re.S)
    assert found and found[1] == key
    content: dict[str, Any] = json.loads(found[2])
    return content


def numbers(packed: Mapping[str, Any], name: str, dtype: str) -> np.ndarray:
    """A column of a clip's file."""
    return np.frombuffer(base64.b64decode(packed[name]), dtype)


def selection_of(artifact: Artifact) -> Selection:
    """The selection that was opened."""
    assert artifact.selection is not None
    return artifact.selection
