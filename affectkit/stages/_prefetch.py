"""Working ahead of the device: the next batches are prepared while the current one runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from affectkit.config import Runtime

Item = TypeVar("Item")
Made = TypeVar("Made")


def worker_count(runtime: Runtime) -> int:
    """Decoding threads: as asked, else one per core."""
    return runtime.workers or len(os.sched_getaffinity(0))


def ahead(items: Iterable[Item], prepare: Callable[[Item], Made], depth: int = 2) -> Iterator[tuple[Item, Made]]:
    """Yields (item, prepare(item)) in order, preparing up to `depth` items ahead in one thread.

    >>> list(ahead([1, 2, 3], lambda n: n * n))
    [(1, 1), (2, 4), (3, 9)]
    """
    waiting: deque[tuple[Item, Future[Made]]] = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            for item in items:
                waiting.append((item, thread.submit(prepare, item)))
                if len(waiting) > depth:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
