"""A fused system out of a bundle: heads and networks with their recipes, and what combines their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from affectkit import plugins
from affectkit.config import Config, canonical_json, explain, validate
from affectkit.digests import Digests
from affectkit.errors import HostileFile, UsageError
from affectkit.learning.saved_files import Arrays
from affectkit.stages import bundled
from affectkit.stages.fuse import FUSER_FILES, at_level, columns_read, combined, gated_fuser, rows_of
from affectkit.stages.gating import Gate, Gated
from affectkit.stages.map_stage import MapStage, Outcome
from affectkit.stages.predict import Predict, PredictConfig
from affectkit.stages.predict_published import predict_scores
from affectkit.stages.replay import replay, weight_names
from affectkit.stages.sink import Sink, checked
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Schema, open_artifact, predictions_schema
from affectkit.tables import predictions
from affectkit.tables.ids import choose
from affectkit.tasks import Task
from affectkit.types import Clip, Predictions
from affectkit.untrusted import read_object

RECORD_FILE = "system.json"
MOST_MEMBERS = 100
_LARGEST = 1 << 26


class SystemRecord(Config):
    """What `system.json` holds: what the fuser learnt, and the split of each clip that was fused."""

    format: Literal[1] = 1
    state: dict[str, Any]
    splits: dict[str, Literal["train", "val", "test", ""]] = {}


class SystemMember(Config):
    """A head, network or system of a fused system: its recipe's fingerprint, and how its scores are predicted."""

    fingerprint: str
    predict: dict[str, Any] = {}


class SystemInputs(Config):
    """What a fused system is: the inputs of its fingerprint. `learnt` is a digest of the fuser's state and arrays."""

    stage: Literal["system"] = "system"
    version: Literal[1] = 1
    task: Task
    fuser: dict[str, Any]
    gate: Gate
    rate: float | None = Field(None, gt=0, le=1000)
    learnt: str
    members: list[SystemMember] = Field(min_length=1, max_length=MOST_MEMBERS)


@dataclass(frozen=True, repr=False)
class System:
    """A fused system that was opened: its models in order, what combines them, and how."""

    artifact: Artifact
    inputs: SystemInputs
    record: SystemRecord
    fuser: Gated
    columns: tuple[str, ...]
    members: tuple[Artifact, ...]

    @property
    def reads(self) -> Task:
        """The task of its models' scores."""
        task = self.inputs.task
        return task.model_copy(update={"targets": self.columns}) if self.columns else task


def is_system(artifact: Any) -> bool:
    """Whether something is a fused system."""
    return isinstance(artifact, Artifact) and artifact.stage.stage == bundled.SYSTEM


def member_folder(place: int) -> str:
    """Where a model of a system lies in it."""
    return f"{bundled.MEMBERS}/{place:02d}"


def digest_of(state: Mapping[str, Any], tensors: bytes) -> str:
    """Digest of what a fuser learnt."""
    return sha256(canonical_json(dict(state)).encode() + tensors).hexdigest()


def open_system(artifact: Artifact) -> System:
    """A system with its fuser as it was fitted. Raises UsageError where the installed fuser is of another version,
    HostileFile for files that are not what they claim."""
    path = artifact.folder / RECORD_FILE
    try:
        inputs = SystemInputs.model_validate(artifact.stage.inputs)
        record = SystemRecord.model_validate(read_object(path, "a fused system", _LARGEST))
    except ValidationError as error:
        raise HostileFile(f"{path.parent} is no fused system: {explain(error)[:300]}") from None
    has_arrays = (artifact.folder / FUSER_FILES.tensors).is_file()
    arrays = FUSER_FILES.read_tensors(artifact.folder) if has_arrays else {}
    tensors = (artifact.folder / FUSER_FILES.tensors).read_bytes() if has_arrays else b""
    if digest_of(record.state, tensors) != inputs.learnt:
        raise HostileFile(f"{path}: the fuser did not learn what the system says")
    fuser, columns = restored(inputs.task, inputs.fuser, inputs.gate, record.state, arrays, str(artifact.path))
    width = len(columns or inputs.task.targets)
    try:
        fused = fuser.combine(np.full((len(inputs.members), 1, width), 1 / width))
    except (IndexError, ValueError, KeyError, AssertionError) as error:
        raise HostileFile(f"{path}: what the fuser learnt is not of {len(inputs.members)} models ({error})") from None
    if np.shape(fused) != (1, inputs.task.outputs):
        raise HostileFile(f"{path}: what the fuser learnt is not of task {inputs.task.name}")
    members = tuple(open_artifact(artifact.folder / member_folder(place)) for place in range(len(inputs.members)))
    for member, said in zip(members, inputs.members, strict=True):
        if member.stage.fingerprint != said.fingerprint:
            raise HostileFile(f"{member.path} is another model than the system says")
    return System(artifact, inputs, record, fuser, columns, members)


def restored(
    task: Task, fuser: Mapping[str, Any], gate: Gate, state: Mapping[str, Any], arrays: Arrays, where: str
) -> tuple[Gated, tuple[str, ...]]:
    """The fuser that learnt this, and the columns that it reads where they are not the task's own. Raises UsageError
    for one that is not installed, is of another version, or cannot be restored; HostileFile for what was not learnt."""
    if not isinstance(name := fuser.get("name"), str):
        raise HostileFile(f"{where} names no fuser")
    plugin = plugins.get("fusers", name)
    if plugin.version != fuser.get("version"):
        raise UsageError(
            f"{where} was fused by {name} of version {fuser.get('version')}; the one installed is of version "
            f"{plugin.version}: fuse again"
        )
    gated = gated_fuser(name, validate(plugin.Options, fuser.get("options", {}), f"options of {name}"), task, gate)
    gated.restore(state, arrays)
    return gated, columns_read(plugin)


def predict_system(
    artifact: Artifact, media: Sequence[Any], clips: Any, weights_of: Mapping[str, str] | None, config: PredictConfig,
    context: Context,
) -> Outcome:  # fmt: skip
    """Scores of media by every model of a system, each by its own recipe (steps that several share are computed once),
    combined as they were when the system was fused."""
    if not media or not all(isinstance(each, Clip) for each in media):
        raise UsageError(f"{artifact.path} is a fused system, whose models read several things: give it media")
    if changed := [
        name for name in type(config).model_fields if getattr(config, name) != getattr(type(config)(), name)
    ]:
        option = changed[0].replace("_", "-")
        raise UsageError(
            f"--{option} is for one model; {artifact.path} is a fused system, which predicts as it was fused"
        )
    system = open_system(artifact)
    names = [weight_names(member) for member in system.members]
    if strangers := sorted(set(weights_of or {}) - set().union(*names)):
        raise UsageError(f"--weights-of {strangers[0]}: no model of {artifact.path} has weights of this name")
    outcomes = [
        _predicted(member, said, media, {name: weights_of[name] for name in names_of_weights & weights_of.keys()}
                   if weights_of else None, replace(context, out=None))
        for member, said, names_of_weights in zip(system.members, system.inputs.members, names, strict=True)
    ]  # fmt: skip
    sets = [outcome.artifact for outcome in outcomes]
    held = sorted({clip for each in sets for clip in each.clips})
    chosen = choose(clips, held)
    outcome = _Combine().run(_Combine.Inputs(system, sets, held if chosen is None else chosen), None, context)
    failed = {failure.clip: failure for each in outcomes for failure in each.failed}
    notices = dict.fromkeys(notice for each in (*outcomes, outcome) for notice in each.notices)
    return replace(outcome, failed=(*failed.values(), *outcome.failed), notices=tuple(notices))


def _predicted(
    member: Artifact, said: SystemMember, media: Sequence[Clip], weights: Mapping[str, str] | None, context: Context
) -> Outcome:
    config = validate(PredictConfig, said.predict, "how a model of the system predicts")
    if member.stage.stage == bundled.PUBLISHED:
        replayed = replay(context.cache, member, media, context.runtime, device=context.device, weights=weights or None)
        outcome = predict_scores(replayed.features[0], replayed.clips, config, context)
        notices = tuple(dict.fromkeys((*replayed.notices, *outcome.notices)))
        return replace(outcome, failed=(*replayed.failed, *outcome.failed), notices=notices)
    return Predict().run(Predict.Inputs(head=member, inputs=media, weights_of=weights or None), config, context)


@dataclass(frozen=True, repr=False)
class _Combined:
    """What is combined, and the clips of it."""

    system: System
    sets: Sequence[Artifact]
    clips: Sequence[str]


class _Combine(MapStage):
    """The scores of a system's models -> one. A clip that a model does not have is combined from the others."""

    name = folder = "predict"
    version = 1
    makes = "predictions"
    says = "fusion"
    Inputs = _Combined

    def resolve(self, inputs: _Combined, config: Any) -> _Combined:
        return inputs

    def called(self, resolved: _Combined) -> str:
        return resolved.system.artifact.stage.name

    def identity(self, resolved: _Combined) -> dict[str, Any]:
        return {
            "system": resolved.system.artifact.stage.fingerprint,
            "upstream": [each.stage.fingerprint for each in resolved.sets],
        }

    def sources(self, resolved: _Combined, digests: Digests) -> dict[str, str]:
        """Scores are current while those of all models are."""
        text = {clip: [each.digest(clip) if clip in each else "-" for each in resolved.sets] for clip in resolved.clips}
        return {clip: sha256(" ".join(words).encode()).hexdigest() for clip, words in text.items()}

    def entries(self, resolved: _Combined) -> dict[str, dict[str, Any]]:
        told = [each.clip_table() for each in resolved.sets]
        return {clip: next(table[clip] for table in told if clip in table)
                for clip in resolved.clips if any(clip in table for table in told)}  # fmt: skip

    def table(self, resolved: _Combined, context: Context) -> Schema:
        return predictions_schema(list(resolved.system.inputs.task.targets))

    def upstream(self, resolved: _Combined) -> list[Path]:
        return [resolved.system.artifact.path, *(each.folder for each in resolved.sets)]

    def provenance(self, resolved: _Combined) -> dict[str, Any]:
        return bundled.provenance_of(resolved.system.artifact)

    def title(self, resolved: _Combined) -> str:
        return f"fuse by {resolved.system.artifact.stage.name}"

    def compute(self, resolved: _Combined, missing: list[str], sink: Sink, context: Context) -> None:
        for clip in missing:
            having = [each for each in resolved.sets if clip in each]
            if not checked(sink, clip, *having):
                continue
            fused = fused_clip(resolved.system, resolved.sets, clip)
            split = ""
            for _, _, rows in predictions.records(fused):
                split = rows.pop("split")
                sink.count(len(rows["start"]))
                sink.append(rows)
            is_partial = any(each.status(clip) == "partial" for each in having)
            sink.end(clip, {"split": split}, "partial" if is_partial else "ok")


def fused_clip(system: System, sets: Sequence[Artifact], clip: str) -> Predictions:
    """One clip of several models' predictions, combined; its split is that with which the system was fused, where it
    was among those clips."""
    inputs = system.inputs
    scores = at_level(inputs.task, [
        predictions.stored(each, system.reads, [clip] if clip in each else []) for each in sets
    ])  # fmt: skip
    having = [each for each in scores if len(each)]
    if not having:
        return replace(scores[0], columns=inputs.task.targets, scores=np.zeros((0, inputs.task.outputs)))
    base = rows_of(having, inputs.rate)
    if clip in system.record.splits:
        base = replace(base, split=np.full(len(base), system.record.splits[clip]))
    fused, _ = combined(inputs.task, system.fuser, scores, base)
    return fused
