"""Random initialisation that is the same on every run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SEED = 0


@contextmanager
def seeded() -> Iterator[None]:
    """Draw from `SEED`, whatever the process drew before; torch's own generator is left as it was."""
    import torch

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(SEED)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
