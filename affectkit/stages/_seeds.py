"""Training the heads of all seeds, one after another, so that whatever ends it costs little."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectkit.config import Config, Runtime
from affectkit.plugins import Epoch, Interrupted, Monitor
from affectkit.progress import display
from affectkit.stages import _reports, _smooth, _training_log
from affectkit.stages._reports import history_of
from affectkit.stages._resumable import Partly
from affectkit.stages._training_data import Data
from affectkit.stages._training_outcome import collapse, outcome
from affectkit.stages._unfinished import Unfinished
from affectkit.store.atomic import write_text
from affectkit.tasks import Task

if TYPE_CHECKING:
    from affectkit.stages.train import TrainConfig

HISTORY_FILE = "history.jsonl"
NOTICES_FILE = "notices.json"
REFITTED = "refitted"
"""Folder within a seed's, of the head that was fitted again on train and val clips."""


@dataclass(frozen=True, repr=False)
class Training:
    """What is trained on what, and how."""

    plugin: Any
    options: Config
    task: Task
    data: Data
    config: TrainConfig
    device: str
    runtime: Runtime
    state: Unfinished
    tensorboard: Path | None
    refit: bool = False

    def run(self, folder: Path) -> dict[str, Any]:
        """A folder `seed_N` for each seed, and the report on them.

        Raises `Partly` for Ctrl-C: then they are the seeds that are finished or, where none is, the first one's best.
        """
        scores: dict[int, float] = {}
        stopped: dict[str, int] = {}
        for seed in range(self.config.seed, self.config.seed + self.config.seeds):
            own = folder / f"seed_{seed}"
            try:
                if not self.state.take(own):
                    self._fit(seed, own)
                    self.state.keep(seed, own)
            except KeyboardInterrupt as stop:
                if scores:
                    shutil.rmtree(own, ignore_errors=True)
                    stopped = {"after_seeds": len(scores)}
                    break
                if not isinstance(stop, Interrupted):
                    raise
                stopped = {"after_epochs": len(stop.history)}
            scores[seed] = history_of(own / HISTORY_FILE)[-1].best
            if stopped:
                break
        report = self._report(scores, folder, bool(stopped))
        if stopped:
            raise Partly(report | {"stopped": stopped})
        return report

    def _fit(self, seed: int, folder: Path) -> None:
        """Train one seed and write its folder; on Ctrl-C, its best so far."""
        head = self.plugin(self.options, self.task)
        what, seeds = f"train-head {self.config.head}, seed {seed}", self.config.seeds
        if seeds > 1:
            what += f" ({seed - self.config.seed + 1} of {seeds})"
        with (
            _training_log.curves(self.tensorboard, seed, self.task.metric) as log,
            _bar(what, self.runtime) as show,
        ):

            def monitor(epoch: Epoch) -> None:
                log(epoch)
                show(epoch)

            try:
                history = head.fit(
                    self.data.train, self.data.val, seed=seed, device=self.device, monitor=monitor,
                    auxiliary=self.data.auxiliary, state=self.state.training(seed),
                )  # fmt: skip
            except Interrupted as stop:
                _write(folder, head, stop.history)
                raise
        _write(folder, head, history)
        if left_out := list(getattr(head, "notices", ())):
            write_text(folder / NOTICES_FILE, json.dumps(left_out))
        if self.refit:
            again = head.refitted([*self.data.train, *self.data.val], seed=seed, device=self.device)
            (folder / REFITTED).mkdir()
            again.save(folder / REFITTED)

    def _report(self, scores: dict[int, float], folder: Path, stopped: bool) -> dict[str, Any]:
        histories = {str(seed): history_of(folder / f"seed_{seed}" / HISTORY_FILE) for seed in scores}
        metric = self.task.metric
        training = {seed: outcome(history, metric, stopped) for seed, history in histories.items()}
        fallen = {seed: collapse(history, metric) for seed, history in histories.items()}
        several = len(scores) > 1
        report: dict[str, Any] = {
            "task": self.task.model_dump(mode="json"),
            "val_score": self._val_score(scores),
            "training": training,
            "refit": self.refit,
            "fitted_splits": ["train", "val"] if self.refit else ["train"],
            "clips": {"train": len(self.data.train), "val": len(self.data.val), "left_out": self.data.warnings},
            "cautions": [
                *self.data.warnings,
                *self.data.cautions,
                *_notices(folder / f"seed_{next(iter(scores))}"),
                *(f"seed {seed}: {line}" if several else line for seed, line in fallen.items() if line),
            ],
            "splits": self.data.splits,
        }
        if self.config.smooth != "none" and not self.data.val:
            report["smoothing"] = {"kind": self.config.smooth, "half_width": self.config.half_width, "val": {}}
        elif self.config.smooth != "none":
            bare = [replace(one, labels=None) for one in self.data.val]
            heads = [self.plugin.load(folder / f"seed_{seed}", self.task) for seed in scores]
            raw = [head.predict(bare, device=self.device) for head in heads]
            chosen = _smooth.choose(self.task, self.data.val, raw, self.config.smooth, self.config.half_width)
            report["smoothing"] = chosen
        return report

    def _val_score(self, scores: dict[int, float]) -> dict[str, Any]:
        """Over the seeds; of the heads that were fitted on train clips alone. None where there are no val clips."""
        if not self.data.val:
            return {"metric": self.task.metric, "mean": None, "deviation": None, "seeds": {}}
        values = np.array(list(scores.values()))
        about = {"mean": float(values.mean()), "deviation": float(values.std()), "seeds": scores}
        return {"metric": self.task.metric, **about}


def _write(folder: Path, head: Any, history: Sequence[Epoch]) -> None:
    folder.mkdir()
    head.save(folder)
    write_text(folder / HISTORY_FILE, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))


def _notices(folder: Path) -> list[str]:
    """What a seed's head left out of its training clips."""
    return _reports.lines_of(folder / NOTICES_FILE) if (folder / NOTICES_FILE).exists() else []


@contextmanager
def _bar(what: str, runtime: Runtime) -> Iterator[Monitor]:
    """A monitor that shows epochs, loss, scores and the time left if none is saved by stopping early."""
    with display(what, runtime.progress) as shown:
        shown.show(0.0, "epoch 1")

        def monitor(epoch: Epoch) -> None:
            scores = f"loss {epoch.loss:.4f}, val {epoch.score:.4f}, best {epoch.best:.4f}"
            shown.show(epoch.epoch / epoch.epochs, f"epoch {epoch.epoch} of {epoch.epochs}, {scores}")

        yield monitor
