"""Working ahead: the next batches are prepared in threads while the current one is used."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from affectkit.config import Runtime

Item = TypeVar("Item")
Made = TypeVar("Made")


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


def prefetched(items: Iterable[Item], depth: int = 8) -> Iterator[Item]:
    """The same items in order, made up to `depth` ahead in a background thread; its exception is raised here.

    >>> list(prefetched(range(3)))
    [0, 1, 2]
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put((kind, value), timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # handed to the consumer, which raises it
            put("error", error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
