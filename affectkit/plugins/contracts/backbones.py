"""What every backbone keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.plugins.contracts.candidate import Candidate, Obligation, hold, refused, same, two_threads

SECONDS = 0.7


def images(candidate: Candidate) -> NDArray[np.uint8]:
    """uint8 [8,3,H,W]: noise, 32 x 32, unless the candidate brings others."""
    if candidate.samples is not None:
        given: NDArray[np.uint8] = candidate.samples
        return given
    return np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8)


def called(backbone: Any, batch: Any) -> Mapping[str, Any]:
    """What a backbone gives by name for a batch, with zeros for the columns that it `reads` beside."""
    shapes = {"boxes": (4,), "landmarks": (5, 2)}
    beside = {name: np.zeros((len(batch), *shapes[name]), np.float32) for name in getattr(backbone, "reads", ())}
    values = backbone(batch, **beside)
    return values if isinstance(values, Mapping) else {"values": values}


def seen(backbone: Any, batch: Any) -> NDArray[np.float32]:
    """All that a backbone gives for a batch, side by side: [N,D]."""
    return np.concatenate(list(called(backbone, batch).values()), axis=1)


def gives_one_vector_an_image(candidate: Candidate) -> None:
    """It gives a finite float32 vector of `dim` numbers, 1 or more, for each image, and of each other output."""
    backbone, dim = candidate.instance, candidate.instance.dim
    hold(isinstance(dim, int) and dim >= 1, f"its dim is {dim!r}")
    outputs: Mapping[str, int] = getattr(backbone, "outputs", None) or {"values": dim}
    hold(outputs.get("values") == dim, f"its outputs are {dict(outputs)}, and its dim is {dim}")
    gives = called(backbone, images(candidate))
    hold(gives.keys() == outputs.keys(), f"it gives {sorted(gives)}, and says {sorted(outputs)}")
    for name, count in outputs.items():
        values = gives[name]
        hold(isinstance(values, np.ndarray), f"it returns a {type(values).__name__}, no numpy array")
        hold(values.shape == (8, count), f"for 8 images it gives {list(values.shape)}, and its dim is {count}")
        hold(values.dtype == np.float32, f"it gives {values.dtype}, not float32")
        hold(np.isfinite(values).all(), "some values are not finite")
        hold(values.std() > 0, "all values are equal")
    for name, names in getattr(backbone, "names", {}).items():
        hold(len(names) == outputs.get(name), f"{len(names)} names of {name}, which has {outputs.get(name)} components")


def gives_the_same_bits_again(candidate: Candidate) -> None:
    """The same images give the same bits, again and from a second instance."""
    first = seen(candidate.instance, images(candidate))
    same(seen(candidate.instance, images(candidate)), first, "a second call")
    same(seen(candidate.make(), images(candidate)), first, "a second instance")


def does_not_see_neighbours(candidate: Candidate) -> None:
    """Neither the other images of a batch nor the place in it change a bit."""
    given = images(candidate)
    with two_threads():
        first = seen(candidate.instance, given)
        for shift in (1, 3):
            moved = seen(candidate.instance, np.roll(given, shift, axis=0))
            same(np.roll(moved, -shift, axis=0), first, f"images moved by {shift} places")
        others = np.random.default_rng(1).integers(0, 256, given.shape, np.uint8)
        others[5] = given[2]
        same(seen(candidate.instance, others)[5], first[2], "an image among others")


def takes_any_number_of_images(candidate: Candidate) -> None:
    """A batch of 0, 1, 3, 8 or 11 images gives each the same bits."""
    given = images(candidate)
    first = seen(candidate.instance, given)
    for count in (0, 1, 3, 8):
        same(seen(candidate.instance, given[:count]), first[:count], f"a batch of {count}")
    longer = seen(candidate.instance, np.concatenate([given, given[:3]]))
    same(longer, np.concatenate([first, first[:3]]), "a batch of 11")


def takes_any_memory_layout(candidate: Candidate) -> None:
    """Torch tensors, read-only arrays and views give the same bits, and are left as they were."""
    import torch

    given = images(candidate)
    first, locked = seen(candidate.instance, given), given.copy()
    locked.flags.writeable = False
    view = np.ascontiguousarray(given.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for what, alike in (
        ("a torch tensor", torch.from_numpy(given.copy())),
        ("a locked array", locked),
        ("a view", view),
    ):
        same(seen(candidate.instance, alike), first, what)
        same(np.asarray(alike), given, f"{what}, afterwards")


def takes_crops_of_any_size(candidate: Candidate) -> None:
    """Crops of any size and shape are embedded."""
    large = np.random.default_rng(0).integers(0, 256, (8, 3, 75, 130), np.uint8)
    found = called(candidate.instance, large)["values"].shape
    hold(found == (8, candidate.instance.dim), f"for images of 75 x 130 it gives {list(found)}")


def refuses_what_is_no_batch(candidate: Candidate) -> None:
    """Anything but uint8 [N,3,H,W] is a ValueError that says so."""
    given = images(candidate)
    for other in (given.astype(np.float32), given[0], given[:, :1], given.transpose(0, 2, 3, 1)):
        what = f"a batch of {other.dtype} {list(other.shape)}"
        refused(lambda: seen(candidate.instance, other), ValueError, what, "uint8")  # noqa: B023


IMAGE: list[Obligation] = [
    gives_one_vector_an_image, gives_the_same_bits_again, does_not_see_neighbours, takes_any_number_of_images,
    takes_any_memory_layout, takes_crops_of_any_size, refuses_what_is_no_batch,
]  # fmt: skip


# ---- of sound


def windows(candidate: Candidate, count: int = 8, seconds: float = SECONDS, seed: int = 0) -> NDArray[np.float32]:
    """float32 [count,S]: noise of several levels."""
    draw = np.random.default_rng(seed)
    samples = round(seconds * candidate.instance.sampling_rate)
    waves = draw.uniform(0.01, 0.3, (count, 1)) * draw.standard_normal((count, samples))
    return np.asarray(waves.clip(-1, 1), np.float32)


def says_what_it_gives(candidate: Candidate) -> None:
    """It says its sampling rate, its padding, its outputs with their dimensions, and names that fit them."""
    own = candidate.instance
    hold(own.padding in ("zero", "none"), f"its padding is {own.padding!r}")
    hold(own.sampling_rate > 0, f"its sampling_rate is {own.sampling_rate!r}")
    hold(own.outputs and all(dim >= 1 for dim in own.outputs.values()), f"its outputs are {dict(own.outputs)}")
    hold(own.names.keys() <= own.outputs.keys(), f"names of {sorted(own.names)}, outputs {sorted(own.outputs)}")
    for output, names in own.names.items():
        hold(len(names) == own.outputs[output], f"{output} has {own.outputs[output]} components, {len(names)} names")
    hold(isinstance(own.images, bool), f"its images is {own.images!r}")


def gives_the_rows_that_frames_says(candidate: Candidate) -> None:
    """It gives finite float32 [N,F,D] with as many rows as `frames` says, which lie in the window."""
    own = candidate.instance
    for seconds in (SECONDS, 0.5, 1.3):
        batch = windows(candidate, 3, seconds)
        start, end = own.frames(batch.shape[1])
        hold(len(start) == len(end) >= 1, f"{len(start)} starts and {len(end)} ends of rows")
        hold((start >= 0).all() and (end > start).all() and (np.diff(start) > 0).all(), "times of rows do not increase")
        hold(end[-1] <= batch.shape[1] / own.sampling_rate + 1e-9, "the last row ends after the window")
        found = own(batch)
        hold(
            found.keys() - {"image"} == own.outputs.keys(), f"it gives {sorted(found)}, and says {sorted(own.outputs)}"
        )
        for name, dim in own.outputs.items():
            values = np.asarray(found[name])
            shape = (3, len(start), dim)
            hold(values.shape == shape, f"{name} is {list(values.shape)}, not {list(shape)}")
            hold(values.dtype == np.float32, f"{name} is {values.dtype}, not float32")
            hold(np.isfinite(values).all() and values.std() > 0, f"{name} is not finite, or all the same")


def hears_the_same_again(candidate: Candidate) -> None:
    """The same windows give the same bits, again and from a second instance."""
    batch = windows(candidate)
    with two_threads():
        first = candidate.instance(batch)
        same(candidate.instance(batch), first, "a second call")
        same(candidate.make()(batch), first, "a second instance")


def does_not_hear_neighbours(candidate: Candidate) -> None:
    """Neither the other windows of a batch nor the place in it change a bit."""
    batch, others = windows(candidate), windows(candidate, seed=1)
    with two_threads():
        first = candidate.instance(batch)
        for shift in (1, 3):
            moved = candidate.instance(np.roll(batch, shift, axis=0))
            back = {name: np.roll(values, -shift, axis=0) for name, values in moved.items()}
            same(back, first, f"windows moved by {shift} places")
        for beside in (others, np.zeros_like(others)):
            beside[5] = batch[2]
            found = {name: values[5] for name, values in candidate.instance(beside).items()}
            same(found, {name: values[2] for name, values in first.items()}, "a window among others")


def hears_any_number_of_windows(candidate: Candidate) -> None:
    """A batch of 0, 3, 8 or 11 windows gives each the same bits; of one, but for the last digits."""
    batch = windows(candidate, 16)
    with two_threads():
        first = candidate.instance(batch)
        for count in (0, 3, 8, 11):
            expected = {name: values[:count] for name, values in first.items()}
            same(candidate.instance(batch[:count]), expected, f"a batch of {count}")
        alone = candidate.instance(batch[3:4])
        same(candidate.instance(batch[3:4].copy()), alone, "a window alone, again")
    for name, values in alone.items():
        if name != "image":
            apart = np.abs(np.asarray(values[0]) - np.asarray(first[name][3])).max()
            hold(apart <= 1e-5 * np.abs(first[name]).max(), f"{name} of a window alone is {apart:g} off")


def hears_short_windows(candidate: Candidate) -> None:
    """A window too short for a row has none, and the shortest with one is not padded behind the caller's back."""
    own: Any = candidate.instance
    for samples in (0, 1, 20):
        rows = len(own.frames(samples)[0])
        found = own(np.zeros((2, samples), np.float32))
        for name, dim in own.outputs.items():
            shape = np.asarray(found[name]).shape
            hold(shape == (2, rows, dim), f"{name} of {samples} samples is {list(shape)}, not {[2, rows, dim]}")
    shortest = next((samples for samples in range(1, 16000) if len(own.frames(samples)[0])), None)
    hold(shortest is not None, "no window of up to 16,000 samples has a row")
    assert shortest is not None
    batch = windows(candidate, 2, shortest / own.sampling_rate)
    for name, values in own(batch).items():
        if name != "image":
            hold(np.asarray(values).shape[1] == len(own.frames(shortest)[0]), f"{name} has other rows than frames says")
            hold(np.isfinite(values).all() and np.asarray(values).any(), f"{name} of the shortest window is empty")


def bears_silence(candidate: Candidate) -> None:
    """Silence gives finite values."""
    found = candidate.instance(np.zeros((2, round(SECONDS * candidate.instance.sampling_rate)), np.float32))
    for name in candidate.instance.outputs:
        hold(np.isfinite(found[name]).all(), f"{name} of silence is not finite")


def leaves_windows_alone(candidate: Candidate) -> None:
    """Windows are left as they were, may be read-only, and lie in memory as they like."""
    batch = windows(candidate)
    copy = batch.copy()
    batch.flags.writeable = False
    first = candidate.instance(batch)
    same(batch, copy, "the windows, afterwards")
    same(candidate.instance(np.asfortranarray(copy)), first, "columns first")


AUDIO: list[Obligation] = [
    says_what_it_gives, gives_the_rows_that_frames_says, hears_the_same_again, does_not_hear_neighbours,
    hears_any_number_of_windows, hears_short_windows, bears_silence, leaves_windows_alone,
]  # fmt: skip
