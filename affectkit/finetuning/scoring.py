"""What a network says of units, row by row. Imports torch: import this module inside functions only."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affectkit.finetuning import arithmetic
from affectkit.finetuning.loading import batches
from affectkit.finetuning.parallel import World
from affectkit.networks._options import TuningOptions
from affectkit.plugins import Units
from affectkit.types import Floats

Indices = NDArray[np.int64]


def row_scores(
    network: nn.Module, units: Units, which: Indices, outputs: int, options: TuningOptions, world: World, workers: int
) -> Floats:
    """Raw scores [R,outputs] of the rows of the label table that the chosen units are about, NaN for the others: the
    mean of a row's scores, taken on the CPU in the order of the units.

    Each process scores its share of the units. The network is left in eval mode.
    """
    found = world.gathered(_share(network, units, which, outputs, options, world, workers)).cpu()
    return row_means(found[: len(which)], units.targets[which], len(units.labels))


def row_means(scores: Tensor, targets: Indices, rows: int) -> Floats:
    """The mean [R,K] of the scores [U,L,K] that are about each row; targets [U,L], -1 for none.

    >>> row_means(torch.tensor([[[1.0], [2.0]], [[4.0], [8.0]]]), np.array([[0, 1], [1, -1]]), 3).ravel()
    array([ 1.,  3., nan], dtype=float32)
    """
    there = torch.from_numpy(targets >= 0)
    about = torch.from_numpy(targets)[there]
    summed = torch.zeros(rows, scores.shape[-1]).index_add_(0, about, scores[there])
    count = torch.zeros(rows).index_add_(0, about, torch.ones(len(about)))
    return np.asarray((summed / count[:, None]).numpy())  # 0 / 0 is NaN


@torch.inference_mode()
def _share(
    network: nn.Module, units: Units, which: Indices, outputs: int, options: TuningOptions, world: World, workers: int
) -> Tensor:
    """Scores [U/P,L,outputs] of this process's share, the last of which are of units that stand in for none."""
    network.eval()
    each = -(-len(which) // world.size)
    own = np.resize(which, each * world.size)[world.rank * each : (world.rank + 1) * each]
    parts = []
    for _, batch in batches(units, own, options.batch_size, seed=(), augmented=False, workers=workers):
        with arithmetic.forward(options.precision, world.device):
            parts.append(network(batch.to(world.device, non_blocking=True))[..., :outputs].float())
    return torch.cat(parts)
