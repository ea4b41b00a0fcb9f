"""Folders of results: what is written again, what is removed, and what is left alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.store.result_folder import ResultFolder, file_names


def written(root: Path, files: dict[str, str]) -> ResultFolder:
    """Write these texts, and end."""
    folder = ResultFolder(root, "record.json", "results")
    folder.begin(files)
    for name, text in files.items():
        folder.text(name, text)
    folder.left = folder.end({"about": "x"})  # type: ignore[attr-defined]
    return folder


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    root = tmp_path / "out" / "deep"
    assert sorted(written(root, {"a.csv": "1", "t/b.csv": "2"}).changed) == ["a.csv", "t/b.csv"]
    before = (root / "a.csv").stat().st_mtime_ns
    assert written(root, {"a.csv": "1", "t/b.csv": "3"}).changed == ["t/b.csv"]
    assert (root / "a.csv").stat().st_mtime_ns == before and (root / "t/b.csv").read_text() == "3"
    assert json.loads((root / "record.json").read_text())["complete"] is True


def test_old_files_go_and_those_changed_by_hand_stay(tmp_path: Path) -> None:
    written(tmp_path / "o", {"t/a.csv": "1", "u/b.csv": "2", "c": "3"})
    (tmp_path / "o/c").write_text("mine")
    folder = written(tmp_path / "o", {"d": "4"})
    assert folder.left == ["c"] and (tmp_path / "o/c").read_text() == "mine"  # type: ignore[attr-defined]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["c", "d", "record.json"]


def test_a_file_changed_by_hand_is_written_anew_and_told(tmp_path: Path) -> None:
    written(tmp_path / "o", {"a": "1"})
    (tmp_path / "o/a").write_text("mine")
    folder = written(tmp_path / "o", {"a": "1"})
    assert folder.altered == ["a"] and (tmp_path / "o/a").read_text() == "1"


def test_nothing_of_others_is_touched(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o/photo.jpg").write_text("x")
    with pytest.raises(UsageError, match="holds other files"):
        ResultFolder(tmp_path / "o", "record.json", "results")
    with pytest.raises(UsageError, match="is a file"):
        ResultFolder(tmp_path / "o/photo.jpg", "record.json", "results")
    written(tmp_path / "p", {"a": "1"})
    (tmp_path / "p/b").write_text("mine")
    with pytest.raises(UsageError, match="other files of the same names"):
        written(tmp_path / "p", {"a": "1", "b": "2"})
    assert (tmp_path / "p/b").read_text() == "mine"


def test_links_are_not_followed_and_a_forged_record_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "secret").write_text("s")
    written(tmp_path / "o", {"t/a": "1"})
    (tmp_path / "o/t/a").unlink()
    (tmp_path / "o/t").rmdir()
    (tmp_path / "o/t").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostileFile, match="symbolic link"):
        written(tmp_path / "o", {"t/a": "1"})
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "o/t").unlink()
    (tmp_path / "o/l").symlink_to(tmp_path / "secret")
    with pytest.raises(AffectkitError):
        written(tmp_path / "o", {"l": "1"})
    (tmp_path / "o/l").unlink()
    digest = "043a718774c572bd8a25adbeb1bfcd5c0256ae11cecf9f9c3f925d0e52beaf89"
    for name in ("../secret", str(tmp_path / "secret")):
        record = {"format": 1, "complete": True, "files": {name: {"sha256": digest, "made_from": ""}}}
        (tmp_path / "o/record.json").write_text(json.dumps(record))
        written(tmp_path / "o", {})
    assert (tmp_path / "secret").read_text() == "s"
    (tmp_path / "o/record.json").write_text("{")
    with pytest.raises(HostileFile):
        ResultFolder(tmp_path / "o", "record.json", "results")


def test_after_a_kill_the_folder_is_gone_on_with(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "o", "record.json", "results")
    folder.begin(["a", "b"])
    folder.text("a", "1")  # and killed
    again = written(tmp_path / "o", {"a": "1", "b": "2"})
    assert not again.altered and (tmp_path / "o/b").read_text() == "2"


def test_every_id_has_a_file_of_its_own_inside(tmp_path: Path) -> None:
    ids = ["a", "A", "a/b", "a.csv/b", "é" * 127, "con:1", "x?", "ende.", "tag 1/äöü #1", "..x", "a~2", "%3A", ":"]
    names = file_names(ids, (".csv",))
    assert len({name.casefold() for name in names.values()}) == len(ids)
    for name in names.values():
        path = tmp_path / f"{name}.csv"
        assert path.resolve().is_relative_to(tmp_path.resolve())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        assert all(len(os.fsencode(part)) < 200 for part in path.parts)
    assert names["tag 1/äöü #1"] == "tag 1/äöü #1"
    assert file_names(["../x", ".."])  # no such ids are let in, and none would lead out
    assert not any(".." in Path(name).parts for name in file_names(["../x", ".."]).values())
