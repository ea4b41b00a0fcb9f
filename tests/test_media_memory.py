"""Large pictures and long gaps in small files take bounded memory: measured in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np

READ = """
import resource, sys, time
from pathlib import Path
from affectkit.media import Sampling
from affectkit.prefetch import prefetched
from affectkit.stages.faces import decode_all
from affectkit.types import Clip

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

clips = [Clip(id=str(n), path=Path(name)) for n, name in enumerate(sys.argv[1:])]
steps = decode_all(clips, Sampling(fps="native"), 0, "keep")
frames, before = 0, peak()
for step in prefetched(steps, nbytes=lambda step: step.nbytes):
    if step.frame is not None:
        frames += 1
        time.sleep(0.2)  # the queue fills
    if step.error is not None:
        print(step.error)
print(frames, peak() - before)
"""


def large_video(path: Path, width: int, height: int, frames: int) -> Path:
    """A grey video of few bytes."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("png", rate=5)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        picture = np.full((height, width), 128, np.uint8)
        for _ in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        output.mux(stream.encode(None))
    assert path.stat().st_size < 2e6
    return path


def read(*paths: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_largest_pictures_take_some_hundred_megabytes(tmp_path: Path) -> None:
    *told, last = read(large_video(tmp_path / "a.mov", 8192, 4096, 6))
    frames, megabytes = map(int, last.split())
    assert not told and frames == 6
    assert megabytes < 900  # the picture as decoded and as RGB, two that wait, and one in the hands of each side


def test_larger_ones_are_refused_with_their_size_and_the_limit(tmp_path: Path) -> None:
    told, last = read(large_video(tmp_path / "a.mov", 8192, 8192, 2))
    assert "8192 x 8192" in told and "8192 x 4096" in told and "ffmpeg" in told
    assert last.split()[0] == "0" and int(last.split()[1]) < 200
