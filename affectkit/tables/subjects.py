"""Who is seen or heard in a clip, and which clips belong together: the faces of one clip, the clips of one subject."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from affectkit.errors import UsageError
from affectkit.types import ClipLabels, without_face

By = Literal["clip", "subject"]
"""What is kept together: all faces of a clip, or all clips of a subject."""


@dataclass(frozen=True, repr=False)
class Subjects:
    """The subject of each clip or face that a table names one for.

    >>> subjects = Subjects({"a": "anna", "b#0": "ben", "b#1": "eva"})
    >>> subjects.of("a#3"), subjects.of("b#1"), subjects.of("b")
    ('anna', 'eva', None)
    """

    by_name: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def named(labels: Mapping[str, ClipLabels], clip_table: Mapping[str, Mapping[str, Any]] | None = None) -> Subjects:
        """The subjects that the labels name, and those that an artifact's clip table names of other clips."""
        stated = {clip: str(entry["subject"]) for clip, entry in (clip_table or {}).items() if entry.get("subject")}
        return Subjects(stated | {clip: label.subject for clip, label in labels.items() if label.subject})

    def of(self, clip: str) -> str | None:
        """The subject of a clip or face; of a face that no table names, its clip's. None where nobody is named."""
        return self.by_name.get(clip) or self.by_name.get(without_face(clip))

    def everybody(self, clip: str) -> frozenset[str]:
        """All subjects who are in a clip, whichever of its faces is asked for."""
        return self._in_clip.get(without_face(clip), frozenset())

    @cached_property
    def _in_clip(self) -> dict[str, frozenset[str]]:
        subjects: dict[str, frozenset[str]] = defaultdict(frozenset)
        for name, subject in self.by_name.items():
            subjects[without_face(name)] |= {subject}
        return dict(subjects)

    def group(self, clip: str, by: By) -> str | None:
        """The clip that a face is of, or its subject; None where the subject is not known."""
        return without_face(clip) if by == "clip" else self.of(clip)

    def groups(self, clips: Iterable[str], by: By, instead: str) -> dict[str, list[str]]:
        """Clips that are kept together, by the name of their group. Subjects who share a clip are one group.

        Raises UsageError for a clip without a subject; `instead` says how to do without.

        >>> subjects = Subjects({"a#0": "anna", "a#1": "ben", "b": "ben", "c": "eva"})
        >>> subjects.groups(["a#0", "a#1", "b", "c"], "subject", "")
        {'anna': ['a#0', 'a#1', 'b'], 'eva': ['c']}
        """
        members: dict[str, list[str]] = defaultdict(list)
        for clip in clips:
            group = self.group(clip, by)
            if group is None:
                raise UsageError(f"clip '{clip}' has no subject: fill the column subject, or {instead}")
            members[group].append(clip)
        return dict(members) if by == "clip" else _joined(members)


def _joined(members: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Groups of which two have faces of one clip, as one that is called by the first of their names."""
    first: dict[str, str] = {}  # of each clip, the first group that has a face of it
    leader = {group: group for group in members}

    def leads(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    for group, clips in members.items():
        for clip in map(without_face, clips):
            low, high = sorted((leads(first.setdefault(clip, group)), leads(group)))
            leader[high] = low
    joined: dict[str, list[str]] = defaultdict(list)
    for group, clips in members.items():
        joined[leads(group)] += clips
    return dict(joined)
