"""Heads of several modalities, `attention` and `concat`: rows of other rates and lengths, some of them missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache as cached
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media_factory import make_flash_and_beep
from stage_calls import embed, extract_audio, extract_faces, predict, train
from stage_factory import clips_in, crop_folder, portrait

from affectkit import plugins, tasks
from affectkit.config import Numerics, Runtime, validate
from affectkit.errors import HostileFile, UsageError
from affectkit.learning.modalities import read_at, side_by_side
from affectkit.learning.normalise import Normaliser
from affectkit.metrics import ccc
from affectkit.nets.modalities import Gates, kept
from affectkit.plugins import Example
from affectkit.stages.audio import AudioConfig
from affectkit.stages.embed import EmbedConfig
from affectkit.stages.faces import FacesConfig
from affectkit.stages.replay import replay
from affectkit.stages.train_head import TrainConfig
from affectkit.store import Artifact, Cache, Features
from affectkit.tables.crop_times import CropTimes
from affectkit.tasks import Task
from affectkit.types import FeatureSequence

torch.set_num_threads(1)

VA, ERI = tasks.get("va"), tasks.get("eri")
HEADS = ("attention", "concat")
QUICK = (pytest.param("attention", marks=pytest.mark.slow), "concat")  # the one that is slower, in slow runs only
SMALL: dict[str, dict[str, Any]] = {
    "attention": {"width": 32, "heads": 2, "layers": 1},
    "concat": {"hidden": 16, "dropout": 0.1},
    "lstm": {"hidden": 16, "dropout": 0.1},
}
TRAINED: dict[str, Any] = {"epochs": 16, "learning_rate": 0.01, "modality_dropout": 0.2}
DIMS = (6, 4)
RUNTIME = Runtime(workers=1, progress=False)


def rows(start: Any, length: float, values: Any, valid: Any = None) -> FeatureSequence:
    start = np.asarray(start, float)
    there = np.ones(len(start), bool) if valid is None else np.asarray(valid, bool)
    return FeatureSequence(start, start + length, np.asarray(values, np.float32), there)


# ---- reading an input at the rows of another


def one_by_one(sequence: FeatureSequence, time: np.ndarray, max_gap: float) -> tuple[np.ndarray, np.ndarray]:
    """`read_at` as a plain loop over moments and rows."""
    found, there = np.zeros((len(time), sequence.dim)), np.zeros(len(time), bool)
    valid = [n for n in range(len(sequence)) if sequence.valid[n]]
    for at, t in enumerate(time):
        holding = [n for n in valid if sequence.start[n] - 1e-6 <= t <= sequence.end[n] + 1e-6]
        if holding:
            found[at], there[at] = np.mean([sequence.values[n].astype(float) for n in holding], axis=0), True
            continue
        before = max((n for n in valid if sequence.end[n] < t), key=lambda n: sequence.end[n], default=None)
        after = min((n for n in valid if sequence.start[n] > t), key=lambda n: sequence.start[n], default=None)
        if before is not None and t - sequence.end[before] > max_gap + 1e-6:
            before = None
        if after is not None and sequence.start[after] - t > max_gap + 1e-6:
            after = None
        if before is not None and after is not None:
            x = [float(sequence.middle[n]) for n in (before, after)]
            for d in range(sequence.dim):
                found[at, d] = np.interp(t, x, [sequence.values[n, d] for n in (before, after)])
        elif before is not None or after is not None:
            found[at] = sequence.values[before if after is None else after]
        there[at] = before is not None or after is not None
    return found, there


KINDS = {"faces": (0.2, 0.2), "speech": (4.0, 2.0), "frames": (0.025, 0.02), "sparse": (0.04, 0.5)}


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kept_rows", [1.0, 0.5, 0.05])
@pytest.mark.parametrize("max_gap", [0.0, 1.0])
def test_reading_equals_a_plain_loop(first: str, other: str, kept_rows: float, max_gap: float) -> None:
    rng = np.random.default_rng([len(first), len(other), int(kept_rows * 100)])
    starts = {kind: np.arange(0.0, 14, hop) for kind, (_, hop) in KINDS.items()}
    start = starts[other][rng.random(len(starts[other])) < 0.9]  # some rows are not there at all
    start = start[(start < 5) | (start > 9)]
    values = rng.normal(size=(len(start), 3))
    sequence = rows(start, KINDS[other][0], values, rng.random(len(start)) < kept_rows)
    time = starts[first] + KINDS[first][0] / 2
    found, there = read_at(sequence, time, max_gap)
    wanted, expected = one_by_one(sequence, time, max_gap)
    np.testing.assert_array_equal(there, expected)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_rows_of_any_length_and_order_are_read() -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 20, 40)
    sequence = FeatureSequence(
        start, start + rng.exponential(0.5, 40), rng.normal(size=(40, 2)).astype(np.float32), rng.random(40) < 0.7
    )
    time = np.sort(rng.uniform(-2, 23, 300))
    for ours, theirs in zip(read_at(sequence, time, 0.3), one_by_one(sequence, time, 0.3), strict=True):
        np.testing.assert_allclose(np.asarray(ours, float), theirs, atol=1e-5)


@pytest.mark.parametrize("valid", [np.zeros(0), np.zeros(5)])
def test_nothing_is_read_where_nothing_is(valid: np.ndarray) -> None:
    sequence = rows(np.arange(len(valid)), 1, np.zeros((len(valid), 3)), valid)
    found, there = read_at(sequence, np.arange(4.0), 10.0)
    assert found.shape == (4, 3) and not there.any() and not found.any()


def test_modalities_stand_side_by_side_with_flags() -> None:
    first = rows([0, 1, 2, 3], 1, [[1], [2], [np.nan], [np.nan]], [1, 1, 0, 0])
    other = rows([0, 0.5, 1, 1.5], 0.5, [[1, 10], [3, 30], [5, 50], [np.nan, 0]], [1, 1, 1, 0])
    joined = side_by_side(Example("x", (first, other)), (1, 2), max_gap=1.0)
    assert joined.values.tolist() == [[1, 2, 20, 1, 1], [2, 5, 50, 1, 1], [0, 5, 50, 0, 1], [0, 0, 0, 0, 0]]
    assert joined.valid.tolist() == [True, True, True, False]
    assert joined.start is first.start and joined.end is first.end


def test_an_input_with_the_same_rows_is_read_row_by_row() -> None:
    """Windows of 4 s every 2 s overlap: the mean of those that hold a middle would blur what has a row of its own."""
    start, values = np.arange(6) * 2.0, np.arange(6.0)[:, None]
    first, other = rows(start, 4, values), rows(start, 4, values, [1, 1, 1, 0, 1, 1])
    joined = side_by_side(Example("x", (first, other)), (1, 1), max_gap=1.0)
    assert joined.values[:, 1].tolist() == [0, 1, 2, 3, 4, 5]  # 3: the mean of 2 and 4, which hold it
    assert (joined.values[:, 2:] == 1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_a_valid_row_without_a_number_names_the_clip(bad: float, which: int) -> None:
    inputs = [rows([0, 1], 1, [[1], [2]]), rows([0, 1], 1, [[1], [2]])]
    inputs[which].values[1] = bad
    with pytest.raises(UsageError, match=rf"clip 'x' has NaN or infinity in a valid feature row of input {which + 1}"):
        side_by_side(Example("x", tuple(inputs)), (1, 1), 1.0)


@pytest.mark.parametrize("kind", ["standard", "min-max", "per-clip-standard", "per-clip-min-max", "none"])
def test_a_modality_is_scaled_by_the_rows_that_have_it(kind: Any) -> None:
    rng = np.random.default_rng(1)
    there = rng.random((50, 2)) < 0.6
    parts = [rng.normal(3, 2, size=(50, 2)), rng.normal(-5, 9, size=(50, 1))]
    values = np.concatenate([*(np.where(there[:, n, None], part, 0) for n, part in enumerate(parts)), there], axis=1)
    values = values.astype(np.float32)
    valid = there.any(axis=1)
    own = values.copy()
    Normaliser.fit(kind, [values[valid]], 5, (2, 1)).apply(own, np.asarray(valid))
    np.testing.assert_array_equal(own[:, 3:], there)
    for number, place in enumerate([slice(0, 2), slice(2, 3)]):
        shown, seen = own[:, place], values[there[:, number], place]
        assert not shown[~there[:, number]].any()
        scaled = {
            "none": seen,
            "standard": (seen - seen.mean(axis=0)) / seen.std(axis=0),
            "min-max": (seen - seen.min(axis=0)) / np.ptp(seen, axis=0),
        }[kind.removeprefix("per-clip-")]
        np.testing.assert_allclose(shown[there[:, number]], scaled, atol=1e-5)


# ---- the networks


def test_modality_dropout_never_takes_the_last_one() -> None:
    torch.manual_seed(0)
    present = torch.rand(20_000, 3) < 0.6
    keep = kept(present, 0.5)
    some = present.any(dim=1)
    assert (keep & present).any(dim=1)[some].all()
    both = present.sum(dim=1) == 2
    left = (keep & present)[both].sum(dim=1).float().mean()
    assert abs(left - (0.25 * 2 + 0.5 * 1 + 0.25 * 1)) < 0.03  # neither is dropped, one, both but for the better draw


def test_shut_gates_let_nothing_through() -> None:
    torch.manual_seed(0)
    gates, states = Gates(3, 4), [torch.randn(2, 5, 4) for _ in range(3)]
    there = torch.rand(2, 5, 3) < 0.5
    there[0, 0], there[0, 1] = torch.tensor([False, True, False]), False
    mixed = gates(states, there)
    torch.testing.assert_close(mixed[0, 0], states[1][0, 0])
    loud = [torch.where(there[..., n, None], state, 1e6) for n, state in enumerate(states)]
    some = there.any(dim=-1)
    torch.testing.assert_close(gates(loud, there)[some], mixed[some])
    assert torch.isfinite(mixed).all()


def network(name: str, task: Task, **options: Any) -> Any:
    plugin = plugins.get("heads", name)
    return plugin(validate(plugin.Options, SMALL[name] | options, "options"), task).fusion(DIMS, task.outputs)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("task", [VA, ERI], ids=["va", "eri"])
@pytest.mark.parametrize("both", [False, True])
def test_neither_padding_nor_what_stands_in_a_missing_row_matters(name: str, task: Task, both: bool) -> None:
    net = network(name, task, layers=2, **({"bidirectional": both} if name == "concat" else {})).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    lengths = torch.tensor([5, 9, 1, 7])
    mask = torch.arange(9) < lengths[:, None]
    x = torch.randn(4, 9, sum(DIMS) + 2)
    x[..., 10:] = (torch.rand(4, 9, 2) < 0.6).float()
    x[1, :, 11] = 0  # a modality that a window lacks
    x[3, 2] = 0  # a step with neither
    there = torch.repeat_interleave(x[..., 10:] > 0, torch.tensor(DIMS), dim=-1)
    clean = torch.cat([torch.where(there, x[..., :10], torch.zeros(())), x[..., 10:]], dim=-1)
    dirty = torch.cat([torch.where(there, x[..., :10], torch.full((), 40.0)), x[..., 10:]], dim=-1)
    dirty = torch.where(mask[..., None], dirty, torch.full((), 70.0))
    dirty = torch.cat([dirty, torch.full((4, 4, 12), -50.0)], dim=1)
    with torch.no_grad():
        alone = [net(clean[n : n + 1, :length], mask[n : n + 1, :length])[0] for n, length in enumerate(lengths)]
        together = net(dirty, torch.cat([mask, torch.zeros(4, 4, dtype=torch.bool)], dim=1))
    for n, scores in enumerate(alone):
        assert torch.isfinite(scores).all()
        torch.testing.assert_close(together[n, : len(scores)], scores, atol=2e-6, rtol=1e-5)


def test_attention_crosses_the_modalities() -> None:
    """At a step where only A is there, what B says at another step is heard; not where B is missing there too."""
    net = network("attention", VA).eval()
    mask, x = torch.ones(1, 6, dtype=torch.bool), torch.randn(1, 6, 12)
    x[..., 10:] = 1
    x[0, 2, 11] = x[0, 3, 11] = 0
    other = x.clone()
    with torch.no_grad():
        other[0, 3, 6:10] += 5  # missing
        assert torch.equal(net(x, mask), net(other, mask))
        other[0, 5, 6:10] += 5
        assert (net(x, mask)[0, 2] != net(other, mask)[0, 2]).all()


# ---- the heads on planted signals


def curve(time: np.ndarray, phase: np.ndarray, rate: np.ndarray) -> np.ndarray:
    return 0.8 * np.sin(time[:, None] * rate + phase)


def planted(
    count: int, seed: int, level: str = "time", noise: tuple[float, float] = (0.4, 0.4), shared: bool = False
) -> list[Example]:
    """Valence in A, at 5 fps, and arousal in B, at 12.5 a second and overlapping; or (shared) each in both."""
    rng = np.random.default_rng(seed)
    mixes = [np.random.default_rng(n).normal(size=(2, dim)) for n, dim in enumerate(DIMS)]
    found = []
    for number in range(count):
        phase, rate = rng.uniform(0, 6.28, 2), rng.uniform(0.6, 1.5, 2) * (level == "time")
        inputs = []
        for which, (hop, length) in enumerate([(0.2, 0.2), (0.08, 0.1)]):
            start = np.arange(0, 12 if level == "time" else 4, hop)
            hidden = curve(start + length / 2, phase, rate)
            if not shared:
                hidden[:, 1 - which] = 0
            values = hidden @ mixes[which] + rng.normal(size=(len(start), DIMS[which])) * noise[which]
            inputs.append(rows(start, length, values, rng.random(len(start)) < 0.95))
        labels = curve(inputs[0].middle, phase, rate)
        if level == "clip":
            labels = (labels[:1, [0, 1, 0, 1, 0, 1, 0]] + 1) / 2
        found.append(Example(f"{seed}-{number}", tuple(inputs), labels))
    return found


def without(example: Example, *which: int) -> Example:
    """The clip with modalities that have no valid row."""
    inputs = list(example.inputs)
    for number in which:
        inputs[number] = replace(inputs[number], valid=np.zeros(len(inputs[number]), bool))
    return replace(example, inputs=tuple(inputs))


def only(examples: Sequence[Example], which: int) -> list[Example]:
    return [replace(example, inputs=(example.inputs[which],)) for example in examples]


def make(name: str, task: Task = VA, **options: Any) -> Any:
    plugin = plugins.get("heads", name)
    known = {
        key: value for key, value in (TRAINED | SMALL[name] | options).items() if key in plugin.Options.model_fields
    }
    return plugin(validate(plugin.Options, known, "options"), task)


def fit(head: Any, train_on: Sequence[Example], val: Sequence[Example], seed: int = 0) -> Any:
    head.fit(train_on, val, seed=seed, device="cpu", monitor=lambda epoch: None)
    return head


def agreement(head: Any, examples: Sequence[Example]) -> np.ndarray:
    """CCC of each target."""
    truth = np.concatenate([example.labels for example in examples])
    found = np.concatenate(head.predict(examples, device="cpu"))
    known = np.isfinite(found).all(axis=1)
    return np.array([ccc(truth[known, k], found[known, k]) for k in range(truth.shape[1])])


@cached
def fitted(name: str) -> Any:
    return fit(make(name), planted(14, 1), planted(5, 2))


def row_by_row(train_on: Sequence[Example], examples: Sequence[Example]) -> np.ndarray:
    """CCC of each target by least squares on single aligned rows: what can be had without context."""
    (x, y), (other, truth) = (
        (
            np.concatenate([side_by_side(example, DIMS, 1.0).values for example in one]),
            np.concatenate([example.labels for example in one]),
        )
        for one in (train_on, examples)
    )
    found = other @ np.linalg.lstsq(x, y, rcond=None)[0]
    return np.array([ccc(truth[:, k], found[:, k]) for k in range(truth.shape[1])])


@pytest.mark.parametrize("name", HEADS)
def test_targets_in_different_modalities_are_learnt(name: str) -> None:
    found = agreement(fitted(name), planted(8, 3))
    assert (found > 0.85).all()
    assert (found > row_by_row(planted(14, 1), planted(8, 3)) + 0.02).all()


def test_one_modality_alone_does_not_know_the_other() -> None:
    """What the signals are planted for."""
    head = fit(make("lstm"), only(planted(14, 1), 0), only(planted(5, 2), 0))
    valence, arousal = agreement(head, only(planted(8, 3), 0))
    assert valence > 0.85 and arousal < 0.5


@pytest.mark.parametrize("name", HEADS)
def test_whole_clips_are_learnt(name: str) -> None:
    head = fit(make(name, ERI, epochs=16, batch_size=8), planted(40, 1, "clip"), planted(10, 2, "clip"))
    assert (agreement(head, planted(25, 3, "clip")) > 0.8).all()
    (found,) = head.predict([without(planted(1, 4, "clip")[0], 1)], device="cpu")
    assert found.shape == (1, 7) and np.isfinite(found).all()


@pytest.mark.parametrize("name", HEADS)
def test_a_clip_without_one_modality_is_predicted_from_the_other(name: str) -> None:
    test = planted(8, 3)
    for which in (0, 1):
        lacking = [without(example, which) for example in test]
        assert all(np.isfinite(scores).all() for scores in fitted(name).predict(lacking, device="cpu"))
        assert agreement(fitted(name), lacking)[1 - which] > 0.8


@pytest.mark.parametrize("name", QUICK)
def test_modality_dropout_teaches_to_do_without(name: str) -> None:
    """Both modalities know both targets, B better: without dropout A is hardly listened to."""
    sets = [planted(count, seed, noise=(1.0, 0.2), shared=True) for count, seed in ((14, 1), (5, 2), (8, 3))]
    lacking = [without(example, 1) for example in sets[2]]
    taught, untaught = (fit(make(name, modality_dropout=rate), sets[0], sets[1]) for rate in (0.4, 0.0))
    assert agreement(taught, lacking).mean() > agreement(untaught, lacking).mean() + 0.05
    assert agreement(taught, sets[2]).min() > 0.85


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("missing", ["hold", "interpolate", "zero", "skip"])
def test_rows_without_any_modality_follow_the_policy(name: str, missing: str) -> None:
    head = fit(make(name, missing=missing, epochs=1), planted(3, 1), planted(2, 2))
    example = planted(1, 3)[0]
    gap = [(one.middle > 4) & (one.middle < 8) for one in example.inputs]
    holed = replace(
        example,
        inputs=tuple(replace(one, valid=one.valid & ~hole) for one, hole in zip(example.inputs, gap, strict=True)),
    )
    blank, there = head.predict([without(example, 0, 1), holed], device="cpu")
    assert blank.shape == there.shape == (60, 2) and np.isnan(blank).all()
    far = (example.inputs[0].middle > 5.2) & (example.inputs[0].middle < 6.8)  # B is read up to 1 s from its rows
    assert np.isnan(there[far]).all() == (missing == "skip")
    assert np.isfinite(there[~gap[0]][example.inputs[0].valid[~gap[0]]]).all()


@pytest.mark.parametrize("name", HEADS)
def test_saved_heads_score_the_same(name: str, tmp_path: Path) -> None:
    head, test = fitted(name), [*planted(2, 3), without(planted(1, 4)[0], 0)]
    head.save(tmp_path)
    again = type(head).load(tmp_path, VA)
    assert again.fitted.inputs == head.fitted.inputs and again.fitted.inputs.dims == DIMS
    for one, other in zip(head.predict(test, device="cpu"), again.predict(test, device="cpu"), strict=True):
        assert one.tobytes() == other.tobytes()
    header = json.loads((tmp_path / "head.json").read_text())
    for wrong in ({"dims": [6, 5]}, {"dims": [5, 5]}, {"dims": [10]}, {"dims": [0, 10]}):
        (tmp_path / "head.json").write_text(json.dumps(header | wrong))
        with pytest.raises(HostileFile, match=r"head\.(json|safetensors)"):
            type(head).load(tmp_path, VA)


def test_a_head_of_one_input_refuses_dims(tmp_path: Path) -> None:
    head = fit(make("lstm", epochs=1), only(planted(3, 1), 0), only(planted(2, 2), 0))
    head.save(tmp_path)
    header = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(header | {"dims": [5], "count": 1}))
    with pytest.raises(HostileFile, match="modalities"):
        type(head).load(tmp_path, VA)
    del header["dims"]  # as heads were saved before there were modalities
    (tmp_path / "head.json").write_text(json.dumps(header))
    assert type(head).load(tmp_path, VA).fitted.inputs == head.fitted.inputs


@pytest.mark.parametrize("name", HEADS)
def test_the_same_seed_gives_the_same_scores(name: str) -> None:
    found = []
    for seed in (0, 0, 1):
        torch.rand(1)
        head = fit(make(name, epochs=2, modality_dropout=0.5), planted(4, 1), planted(2, 2), seed)
        found.append(np.concatenate(head.predict(planted(2, 3), device="cpu")).tobytes())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", HEADS)
def test_inputs_that_do_not_fit_are_one_clear_line(name: str) -> None:
    head, test = fitted(name), planted(1, 3)
    with pytest.raises(UsageError, match="takes 2 feature artifacts; clip '3-0' comes with 1"):
        head.predict(only(test, 0), device="cpu")
    swapped = replace(test[0], inputs=test[0].inputs[::-1])
    with pytest.raises(UsageError, match=r"clip '3-0' has 4 feature dimensions where 6 are expected \(input 1\)"):
        head.predict([swapped], device="cpu")
    with pytest.raises(UsageError, match="rows of other times"):
        fit(make(name, combine="concat", epochs=1), planted(3, 1), planted(2, 2))


def test_the_width_is_shared_by_the_heads() -> None:
    with pytest.raises(UsageError, match="width=10 cannot be shared by 4 attention heads: set width=8"):
        make("attention", width=10, heads=4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", HEADS)
def test_a_head_trained_on_the_gpu_agrees_on_the_cpu(name: str) -> None:
    head, test = make(name, epochs=2), [*planted(3, 3), without(planted(1, 4)[0], 0)]
    head.fit(planted(5, 1), planted(2, 2), seed=0, device="cuda", monitor=lambda epoch: None)
    for there, here in zip(head.predict(test, device="cuda"), head.predict(test, device="cpu"), strict=True):
        np.testing.assert_allclose(there, here, atol=2e-3)


# ---- through the stages


def write_labels(path: Path, curves: dict[str, np.ndarray], hop: float, splits: Sequence[str]) -> Path:
    lines = ["clip,start,end,split,valence,arousal"]
    for (clip, values), split in zip(curves.items(), splits, strict=True):
        lines += [f"{clip},{n * hop},{(n + 1) * hop},{split},{v:.4f},{a:.4f}" for n, (v, a) in enumerate(values)]
    path.write_text("\n".join(lines) + "\n")
    return path


def of_crops(cache: Cache, folder: Path, fps: int) -> Features:
    config = FacesConfig(fps="native", size=16, format="png")
    faces = extract_faces(cache, clips_in(folder), config, RUNTIME, times=CropTimes(source_fps=fps))
    done = embed(cache, Artifact(faces.path), EmbedConfig(backbone="mean-pixel"), Numerics(device="cpu"), RUNTIME)
    return Features(Artifact(done.path))


@pytest.mark.parametrize("name", QUICK)
def test_two_feature_artifacts_of_other_rates(cache: Cache, tmp_path: Path, name: str) -> None:
    """Two cameras: one sees valence at 5 fps, the other arousal at 8."""
    rng = np.random.default_rng(0)
    splits, curves = ["train"] * 6 + ["val"] * 2 + ["test"] * 2, {}
    for number in range(len(splits)):
        phase, rate = rng.uniform(0, 6.28, 2), rng.uniform(1, 3, 2)
        for place, fps in enumerate((5, 8)):
            seen = curve((np.arange(4 * fps) + 0.5) / fps, phase, rate)[:, place]
            pictures = rng.integers(60, 90, (4 * fps, 16, 16, 3))
            pictures[..., place] += (80 * seen).astype(int)[:, None, None]
            crop_folder(tmp_path / f"camera{fps}" / f"c{number}", list(np.clip(pictures + 50, 0, 255).astype(np.uint8)))
        curves[f"c{number}"] = curve((np.arange(20) + 0.5) / 5, phase, rate)
    labels = write_labels(tmp_path / "va.csv", curves, 0.2, splits)
    features = [of_crops(cache, tmp_path / f"camera{fps}", fps) for fps in (5, 8)]
    option = [f"{key}={value}" for key, value in (TRAINED | SMALL[name]).items()]
    config = TrainConfig(task="va", head=name, option=option)
    trained = train(cache, features, labels, config, RUNTIME, device="cpu")
    done = predict(cache, trained.artifact, features, RUNTIME, device="cpu")
    predicted = Artifact(done.path)
    assert np.array_equal(predicted.column("c9", "start"), features[0].sequence("c9").start)
    truth, found = (np.concatenate([read(c) for c in ("c8", "c9")]) for read in (
        lambda clip: curves[clip], lambda clip: np.asarray(predicted.column(clip, "scores"))
    ))  # fmt: skip
    assert min(ccc(truth[:, k], found[:, k]) for k in (0, 1)) > 0.7
    with pytest.raises(UsageError, match="takes 2 feature artifacts; 1 given"):
        predict(cache, trained.artifact, features[:1], RUNTIME, device="cpu")


@pytest.mark.slow
def test_faces_and_sound_of_new_media(cache: Cache, tmp_path: Path) -> None:
    """Media go through both recipes of the head; a cold cache gives the same scores."""
    face, curves = portrait(), {}
    (tmp_path / "clips").mkdir()
    for number in range(3):
        make_flash_and_beep(
            tmp_path / "clips" / f"m{number}.mp4", seconds=1.6, at=0.4 * number + 0.2, fps=10,
            pictures=((face * 0.5).astype(np.uint8), face),
        )  # fmt: skip
        curves[f"m{number}"] = np.sin(np.arange(16)[:, None] / 3 + [number, 2 * number]) * 0.5
    labels = write_labels(tmp_path / "va.csv", curves, 0.1, ["train", "train", "val"])
    clips, numerics = clips_in(tmp_path / "clips"), Numerics(device="cpu")
    faces = extract_faces(cache, clips, FacesConfig(detector="centerface", fps=10, size=32), RUNTIME)
    seen = embed(cache, Artifact(faces.path), EmbedConfig(backbone="mean-pixel"), numerics, RUNTIME)
    audio = extract_audio(cache, clips, AudioConfig(), RUNTIME)
    sound = EmbedConfig(backbone="log-mel", option=["pool=mean"], window=0.5, hop=0.25, min_window=0.1)
    heard = embed(cache, Artifact(audio.path), sound, numerics, RUNTIME)
    features = [Features(Artifact(one.path)) for one in (seen, heard)]
    config = TrainConfig(task="va", head="attention", option=["width=8", "heads=1", "layers=1", "epochs=2"])
    head = train(cache, features, labels, config, RUNTIME, device="cpu").artifact
    expected = Artifact(predict(cache, head, features, RUNTIME, device="cpu").path)
    elsewhere = Cache(tmp_path / "elsewhere")
    made = replay(elsewhere, head, clips, RUNTIME, device="cpu")
    assert (made.clips, made.failed) == (["m0", "m1", "m2"], [])
    found = Artifact(predict(elsewhere, head, made.features, RUNTIME, device="cpu", clips=made.clips).path)
    for clip in made.clips:
        scores = np.asarray(found.column(clip, "scores"))
        assert np.isfinite(scores).all() and len(scores) == len(features[0].sequence(clip))
        assert scores.tobytes() == np.asarray(expected.column(clip, "scores")).tobytes()
