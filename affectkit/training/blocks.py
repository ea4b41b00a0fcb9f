"""Which blocks of a network are trained, and at what share of the rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from affectkit.learning.options import TuningOptions

Blocks = Sequence[Sequence[nn.Parameter]]


def shares(blocks: Blocks, decay: float) -> list[float]:
    """The share of the rate for each block, from the input to the output: 1 for the last, the head.

    >>> shares([[], [], []], 0.5)
    [0.25, 0.5, 1.0]
    """
    return [decay ** (len(blocks) - 1 - number) for number in range(len(blocks))]


def trained(count: int, epoch: int, options: TuningOptions) -> int:
    """How many of `count` blocks, the last ones, are trained in an epoch (the first is 1). The head is always.

    >>> [trained(4, epoch, TuningOptions(unfreeze_epochs=2)) for epoch in range(1, 9)]
    [1, 1, 2, 2, 3, 3, 4, 4]
    >>> trained(4, 1, TuningOptions(trainable_blocks=0))
    1
    """
    most = count if options.trainable_blocks is None else min(count, 1 + options.trainable_blocks)
    return min(most, 1 + (epoch - 1) // options.unfreeze_epochs) if options.unfreeze_epochs else most


def open_last(module: nn.Module, blocks: Blocks, count: int) -> None:
    """Train the last `count` blocks and nothing else."""
    chosen = {id(parameter) for block in blocks[len(blocks) - count :] for parameter in block}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
        parameter.grad = None


def close_idle(module: nn.Module, scores: Tensor) -> None:
    """Do not train what the scores, which the module gave, do not depend on: several processes would wait for its
    gradient."""
    open_ones = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(scores.sum(), open_ones, allow_unused=True)
    for parameter, gradient in zip(open_ones, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def needs_others(module: nn.Module) -> bool:
    """Whether it cannot train on one unit alone: a batch norm over units has no deviation of one value."""
    return any(isinstance(part, nn.BatchNorm1d) for part in module.modules())


def train_mode(module: nn.Module) -> None:
    """Training mode, but for parts of which nothing is trained: their batch norms keep their statistics, and they
    drop nothing out."""
    module.train()
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()
