"""Augmentations of face crops: those that SUN fine-tunes with, each with a probability of its own.

What SUN (arXiv 2403.12609) says: pad, grey, jitter, blur, perspective, rotation, crop of 0.7-0.9, posterize, sharpness,
equalize and flips, each with p = 0.05. How far each goes is from the code that its authors published; the order too.

- pad: shifted by up to n pixels along both axes, n one of 1..49 of 240, black comes in (theirs; "of 240" is ours: they
  pad crops of any size, and 240 is the side that they resize to)
- grey: luminance in all three channels
- jitter: brightness times 0.5-1.5, contrast and saturation 0.7-1.3, hue turned by -0.3..0.3 of the circle, in any order
- blur: Gaussian, kernel 5 wide and 9 high, sigma 0.1-5 pixels
- perspective: every corner moves inwards by up to d of half a side, d 0.3-0.8, black around
- rotation: by -a..a degrees, a one of 0..89, black around (theirs; bilinear is ours, they take the nearest pixel)
- crop: a square of 0.7-0.9 of the side anywhere, resized back (the paper's)
- posterize: 1 or 2 bits of each channel are kept
- sharpness: times 0.1-3 (below 1: softer)
- equalize: the histogram of each channel
- horizontal, vertical: mirrored, upside down (both are the paper's "flips": their code does both)

All numbers are drawn from the generator that is passed, never from torch's own: the same state gives the same bits, in
any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

if TYPE_CHECKING:
    from torch import Tensor

Parameters = tuple[Any, ...]
PAD, PAD_SIDE = (1, 49), 240
JITTER = {"brightness": (0.5, 1.5), "contrast": (0.7, 1.3), "saturation": (0.7, 1.3), "hue": (-0.3, 0.3)}
BLUR_KERNEL, BLUR_SIGMA = [5, 9], (0.1, 5.0)
DISTORTION = (0.3, 0.8)
LARGEST_ANGLE = 89
CROP = (0.7, 0.9)
BITS = (1, 2)
SHARPNESS = (0.1, 3.0)


@dataclass(frozen=True)
class Augmentation:
    """`draw(rng, side)` gives the parameters for crops of so many pixels; `apply(images, *parameters)` changes
    uint8 [...,3,side,side] to the same shape."""

    draw: Callable[[np.random.Generator, int], Parameters]
    apply: Callable[..., Tensor]


def augment(images: Tensor, rng: np.random.Generator, probability: float) -> Tensor:
    """uint8 [...,3,side,side] -> the same shape, all images changed alike; the same tensor where nothing was drawn."""
    for name in chosen(rng, probability):
        augmentation = AUGMENTATIONS[name]
        images = augmentation.apply(images, *augmentation.draw(rng, images.shape[-1]))
    return images


def augment_units(images: Tensor, rng: np.random.Generator, probability: float) -> None:
    """Change uint8 [B,I,3,side,side] in place, all I images of a unit alike."""
    for unit in images:
        changed = augment(unit, rng, probability)
        if changed is not unit:
            unit.copy_(changed)


def chosen(rng: np.random.Generator, probability: float) -> list[str]:
    """Which augmentations are applied, in order: each with this probability, whatever the others."""
    drawn = rng.random(len(AUGMENTATIONS)) < probability
    return [name for name, apply in zip(AUGMENTATIONS, drawn.tolist(), strict=True) if apply]


def _nothing(rng: np.random.Generator, side: int) -> Parameters:
    return ()


def _draw_shift(rng: np.random.Generator, side: int) -> Parameters:
    most = max(1, round(int(rng.integers(PAD[0], PAD[1] + 1)) * side / PAD_SIDE))
    top, left = rng.integers(-most, most + 1, 2).tolist()
    return top, left


def _shift(images: Tensor, top: int, left: int) -> Tensor:
    return F.crop(images, top, left, *images.shape[-2:])


def _draw_jitter(rng: np.random.Generator, side: int) -> Parameters:
    names = [list(JITTER)[place] for place in rng.permutation(len(JITTER))]
    return tuple((name, float(rng.uniform(*JITTER[name]))) for name in names)


def _jitter(images: Tensor, *steps: tuple[str, float]) -> Tensor:
    for name, factor in steps:
        images = getattr(F, f"adjust_{name}")(images, factor)
    return images


def _draw_corners(rng: np.random.Generator, side: int) -> Parameters:
    """Where the four corners go: top left, top right, bottom right, bottom left, as (x, y)."""
    most = int(rng.uniform(*DISTORTION) * (side // 2))
    inwards = rng.integers(0, most + 1, (4, 2))
    last = side - 1
    corners = np.array([[0, 0], [last, 0], [last, last], [0, last]])
    return (np.where(corners == 0, inwards, last - inwards).tolist(),)


def _perspective(images: Tensor, corners: list[list[int]]) -> Tensor:
    last = images.shape[-1] - 1
    return F.perspective(images, [[0, 0], [last, 0], [last, last], [0, last]], corners)


def _draw_angle(rng: np.random.Generator, side: int) -> Parameters:
    most = int(rng.integers(0, LARGEST_ANGLE + 1))
    return (float(rng.uniform(-most, most)),)


def _draw_square(rng: np.random.Generator, side: int) -> Parameters:
    kept = max(1, int(rng.uniform(*CROP) * side))
    top, left = rng.integers(0, side - kept + 1, 2).tolist()
    return top, left, kept


def _square(images: Tensor, top: int, left: int, kept: int) -> Tensor:
    return F.resized_crop(images, top, left, kept, kept, list(images.shape[-2:]), antialias=True)


AUGMENTATIONS = {
    "pad": Augmentation(_draw_shift, _shift),
    "grey": Augmentation(_nothing, lambda images: F.rgb_to_grayscale(images, num_output_channels=3)),
    "jitter": Augmentation(_draw_jitter, _jitter),
    "blur": Augmentation(
        lambda rng, side: (float(rng.uniform(*BLUR_SIGMA)),),
        lambda images, sigma: F.gaussian_blur(images, BLUR_KERNEL, [sigma, sigma]),
    ),
    "perspective": Augmentation(_draw_corners, _perspective),
    "rotation": Augmentation(
        _draw_angle, lambda images, angle: F.rotate(images, angle, interpolation=InterpolationMode.BILINEAR)
    ),
    "crop": Augmentation(_draw_square, _square),
    "posterize": Augmentation(lambda rng, side: (int(rng.integers(BITS[0], BITS[1] + 1)),), F.posterize),
    "sharpness": Augmentation(lambda rng, side: (float(rng.uniform(*SHARPNESS)),), F.adjust_sharpness),
    "equalize": Augmentation(_nothing, F.equalize),
    "horizontal": Augmentation(_nothing, F.horizontal_flip),
    "vertical": Augmentation(_nothing, F.vertical_flip),
}
