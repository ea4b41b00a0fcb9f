"""Peak memory of `affectkit extract faces` on a long clip against a short one.

Each run is a process of its own, whose peak resident set the kernel reports. The clips show the same face all along,
so every sampled frame gives a crop: 6 times as many on the long clip.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _clips import face_clip, repeated
from _report import Ratio, alternate, machine, options, show_value

from affectkit.store import open_artifact


def peak(clip: Path, options: list[str], rows: int) -> float:
    """Megabytes that the command held at most."""
    with tempfile.TemporaryDirectory(dir=clip.parent) as cache:
        command = [sys.executable, "-m", "affectkit", "extract", "faces", str(clip), "--cache", cache, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            printed = process.stdout.read() if process.stdout else ""
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        artifact = open_artifact(printed.strip())
        valid = artifact.column(artifact.clips[0], "valid")
        assert len(valid) == rows and valid.mean() > 0.9, f"{len(valid)} rows, {valid.mean():.0%} with a face"
    return usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = options(
        __doc__, quick={"minutes": [1, 6], "rounds": 1},
        smoke={"minutes": [0.05, 0.1], "piece": 3.0, "rounds": 1},
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, nargs=2, default=[5, 30], help="of the short and the long clip")
    parser.add_argument("--piece", type=float, default=10.0, help="seconds that are encoded; the clips repeat them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fps", type=int, default=1)
    parser.add_argument("--detector", default="centerface")
    parser.add_argument("--weights", default="auto")
    given = parser.parse_args()
    short, long = given.minutes
    chosen = ["--fps", str(given.fps), "--detector", given.detector, "--weights", given.weights]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        piece = face_clip(folder, given.piece)
        clips = {m: repeated(piece, round(60 * m / given.piece), folder / f"{m:g}.mp4") for m in (short, long)}
        taken = alternate(
            given.rounds,
            short=lambda: peak(clips[short], chosen, round(60 * short * given.fps)),
            long=lambda: peak(clips[long], chosen, round(60 * long * given.fps)),
        )
    what = f"peak memory of extract faces, {given.detector} at {given.fps} fps"
    Ratio(taken["long"], taken["short"], "MB", at_most=1.1).show(f"{what}, {long:g} min / {short:g} min")
    show_value(f"{what}, {long:g} min", taken["long"], "MB", at_most=2000)
    print(machine())


if __name__ == "__main__":
    main()
