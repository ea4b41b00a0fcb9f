"""Small files of strangers: each kind of forgery is one line, none is waited for, and none takes memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from affectkit.errors import AffectkitError, HostileFile, MissingFile, UsageError
from affectkit.untrusted import DEEPEST, read_bytes, read_json, read_object, read_text, read_toml

_Maker = Callable[[Path], Any]


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


IRREGULAR: dict[str, tuple[_Maker, str]] = {
    "pipe": (os.mkfifo, "a pipe"),
    "folder": (lambda path: path.mkdir(), "a folder"),
    "socket": (_socket, "a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "huge": (_sparse, "larger than"),
    "loop": (lambda path: path.symlink_to(path), "cannot read"),
}


@pytest.mark.parametrize("kind", IRREGULAR)
def test_what_is_no_regular_file_of_modest_size_is_refused(kind: str, tmp_path: Path) -> None:
    make, words = IRREGULAR[kind]
    make(path := tmp_path / "x")
    for read in (lambda: read_text(path, "a list", 1 << 20), lambda: read_toml(path, "a list")):
        with pytest.raises(UsageError, match=words) as caught:
            read()
        assert str(path) in str(caught.value)
        assert "a list" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_grows_while_it_is_read_stays_bounded() -> None:
    with pytest.raises(UsageError, match="larger than 16 bytes"):
        read_bytes(Path("/proc/self/status"), "a table", 16)  # its size is said to be 0


def test_links_lead_to_files_of_the_user_and_never_out_of_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (link := tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert read_json(link, "a report", inside=False) == {}
    with pytest.raises(HostileFile, match="a symbolic link"):
        read_json(link, "a report", inside=True)


@pytest.mark.parametrize("inside", [True, False])
def test_a_missing_file_is_told_apart(inside: bool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file" / "below"):
        with pytest.raises(MissingFile, match="No such file"):
            read_json(path, "a report", inside=inside)


def test_names_that_no_file_can_have_are_one_line() -> None:
    for name in ("a\0b", "x" * 300):
        with pytest.raises(UsageError, match="cannot read"):
            read_bytes(Path(name), "a table", 10)


JSON = {
    "cut off": '{"a": [1, 2',
    "empty": "",
    "deep": "[" * 100_000,
    "deep and whole": "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
    "long integer": "1" * 5000,
    "integer beyond 64 bits": str(1 << 63),
    "number beyond a float": "1e999",
    "NaN": '{"a": NaN}',
    "Infinity": "[-Infinity]",
    "many lists": "[" + "[]," * (1 << 21) + "[]]",
    "bytes": b"\xff\xfe{}",
}


@pytest.mark.parametrize("kind", JSON)
def test_json_that_is_not_such_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    given, path = JSON[kind], tmp_path / "report.json"
    path.write_bytes(given if isinstance(given, bytes) else given.encode())
    with pytest.raises(HostileFile) as caught:
        read_json(path, "a report")
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500


def test_json_as_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('\ufeff{"a": [1e308, -9223372036854775807, null], "b": {"c": "\\u00e4"}}', encoding="utf-8")
    assert read_object(path, "a report") == {"a": [1e308, -(2**63) + 1, None], "b": {"c": "ä"}}
    path.write_text("[" * DEEPEST + "]" * DEEPEST)
    assert read_json(path, "a report")
    with pytest.raises(HostileFile, match="holds a list"):
        read_object(path, "a report")
    path.write_text("[NaN]")
    assert read_json(path, "a history", nan=True) != [0]


TOML = {
    "not TOML": "a = ",
    "deep lists": "a = " + "[" * 10_000 + "]" * 10_000,
    "deep tables": "a = " + "{a=" * 10_000 + "1" + "}" * 10_000,
    "deep keys": "a" + ".a" * 10_000 + " = 1",
    "deep quoted keys": '[a . "a"' + '."a"' * 10_000 + "]",
    "deep headers": "\n".join(f"[{'.'.join('a' * n)}]" for n in (50, DEEPEST)) + "\na = [[1]]",
    "long integer": "a = " + "1" * 5000,
    "long hexadecimal": "a = 0x" + "f" * 5000,
    "date": "a = 2020-13-45",
    "bytes": b"a = '\xff'",
}


@pytest.mark.parametrize("kind", TOML)
def test_toml_that_is_not_such_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    given, path = TOML[kind], tmp_path / "task.toml"
    path.write_bytes(given if isinstance(given, bytes) else given.encode())
    with pytest.raises(UsageError) as caught:
        read_toml(path, "a task")
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500


def test_a_recipe_of_three_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    _sparse(path := tmp_path / "recipe.toml")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from pathlib import Path; from affectkit.untrusted import read_toml\n"
        "read_toml(Path(sys.argv[1]), 'a recipe')"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "UsageError" in run.stderr
    assert "larger than 1 MiB" in run.stderr


def test_every_refusal_is_an_error_that_the_command_prints() -> None:
    assert issubclass(MissingFile, UsageError)
    assert issubclass(UsageError, AffectkitError)
