"""The pyramid: which rows its scales read, the sum of their logits, and what only a long scale can tell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from affectkit import plugins, tasks
from affectkit.errors import UsageError
from affectkit.heads.pyramid import Options, Pyramid
from affectkit.learning.features import gather
from affectkit.learning.windows import WindowPlan
from affectkit.plugins import Auxiliary, Example
from affectkit.types import FeatureSequence

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

DIM = 8
WHOLE = WindowPlan(None, 1)
COMPOUND, VA = tasks.get("compound"), tasks.get("va")
SMALL = {"epochs": 2, "batch_size": 4, "heads": 2, "joint": 16, "steps": 5}


def quiet(epoch) -> None:
    pass


def sequence(values, valid=None, fps=5.0) -> FeatureSequence:
    start = np.arange(len(values)) / fps
    valid = np.ones(len(values), bool) if valid is None else np.asarray(valid, bool)
    return FeatureSequence(start, start + 1 / fps, np.asarray(values, np.float32), valid)


def clips(task, lengths, seed=0) -> list[Example]:
    rng = np.random.default_rng(seed)
    found = []
    for number, steps in enumerate(lengths):
        labels = rng.uniform(-1, 1, size=(steps, 2)) if task.level == "time" else np.array([[float(number % 7)]])
        found.append(Example(f"clip{number}", (sequence(rng.normal(size=(steps, DIM))),), labels))
    return found


def read(task, counts, plan=WHOLE, **options):
    """Each window of clips of so many rows: (clip, place, rows [S,L]), all counted within the clip."""
    head = Pyramid(Options(**options), task)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    windows = head.windows(offsets, plan)
    shape = (len(head.options.scales), head.options.steps)
    assert (windows.lengths == np.prod(shape)).all()
    rows = windows.rows.reshape(-1, *shape)
    first = offsets[windows.clip]
    return list(
        zip(
            windows.clip.tolist(),
            (windows.target - first).tolist(),
            (rows - first[:, None, None]).tolist(),
            strict=True,
        )
    )


# ---- which rows


def test_a_long_clip_has_several_windows_that_reach_both_ends():
    found = read(COMPOUND, [70])
    assert [place for _, place, _ in found] == [14, 28, 42, 55]
    whole = [2, 7, 11, 16, 21, 25, 30, 35, 39, 44, 49, 53, 58, 63, 67]  # middles of 15 parts of 70 / 15 rows
    for (_, _, rows), fine, coarse in zip(found, [0, 14, 28, 41], [0, 0, 13, 13], strict=True):
        assert rows[0] == list(range(fine, fine + 29, 2))
        assert rows[1] == list(range(coarse, coarse + 57, 4))
        assert rows[2] == whole


def test_short_clips_hold_their_last_row():
    (_, five, rows), (_, one, single) = read(COMPOUND, [5, 0, 1])
    assert (five, one) == (2, 0)
    assert rows[0] == [0, 2] + [4] * 13
    assert rows[1] == [0] + [4] * 14
    assert rows[2] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert single == [[0] * 15] * 3


def test_time_level_is_centred_on_every_row_and_holds_the_edges():
    found = read(VA, [40, 0, 3], WindowPlan(20, 10))
    assert [(clip, place) for clip, place, _ in found] == [(0, n) for n in range(40)] + [(2, n) for n in range(3)]
    whole = [1, 4, 6, 9, 12, 14, 17, 20, 22, 25, 28, 30, 33, 36, 38]
    assert found[20][2] == [list(range(6, 35, 2)), [0, 0, 0, *range(4, 37, 4), 39, 39, 39], whole]
    assert found[0][2] == [[0] * 7 + list(range(0, 15, 2)), [0] * 7 + list(range(0, 29, 4)), whole]
    assert found[39][2][0] == [*range(25, 40, 2)] + [39] * 7
    assert found[41][2][0] == [0] * 7 + [1] + [2] * 7


@pytest.mark.parametrize("task", [COMPOUND, VA], ids=["clip", "time"])
@pytest.mark.parametrize("strides", ["2,4,clip", "clip", "3", "1,2,4,8"])
@pytest.mark.parametrize("steps", [1, 4, 15])
def test_rows_are_those_of_a_plain_loop(task, strides, steps):
    counts = [1, 2, 9, 31, 64]
    for clip, place, rows in read(task, counts, strides=strides, steps=steps):
        count = counts[clip]
        for scale, got in zip(strides.split(","), rows, strict=True):
            expected = []
            for step in range(steps):
                if scale == "clip":
                    expected.append(int((step + 0.5) * count / steps))
                    continue
                stride = int(scale)
                start = place - stride * (steps // 2)
                if task.level == "clip":
                    start = max(0, min(start, count - 1 - stride * (steps - 1)))
                expected.append(max(0, min(count - 1, start + stride * step)))
            assert got == expected


@pytest.mark.parametrize("strides", ["2,4,clip", "3", "1,8"])
@pytest.mark.parametrize("steps", [1, 4, 15])
def test_the_finest_scale_leaves_no_gap_in_a_clip(strides, steps):
    for count in (1, 7, 30, 31, 100):
        finest = [rows[0] for _, _, rows in read(COMPOUND, [count], strides=strides, steps=steps)]
        assert min(map(min, finest)) == 0 and max(map(max, finest)) >= count - int(strides[0])
        for left, right in pairwise(finest):
            assert 0 < right[0] - left[0] <= max(1, (left[-1] - left[0] + 1) // 2)


def test_a_window_limits_the_clip_scale_and_a_stride_places_windows():
    found = read(COMPOUND, [50], WindowPlan(20, 7), strides="clip", steps=5, window=4, stride=1.4)
    assert [rows[0][0] for _, _, rows in found] == [2, 9, 16, 23, 30, 32]
    assert found[0][2] == [[2, 6, 10, 14, 18]]
    places = [place for _, place, _ in read(COMPOUND, [50], WindowPlan(100, 50), steps=5, window=20)]
    assert places == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 45]  # 4 rows: half of the 9 that stride 2 spans
    found = read(VA, [50], WindowPlan(20, 7), strides="clip", steps=5, window=4)
    assert found[25][2] == [[17, 21, 25, 29, 33]] and found[0][2] == [[2, 6, 10, 14, 18]]
    assert read(VA, [50], WindowPlan(20, 7), strides="clip", steps=5)[25][2] == [[5, 15, 25, 35, 45]]  # auto: the clip


def test_training_takes_the_first_labelled_row_of_every_stride():
    head = Pyramid(Options(), VA)
    windows = head.windows(np.array([0, 12, 12, 17]), WindowPlan(20, 5))
    assert head.training_windows(windows, WindowPlan(20, 5)).target.tolist() == [0, 5, 10, 12, 15]
    sparse = windows.where(np.isin(np.arange(17), [3, 4, 6, 14]))
    assert head.training_windows(sparse, WindowPlan(20, 5)).target.tolist() == [3, 6, 14]
    assert len(head.training_windows(windows.where(np.zeros(17, bool)), WindowPlan(20, 5))) == 0
    assert len(head.training_windows(windows, WindowPlan(None, 1))) == 17
    whole = Pyramid(Options(), COMPOUND)
    windows = whole.windows(np.array([0, 200]), WindowPlan(None, 1))
    assert whole.training_windows(windows, WindowPlan(None, 1)) is windows


def test_training_is_thinned_and_validation_is_not():
    from affectkit.training.fitting import window_table

    head = Pyramid(Options(), VA)
    examples = clips(VA, [12, 5])
    examples[0].labels[0] = np.nan
    table = gather(examples, VA, "hold")
    assert window_table(head, table, WindowPlan(20, 5), "cpu", training=True).windows.target.tolist() == [
        1,
        5,
        10,
        12,
        15,
    ]
    assert window_table(head, table, WindowPlan(20, 5), "cpu").windows.target.tolist() == list(range(1, 17))


def test_windows_are_indices_only():
    from affectkit.training.window_table import WindowTable

    head = Pyramid(Options(), VA)
    table = gather(clips(VA, [300]), VA, "hold")
    windows = head.windows(table.offsets, WindowPlan(20, 10))
    held = WindowTable(table, windows, "cpu")
    assert held.values.data_ptr() == table.values.ctypes.data and held.values.shape == (301, DIM)
    assert windows.rows.nbytes == 300 * 45 * 8
    batch = held.batch(np.array([7]))
    np.testing.assert_array_equal(batch.x[0].numpy(), table.values[windows.rows[7 * 45 : 8 * 45]])
    assert batch.mask.all()
    np.testing.assert_array_equal(batch.labels[0].numpy(), table.labels[7:8])


# ---- the network


@pytest.mark.parametrize("task", [COMPOUND, VA], ids=["clip", "time"])
@pytest.mark.parametrize("output_layer", ["shared", "per-scale"])
@pytest.mark.parametrize("strides", ["2,4,clip", "clip", "3"])
def test_logits_are_the_sum_over_the_scales(task, output_layer, strides):
    """Against the shared layers run on each sequence alone."""
    options = Options(strides=strides, steps=5, layers=2, heads=2, width=6, joint=10, output_layer=output_layer)
    net = Pyramid(options, task).network(DIM, 9).eval()
    parts = [torch.randn(4, 5, DIM) for _ in strides.split(",")]
    there = torch.ones(4, 5, dtype=torch.bool)
    assert len(net.outputs) == (1 if output_layer == "shared" else len(parts))
    with torch.no_grad():
        expected = torch.zeros(4, 9)
        for number, (scale, x) in enumerate(zip(strides.split(","), parts, strict=True)):
            states = x
            for block in net.encoder.blocks:
                states = block(states, there) if "Encoder" in type(block).__name__ else block(states)
            pooled = states[:, 2] if task.level == "time" and scale != "clip" else states.mean(dim=1)
            joint = torch.relu(pooled @ net.joint[0].weight.T + net.joint[0].bias)
            output = net.outputs[0 if output_layer == "shared" else number]
            expected += joint @ output.weight.T + output.bias
        found = net(torch.cat(parts, dim=1), torch.ones(4, 5 * len(parts), dtype=torch.bool))
    assert found.shape == (4, 1, 9)
    torch.testing.assert_close(found[:, 0], expected)


def test_the_encoder_is_shared():
    count = [
        sum(p.numel() for p in Pyramid(Options(strides=strides), COMPOUND).network(64, 7).parameters())
        for strides in ("2,4,clip", "1")
    ]
    assert count[0] == count[1] == (4 * 64 * 64 + 4 * 64) + 2 * (64 * 64 + 64) + 4 * 64 + (65 * 256) + (257 * 7)


def test_features_that_the_attention_heads_cannot_share():
    with pytest.raises(UsageError, match="100 features cannot be shared by 8 attention heads: set option width=96"):
        Pyramid(Options(), COMPOUND).network(100, 7)


# ---- the head


def trained(task, **options):
    head = Pyramid(Options(**SMALL | options), task)
    head.fit(clips(task, [30, 12, 50, 7], 1), clips(task, [20, 33], 2), seed=0, device="cpu", monitor=quiet)
    return head


@pytest.mark.parametrize("missing", ["hold", "skip"])
@pytest.mark.parametrize("task", [COMPOUND, VA], ids=["clip", "time"])
def test_predictions_are_those_of_windows_read_one_by_one(task, missing):
    head = trained(task, missing=missing)
    values = np.random.default_rng(3).normal(size=(41, DIM)).astype(np.float32)
    valid = np.arange(41) % 10 != 6
    (scores,) = head.predict([Example("x", (sequence(values, valid),))], device="cpu")
    ready = (values - head.fitted.normaliser.shift) / head.fitted.normaliser.scale
    rows = np.arange(41) if missing == "hold" else np.flatnonzero(valid)
    ready[~valid] = ready[np.flatnonzero(~valid) - 1]
    x = torch.tensor(ready[rows])
    windows = (
        read(task, [len(rows)], WindowPlan(20, 10), steps=5)
        if task.level == "time"
        else read(task, [len(rows)], steps=5)
    )
    with torch.no_grad():
        mask = torch.ones(1, 15, dtype=torch.bool)
        each = [head.fitted.network(x[np.ravel(read)][None], mask)[0, 0].numpy() for _, _, read in windows]
    if task.level == "clip":
        assert len(each) > 2 and scores.shape == (1, 7)
        np.testing.assert_allclose(scores[0], np.mean(each, axis=0), atol=1e-6)
    else:
        assert scores.shape == (41, 2)
        np.testing.assert_allclose(scores[rows], each, atol=1e-6)
        assert np.isnan(scores).all(axis=1).sum() == 41 - len(rows)


@pytest.mark.parametrize("task", [COMPOUND, VA], ids=["clip", "time"])
@pytest.mark.parametrize("strides", ["clip", "2"])
def test_one_scale_only(task, strides, tmp_path):
    head = trained(task, strides=strides)
    test = clips(task, [1, 4, 70], 3)
    found = head.predict(test, device="cpu")
    assert all(np.isfinite(scores).all() for scores in found)
    head.save(tmp_path)
    loaded = Pyramid.load(tmp_path, task)
    assert loaded.options.scales == (("clip",) if strides == "clip" else (2,))
    for ours, example in zip(found, test, strict=True):
        np.testing.assert_array_equal(loaded.predict([example], device="cpu")[0], ours)


@pytest.mark.parametrize(("task", "other"), [(COMPOUND, VA), (VA, COMPOUND)], ids=["clip", "time"])
def test_another_task_is_learnt_along(task, other):
    found = []
    for seed in (1, 2):
        extra = clips(other, [20, 9, 31], seed)
        head = Pyramid(Options(**SMALL), task)
        head.fit(
            clips(task, [30, 12, 50, 7], 1), clips(task, [20, 33], 2), seed=0, device="cpu", monitor=quiet,
            auxiliary=[Auxiliary(other, extra)],
        )  # fmt: skip
        assert [one.count for one in head.fitted.outputs] == [task.outputs, other.outputs]
        found.append(np.concatenate(head.predict(clips(task, [18], 3), device="cpu")))
        assert found[-1].shape == (1 if task.level == "clip" else 18, task.outputs)
    assert np.isfinite(found).all() and np.abs(found[0] - found[1]).max() > 1e-4  # the encoder is shared by the tasks


def swells(count, seed) -> list[Example]:
    """Clips of 20 to 29 s with a swell, 4 to 6 s of nothing, and a dip (class 1), or the dip first (class 0).

    Both show the same rows in another order, so that a mean cannot tell them; and no 3 s of them hold both.
    """
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(1, DIM))
    found = []
    for number in range(count):
        third, before, after = rng.integers(20, 30, size=3)
        swell = np.sin(np.pi * np.arange(third) / (third - 1)) * (1 if number % 2 else -1)
        curve = np.concatenate([np.zeros(before), swell, np.zeros(third), -swell, np.zeros(after)])
        values = curve[:, None] @ mix + rng.normal(size=(len(curve), DIM)) * 0.3
        found.append(Example(f"clip{number}", (sequence(values),), np.array([[float(number % 2)]])))
    return found


def accuracy(strides, **given) -> float:
    task = COMPOUND.model_copy(update={"targets": ("down-up", "up-down")})
    options = {"width": 16, "heads": 2, "joint": 32, "dropout": 0.1, "encoder_dropout": 0.0, "epochs": 20} | given
    head = Pyramid(Options(strides=strides, batch_size=8, learning_rate=3e-3, **options), task)
    head.fit(swells(40, 1), swells(12, 2), seed=0, device="cpu", monitor=quiet)
    test = swells(40, 3)
    right = [
        scores[0].argmax() == example.labels[0, 0]
        for scores, example in zip(head.predict(test, device="cpu"), test, strict=True)
    ]
    return float(np.mean(right))


def test_only_a_long_scale_tells_which_of_two_swells_came_first():
    assert accuracy("clip") > 0.9
    assert accuracy("2,4,clip", epochs=10) > 0.85
    assert accuracy("1", epochs=10, window=10, stride=3) < 0.7
    means = [np.stack([example.inputs[0].values.mean(axis=0) for example in swells(40, seed)]) for seed in (1, 3)]
    labels = np.arange(40) % 2
    centres = np.stack([means[0][labels == label].mean(axis=0) for label in (0, 1)])
    nearest = np.linalg.norm(means[1][:, None] - centres, axis=2).argmin(axis=1)
    assert np.mean(nearest == labels) < 0.7


# ---- options


def test_strides_from_the_command_line():
    def parse(*given):
        return plugins.parse_options(Pyramid, given, "pyramid")

    assert parse().scales == (2, 4, "clip")
    assert parse("strides=clip, 08").scales == ("clip", 8)
    assert parse("strides=3").scales == (3,)
    for wrong in ("", "0", "2,,4", "2,-1", "1.5", "whole", "clip,clip", "2,02", ",".join(map(str, range(1, 40)))):
        with pytest.raises(UsageError, match="options of pyramid: strides"):
            parse(f"strides={wrong}")


def test_the_preset_is_how_tlhn_was_trained():
    chosen = plugins.parse_options(Pyramid, ["preset=tlhn", "epochs=3"], "pyramid")
    assert (chosen.optimiser, chosen.learning_rate, chosen.weight_decay) == ("sgd", 5e-4, 1e-5)
    assert (chosen.schedule, chosen.step_epochs, chosen.step_factor) == ("step", 5, 0.9)
    assert (chosen.batch_size, chosen.dropout, chosen.joint, chosen.steps, chosen.epochs) == (90, 0.5, 256, 15, 3)
    assert Options.model_validate(chosen.model_dump(mode="json")) == chosen
    assert Options().optimiser == "adamw"
    history = Pyramid(chosen, COMPOUND).fit(
        clips(COMPOUND, [30, 12], 1), clips(COMPOUND, [20], 2), seed=0, device="cpu", monitor=quiet
    )
    assert len(history) == 3
