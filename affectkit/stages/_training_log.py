"""Training curves for TensorBoard, a run a seed: loss, the validation score under its metric's name, learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from affectkit.errors import UsageError, require
from affectkit.plugins import Epoch, Monitor
from affectkit.tasks import Metric


def check(folder: Path | None) -> None:
    """Before any work: raises MissingExtra without the package, UsageError for what is no folder."""
    if folder is None:
        return
    require("tensorboard", "tensorboard", "tensorboard", "--tensorboard")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--tensorboard {folder} is not a folder")


@contextmanager
def curves(folder: Path | None, seed: int, metric: Metric) -> Iterator[Monitor]:
    """A monitor that writes to `folder`/seed_N; without a folder, one that does nothing."""
    if folder is None:
        yield lambda epoch: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / f"seed_{seed}")) as writer:

        def monitor(epoch: Epoch) -> None:
            found = {"loss": epoch.loss, metric: epoch.score, "learning_rate": epoch.learning_rate}
            for name, value in found.items():
                if value is not None:
                    writer.add_scalar(name, value, epoch.epoch)
            writer.flush()  # a killed run shows all of its epochs

        yield monitor
