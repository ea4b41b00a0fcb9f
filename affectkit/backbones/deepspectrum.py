"""DeepSpectrum: a mel spectrogram drawn as a picture, seen by an image network.

`-o net=vgg16 -o net.layer=fc2` (4096-d) is the network of the papers. What differs from the program that they used:

- The picture goes through the image backbone's own preprocessing: resized to the network's input, then timm's own mean
  and deviation in red, green, blue. The program swaps red and blue and subtracts nothing, whatever the network.
- It trims zeros off both ends of a file and draws a short last window as wide as the others, so that time runs slower
  in it; here a short last window is filled with zeros. Those lie at the floor of 1e-10, so the range of that picture
  is wider: `top_db=80` makes pictures alike whether or not they hold silence.
- `fmax` is the upper end of the mel bands. The program's cuts the spectrum but not the bands, which moves every band.

How a picture is made is told in `_spectrogram.py`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from affectkit import plugins
from affectkit.config import Config, Numerics
from affectkit.errors import UsageError
from affectkit.plugins import Nested
from affectkit.types import Floats
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor

SAMPLING_RATE = 16000
NET = Nested(name="efficientnet-lite0")


class DeepSpectrumOptions(Config):
    """What is drawn, and which network looks at it."""

    net: Nested = Field(NET, description="image backbone, with its options as net.KEY (net=vgg16, net.layer=fc2)")
    n_mels: int = Field(128, ge=8, le=512, description="mel bands")
    fmax: float | None = Field(
        None, ge=100, le=SAMPLING_RATE / 2, description="highest frequency in Hz (default: half the sampling rate)"
    )
    top_db: float | None = Field(
        None, gt=0, description="range of a picture in dB below its maximum (default: all that is there)"
    )
    images: bool = Field(False, description="keep each window's picture; export --to images writes them")

    @field_validator("net", mode="before")
    @classmethod
    def _of_the_default(cls, given: Any) -> Any:
        """`net.layer=logits` alone is an option of the default network."""
        return {"name": NET.name} | given if isinstance(given, dict) else given


class DeepSpectrum:
    """Pictures of spectrograms, 227 x 227 pixels, through an image backbone: one embedding a window."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "zero"
    Options: ClassVar[type[Config]] = DeepSpectrumOptions
    sampling_rate = SAMPLING_RATE
    names: Mapping[str, list[str]] = {}

    @classmethod
    def weights(cls, options: DeepSpectrumOptions, choice: str) -> WeightsFile:
        """Those of the network. Raises what the network's own does, and UsageError where it is none for images."""
        plugin, inner = network(options.net)
        file: WeightsFile = plugin.weights(inner, choice)
        return file

    def __init__(self, options: DeepSpectrumOptions, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.backbones._spectrogram import Spectrograms

        plugin, inner = network(options.net)
        self._draw = Spectrograms(SAMPLING_RATE, options.n_mels, options.fmax, options.top_db, numerics.device)
        self._net = plugin(inner, weights, numerics)
        self.images = options.images
        self.outputs = {"values": int(self._net.dim)}

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the whole window; none for less than one frame of the spectrogram (512 samples)."""
        rows = min(1, self._draw.frames(samples))
        return np.zeros(rows), np.full(rows, samples / SAMPLING_RATE)

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S] -> values float32 [N,1,D]; with `images`, N lists of one PNG each."""
        count, samples = batch.shape
        rows = len(self.frames(samples)[0])
        values = np.zeros((count, rows, self.outputs["values"]), np.float32)
        pictures: list[list[bytes]] = [[] for _ in range(count)]
        if rows and count:
            drawn = self._draw(batch)
            values[:, 0] = self._net(drawn)
            pictures = [[png(picture)] for picture in drawn] if self.images else pictures
        return {"values": values, "image": pictures} if self.images else {"values": values}


def network(net: Nested) -> tuple[type[Any], Config]:
    """The image backbone and its options. Raises UsageError for one that is not for images."""
    name, plugin, options = plugins.backbone(net.name, net.given)
    if plugin.kind != "image":
        known = [other for other in plugins.names("backbones") if plugins.get("backbones", other).kind == "image"]
        raise UsageError(
            f"net '{name}' of deepspectrum hears sound, and must see images: give {', '.join(known)} or a timm model"
        )
    return plugin, options


def png(picture: Tensor) -> bytes:
    """uint8 [3,H,W] as the bytes of a PNG."""
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()).save(encoded, "PNG")
    return encoded.getvalue()


PLUGIN = DeepSpectrum
