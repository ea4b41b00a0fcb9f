"""How a training ended, and that the default head does not collapse on features as wide as those of image networks."""

from __future__ import annotations

import numpy as np
import pytest

from affectkit import tasks
from affectkit.plugins import Epoch, Example, get, parse_options
from affectkit.stages.training_cautions import cautions
from affectkit.stages.training_outcome import collapse, outcome, outcome_lines
from affectkit.types import FeatureSequence

WIDE = 1280


def history(scores: list[float], epochs: int = 100) -> list[Epoch]:
    best = list(np.maximum.accumulate(scores))
    return [Epoch(n + 1, epochs, 1.0, score, top) for n, (score, top) in enumerate(zip(scores, best, strict=True))]


def test_the_best_epoch_and_why_it_stopped() -> None:
    found = outcome(history([0.1, 0.6, 0.5, 0.55]), "ccc")
    assert (found["best_epoch"], found["best"], found["epochs"], found["last"]) == (2, 0.6, 4, 0.55)
    assert found["stopped"] == "no better validation score in 2 epochs"
    assert outcome(history([0.1, 0.2], epochs=2), "ccc")["stopped"] == "all epochs are over"
    assert outcome(history([0.1, 0.2]), "ccc", stopped=True)["stopped"] == "Ctrl-C"
    once = outcome(history([float("nan")], epochs=1), "ccc")
    assert (once["stopped"], once["best"]) == ("fitted at once", None)
    assert outcome_lines({"0": found, "1": once}) == [
        "seed 0: best epoch 2 of 4; stopped: no better validation score in 2 epochs"
    ]


def test_an_undefined_score_is_worse_than_any() -> None:
    nothing = float("nan")
    assert outcome(history([nothing, -0.1, nothing, -0.2]), "ccc")["best_epoch"] == 2
    assert outcome(history([nothing, nothing]), "ccc")["best_epoch"] == 1


@pytest.mark.parametrize(
    ("scores", "metric", "said"),
    [
        ([0.2, 0.7, 0.3, 0.0, 0.0, 0.0], "ccc", "fell from 0.70 (epoch 2) to 0.00 by epoch 6: the training collapsed"),
        ([0.0, -0.01, 0.01], "ccc", "never rose above 0.01 in 3 epochs"),
        ([0.5, 0.8, 0.1, 0.1, 0.1], "f1", "fell from 0.80"),
        ([0.5, 0.2, 0.9, 0.9, 0.9], "mae", "rose from 0.20"),
        ([0.2, 0.7, 0.65, 0.6, 0.6], "ccc", None),
        ([0.7, 0.0, 0.6, 0.65, 0.66], "ccc", None),  # it came back
        ([0.9], "ccc", None),
    ],
)
def test_a_collapse_is_told(scores: list[float], metric: str, said: str | None) -> None:
    found = collapse(history(scores), metric)  # type: ignore[arg-type]
    assert (found is None) if said is None else said in str(found)


def examples(count: int, seed: int) -> list[Example]:
    """Clips whose valence and arousal lie in a few of many dimensions, under noise."""
    rng, mix = np.random.default_rng(seed), np.random.default_rng(99).standard_normal((2, WIDE))
    found = []
    for number in range(count):
        t = np.arange(30) / 5
        truth = 0.8 * np.sin(t[:, None] * rng.uniform(0.5, 1.5, 2) + rng.uniform(0, 6, 2))
        values = (truth @ mix + 2 * rng.standard_normal((30, WIDE))).astype(np.float32)
        found.append(Example(f"c{seed}-{number}", (FeatureSequence(t, t + 0.2, values, np.ones(30, bool)),), truth))
    return found


@pytest.mark.parametrize(("name", "seed"), [("transformer", 0), ("transformer", 1), ("transformer", 2), ("pyramid", 0)])
def test_default_heads_do_not_collapse_on_wide_features(name: str, seed: int) -> None:
    plugin = get("heads", name)
    head = plugin(parse_options(plugin, ["epochs=12"], name), tasks.get("va"))
    found = head.fit(examples(8, 1), examples(4, 2), seed=seed, device="cpu", monitor=lambda epoch: None)
    assert collapse(found, "ccc") is None
    assert max(epoch.score for epoch in found) > 0.7 and found[-1].score > 0.9 * max(epoch.score for epoch in found)


def clip(name: str, values: np.ndarray, label: float, valid: bool = True, task_columns: int = 1) -> Example:
    t = np.arange(len(values)) / 5
    return Example(name, (FeatureSequence(t, t + 0.2, values, np.full(len(values), valid)),),
                   np.full((len(values), task_columns), label))  # fmt: skip


def test_what_says_nothing_is_counted() -> None:
    noise = np.random.default_rng(0).standard_normal((4, 3))
    flat = noise * [1, 0, 1]
    train = [clip("a", flat, 1.0), clip("b", flat[:1].repeat(4, 0), 2.0), clip("c", flat, 3.0, valid=False)]
    val = [clip("d", noise, np.nan), clip("e", noise, 1.0)]
    found = cautions({"train": train, "val": val}, tasks.get("expr"))
    assert found[0].endswith("throughout: 1 (c)") and found[1] == "no labelled row: 1 (d)"
    assert found[2].endswith("a still: 1 (b)") and found[3] == "rows without a label: 4 of 20"
    assert (
        found[4].startswith("split train has no row of 5 classes (") and "split val has no row of 7 classes" in found[5]
    )
    assert found[6] == "1 of 3 feature dimensions are constant over the train clips"
    rich = [clip(str(n), noise + n, float(n)) for n in range(8)]
    assert cautions({"train": rich, "val": rich}, tasks.get("expr")) == []
