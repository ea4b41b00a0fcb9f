"""ELAN's annotation files as tiers. Anybody may have written them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from affectkit.annotations.tiers import Annotation, Tier
from affectkit.annotations.xml_tree import XmlElement, read_xml
from affectkit.errors import UsageError

_LATEST = 10**12  # ms
_LONGEST_TEXT = 10_000


@dataclass(repr=False)
class EafFile:
    """The tiers of a file by name, with the line that each annotation is on, and what was left out: how many
    annotations, by why."""

    path: Path
    tiers: dict[str, Tier] = field(default_factory=dict)
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def __repr__(self) -> str:
        return f"EafFile({self.path.name}, {len(self.tiers)} tiers)"

    def error(self, tier: str, place: int, message: str) -> UsageError:
        """A UsageError that begins with file and line of an annotation."""
        return UsageError(f"{self.path}:{self.lines[tier][place]}: tier '{tier}': {message}")


def read_eaf(path: Path) -> EafFile:
    """The tiers of a file, in seconds of its media: annotations in order of time.

    An annotation that refers to another (a symbolic association) has its time. Those whose time ELAN only draws (slots
    without a time, subdivisions of others) are left out and counted. Media that begin later than the time line
    (TIME_ORIGIN) shift what they show.

    Raises UsageError with file and line: not XML of ELAN, other units than milliseconds, times that are no whole
    numbers, annotations of one tier that overlap, or end before they begin, what is referred to and is not there.
    """
    root = read_xml(path, "annotations of ELAN")
    if root.name != "ANNOTATION_DOCUMENT":
        raise UsageError(f"{path}:{root.line}: <{root.name[:80]}>, where ELAN's files begin with <ANNOTATION_DOCUMENT>")
    origin = _origin(root, path)
    slots = _slots(root, path)
    return _Tiers(path, slots, origin).read(root)


def _origin(root: XmlElement, path: Path) -> int:
    """How much later the time line is than that of the media (ms)."""
    for header in root.named("HEADER"):
        units = header.attributes.get("TIME_UNITS", "milliseconds")
        if units != "milliseconds":
            raise UsageError(f"{path}:{header.line}: TIME_UNITS is '{units[:80]}', needed is milliseconds")
        for media in header.named("MEDIA_DESCRIPTOR"):
            return _whole(media, "TIME_ORIGIN", path, "0")
    return 0


def _slots(root: XmlElement, path: Path) -> dict[str, int | None]:
    """The time (ms) of each slot, None where it has none."""
    slots: dict[str, int | None] = {}
    for order in root.named("TIME_ORDER"):
        for slot in order.named("TIME_SLOT"):
            name = _needed(slot, "TIME_SLOT_ID", path)
            if name in slots:
                raise UsageError(f"{path}:{slot.line}: two time slots are called '{name[:80]}'")
            slots[name] = _whole(slot, "TIME_VALUE", path) if "TIME_VALUE" in slot.attributes else None
    return slots


class _Tiers:
    def __init__(self, path: Path, slots: dict[str, int | None], origin: int) -> None:
        self._path, self._slots, self._origin = path, slots, origin
        self._elements: dict[str, XmlElement] = {}

    def read(self, root: XmlElement) -> EafFile:
        """All tiers."""
        for tier in root.named("TIER"):
            for element in _annotations(tier):
                name = _needed(element, "ANNOTATION_ID", self._path)
                if self._elements.setdefault(name, element) is not element:
                    raise UsageError(f"{self._path}:{element.line}: two annotations are called '{name[:80]}'")
        eaf = EafFile(self._path)
        for tier in root.named("TIER"):
            name = _needed(tier, "TIER_ID", self._path).strip()
            if name in eaf.tiers:
                raise UsageError(f"{self._path}:{tier.line}: two tiers are called '{name[:80]}'")
            timed = [(self._interval(element, eaf.left_out), element) for element in _annotations(tier)]
            rows = sorted(((at, each) for at, each in timed if at is not None), key=lambda row: row[0])
            for (before, _), (after, each) in pairwise(rows):
                if after[0] < before[1]:
                    raise UsageError(f"{self._path}:{each.line}: tier '{name[:80]}' has two annotations for one time")
            annotations = [Annotation(start / 1000, end / 1000, self._text(each)) for (start, end), each in rows]
            eaf.tiers[name] = Tier(name, tuple(annotations))
            eaf.lines[name] = tuple(each.line for _, each in rows)
        return eaf

    def _interval(self, element: XmlElement, left_out: Counter[str]) -> tuple[int, int] | None:
        """start, end (ms, of the media); None where the file says none."""
        seen: set[str] = set()
        while element.name == "REF_ANNOTATION":
            if "PREVIOUS_ANNOTATION" in element.attributes:
                left_out["which divide another and have no time"] += 1
                return None
            name = _needed(element, "ANNOTATION_REF", self._path)
            if name in seen or name not in self._elements:
                why = "refers to itself" if name in seen else f"refers to '{name[:80]}', which is not there"
                raise UsageError(f"{self._path}:{element.line}: an annotation {why}")
            seen.add(name)
            element = self._elements[name]
        times = [self._slot(element, side) for side in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        start, end = times
        if start is None or end is None:
            left_out["whose time slots have no time"] += 1
            return None
        start, end = start + self._origin, end + self._origin
        if end <= start:
            raise UsageError(f"{self._path}:{element.line}: an annotation from {start} to {end} ms")
        if end <= 0:
            left_out["before the beginning of the media"] += 1
            return None
        return max(0, start), end

    def _slot(self, element: XmlElement, side: str) -> int | None:
        name = _needed(element, side, self._path)
        if name not in self._slots:
            raise UsageError(f"{self._path}:{element.line}: time slot '{name[:80]}' is not there")
        return self._slots[name]

    def _text(self, element: XmlElement) -> str:
        text = "".join(value.text for value in element.named("ANNOTATION_VALUE")).strip()
        if len(text) > _LONGEST_TEXT:
            raise UsageError(
                f"{self._path}:{element.line}: a text of {len(text):,} characters; {_LONGEST_TEXT:,} are read"
            )
        return text


def _annotations(tier: XmlElement) -> list[XmlElement]:
    return [
        element
        for annotation in tier.named("ANNOTATION")
        for element in annotation.children
        if element.name in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")
    ]


def _needed(element: XmlElement, attribute: str, path: Path) -> str:
    if attribute not in element.attributes:
        raise UsageError(f"{path}:{element.line}: <{element.name}> without {attribute}")
    return element.attributes[attribute]


def _whole(element: XmlElement, attribute: str, path: Path, default: str = "") -> int:
    text = element.attributes.get(attribute, default).strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 15 or int(digits) > _LATEST:
        raise UsageError(f"{path}:{element.line}: {attribute} is '{text[:80]}', needed is a whole number of ms")
    return int(text)
