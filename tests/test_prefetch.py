"""Working ahead: the same items in the same order, boundedly many, errors where they belong, no threads left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from affectkit.config import Runtime
from affectkit.prefetch import ahead, prefetched, worker_count


def threads() -> int:
    return sum(thread.is_alive() for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def no_threads_are_left() -> Iterator[None]:
    before = threads()
    yield
    deadline = time.monotonic() + 5
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == before


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


class Counted:
    """0, 1, 2, ...: how many were taken, and whether the source was closed."""

    def __init__(self, total: int, error_at: int | None = None) -> None:
        self.total, self.error_at = total, error_at
        self.taken = 0
        self.closed = False

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.total):
                if number == self.error_at:
                    raise OSError("the disk is gone")
                self.taken += 1
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("total", [0, 1, 3, 100])
@pytest.mark.parametrize("depth", [1, 8])
def test_the_same_items_in_the_same_order(total: int, depth: int) -> None:
    assert list(prefetched(range(total), depth)) == list(range(total))
    assert list(ahead(range(total), str, depth)) == [(number, str(number)) for number in range(total)]


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_depth_items_wait(depth: int) -> None:
    source = Counted(100)
    items = prefetched(source, depth)
    assert next(items) == 0
    assert eventually(lambda: source.taken == depth + 2)  # one was given, `depth` wait, one is in the thread's hands
    time.sleep(0.05)
    assert source.taken == depth + 2
    items.close()

    made: list[int] = []
    pairs = ahead(Counted(100), made.append, depth)
    next(pairs)
    time.sleep(0.05)
    assert len(made) <= depth + 1
    pairs.close()


def test_items_that_wait_are_bounded_by_their_memory() -> None:
    source = Counted(100)
    items = prefetched(source, 8, nbytes=lambda number: 40, most_bytes=100)
    assert next(items) == 0
    assert eventually(lambda: source.taken == 3)  # one was given, two wait: a third would be too much
    time.sleep(0.05)
    assert source.taken == 3
    assert list(items) == list(range(1, 100))
    assert list(prefetched(range(5), nbytes=lambda number: 1000, most_bytes=100)) == list(range(5))


def test_an_error_of_the_source_comes_after_its_items() -> None:
    source = Counted(10, error_at=4)
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for item in prefetched(source):
            seen.append(item)
    assert seen == [0, 1, 2, 3]
    assert source.closed


def test_an_error_while_preparing_comes_at_its_item() -> None:
    seen = []
    with pytest.raises(ZeroDivisionError):
        for _, made in ahead([2, 1, 0, 5], lambda number: 2 // number):
            seen.append(made)
    assert seen == [1, 2]


def test_a_keyboard_interrupt_in_the_thread_reaches_the_consumer() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(prefetched(source()))


def test_a_consumer_that_stops_ends_the_source() -> None:
    source = Counted(1000)
    for item in prefetched(source, depth=2):
        if item == 3:
            break
    assert eventually(lambda: source.closed)
    assert source.taken < 10

    with pytest.raises(RuntimeError, match="enough"):
        for item in prefetched(Counted(1000), depth=2):
            if item == 3:
                raise RuntimeError("enough")


def test_items_are_made_while_the_consumer_works() -> None:
    here = threading.get_ident()
    makers = list(prefetched(threading.get_ident() for _ in range(3)))
    assert here not in makers
    prepared = [made for _, made in ahead(range(3), lambda _: threading.get_ident())]
    assert here not in prepared
    assert len(set(prepared)) <= 2  # its depth


def test_workers_as_asked_or_one_a_core() -> None:
    assert worker_count(Runtime(workers=3)) == 3
    assert worker_count(Runtime()) >= 1
