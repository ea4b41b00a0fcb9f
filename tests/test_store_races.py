"""Processes that write, seal, merge, clean up and read one artifact at once: a reader sees every clip that was finished
before it began, and never calls a sound file damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from store_tables import SCHEMAS, artifact, assert_same, record

from affectkit.store import open_artifact
from affectkit.store.upkeep import verify

COMMON = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from store_tables import SCHEMAS, artifact, assert_same, record, write
from affectkit.store import Cache, open_artifact
from affectkit.store.upkeep import leftovers, remove, verify
me, root, until = sys.argv[1], Path(sys.argv[2]), time.monotonic() + float(sys.argv[3])
schema = SCHEMAS["features"]
table, log, turns = artifact(root, schema), root / "finished.txt", 0
"""
WRITE = """
while time.monotonic() < until:
    names = [f"{me}-{turns}-{n}" for n in range(3)]
    sources = {name: "s" + name for name in names}
    chosen = table.select(sources, {})
    write(table, {name: record(schema, n, turns) for n, name in enumerate(names)}, per_part=2)
    assert open_artifact(table.path).finished() >= set(sources.items())
    table.seal()
    assert open_artifact(chosen.path).clips == names
    with log.open("a") as lines:
        lines.write("".join(f"{name}\\n" for name in names))
    turns += 1
"""
MERGE = """
while time.monotonic() < until:
    table.compact()
    for leftover in leftovers(Cache(root)):
        remove(leftover)
    time.sleep(0.02)
    turns += 1
"""
READ = """
while time.monotonic() < until:
    finished = log.read_text().split() if log.exists() else []
    reader = open_artifact(table.path)
    missed = set(finished) - set(reader.clips)
    assert not missed, sorted(missed)
    for name in finished[-6:]:
        _, turn, n = name.rsplit("-", 2)
        assert_same(schema, reader.read(name), record(schema, int(n), int(turn)))
    if turns % 20 == 0:
        assert not list(verify(reader))
    turns += 1
"""


@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_nobody_misses_a_finished_clip(tmp_path: Path, seconds: int) -> None:
    bodies = {"one": WRITE, "two": WRITE, "merge": MERGE, "read": READ}
    common, ready = COMMON.format(tests=str(Path(__file__).parent)), "print(turns)\n"
    children = {
        name: subprocess.Popen(
            [sys.executable, "-c", common + body + ready, name, tmp_path, str(seconds)], stdout=subprocess.PIPE
        )
        for name, body in bodies.items()
    }
    turns = {name: child.communicate()[0] for name, child in children.items()}
    assert {name: child.returncode for name, child in children.items()} == dict.fromkeys(bodies, 0)
    assert all(int(count) for count in turns.values()), turns
    table, schema = artifact(tmp_path, SCHEMAS["features"]), SCHEMAS["features"]
    finished = (tmp_path / "finished.txt").read_text().split()
    assert open_artifact(table.path).clips == sorted(finished)
    for name in finished[::7]:
        _, turn, n = name.rsplit("-", 2)
        assert_same(schema, table.read(name), record(schema, int(n), int(turn)))
    assert list(verify(table)) == []
