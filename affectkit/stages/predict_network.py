"""`affectkit predict` with a fine-tuned network: what it says itself of crops or sound, as a head does of features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit import plugins
from affectkit.config import Runtime, validate
from affectkit.errors import UsageError
from affectkit.plugins import Units, finetuned
from affectkit.prefetch import worker_count
from affectkit.speech.windows import touches
from affectkit.stages._devices import keep_memory, resolve
from affectkit.stages._map import Outcome, Sink, checked
from affectkit.stages._prediction_rows import PredictConfig, RowRecipe, Scored, write
from affectkit.stages._sound_windows import Lengths
from affectkit.stages._times import regular
from affectkit.stages.embed import notices as about_licence
from affectkit.stages.finetune import STAGE
from affectkit.stages.finetune import read_report as read_network_report
from affectkit.store import Artifact, Cache
from affectkit.types import Bools, FeatureSequence, Floats

VERSION = 2
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
    header = finetuned.read_header(network.folder)
    _check_recipe(network, upstream)
    task, weights = header.task, finetuned.weights_of(network.folder)
    recipe = RowRecipe.of(task, report, config or PredictConfig(), at)
    inputs = {
        "stage": "predict",
        "version": VERSION,
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


def _about_windows(header: finetuned.Header, upstream: Artifact, clips: Sequence[str]) -> list[str]:
    """What is to be known of the windows of a network that hears."""
    if header.kind != "audio":
        return []
    options: Any = validate(plugins.get("networks", header.network).Options, header.options, finetuned.HEADER)
    return Lengths.of(upstream, clips).notices(options.windowing)


def is_network(artifact: Artifact) -> bool:
    """Whether it was made by finetune."""
    return artifact.stage.stage == STAGE


def _check_recipe(network: Artifact, upstream: Artifact) -> None:
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
        from affectkit.backbones._image import fixed_rows

        keep_memory()
        self._opened = finetuned.open_network(folder)
        self._module = self._opened.module.requires_grad_(False).to(device)
        self._device, self._workers = device, workers
        self._size = fixed_rows(min(self._opened.network.options.batch_size, LARGEST_BATCH))

    def clips(self, upstream: Artifact, clips: Sequence[str], sink: Sink) -> Iterator[Scored]:
        """Each clip, NaN where no unit is about a row. A clip with a crop that cannot be read fails."""
        from affectkit.networks._crops import BrokenRow

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
        from affectkit.finetuning.scoring import row_means

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

        from affectkit.backbones._image import arithmetic
        from affectkit.finetuning.loading import batches

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
