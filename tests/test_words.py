"""One word for one thing over all commands, and what the words of before are called now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Command

from affectkit.cli._app import commands, load

RICHER = {
    "--task": {"dataset check"}, "--root": {"run"},  # several
    "--fps": {"practice"},  # a whole number, of what is made
    "--half-width": {"train-head"},  # auto as well
    "--by": {"report"},  # any column of a table, several
    "--media": {"report"},  # in which form, where there they are looked at or not
    "--vad": {"analyze"},  # no mouth: its table would be of clips that are not analysed yet
}  # fmt: skip
"""Options that take more, or less, of the same thing in some command."""
CHOICES = {"--format", "--missing", "--style"}
"""Options whose values are each command's own."""
DIFFERENT = {"--set": {"functionals"}}
"""Words that mean two things, to be mended where the fingerprint can be kept."""


def leaves() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its whole name; hidden ones aside."""
    for name in commands():
        command = load(name)
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            yield from ((f"{name} {inner}", one) for inner, one in below.items() if not one.hidden)


def test_an_option_word_means_one_thing() -> None:
    meanings: dict[str, dict[tuple[Any, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, command in leaves():
        for option in command.params:
            for word in option.opts if option.param_type_name == "option" else ():
                if name not in RICHER.get(word, set()) | DIFFERENT.get(word, set()):
                    kind = "" if word in CHOICES else str(option.type_descriptor.annotation)
                    meanings[word][option.is_flag, option.multiple, kind].append(name)
    assert {word: dict(kinds) for word, kinds in meanings.items() if len(kinds) > 1} == {}


def test_lists_are_called_list() -> None:
    words = [name.rpartition(" ")[2] for name, _ in leaves()]
    assert words.count("list") == 4 and "ls" not in words


@pytest.mark.parametrize(
    ("line", "now"),
    [
        ("evaluate x.csv --labels va.csv --task va --figures --clips a*", "--draw-clips"),
        ("evaluate x.csv --labels va.csv --task va --clips=a*", "--draw-clips"),
        ("practice dfew new --clips 20", "--count"),
        ("dataset check dfew --root new --figures drawn", "--out DIR"),
    ],
)
def test_words_of_before_say_what_they_are_now(affectkit: Command, line: str, now: str) -> None:
    done = affectkit(*line.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert now in done.stderr and " now" in done.stderr


def test_ls_is_still_understood(affectkit: Command) -> None:
    assert affectkit("cache", "ls").stdout == affectkit("cache", "list").stdout
    assert affectkit("weights", "ls").stdout == affectkit("weights", "list").stdout
