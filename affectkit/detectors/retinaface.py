"""RetinaFace with a ResNet50 backbone: the network and weights of retinaface-pytorch, the most accurate detector here.

Only the package's network module is imported; its predict_single takes seconds to import and needs OpenCV.

RetinaFace, whatever its backbone: batches are resized, normalised, run and thresholded on the device.

RetinaFace's anchors: prior boxes over three strides, and what its regressions mean relative to them.

Source: Deng et al., RetinaFace, arXiv 1905.00641, with the sizes of the public PyTorch checkpoints.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.checkpoints import load_strictly, state_dict
from affectkit.config import Config
from affectkit.detectors._boxes import DetectorOptions, Fit, detections, fit, require_frames
from affectkit.types import Detections, Floats
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    import torch


class RetinaFaceOptions(DetectorOptions):
    """Batches always have `batch_size` frames, the last one padded: a result never depends on the neighbours."""

    batch_size: int = Field(4, ge=1, le=256, description="fixed batch shape of the network")


class RetinaFace:
    """Runs a RetinaFace network on frames.

    `network` maps [B,3,h,w] to box [B,P,4], class [B,P,2] and landmark [B,P,10] regressions. Its inputs are
    (pixel - mean) / std with mean and std [3] of red, green and blue on the scale 0..255; padding is zero, which is the
    mean colour. `bgr`: the checkpoint wants blue first.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        weights: WeightsFile,
        options: RetinaFaceOptions,
        device: str,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        bgr: bool = False,
    ) -> None:
        import torch

        assert weights.path is not None, "a detector never runs on random weights"
        load_strictly(network, state_dict(weights.path), weights.path)
        if bgr:
            _swap_input_channels(network)
        _fold_batch_norm(network.eval())
        self._network = network.to(memory_format=torch.channels_last).to(torch.device(device))
        self._options = options
        self._device = torch.device(device)
        self._mean = torch.tensor(mean, device=device)
        self._gain = None if set(std) == {1.0} else 1 / torch.tensor(std, device=device)

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB -> N `Detections`."""
        import torch

        require_frames(frames)
        options, size = self._options, self._options.batch_size
        where = fit(frames.shape[2], frames.shape[1], options.max_size, options.upscale)
        found: list[Detections] = []
        with torch.inference_mode():
            for first in range(0, len(frames), size):
                found += self._batch(frames[first : first + size], where)
        return found

    def _batch(self, frames: NDArray[np.uint8], where: Fit) -> list[Detections]:
        import torch

        offsets, classes, points = self._network(self._input(frames, where))
        scores = classes.softmax(dim=-1)[: len(frames), :, 1]  # [n,P], without the padding of the batch
        frame, anchor = (scores > self._options.threshold).nonzero(as_tuple=True)
        every = torch.cat([scores[..., None], offsets[: len(frames)], points[: len(frames)]], dim=2)  # [n,P,15]
        rows, of, at = (each.cpu().numpy() for each in (every[frame, anchor], frame, anchor))
        anchors = priors(where.padded_width, where.padded_height)[at]
        return [self._decode(rows[of == i], anchors[of == i], where) for i in range(len(frames))]

    def _decode(self, rows: Floats, anchors: Floats, where: Fit) -> Detections:
        """One frame at a time, so that rounding cannot depend on how many faces the others have."""
        boxes, landmarks = decode_boxes(rows[:, 1:5], anchors), decode_landmarks(rows[:, 5:], anchors)
        return detections(boxes, rows[:, 0], landmarks, where, self._options.nms)

    def _input(self, frames: NDArray[np.uint8], where: Fit) -> torch.Tensor:
        """uint8 [n,H,W,3] -> float32 [B,3,h,w] on the device, frame by frame: 4K frames as floats are large."""
        import torch

        pixels = torch.from_numpy(frames.copy()).to(self._device).permute(0, 3, 1, 2)
        shape = (self._options.batch_size, where.padded_height, where.padded_width, 3)
        batch = torch.empty(shape, device=self._device)
        batch[len(frames) :] = batch[:, where.height :] = batch[:, :, where.width :] = 0
        for i in range(len(frames)):
            inner = batch[i, : where.height, : where.width]  # [h,w,3]: normalised in one pass over the memory
            torch.sub(_resized(pixels[i : i + 1], where)[0].permute(1, 2, 0), self._mean, out=inner)
            if self._gain is not None:
                inner.mul_(self._gain)
        return batch.permute(0, 3, 1, 2)


def _resized(pixels: torch.Tensor, where: Fit) -> torch.Tensor:
    """uint8 [1,3,H,W] -> whole numbers [1,3,h,w], bilinear and antialiased."""
    from torch.nn.functional import interpolate

    if not where.resized:
        return pixels
    if pixels.is_cuda:  # resizes floats only
        pixels = pixels.float()
    image = interpolate(pixels, (where.height, where.width), mode="bilinear", antialias=True)
    return image.round() if image.is_floating_point() else image


def _swap_input_channels(network: torch.nn.Module) -> None:
    """Turn the first convolution's weights round once, instead of every frame."""
    from torch.nn import Conv2d

    first = next(module for module in network.modules() if isinstance(module, Conv2d))
    first.weight.data = first.weight.data.flip(1)


def _fold_batch_norm(network: torch.nn.Module) -> None:
    """Fold each batch norm into the convolution declared just before it: the same function, a third faster on a CPU."""
    from torch.nn import BatchNorm2d, Conv2d, Identity
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        children = list(module.named_children())
        for (name, conv), (next_name, norm) in pairwise(children):
            if isinstance(conv, Conv2d) and isinstance(norm, BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, next_name, Identity())


STRIDES = (8, 16, 32)
SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)


@lru_cache(maxsize=8)
def priors(width: int, height: int) -> NDArray[np.float32]:
    """Prior boxes [P,4] of an image size: centre x, centre y, width, height in pixels.

    Ordered as the network's outputs are: by stride, row, column, size.

    >>> priors(32, 32)[:3].tolist()
    [[4.0, 4.0, 16.0, 16.0], [4.0, 4.0, 32.0, 32.0], [12.0, 4.0, 16.0, 16.0]]
    """
    levels = []
    for stride, sizes in zip(STRIDES, SIZES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, size = np.meshgrid(np.arange(rows), np.arange(columns), np.array(sizes), indexing="ij")
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, size, size], axis=-1).reshape(-1, 4))
    found = np.concatenate(levels).astype(np.float32)
    found.flags.writeable = False  # it is cached
    return found


def decode_boxes(offsets: Floats, anchors: Floats) -> Floats:
    """Regressions [M,4] at anchors [M,4] -> boxes [M,4] (x0, y0, x1, y1 in pixels)."""
    centre = anchors[:, :2] + offsets[:, :2] * VARIANCES[0] * anchors[:, 2:]
    with np.errstate(over="ignore"):  # boxes that are not finite are dropped later
        size = anchors[:, 2:] * np.exp(offsets[:, 2:] * VARIANCES[1])
    low = centre - size / 2
    return np.concatenate([low, low + size], axis=1)


def decode_landmarks(offsets: Floats, anchors: Floats) -> Floats:
    """Regressions [M,10] at anchors [M,4] -> points [M,5,2] (x, y in pixels)."""
    return anchors[:, None, :2] + offsets.reshape(-1, 5, 2) * VARIANCES[0] * anchors[:, None, 2:]


NAME = "retinaface-resnet50"
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class ResNet50Options(RetinaFaceOptions):
    """Score and size as in the reference, which however also enlarges small frames to `max_size`."""

    threshold: float = Field(0.7, ge=0, le=1, description="a face's score must be above this")
    max_size: int = Field(960, ge=32, le=4096, description="longest side of the frame as the network sees it")


class RetinaFaceResNet50:
    """Faces by RetinaFace ResNet50."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = ResNet50Options

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """auto: the package's release, downloaded once; else a path. Raises UsageError."""
        return weight_files.release(NAME) if choice == "auto" else weight_files.local(Path(choice), NAME)

    def __init__(self, options: ResNet50Options, weights: WeightsFile, device: str) -> None:
        self._detector = RetinaFace(_network(), weights, options, device, mean=MEAN, std=STD)

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB -> N `Detections`."""
        return self._detector(frames)


def _network() -> torch.nn.Module:
    import torch
    from retinaface.network import RetinaFace as Network

    layers = {"layer2": 1, "layer3": 2, "layer4": 3}
    with warnings.catch_warnings(), torch.device("meta"):  # every tensor comes from the checkpoint: draw none
        warnings.filterwarnings("ignore", message="The parameter 'pretrained'", category=UserWarning)
        warnings.filterwarnings("ignore", message="Arguments other than a weight enum", category=UserWarning)
        network = Network("Resnet50", pretrained=False, in_channels=256, return_layers=layers, out_channels=256)
    return network.to_empty(device="cpu")


PLUGIN = RetinaFaceResNet50
