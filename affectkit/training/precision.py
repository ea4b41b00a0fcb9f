"""At what precision is trained.

float32 means float32: TF32 is off, and so is cuDNN's choice of algorithms by timing, which varies from run to run.
Lower precisions are those of torch's autocast: weights, optimiser and losses stay float32. float16 has a loss scaler.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from affectkit.config import Precision
from affectkit.errors import UsageError


def check(precision: Precision, device: str) -> None:
    """Raises UsageError for float16 where there is no GPU."""
    if precision == "float16" and not device.startswith("cuda"):
        raise UsageError("option precision=float16 trains on CUDA only: take bfloat16 or float32 here")


def scaler(precision: Precision) -> torch.amp.GradScaler | None:
    """What keeps small gradients of float16 from becoming 0."""
    return torch.amp.GradScaler("cuda") if precision == "float16" else None


@contextmanager
def exact(device: str) -> Iterator[None]:
    """No TF32, no autotuning; the process's own settings come back after."""
    if not device.startswith("cuda"):
        yield
        return
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def forward(precision: Precision, device: str) -> Any:
    """A context for forward passes."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=getattr(torch, precision))
