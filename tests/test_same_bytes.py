"""Synthetic sets are the same bytes whatever the heap holds and whatever extensions the processor has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affectkit.media import write_video

BOTH = """
import sys
from pathlib import Path
from affectkit.config import Runtime
from affectkit.practice.settings import PracticeConfig
from affectkit.practice.sets import make_practice
out = Path(sys.argv[1])
for name, clips in (("table", 3), (sys.argv[2], 10)):
    config = PracticeConfig(count=clips, seconds=0.5, size=96)
    make_practice(name, out / name, config, Runtime(workers=2, progress=False))
"""
HEAPS = [{"MALLOC_PERTURB_": "17"}, {"MALLOC_PERTURB_": "201"}]
PROCESSORS = [  # what numpy's and libc's code for newer processors is kept from
    {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512_SKX"},
    {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3 AVX2 FMA3 AVX512F AVX512_SKX",
        "OPENBLAS_CORETYPE": "Nehalem",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512DQ,-AVX2,-AVX,-FMA",
    },
]


def written(folder: Path, name: str, **environment: str) -> dict[str, bytes]:
    """The files of the demo's practice set and of another one, made by a process with these variables."""
    folder.mkdir()
    run = [sys.executable, "-W", "ignore", "-c", BOTH, str(folder), name]
    subprocess.run(run, check=True, env=os.environ | environment, capture_output=True)
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_sets_are_the_same_bytes_on_another_heap_and_processor(tmp_path: Path) -> None:
    first = written(tmp_path / "a", "affwild2", **HEAPS[0])
    second = written(tmp_path / "b", "affwild2", **HEAPS[1], **PROCESSORS[1])
    assert len(first) > 10 and first == second


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cexpr", "dfew", "hume-reaction"])
@pytest.mark.parametrize("environment", [*HEAPS, *PROCESSORS])
def test_every_set_is_the_same_bytes(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    assert written(tmp_path / "a", name) == written(tmp_path / "b", name, **environment)


def test_a_video_does_not_depend_on_the_number_of_cores(tmp_path: Path) -> None:
    script = "import sys; from test_same_bytes import moving; moving(sys.argv[1])"
    cores = os.sched_getaffinity(0)
    for count, some in (("one", {min(cores)}), ("all", cores)):
        try:
            os.sched_setaffinity(0, some)  # a child has its parent's cores
            command = [sys.executable, "-c", script, str(tmp_path / count)]
            subprocess.run(command, check=True, cwd=Path(__file__).parent)
        finally:
            os.sched_setaffinity(0, cores)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "all").read_bytes()


def moving(path: str) -> None:
    """Write a video of noise that moves."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    write_video(path, (noise[k : k + 128, 2 * k : 2 * k + 192] for k in range(40)), fps=25)


def test_colours_are_those_of_the_standard() -> None:
    """Y'CbCr of BT.709 in limited range: primaries, white and black as ITU-R BT.709 tabulates them."""
    from affectkit.media.write import _bt709

    for rgb, expected in {
        (0, 0, 0): (16, 128, 128), (255, 255, 255): (235, 128, 128), (255, 0, 0): (63, 102, 240),
        (0, 255, 0): (173, 42, 26), (0, 0, 255): (32, 240, 118),
    }.items():  # fmt: skip
        planes = _bt709(np.full((6, 2, 3), rgb, np.uint8)).ravel()
        assert (planes[0], planes[12], planes[15]) == expected
