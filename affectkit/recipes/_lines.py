"""On which line of a TOML text each key stands, which tomllib does not say.

The text has been parsed by tomllib before, so this reader may believe that it is TOML.
"""

from __future__ import annotations

from bisect import bisect_right

Key = tuple[str, ...]
"""A path of keys from the top; of an array's items, their numbers as text."""

_SPACE = " \t\r\n,"
_END_OF_VALUE = ",]}#\r\n"
_QUOTES = ('"""', "'''", '"', "'")


def key_lines(text: str) -> dict[Key, int]:
    """The line (from 1) of every table, key and array item.

    >>> lines = key_lines('a = 1\\n[b.c]\\n"d e" = [\\n  { f = 2 },\\n]\\n')
    >>> lines["a",], lines["b", "c"], lines["b", "c", "d e"], lines["b", "c", "d e", "0", "f"]
    (1, 2, 3, 4)
    """
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breaks = [place for place, character in enumerate(text) if character == "\n"]
        self._found: dict[Key, int] = {}
        self._items: dict[Key, int] = {}

    def read(self) -> dict[Key, int]:
        table: Key = ()
        while self._skip():
            if self._text[self._at] == "[":
                table = self._table()
            else:
                self._pair(table)
        return self._found

    def _table(self) -> Key:
        """`[a.b]`, or `[[a.b]]`, whose tables are the items of an array."""
        is_item = self._text.startswith("[[", self._at)
        self._at += 2 if is_item else 1
        self._skip()
        line = self._line()
        key = self._key(())
        self._at = self._text.index("]", self._at) + (2 if is_item else 1)
        if is_item:
            number = self._items[key] = self._items.get(key, -1) + 1
            key = (*key, str(number))
        self._note(key, line)
        return key

    def _pair(self, parent: Key) -> None:
        line = self._line()
        key = self._key(parent)
        self._note(key, line)
        self._at += 1  # the sign of equality
        self._value(key)

    def _key(self, parent: Key) -> Key:
        """A dotted key; what follows it is next."""
        parts: list[str] = []
        while True:
            self._blanks()
            if self._text[self._at] in "\"'":
                parts.append(self._quoted()[1:-1])
            else:
                begin = self._at
                while self._text[self._at].isalnum() or self._text[self._at] in "_-":
                    self._at += 1
                parts.append(self._text[begin : self._at])
            self._blanks()
            if self._text[self._at] != ".":
                return (*parent, *parts)
            self._at += 1

    def _value(self, key: Key) -> None:
        self._blanks()
        first = self._text[self._at]
        if first in "\"'":
            self._quoted()
        elif first == "[":
            self._at += 1
            number = 0
            while self._skip() and self._text[self._at] != "]":
                self._note((*key, str(number)), self._line())
                self._value((*key, str(number)))
                number += 1
            self._at += 1
        elif first == "{":
            self._at += 1
            while self._skip() and self._text[self._at] != "}":
                self._pair(key)
            self._at += 1
        else:
            while self._at < len(self._text) and self._text[self._at] not in _END_OF_VALUE:
                self._at += 1

    def _quoted(self) -> str:
        """A string with its quotes, of any of the four kinds."""
        begin = self._at
        quote = next(one for one in _QUOTES if self._text.startswith(one, begin))
        self._at += len(quote)
        while not self._text.startswith(quote, self._at):
            self._at += 2 if quote[0] == '"' and self._text[self._at] == "\\" else 1
        self._at += len(quote)
        while len(quote) == 3 and self._text.startswith(quote[0], self._at):  # quotes that belong to the text
            self._at += 1
        return self._text[begin : self._at]

    def _note(self, key: Key, line: int) -> None:
        for length in range(1, len(key) + 1):
            self._found.setdefault(key[:length], line)
        self._found[key] = line

    def _skip(self) -> bool:
        """Past blanks, line ends, commas and comments; whether there is more."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in _SPACE:
                self._at += 1
            else:
                return True
        return False

    def _blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _line(self) -> int:
        return bisect_right(self._breaks, self._at - 1) + 1
