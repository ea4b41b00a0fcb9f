"""What was learnt, as two files in a folder: NAME.json says what to build, NAME.safetensors holds the tensors.

Never a pickle. Both are read as files that strangers may have written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from affectkit.config import Config, explain
from affectkit.errors import HostileFile, MissingFile, UsageError
from affectkit.untrusted import opened, read_object

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST_HEADER = 1 << 20  # bytes
Arrays = dict[str, NDArray[Any]]
H = TypeVar("H", bound=Config)


@dataclass(frozen=True)
class SavedFiles:
    """Files of this name, which hold `what`; `advice` is given where a folder has none."""

    name: str
    what: str
    advice: str = ""

    @property
    def header(self) -> str:
        """Name of the JSON file."""
        return f"{self.name}.json"

    @property
    def tensors(self) -> str:
        """Name of the safetensors file."""
        return f"{self.name}.safetensors"

    def write(self, folder: Path, header: Config, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Write both files into an existing folder. Raises OSError, which safetensors' own writer hides."""
        (folder / self.tensors).write_bytes(packed(tensors))
        (folder / self.header).write_text(header.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def read_header(self, folder: Path, model: type[H]) -> H:
        """The header alone: nothing heavy is imported. Raises UsageError where there is none, HostileFile for a file
        that is not what it claims."""
        path = folder / self.header
        try:
            return model.model_validate(read_object(path, f"the header of a {self.name}", LARGEST_HEADER))
        except MissingFile:
            raise self._missing(path) from None
        except ValidationError as error:
            raise HostileFile(f"{path}: {explain(error)[:500]}") from None

    def require_tensors(self, folder: Path) -> Path:
        """The path of the tensors, which are there. Raises UsageError where they are not, HostileFile for what is no
        regular file."""
        path = folder / self.tensors
        try:
            with opened(path, f"the tensors of a {self.name}", inside=True):
                return path
        except MissingFile:
            raise self._missing(path) from None

    def read_tensors(self, folder: Path, kinds: Collection[str] | None = None) -> Arrays:
        """All tensors, with numbers of these kinds (None: of any). Raises UsageError and HostileFile."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.require_tensors(folder)
        try:
            arrays: Arrays = load_file(path)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise HostileFile(f"{path} is not a safetensors file: {error}") from None
        for name, values in arrays.items():
            if kinds is not None and values.dtype.name not in kinds:
                raise HostileFile(f"{path} holds {values.dtype} numbers ({name}); a {self.name}'s are float32")
        return arrays

    def _missing(self, path: Path) -> UsageError:
        advice = f": {self.advice}" if self.advice else ""
        return UsageError(f"{path.parent} holds no {self.what} ({path.name} is missing){advice}")


def packed(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file."""
    from safetensors.numpy import save

    content: bytes = save({name: np.asarray(values, order="C") for name, values in tensors.items()})
    return content


def state_of(module: nn.Module) -> Arrays:
    """All that a module keeps, on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def as_torch(arrays: Arrays) -> dict[str, Tensor]:
    """The arrays, taken out one by one, as tensors that are aligned as torch aligns them: else last digits differ."""
    import torch

    return {name: torch.tensor(arrays.pop(name)) for name in list(arrays)}
