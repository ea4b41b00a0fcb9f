"""SIGKILL at any moment, and disks that are full: what was finished stays, nothing half-written shows."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_tables import CLIPS, artifact, assert_same, every, keys, missing, write
from store_tables import RUN_SCHEMA as SCHEMA

from affectkit.store import Cache, open_artifact
from affectkit.store.upkeep import leftovers, remove, verify

PRELUDE = f"import sys; from pathlib import Path; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"


# SIGKILL

WORKER = (
    PRELUDE
    + """
from store_tables import RUN_SCHEMA, artifact, every, missing, write
table, clips = artifact(Path(sys.argv[1]), RUN_SCHEMA), every()
todo = missing(table)
print("ready", flush=True)
for n in range(0, len(todo), 3):
    group = {clip: clips[clip] for clip in todo[n : n + 3]}
    write(table, group, per_part=3)
    print(",".join(group), flush=True)
table.seal()
print("sealed", flush=True)
"""
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """data.h5 of a run that nothing disturbed."""
    table = artifact(tmp_path_factory.mktemp("whole"), SCHEMA)
    write(table, every(), per_part=CLIPS)
    table.seal()
    return (table.path / "data.h5").read_bytes()


def killed_after(root: Path, parts: int, delay: float) -> list[str]:
    """Run the worker, kill it `delay` seconds after so many parts (all: while it seals); the clips it reported."""
    child = subprocess.Popen([sys.executable, "-c", WORKER, root], stdout=subprocess.PIPE, text=True, bufsize=1)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    reported = [child.stdout.readline().strip() for _ in range(parts)]
    time.sleep(delay)
    child.kill()
    child.wait()
    while select.select([child.stdout], [], [], 0)[0] and (line := child.stdout.readline()):
        reported.append(line.strip())
    child.stdout.close()
    return [clip for line in reported if line != "sealed" for clip in line.split(",")]


def check_killed(tmp_path: Path, reference: bytes, seed: int) -> None:
    rng = random.Random(seed)
    parts = CLIPS // 3 if seed % 3 == 0 else rng.randrange(CLIPS // 3)
    reported = killed_after(tmp_path, parts, rng.uniform(0, 0.08))
    table = artifact(tmp_path, SCHEMA)
    done = open_artifact(table.path).finished()
    assert keys(reported) <= done <= keys(every())  # all that shows is whole
    if table.segment_paths():
        assert (table.path / "data.h5").read_bytes() == reference
    computed = missing(table)
    assert not set(computed) & set(reported)
    write(table, {clip: every()[clip] for clip in computed}, per_part=2)
    table.seal()
    assert (table.path / "data.h5").read_bytes() == reference
    assert len(table.segment_paths()) == 1
    assert table.part_paths() == []
    for leftover in leftovers(Cache(tmp_path)):
        remove(leftover)
    assert list((table.path / "parts").iterdir()) == []


@pytest.mark.parametrize("seed", range(3))
def test_killed_run_is_resumed(tmp_path: Path, reference: bytes, seed: int) -> None:
    check_killed(tmp_path, reference, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_killed_at_twenty_moments(tmp_path: Path, reference: bytes, seed: int) -> None:
    check_killed(tmp_path, reference, seed)


# Full disks. In child processes: HDF5 may crash the interpreter when it ends.

WRITER = (
    PRELUDE
    + """
import resource
from store_tables import RUN_SCHEMA, artifact, every, write
from affectkit.errors import AffectkitError
root, limit, doing = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
import h5py
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    table = artifact(root, RUN_SCHEMA)
    if doing == "parts":
        write(table, every(), per_part=4)
    elif doing == "forget":  # neither commit nor discard
        kept = table.new_part()
        kept.append({n: v for n, v in every()["clip 00"].items() if n != "origin"} | {"image": [b"x" * 30000] * 40})
    table.seal()
except AffectkitError as error:
    print(error)
    sys.exit(2)
"""
)


def run_full(root: Path, limit: int, doing: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WRITER, root, str(limit), doing], capture_output=True, text=True)


def check_full(child: subprocess.CompletedProcess[str], root: Path) -> None:
    """One line, exit 2, no noise at exit, nothing left of what was not finished."""
    assert child.stderr == ""
    assert child.returncode == 2
    assert child.stdout.startswith("no room to write ")
    assert child.stdout.count("\n") == 1
    assert [path for path in root.rglob(".tmp-*") if path.parent.name != "digests"] == []


def check_recovers(root: Path, earlier: int) -> None:
    """What was finished before is there, and the rest can be made."""
    table = artifact(root, SCHEMA)
    done = table.finished()
    assert len(done) >= earlier
    write(table, {clip: values for clip, values in every().items() if (clip, "s" + clip) not in done}, per_part=4)
    table.seal()
    for clip, values in every().items():
        assert_same(SCHEMA, table.read(clip), values)
    assert list(verify(table)) == []


@pytest.mark.parametrize("limit", [100, 60_000])
def test_no_room_for_a_part(tmp_path: Path, limit: int) -> None:
    child = run_full(tmp_path, limit, "parts")
    check_full(child, tmp_path)
    check_recovers(tmp_path, 0)


def test_no_room_for_the_segment(tmp_path: Path) -> None:
    table = artifact(tmp_path, SCHEMA)
    write(table, every(), per_part=2)
    largest = max(path.stat().st_size for path in table.part_paths())
    child = run_full(tmp_path, largest // 2, "seal")
    check_full(child, tmp_path)
    assert not (table.path / "data.h5").exists()
    assert len(table.part_paths()) == CLIPS // 2
    check_recovers(tmp_path, CLIPS)


def test_part_that_nobody_closes_on_a_full_disk(tmp_path: Path) -> None:
    artifact(tmp_path, SCHEMA)
    child = run_full(tmp_path, 20_000, "forget")
    assert child.stderr == ""
    assert child.returncode == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_tiny_file_system_fills_up(tiny_disk: Path, tmp_path: Path) -> None:
    child = run_full(tiny_disk, 0, "parts")
    check_full(child, tiny_disk)
    table = open_artifact(next(Cache(tiny_disk).artifacts()).path)
    done = table.finished()
    assert 0 < len(done) < CLIPS
    roomy = tmp_path / "roomy"
    subprocess.run(["cp", "-r", tiny_disk, roomy], check=True)
    check_recovers(roomy, len(done))


def test_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "embed").write_text("a file where a folder should be")
    if os.geteuid() != 0:
        (tmp_path / "embed").unlink()
        tmp_path.chmod(0o500)
    child = run_full(tmp_path, 0, "parts")
    tmp_path.chmod(0o700)
    assert child.stderr == ""
    assert child.returncode == 2
    assert "cannot be written" in child.stdout
    assert child.stdout.count("\n") == 1


# The same, at every single write

INJECTED = (
    PRELUDE
    + """
import errno
from store_tables import SCHEMAS, artifact, end, record
from affectkit.errors import AffectkitError
from affectkit.store import output
schema = SCHEMAS["features"]
table = artifact(Path(sys.argv[1]), schema)
kept, left = output._Disk.write, [0]
def write(self, data, /):
    left[0] -= 1
    if left[0] == 0 and self.error is None:
        self.error = {error}
    return kept(self, data)
output._Disk.write = write
for n in range(1, 1000):
    left[0] = n
    part = None
    try:
        part = table.new_part()
        for clip in "abc":
            end(schema, part, clip, record(schema, 3000), "s")
        part.append(record(schema, 3))
        part.rollback()
        part.commit()
    except (AffectkitError, KeyboardInterrupt) as error:
        if part is not None:
            assert part.commit() is None
            part.rollback()
            part.discard()
        assert list((table.path / "parts").iterdir()) == [], n
        continue
    break
left[0] = -1
table.seal()
print(n, *table.clips)
"""
)


@pytest.mark.parametrize("error", ["OSError(errno.ENOSPC, 'full')", "KeyboardInterrupt()"])
def test_error_at_any_write_is_survived(tmp_path: Path, error: str) -> None:
    code = INJECTED.format(error=error)
    child = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert child.stderr == ""
    assert child.returncode == 0
    writes, *clips = child.stdout.split()
    assert int(writes) > 5  # the last try met no error
    assert clips == ["a", "b", "c"]
