"""DeepSpectrum: a mel spectrogram drawn as a picture, seen by an image network.

`-o net=vgg16 -o net.layer=fc2` (4096-d) is the network of the papers. What differs from the program that they used:

- The picture goes through the image backbone's own preprocessing: resized to the network's input, then timm's own mean
  and deviation in red, green, blue. The program swaps red and blue and subtracts nothing, whatever the network.
- It trims zeros off both ends of a file and draws a short last window as wide as the others, so that time runs slower
  in it; here a short last window is filled with zeros. Those lie at the floor of 1e-10, so the range of that picture
  is wider: `top_db=80` makes pictures alike whether or not they hold silence.
- `fmax` is the upper end of the mel bands. The program's cuts the spectrum but not the bands, which moves every band.

Windows of sound become pictures, mel spectrograms in the colour map viridis, as DeepSpectrum draws them.

**Spectrogram** (Amiriparian et al., "Snore sound classification using image-based deep spectrum features", Interspeech
2017, and its program): Hann windows of the next power of two of int(0.025 sampling rate) samples, half a window apart,
none beyond the ends; power; mel bands (Slaney, area-normalised); 10 log10 of at least 1e-10, less the window's own
maximum. The range is the window's own too, all of it: the darkest colour is its minimum (`top_db` cuts it off).

**Picture.** DeepSpectrum plots that with `librosa.display.specshow(y_axis="mel", x_axis="time")` on 227 x 227 pixels
without a border and reads the plot back. Here each pixel takes the level of the cell that holds its centre, which is
what the plot comes to: one cell a frame, all of one width; one cell a band, from the middle between its own mel
frequency and the last one's to the middle between it and the next one's, on librosa's mel axis (linear to 1 kHz, then
an octave as high as 500 Hz before). Low frequencies lie at the bottom, time runs to the right, level i of 256 holds
[i, i + 1) / 256 of the range. One constant level (silence) is the darkest colour.

**Arithmetic** is float64 until the level, and one window at a time: a picture is the same bits beside whatever other
windows. It is the plot's pixel for pixel (measured: none of 12.9 million differed, over 250 sounds of 0.06 to 5 s).
Only where a value lies on the border of two levels within rounding could one differ, by 3 of 255 at most.
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
from affectkit.devices import threads_of_torch
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
    name, plugin, options = plugins.backbone(net.name, net.texts)
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


SIDE = 227
"""Pixels a side."""

FLOOR = 1e-10
"""The least power that is told from silence."""

LINEAR_TO = 1000.0
"""Hz: the mel axis is linear below and logarithmic above."""


class Spectrograms:
    """Draws windows of sound on a device.

    `fmax` is the highest frequency (Hz; default half the sampling rate), `top_db` the range below the maximum that is
    kept. Raises UsageError where `n_mels` bands are too narrow to hold a frequency of the spectrum each.
    """

    def __init__(self, sampling_rate: int, n_mels: int, fmax: float | None, top_db: float | None, device: str) -> None:
        import torch

        self._sampling_rate = sampling_rate
        self._n_mels = n_mels
        self.window = stft_window(sampling_rate)
        self.hop = self.window // 2
        top = fmax or sampling_rate / 2
        self._top_db = top_db
        self._bands = torch.from_numpy(mel_bands(sampling_rate, self.window, n_mels, top)).to(device)
        self._hann = torch.hann_window(self.window, dtype=torch.float64, device=device)
        self._rows = torch.from_numpy(band_of_row(n_mels, top)).to(device)
        self._colours = torch.from_numpy(table()).to(device).T.contiguous()  # [3,256]

    def frames(self, samples: int) -> int:
        """How many frames a window of that many samples has."""
        return 1 + (samples - self.window) // self.hop if samples >= self.window else 0

    def __call__(self, windows: NDArray[np.float32]) -> Tensor:
        """float32 [N,S] of at least one frame -> uint8 [N,3,227,227] on the device."""
        import torch

        columns = frame_of_column(self.frames(windows.shape[1]), self._sampling_rate, self.hop)
        cells = torch.from_numpy(columns).to(self._rows.device) * self._n_mels + self._rows[:, None]  # [227,227]
        sound = torch.from_numpy(np.array(windows)).to(self._rows.device)
        pictures = self._colours.new_empty((len(windows), 3, SIDE, SIDE))
        # A window is too little work to share: threads would wait for each other longer than they compute.
        with torch.inference_mode(), threads_of_torch(1):
            for window, picture in zip(sound, pictures, strict=True):
                levels = self.levels(window).flatten().index_select(0, cells.flatten())
                for channel, colours in zip(picture, self._colours, strict=True):
                    channel.copy_(colours.index_select(0, levels).view(SIDE, SIDE))
        return pictures

    def decibels(self, window: Tensor) -> Tensor:
        """[S] -> float64 [F,n_mels], dB below the window's maximum."""
        import torch

        frames = window.double().unfold(0, self.window, self.hop) * self._hann  # [F,window]
        spectrum = torch.fft.rfft(frames)
        power = spectrum.real.square() + spectrum.imag.square()
        level = (power @ self._bands).clamp_(min=FLOOR).log10_().mul_(10)
        level -= level.max()
        return level if self._top_db is None else level.clamp_(min=-self._top_db)

    def levels(self, window: Tensor) -> Tensor:
        """[S] -> int [F,n_mels], 0..255."""
        level = self.decibels(window)
        low, high = level.aminmax()
        span = high - low
        return level.sub_(low).div_(span.where(span > 0, 1)).mul_(256).int().clamp_(max=255)


def stft_window(sampling_rate: int) -> int:
    """Samples of one frame: 25 ms, up to the next power of two.

    >>> stft_window(16000), stft_window(44100)
    (512, 2048)
    """
    return 1 << (int(0.025 * sampling_rate) - 1).bit_length()


def mel_bands(sampling_rate: int, window: int, n_mels: int, fmax: float) -> NDArray[np.float64]:
    """[window / 2 + 1, n_mels] weights of each frequency in each band. Raises UsageError for an empty band."""
    import warnings

    from librosa.filters import mel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # librosa's own about empty bands
        bands = mel(sr=sampling_rate, n_fft=window, n_mels=n_mels, fmax=fmax)
    empty = int((bands.max(axis=1) == 0).sum())
    if empty:
        raise UsageError(
            f"{n_mels} mel bands up to {fmax:g} Hz leave {empty} of them without a frequency "
            f"({sampling_rate / window:g} Hz apart): give fewer with n_mels, or a higher fmax"
        )
    return np.ascontiguousarray(bands.T, np.float64)


def band_of_row(n_mels: int, fmax: float) -> NDArray[np.int64]:
    """[227] the band that each row of pixels shows, from the top."""
    from librosa import mel_frequencies

    edges = cell_edges(mel_frequencies(n_mels, fmin=0.0, fmax=fmax))
    return cell_of_pixel(mel_axis(edges))[::-1].copy()


def frame_of_column(frames: int, sampling_rate: int, hop: int) -> NDArray[np.int64]:
    """[227] the frame that each column of pixels shows."""
    if frames == 1:
        return np.zeros(SIDE, np.int64)
    return cell_of_pixel(cell_edges(np.arange(frames) * hop / sampling_rate))


def cell_edges(centres: Floats) -> Floats:
    """[n] centres -> [n + 1] edges, in the middle between two; the outer ones as far out as the next ones in.

    >>> cell_edges(np.array([0.0, 2.0, 6.0])).tolist()
    [-1.0, 1.0, 4.0, 8.0]
    """
    half = np.diff(centres) * 0.5
    return np.concatenate([centres[:1] - half[:1], centres[:-1] + half, centres[-1:] + half[-1:]])


def cell_of_pixel(edges: Floats) -> NDArray[np.int64]:
    """[n + 1] edges -> [227] the cell that holds each pixel's centre.

    The middle of the picture is an edge where n is even. Which of the two cells a centre on an edge belongs to is up to
    rounding, in matplotlib and so here: the same operations in the same order.

    >>> cell_of_pixel(np.array([0.0, 1.0, 2.0]))[[0, 112, 113, 226]].tolist()
    [0, 0, 0, 1]
    """
    scale = 1 / (edges[-1] - edges[0])
    first = np.floor(SIDE * scale * edges + SIDE * (-edges[0] * scale) + 0.5)  # pixel of each edge
    return np.searchsorted(first, np.arange(SIDE), side="right") - 1


def mel_axis(hertz: Floats) -> Floats:
    """Height on librosa's mel axis, a symmetric logarithm to base 2.

    >>> mel_axis(np.array([500.0, 1000.0, 2000.0, 4000.0])).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return np.where(hertz > LINEAR_TO, 2 + np.log2(np.maximum(hertz, LINEAR_TO) / LINEAR_TO), 2 * hertz / LINEAR_TO)


COLOURS = bytes.fromhex("""
44015444025645045745055946075a46085c460a5d460b5e470d60470e61471063471164471365481467481668481769
48186a481a6c481b6d481c6e481d6f481f70482071482173482374482475482576482677482878482979472a7a472c7a
472d7b472e7c472f7d46307e46327e46337f463480453581453781453882443983443a83443b84433d84433e85423f85
4240864241864142874144874045884046883f47883f48893e49893e4a893e4c8a3d4d8a3d4e8a3c4f8a3c508b3b518b
3b528b3a538b3a548c39558c39568c38588c38598c375a8c375b8d365c8d365d8d355e8d355f8d34608d34618d33628d
33638d32648e32658e31668e31678e31688e30698e306a8e2f6b8e2f6c8e2e6d8e2e6e8e2e6f8e2d708e2d718e2c718e
2c728e2c738e2b748e2b758e2a768e2a778e2a788e29798e297a8e297b8e287c8e287d8e277e8e277f8e27808e26818e
26828e26828e25838e25848e25858e24868e24878e23888e23898e238a8d228b8d228c8d228d8d218e8d218f8d21908d
21918c20928c20928c20938c1f948c1f958b1f968b1f978b1f988b1f998a1f9a8a1e9b8a1e9c891e9d891f9e891f9f88
1fa0881fa1881fa1871fa28720a38620a48621a58521a68522a78522a88423a98324aa8325ab8225ac8226ad8127ad81
28ae8029af7f2ab07f2cb17e2db27d2eb37c2fb47c31b57b32b67a34b67935b77937b87838b9773aba763bbb753dbc74
3fbc7340bd7242be7144bf7046c06f48c16e4ac16d4cc26c4ec36b50c46a52c56954c56856c66758c7655ac8645cc863
5ec96260ca6063cb5f65cb5e67cc5c69cd5b6ccd5a6ece5870cf5773d05675d05477d1537ad1517cd2507fd34e81d34d
84d44b86d54989d5488bd6468ed64590d74393d74195d84098d83e9bd93c9dd93ba0da39a2da37a5db36a8db34aadc32
addc30b0dd2fb2dd2db5de2bb8de29bade28bddf26c0df25c2df23c5e021c8e020cae11fcde11dd0e11cd2e21bd5e21a
d8e219dae319dde318dfe318e2e418e5e419e7e419eae51aece51befe51cf1e51df4e61ef6e620f8e621fbe723fde725
""")
"""Red, green and blue of each level, each rounded to the nearest of 0..255."""


def table() -> NDArray[np.uint8]:
    """uint8 [256,3].

    >>> table()[[0, 255]].tolist()
    [[68, 1, 84], [253, 231, 37]]
    """
    return np.frombuffer(COLOURS, np.uint8).reshape(256, 3).copy()
