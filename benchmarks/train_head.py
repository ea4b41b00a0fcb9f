"""Training a head: how much of an epoch is the network's own work, and putting batches together against a DataLoader.

The head is `transformer` with its defaults, SUN's version 3 (BatchNorm, 3 post-norm encoder layers of 8 heads, as wide
as the features), on synthetic features of many clips, in windows of 20 steps every 10. Three measurements:

- one epoch of `affectkit.training.engine`, with the time that goes into batches taken apart: the share of forward,
  backward and the optimiser's step;
- batches alone, shuffled, as tensors: windows gathered by index from one table, against a torch DataLoader whose items
  are windows sliced from an HDF5 file with a group a clip (opened once in each worker), with 0 and with 2 workers;
- with --device cuda: the epoch against the same steps fed by the better of those two DataLoaders.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from _report import Ratio, alternate, machine, options, seconds, show_value

# isort: split
import torch  # after _report, which says how idle threads wait

from affectkit import plugins, tasks
from affectkit.learning import windows as windows_module
from affectkit.learning.features import Table, labelled
from affectkit.plugins import Example
from affectkit.training import engine, loop, losses
from affectkit.training.engine import Part
from affectkit.training.parallel import alone
from affectkit.training.resume import Run
from affectkit.training.window_table import Batch, WindowObjective, WindowTable
from affectkit.types import FeatureSequence

FPS, WINDOW, STRIDE = 5.0, 20, 10
TASK = tasks.get("va")


def make_clip(length: int, dim: int, seed: int) -> Example:
    """A clip of random features and labels."""
    rng = np.random.default_rng(seed)
    start = np.arange(length) / FPS
    values = rng.standard_normal((length, dim), np.float32)
    sequence = FeatureSequence(start, start + 1 / FPS, values, np.ones(length, bool))
    return Example(f"clip{seed:06d}", (sequence,), rng.uniform(-1, 1, (length, len(TASK.targets))))


def write_groups(path: Path, clips: list[Example]) -> None:
    """The same clips as a group a clip."""
    with h5py.File(path, "w") as file:
        for clip in clips:
            file.create_dataset(f"{clip.clip}/values", data=clip.inputs[0].values)
            file.create_dataset(f"{clip.clip}/labels", data=np.asarray(clip.labels, np.float32))


class GroupWindows(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Window n of an HDF5 file with a group a clip."""

    def __init__(self, path: Path, names: list[str], windows: windows_module.Windows, offsets: np.ndarray) -> None:
        self.path, self.names, self.clip = path, names, windows.clip
        self.start = windows.rows[windows.offsets[:-1]] - offsets[windows.clip]
        self.file: h5py.File | None = None

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.file is None:
            self.file = h5py.File(self.path)
        group = self.file[self.names[self.clip[n]]]
        rows = slice(self.start[n], self.start[n] + WINDOW)
        return torch.from_numpy(group["values"][rows]), torch.from_numpy(group["labels"][rows])


def loader(data: GroupWindows, batch_size: int, workers: int, pin: bool = False) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(
        data, batch_size, shuffle=True, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0
    )


class Training:
    """A head in training, an epoch at a time."""

    def __init__(self, table: Table, windows: windows_module.Windows, batch_size: int, device: str) -> None:
        plugin = plugins.get("heads", "transformer")
        self.options = plugin.Options(batch_size=batch_size)
        head = plugin(self.options, TASK)
        torch.manual_seed(0)
        self.network = head.network(table.dim, TASK.outputs).to(device)
        self.data = WindowTable(table, windows, device)
        self.device, self.rng = device, np.random.default_rng(0)
        (goal,) = losses.goals(self.options, [TASK], [table.labels], device)
        self.objective = WindowObjective(goal, self.data, batch_size, self.rng)
        blocks = [list(self.network.parameters())]
        training = engine.Training(
            self.network, blocks, [self.objective], lambda: 0.0, self.objective.steps, self.options,
            lambda epoch: None, self.rng, alone(device), TASK.metric,
        )  # fmt: skip
        run = Run(self.network, loop.optimiser(blocks[0], self.options), self.rng, device)
        self.trainer = engine.Trainer(training, run)

    def batches(self) -> list[np.ndarray]:
        return windows_module.shuffled(self.data.windows.lengths, self.options.batch_size, self.rng)

    def epoch(self) -> None:
        """As `engine` trains it."""
        self.trainer.epoch()
        self.wait()

    def gather(self) -> None:
        """Its batches alone."""
        for which in self.batches():
            self.data.batch(which)
        self.wait()

    def epoch_of(self, batches: torch.utils.data.DataLoader) -> None:
        """The same steps, fed by a DataLoader."""
        stepper = self.trainer._opened(1)
        total = torch.zeros((), device=self.device)
        for values, labels in batches:
            x, truth = (tensor.to(self.device, non_blocking=True) for tensor in (values, labels))
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=self.device)
            which = np.arange(len(x))
            total += stepper.step(self.objective, [Part(which, which, Batch(x, mask, truth))])
        float(total)
        self.wait()

    def share(self) -> float:
        """Of one epoch's time, what does not go into batches."""
        taken, plain = 0.0, self.data.batch

        def timed(which: np.ndarray) -> Batch:
            nonlocal taken
            began = time.perf_counter()
            batch = plain(which)
            taken += time.perf_counter() - began
            return batch

        self.data.batch = timed  # type: ignore[method-assign]
        try:
            began = time.perf_counter()
            self.epoch()
            return 1 - taken / (time.perf_counter() - began)
        finally:
            del self.data.batch

    def wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def drain(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def check_equal(training: Training, data: GroupWindows) -> None:
    """Both sides give the same windows and labels."""
    for n in range(0, len(data), max(1, len(data) // 50)):
        ours, (values, labels) = training.data.batch(np.array([n])), data[n]
        torch.testing.assert_close(ours.x[0].cpu(), values, rtol=0, atol=0)
        torch.testing.assert_close(ours.labels[0].cpu(), labels, rtol=0, atol=0)


def main() -> None:
    parser = options(__doc__, quick={"rows": 20000, "rounds": 3}, smoke={"rows": 200, "dim": 16, "rounds": 1})
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=100, help="rows of a clip")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows = given.rows
    clips = [make_clip(given.length, given.dim, seed) for seed in range(rows // given.length)]
    table = labelled("train", clips, TASK, "hold")
    windows = windows_module.slide(table.offsets, WINDOW, STRIDE)
    training = Training(table, windows, given.batch_size, given.device)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "groups.h5"
        write_groups(path, clips)
        data = GroupWindows(path, [clip.clip for clip in clips], windows, table.offsets)
        check_equal(training, data)
        data.file = None  # so that no worker inherits an open file
        what = f"{rows:,} x {given.dim} features, {len(windows):,} windows of {WINDOW}, batches of {given.batch_size}"
        report_batches(what, training, data, given)
        shares = [training.share() for _ in range(given.rounds)]
        show_value(f"{what}: share of forward, backward and step in an epoch", shares, "", at_least=0.95)
        if given.device.startswith("cuda"):
            report_epochs(what, training, data, given)
    print(machine())


def report_batches(what: str, training: Training, data: GroupWindows, given: argparse.Namespace) -> None:
    alone, two = (loader(data, given.batch_size, workers) for workers in (0, 2))
    taken = alternate(
        given.rounds, gather=seconds(training.gather), alone=seconds(lambda: drain(alone)),
        two=seconds(lambda: drain(two)),
    )  # fmt: skip
    Ratio(taken["alone"], taken["gather"], "s", at_least=20).show(f"{what}; DataLoader, 0 workers / ours")
    Ratio(taken["two"], taken["gather"], "s", at_least=20).show("  DataLoader, 2 workers / ours")


def report_epochs(what: str, training: Training, data: GroupWindows, given: argparse.Namespace) -> None:
    loaders = {workers: loader(data, given.batch_size, workers, pin=True) for workers in (0, 2)}
    training.epoch()  # kernels are chosen
    taken = alternate(
        given.rounds, ours=seconds(training.epoch), alone=seconds(lambda: training.epoch_of(loaders[0])),
        two=seconds(lambda: training.epoch_of(loaders[2])),
    )  # fmt: skip
    better = min("alone", "two", key=lambda case: statistics.median(taken[case]))
    Ratio(taken[better], taken["ours"], "s", at_least=3).show(f"{what}: an epoch with a DataLoader / ours")


if __name__ == "__main__":
    main()
