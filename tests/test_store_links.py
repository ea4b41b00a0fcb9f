"""An artifact from a stranger whose entries are links: nothing that they lead to is read, written or removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_tables import SCHEMAS, artifact, record, write

from affectkit.errors import AffectkitError, HostileFile
from affectkit.store import Artifact, Cache, Failure, open_artifact
from affectkit.store.upkeep import leftovers, remove, verify

FEATURES = SCHEMAS["features"]


def _table(root: Path, clips: str, of: str) -> Artifact:
    """An artifact with sealed clips, one finished part, a failure and what the user said of a clip."""
    made = artifact(root, FEATURES, of=of)
    write(made, {clip: record(FEATURES, 3) for clip in clips})
    made.seal([Failure("x", "s", "cut off")])
    made.select({clips[0]: "s" + clips[0]}, {clips[0]: {"split": "val"}})
    write(made, {clips[0] + "2": record(FEATURES, 3)})
    return made


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def mine(tmp_path: Path) -> Artifact:
    return _table(tmp_path / "mine", "ab", "mine")


@pytest.fixture
def foreign(tmp_path: Path) -> Artifact:
    return _table(tmp_path / "foreign", "cd", "foreign")


ENTRIES = ("parts", "data.h5", "data.1.h5", ".lock", "stage.json", "failures.jsonl", "clips.json", "selections")


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_is_done_through_a_link(entry: str, mine: Artifact, foreign: Artifact) -> None:
    (mine.path / ".lock").touch()
    if entry == "data.1.h5":
        mine.seal()
        write(mine, {"more": record(FEATURES, 3)})
    before = _bytes(mine.path)
    place = foreign.path / entry
    if place.exists():
        place.rename(foreign.path / "moved")
    place.symlink_to(mine.path / entry)
    opened = foreign if entry == "stage.json" else open_artifact(foreign.path)
    with pytest.raises(AffectkitError) as caught:
        if entry == "stage.json":
            open_artifact(foreign.path)
        opened.finished()
        opened.failures()
        opened.clip_table()
        opened.seal([Failure("y", "s", "cut off")])
        opened.select({"c": "sc"}, {"c": {"split": "train"}})
    assert "\n" not in str(caught.value)
    assert str(place) in str(caught.value)
    for use in (
        lambda: opened.new_part().discard(), lambda: opened.compact(), lambda: opened.seal(),
        lambda: list(verify(opened)), lambda: len(opened.part_paths()),
    ):  # fmt: skip
        try:
            use()
        except HostileFile as error:
            assert "\n" not in str(error)
    assert _bytes(mine.path) == before
    assert place.is_symlink()


def test_a_lock_that_leads_elsewhere_makes_no_file(tmp_path: Path, foreign: Artifact) -> None:
    (foreign.path / ".lock").unlink()
    (foreign.path / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(HostileFile, match="a link"):
        foreign.seal()
    assert not (tmp_path / "made").exists()


def test_gc_stays_below_the_root_and_goes_through_no_link(tmp_path: Path, mine: Artifact) -> None:
    root = tmp_path / "root"
    (root / "faces").mkdir(parents=True)
    (root / "embed").symlink_to(mine.path.parent)
    (root / "faces" / mine.path.name).symlink_to(mine.path)
    (root / "train-head").symlink_to(tmp_path / "heads")
    state = tmp_path / "heads" / ".gru-1.state"
    state.mkdir(parents=True)
    (state / "fingerprint").write_text("f")
    (root / "run").symlink_to(root)
    before = _bytes(mine.path)
    for leftover in leftovers(Cache(root), 0.0, 2e10):
        assert leftover.path.resolve().is_relative_to(root.resolve())
        remove(leftover)
    assert _bytes(mine.path) == before
    assert (state / "fingerprint").exists()


def test_gc_removes_an_old_artifact_and_leaves_what_its_links_lead_to(tmp_path: Path, mine: Artifact) -> None:
    old = _table(tmp_path / "root", "ab", "old")
    (old.path / "figures").symlink_to(mine.path)
    before = _bytes(mine.path)
    found = [leftover.path for leftover in leftovers(Cache(tmp_path / "root"), 1.0, 2e10)]
    assert found == [old.path]
    for leftover in leftovers(Cache(tmp_path / "root"), 1.0, 2e10):
        remove(leftover)
    assert not old.path.exists()
    assert _bytes(mine.path) == before
