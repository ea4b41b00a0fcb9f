"""Choosing the device."""

from __future__ import annotations

import re

from affectkit.config import Numerics
from affectkit.errors import UsageError


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


def resolved(numerics: Numerics) -> Numerics:
    """The same choices with the device resolved."""
    return numerics.model_copy(update={"device": resolve(numerics.device)})
