"""`affectkit predict`: Predict for every clip of the features given, or for new media in one go.

A head on cached features, at the rows of the features or at any others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import plugins
from affectkit.config import Config, Runtime, validate
from affectkit.devices import keep_memory, resolve
from affectkit.errors import UsageError
from affectkit.learning import saved
from affectkit.plugins import Example, Units
from affectkit.prefetch import worker_count
from affectkit.speech.windows import touches
from affectkit.stages import smooth
from affectkit.stages import smooth as smooth_module
from affectkit.stages.batches import Lengths
from affectkit.stages.embed import notices as about_licence
from affectkit.stages.finetune import NAME as FINETUNE
from affectkit.stages.finetune import read_report as read_network_report
from affectkit.stages.inputs import Makes, artifacts, clips, file, value
from affectkit.stages.map_stage import Outcome, Sink, checked, entries_of, run
from affectkit.stages.observed import REACH, Observed, smoothed_within
from affectkit.stages.replay import Replayed, Seen, media_suffixes, replay, replay_upstream
from affectkit.stages.row_counts import score_notices, seen_in
from affectkit.stages.smooth import Choice, Smoothing
from affectkit.stages.stage import CLIPS_KEPT, Context, Result, Stage
from affectkit.stages.train import load_heads, read_report, sequences, stored_task
from affectkit.store import Artifact, Cache, Features, open_artifact, predictions_schema
from affectkit.store import features as features_of
from affectkit.store.kinds import STAGE_FILE, TRAINED
from affectkit.tables.ids import ClipChoice, choose
from affectkit.tables.predictions import split_in
from affectkit.tables.timeline import Rows, TimeTable, at_rate, read_times, regular
from affectkit.tasks import Task
from affectkit.types import Bools, Clip, FeatureSequence, Floats, without_face

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
    farther than the reach from a face or speech have no score, see `stages.observed`; a notice counts scores. Refuses
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
    if recipe.smoothing != smooth.of_head(report):
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


NETWORK_VERSION = 2
LARGEST_BATCH = 32
_STEPS = 10.0  # a second, at which the share of a clip with speech is counted
Indices = NDArray[np.int64]


def predict_network(
    cache: Cache, network: Artifact, upstream: Artifact, runtime: Runtime, *,
    config: PredictConfig | None = None, at: Path | None = None,
    device: str = "auto", clips: Iterable[str] | None = None, out: Path | None = None,
) -> Outcome:  # fmt: skip
    """Scores of every clip of a faces or audio artifact: values, or probabilities for classes.

    Rows are those of the artifact or, for sound, the network's label steps, unless `at` (a table of rows) or the config
    say others. Units run in one batch shape, filled across clips, so that a clip's scores do not depend on its
    neighbours. Refuses an artifact that was made by another recipe than the one the network was trained on.
    """
    report = read_network_report(network)
    header = saved.read_header(network.folder)
    _check_network_recipe(network, upstream)
    task, weights = header.task, saved.weights_of(network.folder)
    recipe = RowRecipe.of(task, report, config or PredictConfig(), at)
    inputs = {
        "stage": "predict",
        "version": NETWORK_VERSION,
        "network": network.stage.fingerprint,
        "weights": weights.sha256,
        "upstream": [upstream.stage.fingerprint],
        **({"decoder": f"pillow-{version('pillow')}"} if header.kind == "image" else {}),
        **recipe.resampled,
    }
    if recipe.smoothing:
        inputs["smoothing"] = asdict(recipe.smoothing)

    def score(missing: list[str], sink: Sink) -> Iterator[Scored]:
        sink.say("loading the network")
        scorer = _Scorer(network.folder, resolve(device), worker_count(runtime))
        return scorer.clips(upstream, [clip for clip in missing if checked(sink, clip, upstream)], sink)

    chosen = upstream.clips if clips is None else list(clips)
    return write(
        cache, network, inputs, recipe, report, [upstream], chosen, score, runtime, out=out,
        notices=(*about_licence(weights), *_about_windows(header, upstream, chosen)),
        extra={"config": (config or PredictConfig()).model_dump(mode="json"), "weights": weights.about()},
    )  # fmt: skip


def _about_windows(header: saved.Header, upstream: Artifact, clips: Sequence[str]) -> list[str]:
    """What is to be known of the windows of a network that hears."""
    if header.kind != "audio":
        return []
    options: Any = validate(plugins.get("networks", header.network).Options, header.options, saved.HEADER)
    return Lengths.of(upstream, clips).notices(options.windowing)


def is_network(artifact: Artifact) -> bool:
    """Whether it was made by finetune."""
    return artifact.stage.stage == FINETUNE


def _check_network_recipe(network: Artifact, upstream: Artifact) -> None:
    wanted, given = network.stage.inputs["upstream"], upstream.stage.fingerprint
    if given != wanted:
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


class PredictConfig(Config):
    """What is computed beyond what the head says. Smoothing acts first, on the raw scores of the features' rows."""

    smooth: Choice | None = Field(
        None, description="window over the raw scores, or none (default: what train-head chose on validation)"
    )
    half_width: float | None = Field(
        None, ge=0, le=smooth_module.LONGEST, description="seconds that the window reaches to either side"
    )
    rate: float | None = Field(
        None, gt=0, le=1000, description="predictions a second, interpolated (default: one a row of the features)"
    )
    reach: float | None = Field(
        None, ge=0, le=1e6, description="no score farther than this many seconds from a face or speech  [default: 1]"
    )
    max_gap: float | None = Field(
        None, gt=0, description="with --at or --rate: nor farther than this from any row that has a score  "
        "[default: as far as --reach]"
    )  # fmt: skip


@dataclass(frozen=True, repr=False)
class RowRecipe:
    """How raw scores become rows."""

    task: Task
    smoothing: Smoothing | None
    table: TimeTable | None
    rate: float | None
    max_gap: float | None
    reach: float | None

    @property
    def resampled(self) -> dict[str, Any]:
        """What of the rows enters the fingerprint; nothing for the features' own and the usual reach."""
        reach = {} if self.reach in (None, REACH) else {"reach": self.reach}
        if self.table is None and self.rate is None:
            return reach
        table = self.table.digest if self.table else None
        return {"rows": {"table": table, "rate": self.rate, "max_gap": self.max_gap}, **reach}

    @staticmethod
    def of(task: Task, report: Mapping[str, Any], config: PredictConfig, at: Path | None) -> RowRecipe:
        """What the report of a head or network says, where the config says nothing else; `at` is a table of rows.

        Raises UsageError for what does not fit together.
        """
        if at and config.rate:
            raise UsageError("--at and --rate both say which rows are wanted: give one of them")
        if (at or config.rate) and task.level == "clip":
            raise UsageError(f"--at and --rate are for tasks with scores over time; {task.name} has one score a clip")
        if config.max_gap and not (at or config.rate):
            raise UsageError("--max-gap is for --at and --rate: without them, rows are those of the features")
        if config.reach is not None and task.level == "clip":
            raise UsageError(f"--reach is for tasks with scores over time; {task.name} has one score a clip")
        table = read_times(at) if at else None
        reach = None if task.level == "clip" else REACH if config.reach is None else config.reach
        return RowRecipe(task, _smoothing(task, report, config), table, config.rate, config.max_gap, reach)

    def rows(self, one: Scored) -> dict[str, Any]:
        """The columns of a clip."""
        times, found, observed = self._of_clip(one) if self.reach is None else self._over_time(one, self.reach)
        scores = smooth_module.predictions(self.task, found)
        valid = np.isfinite(scores).all(axis=1)
        return {"start": times[0], "end": times[1], "valid": valid, "observed": observed, "scores": scores}

    def _of_clip(self, one: Scored) -> tuple[Rows, list[Floats], Floats]:
        """The one row of a clip: no score where nothing was observed."""
        share = Observed(one.seen).whole
        return _whole(one.rows), [raw if share else np.full_like(raw, np.nan) for raw in one.raw], np.array([share])

    def _over_time(self, one: Scored, reach: float) -> tuple[Rows, list[Floats], Floats]:
        """Rows over time: those out of reach have no score, and nothing is carried across them."""
        seen, middle = Observed(one.seen), one.rows.middle
        found, stretch = smoothed_within(one.raw, middle, seen, reach, self.smoothing)
        times = (np.asarray(one.rows.start), np.asarray(one.rows.end))
        if self.table or self.rate:
            times = self.table.rows[one.clip] if self.table else at_rate(one.rows, self.rate or 0)
            middle, given = (times[0] + times[1]) / 2, middle
            found = smooth_module.moved(found, given, middle, self.max_gap, stretch)
            found = [np.where(seen.within(middle, reach)[:, None], scores, np.nan) for scores in found]
        return times, found, seen.share(middle, self.smoothing)


@dataclass(frozen=True, repr=False)
class Scored:
    """A clip, its rows in time, the raw scores [T,K] of every seed at them, and what they were made from: a sequence an
    input, of which the valid rows are those with a face or speech."""

    clip: str
    rows: FeatureSequence
    raw: Sequence[Floats]
    seen: Sequence[FeatureSequence]


Score = Callable[[list[str], Sink], Iterable[Scored]]
"""What scores clips, one after another."""


def write(
    cache: Cache, made: Artifact, inputs: dict[str, Any], recipe: RowRecipe, report: Mapping[str, Any],
    upstream: Sequence[Artifact], clips: Sequence[str], score: Score, runtime: Runtime, *, out: Path | None,
    notices: tuple[str, ...] = (), extra: dict[str, Any] | None = None,
) -> Outcome:  # fmt: skip
    """The predictions of these clips by what was trained (`made`, with its report), current while what `upstream` has
    of a clip and its split are. A clip's split is that of training, else what the first of `upstream` says of it."""
    chosen = list(clips)
    if recipe.table:
        chosen, more = recipe.table.meets(chosen)
        notices = (*notices, *more)
    artifact = cache.create(
        "predict", made.stage.name, inputs, predictions_schema(list(recipe.task.targets)),
        upstream=[made.path, *(one.folder for one in upstream)], out=out, extra=extra,
    )  # fmt: skip
    table = upstream[0].clip_table()
    split = {
        clip: report["splits"].get(clip) or table.get(without_face(clip), {}).get("split") or "" for clip in chosen
    }

    def compute(missing: list[str], sink: Sink) -> None:
        for one in score(missing, sink):
            rows = recipe.rows(one)
            sink.count(len(rows["start"]))
            sink.append(rows)
            is_partial = any(given.status(one.clip) == "partial" for given in upstream)
            sink.end(one.clip, {"split": split[one.clip]}, "partial" if is_partial else "ok")

    read = {clip: " ".join([*(one.digest(clip) for one in upstream), split[clip]]) for clip in chosen}
    sources = {clip: sha256(text.encode()).hexdigest() for clip, text in read.items()}
    entries = entries_of(upstream[0], chosen)
    seen = seen_in(upstream)
    done = run(
        artifact, sources, compute, runtime, what=f"predict {made.stage.name}", unit="rows", entries=entries,
        tell=lambda counts: score_notices(counts, seen, recipe.reach),
    )  # fmt: skip
    return replace(done, notices=(*notices, *done.notices))


def _smoothing(task: Task, report: Mapping[str, Any], config: PredictConfig) -> Smoothing | None:
    own = smooth_module.of_head(report)
    kind = config.smooth or (own.kind if own else None)
    smooth_module.agree(kind, config.half_width, task)
    if config.smooth is None and config.half_width is None:
        return own
    if kind is None or kind == "none":
        return None
    width = config.half_width if config.half_width is not None else own.half_width if own else None
    if width is None:
        raise UsageError(f"--smooth {kind} needs --half-width SECONDS: the head was trained without smoothing")
    return Smoothing(kind, width) if width else None


def _whole(sequence: FeatureSequence) -> Rows:
    """The one row of a clip."""
    start, end = np.asarray(sequence.start), np.asarray(sequence.end)
    return (start[:1], end[-1:]) if len(sequence) else (np.zeros(1), np.zeros(1))


class Predict(Stage):
    """Predict for every clip of the features given, or for new media in one go.

    Examples:

    `affectkit predict "$HEAD" "$FEATURES"`

    `affectkit predict "$HEAD" new_video.mp4 --json`

    `affectkit predict "$HEAD" "$FEATURES" --at test_frames.csv --smooth hamming --half-width 0.5`

    `affectkit predict "$FINETUNED" "$FACES" --smooth hamming --half-width 0.5`
    """

    name = "predict"
    makes = "predictions"
    says = "scores of {inputs}"
    Config = PredictConfig
    runtime = ("workers", "rehash", "retry_failed")
    has_device = True
    is_map = True
    kept = CLIPS_KEPT

    @dataclass(frozen=True)
    class Inputs:
        """A head and its features, a network and its crops or sound, or either and media."""

        head: Artifact = artifacts("head", "network", help="what train-head or finetune printed")
        inputs: Sequence[Features | Artifact | Clip] = artifacts(
            "features", "crops", "sound", many=True, or_media=True,
            help="the features (of a fine-tuned network the crops or sound), or media to replay its recipe",
        )  # fmt: skip
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

    def accepts(self, given: Sequence[Makes]) -> bool:
        head, *inputs = given or ("",)
        if head == "network":
            return len(inputs) == 1 and inputs[0] in ("crops", "sound")
        return head == "head" and bool(inputs) and set(inputs) == {"features"}

    @property
    def wants(self) -> str:
        return "a head and its features, or a network and its crops or sound"

    def run(self, inputs: Inputs, config: PredictConfig, context: Context) -> Result:
        head, has_media = inputs.head, any(isinstance(each, Clip) for each in inputs.inputs)
        media_suffixes(head)  # raises for what was not trained
        if inputs.weights_of and not has_media:
            raise UsageError("--weights-of is for media: features, crops and sound have been made already")
        if is_network(head) and not has_media and len(inputs.inputs) > 1:
            count = len(inputs.inputs)
            raise UsageError(f"{head.path} is a fine-tuned network: it reads one artifact, {count} are given")
        settings: dict[str, Any] = {"config": config, "at": inputs.at, "device": context.device, "out": context.out}
        replayed = _replayed(inputs, context) if has_media else None
        clips = replayed.clips if replayed else _clips_of(inputs.inputs[0])
        chosen = choose(inputs.clips, clips) or (clips if replayed else None)
        if is_network(head):
            upstream = replayed.artifact if isinstance(replayed, Seen) else inputs.inputs[0]
            assert isinstance(upstream, Artifact)
            outcome = predict_network(context.cache, head, upstream, context.runtime, clips=chosen, **settings)
        else:
            features = replayed.features if isinstance(replayed, Replayed) else list(map(_as_features, inputs.inputs))
            outcome = predict(context.cache, head, features, context.runtime, clips=chosen, **settings)
        return Result.of(outcome, *((replayed.failed, replayed.notices) if replayed else ()))


STAGE = Predict


def _replayed(inputs: Predict.Inputs, context: Context) -> Replayed | Seen:
    """What the model needs, made from media by its recipe."""
    media = [each for each in inputs.inputs if isinstance(each, Clip)]
    again = replay_upstream if is_network(inputs.head) else replay
    return again(context.cache, inputs.head, media, context.runtime, device=context.device, weights=inputs.weights_of)


def _as_features(each: Any) -> Features:
    return each if isinstance(each, Features) else features_of(each)


def _clips_of(each: Any) -> list[str]:
    clips: list[str] = each.clips
    return clips


def _is_trained(text: str) -> bool:
    path = Path(text)
    return (path / STAGE_FILE).is_file() and open_artifact(path).stage.stage in TRAINED
