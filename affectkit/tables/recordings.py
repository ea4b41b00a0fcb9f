"""Clips that are one recording under two names, told by what was computed of them, where that says anything.

Silence, a picture of one colour, and features that do not change look alike whatever they were recorded of: that two
clips agree in them proves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.errors import AffectkitError, UsageError
from affectkit.store import Artifact, Features

SILENT = 2.0**-12
"""Peak to peak of sound (full scale 2) that counts as none: a codec's rounding of silence stays below."""


MEDIA = ("image", "samples")


_FEWEST_VALUES = 3
"""Distinct numbers without which features are a code that different clips may share."""


def refuse(features: Features, splits: Mapping[str, str], what: str) -> None:
    """Raises UsageError where clips that are one recording are in two splits; `what` says what they agree in."""
    alike: dict[Any, list[str]] = defaultdict(list)
    for clip in splits:
        alike[_sketch(features, clip)].append(clip)
    for clips in alike.values():
        if len({splits[clip] for clip in clips}) > 1:
            _refuse_equal(features, {clip: splits[clip] for clip in clips}, what)


def recording(features: Features, clip: str) -> str | None:
    """A digest that clips share only if they are one recording; None where what was computed of the clip says nothing
    of where it is from."""
    if not _telling(features, clip):
        return None
    digest = sha256()
    for part in _content(features, clip):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _refuse_equal(features: Features, splits: Mapping[str, str], what: str) -> None:
    first: dict[str, str] = {}
    for clip, split in splits.items():
        same = recording(features, clip)
        other = clip if same is None else first.setdefault(same, clip)
        if splits[other] != split:
            raise UsageError(
                f"clips '{other}' ({splits[other]}) and '{clip}' ({split}) have equal {what}: one is a copy of the "
                "other, and scores would be too good: leave one out, or put both in one split"
            )


def _column(features: Features) -> str:
    """The features; of an artifact without any, its pictures or its sound."""
    columns = features.artifact.schema.columns
    return next(name for name in (features.column, *MEDIA) if name in columns)


def _content(features: Features, clip: str) -> list[Any]:
    """What the valid rows hold: a part each, or all of a clip's sound as one."""
    name = _column(features)
    values = features.artifact.column(clip, name)
    valid = np.asarray(features.artifact.column(clip, "valid")).astype(bool)
    if features.artifact.schema.columns[name].per == "clip":
        return [values] if valid.any() else []
    return [values[row] for row in np.flatnonzero(valid)]


def _sketch(features: Features, clip: str) -> Any:
    """What clips of one content agree in, without reading all of it."""
    name = _column(features)
    valid = np.flatnonzero(np.asarray(features.artifact.column(clip, "valid")))
    values = features.artifact.column(clip, name)
    if features.artifact.schema.columns[name].per == "clip":
        return len(values), np.asarray(values[:: max(1, len(values) // 16)]).tobytes()
    looked_at = [np.asarray(values[row]).tobytes() for row in valid[[0, len(valid) // 2, -1]]] if len(valid) else []
    return len(valid), *looked_at


def _telling(features: Features, clip: str) -> bool:
    """Whether another recording could not well have the same."""
    parts = _content(features, clip)
    if not parts:
        return False
    if _column(features) == "samples":
        return not _silent(parts[0])
    if _column(features) == "image":
        return not _blank(parts)
    if len(np.unique(np.asarray(parts))) < _FEWEST_VALUES or _is_unchanging(features, clip):
        return False
    return not any(_says_nothing(path, clip) for path in features.artifact.stage.upstream)


def _is_unchanging(features: Features, clip: str) -> bool:
    if _column(features) in MEDIA:
        return False
    parts = _content(features, clip)
    return len(parts) > 1 and all(np.array_equal(part, parts[0], equal_nan=True) for part in parts)


def _says_nothing(path: str, clip: str) -> bool:
    """Whether the sound or the pictures that features were made from are silent or blank; not where they are gone."""
    try:
        upstream = Artifact(Path(path))
        if clip not in upstream or upstream.stage.table is None:
            return False
        columns = upstream.schema.columns
        if "samples" in columns and "values" not in columns:
            return _silent(upstream.column(clip, "samples"))
        if "image" in columns and "boxes" in columns:
            return _blank(upstream.column(clip, "image"))
        return any(_says_nothing(further, clip) for further in upstream.stage.upstream)
    except (AffectkitError, OSError, RecursionError):
        return False


def _silent(samples: Any) -> bool:
    return not len(samples) or float(np.max(samples)) - float(np.min(samples)) < SILENT


def _blank(pictures: Iterable[Any]) -> bool:
    """Whether every encoded picture is of one colour; equal ones are looked at once."""
    return all(_one_colour(picture) for picture in {bytes(picture) for picture in pictures})


def _one_colour(picture: bytes) -> bool:
    from PIL import Image

    if not picture:
        return True
    try:
        with Image.open(BytesIO(picture)) as image:
            extrema = image.convert("RGB").getextrema()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return all(high - low <= 2 for low, high in extrema)  # type: ignore[misc]  # of RGB: a pair a band
