"""The processes that train together: one alone, or several that `torchrun` started, a GPU (or a share of the CPU) each.

Every process reads its share of each batch; gradients, loss and batch norms (on CUDA) are those of the whole batch.
Process 0 is the one that writes and speaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist

from affectkit.learning.processes import Processes

PATIENCE = timedelta(hours=2)  # that a process waits for the others, which may be writing
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes, seen from the one of number `rank`, which computes on `device`."""

    rank: int
    size: int
    device: str

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def gathered(self, share: Tensor) -> Tensor:
        """The shares [B,...] of all processes, of one shape, one after another [P*B,...]."""
        if self.size == 1:
            return share
        parts = [torch.empty_like(share) for _ in range(self.size)]
        dist.all_gather(parts, share.contiguous())
        return torch.cat(parts)

    def summed(self, share: Tensor) -> Tensor:
        """The sum over the processes, in all of them."""
        if self.size > 1:
            dist.all_reduce(share)
        return share

    def told(self, value: T) -> T:
        """What process 0 says, a number or a small object."""
        if self.size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, device=torch.device(self.device))
        return told[0]

    def agree(self, value: Any) -> bool:
        """Whether all processes have the same."""
        if self.size == 1:
            return True
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return all(each == value for each in values)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module with gradients that are averaged over the processes; parameters become those of process 0.

        To be wrapped again where other parameters are trained than before. Every one of them must get a gradient.
        """
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        index = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return DistributedDataParallel(module, index)

    def joined_norms(self, module: nn.Module) -> nn.Module:
        """Batch norms over the whole batch, on CUDA; elsewhere torch has none, and each process has its own."""
        if self.size == 1 or not self.device.startswith("cuda"):
            return module
        from timm.layers import convert_sync_batchnorm

        return cast(nn.Module, convert_sync_batchnorm(module))

    def share_buffers(self, module: nn.Module) -> None:
        """Give all processes the buffers (running statistics) of process 0."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)


@contextmanager
def joined(processes: Processes, device: str) -> Iterator[World]:
    """The world of this process, which the others join; `device` is its own."""
    if processes.count == 1:
        yield World(0, 1, device)
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    yield World(processes.rank, processes.count, device)
    # Where something failed, the others cannot be waited for: torchrun ends them.
    dist.barrier()
    dist.destroy_process_group()


def alone(device: str) -> World:
    """A process by itself."""
    return World(0, 1, device)
