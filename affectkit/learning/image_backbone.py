"""Images through a network: device, preprocessing, numerics and one fixed batch shape, for every image backbone.

**Whole crops.** A face crop is resized whole to the network's input size. A model's `crop_pct` describes ImageNet
evaluation, where the subject is somewhere in a photograph; cutting it out of a face crop would cut off chin and hair
line, and what the detector's margin was chosen to keep. Resizing is antialiased, as Pillow's, but is not rounded to
whole grey levels; crops that have the input size already are not resized.

**Bit-equal.** The network always runs one batch shape, the last rows padded with black. On CPU, matrix products split
over threads give a row's last digit a dependence on its position unless the batch is a multiple of 8 (measured with
MKL and oneDNN on 1 to 12 threads), so other sizes are padded up to one: an embedding is then the same bits wherever in
a batch it was computed and beside whatever. A batch of 1 stays 1.

**Numerics.** float32 means float32: TF32 is off within the forward pass, and so is cuDNN's autotuning, whose choice of
algorithm varies from run to run. Relative L2 distance to it, over a batch of embeddings: channels_last, compile,
another batch shape or device within 1e-4 (measured on CPU: 1e-6); float16 within 2e-2 (7e-3 on EfficientNet-Lite0,
1e-3 on ResNet and ViT); bfloat16 within 1e-1 (6e-2 and 7e-3). On a CPU without instructions for them the
lower precisions are many times slower, while channels_last speeds EfficientNet-Lite0 up by half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Numerics, Precision
from affectkit.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


Forward = Callable[["Tensor"], "Tensor"]
"""Normalised float32 [N,3,H,W] -> [N,D]."""

BATCH_SIZE = 32
ROWS = 8
"""Batch shapes are a multiple of this."""


@dataclass(frozen=True)
class Preprocessing:
    """Input size (height, width), mean and standard deviation of each channel (of pixels in 0..1), interpolation."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]

    def resize(self, pixels: Tensor) -> Tensor:
        """float32 [N,3,h,w] in 0..255 -> [N,3,H,W] in 0..255, antialiased."""
        from torch.nn.functional import interpolate

        if tuple(pixels.shape[-2:]) == self.size:
            return pixels
        resized = interpolate(pixels, self.size, mode=self.interpolation, antialias=True, align_corners=False)
        return resized.clamp_(0, 255) if self.interpolation == "bicubic" else resized  # bicubic overshoots

    def normalise(self, pixels: Tensor) -> Tensor:
        """(pixels / 255 - mean) / std, in place."""
        std = pixels.new_tensor(self.std).view(1, 3, 1, 1)
        mean = pixels.new_tensor(self.mean).view(1, 3, 1, 1)
        return pixels.mul_(1 / (255 * std)).sub_(mean / std)


class ImageNetwork:
    """A network on its device: uint8 images in, embeddings out.

    `forward` runs `module` on a preprocessed batch. `dim` is the embedding's dimension. Raises UsageError when
    `forward` gives anything but one vector an image.
    """

    def __init__(self, module: nn.Module, forward: Forward, preprocessing: Preprocessing, numerics: Numerics) -> None:
        import torch

        self._device = torch.device(numerics.device)
        self._format = torch.channels_last if numerics.channels_last else torch.contiguous_format
        self._precision = numerics.precision
        self._preprocessing = preprocessing
        self._forward = forward
        module.eval().requires_grad_(False).to(self._device)
        if numerics.channels_last:
            module.to(memory_format=torch.channels_last)
        self.rows = fixed_rows(numerics.batch_size or BATCH_SIZE)
        self.dim = self._probe()
        if numerics.compile:
            self._forward = torch.compile(forward, dynamic=False)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that images are resized to."""
        return self._preprocessing.size

    def __call__(self, images: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] (numpy or torch) -> float32 [N,D]."""
        batch = as_batch(images)
        parts = [self._embed(chunk) for chunk in batch.split(self.rows)] if len(batch) else []
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])

    def prepare(self, batch: Tensor) -> Tensor:
        """uint8 [N,3,h,w] anywhere -> normalised float32 [N,3,H,W] on the device, in the chosen memory format."""
        import torch

        if self._device.type == "cuda" and batch.device.type == "cpu":
            batch = batch.pin_memory()
        pixels = batch.to(self._device, non_blocking=True).to(torch.float32, memory_format=self._format)
        pixels = self._preprocessing.resize(pixels)
        return self._preprocessing.normalise(pixels).contiguous(memory_format=self._format)

    def _embed(self, batch: Tensor) -> NDArray[np.float32]:
        import torch

        count = len(batch)
        if count < self.rows:
            batch = torch.cat([batch, batch.new_zeros((self.rows - count, *batch.shape[1:]))])
        with arithmetic(self._device, self._precision):
            values = self._forward(self.prepare(batch))
            embeddings: NDArray[np.float32] = values.float().cpu().numpy()
        return embeddings[:count]

    def _probe(self) -> int:
        import torch

        height, width = self._preprocessing.size
        blank = torch.zeros((1, 3, height, width), dtype=torch.uint8)
        try:
            with arithmetic(self._device, self._precision):
                shape = tuple(self._forward(self.prepare(blank)).shape)
        except (RuntimeError, AssertionError, ValueError, ZeroDivisionError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(f"the network cannot embed an image of {width} x {height} pixels: {reason}") from None
        if len(shape) != 2 or shape[0] != 1:
            raise UsageError(f"the layer gives {list(shape)} for one image, not one vector: choose another layer")
        return shape[1]


def fixed_rows(batch_size: int) -> int:
    """The batch shape that is run for a batch size.

    >>> [fixed_rows(size) for size in (1, 5, 8, 32)]
    [1, 8, 8, 32]
    """
    return 1 if batch_size == 1 else -(-batch_size // ROWS) * ROWS


def as_batch(images: Any) -> Tensor:
    """uint8 [N,3,H,W], numpy or torch, as a tensor; copied only where torch cannot share it. Raises ValueError."""
    import torch

    if isinstance(images, np.ndarray):
        shareable = images.flags.writeable and all(stride >= 0 for stride in images.strides)
        images = torch.from_numpy(images if shareable else images.copy())
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images are uint8 [N,3,H,W], not {images.dtype} {list(images.shape)}")
    batch: Tensor = images
    return batch


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Inference at a precision: no autograd, no TF32, no autotuning; the process's own settings come back after."""
    import torch

    lower = torch.bfloat16 if precision == "float32" else getattr(torch, precision)
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with (
        torch.inference_mode(),
        cudnn if device.type == "cuda" else _as_it_is(),
        torch.autocast(device.type, dtype=lower, enabled=precision != "float32"),
    ):
        yield


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


FRIENDLY = {"fc1": "pre_logits.act1", "fc2": "pre_logits.act2"}
"""The fully connected layers of VGG as Keras and DeepSpectrum name them: their output is after the ReLU."""


def output(network: nn.Module, layer: str) -> Forward:
    """The function from a normalised batch [N,3,H,W] to [N,D].

    - `pooled`: what the classifier would see (VGG: fc2, 4096-d);
    - `logits`: what the classifier says;
    - `fc1`, `fc2` of VGG; or a module's path in the network, such as `layer3` or `blocks.11`. Maps are averaged over
      space; tokens are pooled as the network itself does it: its class token, or the mean of the patch tokens.

    The pass ends at a named module: what lies behind it is not computed. Raises UsageError for a layer that is not
    there, with the nearest name.
    """
    if layer == "pooled":
        return lambda batch: network.forward_head(network.forward_features(batch), pre_logits=True)  # type: ignore[operator]
    if layer == "logits":
        return lambda batch: network(batch)
    modules = {name: module for name, module in network.named_modules() if name}
    path = layer if layer in modules else FRIENDLY.get(layer, layer)
    if path not in modules:
        raise _no_layer(network, layer, modules)
    return _until(network, modules[path], layer)


def _no_layer(network: nn.Module, layer: str, modules: Iterable[str]) -> UsageError:
    friendly = ["pooled", "logits", *(name for name, target in FRIENDLY.items() if target in modules)]
    near = get_close_matches(layer, [*friendly, *modules], n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    parts = ", ".join(name for name, _ in network.named_children())
    return UsageError(
        f"unknown layer '{layer}':{hint} (accepted: {', '.join(friendly)}, or the path of a module within: {parts})"
    )


class _Reached(Exception):
    def __init__(self, values: Tensor) -> None:
        self.values = values


def _until(network: nn.Module, module: nn.Module, layer: str) -> Forward:
    def stop(module: nn.Module, _inputs: Any, values: Any) -> None:
        if not hasattr(values, "ndim"):
            raise UsageError(f"layer '{layer}' gives a {type(values).__name__}, not a tensor: choose another layer")
        raise _Reached(pool(network, module, values))

    module.register_forward_hook(stop)

    def forward(batch: Tensor) -> Tensor:
        try:
            network(batch)
        except _Reached as reached:
            return reached.values
        raise UsageError(f"layer '{layer}' takes no part in the forward pass: choose another layer")

    return forward


def pool(network: nn.Module, module: nn.Module, values: Tensor) -> Tensor:
    """One vector an image from a module's output: [N,C,H,W] or [N,H,W,C] -> mean over space, [N,L,C] -> class token
    or mean of the patch tokens, [N,C] as it is."""
    from torch import nn

    values = values.float()
    if values.ndim == 4:
        last = getattr(network, "output_fmt", "NCHW") == "NHWC" and not isinstance(module, nn.Conv2d)
        return values.mean((1, 2) if last else (2, 3))
    if values.ndim == 3:
        if getattr(network, "global_pool", "") == "token":
            return values[:, 0]
        return values[:, getattr(network, "num_prefix_tokens", 0) :].mean(1)
    return values


SEED = 0


@contextmanager
def seeded() -> Iterator[None]:
    """Draw from `SEED`, whatever the process drew before; torch's own generator is left as it was."""
    import torch

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(SEED)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
