"""`affectkit predict`: a head on cached features, at the rows of the features or at any others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.plugins import Example
from affectkit.stages import _smooth
from affectkit.stages._devices import resolve
from affectkit.stages._map import Outcome, Sink, checked
from affectkit.stages._prediction_rows import PredictConfig, RowRecipe, Scored, write
from affectkit.stages._predictions import split_in
from affectkit.stages._training_data import sequences
from affectkit.stages.train import load_heads, read_report, stored_task
from affectkit.store import Artifact, Cache, Features

VERSION = 2
_AT_ONCE = 64


def predict(
    cache: Cache, head: Artifact, features: Sequence[Features], runtime: Runtime, *,
    config: PredictConfig | None = None, at: Path | None = None,
    device: str = "auto", clips: Iterable[str] | None = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """Scores of every clip given: values, or probabilities for classes, averaged over the head's seeds.

    Where the head was fitted again on train and val clips, that one predicts all but val clips: theirs are by the head
    from before, which has not seen them, so that fusing and scoring on val stay honest.

    `at` is a table of the rows to predict; clips without rows in it are left out, and a notice counts them. Rows
    farther than the reach from a face or speech have no score, see `_observed`; a notice counts scores. Refuses
    features that were made by another recipe than those the head was trained on.
    """
    report = read_report(head)
    task = stored_task(report)
    _check_recipe(head, features)
    recipe = RowRecipe.of(task, report, config or PredictConfig(), at)
    inputs = {
        "stage": "predict",
        "version": VERSION,
        "head": head.stage.fingerprint,
        "upstream": [one.identity for one in features],
        **recipe.resampled,
    }
    if recipe.smoothing != _smooth.of_head(report):
        inputs["smoothing"] = asdict(recipe.smoothing) if recipe.smoothing else None
    shared = [clip for clip in features[0].clips if all(clip in other for other in features[1:])]

    def score(missing: list[str], sink: Sink) -> Iterator[Scored]:
        sink.say("loading the head")
        where = resolve(device)
        held = {clip for clip in missing if split_in(report["splits"], clip) == "val"}
        for refitted in (False, True):
            clips_now = [clip for clip in missing if (clip not in held) == refitted]
            heads = load_heads(head, task, refitted=refitted) if clips_now else []
            for first in range(0, len(clips_now), _AT_ONCE):
                read = [one.artifact for one in features]
                some = [clip for clip in clips_now[first : first + _AT_ONCE] if checked(sink, clip, *read)]
                if not some:
                    continue
                examples = [Example(clip, sequences(features, clip)) for clip in some]
                raw = [one.predict(examples, device=where) for one in heads]
                for example, *seeds in zip(examples, *raw, strict=True):
                    yield Scored(example.clip, example.inputs[0], seeds, example.inputs)

    return write(
        cache, head, inputs, recipe, report, [one.artifact for one in features],
        shared if clips is None else list(clips), score, runtime, out=out,
    )  # fmt: skip


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
