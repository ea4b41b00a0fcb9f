"""Waveforms through a transformer of speech: building it, its layers, numerics, and one window like any other.

**Layers** are numbered as transformers' `hidden_states`: 0 is what the transformer's first layer is given, k what layer
k gives, and the last one is the encoder's result. In models with `do_stable_layer_norm` that is after the encoder's
closing layer norm, as `last_hidden_state` is (transformers before 5 lists the same as `hidden_states[-1]`; since 5 that
entry is before the norm). Layers above the highest one asked for are dropped, not run.

**Attention** is torch's scaled_dot_product_attention where transformers has it for the model (all but WavLM, whose
gated position bias has code of its own).

**Bit-equal.** Windows come in equal lengths and are never padded inside: zeros would change the result of models with
group norm, and of any model without an attention mask. Every statistic is taken within a window, one window at a time.
As with images, the number of windows that run together is 1 or a multiple of 8, filled with silence; on CPU a window's
bits are then the same wherever it stands and beside whatever.

**Numerics.** float32 means float32, as in `image_backbone`. Normalisation and pooling are so at any precision. Compiled
models are compiled for any length at once, so that a result does not depend on which length came first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.learning.image_backbone import arithmetic, fixed_rows
from affectkit.learning.speech_files import INDEX, SAFETENSORS, SpeechArchitecture, shards

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH_SIZE = 8
EPSILON = 1e-7
"""Added to a window's variance, as transformers' Wav2Vec2FeatureExtractor does."""

CLASSES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "data2vec-audio": ("Data2VecAudioConfig", "Data2VecAudioModel"),
}
NOT_OURS = (
    "attn_implementation", "_attn_implementation", "dtype", "torch_dtype", "torchscript", "return_dict",
    "output_hidden_states", "output_attentions", "gradient_checkpointing", "quantization_config", "pruned_heads",
)  # fmt: skip
"""Keys of a config that say how to run or train a model, not what it is."""

Pool = Literal["mean", "mean+std", "none"]
Head = Callable[[Mapping[int, "Tensor"]], Mapping[str, "Tensor"]]
"""Pooled hidden states [N,F,D] by layer -> named outputs [N,F,D]."""


class Listener(ABC):
    """Float32 windows of sound through something on its device, in a fixed batch shape. Raises UsageError for numerics
    that make no sense for sound."""

    def __init__(self, numerics: Numerics) -> None:
        import torch

        if numerics.channels_last:
            raise UsageError("--channels-last is a memory format of images: leave it out for a backbone of sound")
        self._device = torch.device(numerics.device)
        self._precision = numerics.precision
        self.rows = fixed_rows(numerics.batch_size or BATCH_SIZE)

    def __call__(self, windows: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """float32 [N,S], N >= 1 and S long enough for a frame -> each output as float32 [N,F,D]."""
        import torch

        waves = torch.from_numpy(np.array(windows, order="C"))
        rows = min(self.rows, fixed_rows(len(waves)))
        parts = [self._embed(chunk, rows) for chunk in waves.split(rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @abstractmethod
    def prepare(self, waves: Tensor) -> Tensor:
        """float32 [N,S] anywhere -> what `forward` takes, on the device."""

    @abstractmethod
    def forward(self, prepared: Tensor) -> Mapping[str, Tensor]:
        """Outputs [N,F,D] on the device."""

    def _embed(self, waves: Tensor, rows: int) -> dict[str, NDArray[np.float32]]:
        import torch

        count = len(waves)
        if count < rows:
            waves = torch.cat([waves, waves.new_zeros((rows - count, waves.shape[1]))])
        with arithmetic(self._device, self._precision):
            found = self.forward(self.prepare(waves))
            return {name: values.float().cpu().numpy()[:count] for name, values in found.items()}


class SpeechNetwork(Listener):
    """A network on its device: float32 windows of sound in, pooled hidden states through `head` out.

    Hidden states of `layers` are pooled over time and given to `head`; `extra` is a module that `head` uses.
    """

    def __init__(
        self, encoder: Any, layers: Iterable[int], pool: Pool, head: Head, numerics: Numerics, *,
        normalise: bool, extra: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__(numerics)
        self._normalise = normalise
        self._pool = pool
        self._head = head
        self._found: dict[int, Tensor] = {}
        self._encoder = encoder
        self._tap(encoder.encoder, sorted(layers))
        for module in filter(None, (encoder, extra)):
            module.eval().requires_grad_(False).to(self._device)
        if numerics.compile:
            for module in (encoder.feature_extractor, *encoder.encoder.layers):
                module.compile(dynamic=True)

    def prepare(self, waves: Tensor) -> Tensor:
        """On the device, each window with zero mean and unit variance where wanted."""
        import torch

        waves = waves.to(self._device)
        return torch.stack([_standardised(wave) for wave in waves]) if self._normalise else waves

    def forward(self, prepared: Tensor) -> Mapping[str, Tensor]:
        """Prepared windows [N,S] on the device -> outputs on the device."""
        self._encoder(prepared, return_dict=True)
        found, self._found = self._found, {}  # nothing of this batch is held on to
        return self._head(found)

    def _tap(self, encoder: Any, layers: list[int]) -> None:
        """Keep the pooled hidden states of `layers` whenever the encoder runs, and cut off what is above them."""
        total = len(encoder.layers)
        for layer in layers:
            module = encoder if layer == total else encoder.layers[layer - 1] if layer else encoder.dropout
            module.register_forward_hook(self._keep(layer))
        del encoder.layers[layers[-1] :]

    def _keep(self, layer: int) -> Callable[[nn.Module, Any, Any], None]:
        import torch

        def hook(_module: nn.Module, _given: Any, result: Any) -> None:
            hidden = result if isinstance(result, torch.Tensor) else result[0]
            self._found[layer] = pooled(hidden.float(), self._pool)

        return hook


def pooled(hidden: Tensor, pool: Pool) -> Tensor:
    """[N,F,D] -> over time: [N,1,D], with the (population) standard deviation [N,1,2D], or all frames as they are."""
    import torch

    if pool == "none":
        return hidden
    mean = hidden.mean(1, keepdim=True)
    if pool == "mean":
        return mean
    return torch.cat([mean, (hidden - mean).square().mean(1, keepdim=True).sqrt()], dim=2)


def embedded(backbone: Any, batch: Any) -> dict[str, NDArray[np.float32]]:
    """float32 [N,S] through a backbone's `network`; nothing runs for windows too short for a frame. Raises
    ValueError for anything else."""
    windows = as_windows(batch)
    count = len(backbone.frames(windows.shape[1])[0])
    if not count or not len(windows):
        return {name: np.zeros((len(windows), count, dim), np.float32) for name, dim in backbone.outputs.items()}
    found: dict[str, NDArray[np.float32]] = backbone.network(windows)
    return found


def as_windows(batch: Any) -> NDArray[np.float32]:
    """Windows float32 [N,S]. Raises ValueError for anything else."""
    windows = np.asarray(batch)
    if windows.dtype != np.float32 or windows.ndim != 2:
        raise ValueError(f"windows are float32 [N,S], not {windows.dtype} {list(windows.shape)}")
    return windows


def scored(model: Any, batch: Any, output: str, columns: int) -> NDArray[np.float32]:
    """float32 [N,S] through a model's `network` -> [N,K], an output that has one row a window; NaN for windows too
    short for a frame. Raises ValueError for anything else."""
    windows = as_windows(batch)
    if not len(windows) or not len(model.frames(windows.shape[1])[0]):
        return np.full((len(windows), columns), np.nan, np.float32)
    return np.asarray(model.network(windows)[output][:, 0], np.float32)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file, or of all shards of an index. Raises UsageError."""
    from affectkit.checkpoints import state_dict

    if (folder / SAFETENSORS).exists():
        return state_dict(folder / SAFETENSORS)
    return {name: t for shard in shards(folder / INDEX) for name, t in state_dict(folder / shard).items()}


def random_encoder(architecture: SpeechArchitecture, given: Mapping[str, Any], path: Path) -> nn.Module:
    """The network with seeded random weights."""
    from affectkit.learning.image_backbone import seeded

    with seeded():
        module: nn.Module = create(architecture, given, path)
        return module


def encoder(
    architecture: SpeechArchitecture, given: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """The network with the encoder's tensors out of a checkpoint; those of its heads are left aside.

    The network is described before it is allocated: a config cannot ask for more than the file holds. Raises
    UsageError when tensors are missing, unknown or of another shape.
    """
    import torch

    from affectkit.checkpoints import load_strictly

    with torch.device("meta"):
        module = create(architecture, given, path)
    wanted = module.state_dict()
    found = {name: tensor.float() for name, tensor in own_tensors(tensors, module.base_model_prefix).items()}
    for name in wanted.keys() - found.keys():
        if name == "masked_spec_embed" or name.endswith("num_batches_tracked"):  # of use in training only
            found[name] = torch.zeros(wanted[name].shape, dtype=wanted[name].dtype)
    if "masked_spec_embed" not in wanted:
        found.pop("masked_spec_embed", None)
    load_strictly(module, found, path, assign=True)
    network: nn.Module = module
    return network


def own_tensors(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A checkpoint's tensors of the encoder, by the names of today.

    A model with a head names them `<prefix>.`; older files name a weight norm's parts `weight_g` and `weight_v`.
    """
    if any(name.startswith(f"{prefix}.") for name in tensors):
        tensors = {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
    return {_today(name): tensor for name, tensor in tensors.items() if not name.startswith("adapter.")}


def _today(name: str) -> str:
    """
    >>> _today("encoder.pos_conv_embed.conv.weight_g")
    'encoder.pos_conv_embed.conv.parametrizations.weight.original0'
    """
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if name.endswith(f".{old}"):
            return f"{name.removesuffix(old)}parametrizations.weight.{new}"
    return name


def create(architecture: SpeechArchitecture, given: Mapping[str, Any], path: Path) -> Any:
    """The network with whatever torch initialises it with, without an adapter behind the encoder."""
    import transformers

    config_class, model_class = (getattr(transformers, name) for name in CLASSES[architecture.model_type])
    fields = {name: value for name, value in given.items() if name not in NOT_OURS} | {"add_adapter": False}
    try:
        return model_class(config_class.from_dict(fields))
    except Exception as error:  # transformers checks a config in many ways
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UsageError(f"{path} describes no {architecture.model_type} network: {reason[0]}") from None


def _standardised(wave: Tensor) -> Tensor:
    """[S] -> zero mean, unit variance. One window at a time: sums over a batch run in an order of its own."""
    centred = wave - wave.mean()
    return centred / (centred.square().mean() + EPSILON).sqrt()
