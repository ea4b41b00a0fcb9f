"""ELAN's annotation files (EAF 3.0, https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from affectkit.annotations.tiers import Tier

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_TYPE = "default-lt"
_MIME = {"mp4": "video/mp4", "mpg": "video/mpeg", "mpeg": "video/mpeg", "mov": "video/quicktime", "wav": "audio/x-wav"}


def eaf_text(tiers: Sequence[Tier], media: str, participant: str, changed: float) -> str:
    """A whole file: each annotation has two time slots of its own, in ms, and tiers are in the order given.

    media: the name of the clip's file, which ELAN looks for beside the annotations ("": unknown); changed: when what is
    written was made (s since 1970), so that the same annotations are the same bytes.
    """
    timed = [_milliseconds(tier) for tier in tiers]
    slots = sorted(
        (moment, tier, place, side)
        for tier, timings in enumerate(timed)
        for place, (start, end, _) in enumerate(timings)
        for side, moment in enumerate((start, end))
    )
    numbers = {(tier, place, side): number for number, (_, tier, place, side) in enumerate(slots, start=1)}
    lines = [*_head(media, changed, sum(map(len, timed))), "    <TIME_ORDER>"]
    for number, (moment, *_) in enumerate(slots, start=1):
        lines.append(f'        <TIME_SLOT TIME_SLOT_ID="ts{number}" TIME_VALUE="{moment}"/>')
    lines.append("    </TIME_ORDER>")
    first = 1
    for place, (tier, timings) in enumerate(zip(tiers, timed, strict=True)):
        who = f" PARTICIPANT={quoteattr(_plain(participant))}" if participant else ""
        lines.append(f"    <TIER LINGUISTIC_TYPE_REF={quoteattr(_TYPE)}{who} TIER_ID={quoteattr(_plain(tier.name))}>")
        for number, (_, _, text) in enumerate(timings):
            refs = (numbers[place, number, 0], numbers[place, number, 1])
            lines += _annotation(first + number, refs, text)
        first += len(timings)
        lines.append("    </TIER>")
    lines.append(
        f'    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="{_TYPE}" TIME_ALIGNABLE="true"/>'
    )
    return "\n".join([*lines, "</ANNOTATION_DOCUMENT>", ""])


def too_short(tiers: Sequence[Tier]) -> int:
    """Annotations of less than a millisecond, which the format cannot say."""
    return sum(len(tier.annotations) - len(_milliseconds(tier)) for tier in tiers)


def _milliseconds(tier: Tier) -> list[tuple[int, int, str]]:
    """start, end (ms) and text of each annotation that lasts a millisecond."""
    moments = [(_whole(each.start), _whole(each.end), each) for each in tier.annotations]
    return [(start, end, tier.shown(each)) for start, end, each in moments if end > start]


def _whole(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _head(media: str, changed: float, count: int) -> Iterator[str]:
    date = datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield (
        f'<ANNOTATION_DOCUMENT AUTHOR="affectkit" DATE="{date}" FORMAT="3.0" VERSION="3.0" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="{_SCHEMA}">'
    )
    yield '    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">'
    if media:
        place = quoteattr("./" + quote(_plain(media)))
        kind = _MIME.get(media.rpartition(".")[2].lower(), "unknown")
        yield f'        <MEDIA_DESCRIPTOR MEDIA_URL={place} MIME_TYPE="{kind}" RELATIVE_MEDIA_URL={place}/>'
    yield f'        <PROPERTY NAME="lastUsedAnnotationId">{count}</PROPERTY>'
    yield "    </HEADER>"


def _annotation(number: int, slots: tuple[int, int], text: str) -> Iterator[str]:
    yield "        <ANNOTATION>"
    yield (
        f'            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="ts{slots[0]}" '
        f'TIME_SLOT_REF2="ts{slots[1]}">'
    )
    yield f"                <ANNOTATION_VALUE>{escape(_plain(text))}</ANNOTATION_VALUE>"
    yield "            </ALIGNABLE_ANNOTATION>"
    yield "        </ANNOTATION>"


def _plain(text: str) -> str:
    """Text without what XML 1.0 has no place for: control characters, surrogates and two more become U+FFFD."""
    return "".join(character if _is_allowed(ord(character)) else "\N{REPLACEMENT CHARACTER}" for character in text)


def _is_allowed(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or code > 0xFFFF
