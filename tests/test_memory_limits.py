"""Tables and arrays of strangers take no more memory than is really in the file: each reader runs under a limit."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affectkit.errors import ClipError, UsageError
from affectkit.tables import csv_text
from affectkit.tables.csv import read_table
from affectkit.tables.feature_files import FileLayout, read_features

LIMIT = 300 << 20  # bytes beyond what the imports took
LIMITED = """
import resource, sys
from pathlib import Path
import numpy, pandas
from affectkit.tables.csv import read_table
from affectkit.tables.csv_text import read_text
from affectkit.tables.feature_files import FileLayout, read_features
from affectkit.errors import AffectkitError, ClipError
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + {limit}, held + {limit}))
path = Path(sys.argv[1])
try:
    if path.suffix == ".csv":
        read_table(path, "labels", text=("clip",), numbers=("valence",))
    else:
        read_features(path, FileLayout("clips"))
except (AffectkitError, ClipError) as error:
    print(type(error).__name__, error)
"""


def _limited(path: Path) -> str:
    """What reading a file says, in a process of bounded memory."""
    code = LIMITED.format(limit=LIMIT)
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.strip()


def _endless_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"clip,valence\na,0.5\n")
        file.truncate(1 << 30)  # no line ends any more


def _commas(path: Path) -> None:
    path.write_bytes(b"clip,valence\na,0.5\nb," + b"1," * (20 << 20))


def _header(path: Path) -> None:
    path.write_bytes(b"clip,valence," + b",".join(b"c%d" % n for n in range(300_000)) + b"\n")


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        header = np.lib.format.header_data_from_array_1_0(np.zeros((0, 4), np.float32)) | {"shape": (32 << 20, 4)}
        with archive.open("values.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, header)
            for _ in range(512):
                member.write(bytes(1 << 20))


HOSTILE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a line without an end": ("a.csv", _endless_line, ":3: a line of more than 4 MiB"),
    "a line of commas": ("a.csv", _commas, ":3: a line of more than 4 MiB"),
    "a header of 300,000 columns": ("a.csv", _header, ":1: 300002 columns"),
    "a compressed array": ("a.npz", _bomb, "times its size"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_refused_takes_no_memory(kind: str, tmp_path: Path) -> None:
    name, make, words = HOSTILE[kind]
    make(path := tmp_path / name)
    said = _limited(path)
    assert words in said
    assert "\n" not in said


def test_an_array_takes_its_own_memory_once(tmp_path: Path) -> None:
    """160 MB of random numbers under a limit of 300: neither the file's bytes nor a copy are held beside them."""
    values = np.random.default_rng(0).standard_normal((10_000, 4_000), np.float32)
    np.savez(path := tmp_path / "a.npz", values=values)
    assert _limited(path) == ""


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_long_lines_that_are_allowed_are_read(end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "_BLOCK", 64)
    monkeypatch.setattr(csv_text, "LONGEST_LINE", 200)
    path = tmp_path / "a.csv"
    line = b"x" * 200
    path.write_bytes(end.join([b"clip,valence", line, line, b"y" * 199]))
    assert csv_text.read_text(path).raw == path.read_bytes()
    path.write_bytes(end.join([b"clip,valence", line, b"short", line + b"x", b"after"]))
    with pytest.raises(UsageError, match=":4: a line of more than"):
        csv_text.read_text(path)


@pytest.mark.parametrize("cells", ["0,1,1e308", "0,1,-1e31", "0,1e308,0.5", "1e13,2e13,0.5"])
def test_numbers_whose_sums_are_none_are_refused_with_their_line(cells: str, tmp_path: Path) -> None:
    (path := tmp_path / "a.csv").write_text(f"clip,start,end,valence\na,0,1,0.5\nb,{cells}\n")
    with pytest.raises(UsageError, match=r"a\.csv:3: "):
        read_table(path, "labels", text=("clip",), numbers=("start", "end", "valence")).intervals()


def test_features_that_compress_well_are_read(tmp_path: Path) -> None:
    values = np.repeat(np.random.default_rng(0).standard_normal((50, 256)).astype("f4"), 20, axis=0)
    values[values < 1] = 0
    np.savez_compressed(path := tmp_path / "a.npz", values=values)
    assert np.array_equal(read_features(path, FileLayout("clips")).values, values)


def test_an_archive_of_many_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(path := tmp_path / "a.npz", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(ClipError, match="1001 arrays"):
        read_features(path, FileLayout("clips"))
