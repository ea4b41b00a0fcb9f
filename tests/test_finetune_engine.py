"""The engine of fine-tuning: what a step, an epoch, a block and a state are."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from socket import socket
from typing import Any

import numpy as np
import pytest

from affectkit import metrics, tasks
from affectkit.errors import UsageError
from affectkit.plugins import Epoch, Interrupted

torch = pytest.importorskip("torch")
import tuning_nets  # noqa: E402
from torch.nn import functional  # noqa: E402
from tuning_nets import bits, blocks, network, options, trained, units, weights  # noqa: E402

from affectkit.learning import order  # noqa: E402
from affectkit.learning.order import epoch_order  # noqa: E402
from affectkit.learning.processes import NoMemory, Processes  # noqa: E402
from affectkit.training import blocks as block_rules  # noqa: E402
from affectkit.training import (  # noqa: E402
    engine,
    loop,
    resume,
)
from affectkit.training import precision as precision_module  # noqa: E402
from affectkit.training.engine import Part, row_means, seeded  # noqa: E402
from affectkit.training.parallel import alone, joined  # noqa: E402
from affectkit.training.tuning import Tuning  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_close(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    found, wanted = weights(one), weights(other)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=tolerance, atol=tolerance, msg=name)


# ---- a step


def plain(chosen: Any, task: Any, count: int, loss: Any) -> Any:
    """What training is, written down again: one loop, the optimiser's groups, clipping, a rate a step."""
    own = units(task, count, 1)
    with seeded(0, "cpu"):
        module = network(task.outputs)
    shares = [chosen.layer_decay ** (2 - n) for n in range(3)]
    groups = [{"params": block, "lr": 0.0} for block in blocks(module)]
    optimiser = torch.optim.AdamW(groups, lr=1.0, weight_decay=chosen.weight_decay)
    steps = count // chosen.batch_size
    total, best, kept = steps * chosen.epochs, -np.inf, None
    held = units(task, 40, 99)
    for epoch in range(1, chosen.epochs + 1):
        module.train()
        drawn = epoch_order(own, False, task, np.random.default_rng([0, epoch, 0, 0]))
        for n, which in enumerate(drawn.reshape(steps, -1)):
            done = (epoch - 1) * steps + n
            warmup = min(chosen.warmup_steps, total // 10)
            peak, low, high = chosen.learning_rate, chosen.learning_rate / 500, chosen.learning_rate / 50
            if done < warmup:
                rate = low + (peak - low) * done / warmup
            else:
                rate = high + (peak - high) * (1 + np.cos(np.pi * (done - warmup) / (total - warmup))) / 2
            for group, share in zip(optimiser.param_groups, shares, strict=True):
                group["lr"] = rate * share
            optimiser.zero_grad()
            loss(module(own.load(which, None)), torch.from_numpy(own.labels[which]).float()[:, None]).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), chosen.clip_norm)
            optimiser.step()
        module.eval()
        with torch.no_grad():
            found = module(held.load(np.arange(40), None))[:, 0].numpy()
        score = metrics.main(task, held.labels, metrics.probabilities(task, found))
        if score > best:
            best, kept = score, weights(module)
    module.load_state_dict(kept)
    return module


def test_training_is_what_a_plain_loop_does() -> None:
    chosen = options(epochs=6, layer_decay=0.5, warmup_steps=2, learning_rate=0.02, loss="mse")
    module, history = trained(chosen)
    wanted = plain(chosen, tasks.get("va"), 64, functional.mse_loss)
    assert_close(module, wanted)
    assert len(history) == 6 and history[-1].score > history[0].score


def test_classes_are_weighed_over_all_units() -> None:
    task = tasks.get("expr")
    chosen = options(learning_rate=0.02)
    counts = np.bincount(units(task, 64, 1).labels[:, 0].astype(int), minlength=8)
    inverse = np.where(counts > 0, 1 / np.maximum(counts, 1), 0)
    weight = torch.tensor(inverse / inverse.sum(), dtype=torch.float32)
    wanted = plain(chosen, task, 64, lambda x, y: functional.cross_entropy(x[:, 0], y[:, 0, 0].long(), weight=weight))
    assert_close(trained(chosen, ["expr"])[0], wanted)


LOSSES = [
    ("va", "ccc"),
    ("va", "rmse"),
    ("va", "log-cosh"),
    ("expr", "cross-entropy"),
    ("expr", "focal"),
    ("au", "bce"),
]


@pytest.mark.parametrize(("task", "loss"), LOSSES)
def test_accumulated_gradients_are_those_of_the_large_batch(task: str, loss: str) -> None:
    given = {"loss": loss, "learning_rate": 0.02, "optimiser": "sgd"}  # whose steps are as large as the gradients
    large = trained(options(batch_size=16, **given), [task])
    small = trained(options(batch_size=4, accumulate=4, **given), [task])
    assert_close(small[0], large[0])
    np.testing.assert_allclose([e.loss for e in small[1]], [e.loss for e in large[1]], rtol=1e-4)


@pytest.mark.parametrize("loss", ["ccc", "mse"])
def test_parts_that_run_twice_are_counted_and_drawn_once(loss: str) -> None:
    """CCC needs all scores first: neither batch norms nor dropout see that."""
    chosen = options(batch_size=4, accumulate=4, loss=loss, epochs=1)
    seen: list[Any] = []

    class Watched(torch.nn.Dropout):
        def forward(self, x: Any) -> Any:
            found = super().forward(x)
            if self.training:
                seen.append((found == 0).numpy().tobytes())
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn, "Dropout", Watched)
        module, _ = trained(chosen, norm=True, dropout=0.5)
    assert int(module[1][0].module.num_batches_tracked) == 16
    if loss == "mse":
        assert len(seen) == len(set(seen)) == 16
        return
    for step in range(4):
        masks = seen[step * 8 : step * 8 + 8]
        assert masks[:4] == masks[4:] and len(set(masks)) == 4


def test_labels_of_clips_are_held_against_the_mean_of_a_units_scores() -> None:
    task = tasks.get("eri")
    own = units(task, 20, 1, length=3)
    module = network(7)
    (objective,) = Tuning(
        module, blocks(module), [task], [own], own, options(), 0, alone("cpu"), 1, lambda epoch: None,
        lambda *told: None,
    ).objectives()  # fmt: skip
    found = torch.randn(4, 3, 7)
    which = np.array([3, 0, 9, 2])
    part = Part(which, which, None)
    torch.testing.assert_close(objective.answers(found, part)[:, 0], found.mean(dim=1))
    assert objective.truth(part).shape == (4, 1, 7)
    assert np.allclose(objective.truth(part)[:, 0].numpy(), own.labels[which])


def test_what_is_learnt_along_takes_turns() -> None:
    told: list[int] = []
    chosen = options(epochs=2, learning_rate=0.02)
    module, history = trained(chosen, ["va", "expr"], watch=lambda epoch, done, *rest: told.append(done))
    alone = trained(chosen, ["va"])[0]
    assert told == [1, 2, 3, 4] * 2  # 64 units of the first task make the epoch, 32 of the second are seen twice
    assert module[2][1].out_features == 10
    assert not torch.equal(module[0].weight, alone[0].weight)
    assert history[-1].score > 0


# ---- batches


def test_a_pass_has_batches_of_one_size_and_leaves_few_out() -> None:
    for count, size, parts, processes in [
        (64, 16, 1, 1),
        (63, 32, 1, 1),
        (601, 32, 2, 2),
        (5, 32, 1, 2),
        (33, 32, 1, 1),
    ]:
        cut = order.Cut.of(count, size, parts, processes)
        assert cut.size <= size and count - cut.units < cut.steps * parts * processes
        taken = cut.orders(np.random.default_rng(0).permutation(count))
        assert len(np.unique(taken)) == cut.units
    with pytest.raises(UsageError, match="3 training units cannot be shared by 4 batches a step"):
        order.Cut.of(3, 32, 4, 1)


def test_balanced_epochs_see_classes_equally_often() -> None:
    task = tasks.get("expr")
    own = units(task, 200, 1)
    cut = order.Cut.of(200, 20, 1, 1)
    drawn = order.passes(own, task, cut, True, cut.steps, [0, 1, 0])
    counts = np.bincount(own.labels[drawn.ravel(), 0].astype(int))
    assert np.ptp(counts[counts > 0]) <= 1


# ---- rows


def test_a_row_is_the_mean_of_the_scores_about_it() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(9, 4, 2)).astype(np.float32), rng.integers(-1, 6, (9, 4))
    found = row_means(torch.from_numpy(scores), targets, 7)
    for row in range(7):
        about = scores[targets == row]
        if len(about):
            np.testing.assert_allclose(found[row], about.mean(axis=0), rtol=1e-5, atol=1e-6)
        else:
            assert np.isnan(found[row]).all()


# ---- blocks


def test_blocks_open_one_by_one_and_frozen_statistics_stay() -> None:
    with seeded(0, "cpu"):
        before = weights(network(2, norm=True))
    changed, made = [], []

    def look(epoch: Epoch) -> None:
        now = {name for name, value in made[0].state_dict().items() if not torch.equal(value, before[name])}
        changed.append({int(name[0]) for name in now})

    def kept(*given: Any, **named: Any) -> Any:
        made.append(network(*given, **named))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning_nets, "network", kept)
        trained(options(epochs=6, unfreeze_epochs=2, learning_rate=0.02), monitor=look, norm=True)
    assert changed == [{2}, {2}, {1, 2}, {1, 2}, {0, 1, 2}, {0, 1, 2}]


def test_only_so_many_blocks_are_trained() -> None:
    with seeded(0, "cpu"):
        before = weights(network(2, norm=True))
    module, _ = trained(options(trainable_blocks=1), norm=True)
    same = {name for name, value in module.state_dict().items() if torch.equal(value, before[name])}
    assert same == {"0.weight", "0.bias", "1.3.idle"}


def test_shares_of_the_rate_fall_towards_the_input() -> None:
    assert block_rules.shares(blocks(network(2)), 0.85) == pytest.approx([0.85**2, 0.85, 1])


# ---- what cannot be


def test_a_rate_that_is_too_high_is_said() -> None:
    with pytest.raises(UsageError, match="training diverged: lower option learning_rate=10"):
        trained(options(learning_rate=10, loss="mse", clip_norm=0, epochs=200, optimiser="sgd"), count=64)


def test_a_batch_norm_takes_no_batch_of_one() -> None:
    for given in ({"batch_size": 1}, {"accumulate": 33}):
        with pytest.raises(UsageError, match="batches of one unit cannot be trained: this network has batch norms"):
            trained(options(**given), norm=True)
    trained(options(batch_size=1, epochs=1))


def test_a_device_that_is_too_small_is_said_and_the_state_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SECONDS", 0.0)

    def full(epoch: int, *told: Any) -> None:
        if epoch == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    with pytest.raises(NoMemory, match="memory of cpu does not hold option batch_size=16: lower it and raise"):
        trained(options(), state=tmp_path, watch=full)
    assert len(list(tmp_path.iterdir())) == 1 and not issubclass(NoMemory, UsageError)


def test_float16_is_for_cuda() -> None:
    with pytest.raises(UsageError, match="precision=float16 trains on CUDA only"):
        precision_module.check("float16", "cpu")
    precision_module.check("float16", "cuda:0")


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_steps_that_a_scaler_leaves_out_leave_no_trace(name: str) -> None:
    found = []
    for gradients in ([1.0], [np.inf, np.inf, 1.0]):
        weight = torch.nn.Parameter(torch.ones(8))
        stepper = loop.optimiser([weight], options(optimiser=name, weight_decay=0), scaled=True)
        scaler = torch.amp.GradScaler("cpu")
        for gradient in gradients:
            stepper.zero_grad()
            scaler.scale((weight * gradient).sum()).backward()
            scaler.unscale_(stepper)
            scaler.step(stepper)
            scaler.update()
            assert np.isfinite(gradient) or name != "sgd" or not stepper.state
        found.append(weight.detach())
    torch.testing.assert_close(found[1], found[0])


def test_bfloat16_learns_nearly_the_same() -> None:
    exact, rough = (
        trained(options(precision=one, epochs=10, learning_rate=0.02))[1] for one in ("float32", "bfloat16")
    )
    assert rough[-1].best == pytest.approx(exact[-1].best, abs=0.05)
    assert [e.loss for e in rough] != [e.loss for e in exact]


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_float16_with_its_scaler_learns_nearly_the_same(optimiser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, whose autocast and scaler are those of a GPU."""
    exact = trained(options(epochs=8, accumulate=2, optimiser=optimiser, learning_rate=0.03))[1]
    monkeypatch.setattr(precision_module, "scaler", lambda precision: torch.amp.GradScaler("cpu"))
    rough = trained(options(epochs=8, accumulate=2, optimiser=optimiser, learning_rate=0.03, precision="float16"))[1]
    assert rough[-1].best == pytest.approx(exact[-1].best, abs=0.02)
    assert [e.loss for e in rough] != [e.loss for e in exact]


def test_the_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Processes.here() == Processes(0, 1, 0)
    assert Processes.here().device("cuda:3") == "cuda:3"
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    here = Processes.here()
    assert (here.device("cuda"), here.device("cpu"), here.first) == ("cuda:1", "cpu", False)
    with pytest.raises(UsageError, match="takes a GPU of its own"):
        here.device("cuda:0")
    monkeypatch.delenv("RANK")
    with pytest.raises(UsageError, match="half that of torchrun"):
        Processes.here()


# ---- going on


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("given", [{}, {"accumulate": 2, "unfreeze_epochs": 1, "optimiser": "sgd", "schedule": "step"}])
def test_a_training_goes_on_where_it_was_killed(
    stop: int, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)
    chosen = options(epochs=5, augment=0.5, learning_rate=0.02, **given)
    names = ["va", "expr"]
    whole, history = trained(chosen, names, norm=True, dropout=0.3)

    def killed(epoch: Epoch) -> None:
        if epoch.epoch == stop:
            raise Killed

    with pytest.raises(Killed):
        trained(chosen, names, norm=True, dropout=0.3, state=tmp_path, monitor=killed)
    epochs: list[int] = []
    module, again = trained(
        chosen, names, norm=True, dropout=0.3, state=tmp_path, monitor=lambda epoch: epochs.append(epoch.epoch)
    )
    assert epochs == [*range(stop + 1, 6)]
    assert bits(module) == bits(whole) and again == history


def test_ctrl_c_leaves_the_best_so_far() -> None:
    chosen = options(epochs=9, learning_rate=0.02)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        trained(chosen, monitor=stop)
    assert [epoch.epoch for epoch in caught.value.history] == [1, 2, 3, 4]


def test_a_state_of_another_training_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    trained(options(), state=tmp_path)
    with pytest.warns(resume.StateWarning, match="of another training"):
        _, history = trained(options(learning_rate=0.02), state=tmp_path)
    assert len(history) == 3


# ---- several processes

CASES: list[tuple[list[str], dict[str, Any]]] = [
    (["va", "expr"], {"loss": "ccc", "learning_rate": 0.02}),
    (["va"], {"loss": "rmse", "accumulate": 2, "optimiser": "sgd", "unfreeze_epochs": 1}),
    (["expr"], {"accumulate": 2, "learning_rate": 0.02, "clip_norm": 0.1, "optimiser": "sgd"}),
    (["eri"], {"loss": "mse", "learning_rate": 0.02, "trainable_blocks": 0}),
]


def train_beside(rank: int, environment: dict[str, str], folder: Path) -> None:
    """What one of two processes does, each with half of every batch."""
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    with joined(Processes.here(), "cpu") as world:
        for n, (names, given) in enumerate(CASES):
            module, history = trained(options(**{**given, "batch_size": 8}), names, world=world, length=2)
            torch.save([weights(module), [(e.loss, e.score) for e in history]], folder / f"{n}-{rank}.pt")


def test_two_processes_train_as_one_with_batches_twice_as_large(tmp_path: Path) -> None:
    with socket() as port:
        port.bind(("127.0.0.1", 0))
        environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port.getsockname()[1])}
    context = multiprocessing.get_context("fork")  # quick: torch is here already, with one thread
    both = [context.Process(target=train_beside, args=(rank, environment, tmp_path)) for rank in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
        assert one.exitcode == 0
    for n, (names, given) in enumerate(CASES):
        module, history = trained(options(**given), names, length=2)
        for rank in (0, 1):
            found, told = torch.load(tmp_path / f"{n}-{rank}.pt", weights_only=True)
            for name, value in weights(module).items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=f"{n} {name}")
            np.testing.assert_allclose(told, [(e.loss, e.score) for e in history], rtol=1e-3, atol=1e-4)


# ---- on a GPU


@pytest.mark.gpu
def test_float16_scales_losses_and_goes_on_with_its_scale(tmp_path: Path) -> None:
    scaler = precision_module.scaler("float16")
    assert scaler is not None
    module = torch.nn.Linear(2, 1).cuda()
    run = resume.Run(
        module, torch.optim.AdamW(module.parameters(), fused=True), np.random.default_rng(0), "cuda", scaler=scaler
    )
    loss = scaler.scale(module(torch.ones(1, 2, device="cuda")).sum())
    loss.backward()
    scaler.step(run.optimiser)
    scaler.update(1024.0)
    run.remember()
    run.history.append(Epoch(1, 2, 0.1, 0.2, 0.2))
    state = resume.State(tmp_path, "x")
    state._pause = 0
    state.keep(run)
    fresh = torch.nn.Linear(2, 1).cuda()
    again = resume.Run(
        fresh, torch.optim.AdamW(fresh.parameters(), fused=True), np.random.default_rng(0), "cuda",
        scaler=precision_module.scaler("float16"),
    )  # fmt: skip
    resume.State(tmp_path, "x").restore(again)
    assert again.scaler is not None and again.scaler.get_scale() == 1024.0


@pytest.mark.gpu
def test_what_is_dropped_out_twice_is_the_same_on_a_gpu() -> None:
    recurrent = torch.nn.GRU(4, 8, 2, batch_first=True, dropout=0.5).cuda()
    x = torch.ones(3, 6, 4, device="cuda")
    for _ in range(3):
        with torch.no_grad(), engine.unnoticed(recurrent):
            looked = recurrent(x)[0]
        torch.testing.assert_close(recurrent(x)[0], looked)
