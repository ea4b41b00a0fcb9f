"""Which of the processes that `torchrun` started this one is. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass

from affectkit.errors import AffectkitError, UsageError


class NoMemory(AffectkitError):
    """The device of this process cannot hold what it is to compute."""


@dataclass(frozen=True)
class Processes:
    """Number `rank` of `count`, and `local` among those on this machine."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @staticmethod
    def here() -> Processes:
        """By the environment that torchrun makes; one process alone without it. Raises UsageError."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        given = {name: os.environ[name] for name in names if name in os.environ}
        if "WORLD_SIZE" not in given:
            return Processes()
        try:
            rank, count, local = (int(given[name]) for name in names)
        except (KeyError, ValueError):
            raise UsageError(f"the environment is half that of torchrun: it says {given}, and needs {names}") from None
        return Processes(rank, count, local)

    def device(self, resolved: str) -> str:
        """The device of this process, where cpu, cuda or cuda:N was meant. Raises UsageError for one GPU by number."""
        if self.count == 1 or resolved == "cpu":
            return resolved
        if resolved != "cuda":
            raise UsageError(
                f"--device {resolved}: each process of torchrun takes a GPU of its own; give --device cuda"
            )
        return f"cuda:{self.local}"
