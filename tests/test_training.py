"""The training loop: optimisers and schedules against torch's own, and going on after a kill, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import child_environment
from test_heads import make, planted, quiet, sequence

from affectkit import metrics, tasks
from affectkit.learning.features import Table
from affectkit.learning.options import TrainingOptions
from affectkit.plugins import Epoch, Interrupted
from affectkit.store import atomic

torch = pytest.importorskip("torch")
from safetensors.numpy import load, save  # noqa: E402

from affectkit.learning import windows as windows_module  # noqa: E402
from affectkit.nets import layers  # noqa: E402
from affectkit.training import loop, losses, resume  # noqa: E402
from affectkit.training.engine import Training, train  # noqa: E402
from affectkit.training.parallel import alone  # noqa: E402
from affectkit.training.window_table import WindowObjective, WindowTable  # noqa: E402

EPOCHS = 6
SMALL = {"window": 2, "epochs": EPOCHS, "batch_size": 8, "hidden": 16, "learning_rate": 3e-3}


def history(scores, epochs=100):
    return [Epoch(n, epochs, 0.5, score, score) for n, score in enumerate(scores, 1)]


# ---- optimisers and schedules


def reference(name, parameters, options):
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]
    extra = {"momentum": 0.9} if name == "sgd" else {}
    return kind(parameters, options.learning_rate, weight_decay=options.weight_decay, foreach=False, **extra)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_an_optimiser_is_torchs(name):
    options = TrainingOptions(optimiser=name, learning_rate=0.05, weight_decay=0.1)
    nets = []
    for ours in (True, False):
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        stepper = loop.optimiser(net.parameters(), options) if ours else reference(name, net.parameters(), options)
        for x in torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(1)):
            stepper.zero_grad()
            net(x).square().mean().backward()
            stepper.step()
        nets.append(net)
    torch.testing.assert_close(nets[0].weight, nets[1].weight, rtol=1e-5, atol=1e-7)
    assert not torch.equal(nets[0].weight, torch.nn.Linear(3, 2).weight)


def torch_rates(scheduler, stepper, scores):
    found = []
    for score in scores:
        found.append(stepper.param_groups[0]["lr"])
        stepper.step()
        scheduler.step(*([score] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
    return found


@pytest.mark.parametrize("metric", ["ccc", "mae"])
@pytest.mark.parametrize("patience", [0, 2, 5])
def test_plateau_is_torchs(metric, patience):
    scores = np.random.default_rng(patience).normal(size=60).round(1)  # ties are not better
    options = TrainingOptions(schedule="plateau", plateau_patience=patience, learning_rate=0.1)
    stepper = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    mode = "min" if metric == "mae" else "max"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        stepper, mode, factor=0.5, patience=patience, threshold=0, eps=0
    )
    found = [loop.rates(history(scores[:n]), 4, metric, options) for n in range(60)]
    assert all(len(rates) == 4 and len(set(rates)) == 1 for rates in found)
    np.testing.assert_allclose([rates[0] for rates in found], torch_rates(scheduler, stepper, scores), rtol=1e-9)
    assert found[-1][0] < 0.1


def test_step_is_torchs():
    options = TrainingOptions(schedule="step", step_epochs=5, step_factor=0.9, learning_rate=5e-4)
    stepper = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 5e-4)
    expected = torch_rates(torch.optim.lr_scheduler.StepLR(stepper, 5, 0.9), stepper, np.zeros(50))
    found = [loop.rates(history(np.zeros(n)), 3, "uar", options)[2] for n in range(50)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_constant_is_constant_and_cosine_goes_on_from_epoch_to_epoch():
    options = TrainingOptions(schedule="constant", learning_rate=0.3)
    assert loop.rates(history(np.zeros(7)), 2, "ccc", options) == [0.3, 0.3]
    options = TrainingOptions(learning_rate=1, warmup_steps=5, epochs=10)
    found = [rate for n in range(10) for rate in loop.rates(history(np.zeros(n)), 6, "ccc", options)]
    assert found == [loop.cosine(step, 60, options) for step in range(60)]
    assert len(set(found)) == 60


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "step", "constant"])
def test_the_optimiser_gets_the_rate_that_is_reported(schedule, monkeypatch):
    seen = []
    step = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    task = tasks.get("va")
    options = {"schedule": schedule, "plateau_patience": 0, "step_epochs": 2}
    told = make("lstm", task, **SMALL | options).fit(
        planted(task, 8, 1), planted(task, 3, 2), seed=0, device="cpu", monitor=quiet
    )
    each = len(seen) // EPOCHS
    assert [epoch.learning_rate for epoch in told] == seen[each - 1 :: each]
    assert len(set(seen)) > 1 or schedule in ("constant", "plateau")
    assert all(epoch.seconds > 0 for epoch in told)


# ---- batches


def one_by_one(table, windows, which):
    """What a batch holds, window by window."""
    longest = max(windows.offsets[w + 1] - windows.offsets[w] for w in which)
    x = np.zeros((len(which), longest, table.values.shape[1]), np.float32)
    mask = np.zeros((len(which), longest), bool)
    labels = np.full((len(which), longest, table.labels.shape[1]), np.nan, np.float32)
    for b, w in enumerate(which):
        for t, row in enumerate(windows.rows[windows.offsets[w] : windows.offsets[w + 1]]):
            x[b, t], mask[b, t], labels[b, t] = table.values[row], row != len(table.values) - 1, table.labels[row]
    if windows.target is not None:
        labels = table.labels[windows.target[which]][:, None]
    return x, mask, labels


def a_table():
    values = np.random.default_rng(0).normal(size=(31, 3)).astype(np.float32)
    values[-1] = 0
    labels = np.random.default_rng(1).normal(size=(31, 2)).astype(np.float32)
    labels[-1] = np.nan
    lengths = np.array([12, 3, 0, 9, 6])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Table(values, np.ones(30, bool), np.arange(30.0), np.arange(30), offsets, labels, "time")


def windows_of(kind, table):
    slid = windows_module.slide(table.offsets, 4, 2)
    rows = slid.rows.copy()
    if kind == "with padding inside":
        rows[2] = 30
    if kind == "ending in padding":
        rows[-4:] = [27, 28, 29, 30]
    if kind == "every other row":
        return windows_module.Windows(np.zeros(3, int), np.array([0, 2, 4, 1, 3, 5, 6, 8, 10]), np.array([0, 3, 6, 9]))
    target = rows[slid.offsets[:-1]] if kind == "about a row" else None
    return windows_module.Windows(slid.clip, rows, slid.offsets, target)


@pytest.mark.parametrize("kind", ["slid", "about a row", "with padding inside", "ending in padding", "every other row"])
def test_a_batch_is_its_windows(kind):
    table = a_table()
    windows = windows_of(kind, table)
    data = WindowTable(table, windows, "cpu")
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, len(windows)):
        for _ in range(20):
            which = rng.permutation(len(windows))[:size]
            batch, (x, mask, labels) = data.batch(which), one_by_one(table, windows, which)
            np.testing.assert_array_equal(batch.x.numpy(), x)
            np.testing.assert_array_equal(batch.mask.numpy(), mask)
            np.testing.assert_array_equal(batch.labels.numpy(), labels)


def test_a_batch_at_clip_level_has_the_clips_labels():
    table = replace(a_table(), labels=np.random.default_rng(2).normal(size=(5, 2)).astype(np.float32), level="clip")
    windows = windows_module.slide(table.offsets, 4, 2)
    data = WindowTable(table, windows, "cpu")
    for which in (np.array([0, 1, 2]), np.arange(len(windows))):
        np.testing.assert_array_equal(data.batch(which).labels.numpy(), table.labels[windows.clip[which]][:, None])


# ---- going on after a kill


@pytest.fixture(autouse=True)
def _every_epoch_is_kept(monkeypatch):
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)
    monkeypatch.setattr(atomic, "fsync", lambda path: None)  # no power is lost here, and it takes long


class Killed(Exception):
    """Stands for whatever ends a process."""


def fit(name, state, seed=1, stop_after=None, task=None, error=Killed, train=None, val=None, **options):
    """(head, history, epochs reported); None for a history where it was killed."""
    task = task or tasks.get("va")
    head, seen = make(name, task, **SMALL | options), []

    def monitor(epoch):
        seen.append(epoch.epoch)
        if epoch.epoch == stop_after:
            raise error

    train, val = train or planted(task, 8, 1), val or planted(task, 3, 2)
    try:
        told = head.fit(train, val, seed=seed, device="cpu", monitor=monitor, state=state)
    except error:
        return head, None, seen
    return head, told, seen


def weights(head):
    return {name: value.numpy() for name, value in head.fitted.network.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {}),
        ("transformer", {"dropout": 0.3, "layers": 1}),
        ("lstm", {"optimiser": "adam", "schedule": "plateau", "plateau_patience": 0, "layers": 2}),
        ("lstm", {"optimiser": "sgd", "schedule": "step", "step_epochs": 2, "learning_rate": 0.05}),
    ],
)
def test_a_resumed_fit_is_the_uninterrupted_one(name, options, tmp_path):
    whole, expected, _ = fit(name, None, **options)
    for stop in (1, 3, EPOCHS):
        folder = tmp_path / str(stop)
        _, nothing, _ = fit(name, folder, stop_after=stop, **options)
        assert nothing is None
        assert [path.name for path in folder.iterdir()] == [resume.FILE]
        again, told, seen = fit(name, folder, **options)
        assert seen == [*range(stop + 1, EPOCHS + 1)]
        assert told == expected
        assert_same(weights(again), weights(whole))


def test_a_fit_killed_twice_and_stopped_early_is_the_same(tmp_path):
    options = {"patience": 2, "epochs": 40, "learning_rate": 0.05, "optimiser": "sgd", "schedule": "constant"}
    whole, expected, _ = fit("lstm", None, **options)
    assert 4 < len(expected) < 40
    fit("lstm", tmp_path, stop_after=2, **options)
    fit("lstm", tmp_path, stop_after=len(expected) - 1, **options)
    again, told, seen = fit("lstm", tmp_path, **options)
    assert (told, seen) == (expected, [len(expected)])
    assert_same(weights(again), weights(whole))


def doubled(clips, seed):
    """Clips with a second input before their own, of which less can be learnt."""
    rng = np.random.default_rng(seed)
    noise = [sequence(one.inputs[0].values * 0.2 + rng.normal(size=one.inputs[0].values.shape)) for one in clips]
    return [replace(one, inputs=(other, *one.inputs)) for one, other in zip(clips, noise, strict=True)]


def test_a_sweep_over_inputs_goes_on_with_the_input_it_was_at(tmp_path):
    task = tasks.get("va")
    data = {"train": doubled(planted(task, 8, 1), 1), "val": doubled(planted(task, 3, 2), 2), "combine": "sweep"}
    whole, expected, seen = fit("lstm", None, **data)
    each = [*range(1, EPOCHS + 1)]
    assert seen == each * 2
    head, told = make("lstm", task, **SMALL | {"combine": "sweep"}), []

    def killed_in_the_second(epoch):
        told.append(epoch.epoch)
        if len(told) == EPOCHS + 2:
            raise Killed

    with pytest.raises(Killed):
        head.fit(
            data["train"], data["val"], seed=1, device="cpu", monitor=killed_in_the_second, state=tmp_path
        )  # fmt: skip
    assert told == [*each, 1, 2]
    again, found, seen = fit("lstm", tmp_path, **data)
    assert (seen, found) == ([*range(3, EPOCHS + 1)], expected)
    assert again.fitted.inputs == whole.fitted.inputs
    assert_same(weights(again), weights(whole))


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_heads import planted, make
from test_training import SMALL
from affectkit import tasks
from affectkit.training import resume
resume.SECONDS = 0.0
resume.SHARE = 1e9
task = tasks.get("va")
make("lstm", task, **SMALL | {"epochs": 60}).fit(
    planted(task, 8, 1), planted(task, 3, 2), seed=1, device="cpu", state=Path(sys.argv[1]),
    monitor=lambda epoch: print(epoch.epoch, flush=True),
)
print("done", flush=True)
"""


def test_a_fit_killed_by_sigkill_goes_on(tmp_path):
    whole, expected, _ = fit("lstm", None, epochs=60)
    state, place = tmp_path / "state", str(Path(__file__).parent)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(state), place],
        stdout=subprocess.PIPE, text=True, env=child_environment(tmp_path),
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "25":
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    again, told, seen = fit("lstm", state, epochs=60)
    assert seen[0] > 25 and seen == [*range(seen[0], 61)]
    assert told == expected
    assert_same(weights(again), weights(whole))


@pytest.fixture
def killed(tmp_path):
    """The state of a fit that was killed after epoch 3."""
    fit("lstm", tmp_path / "state", stop_after=3)
    return tmp_path / "state" / resume.FILE


def flipped(data):
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.parametrize(
    "spoil", [flipped, lambda data: data[:-5], lambda data: b"", lambda data: data[:50], lambda data: b"\x80\x04N."]
)
def test_a_damaged_state_is_said_and_not_used(spoil, killed):
    killed.write_bytes(spoil(killed.read_bytes()))
    with pytest.warns(resume.StateWarning, match="it is damaged; training starts anew"):
        again, told, seen = fit("lstm", killed.parent)
    whole, expected, _ = fit("lstm", None)
    assert (seen, told) == ([*range(1, EPOCHS + 1)], expected)
    assert_same(weights(again), weights(whole))


def other_labels():
    train = planted(tasks.get("va"), 8, 1)
    return [replace(train[0], labels=train[0].labels * 0.5), *train[1:]]


def other_features():
    train = planted(tasks.get("va"), 8, 1)
    train[0].inputs[0].values[0] += 1
    return train


@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"epochs": EPOCHS + 1}, {"hidden": 8}, {"optimiser": "sgd"}, {"train": other_labels()},
     {"train": other_features()}],
)  # fmt: skip
def test_the_state_of_another_training_is_said_and_not_used(other, killed):
    with pytest.warns(resume.StateWarning, match="it is of another training; training starts anew"):
        again, told, seen = fit("lstm", killed.parent, **other)
    whole, expected, _ = fit("lstm", None, **other)
    assert (seen[0], told) == (1, expected)
    assert_same(weights(again), weights(whole))


def forge(path, change):
    """The state with its tensors changed, and a digest that fits."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        text = file.metadata()["training"]
    arrays = load(path.read_bytes())
    changed = change(arrays, text)
    text = changed if isinstance(changed, str) else text
    path.write_bytes(save(arrays, metadata={"training": text, "digest": resume._digest(text, arrays)}))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda arrays, text: arrays.pop("last.network.blocks.0.weight"), "its tensors are of another"),
        (lambda arrays, text: arrays.pop("optimiser.0.exp_avg_sq"), "its optimiser is another one"),
        (lambda arrays, text: arrays.update({"optimiser.x.step": np.zeros(3, np.float32)}), "its optimiser is of"),
        (
            lambda arrays, text: arrays.update({"optimiser.99.step": np.zeros((), np.float32)}),
            "its optimiser is another",
        ),
        (lambda arrays, text: arrays.update({"best.more": np.zeros(2, np.float32)}), "its tensors are of another"),
        (lambda arrays, text: arrays.update({"optimiser.0.exp_avg": np.zeros(3, np.float32)}), "its optimiser is of"),
        (lambda arrays, text: arrays.update({"optimiser.99.exp_avg": np.zeros(3, np.float32)}), "its optimiser is of"),
        (lambda arrays, text: arrays.update({"generator.cpu": arrays["generator.cpu"][:9]}), "its tensors are of"),
        (lambda arrays, text: text.replace("PCG64", "MT19937"), "its generators are not"),
        (lambda arrays, text: text.replace('"epoch": 2', '"epoch": 5'), "its history has gaps"),
        (lambda arrays, text: text.replace('"epoch": 2', '"epoch": "x"'), "it is damaged"),
    ],
)
def test_a_forged_state_is_said_and_leaves_the_run_alone(change, why, killed):
    forge(killed, change)
    with pytest.warns(resume.StateWarning, match=why):
        again, found, seen = fit("lstm", killed.parent)
    whole, expected, _ = fit("lstm", None)
    assert (seen[0], found) == (1, expected)
    assert_same(weights(again), weights(whole))


def test_a_state_is_written_only_when_training_takes_long(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "SECONDS", 60.0)
    fit("lstm", tmp_path / "state")
    assert not (tmp_path / "state").exists()


# ---- Ctrl-C


def optimise(scores, monitor=quiet, **options):
    """The weight after each epoch, and the network at the end, of a training with these validation scores."""
    values = np.random.default_rng(0).normal(size=(9, 1)).astype(np.float32)
    labels = values * 3
    table = Table(
        values=values, valid=np.ones(8, bool), time=np.arange(8.0), kept=np.arange(8), offsets=np.array([0, 8]),
        labels=labels, level="time",
    )  # fmt: skip
    data = WindowTable(table, windows_module.slide(table.offsets, 4, 2), "cpu")
    network = layers.Stack(torch.nn.Linear(1, 1))
    each, given = [], iter(scores)

    def score():
        each.append(network.blocks[0].weight.item())
        return next(given)

    try:
        objective = WindowObjective(
            losses.Goal(tasks.get("va"), losses.mse, None, slice(None)), data, 2, np.random.default_rng(0)
        )
        train(Training(
            network, [list(network.parameters())], [objective], score, objective.steps,
            TrainingOptions(batch_size=2, **options), monitor, objective.rng, alone("cpu"), "ccc",
        ))  # fmt: skip
    except KeyboardInterrupt as error:
        return each, network.blocks[0].weight.item(), error
    return each, network.blocks[0].weight.item(), None


def test_ctrl_c_leaves_the_best_weights_in_the_network():
    def stop(epoch):
        if epoch.epoch == 4:
            raise KeyboardInterrupt

    each, left, error = optimise([0.1, 0.5, 0.3, 0.2], monitor=stop)
    assert isinstance(error, Interrupted) and len(set(each)) == 4
    assert left == each[1]


def test_ctrl_c_before_the_first_epoch_leaves_nothing_to_keep():
    def interrupted():
        raise KeyboardInterrupt
        yield

    _, _, error = optimise(interrupted())
    assert isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted)


@pytest.mark.parametrize("stop", [3, EPOCHS + 2])
def test_a_head_that_was_interrupted_can_be_saved_and_predicts(stop, tmp_path):
    task, seen = tasks.get("va"), []
    train, val = doubled(planted(task, 8, 1), 1), doubled(planted(task, 3, 2), 2)
    head = make("lstm", task, **SMALL | {"combine": "sweep"})

    def monitor(epoch):
        seen.append(epoch)
        if len(seen) == stop:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        head.fit(train, val, seed=1, device="cpu", monitor=monitor)
    assert caught.value.history == seen[: min(stop, EPOCHS)]  # of the input that is finished, where one is
    head.save(tmp_path)
    loaded = type(head).load(tmp_path, task)
    scores = np.concatenate(loaded.predict(val, device="cpu"))
    truth = np.concatenate([one.labels for one in val])
    assert metrics.main(task, truth, scores) == pytest.approx(caught.value.history[-1].best, abs=1e-5)
