"""What every published model keeps, beside what a backbone of its kind does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.plugins.cards import ModelCard
from affectkit.plugins.contracts import backbones
from affectkit.plugins.contracts.backbones import images, windows
from affectkit.plugins.contracts.candidate import Candidate, Obligation, hold, refused, same, two_threads
from affectkit.plugins.contracts.light import loads_nothing_heavy
from affectkit.tasks import Task
from affectkit.types import Contract

WORDS = ("name", "summary", "trained_on", "reported", "verified", "failures", "intended")
LICENCES = ("code", "weights", "data")


def card(candidate: Candidate) -> ModelCard:
    """The candidate's card."""
    read: ModelCard = candidate.plugin.card(candidate.options, candidate.weights)
    return read


def has_a_card(candidate: Candidate) -> None:
    """Its card says all: what it gives, the crop it must be given, licences, data, figures, failures, intended use."""
    read = card(candidate)
    hold(isinstance(read, ModelCard), f"card gives a {type(read).__name__}, no ModelCard")
    empty = [name for name in WORDS if not isinstance(getattr(read, name), str) or not getattr(read, name).strip()]
    empty += [f"licence of {name}" for name in LICENCES if not read.licences.get(name)]
    hold(not empty, f"its card does not say: {', '.join(empty)}")
    hold(read.outputs and all(isinstance(task, Task) for task in read.outputs), f"its outputs are {read.outputs!r}")
    hold(len(set(read.columns)) == len(read.columns), f"columns of one name: {', '.join(read.columns)}")
    hold(read.contract is None or isinstance(read.contract, Contract), f"its contract is {read.contract!r}")
    hold(read.contract is None or candidate.plugin.kind == "image", "it hears, and has the contract of a crop")


def has_a_card_without_torch(candidate: Candidate) -> None:
    """Its card is read without anything heavy: torch, timm and transformers are not loaded."""
    weights, options = candidate.weights, candidate.options.model_dump_json()
    fields = (
        weights.name,
        str(weights.path) if weights.path else None,
        weights.sha256,
        weights.licence,
        weights.source,
    )
    loads_nothing_heavy([candidate.plugin], [
        "from pathlib import Path", "from affectkit.weights import WeightsFile",
        f"name, path, *more = {fields!r}", "weights = WeightsFile(name, path and Path(path), *more)",
        f"plugin.card(plugin.Options.model_validate_json({options!r}), weights).about()",
    ])  # fmt: skip


def scores_what_its_card_says(candidate: Candidate) -> None:
    """It gives a finite float32 row of scores an input, as wide as its card has columns."""
    read, batch = card(candidate), _batch(candidate)
    values = candidate.instance.scores(batch)
    hold(isinstance(values, np.ndarray), f"scores returns a {type(values).__name__}, no numpy array")
    shape = (len(batch), len(read.columns))
    hold(values.shape == shape, f"its scores are {list(values.shape)}, and its card's columns make {list(shape)}")
    hold(values.dtype == np.float32, f"its scores are {values.dtype}, not float32")
    hold(np.isfinite(values).all(), "some scores are not finite")


def gives_probabilities(candidate: Candidate) -> None:
    """Scores of classes are probabilities: 0..1, and those of classes that exclude each other add up to 1."""
    values = candidate.instance.scores(_batch(candidate))
    for task, columns in _tasks(card(candidate)):
        part = values[:, columns]
        if task.kind != "regression":
            hold(((part >= 0) & (part <= 1)).all(), f"scores of {task.name} are outside 0..1")
        if task.kind == "multiclass":
            apart = float(np.abs(part.sum(axis=1, dtype=np.float64) - 1).max())
            hold(apart <= 1e-5, f"probabilities of {task.name} add up to 1 but for {apart:g}")


def scores_the_same_again(candidate: Candidate) -> None:
    """The same inputs have the same scores to the last bit, again and from a second instance."""
    batch = _batch(candidate)
    first = candidate.instance.scores(batch)
    same(candidate.instance.scores(batch), first, "a second call of scores")
    same(candidate.make().scores(batch), first, "scores of a second instance")


def scores_each_row_alone(candidate: Candidate) -> None:
    """Neither the other inputs of a batch nor the place in it change a bit of a row's scores."""
    batch, second = _batch(candidate), _batch(candidate, seed=1)
    with two_threads():
        first = candidate.instance.scores(batch)
        for shift in (1, 3):
            moved = candidate.instance.scores(np.roll(batch, shift, axis=0))
            same(np.roll(moved, -shift, axis=0), first, f"scores of inputs moved by {shift} places")
        second[5] = batch[2]
        same(candidate.instance.scores(second)[5], first[2], "scores of an input among others")


def scores_any_number(candidate: Candidate) -> None:
    """A batch of 0, 3, 8 or 11 inputs has the same scores to the last bit."""
    batch = _batch(candidate)
    with two_threads():
        first = candidate.instance.scores(batch)
        for count in (0, 3, 8):
            same(candidate.instance.scores(batch[:count]), first[:count], f"scores of a batch of {count}")
        longer = candidate.instance.scores(np.concatenate([batch, batch[:3]]))
        same(longer, np.concatenate([first, first[:3]]), "scores of a batch of 11")


def scores_no_other_batch(candidate: Candidate) -> None:
    """Inputs are left as they were; of one that sees, anything but uint8 [N,3,H,W] is a ValueError of scores."""
    batch = _batch(candidate)
    locked = batch.copy()
    locked.flags.writeable = False
    candidate.instance.scores(locked)
    same(locked, batch, "the inputs, afterwards")
    if candidate.plugin.kind == "image":
        for other in (batch.astype(np.float32), batch[0], batch[:, :1]):
            what = f"scores of a batch of {other.dtype} {list(other.shape)}"
            refused(lambda: candidate.instance.scores(other), ValueError, what, "uint8")  # noqa: B023


def has_outputs_or_none(candidate: Candidate) -> None:
    """Its embedding has a dimension of 1 or more, or it says that it has none: dim 0, or no outputs."""
    if candidate.plugin.kind == "image":
        dim = getattr(candidate.instance, "dim", None)
        hold(isinstance(dim, int) and not isinstance(dim, bool) and dim >= 0, f"its dim is {dim!r}")
    else:
        outputs = dict(candidate.instance.outputs)
        hold(all(dim >= 1 for dim in outputs.values()), f"its outputs are {outputs}")


def _batch(candidate: Candidate, seed: int = 0) -> NDArray[Any]:
    """Eight inputs of the candidate's kind."""
    if candidate.plugin.kind == "audio":
        return windows(candidate, seed=seed)
    pictures = images(candidate)
    return np.random.default_rng(seed).integers(0, 256, pictures.shape, np.uint8) if seed else pictures


def _tasks(read: ModelCard) -> Iterator[tuple[Task, slice]]:
    """The tasks of a card and where their columns are."""
    start = 0
    for task in read.outputs:
        yield task, slice(start, start + task.outputs)
        start += task.outputs


def _where_it_embeds(obligation: Obligation) -> Obligation:
    """An obligation of a backbone, for a model that may have no embedding."""

    @wraps(obligation)
    def held(candidate: Candidate) -> None:
        instance = candidate.instance
        if instance.dim if candidate.plugin.kind == "image" else instance.outputs:
            obligation(candidate)

    return held


_SCORES: list[Obligation] = [
    has_a_card, has_a_card_without_torch, has_outputs_or_none, scores_what_its_card_says, gives_probabilities,
    scores_the_same_again, scores_each_row_alone, scores_any_number, scores_no_other_batch,
]  # fmt: skip
IMAGE: list[Obligation] = [*_SCORES, *map(_where_it_embeds, backbones.IMAGE)]
AUDIO: list[Obligation] = [*_SCORES, *map(_where_it_embeds, backbones.AUDIO)]
