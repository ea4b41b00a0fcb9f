"""`affectkit predict`: Predict for every clip of the features given, or for new media in one go.

A head on cached features, at the rows of the features or at any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit import plugins
from affectkit.config import validate
from affectkit.devices import keep_memory, resolve
from affectkit.errors import UsageError
from affectkit.learning import saved
from affectkit.plugins import Example, Units
from affectkit.prefetch import worker_count
from affectkit.speech.windows import touches
from affectkit.stages import bundled, quality_gates
from affectkit.stages import smooth as smooth_module
from affectkit.stages.batches import Lengths
from affectkit.stages.embed import notices as about_licence
from affectkit.stages.inputs import Makes, artifacts, clips, file, value
from affectkit.stages.map_stage import MapStage, Outcome, chosen
from affectkit.stages.predict_published import PublishedConfig, PublishedModel, predict_published
from affectkit.stages.replay import is_reproduced, media_suffixes, replay
from affectkit.stages.score_rows import RowRecipe, Scored, ScoredRows
from affectkit.stages.sink import Sink, checked
from affectkit.stages.stage import Context
from affectkit.stages.trained import load_heads, stored_task, trained_report
from affectkit.stages.training_data import sequences
from affectkit.store import Artifact, Features, open_artifact
from affectkit.store import features as features_of
from affectkit.store.kinds import STAGE_FILE, TRAINED
from affectkit.tables.ids import ClipChoice, choose
from affectkit.tables.row_times import regular
from affectkit.tables.splits import split_in
from affectkit.types import Bools, Clip, FeatureSequence, Floats, without_face
from affectkit.weights import WeightsFile

_AT_ONCE = 64


def _check_recipe(head: Artifact, features: Sequence[Features]) -> None:
    wanted = head.stage.inputs["upstream"]
    if len(features) != len(wanted):
        raise UsageError(f"{head.path} takes {len(wanted)} feature artifacts; {len(features)} given")
    for place, (one, identity) in enumerate(zip(features, wanted, strict=True)):
        if one.identity != identity and not is_reproduced(head, place, one):
            raise UsageError(
                f"{one.path} was made by another recipe than the features that {head.path} was trained on "
                f"({_short(one.identity)}, not {_short(identity)}); affectkit cache why-miss says how"
            )


def _short(identity: str) -> str:
    plain, _, gates = identity.partition(" ")
    fingerprint, _, column = plain.partition(":")
    return fingerprint[:12] + (f":{column}" if column else "") + (f" by quality {gates}" if gates else "")


def _through_gates(head: Artifact, features: Sequence[Features], measured: Features | None) -> list[Features]:
    """The features as the head was trained on them: through its quality gates, where it has any."""
    record = head.stage.provenance.get("quality_gates")
    if record is None:
        if measured is not None:
            raise UsageError(f"--face-quality is for heads that were trained with it: {head.path} has no quality gates")
        return list(features)
    gates = quality_gates.QualityGates.again(record, measured)
    wanted = [str(identity).endswith(f" {gates.identity}") for identity in head.stage.inputs["upstream"]]
    return [
        quality_gates.through(each, gates) if is_gated and not isinstance(each, quality_gates.GatedFeatures) else each
        for each, is_gated in zip(features, wanted, strict=False)
    ] + list(features[len(wanted) :])


LARGEST_BATCH = 32
_STEPS = 10.0  # a second, at which the share of a clip with speech is counted
Indices = NDArray[np.int64]


def _about_windows(header: saved.NetworkHeader, upstream: Artifact, clips: Sequence[str]) -> list[str]:
    """What is to be known of the windows of a network that hears."""
    if header.kind != "audio":
        return []
    options: Any = validate(plugins.get("networks", header.network).Options, header.options, saved.FILES.header)
    return Lengths.of(upstream, clips).notices(options.windowing)


def is_network(artifact: Artifact) -> bool:
    """Whether it was made by finetune."""
    return artifact.stage.stage == "finetune"


def _sole(network: Artifact, upstream: Artifact) -> Features:
    """The one input of a network."""
    return Features(upstream, network.stage.provenance["columns"][0])


def _check_network_recipe(network: Artifact, upstream: Artifact) -> None:
    wanted, given = network.stage.inputs["upstream"], upstream.stage.fingerprint
    if given != wanted and not is_reproduced(network, 0, _sole(network, upstream)):
        raise UsageError(
            f"{upstream.path} was made by another recipe than what {network.path} was trained on "
            f"({given[:12]}, not {wanted[:12]}); affectkit cache why-miss says how"
        )


@dataclass(frozen=True)
class _Part:
    """The units of one clip, numbers begin..end of those that are scored, and its number in the table of units."""

    clip: int
    begin: int
    end: int


class _Scorer:
    """A network on its device."""

    def __init__(self, folder: Path, device: str, workers: int) -> None:
        from affectkit.learning.image_backbone import fixed_rows

        keep_memory()
        self._opened = saved.open_network(folder)
        self._module = self._opened.module.requires_grad_(False).to(device)
        self._device, self._workers = device, workers
        self._size = fixed_rows(min(self._opened.network.options.batch_size, LARGEST_BATCH))

    def clips(self, upstream: Artifact, clips: Sequence[str], sink: Sink) -> Iterator[Scored]:
        """Each clip, NaN where no unit is about a row. A clip with a crop that cannot be read fails."""
        from affectkit.learning.crop_table import BrokenRow

        left = list(clips)
        while left:
            try:
                for found in self._whole(upstream, left, sink):
                    yield found
                    left = left[1:]
                return
            except BrokenRow as broken:
                sink.fail(broken.clip, f"crop of row {broken.row} cannot be read: {broken.cause}")
                left.remove(broken.clip)

    def _whole(self, upstream: Artifact, clips: Sequence[str], sink: Sink) -> Iterator[Scored]:
        """The same, all or none."""
        from affectkit.training.engine import row_means

        network, task = self._opened.network, self._opened.header.task
        units = network.units(upstream, clips, None, "midpoint", False)
        order, parts = _by_clip(units)
        batches = self._scores(units, order)
        held, at = np.zeros((0, units.targets.shape[1], task.outputs), np.float32), 0
        for part in parts:
            while at + len(held) < part.end:
                held = np.concatenate([held, next(batches)])
                sink.reach((at + len(held) - part.begin) / (part.end - part.begin))
            own, held, at = held[: part.end - at], held[part.end - at :], part.end
            first, last = units.offsets[part.clip : part.clip + 2].tolist()
            targets = units.targets[order[part.begin : part.end]]
            found = row_means(_tensor(own), np.where(targets >= 0, targets - first, -1), last - first)
            rows = _sequence(units.start[first:last], units.end[first:last], np.ones(last - first, bool))
            clip = clips[part.clip]
            yield Scored(clip, rows, [found], [_seen(upstream, clip, rows, task.level)])

    def _scores(self, units: Units, order: Indices) -> Iterator[Floats]:
        """[B,L,K] of the units in order, in batches of one size; the last one is filled with its last unit."""
        import torch

        from affectkit.learning.image_backbone import arithmetic
        from affectkit.learning.order import batches

        count = self._opened.header.task.outputs
        filled = np.append(order, np.repeat(order[-1:], -len(order) % self._size))
        for number, (_, batch) in enumerate(
            batches(units, filled, self._size, seed=(), augmented=False, workers=self._workers)
        ):
            with arithmetic(torch.device(self._device), "float32"):
                found = self._module(batch.to(self._device, non_blocking=True))[..., :count].float().cpu().numpy()
            yield found[: len(order) - number * self._size]


def _seen(upstream: Artifact, clip: str, rows: FeatureSequence, level: str) -> FeatureSequence:
    """What a network reads of a clip: the rows of the crops, or those that it scores of the sound, which are valid
    where they touch speech (of a clip with one score, its sound in steps)."""
    start, end = (np.asarray(upstream.column(clip, name), np.float64) for name in ("start", "end"))
    if upstream.stage.stage == "faces":
        return _sequence(start, end, np.asarray(upstream.column(clip, "valid"), bool))
    steps = (np.asarray(rows.start), np.asarray(rows.end))
    if level == "clip" and len(rows):
        steps = regular(float(steps[0][0]), float(steps[1][0]), _STEPS)
    return _sequence(*steps, touches(*steps, np.stack([start, end], axis=1)))


def _sequence(start: Floats, end: Floats, valid: Bools) -> FeatureSequence:
    return FeatureSequence(start, end, np.zeros((len(start), 0)), valid)


def _by_clip(units: Units) -> tuple[Indices, list[_Part]]:
    """The units that are about something, clip by clip, and where those of each clip stand."""
    about = units.targets.max(axis=1, initial=-1)
    order = np.flatnonzero(about >= 0)
    clip = np.searchsorted(units.offsets, about[order], side="right") - 1
    order, clip = order[np.argsort(clip, kind="stable")], np.sort(clip)
    bounds = np.searchsorted(clip, np.arange(len(units.clips) + 1))
    return order, [_Part(number, int(a), int(b)) for number, (a, b) in enumerate(pairwise(bounds))]


def _tensor(scores: Floats) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(scores))


class PredictConfig(PublishedConfig):
    """What is computed beyond what the model says."""


@dataclass(frozen=True, repr=False)
class Resolved:
    """What was trained and its report, what it reads, clips of that with their splits, and how scores become rows;
    `weights` of a network."""

    trained: Artifact
    report: Mapping[str, Any]
    features: Sequence[Features]
    recipe: RowRecipe
    config: PredictConfig
    split: Mapping[str, str]
    about: Sequence[str]
    weights: WeightsFile | None = None

    @property
    def upstream(self) -> list[Artifact]:
        """The artifacts that are read."""
        return [each.artifact for each in self.features]

    @property
    def clips(self) -> list[str]:
        """The clips to predict."""
        return list(self.split)


class Predict(ScoredRows):
    """Predict for every clip of the features given, or for new media in one go.

    Examples:

    `affectkit predict "$HEAD" "$FEATURES"`

    `affectkit predict "$HEAD" new_video.mp4 --json`

    `affectkit predict mini-xception new_video.mp4 --task expr`

    `affectkit predict "$HEAD" "$FEATURES" --at test_frames.csv --smooth hamming --half-width 0.5`

    `affectkit predict "$FINETUNED" "$FACES" --smooth hamming --half-width 0.5`
    """

    makes = "predictions"
    says = "scores of {inputs}"
    Config = PredictConfig
    runtime = ("workers", "rehash", "retry_failed")
    has_device = True

    @dataclass(frozen=True)
    class Inputs:
        """A head and its features, a network or a PublishedModel and its crops or sound, or any of them and media."""

        head: Any = artifacts(
            "head", "network", "system", or_model=True,
            help="what train-head or finetune printed, a bundle file, or a published model (affectkit list models)",
        )  # fmt: skip
        inputs: Sequence[Features | Artifact | Clip] = artifacts(
            "features", "crops", "sound", many=True, or_media=True,
            help="the features (of a network or a published model the crops or sound), or media",
        )  # fmt: skip
        face_quality: Features | None = quality_gates.face_quality(
            "for a head that was trained with quality gates: face-mesh features of these clips  "
            "[default: those that it was trained with]"
        )
        at: Path | None = file("CSV clip,start,end (a label table, say): predict its rows, interpolated")
        clips: ClipChoice = clips()
        weights_of: Mapping[str, str] | None = value(
            Mapping[str, str], None, many=True, metavar="NAME=PATH", in_recipes=False,
            help="for media: NAME=PATH of a detector or backbone whose weight file has moved",
        )  # fmt: skip

    def check_positions(self, texts: Mapping[str, Any]) -> None:
        trained = next((text for text in texts["inputs"] if _is_trained(text)), None)
        if trained is not None and not _is_trained(texts["head"]):
            raise UsageError(
                f"the head comes first, then what it is to predict from: affectkit predict {trained} {texts['head']}"
            )

    def accepts(self, makes: Sequence[Makes]) -> bool:
        head, *inputs = makes or ("",)
        if head in ("network", "model"):
            return len(inputs) == 1 and inputs[0] in ("crops", "sound")
        return head == "head" and bool(inputs) and set(inputs) == {"features"}

    @property
    def wants(self) -> str:
        return "a head and its features, or a network (or a published model, by its key) and its crops or sound"

    def run(self, inputs: Inputs, config: PredictConfig, context: Context) -> Outcome:
        """Make what the model reads from media where there are any, then predict by its kind."""
        from affectkit.stages import fused_system

        head, has_media = inputs.head, any(isinstance(each, Clip) for each in inputs.inputs)
        if isinstance(head, PublishedModel):
            if inputs.weights_of:
                raise UsageError("--weights-of is for what was trained; a published model takes --weights PATH")
            if inputs.face_quality is not None:
                raise UsageError(
                    f"--face-quality is for heads that were trained with it; {head.name} is a published model"
                )
            return predict_published(head, inputs.inputs, inputs.at, inputs.clips, config, context)
        if fused_system.is_system(head):
            if inputs.at is not None:
                raise UsageError(
                    f"--at is for one model; {head.path} is a fused system, which predicts as it was fused"
                )
            return fused_system.predict_system(
                head, inputs.inputs, inputs.clips, inputs.weights_of, config, context
            )  # fmt: skip
        media_suffixes(head)  # raises for what was not trained
        config.refuse_published(head.path, stored_task(trained_report(head)))
        if inputs.weights_of and not has_media:
            raise UsageError("--weights-of is for media: features, crops and sound have been made already")
        stage = _PredictByNetwork() if is_network(head) else self
        if not has_media:
            return MapStage.run(stage, inputs, config, context)
        media = [each for each in inputs.inputs if isinstance(each, Clip)]
        replayed = replay(context.cache, head, media, context.runtime, device=context.device, weights=inputs.weights_of)
        clips = choose(inputs.clips, replayed.clips)
        clips = replayed.clips if clips is None else clips
        inputs = replace(
            inputs, inputs=replayed.features, clips=clips, weights_of=None, face_quality=replayed.face_quality
        )  # fmt: skip
        outcome = MapStage.run(stage, inputs, config, context)
        notices = tuple(dict.fromkeys((*replayed.notices, *outcome.notices)))
        return replace(outcome, failed=(*replayed.failed, *outcome.failed), notices=notices)

    def resolve(self, inputs: Inputs, config: PredictConfig) -> Resolved:
        """Refuses features that were made by another recipe than those the head was trained on."""
        sources: Sequence[Any] = inputs.inputs
        features = [each if isinstance(each, Features) else features_of(each) for each in sources]
        report = trained_report(inputs.head)
        features = _through_gates(inputs.head, features, inputs.face_quality)
        _check_recipe(inputs.head, features)
        recipe = RowRecipe.of([stored_task(report)], smooth_module.of_head(report), config, inputs.at)
        clips = chosen(inputs.clips, features[0])
        if inputs.clips is None:
            clips = [clip for clip in clips if all(clip in other for other in features[1:])]
        quality_gates.check_measured(gates := quality_gates.of(features), clips)
        about = [] if gates is None else quality_gates.lines(features, clips)
        return _given(inputs.head, report, features, recipe, config, clips, about)

    def called(self, resolved: Resolved) -> str:
        return resolved.trained.stage.name

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        smoothing = resolved.recipe.smoothing
        inputs = {
            "head": resolved.trained.stage.fingerprint,
            **bundled.identity_of(resolved.trained),
            "upstream": [each.identity for each in resolved.features],
            **resolved.recipe.resampled,
        }
        if smoothing != smooth_module.of_head(resolved.report):
            inputs["smoothing"] = asdict(smoothing) if smoothing else None
        return inputs

    def read(self, resolved: Resolved) -> Sequence[Artifact | Features]:
        return resolved.features

    def provenance(self, resolved: Resolved) -> dict[str, Any]:
        return {**super().provenance(resolved), **bundled.provenance_of(resolved.trained)}

    def upstream(self, resolved: Resolved) -> list[Path]:
        gates = quality_gates.of(resolved.features)
        measured = [] if gates is None else [gates.measured.artifact.folder]
        return [resolved.trained.path, *(each.folder for each in resolved.upstream), *measured]

    def title(self, resolved: Resolved) -> str:
        return f"predict {resolved.trained.stage.name}"

    def scored(self, resolved: Resolved, missing: list[str], sink: Sink, context: Context) -> Iterator[Scored]:
        """Clip by clip, by every seed of the head.

        Where it was fitted again on train and val clips, that one predicts all but val clips: theirs are by the head
        from before, which has not seen them, so that fusing and scoring on val stay honest.
        """
        sink.say("loading the head")
        device = resolve(context.device)
        held = {clip for clip in missing if split_in(resolved.report["splits"], clip) == "val"}
        for refitted in (False, True):
            clips = [clip for clip in missing if (clip not in held) == refitted]
            heads = load_heads(resolved.trained, stored_task(resolved.report), refitted=refitted) if clips else []
            for first in range(0, len(clips), _AT_ONCE):
                whole = [clip for clip in clips[first : first + _AT_ONCE] if checked(sink, clip, *resolved.upstream)]
                if not whole:
                    continue
                examples = [Example(clip, sequences(resolved.features, clip)) for clip in whole]
                raw = [head.predict(examples, device=device) for head in heads]
                for example, *seeds in zip(examples, *raw, strict=True):
                    yield Scored(example.clip, example.inputs[0], seeds, example.inputs)


class _PredictByNetwork(Predict):
    """Scores of every clip of a faces or audio artifact, at its rows or, for sound, at the network's label steps.

    Units run in one batch shape, filled across clips, so that a clip's scores do not depend on its neighbours.
    """

    def resolve(self, inputs: Predict.Inputs, config: PredictConfig) -> Resolved:
        """Refuses an artifact that was made by another recipe than the one the network was trained on."""
        network, sources = inputs.head, inputs.inputs
        if inputs.face_quality is not None:
            raise UsageError(f"--face-quality is for heads that were trained with it; {network.path} is a network")
        if len(sources) > 1:
            raise UsageError(f"{network.path} is a fine-tuned network: it reads one artifact, {len(sources)} are given")
        upstream: Any = sources[0].artifact if isinstance(sources[0], Features) else sources[0]
        report, header = trained_report(network), saved.read_header(network.folder)
        _check_network_recipe(network, upstream)
        recipe = RowRecipe.of([header.task], smooth_module.of_head(report), config, inputs.at)
        clips = chosen(inputs.clips, upstream)
        weights = saved.weights_of(network.folder)
        about = (*about_licence(weights), *_about_windows(header, upstream, clips))
        return _given(network, report, [Features(upstream)], recipe, config, clips, about, weights)

    def identity(self, resolved: Resolved) -> dict[str, Any]:
        smoothing, (upstream,) = resolved.recipe.smoothing, resolved.upstream
        assert resolved.weights is not None
        return {
            "network": resolved.trained.stage.fingerprint,
            **bundled.identity_of(resolved.trained),
            "weights": resolved.weights.sha256,
            "upstream": [upstream.stage.fingerprint],
            **({"decoder": f"pillow-{version('pillow')}"} if upstream.stage.stage == "faces" else {}),
            **resolved.recipe.resampled,
            **({"smoothing": asdict(smoothing)} if smoothing else {}),
        }

    def provenance(self, resolved: Resolved) -> dict[str, Any]:
        assert resolved.weights is not None
        return {**super().provenance(resolved), "weights": resolved.weights.about()}

    def scored(self, resolved: Resolved, missing: list[str], sink: Sink, context: Context) -> Iterator[Scored]:
        sink.say("loading the network")
        scorer = _Scorer(resolved.trained.folder, resolve(context.device), worker_count(context.runtime))
        (upstream,) = resolved.upstream
        return scorer.clips(upstream, [clip for clip in missing if checked(sink, clip, upstream)], sink)


STAGE = Predict


def _given(
    trained: Artifact, report: Mapping[str, Any], features: Sequence[Features], recipe: RowRecipe,
    config: PredictConfig, clips: Sequence[str], about: Sequence[str] = (), weights: WeightsFile | None = None,
) -> Resolved:  # fmt: skip
    """Those of the clips that the table of rows has, if there is one, each with its split: that of training, else what
    the first of the features says."""
    if recipe.table:
        clips, more = recipe.table.meets(list(clips))
        about = (*about, *more)
    table = features[0].clip_table()
    split = {clip: report["splits"].get(clip) or table.get(without_face(clip), {}).get("split") or "" for clip in clips}
    return Resolved(trained, report, features, recipe, config, split, about, weights)


def _is_trained(text: str) -> bool:
    path = Path(text)
    return (path / STAGE_FILE).is_file() and open_artifact(path).stage.stage in TRAINED
