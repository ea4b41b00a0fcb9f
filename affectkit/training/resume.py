"""A training that outlives its process.

The state is one safetensors file that is replaced whole: weights of the last and of the best epoch, the optimiser's
moments, the generators, and the history as JSON in the file's metadata. It says which training it is of, by a digest of
the options, the weights before the first step, the windows and the labels; one of another training, or a damaged one,
is not used.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, ValidationError
from torch import Tensor, nn

from affectkit.config import Config
from affectkit.errors import Notice
from affectkit.plugins import Epoch
from affectkit.store.atomic import atomically

FILE = "training.safetensors"
SECONDS = 5.0  # between two writes, at least
SHARE = 0.02  # of the time that writing may take
REMEMBERED = 1 << 30
"""Bytes up to which an epoch that is not written is copied in memory, to be written on Ctrl-C."""
Arrays = dict[str, NDArray[Any]]


class StateWarning(Notice):
    """A state was found that cannot be gone on from."""


@dataclass(repr=False)
class Run:
    """A training between two epochs."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator
    device: str
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    scaler: torch.amp.GradScaler | None = None

    def remember(self) -> None:
        """Take the present weights for the best."""
        self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def settle(self) -> None:
        """Put the best weights into the network."""
        self.network.load_state_dict(self.best)
        self.network.eval()


class State:
    """The state of one training in a folder of its own."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.path, self.identity = folder / FILE, identity
        self._began = self._written = time.monotonic()
        self._pause = SECONDS
        self._unwritten: _Snapshot | None = None

    def restore(self, run: Run) -> None:
        """Bring a fresh run to where the state left it. Warns of a state that is of no use, and leaves the run."""
        if not self.path.is_file():
            return
        try:
            header, arrays = _read(self.path)
            if header.identity != self.identity:
                raise _Unfit("it is of another training")
            _apply(run, header, arrays)
        except _Unfit as why:
            warnings.warn(f"{self.path} is not gone on from: {why}; training starts anew", StateWarning, stacklevel=2)

    def keep(self, run: Run, last: bool = False) -> None:
        """Write the state if the last one is old enough; after the last epoch, if training took that long at all. What
        is not written is remembered for `flush`, unless it is large."""
        now = time.monotonic()
        due = now - (self._began if last else self._written) >= self._pause
        snapshot = _snapshot(run)
        small = sum(value.numel() * value.element_size() for value in snapshot.tensors.values()) <= REMEMBERED
        self._unwritten = snapshot.copied() if small and not due else snapshot if due else None
        if due:
            self.flush()
            self._pause = max(SECONDS, (self._written - now) / SHARE)

    def flush(self) -> None:
        """Write the last epoch that `keep` was given, where it has not been: on Ctrl-C."""
        if self._unwritten is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomically(self.path) as temporary:
            temporary.write_bytes(_encode(self._unwritten, self.identity))
        self._unwritten, self._written = None, time.monotonic()


def identify(parts: Iterable[Any]) -> str:
    """A digest of arrays, tensors and of what JSON can say."""
    total = blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype} {part.shape} ".encode())
            total.update(np.ascontiguousarray(part).data)
        else:
            total.update(json.dumps(part, sort_keys=True).encode())
    return total.hexdigest()


class _Unfit(Exception):
    """Why a state is of no use."""


class _Header(Config):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)  # a score can be NaN
    identity: str
    history: list[Epoch]
    rng: dict[str, Any]


@dataclass(frozen=True, repr=False)
class _Snapshot:
    """A run after an epoch: all of its tensors by name, and the rest."""

    tensors: dict[str, Tensor]
    history: list[Epoch]
    rng: dict[str, Any]

    def copied(self) -> _Snapshot:
        """In memory of its own; the best weights are never written to, and stay where they are."""
        copies = {name: v if name.startswith("best.") else v.detach().clone() for name, v in self.tensors.items()}
        return _Snapshot(copies, self.history, self.rng)


def _snapshot(run: Run) -> _Snapshot:
    tensors = {f"last.{name}": value for name, value in run.network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in run.best.items()}
    for number, slots in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": value for name, value in slots.items() if value is not None}
    tensors |= {f"generator.{name}": value for name, value in _generators(run.device).items()}
    tensors |= {f"scaler.{name}": value for name, value in _scaling(run.scaler).items()}
    return _Snapshot(tensors, list(run.history), dict(run.rng.bit_generator.state))


def _encode(snapshot: _Snapshot, identity: str) -> bytes:
    from safetensors.numpy import save

    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in snapshot.tensors.items()}
    history = [asdict(epoch) for epoch in snapshot.history]
    header = json.dumps({"identity": identity, "history": history, "rng": snapshot.rng})
    return bytes(save(arrays, metadata={"training": header, "digest": _digest(header, arrays)}))


def _read(path: Path) -> tuple[_Header, Arrays]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata["training"]
        if metadata["digest"] != _digest(text, arrays):
            raise _Unfit("it is damaged")
        return _Header.model_validate(json.loads(text)), arrays
    except OSError as error:
        raise _Unfit(f"it cannot be read ({error.strerror or error})") from None
    except (SafetensorError, ValidationError, KeyError, ValueError, TypeError, RecursionError):
        raise _Unfit("it is damaged") from None


def _digest(header: str, arrays: Arrays) -> str:
    return identify(part for name in sorted(arrays) for part in (header, name, arrays[name]))


def _apply(run: Run, header: _Header, arrays: Arrays) -> None:
    """All is looked at before anything is changed."""
    fresh = run.network.state_dict()
    last, best = (_like(fresh, _below(arrays, prefix)) for prefix in ("last.", "best."))
    moments = _moments(run.optimiser, _below(arrays, "optimiser."))
    generators = _like(_generators(run.device), _below(arrays, "generator."))
    scaling = _like(_scaling(run.scaler), _below(arrays, "scaler."))
    if not header.history or [epoch.epoch for epoch in header.history] != [*range(1, len(header.history) + 1)]:
        raise _Unfit("its history has gaps")
    try:
        np.random.default_rng(0).bit_generator.state = header.rng
        torch.Generator().set_state(generators["cpu"])
    except (RuntimeError, ValueError, TypeError, KeyError, OverflowError):
        raise _Unfit("its generators are not of this kind") from None
    run.rng.bit_generator.state = header.rng
    torch.set_rng_state(generators["cpu"])
    if "cuda" in generators:
        torch.cuda.set_rng_state(generators["cuda"], run.device)
    run.network.load_state_dict(last)
    run.optimiser.load_state_dict({**run.optimiser.state_dict(), "state": moments})
    if run.scaler is not None:
        run.scaler.load_state_dict(run.scaler.state_dict() | {name: value.item() for name, value in scaling.items()})
    run.history[:] = header.history
    run.best = {name: value.to(fresh[name].device) for name, value in best.items()}


def _generators(device: str) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _scaling(scaler: torch.amp.GradScaler | None) -> dict[str, Tensor]:
    """What a loss scaler keeps: its scale, and since how many steps."""
    kept = {} if scaler is None else scaler.state_dict()
    return {name: torch.tensor(kept[name]) for name in ("scale", "_growth_tracker") if name in kept}


def _below(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(values)
        for name, values in arrays.items()
        if name.startswith(prefix)
    }


def _like(expected: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    shapes = {name: (value.shape, value.dtype) for name, value in expected.items()}
    if shapes != {name: (value.shape, value.dtype) for name, value in tensors.items()}:
        raise _Unfit("its tensors are of another network")
    return tensors


def _moments(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """By number of the parameter: all that the optimiser keeps of it, in its shape; a count of steps has none."""
    shapes = [parameter.shape for group in optimiser.param_groups for parameter in group["params"]]
    names = {"momentum_buffer"} if isinstance(optimiser, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        shape = shapes[int(number)] if number.isdecimal() and int(number) < len(shapes) else None
        if value.shape != (() if name == "step" else shape) or value.dtype != torch.float32:
            raise _Unfit("its optimiser is of another network")
        moments.setdefault(int(number), {})[name] = value
    if any(slots.keys() != names for slots in moments.values()):
        raise _Unfit("its optimiser is another one")
    return moments
