"""What comes out of a timm network: pooled features, logits, or any module inside it, as one vector an image."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from affectkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affectkit.backbones._image import Forward

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
