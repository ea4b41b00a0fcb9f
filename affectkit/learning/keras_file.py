"""Networks in Keras 2's HDF5 layout, read by h5py alone: the layers as `model_config` says them, and their tensors.

The file is untrusted: hard links, plain datasets of float32 and bounded texts only; nothing outside it is read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import HostileFile, UsageError
from affectkit.untrusted import parsed_json, read_bytes

if TYPE_CHECKING:
    import h5py

LARGEST = 1 << 28
_WANTED = "a network in Keras 2's HDF5 layout"
_MOST_LAYERS = 1000
_DEEPEST = 4


@dataclass(frozen=True)
class KerasLayer:
    """A layer: its class, name and settings, and its tensors by their short names (kernel, gamma, ...)."""

    kind: str
    name: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, NDArray[np.float32]]


def read_layers(path: Path) -> list[KerasLayer]:
    """The layers of a network, in the order of its `model_config`.

    Raises UsageError for a file that is none, HostileFile for one that holds what is not read.
    """
    import h5py

    content = read_bytes(path, _WANTED, LARGEST)  # in memory, so that no other file is opened by a name in this one
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            layers = _configured(file)
            weights = _group(file, "model_weights")
            return [_layer(row, weights, len(content)) for row in layers]
    except HostileFile as error:
        raise HostileFile(f"{path}: {error}") from None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip("'\"").partition("\n")[0]
        raise UsageError(f"{path} is not {_WANTED}: {reason}") from None


def _configured(file: h5py.File) -> list[dict[str, Any]]:
    text = file.attrs["model_config"]
    config = parsed_json(text.decode("utf-8") if isinstance(text, bytes) else str(text))
    layers = config.get("config") if isinstance(config, dict) else None
    layers = layers.get("layers") if isinstance(layers, dict) else layers
    if not isinstance(layers, list) or not 0 < len(layers) <= _MOST_LAYERS:
        raise ValueError("its model_config has no list of layers")
    return layers


def _layer(row: Any, weights: h5py.Group, size: int) -> KerasLayer:
    settings = row.get("config") if isinstance(row, dict) else None
    if not isinstance(settings, dict) or not isinstance(settings.get("name"), str):
        raise ValueError("a layer of its model_config has no name or settings")
    name = settings["name"]
    tensors = dict(_tensors(_group(weights, name), size, 0)) if _has(weights, name) else {}
    return KerasLayer(str(row.get("class_name")), name, settings, tensors)


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    import h5py

    if not _has(parent, name):
        raise KeyError(f"it has no group {name}")
    _require_hard(parent, name)
    group = parent[name]
    if not isinstance(group, h5py.Group):
        raise HostileFile(f"{name} is not a group")
    return group


def _has(parent: h5py.Group, name: str) -> bool:
    return bool(name) and "/" not in name and bool(parent.id.links.exists(name.encode()))


def _require_hard(parent: h5py.Group, name: str) -> None:
    import h5py

    if parent.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise HostileFile(f"{name} is a link")


def _tensors(group: h5py.Group, size: int, depth: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    import h5py

    if depth > _DEEPEST or len(group) > _MOST_LAYERS:
        raise HostileFile(f"{group.name} has more levels or entries than a layer has")
    for name in group:
        _require_hard(group, name)
        inside = group[name]
        if isinstance(inside, h5py.Group):
            yield from _tensors(inside, size, depth + 1)
        else:
            yield name.partition(":")[0], _values(inside, size)


def _values(dataset: h5py.Dataset, size: int) -> NDArray[np.float32]:
    import h5py

    plist = dataset.id.get_create_plist()
    is_plain = plist.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) and not plist.get_external_count()
    if not is_plain or plist.get_nfilters() or dataset.dtype != np.float32:
        raise HostileFile(f"{dataset.name} is no plain dataset of float32")
    if math.prod(dataset.shape) * 4 > size:
        raise HostileFile(f"{dataset.name} declares more bytes than the file has")
    values: NDArray[np.float32] = dataset[()]
    if not np.isfinite(values).all():
        raise ValueError(f"{dataset.name} has values that are not finite")
    return values
