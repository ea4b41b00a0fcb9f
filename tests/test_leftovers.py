"""What killed commands leave: `cache gc` finds it, or the next command of the same place removes it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_tables import SCHEMAS, artifact, record, write

from affectkit.stages.resumable import MARK, Unfinished
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import TEMPORARY, ending, temporary_name
from affectkit.store.export import export
from affectkit.store.upkeep import leftovers, remove, remove_dead


@pytest.fixture(scope="module")
def dead() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def _left(path: Path, pid: int, host: str = "") -> Path:
    """What a process leaves that died while it wrote `path`."""
    return path.with_name(f"{TEMPORARY}{host or socket.gethostname()}-{pid}-{'0' * 32}-{ending(path)}")


@pytest.fixture
def features(tmp_path: Path) -> Artifact:
    made = artifact(tmp_path / "cache", SCHEMAS["features"])
    write(made, {"a": record(SCHEMAS["features"], 3)})
    made.seal()
    return made


@pytest.mark.parametrize(("to", "name"), [("csv", "a.csv"), ("npz", "ä" * 90 + ".npz"), ("muse", "folder")])
def test_the_next_export_removes_what_a_killed_one_left(
    to: str, name: str, tmp_path: Path, features: Artifact, dead: int
) -> None:
    out = tmp_path / "out" / name
    (gone := _left(out, dead)).mkdir(parents=True)
    (gone / "x").touch()
    kept = [_left(out, os.getpid()), _left(out, dead, "another"), _left(out.with_name("other.csv"), dead)]
    for path in kept:
        path.touch()
    export(features, to, out)
    assert sorted(out.parent.iterdir()) == sorted([out, *kept])


def test_names_stay_names_however_long(tmp_path: Path) -> None:
    for name in ("n" * 255, "日" * 85, "😀" * 63):
        (path := temporary_name(tmp_path / name)).touch()
        assert path.exists()
    remove_dead(tmp_path / "nowhere" / "x")


def test_gc_finds_what_a_killed_command_left_anywhere_below_the_cache(tmp_path: Path, dead: int) -> None:
    places = ["embed/a-1/parts/x.h5", "embed/a-1/data.1.h5", "train-head/gru-1", "run/r-1/summary.json", "digests"]
    made = []
    for place in places:
        (path := _left(tmp_path / place, dead)).parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        made.append(path)
    found = [leftover.path for leftover in leftovers(Cache(tmp_path), now=time.time())]
    assert sorted(found) == sorted(made)


def test_two_trainings_of_one_head(tmp_path: Path) -> None:
    """The first to end removes what both keep; the other goes on, and leaves nothing in the end."""
    place = tmp_path / "train-head" / "gru-1"
    one, two = (Unfinished(place, "f") for _ in range(2))
    (folder := tmp_path / "seed_0").mkdir()
    (folder / "weights").write_bytes(b"w")
    one.begin()
    two.begin()
    one.keep(0, folder)
    two.keep(0, folder)
    assert one.take(tmp_path / "again" / "seed_0")
    one.remove()
    assert not two.take(tmp_path / "later" / "seed_0")
    two.keep(0, folder)
    assert two.path.exists()
    two.remove()
    assert not two.path.exists()
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


def test_gc_finds_the_state_of_a_training_that_another_has_finished(tmp_path: Path) -> None:
    place = tmp_path / "train-head" / "gru-1"
    (state := Unfinished(place, "f")).begin()
    assert not list(leftovers(Cache(tmp_path), now=time.time() + 7200))
    place.mkdir()
    (place / "stage.json").write_text("{}")
    assert not list(leftovers(Cache(tmp_path), now=time.time()))
    (found,) = leftovers(Cache(tmp_path), now=time.time() + 7200)
    remove(found)
    assert not state.path.exists()


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    state = Unfinished(tmp_path / "gru-1", "f")
    state.begin()
    (state.path / "thesis.tex").touch()
    state.remove()
    assert (state.path / MARK).exists()
