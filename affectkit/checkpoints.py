"""State dicts out of untrusted checkpoint files: no pickled code, declared sizes bounded by the file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from affectkit.errors import HostileFile, UsageError

if TYPE_CHECKING:
    import torch

MAX_BYTES = 4 << 30
MAX_RATIO = 20  # a zip member may unpack to this many times the file's size: weights hardly compress


def state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, a torch checkpoint (old or zip format), or a zip that holds one of these.

    One level of nesting under "state_dict" or "model" is opened, and a `module.` that every name begins with
    (nn.DataParallel) is removed. Raises UsageError when the file is none of these, HostileFile when it declares
    more than it can hold.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    loaded = contents(path)
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    return _tensors(path, loaded)


def contents(path: Path) -> Any:
    """What a torch file holds, read without running code: a tensor, or containers of them. Raises as `state_dict`."""
    with path.open("rb") as file:
        return _torch_file(path, file)


def _torch_file(path: Path, file: BinaryIO) -> Any:
    if not zipfile.is_zipfile(file):
        file.seek(0)
        return _torch_load(path, file)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UsageError(f"{path} is a broken zip file: {error}") from None
    with archive:
        members = archive.infolist()
        _require_modest(path, members)
        if any(member.filename.endswith("/data.pkl") for member in members):  # torch's own zip format
            file.seek(0)
            return _torch_load(path, file)
        inside = [m for m in members if m.filename.endswith((".pth", ".pt", ".bin")) and "__MACOSX" not in m.filename]
        if len(inside) != 1:
            raise UsageError(f"{path} holds {len(inside)} checkpoints (.pth, .pt, .bin); one is needed")
        return _unpacked(path, archive, inside[0])


def _unpacked(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    from tempfile import TemporaryFile

    with TemporaryFile() as copy:
        try:
            with archive.open(member) as source:
                left = member.file_size
                while block := source.read(min(1 << 20, left)):
                    left -= copy.write(block)
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
            raise UsageError(f"{path} is a broken zip file: {error}") from None
        copy.seek(0)
        return _torch_load(path, copy)


def _require_modest(path: Path, members: list[zipfile.ZipInfo]) -> None:
    declared, size = sum(member.file_size for member in members), path.stat().st_size
    if declared > min(MAX_BYTES, MAX_RATIO * size):
        raise HostileFile(f"{path} declares {declared} bytes in a file of {size}: refused")


def _torch_load(path: Path, file: Any) -> Any:
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler of a broken or foreign file raises nearly anything
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UsageError(f"{path} is not a checkpoint of plain tensors: {reason[0]}") from None


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _tensors(path, load_file(path))
    except SafetensorError as error:
        raise UsageError(f"{path} is not a safetensors file: {error}") from None


def _tensors(path: Path, loaded: Any) -> dict[str, torch.Tensor]:
    import torch

    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise UsageError(f"{path} holds no state dict: a mapping of names to tensors is needed")
    names = [str(name) for name in loaded]
    prefix = "module." if all(name.startswith("module.") for name in names) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in zip(names, loaded.values(), strict=True)}


def load_strictly(
    module: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path, *, assign: bool = False
) -> None:
    """Copy `tensors` into `module` (`assign`: put them in the place of its own); names and shapes must match.

    Batch norms' counts of batches may be absent: they matter to training only. Raises UsageError that says how many
    tensors are missing, unknown or of another shape, with one example each.
    """
    wanted = module.state_dict()
    counts = {name: tensor for name, tensor in wanted.items() if name.endswith("num_batches_tracked")}
    tensors = counts | tensors
    kinds = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unknown": sorted(tensors.keys() - wanted.keys()),
        "of another shape": sorted(n for n in wanted.keys() & tensors.keys() if wanted[n].shape != tensors[n].shape),
    }
    wrong = [f"{len(found)} {kind} ({found[0]})" for kind, found in kinds.items() if found]
    if wrong:
        raise UsageError(f"{path} holds other tensors than this network needs: {', '.join(wrong)}")
    module.load_state_dict(tensors, strict=True, assign=assign)
