"""Which clips have both features and labels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from affectkit.errors import UsageError, listed


@dataclass(frozen=True)
class LabelMatch:
    """Clips that have both features and labels, and what is left on either side; all sorted."""

    clips: tuple[str, ...]
    without_labels: tuple[str, ...]
    without_features: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """A line for each side that has clips left over."""
        return [
            f"left out, {what}: {listed(left)}"
            for left, what in (
                (self.without_features, "labels but no features"),
                (self.without_labels, "features but no labels"),
            )
            if left
        ]


def match_labels(features: Collection[str], labels: Collection[str]) -> LabelMatch:
    """Pair the clips that have features with those that have labels.

    Raises UsageError if no clip has both: the ids are then of another form, and the message shows one of each.
    """
    here, labelled = set(features), set(labels)
    match = LabelMatch(*(tuple(sorted(group)) for group in (here & labelled, here - labelled, labelled - here)))
    if not match.clips:
        shown = [min(group, default="none") for group in (here, labelled)]
        raise UsageError(
            f"none of the {len(labelled)} labelled clips has features: features have ids such as '{shown[0]}', labels "
            f"'{shown[1]}' (an id is the path below the SOURCE, without suffix)"
        )
    return match
