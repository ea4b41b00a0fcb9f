"""Weights from an untrusted file into a network: tensors only, every key used, none left over."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

SEED = 0
"""Seed of random weights: the same on every machine and run."""

WRAPPERS = ("state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a torch checkpoint, by name.

    A checkpoint may hold them under `state_dict` or `model`; what DataParallel and torch.compile put before every name
    is dropped. Raises UsageError for anything else, pickled objects included.
    """
    content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(map(_is_tensor, content.values())):
        raise UsageError(
            f"weights {path} are no state dict (tensors by name): give a .safetensors or a torch .pth file"
        )
    return {_bare(str(name)): tensor for name, tensor in content.items()}


def load(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Fill `network`, strictly. Raises UsageError that names the first keys that do not fit."""
    wrong = mismatch(network, state)
    if wrong:
        raise UsageError(f"weights {path} do not fit {type(network).__name__}: {wrong}")
    network.load_state_dict(state)


def mismatch(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What does not fit, each kind with its first three keys; "" where all does.

    `num_batches_tracked` is a counter that inference never reads: a file may lack it.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    surplus = [key for key in state if key not in own]
    shapes = [
        f"{key} is {list(state[key].shape)}, not {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    kinds = {"missing": missing, "not known": surplus, "of another shape": shapes}
    return "; ".join(f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in kinds.items() if keys)


@contextmanager
def seeded() -> Iterator[None]:
    """Random initialisation from `SEED`, whatever the process drew before; its generator is left as it was."""
    import torch

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(SEED)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _is_tensor(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Tensor)


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(f"weights {path} cannot be read as safetensors: {_brief(error)}") from None


def _torch(path: Path) -> Any:
    from pickle import UnpicklingError

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise UsageError(f"weights {path} hold more than tensors and are not read: save the state dict alone") from None
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(f"weights {path} cannot be read as a torch checkpoint: {_brief(error)}") from None


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
