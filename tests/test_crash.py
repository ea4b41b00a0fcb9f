"""extract faces and embed, killed at random moments: finished clips stay, nothing half-written is visible, and the end
is the same as without."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from media_factory import make_clip
from stage_factory import datasets, portrait

from affectkit.store import Artifact
from affectkit.store.atomic import TEMPORARY

CLIPS = 24
# Every clip is committed at once, so that a moment can be told by the number of parts.
CHILD = "import affectkit.stages.sink as m; m._COMMIT_SECONDS = 0; from affectkit.cli import main; main()"


class Job(NamedTuple):
    """A command line without --cache, and the artifact that it makes when nothing interrupts it."""

    line: list[str]
    expected: Path


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    folder = tmp_path_factory.mktemp("crash")
    for number in range(CLIPS):
        pictures = [np.roll(portrait()[:, ::-1], 3 * frame + number, axis=1) for frame in range(1 + number % 4)]
        make_clip(folder / f"c{number:02d}.mp4", pictures)
    faces = ["extract", "faces", str(folder), "--detector", "centerface", "--fps", "native", "--size", "32"]
    faces += ["-o", "max_size=64", "--device", "cpu", "--workers", "1", "--json"]
    crops = finish(faces, folder / "cache")
    embed = ["embed", str(crops), "--backbone", "mean-pixel", "--batch-size", "4", "--device", "cpu", "--json"]
    return {"faces": Job(faces, crops), "embed": Job(embed, finish(embed, folder / "cache"))}


def start(line: Sequence[str], cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *line, "--cache", str(cache)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=cache.parent,
    )  # fmt: skip


def finish(line: Sequence[str], cache: Path) -> Path:
    """Run to the end; the artifact's path."""
    return Path(report(start(line, cache))["folder"])


def report(child: subprocess.Popen[str]) -> dict:
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return json.loads(out)


def artifact_under(cache: Path) -> Artifact | None:
    found = [path.parent for path in cache.glob("*/*/stage.json")]
    return Artifact(found[0]) if found else None


def kill_at(line: Sequence[str], cache: Path, clips: int, delay: float) -> bool:
    """Start the command and kill it `delay` seconds after it has finished `clips` more clips than there were.

    False if it was over before that.
    """
    before = len(parts_under(cache))
    child = start(line, cache)
    while child.poll() is None and len(parts_under(cache)) < before + clips and not list(cache.glob("*/*/data.h5")):
        time.sleep(0.001)
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    return child.returncode == -signal.SIGKILL


def parts_under(cache: Path) -> list[Path]:
    return list(cache.glob("*/*/parts/[!.]*.h5"))


def held(cache: Path) -> dict[str, tuple[str, str]]:
    """Source and digest of every finished clip, by where they can be seen: whole parts and segments."""
    found: dict[str, tuple[str, str]] = {}
    for path in [*parts_under(cache), *cache.glob("*/*/data*.h5")]:
        with h5py.File(path) as file:
            for clip, *digests in zip(file["clip"], file["source_sha256"], file["sha256"], strict=True):
                assert clip.decode() not in found or path.name.startswith("data"), "a finished clip was computed again"
                found[clip.decode()] = tuple(digest.decode() for digest in digests)
    return found


def check_crashes(job: Job, cache: Path, moments: Sequence[tuple[int, float]]) -> None:
    """Kill at each moment in turn; then let the command finish, and compare."""
    kept: dict[str, tuple[str, str]] = {}
    for clips, delay in moments:
        kill_at(job.line, cache, clips, delay)
        now = held(cache)
        assert kept.items() <= now.items()
        artifact = artifact_under(cache)
        assert artifact is None or {clip for clip, _ in artifact.finished()} == set(now)
        kept = now
    done = report(start(job.line, cache))
    assert (done["computed"], done["cached"], done["failed"]) == (CLIPS - len(kept), len(kept), {})
    made = Path(done["folder"])
    visible = sorted(path.name for path in made.rglob("*") if not path.name.startswith((TEMPORARY, ".lock")))
    assert visible == sorted(path.name for path in job.expected.rglob("*") if path.name != ".lock")
    assert datasets(made / "data.h5") == datasets(job.expected / "data.h5")
    selection = next(job.expected.glob("selections/*.json")).relative_to(job.expected)
    assert Path(done["artifact"]) == made / selection
    assert (made / selection).read_bytes() == (job.expected / selection).read_bytes()


def moments(seed: int, count: int) -> list[tuple[int, float]]:
    """Moments that leave something to do: a few clips each, then up to a clip's time."""
    source = random.Random(seed)
    return [(source.randint(0, CLIPS // count), source.uniform(0, 0.03)) for _ in range(count)]


@pytest.mark.parametrize("stage", ["faces", "embed"])
def test_killed_three_times_and_repeated(jobs: dict[str, Job], tmp_path: Path, stage: str) -> None:
    check_crashes(jobs[stage], tmp_path / "cache", moments(seed=len(stage), count=3))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("stage", ["faces", "embed"])
def test_killed_at_any_moment(jobs: dict[str, Job], tmp_path: Path, stage: str, seed: int) -> None:
    check_crashes(jobs[stage], tmp_path / "cache", moments(seed, count=1))


@pytest.mark.parametrize("stage", ["faces", "embed"])
def test_two_processes_on_one_artifact(jobs: dict[str, Job], tmp_path: Path, stage: str) -> None:
    job, cache = jobs[stage], tmp_path / "cache"
    children = [start(job.line, cache) for _ in range(2)]
    for child in children:
        done = report(child)
        assert done["computed"] + done["cached"] == CLIPS
    made = Path(done["folder"])
    assert [path.name for path in made.glob("data*.h5")] == ["data.h5"]
    assert datasets(made / "data.h5") == datasets(job.expected / "data.h5")
    assert not list((made / "parts").iterdir())


def test_ctrl_c_keeps_what_is_finished_and_a_rerun_goes_on(jobs: dict[str, Job], tmp_path: Path) -> None:
    job, cache = jobs["faces"], tmp_path / "cache"
    child = start(job.line, cache)
    while child.poll() is None and len(parts_under(cache)) < 5:
        time.sleep(0.001)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "repeat the command to go on" in err
    kept = held(cache)
    assert 5 <= len(kept) < CLIPS
    assert not list(cache.glob(f"**/{TEMPORARY}*"))
    done = report(start(job.line, cache))
    assert (done["computed"], done["cached"]) == (CLIPS - len(kept), len(kept))
    assert datasets(Path(done["folder"]) / "data.h5") == datasets(job.expected / "data.h5")
