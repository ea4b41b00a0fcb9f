"""XML that strangers may have written: a tree of bounded size, without document types and entities of its own.

A document type is refused as such, so neither entities that grow (a billion laughs) nor those that name other files are
ever declared, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from affectkit.errors import UsageError
from affectkit.untrusted import read_bytes

LARGEST_XML = 64 << 20
MOST_ELEMENTS = 1 << 20
DEEPEST_XML = 32


@dataclass(slots=True, repr=False)
class XmlElement:
    """A name, attributes, the text directly inside, what is inside it, and the line that it begins on."""

    name: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[XmlElement] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"XmlElement({self.name}, line {self.line})"

    def named(self, name: str) -> Iterator[XmlElement]:
        """The elements of this name directly inside."""
        return (child for child in self.children if child.name == name)


def read_xml(path: Path, what: str) -> XmlElement:
    """The root of an XML file; `what` is needed ("annotations"), for the message. Raises UsageError with file and line:
    not a regular file, too large, not well-formed, a document type or entities, too deep, too many elements."""
    data = read_bytes(path, what, LARGEST_XML)
    reading = _Reading(path)
    try:
        reading.parser.Parse(data, True)
    except expat.ExpatError as error:
        message = expat.errors.messages.get(error.code, "it cannot be read")
        raise UsageError(f"{path}:{error.lineno}: not XML: {message}; {what} are needed") from None
    except (ValueError, LookupError) as error:  # encodings that there are not
        raise UsageError(f"{path}: not XML: {str(error).splitlines()[0][:200]}; {what} are needed") from None
    assert reading.root is not None
    return reading.root


class _Reading:
    """One parse."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: list[XmlElement] = []
        self._texts: list[list[str]] = []
        self._count = 0
        self.root: XmlElement | None = None
        self.parser: Any = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._document_type
        self.parser.EntityDeclHandler = self._document_type
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refused(self, message: str) -> UsageError:
        return UsageError(f"{self._path}:{self.parser.CurrentLineNumber}: {message}")

    def _document_type(self, *_: object) -> None:
        raise self._refused("a document type (<!DOCTYPE>), which is not read: entities can be made to grow or to name "
                            "other files; remove it")  # fmt: skip

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS:
            raise self._refused(f"more than {MOST_ELEMENTS:,} elements")
        if len(self._open) >= DEEPEST_XML:
            raise self._refused(f"more than {DEEPEST_XML} elements inside each other")
        element = XmlElement(name, attributes, self.parser.CurrentLineNumber)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def _text(self, text: str) -> None:
        self._texts[-1].append(text)

    def _end(self, _: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())
