"""An artifact: one stage's output on disk, with the recipe that made it; all of it, or what a command printed of it.

<cache>/<stage>/<name>-<fingerprint12>/   stage.json  data.h5 [data.1.h5 ...]  selections/  failures.jsonl  parts/
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from affectkit.errors import AffectkitError, HostileFile, UsageError
from affectkit.store.integrity import problem_of
from affectkit.store.kinds import FEATURES, wrong_kind
from affectkit.store.segment import ClipRows, Record
from affectkit.store.selection import Selection, folder_of, is_selection, read_selection
from affectkit.store.sidecars import STAGE_FILE, Failure, StageRecord, read_clip_table
from affectkit.store.superseded import living
from affectkit.store.table import StoredTable, is_done, write_table
from affectkit.types import FeatureSequence, is_face, without_face

__all__ = ["STAGE_FILE", "Artifact", "Failure", "StageRecord", "open_artifact", "write_table"]


class Artifact(StoredTable):
    """An artifact that exists on disk. Reading is lazy and memory-mapped. A `dry` one is only looked at.

    `path` is what was opened, and what a command takes: the artifact's folder, or a selection of it, whose clips alone
    are seen. `folder` is where the table lies.
    """

    def __init__(self, path: Path, *, dry: bool = False, selection: Selection | None = None) -> None:
        super().__init__(folder_of(path) if selection is None else path.parent.parent, dry=dry)
        self.path = path
        self.selection = read_selection(path) if selection is None and is_selection(path) else selection
        if self.selection is not None and self.selection.fingerprint != self.stage.fingerprint:
            raise HostileFile(f"{path} is a selection of another artifact than {self.folder}")

    def __repr__(self) -> str:
        return f"Artifact({self.path})"

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, clip: object) -> bool:
        return clip in self._index

    @property
    def clips(self) -> list[str]:
        """Ids of the finished clips, sorted."""
        return sorted(self._index)

    def clip_rows(self, clip: str) -> ClipRows:
        """Where the clip's rows lie."""
        try:
            return self._index[clip]
        except KeyError:
            raise UsageError(f"{self.path} holds no clip '{clip}'") from None

    def read(self, clip: str) -> Record:
        """All columns of one clip, as views into the memory map."""
        return self.clip_rows(clip).read()

    def column(self, clip: str, name: str) -> Any:
        """One column of one clip."""
        return self.clip_rows(clip).column(name)

    def length(self, clip: str) -> int:
        """Number of rows T of the clip."""
        return len(self.clip_rows(clip))

    def sequence(self, clip: str, values: str = "values") -> FeatureSequence:
        """The clip's features."""
        rows = self.clip_rows(clip)
        if values not in self.schema.columns:
            if self.stage.stage in FEATURES:
                raise UsageError(f"{self.path} holds no features '{values}' (it has {', '.join(self.schema.columns)})")
            raise wrong_kind(self.path, self.stage.stage, *FEATURES)
        start, end, valid = (rows.column(name) for name in ("start", "end", "valid"))
        return FeatureSequence(start, end, rows.column(values), valid.astype(bool))

    def digest(self, clip: str) -> str:
        """The digest of the clip's content, which downstream stages take as their source."""
        return self.clip_rows(clip).content

    def source(self, clip: str) -> str:
        """The digest of what the clip was made from."""
        return self.clip_rows(clip).key[1]

    def status(self, clip: str) -> str:
        """ok or partial."""
        return self.clip_rows(clip).status

    def check(self, clip: str) -> None:
        """Read all of a clip and compare it with its digests. Raises HostileFile where it is damaged."""
        rows = self.clip_rows(clip)
        if problem := problem_of(rows):
            raise HostileFile(
                f"{self.folder} is damaged: {problem}; remove {rows.segment.path} and repeat the command that made it "
                "(affectkit cache verify finds all that is damaged)"
            )

    def clip_table(self) -> dict[str, dict[str, Any]]:
        """What the user said of each clip (path, split, subject); not part of any fingerprint."""
        if self.selection is not None:
            return {clip: dict(entry) for clip, entry in self.selection.clips.items()}
        said = read_clip_table(self.folder)
        for _, selection in self.selections():
            said |= {clip: dict(entry) for clip, entry in selection.clips.items() if self._is_here(clip, selection)}
        return said

    def failures(self) -> dict[str, Failure]:
        """The clips that failed, by id."""
        chosen = self.selection
        return {key[0]: one for key, one in self.failed().items() if chosen is None or key in chosen}

    def current(self) -> list[ClipRows]:
        """The rows of all clips, those of two contents of one id included; of a selection, its own."""
        return [found for key, found in self.rows.items() if self.selection is None or key in self.selection]

    def held(self) -> list[ClipRows]:
        """The rows of all segments, those included that a later one replaced; of a selection, its own."""
        if self.selection is not None:
            return self.current()
        return [ClipRows(segment, row) for segment in self.segments for row in segment.rows.values()]

    def select(self, sources: Mapping[str, str], entries: Mapping[str, Mapping[str, Any]]) -> Artifact:
        """The clips of these sources (id -> digest of what it is made from) alone, written as a selection where it is
        not there; a dry one is not written. `entries` are what the user said of them.

        Of no sources, none: never the folder, which would stand for the clips of other commands. Where nothing can be
        written, the folder stands for a selection of all that it holds. Raises AffectkitError where it holds more, or
        has been told other splits.
        """
        chosen = Selection(self.stage.fingerprint, dict(sources), entries)
        path = chosen.path(self.folder)
        if not self.dry and not path.exists():
            try:
                self.keep(chosen)
            except AffectkitError as error:
                if sources and not self._is_all(chosen):
                    raise AffectkitError(
                        f"{error}; a selection of {len(sources)} clips must be written there, for it holds others too"
                    ) from error
                if sources:
                    return Artifact(self.folder)
        return Artifact(path, dry=self.dry, selection=chosen)

    @cached_property
    def _index(self) -> dict[str, ClipRows]:
        if self.selection is None:
            return self._whole()
        rows = self.rows
        index = {key[0]: rows[key] for key in self.selection.sources.items() if key in rows}
        if self.stage.stage == "faces":
            index |= {key[0]: found for key, found in rows.items() if is_face(key[0]) and key in self.selection}
        if not self.dry:
            self._refuse_absent(self.selection)
        return index

    def _whole(self) -> dict[str, ClipRows]:
        """All rows by id. Raises UsageError where two commands put two contents of one id there."""
        old = dict(living(self.segments, self.stage.stage))
        index = {clip: self.rows[clip, source] for clip, source in old.items()}
        sources = {self._group(clip): source for clip, source in old.items()}
        for (clip, source), found in self.rows.items():
            if not found.segment.has_content:
                continue
            if sources.setdefault(self._group(clip), source) != source:
                self._refuse_both(clip, sources[self._group(clip)], source)
            index[clip] = found
        return index

    def _forget(self) -> None:
        super()._forget()
        self.__dict__.pop("_index", None)

    def _group(self, clip: str) -> str:
        """What has one source: a clip's faces were all made from it."""
        return without_face(clip) if self.stage.stage == "faces" else clip

    def _refuse_both(self, clip: str, one: str, other: str) -> None:
        name = without_face(clip)
        naming = {
            source: (path, selection.clips.get(name, {}).get("path"))
            for path, selection in self.selections()
            for source in (one, other)
            if (clip, source) in selection
        }
        paths = [str(naming[source][1]) for source in (one, other) if source in naming and naming[source][1]]
        printed = [str(naming[source][0]) for source in (one, other) if source in naming]
        raise UsageError(
            f"{self.folder} holds two contents of clip '{clip}'"
            + (f" ({' and '.join(dict.fromkeys(paths))})" if paths else f" (sources {one[:12]} and {other[:12]})")
            + ": give what the command printed for the one you mean"
            + (f", {' or '.join(printed)}" if printed else "")
        )

    def _refuse_absent(self, selection: Selection) -> None:
        """A clip that is named and neither there nor known to fail was not finished, or its segment is gone."""
        failed = self.failed()
        absent = [key[0] for key in selection.sources.items() if not is_done(key, self.rows) and key not in failed]
        if absent:
            raise UsageError(
                f"{self.path} names {len(selection.sources)} clips, of which {len(absent)} are not there (the first is "
                f"'{absent[0]}'): repeat the command that makes it"
            )

    def _is_here(self, clip: str, selection: Selection) -> bool:
        key = (clip, selection.sources.get(clip, ""))
        return is_done(key, self.rows) or clip not in selection.sources

    def _is_all(self, selection: Selection) -> bool:
        """Whether a selection is the whole table, and the table was told the same of its clips."""
        try:
            held = {found.key for found in self._whole().values()}
            told = self.clip_table()
        except UsageError:
            return False
        same = all(
            told.get(clip, {}).get(name) == entry.get(name)
            for clip, entry in selection.clips.items() for name in ("split", "subject")
        )  # fmt: skip
        return (
            same
            and held <= {key for key in self.rows if key in selection}
            and all(is_done(key, self.rows) or key in self.failed() for key in selection.sources.items())
        )


def open_artifact(path: Path | str) -> Artifact:
    """The artifact in a folder, or a selection of it. Raises UsageError when there is none."""
    return Artifact(Path(path))
