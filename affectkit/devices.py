"""Choosing the device."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from affectkit.config import Numerics
from affectkit.errors import UsageError

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """Torch computes on so many threads within it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def keep_memory() -> None:
    """Have glibc keep freed memory instead of giving it back to the kernel at once.

    A network frees and takes tens of megabytes in every layer. Given back, they are zeroed page by page again for the
    next batch, which costs more than the arithmetic (docs/benchmarks.md). Elsewhere than on glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_ARENA_MAX, 2)  # what one thread frees another can take: kept memory stops growing
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def resolve(device: str) -> str:
    """cpu, cuda or cuda:N for what the user typed; auto is CUDA where torch sees one. Raises UsageError."""
    if device == "cpu":
        return device
    if device != "auto" and not re.fullmatch(r"cuda(:\d+)?", device):
        raise UsageError(f"unknown device '{device}' (accepted: auto, cpu, cuda, cuda:N)")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    if int(device.partition(":")[2] or 0) >= count:
        raise UsageError(f"--device {device}: torch {torch.__version__} sees {count} CUDA devices here")
    return device


def resolved(numerics: Numerics, batch_size: int) -> Numerics:
    """The same choices with the device resolved, for a network that is about to run batch after batch; `batch_size` is
    taken where none was given."""
    keep_memory()
    given = {"device": resolve(numerics.device), "batch_size": numerics.batch_size or batch_size}
    return numerics.model_copy(update=given)
