"""A fine-tuned network on disk: `network.json` (what to build) beside `network.safetensors` (what was learnt).

Never a pickle. The tensors are those of the whole module, so that neither the weights that training started from nor
their files are needed again; their licence goes along, since what was learnt from them stays under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from affectkit import weights as weight_files
from affectkit.config import Config, explain, validate
from affectkit.errors import HostileFile, MissingFile, UsageError
from affectkit.plugins.outputs import Outputs
from affectkit.plugins.protocols import Network
from affectkit.plugins.registry import get
from affectkit.tasks import Task
from affectkit.untrusted import opened, read_object
from affectkit.weights import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

HEADER = "network.json"
TENSORS = "network.safetensors"
LARGEST_HEADER = 1 << 20  # bytes


class Start(Config):
    """The weights that training started from, as `WeightsFile` names them."""

    name: str
    sha256: str
    licence: str
    source: str


class Header(Config):
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
    weights: Start

    @model_validator(mode="after")
    def _outputs_are_the_tasks(self) -> Header:
        wanted = [task.outputs for task in (self.task, *self.auxiliary)]
        if (given := [one.count for one in self.outputs]) != wanted:
            raise ValueError(f"outputs of {given} columns, where the tasks have {wanted}")
        return self


@dataclass(frozen=True, repr=False)
class Finetuned:
    """An opened network: its module holds what was learnt, on the CPU, ready to predict (in eval mode)."""

    header: Header
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
    from safetensors.numpy import save as packed

    header = Header(
        network=name, version=network.version, kind=network.kind, task=task, auxiliary=list(auxiliary),
        outputs=list(outputs),
        options=network.options.model_dump(mode="json"), architecture=network.architecture,
        weights=Start(name=weights.name, sha256=weights.sha256, licence=weights.licence, source=weights.source),
    )  # fmt: skip
    state = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in module.state_dict().items()}
    (folder / TENSORS).write_bytes(packed(state))  # safetensors' own writer hides what went wrong
    (folder / HEADER).write_text(header.model_dump_json(indent=1) + "\n", encoding="utf-8")


def is_finetuned(path: Path) -> bool:
    """Whether a folder holds a fine-tuned network."""
    return (path / HEADER).is_file()


def read_header(folder: Path) -> Header:
    """The header alone: nothing heavy is imported. Raises UsageError where there is none, or for a network of another
    version; HostileFile for a file that is not what it claims."""
    path = folder / HEADER
    try:
        return Header.model_validate(read_object(path, "the header of a network", LARGEST_HEADER))
    except MissingFile:
        raise UsageError(
            f"{folder} holds no fine-tuned network ({HEADER} is missing): give what finetune printed"
        ) from None
    except ValidationError as error:
        raise HostileFile(f"{path}: {explain(error)[:500]}") from None


def weights_of(folder: Path) -> WeightsFile:
    """The saved network as a choice of weights: a digest over both files, and the licence of those it started from.
    Imports no torch. Raises UsageError and HostileFile, as `read_header`."""
    header = read_header(folder)
    _tensors_path(folder)
    file = weight_files.several(f"finetuned-{header.network}", [folder / HEADER, folder / TENSORS], f"path {folder}")
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
    network: Network = plugin(validate(plugin.Options, header.options, str(folder / HEADER)), header.task)
    network.architecture = header.architecture
    tensors = _tensors(_tensors_path(folder))
    module = _built(network, header.outputs, tensors, folder / TENSORS)
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
        raise HostileFile(f"{error}; {HEADER} beside it describes another network") from None


def _tensors_path(folder: Path) -> Path:
    path = folder / TENSORS
    try:
        with opened(path, "the tensors of a network", inside=True):
            return path
    except MissingFile:
        raise UsageError(f"{folder} holds no whole fine-tuned network: {TENSORS} is missing") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, KeyError, ValueError) as error:
        raise HostileFile(f"{path} is not a safetensors file: {error}") from None
    odd = [name for name, tensor in tensors.items() if tensor.dtype not in (torch.float32, torch.int64)]
    if odd:
        raise HostileFile(f"{path} holds {tensors[odd[0]].dtype} numbers ({odd[0]}); a network's are float32")
    return {name: tensor.clone() for name, tensor in tensors.items()}  # aligned: else last digits differ
