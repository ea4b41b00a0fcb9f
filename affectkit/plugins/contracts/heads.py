"""What every head keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from affectkit.config import Config
from affectkit.errors import AffectkitError, UsageError
from affectkit.plugins.contracts.candidate import Broken, Candidate, Obligation, hold, refused, same
from affectkit.plugins.protocols import Epoch, Example
from affectkit.tasks import Task
from affectkit.types import FeatureSequence

DIM = 16
FPS = 5.0
SMALL: dict[str, Any] = {"window": 2, "epochs": 2, "batch_size": 8, "hidden": 32}
"""What makes a training short, for heads with options of these names."""


def sequence(values: ArrayLike, valid: ArrayLike | None = None, fps: float = FPS) -> FeatureSequence:
    """Features [T,D] of regular times."""
    given = np.asarray(values, np.float32)
    start = np.arange(len(given)) / fps
    known = np.ones(len(given), bool) if valid is None else np.asarray(valid, bool)
    return FeatureSequence(start, start + 1 / fps, given, known)


def planted(task: Task, clips: int, seed: int, steps: tuple[int, int] = (12, 20)) -> list[Example]:
    """Clips in which slow curves (time level) or constants (clip level) are mixed into noisy features."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(task.outputs, DIM))
    examples = []
    for c in range(clips):
        t = np.arange(rng.integers(*steps)) / FPS
        if task.level == "time":
            hidden = np.sin(2 * np.pi * (t[:, None] / rng.uniform(3, 6, task.outputs) + rng.random(task.outputs)))
        else:
            hidden = np.repeat(rng.uniform(-1, 1, size=(1, task.outputs)), len(t), axis=0)
        shown = hidden if task.level == "time" else hidden[:1]
        if task.kind == "multiclass":
            labels = shown.argmax(axis=1)[:, None].astype(float)
        elif task.kind == "multilabel":
            labels = (shown > 0).astype(float)
        else:
            labels = (shown + 1) / 2 if task.name == "eri" else shown * 0.8
        values = hidden @ mix + rng.normal(size=(len(t), DIM)) * 0.3
        examples.append(Example(f"clip{c}", (sequence(values),), labels))
    return examples


def quiet(epoch: Epoch) -> None:
    """A monitor that shows nothing."""


def quick(candidate: Candidate) -> Any:
    """A new head that trains in two epochs, where its options have names for that; given options win."""
    plugin, given = candidate.plugin, candidate.options.model_dump(exclude_unset=True)
    small = {key: value for key, value in SMALL.items() if key in plugin.Options.model_fields}
    try:
        options: Config = plugin.Options.model_validate(small | given)
    except ValueError:
        options = candidate.options
    return plugin(options, _task(candidate))


def fitted(candidate: Candidate) -> Any:
    """A head after two epochs, for what needs no good one."""
    if "fitted" not in candidate.kept:
        head = quick(candidate)
        _fit(head, _task(candidate))
        candidate.kept["fitted"] = head
    return candidate.kept["fitted"]


def _task(candidate: Candidate) -> Task:
    assert candidate.task is not None
    return candidate.task


def _fit(head: Any, task: Task, seed: int = 0, **named: Any) -> list[Epoch]:
    given = {"monitor": quiet, "device": "cpu"} | named
    history: list[Epoch] = head.fit(planted(task, 6, 1), planted(task, 3, 2), seed=seed, **given)
    return history


def _scores(head: Any, examples: Sequence[Example]) -> list[Any]:
    found: list[Any] = head.predict(examples, device="cpu")
    hold(isinstance(found, list) and len(found) == len(examples), f"predict gives no list of {len(examples)} arrays")
    return found


def reports_its_history(candidate: Candidate) -> None:
    """`fit` tells the monitor every epoch as it ends, and returns all of them with the best score so far."""
    seen: list[Epoch] = []
    history = _fit(quick(candidate), _task(candidate), monitor=seen.append)
    hold(bool(history), "the history is empty")
    hold(seen == history, f"the monitor was told {len(seen)} epochs, and {len(history)} are returned")
    hold(history[-1].best == max(epoch.score for epoch in history), "the last epoch's best is not the best score")


def repeats_itself(candidate: Candidate) -> None:
    """The same seed gives the same scores, bit by bit."""
    test, runs = planted(_task(candidate), 2, 3), []
    for _ in range(2):
        np.random.rand(1)  # noqa: NPY002 - what others draw in between must not matter
        head = quick(candidate)
        _fit(head, _task(candidate))
        runs.append(np.concatenate(_scores(head, test)))
    same(runs[1], runs[0], "a second training")


def leaves_generators_alone(candidate: Candidate) -> None:
    """`fit` neither sets nor draws from the global random generators of numpy and torch."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        before = torch.get_rng_state(), _numpy_state()
        _fit(quick(candidate), _task(candidate))
        hold(torch.equal(torch.get_rng_state(), before[0]), "torch's generator is in another state")
        hold(_numpy_state() == before[1], "numpy's generator is in another state")


def _numpy_state() -> str:
    return repr(np.random.get_state(legacy=False)["state"])  # noqa: NPY002


def saves_and_loads(candidate: Candidate) -> None:
    """What was saved, as safetensors and JSON alone, loads with identical scores and is saved as the same bytes."""
    head, task = fitted(candidate), _task(candidate)
    with TemporaryDirectory() as name:
        folder, again = Path(name) / "head", Path(name) / "again"
        folder.mkdir()
        again.mkdir()
        head.save(folder)
        others = [path.name for path in folder.iterdir() if path.suffix not in (".json", ".safetensors")]
        hold(not others, f"it saves {', '.join(others)}")
        restored, test = type(head).load(folder, task), planted(task, 3, 3)
        for ours, theirs in zip(_scores(head, test), _scores(restored, test), strict=True):
            same(theirs, ours, "the loaded head's scores")
        restored.save(again)
        for path in again.iterdir():
            hold(path.read_bytes() == (folder / path.name).read_bytes(), f"{path.name}, saved again, is another")


def scores_each_clip_alone(candidate: Candidate) -> None:
    """The other clips that are predicted do not change a bit of a clip's scores."""
    head, test = fitted(candidate), planted(_task(candidate), 5, 3, steps=(3, 60))
    for example, scores in zip(test, _scores(head, test), strict=True):
        same(_scores(head, [example])[0], scores, f"{example.clip} alone")


def scores_any_length(candidate: Candidate) -> None:
    """Clips of any length are scored: [T,K] at time level, [1,K] at clip level, finite."""
    task = _task(candidate)
    for steps in (1, 2, 9, 10, 11, 47):
        (scores,) = _scores(fitted(candidate), planted(task, 1, 3, steps=(steps, steps + 1)))
        shape = (steps if task.level == "time" else 1, task.outputs)
        hold(np.shape(scores) == shape, f"scores of {steps} rows are {list(np.shape(scores))}, not {list(shape)}")
        hold(np.isfinite(scores).all(), f"scores of {steps} rows are not finite")


def gives_nan_where_it_knows_nothing(candidate: Candidate) -> None:
    """A clip without a valid row has NaN for scores."""
    task = _task(candidate)
    for steps in (7, 0):
        blank = Example("blank", (sequence(np.zeros((steps, DIM)), valid=np.zeros(steps)),))
        (scores,) = _scores(fitted(candidate), [blank])
        shape = (steps if task.level == "time" else 1, task.outputs)
        hold(np.shape(scores) == shape, f"scores of {steps} rows are {list(np.shape(scores))}, not {list(shape)}")
        hold(np.isnan(scores).all(), f"{steps} rows without a valid one have scores")


def trains_past_blank_and_short_clips(candidate: Candidate) -> None:
    """Training goes past clips without a valid row, and clips shorter than a window."""
    task = _task(candidate)
    train, val = planted(task, 6, 1, steps=(1, 9)), planted(task, 3, 2, steps=(1, 9))
    hidden = train[2].inputs[0]
    train[2] = replace(train[2], inputs=(replace(hidden, valid=np.zeros(len(hidden), bool)),))
    head = quick(candidate)
    history = head.fit(train, val, seed=0, device="cpu", monitor=quiet)
    hold(all(np.isfinite([epoch.loss, epoch.score]).all() for epoch in history), "losses or scores are not finite")
    without = [example.clip for example, rows in zip(train, _scores(head, train), strict=True) if np.isnan(rows).any()]
    hold(without == ["clip2"], f"clips without scores: {', '.join(without) or 'none'}; blank is clip2")


def does_not_read_invalid_rows(candidate: Candidate) -> None:
    """What stands in a row that is not valid changes no bit."""
    example = planted(_task(candidate), 1, 3, steps=(20, 21))[0]
    valid = np.arange(20) % 4 > 0
    clean, dirty = (
        replace(example, inputs=(sequence(np.where(valid[:, None], example.inputs[0].values, other), valid),))
        for other in (0, np.nan)
    )
    ours, theirs = (_scores(fitted(candidate), [one])[0] for one in (dirty, clean))
    same(ours, theirs, "NaN in place of zeros")


def does_not_read_labels(candidate: Candidate) -> None:
    """Labels do not reach predictions."""
    test = planted(_task(candidate), 2, 3)
    bare = [replace(example, labels=None) for example in test]
    for ours, theirs in zip(_scores(fitted(candidate), test), _scores(fitted(candidate), bare), strict=True):
        same(theirs, ours, "scores without labels")


def refuses_features_that_are_not_finite(candidate: Candidate) -> None:
    """NaN or infinity in a valid row is a UsageError that names the clip, in training and in prediction."""
    example = planted(_task(candidate), 1, 3)[0]
    for bad in (np.nan, np.inf):
        values = example.inputs[0].values.copy()
        values[3, 2] = bad
        broken, what = replace(example, clip="broken", inputs=(sequence(values),)), f"{bad} in a valid row"
        refused(lambda: fitted(candidate).predict([broken], device="cpu"), UsageError, what, "broken")  # noqa: B023
        fit = quick(candidate).fit
        refused(
            lambda: fit([broken], [example], seed=0, device="cpu", monitor=quiet), UsageError, what, "broken"  # noqa: B023
        )  # fmt: skip


def leaves_out_what_has_no_label(candidate: Candidate) -> None:
    """Rows and clips without a label are left out of training and of the score."""
    from affectkit import metrics

    task = _task(candidate)
    if task.level != "time":
        return
    train, val = planted(task, 5, 1), planted(task, 3, 2)
    for example in (*train, *val):
        assert example.labels is not None
        example.labels[::3] = np.nan
        example.labels[1, 0] = np.nan
    train[0] = replace(train[0], labels=None)
    head = quick(candidate)
    history = head.fit(train, val, seed=0, device="cpu", monitor=quiet)
    truth = np.concatenate([example.labels for example in val if example.labels is not None])
    rows = np.isfinite(truth).all(axis=1)
    score = metrics.main(task, truth[rows], np.concatenate(_scores(head, val))[rows])
    hold(abs(score - history[-1].best) < 1e-5, f"its best score is {history[-1].best:g}; that of its scores {score:g}")


def refuses_another_task(candidate: Candidate) -> None:
    """Loading what was saved for another task, or an empty folder, is one clear line."""
    task = _task(candidate)
    others = {"kind": "multilabel", "level": "clip" if task.level == "time" else "time"}
    with TemporaryDirectory() as name:
        refused(lambda: candidate.plugin.load(Path(name), task), AffectkitError, "an empty folder")
        fitted(candidate).save(Path(name))
        for field, value in others.items():
            other = task.model_copy(update={field: value, "name": "other"})
            refused(lambda: candidate.plugin.load(Path(name), other), AffectkitError, f"a task of {value}")  # noqa: B023


def network_ignores_padding(candidate: Candidate) -> None:
    """Of a head that is a network: neither padding nor what stands on it changes a score."""
    if not hasattr(candidate.plugin, "network") or not _slides(candidate.plugin):
        return
    head = quick(candidate)
    try:
        network = head.network(DIM, _task(candidate).outputs)
    except NotImplementedError:
        return  # a head of several inputs: `fusion` makes its network
    ignores_padding(network.eval(), _task(candidate))


def _slides(plugin: type[Any]) -> bool:
    """Whether its network is given windows of rows as they follow one another, as most are."""
    return getattr(getattr(plugin, "windows", None), "__qualname__", "") == "TemporalHead.windows"


def ignores_padding(network: Any, task: Task) -> None:
    """Raises Broken where padding changes what a network from (x [B,T,D], mask [B,T]) gives."""
    import torch

    lengths = torch.tensor([5, 9, 1])
    mask = torch.arange(9) < lengths[:, None]
    x = torch.randn(3, 9, DIM, generator=torch.Generator().manual_seed(0))
    clean = network(torch.where(mask[..., None], x, torch.zeros(())), mask)
    wide = torch.cat([torch.where(mask[..., None], x, torch.full((), 50.0)), torch.full((3, 4, DIM), -70.0)], dim=1)
    dirty = network(wide, torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], dim=1))
    if task.level == "time":
        clean, dirty = clean[mask], dirty[:, :9][mask]
    else:
        hold(tuple(clean.shape) == (3, 1, task.outputs), f"of 3 windows the network gives {list(clean.shape)}")
    try:
        torch.testing.assert_close(dirty, clean, atol=1e-6, rtol=1e-5)
    except AssertionError as error:
        raise Broken(f"padding changes scores: {str(error).splitlines()[0]}") from None


OBLIGATIONS: list[Obligation] = [
    reports_its_history, repeats_itself, leaves_generators_alone, saves_and_loads, scores_each_clip_alone,
    scores_any_length, gives_nan_where_it_knows_nothing, trains_past_blank_and_short_clips, does_not_read_invalid_rows,
    does_not_read_labels, refuses_features_that_are_not_finite, leaves_out_what_has_no_label, refuses_another_task,
    network_ignores_padding,
]  # fmt: skip
