"""docs/architecture.md: the files of its spine are there, short enough to read, and its rooms are those there are."""

from __future__ import annotations

import re

from conftest import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LONGEST = 2500


def test_the_spine_is_read_in_an_afternoon() -> None:
    files = [(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\((\.\./affectkit/[^)]+)\)", TEXT)]
    assert len(files) > 10
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= LONGEST


def test_every_room_is_named_and_every_named_file_is_there() -> None:
    rooms = {path.parent.name for path in (ROOT / "affectkit").glob("*/__init__.py")}
    named = set(re.findall(r"`(\w+)/?`", TEXT))
    assert rooms <= named, rooms - named
    for place in re.findall(r"`((?:\w+/)+\w+\.py)`", TEXT):
        assert any((base / place).is_file() for base in (ROOT, ROOT / "affectkit")), place
