"""mini-Xception (Arriaga, Valdenegro-Toro and Ploeger 2017, arXiv 1710.07557) out of a Keras file, for inference.

Batch normalisation is folded into the convolution before it, in float64: a = gamma / sqrt(variance + epsilon) scales
the kernel, beta - a mean is the bias. Padding is TensorFlow's 'same': of an odd total, the pixel more is at the end.
Where a window of 3 moves by 2 over an even side, that is a window which begins at the first pixel and may reach one
beyond the last.

The tensors lie in channels_last order whatever the numerics say: on two cores a crop takes a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from affectkit.errors import UsageError
from affectkit.learning.image_backbone import Preprocessing, seeded
from affectkit.learning.keras_file import KerasLayer, read_layers
from affectkit.weights import WeightsFile

SIDE = 64
_WITH_TENSORS = ("Conv2D", "SeparableConv2D", "BatchNormalization")
WIDTHS = (8, 16, 32, 64, 128)
CLASSES = 7
LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey: ITU-R BT.601, as OpenCV and Pillow have it."""


class Grey(Preprocessing):
    """Made grey, resized, and scaled to -1..1: x / 127.5 - 1."""

    def __init__(self) -> None:
        super().__init__((SIDE, SIDE), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")

    def resize(self, pixels: Tensor) -> Tensor:
        """float32 [N,3,h,w] in 0..255 -> grey [N,1,H,W] in 0..255, antialiased."""
        red, green, blue = LUMA
        grey = pixels[:, :1] * red
        grey.add_(pixels[:, 1:2], alpha=green).add_(pixels[:, 2:], alpha=blue)
        if tuple(grey.shape[-2:]) == self.size:
            return grey
        return interpolate(grey, self.size, mode="bilinear", antialias=True, align_corners=False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """x / 127.5 - 1, in place."""
        return pixels.mul_(1 / 127.5).sub_(1)


class Block(nn.Module):
    """Two separable convolutions and a pool, beside a convolution of 1 x 1; the side is halved."""

    def __init__(self, width: int, wider: int, is_even: bool) -> None:
        super().__init__()
        self.depthwise_1 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise_1 = nn.Conv2d(width, wider, 1)
        self.depthwise_2 = nn.Conv2d(wider, wider, 3, padding=1, groups=wider, bias=False)
        self.pointwise_2 = nn.Conv2d(wider, wider, 1)
        self.beside = nn.Conv2d(width, wider, 1, stride=2)
        self.pool = nn.MaxPool2d(3, 2, padding=0 if is_even else 1, ceil_mode=is_even)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,D,ceil(H/2),ceil(W/2)]."""
        inner = self.pointwise_1(self.depthwise_1(x)).relu_()
        inner = self.pointwise_2(self.depthwise_2(inner))
        return self.pool(inner).add_(self.beside(x))


class FoldedXception(nn.Module):
    """mini-Xception without batch normalisation, which is in its kernels: from grey pictures of 64 pixels a side, in
    -1..1, to an embedding and the probabilities of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem_1 = nn.Conv2d(1, WIDTHS[0], 3)
        self.stem_2 = nn.Conv2d(WIDTHS[0], WIDTHS[0], 3)
        sides = (60, 30, 15, 8)
        self.blocks = nn.ModuleList(
            Block(width, wider, side % 2 == 0) for (width, wider), side in zip(pairwise(WIDTHS), sides, strict=True)
        )
        self.classes = nn.Conv2d(WIDTHS[-1], CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,1,64,64] -> [N,128 + 7]: the mean over space of the last block, then probabilities."""
        x = x.to(memory_format=torch.channels_last)
        x = self.stem_2(self.stem_1(x).relu_()).relu_()
        for block in self.blocks:
            x = block(x)
        logits = self.classes(x).float().mean((2, 3))
        return torch.cat([x.float().mean((2, 3)), logits.softmax(1)], 1)


def build(weights: WeightsFile) -> FoldedXception:
    """The network with a file's weights, or with random ones. Raises UsageError for a file of another network."""
    with seeded():
        module = FoldedXception()
    if weights.path is not None:
        try:
            module.load_state_dict(folded(read_layers(weights.path)))
        except ValueError as error:
            raise UsageError(f"{weights.path} is not mini-Xception for {SIDE} x {SIDE} grey pixels: {error}") from None
    return module.to(memory_format=torch.channels_last)


def folded(layers: Sequence[KerasLayer]) -> dict[str, Tensor]:
    """The tensors of `FoldedXception` from the layers of a Keras file. Raises ValueError for another network."""
    wanted = list(_architecture())
    for position, (layer, (kind, settings)) in enumerate(zip(layers, wanted, strict=False)):
        other = {key: layer.settings.get(key) for key in settings if layer.settings.get(key) != settings[key]}
        if layer.kind != kind or other:
            raise ValueError(f"layer {position} is {layer.kind} {other or ''}, where {kind} {settings} is needed")
    if len(layers) != len(wanted):
        raise ValueError(f"it has {len(layers)} layers, not {len(wanted)}")
    weighty = iter([layer for layer in layers if layer.kind in _WITH_TENSORS])
    state: dict[str, NDArray[np.float64]] = {}
    for name in ("stem_1", "stem_2"):
        state |= _convolution(name, next(weighty), next(weighty))
    for number in range(len(WIDTHS) - 1):
        for part in (1, 2):
            state |= _separable(f"blocks.{number}", part, next(weighty), next(weighty))
        state |= _convolution(f"blocks.{number}.beside", next(weighty), next(weighty))
    last = next(weighty)
    state |= {"classes.weight": _kernel(last, "kernel"), "classes.bias": _tensor(last, "bias")}
    _check_shapes(state)
    return {name: torch.from_numpy(np.ascontiguousarray(values, np.float32)) for name, values in state.items()}


def _architecture() -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers, in the order of the file, and what each must say of itself."""
    normalised = ("BatchNormalization", {"axis": -1, "center": True, "scale": True})
    relu = ("Activation", {"activation": "relu"})
    plain = {"data_format": "channels_last", "dilation_rate": [1, 1], "activation": "linear"}

    def convolution(filters: int, side: int, stride: int, padding: str, use_bias: bool = False) -> tuple[str, Any]:
        return "Conv2D", plain | {
            "filters": filters, "kernel_size": [side, side], "strides": [stride, stride], "padding": padding,
            "use_bias": use_bias,
        }  # fmt: skip

    yield "InputLayer", {"batch_input_shape": [None, SIDE, SIDE, 1]}
    for _ in range(2):
        yield from (convolution(WIDTHS[0], 3, 1, "valid"), normalised, relu)
    for filters in WIDTHS[1:]:
        separable = "SeparableConv2D", plain | {
            "filters": filters, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "use_bias": False,
            "depth_multiplier": 1,
        }  # fmt: skip
        yield from (separable, normalised, relu, separable, normalised)
        yield convolution(filters, 1, 2, "same")
        yield "MaxPooling2D", {"pool_size": [3, 3], "strides": [2, 2], "padding": "same"}
        yield from (normalised, ("Add", {}))
    yield convolution(CLASSES, 3, 1, "same", use_bias=True)
    yield from (("GlobalAveragePooling2D", {}), ("Activation", {"activation": "softmax"}))


def _convolution(name: str, layer: KerasLayer, norm: KerasLayer) -> dict[str, NDArray[np.float64]]:
    scale, bias = _affine(norm)
    return {f"{name}.weight": _scaled(_kernel(layer, "kernel"), scale), f"{name}.bias": bias}


def _separable(name: str, part: int, layer: KerasLayer, norm: KerasLayer) -> dict[str, NDArray[np.float64]]:
    scale, bias = _affine(norm)
    return {
        f"{name}.depthwise_{part}.weight": _kernel(layer, "depthwise_kernel").transpose(1, 0, 2, 3),
        f"{name}.pointwise_{part}.weight": _scaled(_kernel(layer, "pointwise_kernel"), scale),
        f"{name}.pointwise_{part}.bias": bias,
    }


def _affine(norm: KerasLayer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What batch normalisation multiplies by, and what it adds."""
    epsilon = norm.settings.get("epsilon")
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise ValueError(f"{norm.name} has the epsilon {epsilon!r}")
    gamma, beta, mean, variance = (_tensor(norm, name) for name in ("gamma", "beta", "moving_mean", "moving_variance"))
    if len({values.shape for values in (gamma, beta, mean, variance)}) > 1 or (variance < 0).any():
        raise ValueError(f"{norm.name} has tensors that do not fit together")
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - scale * mean


def _scaled(kernel: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    if kernel.shape[:1] != scale.shape:
        raise ValueError(f"a kernel of {kernel.shape[0]} filters has {len(scale)} normalised channels")
    return kernel * scale[:, None, None, None]


def _kernel(layer: KerasLayer, name: str) -> NDArray[np.float64]:
    """[height,width,input,output], as Keras has it -> [output,input,height,width]."""
    values = _tensor(layer, name)
    if values.ndim != 4:
        raise ValueError(f"{name} of {layer.name} has {values.ndim} dimensions, not 4")
    return values.transpose(3, 2, 0, 1)


def _tensor(layer: KerasLayer, name: str) -> NDArray[np.float64]:
    if name not in layer.tensors:
        raise ValueError(f"{layer.name} has no {name}")
    return layer.tensors[name].astype(np.float64)


def _check_shapes(state: dict[str, NDArray[np.float64]]) -> None:
    for name, tensor in FoldedXception().state_dict().items():
        if state[name].shape != tuple(tensor.shape):
            raise ValueError(f"{name} is {list(state[name].shape)}, not {list(tensor.shape)}")
