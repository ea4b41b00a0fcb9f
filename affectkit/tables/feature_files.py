"""Feature files made elsewhere, one a clip: CSV, NumPy and torch files. All of it is untrusted: no pickled code, and no
array larger than the file that declares it."""

from __future__ import annotations

import lzma
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from affectkit import checkpoints
from affectkit.errors import AffectkitError, ClipError
from affectkit.media.container import regular_file
from affectkit.tables.csv import parse
from affectkit.tables.csv_text import CsvText, read_text
from affectkit.types import Floats

SUFFIXES = frozenset({".csv", ".npy", ".npz", ".pt", ".pth", ".safetensors"})
LARGEST = 4 << 30  # bytes of one clip's arrays
MAX_RATIO = 50  # a compressed file may unpack to this many times its size: features hardly compress
_SMALL = 16 << 20  # bytes that any file may unpack to
_MOST_ARRAYS = 1000
_BLOCK = 1 << 20
TIMES = ("start", "end", "timestamp", "frame")
_METADATA = 2  # columns that MuSe's files begin with
_UNNAMED = re.compile(r"(?:Unnamed: ?[0-9].*)?", re.IGNORECASE)
_DAMAGE = (
    ValueError, ArithmeticError, LookupError, EOFError, MemoryError, SyntaxError, struct.error, zlib.error,
    zipfile.BadZipFile, lzma.LZMAError, NotImplementedError, RuntimeError, TypeError, AttributeError,
)  # fmt: skip
"""What readers of damaged files raise."""

Style = Literal["clips", "muse", "affwild2"]


@dataclass(frozen=True)
class FileLayout:
    """How files are laid out: `valid` names the column of rows that count, `leave_out` columns that are no features,
    `array` the features among several arrays of one file."""

    style: Style
    valid: str = "valid"
    leave_out: tuple[str, ...] = ()
    array: str | None = None


@dataclass(frozen=True, repr=False)
class FeatureFile:
    """What a file holds: values [T,D] (NaN where missing), the names of their columns if it has any, columns [T]
    beside them (times by the names of `TIMES`, and `valid`), and the columns without a name, which are left out."""

    values: Floats
    names: tuple[str, ...] | None
    beside: dict[str, Floats]
    unnamed: tuple[str, ...] = ()

    @property
    def timed(self) -> tuple[str, ...]:
        """Its columns of times, those that number frames aside; none where nothing says when a row begins."""
        columns = tuple(name for name in ("start", "end", "timestamp") if name in self.beside)
        return columns if columns != ("end",) else ()


def read_features(path: Path, layout: FileLayout) -> FeatureFile:
    """Read one clip's file. Raises ClipError with the cause."""
    try:
        if path.suffix.lower() == ".csv":
            return _csv(path, layout)
        if layout.style == "muse":
            raise ClipError(f"style muse reads CSV files, not {path.name}")
        return _of_arrays(_arrays(path), layout)
    except AffectkitError as error:
        raise ClipError(str(error)) from None
    except OSError as error:
        raise ClipError(f"{path} cannot be read: {error.strerror or error}") from None
    except _DAMAGE as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClipError(f"{path.name} is damaged, or no {path.suffix} file: {cause[:200]}") from None


def _csv(path: Path, layout: FileLayout) -> FeatureFile:
    source = read_text(path)
    beside, features, unnamed = _roles(source.header, layout)
    if not features:
        raise ClipError(f"{path.name} has no feature columns among {', '.join(source.header)[:200]}")
    used = sorted([*features, *beside.values()])
    frame = parse(source, [], used)
    _check_cells(source, len(frame), used)
    cells = frame[[str(place) for place in used]].to_numpy(np.float64)
    column = {place: number for number, place in enumerate(used)}
    if set(beside) & set(TIMES):
        cells = cells[~np.isnan(cells).all(axis=1)]  # blank lines; without times, a line is a row all the same
    return FeatureFile(
        cells[:, [column[place] for place in features]],
        tuple(source.header[place] for place in features),
        {name: cells[:, column[place]] for name, place in beside.items()},
        unnamed,
    )


def _roles(header: tuple[str, ...], layout: FileLayout) -> tuple[dict[str, int], list[int], tuple[str, ...]]:
    """Places of the columns beside the features, by what they are, places of the features, and the names of those that
    have none: a number of the row, as pandas writes it."""
    unnamed = [place for place, name in enumerate(header) if _UNNAMED.fullmatch(name)]
    named = [place for place in range(len(header)) if place not in unnamed]
    if layout.style == "muse":
        skipped = set(named[:_METADATA])
        taken = dict(zip(("timestamp",), named, strict=False))
    else:
        folded = {name.casefold(): place for place, name in reversed(list(enumerate(header)))}
        taken = {
            name: folded[name] for name in TIMES if name in folded and header[folded[name]] not in layout.leave_out
        }
        skipped = set(taken.values())
    if layout.valid in header:
        taken["valid"] = header.index(layout.valid)
    skipped |= set(taken.values()) | {place for place in named if header[place] in layout.leave_out}
    return taken, [place for place in named if place not in skipped], tuple(header[place] for place in unnamed)


def _check_cells(source: CsvText, rows: int, used: list[int]) -> None:
    commas = source.raw.count(b",", source.body)
    if b'"' in source.raw or commas != rows * (len(source.header) - 1):
        source.check([], used)


def _of_arrays(arrays: dict[str, Any], layout: FileLayout) -> FeatureFile:
    beside_names = {*TIMES, layout.valid} - set(layout.leave_out)
    arrays = {name: array for name, array in arrays.items() if name not in layout.leave_out}
    tables = [name for name, array in arrays.items() if name not in beside_names and array.ndim]  # a number is no table
    wanted = layout.array or ("values" if "values" in tables else tables[0] if len(tables) == 1 else None)
    if wanted is None or wanted not in arrays:
        raise ClipError(
            f"which array holds the features? The file has {', '.join(arrays) or 'none'}: name one (--array)"
        )
    values = arrays[wanted]
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.shape[1]:
        raise ClipError(f"features are [rows, dimensions], not {list(arrays[wanted].shape)}")
    beside = {}
    for name in beside_names & arrays.keys():
        if arrays[name].shape != (len(values),):
            raise ClipError(f"{name} is {list(arrays[name].shape)} where the features have {len(values)} rows")
        beside["valid" if name == layout.valid else name] = arrays[name].astype(np.float64)
    return FeatureFile(values, None, beside)


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays of a file by name. Raises ClipError, AffectkitError, OSError."""
    suffix, (size, _) = path.suffix.lower(), regular_file(path)
    if size > LARGEST:
        raise ClipError(f"{path.name} is larger than {LARGEST >> 30} GiB")
    if suffix == ".npy":
        with path.open("rb") as file:
            return {"values": _npy(file, size, path.name)}
    if suffix == ".npz":
        return _npz(path)
    return _torch_arrays(checkpoints.state_dict(path) if suffix == ".safetensors" else checkpoints.contents(path))


def _npz(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            declared, size = sum(member.file_size for member in members), path.stat().st_size
            if declared > min(LARGEST, max(_SMALL, MAX_RATIO * size)) or len(members) > _MOST_ARRAYS:
                raise ClipError(
                    f"{path.name} declares {declared} bytes in {len(members)} arrays, and is {size}: refused; at most "
                    f"{MAX_RATIO} times its size and {_MOST_ARRAYS} arrays are read (np.savez does not compress)"
                )
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = _npy(file, member.file_size, member.filename)
            return arrays
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ClipError(f"{path.name} is no .npz file: {error}") from None


def _npy(file: IO[bytes], size: int, name: str) -> Any:
    """The array of a .npy stream of `size` bytes: real numbers, and no more of them than the stream can hold."""
    try:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = reader(file)
    except (ValueError, KeyError, OSError) as error:
        raise ClipError(f"{name} is no .npy file of plain numbers: {str(error).splitlines()[0]}") from None
    if dtype.kind not in "fiub" or dtype.hasobject:
        raise ClipError(f"{name} holds {dtype}, not real numbers")
    count = 1
    for length in shape:
        count *= length
    if any(length < 0 for length in shape) or count * dtype.itemsize > size:
        raise ClipError(f"{name} declares {list(shape)} of {dtype} in {size} bytes: refused")
    values = np.empty(count, dtype)
    raw, done = values.view("u1").data, 0
    while done < len(raw) and (block := file.read(min(_BLOCK, len(raw) - done))):
        raw[done : done + len(block)] = block
        done += len(block)
    if done < len(raw):
        raise ClipError(f"{name} is cut off: {done} of {len(raw)} bytes")
    return values.reshape(shape, order="F" if fortran else "C")


def _torch_arrays(loaded: Any) -> dict[str, Any]:
    """Of one tensor, or of those in a mapping; whatever else it holds is passed over."""
    import torch

    named = loaded if isinstance(loaded, dict) else {"values": loaded}
    return {str(name): _of_tensor(name, value) for name, value in named.items() if isinstance(value, torch.Tensor)}


def _of_tensor(name: object, tensor: Any) -> Any:
    import torch

    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
        raise ClipError(f"{name} holds {tensor.dtype}, not real numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ClipError(f"{name} declares {list(tensor.shape)}, more than the file holds: refused")
    plain = tensor.detach()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
