"""Augmentations against Pillow, SciPy and colorsys, their ranges, and what they are drawn from."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from network_inputs import pictures
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from affectkit.nets.augment import AUGMENTATIONS, augment, chosen

SIDE = 48
Picture = NDArray[np.uint8]
PICTURE = pictures(1, SIDE)[0]


def apply(name: str, *parameters: Any, picture: Picture = PICTURE) -> NDArray[np.int64]:
    """What the augmentation makes of a picture [H,W,3]."""
    tensor = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    changed = AUGMENTATIONS[name].apply(tensor, *parameters)
    assert changed.dtype == torch.uint8 and changed.shape == tensor.shape
    return changed.numpy().transpose(1, 2, 0).astype(int)


def draws(name: str, count: int = 400, side: int = SIDE) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(1)
    return [AUGMENTATIONS[name].draw(rng, side) for _ in range(count)]


def assert_near(got: NDArray[Any], expected: Any, most: int, mask: NDArray[np.bool_] | None = None) -> None:
    """Grey levels differ by `most` at most, where `mask` [H,W] is true."""
    difference = np.abs(got - np.asarray(expected).astype(int)).max(axis=2)
    inside = np.ones(difference.shape, bool) if mask is None else mask
    assert inside.mean() > 0.2
    assert difference[inside].max() <= most


def sampled(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The picture at real coordinates [H,W], bilinear, and where they lie well inside it or well outside."""
    channels = PICTURE.transpose(2, 0, 1).astype(float)
    values = [ndimage.map_coordinates(channel, [y, x], order=1, mode="constant") for channel in channels]
    margin = np.minimum.reduce([x, y, SIDE - 1 - x, SIDE - 1 - y])
    return np.rint(np.stack(values, axis=-1)), np.abs(margin + 0.5) > 1.6


@pytest.mark.parametrize("top, left", [(3, -5), (-7, 0), (9, 9)])
def test_pad_shifts_and_black_comes_in(top: int, left: int) -> None:
    padded = np.pad(PICTURE, ((10, 10), (10, 10), (0, 0)))
    expected = padded[10 + top : 10 + top + SIDE, 10 + left : 10 + left + SIDE]
    np.testing.assert_array_equal(apply("pad", top, left), expected)


def test_grey_is_luminance_in_all_channels() -> None:
    assert_near(apply("grey"), np.asarray(Image.fromarray(PICTURE).convert("L"))[..., None].repeat(3, 2), 1)


@pytest.mark.parametrize("name, enhance", [
    ("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color),
])  # fmt: skip
@pytest.mark.parametrize("factor", [0.55, 0.9, 1.3])
def test_jitter_is_that_of_pillow(name: str, enhance: Any, factor: float) -> None:
    assert_near(apply("jitter", (name, factor)), enhance(Image.fromarray(PICTURE)).enhance(factor), 1)


def test_jitter_turns_the_hue() -> None:
    turned = np.empty(PICTURE.shape)
    for place in np.ndindex(SIDE, SIDE):
        hue, saturation, value = colorsys.rgb_to_hsv(*(PICTURE[place] / 255))
        turned[place] = colorsys.hsv_to_rgb((hue + 0.21) % 1, saturation, value)
    assert_near(apply("jitter", ("hue", 0.21)), np.rint(turned * 255), 1)


def test_jitter_applies_its_steps_in_the_order_given() -> None:
    steps = [("contrast", 1.3), ("brightness", 1.5)]
    one_by_one = PICTURE
    for step in steps:
        one_by_one = apply("jitter", step, picture=one_by_one).astype(np.uint8)
    np.testing.assert_array_equal(apply("jitter", *steps), one_by_one)
    assert (apply("jitter", *steps[::-1]) != one_by_one).any()


@pytest.mark.parametrize("sigma", [0.3, 1.7, 5.0])
def test_blur_is_a_gaussian_five_wide_and_nine_high(sigma: float) -> None:
    expected = PICTURE.astype(float)
    for axis, taps in ((0, 9), (1, 5)):
        weights = np.exp(-0.5 * (np.arange(taps) - taps // 2) ** 2 / sigma**2)
        expected = ndimage.correlate1d(expected, weights / weights.sum(), axis, mode="mirror")
    assert_near(apply("blur", sigma), np.rint(expected), 1)


def test_perspective_moves_the_corners_where_it_says() -> None:
    corners = [[6, 3], [40, 8], [44, 41], [2, 38]]
    source = [[0, 0], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [0, SIDE - 1]]
    system, known = [], []
    for (u, v), (x, y) in zip(source, corners, strict=True):  # (x, y) of the result is (u, v) of the picture
        system += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        known += [u, v]
    a, b, c, d, e, f, g, h = np.linalg.solve(np.array(system, float), np.array(known, float))
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5  # coordinates are those of pixels' corners, values of their middles
    scale = g * x + h * y + 1
    expected, clear = sampled((a * x + b * y + c) / scale - 0.5, (d * x + e * y + f) / scale - 0.5)
    assert_near(apply("perspective", corners), expected, 2, clear)


@pytest.mark.parametrize("angle", [-71.0, 13.5, 88.0])
def test_rotation_is_anticlockwise_about_the_middle(angle: float) -> None:
    middle, turn = (SIDE - 1) / 2, np.deg2rad(angle)
    y, x = np.mgrid[:SIDE, :SIDE] - middle
    expected, clear = sampled(
        np.cos(turn) * x - np.sin(turn) * y + middle, np.sin(turn) * x + np.cos(turn) * y + middle
    )
    assert_near(apply("rotation", angle), expected, 2, clear)
    assert_near(
        apply("rotation", angle), Image.fromarray(PICTURE).rotate(angle, Image.Resampling.BILINEAR), 2, clear
    )  # fmt: skip


def test_crop_is_resized_back_as_pillow_does() -> None:
    top, left, kept = 5, 9, 36
    box = (left, top, left + kept, top + kept)
    expected = Image.fromarray(PICTURE).crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert_near(apply("crop", top, left, kept), expected, 1)


@pytest.mark.parametrize("bits", [1, 2])
def test_posterize_is_that_of_pillow(bits: int) -> None:
    np.testing.assert_array_equal(apply("posterize", bits), ImageOps.posterize(Image.fromarray(PICTURE), bits))


@pytest.mark.parametrize("factor", [0.1, 0.8, 3.0])
def test_sharpness_is_that_of_pillow(factor: float) -> None:
    assert_near(apply("sharpness", factor), ImageEnhance.Sharpness(Image.fromarray(PICTURE)).enhance(factor), 2)


def test_equalize_and_flips_are_those_of_pillow() -> None:
    image = Image.fromarray(PICTURE)
    np.testing.assert_array_equal(apply("equalize"), ImageOps.equalize(image))
    np.testing.assert_array_equal(apply("horizontal"), ImageOps.mirror(image))
    np.testing.assert_array_equal(apply("vertical"), ImageOps.flip(image))


def assert_range(values: NDArray[Any], low: float, high: float) -> None:
    """All within, and nearly everything of it is reached."""
    assert low <= values.min() <= low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) <= values.max() <= high


def test_ranges_are_the_documented_ones() -> None:
    assert_range(np.array(draws("pad", side=240)), -49, 49)
    assert_range(np.array(draws("pad", 2000, side=120)), -24, 24)
    for name, low, high in (("brightness", 0.5, 1.5), ("contrast", 0.7, 1.3), ("saturation", 0.7, 1.3)):
        assert_range(np.array([dict(steps)[name] for steps in draws("jitter")]), low, high)
    assert_range(np.array([dict(steps)["hue"] for steps in draws("jitter")]), -0.3, 0.3)
    assert len({tuple(name for name, _ in steps) for steps in draws("jitter")}) == 24
    assert_range(np.array(draws("blur")), 0.1, 5)
    corners = np.array(draws("perspective", side=240))[:, 0]
    inwards = np.abs(corners - np.array([[0, 0], [239, 0], [239, 239], [0, 239]]))
    assert inwards.min() == 0 and 0.7 * 120 <= inwards.max() <= 0.8 * 120
    assert_range(np.array(draws("rotation", 3000)), -89, 89)
    squares = np.array(draws("crop", side=200))
    assert_range(squares[:, 2], 139, 180)
    assert (squares[:, :2] >= 0).all() and (squares[:, :2] + squares[:, 2:] <= 200).all()
    assert {bits for (bits,) in draws("posterize")} == {1, 2}
    assert_range(np.array(draws("sharpness")), 0.1, 3)


def test_each_has_its_own_probability() -> None:
    rng = np.random.default_rng(0)
    count, probability = 20_000, 0.05
    drawn = [chosen(rng, probability) for _ in range(count)]
    found = np.array([[name in names for name in AUGMENTATIONS] for names in drawn])
    spread = 4.5 * np.sqrt(count * probability * (1 - probability))
    assert np.abs(found.sum(axis=0) - count * probability).max() < spread
    both = found.T.astype(float) @ found
    np.fill_diagonal(both, count * probability**2)
    assert np.abs(both - count * probability**2).max() < 4.5 * np.sqrt(count) * probability
    assert np.var(found.sum(axis=1)) == pytest.approx(len(AUGMENTATIONS) * probability * (1 - probability), rel=0.1)


def test_without_probability_nothing_changes() -> None:
    images = torch.from_numpy(np.stack(pictures(2, SIDE))).permute(0, 3, 1, 2)
    assert augment(images, np.random.default_rng(0), 0) is images


def test_with_probability_one_all_are_applied_in_order() -> None:
    assert chosen(np.random.default_rng(0), 1) == list(AUGMENTATIONS)
    images = torch.from_numpy(np.stack(pictures(1, SIDE))).permute(0, 3, 1, 2).contiguous()
    by_hand, rng = images, np.random.default_rng(3)
    rng.random(len(AUGMENTATIONS))
    for one in AUGMENTATIONS.values():
        by_hand = one.apply(by_hand, *one.draw(rng, SIDE))
    assert torch.equal(augment(images, np.random.default_rng(3), 1), by_hand)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_of_a_unit_change_alike(name: str) -> None:
    images = torch.from_numpy(np.stack(pictures(3, SIDE))).permute(0, 3, 1, 2).contiguous()
    one, rng = AUGMENTATIONS[name], np.random.default_rng(5)
    parameters = one.draw(rng, SIDE)
    alone = torch.stack([one.apply(image, *parameters) for image in images])
    assert torch.equal(one.apply(images, *parameters), alone)


@pytest.mark.parametrize("side", [16, 33])
def test_small_and_odd_crops(side: int) -> None:
    images = torch.from_numpy(np.stack(pictures(1, side))).permute(0, 3, 1, 2)
    for seed in range(20):
        assert augment(images, np.random.default_rng(seed), 0.5).shape == images.shape


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_generator_alone_decides() -> None:
    images = torch.from_numpy(np.stack(pictures(2, 112))).permute(0, 3, 1, 2).contiguous()

    def made(seed: int) -> bytes:
        return augment(images, np.random.default_rng(seed), 0.4).numpy().tobytes()

    before = torch.random.get_rng_state()
    with torch_threads(1):
        alone = [made(seed) for seed in range(30)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(set(alone)) > 25
    torch.manual_seed(123)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(made, range(30))) == alone
    torch.random.set_rng_state(before)
