"""Face crops as image files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from affectkit.errors import UsageError
from affectkit.store.artifact import Artifact
from affectkit.store.atomic import put, temporary_name
from affectkit.store.kinds import wrong_kind


def write_crops(artifact: Artifact, clips: Sequence[str], out: Path) -> None:
    """One folder a clip, crop t of 1, 2, ... as `%05d.jpg` or `.png`, as the bytes are; it appears whole."""
    if "image" not in artifact.schema.columns:
        raise wrong_kind(artifact.path, artifact.stage.stage, "faces")
    if out.exists():
        raise UsageError(f"{out} exists: name a new folder for the crops")
    temporary = temporary_name(out)
    try:
        for clip in clips:
            folder = temporary / inside(clip)
            folder.mkdir(parents=True, exist_ok=True)
            for row, image in enumerate(artifact.column(clip, "image"), start=1):
                if len(image):
                    suffix = "png" if bytes(image[:4]) == b"\x89PNG" else "jpg"
                    (folder / f"{row:05d}.{suffix}").write_bytes(image)
        put(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def inside(clip: str) -> PurePosixPath:
    """A clip's id as a path below a folder. Raises UsageError for one that leads out of it."""
    path = PurePosixPath(clip)
    if str(path) != clip or not path.parts or path.is_absolute() or ".." in path.parts or "\0" in clip:
        raise UsageError(f"clip '{clip}' cannot name a folder: leave it out with --clips")
    return path
