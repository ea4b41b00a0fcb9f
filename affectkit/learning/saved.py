"""A fine-tuned network on disk: `network.json` and `network.safetensors`.

The tensors are those of the whole module, so that neither the weights that training started from nor their files are
needed again; their licence goes along, since what was learnt from them stays under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from affectkit import weights as weight_files
from affectkit.config import Config, validate
from affectkit.errors import HostileFile, UsageError
from affectkit.learning.saved_files import SavedFiles, as_torch, state_of
from affectkit.plugins.outputs import Outputs
from affectkit.plugins.protocols import Network
from affectkit.plugins.registry import get
from affectkit.tasks import Task
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

FILES = SavedFiles("network", "fine-tuned network", "give what finetune printed")


class NetworkStart(Config):
    """The weights that training started from, as `WeightsFile` names them."""

    name: str
    sha256: str
    licence: str
    source: str


class NetworkHeader(Config):
    """What a saved network says of itself: which one it is, and all that is needed to build it again."""

    format: Literal[1] = 1
    network: str = Field(pattern=r"^[A-Za-z0-9._-]{1,80}$", description="plugin name")
    version: int = Field(description="of the plugin")
    kind: Literal["image", "audio"]
    task: Task
    auxiliary: list[Task] = Field([], max_length=100, description="tasks learnt along; their columns come last")
    outputs: list[Outputs] = Field(description="one a task")
    options: dict[str, Any]
    architecture: dict[str, Any] = Field({}, description="see Network.architecture")
    weights: NetworkStart

    @model_validator(mode="after")
    def _outputs_are_the_tasks(self) -> NetworkHeader:
        wanted = [task.outputs for task in (self.task, *self.auxiliary)]
        if (counts := [each.count for each in self.outputs]) != wanted:
            raise ValueError(f"outputs of {counts} columns, where the tasks have {wanted}")
        return self


@dataclass(frozen=True, repr=False)
class Finetuned:
    """An opened network: its module holds what was learnt, on the CPU, ready to predict (in eval mode)."""

    header: NetworkHeader
    network: Network
    module: nn.Module

    def __repr__(self) -> str:
        return f"Finetuned({self.header.network}, {self.header.task.name})"


def save(
    folder: Path, name: str, network: Network, module: nn.Module, task: Task, weights: WeightsFile,
    outputs: Sequence[Outputs], auxiliary: Sequence[Task] = (),
) -> None:  # fmt: skip
    """Write both files into an existing folder: plugin `name`, and the state of `module` (not wrapped by DDP or
    torch.compile), built for `outputs` (one a task, those of `auxiliary` last). `weights` are
    those that training started from. Raises OSError."""
    header = NetworkHeader(
        network=name, version=network.version, kind=network.kind, task=task, auxiliary=list(auxiliary),
        outputs=list(outputs),
        options=network.options.model_dump(mode="json"), architecture=network.architecture,
        weights=NetworkStart(name=weights.name, sha256=weights.sha256, licence=weights.licence, source=weights.source),
    )  # fmt: skip
    FILES.write(folder, header, state_of(module))


def is_finetuned(path: Path) -> bool:
    """Whether a folder holds a fine-tuned network."""
    return (path / FILES.header).is_file()


def read_header(folder: Path) -> NetworkHeader:
    """What a saved network says of itself, see `SavedFiles.read_header`."""
    return FILES.read_header(folder, NetworkHeader)


def weights_of(folder: Path) -> WeightsFile:
    """The saved network as a choice of weights: a digest over both files, and the licence of those it started from.
    Imports no torch. Raises UsageError and HostileFile, as `read_header`."""
    header = read_header(folder)
    files = [folder / FILES.header, FILES.require_tensors(folder)]
    file = weight_files.several(f"finetuned-{header.network}", files, f"path {folder}")
    start = header.weights
    source = f"fine-tuned {header.network} in {folder}, from {start.name} ({start.source})"
    return WeightsFile(file.name, folder, file.sha256, start.licence, source)


def open_network(folder: Path) -> Finetuned:
    """The network that `save` wrote.

    Its sizes are checked against the file before memory is taken for them. Raises UsageError where files are missing or
    the installed plugin is of another version, HostileFile for files that are not what they claim.
    """
    header = read_header(folder)
    plugin = get("networks", header.network)
    if (plugin.version, plugin.kind) != (header.version, header.kind):
        raise UsageError(
            f"{folder} holds network {header.network} of version {header.version}; the one installed is of version "
            f"{plugin.version}: fine-tune it again"
        )
    network: Network = plugin(validate(plugin.Options, header.options, str(folder / FILES.header)), header.task)
    network.architecture = header.architecture
    tensors = as_torch(FILES.read_tensors(folder, ("float32", "int64")))
    module = _built(network, header.outputs, tensors, folder / FILES.tensors)
    return Finetuned(header, network, module.eval())


def _built(network: Network, outputs: Sequence[Outputs], tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The module with these tensors. It is described before it is allocated: a header cannot ask for more than the file
    holds. Where describing is not enough (buffers that are computed, not saved) it is then built in earnest."""
    import torch

    described = None
    with suppress(NotImplementedError, RuntimeError), torch.device("meta"):  # some networks compute while being built
        described = network.build(None, outputs)
    if described is not None:
        _fill(described, tensors, path, assign=True)
        if not any(tensor.is_meta for tensor in chain(described.parameters(), described.buffers())):
            return described
    module: nn.Module = network.build(None, outputs)
    _fill(module, tensors, path, assign=False)
    return module


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path, assign: bool) -> None:
    from affectkit.checkpoints import load_strictly

    try:
        load_strictly(module, tensors, path, assign=assign)
    except UsageError as error:
        raise HostileFile(f"{error}; {FILES.header} beside it describes another network") from None
