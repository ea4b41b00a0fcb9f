"""Whether the bytes of a clip are those that were written."""

from __future__ import annotations

from affectkit.errors import HostileFile
from affectkit.store.schema import STATUSES
from affectkit.store.segment import ClipRows, row_digest
from affectkit.store.writing import clip_digest


def problem_of(rows: ClipRows) -> str:
    """What is wrong with a clip of a segment; empty where nothing is."""
    try:
        content = clip_digest(rows.segment.schema, rows.read())
        stored = rows.segment.text(rows.row, "sha256")
        if content != rows.content:
            return f"the bytes of clip '{rows.key[0]}' do not match their digest"
        if rows.segment.has_content and row_digest(*rows.key, rows.status, content) != stored:
            return f"id, source or status of clip '{rows.key[0]}' do not match its digest"
        return "" if rows.status in STATUSES else f"the status of clip '{rows.key[0]}' is {rows.status!r}"
    except HostileFile as error:
        return str(error)
