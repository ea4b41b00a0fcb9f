"""Cached crops as one table, batches of units made in threads, and the order of an epoch."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_inputs import make_crops, make_sound, pictures, png
from numpy.typing import NDArray
from PIL import Image

from affectkit import tasks
from affectkit.errors import UsageError
from affectkit.learning.crop_table import BrokenRow, CropTable
from affectkit.learning.order import batches, epoch_order, labelled
from affectkit.nets.augment import augment
from affectkit.plugins import Units
from affectkit.store import Cache
from affectkit.tables.pooling import align
from affectkit.types import ClipLabels

SIDE = 24
FACES = pictures(9, SIDE)
CLIPS = {"a": [FACES[0], None, FACES[1], FACES[2]], "b/x": [FACES[3]], "c": [], "d": [None, *FACES[4:8]]}
ORDER = ["d", "a", "c", "b/x"]
ROWS = [None, *FACES[4:8], FACES[0], None, FACES[1], FACES[2], FACES[3]]
EXPR, VA, DFEW = tasks.get("expr"), tasks.get("va"), tasks.get("dfew")


@pytest.fixture
def table(cache: Cache) -> CropTable:
    return CropTable(make_crops(cache, CLIPS, SIDE, segments=2), ORDER)


def planar(picture: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    return np.zeros((3, SIDE, SIDE), np.uint8) if picture is None else picture.transpose(2, 0, 1)


def test_rows_of_all_clips_in_the_order_asked_for(table: CropTable) -> None:
    assert table.clips == tuple(ORDER) and len(table) == 10 and table.side == SIDE
    assert table.offsets.tolist() == [0, 5, 9, 9, 10] and table.offsets.dtype == np.int64
    np.testing.assert_allclose(table.start, np.concatenate([np.arange(5), np.arange(4), [0]]) / 5)
    np.testing.assert_allclose(table.end - table.start, 0.2)
    assert table.valid.tolist() == [picture is not None for picture in ROWS]
    assert repr(table) == "CropTable(10 rows of 4 clips)"


def test_images_are_those_of_their_rows(table: CropTable) -> None:
    rows = np.array([[9, -1, 0], [4, 4, 6], [7, 5, 8]])
    images = table.load(rows)
    assert images.dtype == torch.uint8 and images.shape == (3, 3, 3, SIDE, SIDE) and images.is_contiguous()
    expected = [[planar(ROWS[row] if row >= 0 else None) for row in unit] for unit in rows.tolist()]
    np.testing.assert_array_equal(images.numpy(), np.array(expected))
    assert table.load(np.zeros((0, 3), int)).shape == (0, 3, 3, SIDE, SIDE)


def test_no_clips_are_no_rows(cache: Cache) -> None:
    empty = CropTable(make_crops(cache, CLIPS, SIDE), [])
    assert len(empty) == 0 and empty.start.shape == empty.valid.shape == (0,)
    assert empty.labels(None, EXPR, "midpoint").shape == (0, 1)


def test_other_artifacts_and_clips_are_refused(cache: Cache) -> None:
    sound = make_sound(cache, {"a": np.zeros(10, np.float32)})
    with pytest.raises(UsageError, match="holds sound, made by extract audio; needed are face crops"):
        CropTable(sound, ["a"])
    with pytest.raises(UsageError, match="holds no clip 'z'"):
        CropTable(make_crops(cache, CLIPS, SIDE), ["a", "z"])


def test_jpeg_is_what_pillow_decodes(cache: Cache) -> None:
    file = BytesIO()
    Image.fromarray(FACES[0]).save(file, "JPEG", quality=90)
    table = CropTable(make_crops(cache, {"a": [file.getvalue()]}, SIDE), ["a"])
    np.testing.assert_array_equal(table.load(np.array([[0]]))[0, 0].permute(1, 2, 0), np.asarray(Image.open(file)))


def frame_labels(values: list[float], fps: float = 30) -> ClipLabels:
    start = np.arange(len(values)) / fps
    return ClipLabels(start, start + 1 / fps, np.array(values)[:, None])


def test_labels_at_the_times_of_the_rows(table: CropTable) -> None:
    known = {
        "d": frame_labels([0, 1, 2, 3, 4, np.nan] * 4),
        "b/x": frame_labels([5] * 6),
        "elsewhere": frame_labels([7] * 6),
    }
    for pooling in ("midpoint", "mode"):
        found = table.labels(known, EXPR, pooling)
        assert found.shape == (10, 1)
        np.testing.assert_array_equal(found[:5], align(known["d"], table.start[:5], table.end[:5], pooling))  # type: ignore[arg-type]
        assert np.isnan(found[5:9]).all() and found[9] == 5
    assert np.isnan(table.labels(None, VA, "mean")).all() and table.labels(None, VA, "mean").shape == (10, 2)


def test_labels_of_clips(table: CropTable) -> None:
    whole = ClipLabels(np.zeros(1), np.full(1, np.inf), np.array([[6.0]]))
    none = ClipLabels(np.zeros(0), np.zeros(0), np.zeros((0, 1)))
    found = table.labels({"a": whole, "c": none}, DFEW, "midpoint")
    np.testing.assert_array_equal(found, [[np.nan], [6], [np.nan], [np.nan]])


@pytest.mark.parametrize("data, cause", [
    (png(FACES[0])[:-60], "damaged"), (b"GIF89a....", "neither JPEG nor PNG"),
    (png(pictures(1, SIDE + 1)[0]), "25 x 25 pixels, not 24 x 24"),
])  # fmt: skip
def test_a_broken_crop_names_its_clip_and_row(cache: Cache, data: bytes, cause: str) -> None:
    table = CropTable(make_crops(cache, {"a": [FACES[0]], "b/x": [FACES[1], None, data]}, SIDE), ["a", "b/x"])
    table.load(np.array([[0, 1, 2]]))
    with pytest.raises(BrokenRow, match=f"clip 'b/x', row 2: .*{cause}") as error:
        list(batches(units_of(table), np.arange(4), 1, seed=[0], augmented=True, workers=2))
    assert (error.value.clip, error.value.row) == ("b/x", 2)
    assert isinstance(error.value, UsageError)


def test_images_of_a_unit_are_augmented_alike_and_units_one_by_one(table: CropTable) -> None:
    rows = np.array([[1, 1, -1], [2, 3, 4], [5, 7, 8], [9, 9, 9]])
    plain = table.load(rows)
    assert torch.equal(table.load(rows, np.random.default_rng(0), 0.0), plain)
    changed = table.load(rows, np.random.default_rng(0), 0.3)
    rng = np.random.default_rng(0)
    for unit, expected in zip(changed, plain, strict=True):
        assert torch.equal(unit, augment(expected.clone(), rng, 0.3))
    assert torch.equal(changed[0, 0], changed[0, 1])
    assert not torch.equal(changed, plain)


# Batches


def units_of(table: CropTable, probability: float = 0.3) -> Units:
    """A unit a row."""
    rows = np.arange(len(table))
    labels = np.full((len(table), 1), np.nan)
    return Units(
        table.clips, table.offsets, table.start, table.end, labels, rows[:, None],
        lambda which, rng: table.load(rows[which][:, None], rng, probability),
    )  # fmt: skip


def planted(load: Any, labels: Any = None, targets: Any = None) -> Units:
    """Units of one clip with a loader of the test's own."""
    labels = np.zeros((100, 1)) if labels is None else np.asarray(labels, float)
    targets = np.arange(len(labels))[:, None] if targets is None else np.asarray(targets)
    times = np.arange(len(labels) + 1.0)
    return Units(("a",), np.array([0, len(labels)]), times[:-1], times[1:], labels, targets, load)


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_come_in_order_and_whatever_the_threads(table: CropTable, workers: int) -> None:
    units, order = units_of(table), np.array([3, 0, 9, 9, 4, 8, 1])
    made = list(batches(units, order, 3, seed=[5, 2], augmented=True, workers=workers))
    assert [which.tolist() for which, _ in made] == [[3, 0, 9], [9, 4, 8], [1]]
    for number, (which, images) in enumerate(made):
        assert torch.equal(images, units.load(which, np.random.default_rng([5, 2, number])))
    plain = list(batches(units, order, 3, seed=[5, 2], augmented=False, workers=workers))
    assert all(torch.equal(images, units.load(which, None)) for which, images in plain)
    other = list(batches(units, order, 3, seed=[5, 3], augmented=True, workers=workers))
    assert not all(torch.equal(a, b) for (_, a), (_, b) in zip(made, other, strict=True))


def test_the_order_of_arrival_does_not_matter() -> None:
    def load(which: NDArray[np.int64], rng: np.random.Generator | None) -> torch.Tensor:
        assert rng is not None
        time.sleep(float(np.random.default_rng(which[0]).uniform(0, 0.01)))  # some batches overtake others
        return torch.from_numpy(rng.random(2))

    order = np.random.default_rng(0).permutation(100)
    made = [list(batches(planted(load), order, 4, seed=[1], augmented=True, workers=n)) for n in (1, 4)]
    for (which, values), (same, again) in zip(*made, strict=True):
        assert (which == same).all() and torch.equal(values, again)


def test_no_units_are_no_batches(table: CropTable) -> None:
    assert list(batches(units_of(table), np.zeros(0, int), 3, seed=[0], augmented=True)) == []


def loading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_what_a_worker_raises_comes_at_its_batch() -> None:
    def load(which: NDArray[np.int64], rng: np.random.Generator | None) -> torch.Tensor:
        if 7 in which:
            raise UsageError("seven")
        return torch.from_numpy(which)

    seen = []
    with pytest.raises(UsageError, match="seven"):
        for which, _ in batches(planted(load), np.arange(100), 2, seed=[0], augmented=False, workers=3):
            seen += which.tolist()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert loading_threads() == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, GeneratorExit])
def test_stopping_early_leaves_no_thread_and_reads_no_more(stop: type[BaseException]) -> None:
    loaded: list[int] = []

    def load(which: NDArray[np.int64], rng: np.random.Generator | None) -> torch.Tensor:
        time.sleep(0.002)
        loaded.append(int(which[0]))
        return torch.from_numpy(which)

    made = batches(planted(load), np.arange(100), 1, seed=[0], augmented=False, workers=2)
    next(made)
    if stop is GeneratorExit:
        made.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(stop):
            made.throw(stop())  # type: ignore[attr-defined]
    assert loading_threads() == []
    count = len(loaded)
    assert count <= 6
    time.sleep(0.02)
    assert len(loaded) == count


def test_few_batches_wait() -> None:
    loaded: list[int] = []

    def load(which: NDArray[np.int64], rng: np.random.Generator | None) -> torch.Tensor:
        loaded.append(int(which[0]))
        return torch.from_numpy(which)

    made = batches(planted(load), np.arange(100), 1, seed=[0], augmented=False, workers=3)
    next(made)
    time.sleep(0.1)
    assert len(loaded) <= 5
    made.close()  # type: ignore[attr-defined]


def test_memory_holds_a_few_batches_not_the_data_set(tmp_path: Path) -> None:
    side, count = 96, 400
    crops = make_crops(Cache(tmp_path), {f"clip{n}": pictures(100, side, n) for n in range(count // 100)}, side)
    decoded, encoded = count * 3 * side * side, sum(path.stat().st_size for path in crops.segment_paths())
    tracemalloc.start()
    try:
        table = CropTable(crops, crops.clips)
        for _, images in batches(units_of(table, 0.05), np.arange(count), 4, seed=[0], augmented=True, workers=2):
            assert images.shape == (4, 1, 3, side, side)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < min(decoded, encoded) / 4


def test_several_epochs_at_once_from_several_threads(table: CropTable) -> None:
    units = units_of(table)

    def epoch(seed: int) -> list[bytes]:
        order = np.random.default_rng(seed).permutation(10)
        return [b.numpy().tobytes() for _, b in batches(units, order, 4, seed=[seed], augmented=True, workers=2)]

    alone = [epoch(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(epoch, range(6))) == alone
    assert len(os.sched_getaffinity(0)) >= 1 and loading_threads() == []


# The order of an epoch


def nothing(which: NDArray[np.int64], rng: np.random.Generator | None) -> torch.Tensor:
    return torch.from_numpy(which)


def test_units_with_a_label_each_once_shuffled() -> None:
    labels = np.arange(40.0)[:, None] % 8
    labels[::5] = np.nan
    targets = np.arange(40)[:, None].copy()
    targets[3] = -1
    units = planted(nothing, labels, targets)
    known = [n for n in range(40) if n % 5 and n != 3]
    assert np.flatnonzero(labelled(units)).tolist() == known
    orders = [epoch_order(units, False, EXPR, np.random.default_rng(seed)) for seed in range(3)]
    assert all(sorted(order.tolist()) == known for order in orders)
    assert not (orders[0] == orders[1]).all() and orders[0].tolist() != known
    again = epoch_order(units, False, EXPR, np.random.default_rng(0))
    assert (again == orders[0]).all() and again.dtype == np.int64


def test_a_label_must_be_whole_and_any_score_may_have_it() -> None:
    labels = np.array([[0.1, np.nan], [0.2, 0.3], [np.nan, np.nan]])
    units = planted(nothing, labels, [[0, 2], [0, 1], [-1, -1], [-1, 1]])
    assert labelled(units).tolist() == [False, True, False, True]


def test_without_labels_there_is_no_epoch() -> None:
    units = planted(nothing, np.full((5, 1), np.nan))
    with pytest.raises(UsageError, match="no unit of the 1 clips has a label of task expr"):
        epoch_order(units, False, EXPR, np.random.default_rng(0))
    empty = planted(nothing, np.zeros((0, 1)), np.full((3, 1), -1))
    assert labelled(empty).tolist() == [False] * 3


@pytest.mark.parametrize("task", ["va", "au"])
def test_only_classes_are_balanced(task: str) -> None:
    chosen = tasks.get(task)
    units = planted(nothing, np.zeros((5, chosen.outputs)))
    with pytest.raises(UsageError, match=f"{task} is a .* task: leave balanced=false"):
        epoch_order(units, True, chosen, np.random.default_rng(0))
    assert len(epoch_order(units, False, chosen, np.random.default_rng(0))) == 5


def test_balanced_classes_come_equally_often() -> None:
    sizes = {0: 500, 2: 30, 3: 7, 7: 200}
    labels = np.repeat(list(sizes), list(sizes.values())).astype(float)
    units = planted(nothing, np.append(labels, [np.nan] * 40)[:, None])
    orders = [epoch_order(units, True, EXPR, np.random.default_rng(seed)) for seed in range(40)]
    seen = np.zeros(len(units.labels), int)
    for order in orders:
        assert len(order) == len(labels)
        counts = np.bincount(labels[order].astype(int), minlength=8)
        present = counts[list(sizes)]
        assert counts.sum() == present.sum() and np.ptp(present) <= 1
        times = np.bincount(order, minlength=len(seen))
        for label in sizes:  # every unit of a class as often as the others, to within one
            assert np.ptp(times[np.flatnonzero(labels == label)]) <= 1
        seen += times
    assert (seen[: len(labels)] > 0).all() and (seen[len(labels) :] == 0).all()
    assert len({tuple(np.bincount(labels[o].astype(int))) for o in orders}) > 1  # the one left over goes anywhere
    runs = np.diff(labels[orders[0]]) == 0
    assert 0.15 < runs.mean() < 0.35  # shuffled: a quarter of neighbours are of one class


def test_the_class_of_a_unit_is_that_of_most_of_its_scores() -> None:
    labels = np.array([0, 1, 1, 3, 3, np.nan])[:, None]
    targets = np.array([[0, 1, 2], [3, 4, 1], [5, -1, 0]] + [[0, 0, 5]] * 9)
    order = epoch_order(planted(nothing, labels, targets), True, EXPR, np.random.default_rng(0))
    assert np.bincount(order, minlength=12)[:2].tolist() == [4, 4]
