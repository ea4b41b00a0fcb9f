"""`affectkit predict`: a head on cached features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from affectkit import metrics
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.manifest import without_face
from affectkit.plugins import Example
from affectkit.stages._devices import resolve
from affectkit.stages._map import Outcome, Sink, entries_of, run
from affectkit.stages.train import load_heads, read_report, sequences, stored_task
from affectkit.store import Artifact, Cache, Features, predictions_schema
from affectkit.tasks import Task
from affectkit.types import FeatureSequence

VERSION = 1
_AT_ONCE = 64


def predict(
    cache: Cache, head: Artifact, features: Sequence[Features], runtime: Runtime, *,
    device: str = "auto", clips: Iterable[str] | None = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """Scores of every clip given: values, or probabilities for classes, averaged over the head's seeds.

    Refuses features that were made by another recipe than those the head was trained on.
    """
    report = read_report(head)
    task = stored_task(report)
    _check_recipe(head, features)
    inputs = {
        "stage": "predict",
        "version": VERSION,
        "head": head.stage.fingerprint,
        "upstream": [one.identity for one in features],
    }
    artifact = cache.create(
        "predict", head.stage.name, inputs, predictions_schema(list(task.targets)),
        upstream=[head.path, *(one.path for one in features)], out=out,
    )  # fmt: skip
    shared = [clip for clip in features[0].clips if all(clip in other for other in features[1:])]
    chosen = list(clips) if clips is not None else shared
    table = features[0].clip_table()
    said = {clip: table.get(without_face(clip), {}).get("split") for clip in chosen}
    split = {clip: report["splits"].get(clip) or said[clip] or "" for clip in chosen}

    def compute(missing: list[str], sink: Sink) -> None:
        heads = load_heads(head, task)
        where = resolve(device)
        for first in range(0, len(missing), _AT_ONCE):
            some = missing[first : first + _AT_ONCE]
            examples = [Example(clip, sequences(features, clip)) for clip in some]
            for example, scores in zip(examples, _average(heads, examples, task, where), strict=True):
                sink.count(len(scores))
                sink.append(_rows(example.inputs[0], scores, task))
                sink.end(example.clip, {"split": split[example.clip]})

    sources = {clip: _source(features, clip, split[clip]) for clip in chosen}
    entries = entries_of(features[0].artifact, chosen)
    return run(artifact, sources, compute, runtime, what=f"predict {head.stage.name}", unit="rows", entries=entries)


def _check_recipe(head: Artifact, features: Sequence[Features]) -> None:
    wanted = head.stage.inputs["upstream"]
    if len(features) != len(wanted):
        raise UsageError(f"{head.path} takes {len(wanted)} feature artifacts; {len(features)} given")
    for one, identity in zip(features, wanted, strict=True):
        if one.identity != identity:
            raise UsageError(
                f"{one.path} was made by another recipe than the features that {head.path} was trained on "
                f"({_short(one.identity)}, not {_short(identity)}); affectkit cache why-miss says how"
            )


def _short(identity: str) -> str:
    fingerprint, _, column = identity.partition(":")
    return fingerprint[:12] + (f":{column}" if column else "")


def _average(heads: list[Any], examples: list[Example], task: Task, device: str) -> list[np.ndarray]:
    """Mean over seeds, of probabilities where the task has classes."""
    per_seed = [[metrics.probabilities(task, raw) for raw in head.predict(examples, device=device)] for head in heads]
    return [np.mean(np.stack(scores), axis=0) for scores in zip(*per_seed, strict=True)]


def _rows(sequence: FeatureSequence, scores: np.ndarray, task: Task) -> dict[str, Any]:
    start, end = np.asarray(sequence.start), np.asarray(sequence.end)
    if task.level == "clip":
        start, end = (start[:1], end[-1:]) if len(sequence) else (np.zeros(1), np.zeros(1))
    return {"start": start, "end": end, "valid": np.isfinite(scores).all(axis=1), "scores": scores}


def _source(features: Sequence[Features], clip: str, split: str) -> str:
    """A clip's predictions are current while its features and its split are."""
    return sha256(" ".join([*(one.digest(clip) for one in features), split]).encode()).hexdigest()
