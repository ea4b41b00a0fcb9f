"""`affectkit predict`: a head on cached features, or on new media by replaying the recipe of its features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from affectkit import metrics
from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.manifest import without_face
from affectkit.plugins import Example
from affectkit.stages._devices import resolve
from affectkit.stages._map import Outcome, Sink, entries_of, run
from affectkit.stages.embed import EmbedConfig, embed
from affectkit.stages.faces import FacesConfig, extract_faces
from affectkit.stages.train import load_heads, read_report, sequences, stored_task
from affectkit.store import Artifact, Cache, Failure, predictions_schema, upkeep
from affectkit.tasks import Task
from affectkit.types import Clip, FeatureSequence

VERSION = 1
_AT_ONCE = 64


def predict(
    cache: Cache, head: Artifact, features: Sequence[Artifact], runtime: Runtime, *,
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
        "upstream": [artifact.stage.fingerprint for artifact in features],
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
    entries = entries_of(features[0], chosen)
    return run(artifact, sources, compute, runtime, what=f"predict {head.stage.name}", unit="rows", entries=entries)


@dataclass(frozen=True)
class Replayed:
    """Features made from media: the artifacts, the ids that all of them hold now, and what failed on the way."""

    features: list[Artifact]
    clips: list[str]
    failed: list[Failure]


def replay(
    cache: Cache, head: Artifact, clips: Sequence[Clip], runtime: Runtime, *, device: str = "auto",
    weights: Mapping[str, str] | None = None,
) -> Replayed:  # fmt: skip
    """Make the features that a head needs from media, by the recipe in its provenance.

    `weights` (stage name -> path) stands in for weight files that have moved. Raises UsageError when this
    installation cannot reproduce the recipe, before anything is computed.
    """
    chains = head.stage.provenance["features"]
    for chain in chains:
        _replay(cache, chain, [], runtime, device, weights or {})
    done = [_replay(cache, chain, clips, runtime, device, weights or {}) for chain in chains]
    names = [name for name in done[0].clips if all(name in one.clips for one in done)]
    return Replayed([one.features[0] for one in done], names, [failure for one in done for failure in one.failed])


def _replay(
    cache: Cache, chain: Sequence[dict[str, Any]], clips: Sequence[Clip], runtime: Runtime, device: str,
    weights: Mapping[str, str],
) -> Replayed:  # fmt: skip
    current: Artifact | None = None
    names = [clip.id for clip in clips]
    failed: list[Failure] = []
    for step in chain:
        config = step["config"] | ({"weights": weights[step["stage"]]} if step["stage"] in weights else {})
        if step["stage"] == "faces":
            if step["inputs"]["detector"]["name"] == "precropped":
                raise UsageError(
                    "the head was trained on folders of crops, which no recipe makes from media: "
                    "extract faces and embed, then predict from those features"
                )
            outcome = extract_faces(cache, clips, FacesConfig.model_validate(config), runtime, device=device)
        else:
            assert current is not None, "a recipe begins with media"
            numerics = Numerics.model_validate(step["numerics"] | {"device": device})
            outcome = embed(cache, current, EmbedConfig.model_validate(config), numerics, runtime, clips=names)
        current = Artifact(outcome.path)
        _check_step(current, step)
        failed += outcome.failed
        lost = {failure.clip for failure in outcome.failed}  # the cache may hold them as they were before
        wanted = set(names) - lost
        names = [name for name in current.clips if name in wanted or without_face(name) in wanted]
    assert current is not None, "a recipe begins with media"
    return Replayed([current], names, failed)


def _check_step(artifact: Artifact, step: dict[str, Any]) -> None:
    if artifact.stage.fingerprint == step["fingerprint"]:
        return
    other = artifact.stage.model_copy(update={"inputs": step["inputs"]})
    differs = [f"{key}: {then!r} -> {now!r}" for key, now, then in upkeep.differing(artifact.stage, other)]
    raise UsageError(
        f"this installation does not reproduce the head's {step['stage']} recipe ({'; '.join(differs)}): "
        "make the features again with train-head, or install what the recipe names"
    )


def _check_recipe(head: Artifact, features: Sequence[Artifact]) -> None:
    wanted = head.stage.inputs["upstream"]
    if len(features) != len(wanted):
        raise UsageError(f"{head.path} takes {len(wanted)} feature artifacts; {len(features)} given")
    for artifact, fingerprint in zip(features, wanted, strict=True):
        if artifact.stage.fingerprint != fingerprint:
            raise UsageError(
                f"{artifact.path} was made by another recipe than the features that {head.path} was trained on "
                f"({artifact.stage.fingerprint[:12]}, not {fingerprint[:12]}); affectkit cache why-miss says how"
            )


def _average(heads: list[Any], examples: list[Example], task: Task, device: str) -> list[np.ndarray]:
    """Mean over seeds, of probabilities where the task has classes."""
    per_seed = [[metrics.probabilities(task, raw) for raw in head.predict(examples, device=device)] for head in heads]
    return [np.mean(np.stack(scores), axis=0) for scores in zip(*per_seed, strict=True)]


def _rows(sequence: FeatureSequence, scores: np.ndarray, task: Task) -> dict[str, Any]:
    start, end = np.asarray(sequence.start), np.asarray(sequence.end)
    if task.level == "clip":
        start, end = (start[:1], end[-1:]) if len(sequence) else (np.zeros(1), np.zeros(1))
    return {"start": start, "end": end, "valid": np.isfinite(scores).all(axis=1), "scores": scores}


def _source(features: Sequence[Artifact], clip: str, split: str) -> str:
    """A clip's predictions are current while its features and its split are."""
    return sha256(" ".join([*(one.digest(clip) for one in features), split]).encode()).hexdigest()
