"""Working ahead: the next batches are prepared in threads while the current one is used."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from affectkit.config import Runtime

Item = TypeVar("Item")
Made = TypeVar("Made")

MOST_BYTES = 100 << 20
"""Memory that the items which wait may take: 16 pictures of full HD, four of 4K, one of 8192 x 4096."""


def worker_count(runtime: Runtime) -> int:
    """Decoding threads: as asked, else one per core."""
    return runtime.workers or len(os.sched_getaffinity(0))


def ahead(items: Iterable[Item], prepare: Callable[[Item], Made], depth: int = 2) -> Generator[tuple[Item, Made]]:
    """Yields (item, prepare(item)) in order, preparing up to `depth` items ahead, each in a thread of its own.

    >>> list(ahead([1, 2, 3], lambda n: n * n))
    [(1, 1), (2, 4), (3, 9)]
    """
    waiting: deque[tuple[Item, Future[Made]]] = deque()
    with ThreadPoolExecutor(depth) as threads:
        try:
            for item in items:
                waiting.append((item, threads.submit(prepare, item)))
                if len(waiting) > depth:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def prefetched(
    items: Iterable[Item], depth: int = 8, *, nbytes: Callable[[Item], int] | None = None, most_bytes: int = MOST_BYTES
) -> Generator[Item]:
    """The same items in order, made up to `depth` ahead in a background thread; its exception is raised here.

    `nbytes`: memory that an item takes; the next one is begun only while those that wait, with one more as large as the
    last, take `most_bytes` or less, or none waits.

    >>> list(prefetched(range(3)))
    [0, 1, 2]
    """
    line: _Line[Item] = _Line(depth, most_bytes)

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not line.put(item, nbytes(item) if nbytes else 0):
                    return
        except BaseException as raised:  # handed to the consumer, which raises it
            error = raised
        line.end(error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        yield from line
    finally:
        line.stop()
        thread.join()


class _Line(Generic[Item]):
    """Items that wait between two threads, bounded by their number and their memory."""

    def __init__(self, depth: int, most_bytes: int) -> None:
        self._depth, self._most_bytes = depth, most_bytes
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: Item, size: int) -> bool:
        """Adds an item when there is room for it, and returns when there is room for another; whether one is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._waiting) < self._depth)
            self._waiting.append((item, size))
            self._bytes += size
            self._changed.notify_all()
            del item
            self._changed.wait_for(
                lambda: self._stopped or not self._waiting or self._bytes + size <= self._most_bytes
            )  # fmt: skip
            return not self._stopped

    def end(self, error: BaseException | None) -> None:
        """There are no more items; `error` is raised after them."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """No more items are wanted."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                while not (self._waiting or self._ended):
                    self._changed.wait(0.5)  # so that signals are heard meanwhile
                if not self._waiting:
                    break
                item, size = self._waiting.popleft()
                self._bytes -= size
                self._changed.notify_all()
            yield item
            del item
        if self._error is not None:
            raise self._error
