"""A published network in an ONNX file, by what its card says: scores, and what its last layer reads.

**One at a time.** Crops and windows go through the network one by one, so a row cannot depend on its neighbours: batch
normalisation that somebody left in training mode, products split over threads and graphs that were exported with one
batch size are no matter. On a CPU larger batches are slower (EfficientNet-B0 on two threads: 76 crops a second one by
one, 51 in batches of 8, 29 of 32).

**What is checked.** When a model is loaded, noise is sent through it: each result must have the columns that the card
names, and must be probabilities where the card says so, and must not be where the card wants a softmax of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config, Numerics
from affectkit.errors import AffectkitError, UsageError
from affectkit.learning import onnx_cards, onnx_files
from affectkit.learning.onnx_cards import Activation, OnnxCard
from affectkit.plugins import ModelCard
from affectkit.types import Floats
from affectkit.weights import WeightsFile, local

Arrays = NDArray[np.float32]
TOGETHER = 32  # images that are resized at once
LUMA = (0.299, 0.587, 0.114)
EPSILON = 1e-7
"""Added to a window's variance, as transformers' Wav2Vec2FeatureExtractor does."""


class OnnxOptions(Config):
    """None: all is in the card."""


class OnnxModel:
    """A network in an ONNX file."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = OnnxOptions
    description: ClassVar[OnnxCard]

    @classmethod
    def card(cls, options: Config, weights: WeightsFile) -> ModelCard:
        """What its description says."""
        return cls.description.card()

    def __init__(self, options: Config, weights: WeightsFile, numerics: Numerics) -> None:
        if weights.path is None:
            raise UsageError(f"{self.description.name} is an ONNX file: it has no random weights")
        if numerics.precision != "float32" or numerics.compile or numerics.channels_last:
            raise UsageError(
                f"{self.description.name} is run by onnxruntime in float32: leave --precision, --compile and "
                "--channels-last out"
            )
        self.network = OnnxNetwork(weights.path, self.description, numerics.device)
        self.dim = self.network.dim


class OnnxImageModel(OnnxModel):
    """A network in an ONNX file that sees crops of faces."""

    kind: ClassVar[Literal["image"]] = "image"

    def __call__(self, batch: Any) -> Arrays:
        """uint8 [N,3,H,W] -> float32 [N,D], what its last layer reads."""
        return self._rows(batch, 0, self.dim)

    def scores(self, batch: Any) -> Arrays:
        """uint8 [N,3,H,W] -> float32 [N,K]."""
        return self._rows(batch, 1, self.network.columns)

    def _rows(self, batch: Any, part: int, width: int) -> Arrays:
        from affectkit.learning.image_backbone import as_batch

        rows = [np.zeros((0, width), np.float32)]
        for images in as_batch(batch).split(TOGETHER):
            pixels = resized(images, self.description)
            inputs = (picture_input(pixels[row : row + 1], self.description) for row in range(len(pixels)))
            rows += [self.network(prepared)[part] for prepared in inputs]
        return np.concatenate(rows)


class OnnxAudioModel(OnnxModel):
    """A network in an ONNX file that hears windows of sound."""

    kind: ClassVar[Literal["audio"]] = "audio"
    padding: ClassVar[Literal["zero", "none"]] = "none"
    images = False

    def __init__(self, options: Config, weights: WeightsFile, numerics: Numerics) -> None:
        super().__init__(options, weights, numerics)
        assert self.description.audio is not None
        self.sampling_rate = self.description.audio.sampling_rate
        self._least = round(self.description.audio.shortest * self.sampling_rate)
        self.outputs: Mapping[str, int] = {"values": self.dim} if self.dim else {}
        self.names: Mapping[str, list[str]] = {}

    def frames(self, samples: int) -> tuple[Floats, Floats]:
        """One row for the window; none where it is shorter than the card says."""
        count = int(samples >= self._least)
        return np.zeros(count), np.full(count, samples / self.sampling_rate)

    def __call__(self, batch: NDArray[np.float32]) -> Mapping[str, Any]:
        """float32 [N,S] -> values [N,1,D], where it has an embedding."""
        rows = self._rows(batch, 0, self.dim)
        return dict.fromkeys(self.outputs, rows)

    def scores(self, batch: NDArray[np.float32]) -> Arrays:
        """float32 [N,S] -> float32 [N,K]."""
        rows = self._rows(batch, 1, self.network.columns)
        return rows[:, 0] if rows.shape[1] else np.full((len(rows), self.network.columns), np.nan, np.float32)

    def _rows(self, batch: Any, part: int, width: int) -> Arrays:
        windows = np.asarray(batch)
        if windows.dtype != np.float32 or windows.ndim != 2:
            raise ValueError(f"windows are float32 [N,S], not {windows.dtype} {list(windows.shape)}")
        if not len(self.frames(windows.shape[1])[0]):
            return np.zeros((len(windows), 0, width), np.float32)
        rows = [self.network(sound_input(window, self.description))[part] for window in windows]
        return np.concatenate([np.zeros((0, width), np.float32), *rows])[:, None]


class OnnxNetwork:
    """An ONNX file on a device: one prepared input in; the embedding [1,D] and the scores [1,K] out.

    Raises UsageError for a file that is no ONNX model, or not the one that the description is of.
    """

    def __init__(self, path: Path, description: OnnxCard, device: str) -> None:
        self._path, self._description = path, description
        try:
            model = onnx_files.read(path)
            inputs, results = onnx_files.inputs(model), onnx_files.outputs(model)
            self._input = self._one_of("input", description.input, inputs)
            self._outputs = [self._one_of("tasks.output", task.output, results) for task in description.tasks]
            tensor, is_named = self._embedding(model)
            shape = input_shape(description)
            _check_input(onnx_files.declared_shape(model, self._input), description)
            more = [tensor] if tensor else []
            self._session = onnx_files.session(
                onnx_files.with_input_shape(model, self._input, shape, more), device, description.name
            )
        except AffectkitError as error:
            raise type(error)(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
        except Exception as error:  # onnxruntime raises its own types, one for each kind of broken model
            raise UsageError(f"{path} is no ONNX model that can be run: {onnx_files.first_line(error)}") from None
        self._tensor = tensor
        self.columns = sum(len(task.targets) for task in description.tasks)
        self.dim = 0
        self._try_out(is_named)

    def __call__(self, prepared: Arrays) -> tuple[Arrays, Arrays]:
        """A prepared input -> embedding [1,D] (D may be 0), scores [1,K]."""
        results = self._run(prepared)
        embedding = results[self._tensor] if self._tensor else np.zeros((1, 0), np.float32)
        return np.asarray(embedding, np.float32).reshape(1, -1), self._scores(results)

    def _run(self, prepared: Arrays) -> dict[str, Any]:
        wanted = list(dict.fromkeys([*self._outputs, *([self._tensor] if self._tensor else [])]))
        try:
            return onnx_files.by_name(self._session, wanted, {self._input: prepared})
        except Exception as error:  # onnxruntime raises its own types
            raise UsageError(
                f"{self._path} cannot be run on an input of {list(prepared.shape)}: {onnx_files.first_line(error)}"
            ) from None

    def _scores(self, results: Mapping[str, Any]) -> Arrays:
        tasks = zip(self._columns(results), self._description.tasks, strict=True)
        return np.concatenate([activated(columns, task.activation) for columns, task in tasks])[None].astype(np.float32)

    def _columns(self, results: Mapping[str, Any]) -> list[NDArray[np.float64]]:
        """Each task's columns: tasks of one result have one part of it after another."""
        used = dict.fromkeys(self._outputs, 0)
        parts = []
        for task, output in zip(self._description.tasks, self._outputs, strict=True):
            first, used[output] = used[output], used[output] + len(task.targets)
            parts.append(np.asarray(results[output], np.float64).reshape(-1)[first : used[output]])
        return parts

    def _embedding(self, model: bytes) -> tuple[str | None, bool]:
        """The tensor that is the embedding, and whether the description names it."""
        wanted = self._description.embedding
        if wanted == "none":
            return None, False
        if wanted == "auto":
            tensor = onnx_files.penultimate(model, self._outputs[0])
            return (tensor if tensor in onnx_files.tensors(model) else None), False
        if wanted not in onnx_files.tensors(model):
            raise UsageError(f"embedding: the network computes no '{wanted}'")
        return wanted, True

    def _one_of(self, key: str, name: str | None, names: Sequence[str]) -> str:
        if not names:
            raise ValueError(f"it has no {key.rpartition('.')[2]}")
        if name is None and len(names) == 1:
            return names[0]
        if name is None:
            raise UsageError(f"{key}: say which of {', '.join(names)}")
        if name not in names:
            raise UsageError(f"{key}: '{name}' is none of {', '.join(names)}")
        return name

    def _try_out(self, is_named: bool) -> None:
        results = self._run(noise(self._description))
        widths = dict.fromkeys(self._outputs, 0)
        for task, output in zip(self._description.tasks, self._outputs, strict=True):
            widths[output] += len(task.targets)
        for output, width in widths.items():
            shape = np.shape(results[output])
            if int(np.prod(shape)) != width or (shape and shape[0] != 1):
                raise UsageError(
                    f"{self._path}: tasks.targets: output {output} gives {list(shape)} for one input, and its tasks "
                    f"name {width} columns"
                )
        self._check_activations(results)
        if self._tensor is None:
            return
        shape = np.shape(results[self._tensor])
        is_vector = len(shape) >= 2 and shape[0] == 1 and max(shape) == int(np.prod(shape))
        if is_vector:
            self.dim = int(np.prod(shape))
        elif is_named:
            raise UsageError(
                f"{self._path}: embedding: {self._tensor} gives {list(shape)} for one input, not one vector"
            )
        else:
            self._tensor = None

    def _check_activations(self, results: Mapping[str, Any]) -> None:
        for columns, task in zip(self._columns(results), self._description.tasks, strict=True):
            values = [float(value) for value in columns]
            if task.kind != "multiclass" or len(columns) < 2:
                continue
            what = f"{self._path}: tasks.activation: what the network gives for task {task.name}"
            if task.activation == "none" and not onnx_cards.probabilities(values, 1e-3):
                raise UsageError(
                    f'{what} are no probabilities (they add up to {columns.sum():.4g}): is it activation = "softmax"?'
                )
            if task.activation == "softmax" and onnx_cards.probabilities(values, 1e-5):
                raise UsageError(f'{what} are probabilities already: is it activation = "none"?')


def activated(columns: NDArray[np.float64], activation: Activation) -> NDArray[np.float64]:
    """Logits [K] as probabilities of one class, or of each; or numbers as they are."""
    if activation == "none":
        return columns
    if activation == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0, -columns)))
    powers = np.exp(columns - columns.max())
    return np.asarray(powers / powers.sum())


def input_shape(description: OnnxCard) -> onnx_files.Shape:
    """The shape of the network's input."""
    if description.image is not None:
        (height, width), channels = description.image.sides, description.image.channels
        is_first = description.image.layout == "NCHW"
        return (1, channels, height, width) if is_first else (1, height, width, channels)
    assert description.audio is not None
    return (1, 1, "samples") if description.audio.channel else (1, "samples")


def _check_input(declared: Sequence[int | None] | None, description: OnnxCard) -> None:
    """Raises UsageError where a file states another input than its card: what it leaves open, and how many it takes at
    once, are no matter."""
    shape = input_shape(description)
    if declared is None:
        return
    is_like = len(declared) == len(shape)
    other = [place for place, (its, ours) in enumerate(zip(declared, shape, strict=False))
             if place and None not in (its, ours) and isinstance(ours, int) and its != ours]  # fmt: skip
    if is_like and not other:
        return
    picture = description.image
    if picture is None:
        raise UsageError(f"audio.channel: its input is {_shape_said(declared)}, the card says {_shape_said(shape)}")
    first = 2 if picture.layout == "NCHW" else 1
    sides = declared[first : first + 2]
    if is_like and None not in sides and set(other) <= {first, first + 1}:
        size = _sides_said(sides)
        raise UsageError(f"image.size: the network wants {size}, the card says {_sides_said(picture.sides)}")
    raise UsageError(
        f"image.size, image.layout, image.colour: the network's input is {_shape_said(declared)}, the card says "
        f"{_shape_said(shape)}"
    )


def _sides_said(sides: Sequence[int | None]) -> str:
    return f"{sides[0]} pixels" if sides[0] == sides[1] else f"{sides[0]} x {sides[1]} pixels"


def _shape_said(shape: Sequence[int | str | None]) -> str:
    """Sizes of an input, without how many it takes at once."""
    return f"[N, {', '.join('any' if size is None else str(size) for size in shape[1:])}]"


def resized(images: Any, description: OnnxCard) -> Arrays:
    """Torch uint8 images [N,3,h,w] -> float32 [N,3,H,W] in 0..255, resized whole."""
    import torch

    from affectkit.learning.image_backbone import Preprocessing

    picture = description.image
    assert picture is not None
    if tuple(images.shape[2:]) == picture.sides:
        return np.asarray(images.cpu().numpy(), np.float32)
    resizing = Preprocessing(picture.sides, (0, 0, 0), (1, 1, 1), picture.interpolation)
    with torch.inference_mode():
        pixels: Arrays = resizing.resize(images.cpu().to(torch.float32)).numpy()
    return pixels


def picture_input(pixels: Arrays, description: OnnxCard) -> Arrays:
    """Pixels [1,3,H,W] in 0..255 as the network wants them: in its colours, normalised, in its layout."""
    picture = description.image
    assert picture is not None
    if picture.colour == "bgr":
        pixels = pixels[:, ::-1]
    elif picture.colour == "grey":
        pixels = (pixels * np.array(LUMA, np.float32)[:, None, None]).sum(axis=1, keepdims=True)
    factors, offsets = (np.array(values, np.float32)[:, None, None] for values in picture.factors)
    pixels = pixels * factors + offsets
    return np.ascontiguousarray(pixels if picture.layout == "NCHW" else pixels.transpose(0, 2, 3, 1))


def sound_input(window: Arrays, description: OnnxCard) -> Arrays:
    """Samples [S] as the network wants them."""
    sound = description.audio
    assert sound is not None
    wave = window.astype(np.float64)
    if sound.normalise:
        wave = (wave - wave.mean()) / np.sqrt(wave.var() + EPSILON)
    samples: Arrays = wave.astype(np.float32)
    return samples[None, None] if sound.channel else samples[None]


def noise(description: OnnxCard) -> Arrays:
    """An input of the network's own shape, seeded."""
    draw = np.random.default_rng(0)
    shape = input_shape(description)
    if description.audio is not None:
        length = max(
            description.audio.sampling_rate, round(description.audio.shortest * description.audio.sampling_rate)
        )
        shape = (*shape[:-1], length)
    return draw.normal(0, 0.1, [int(size) for size in shape]).astype(np.float32)


def from_file(path: Path) -> type[OnnxModel]:
    """The model that an ONNX file is by the TOML file beside it, as a class. Raises UsageError for a bad card, or
    without one."""
    beside = path.with_suffix(".toml")
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    if not beside.is_file():
        raise UsageError(f"{path} has no card: write {beside.name} beside it, as docs/models.md shows")
    description = onnx_cards.read(beside)
    base = OnnxImageModel if description.kind == "image" else OnnxAudioModel

    def weights(cls: type[OnnxModel], options: Config, choice: str) -> WeightsFile:
        if choice != "auto":
            raise UsageError(f"{path.name} is its own weights (given --weights {choice}): leave --weights out")
        file = local(path, description.name)
        digest = sha256(f"{file.sha256}  {description.digest}".encode()).hexdigest()
        return WeightsFile(description.name, path, digest, description.licences.weights, file.source)

    return type(
        description.name, (base,),
        {"__doc__": description.summary, "__module__": __name__, "description": description,
         "file": path.absolute(), "weights": classmethod(weights)},
    )  # fmt: skip
