"""What the tests of the stages share: pictures with real faces, folders of crops, and tables to compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from media_factory import make_clip
from numpy.typing import NDArray
from PIL import Image

from affectkit.store import Artifact
from affectkit.tables.sources import clips_of
from affectkit.types import Clip

Picture = NDArray[np.uint8]
SHARED = Path(__file__).parents[2] / "shared"
FACE_SIDE = 96


@cache
def portrait() -> Picture:
    """A real face, uint8 [96,96,3]: the public-domain astronaut of scikit-image, read without importing it."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("the face comes with scikit-image")
    with Image.open(Path(spec.origin).parent / "data" / "astronaut.png") as photo:
        face = photo.convert("RGB").crop((120, 0, 340, 220)).resize((FACE_SIDE, FACE_SIDE))
    return np.asarray(face)


def no_face() -> Picture:
    """A smooth picture of the same size without a face."""
    ramp = np.linspace(30, 220, FACE_SIDE, dtype=np.uint8)
    across, down = np.meshgrid(ramp, ramp)
    return np.stack([across, down, np.full_like(across, 90)], axis=-1)


def face_clips(folder: Path, names: Iterable[str], frames: int = 5) -> Path:
    """One clip of the portrait a name, each a little brighter than the one before."""
    for number, name in enumerate(names):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.clip(portrait().astype(int) + number % 40, 0, 255).astype(np.uint8)
        make_clip(path, [picture] * frames)
    return folder


def crop_folder(folder: Path, pictures: Sequence[Picture | None], first: int = 1) -> Path:
    """00001.png, 00002.png, ...; None leaves a gap."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, start=first):
        if picture is not None:
            Image.fromarray(picture).save(folder / f"{number:05d}.png")
    return folder


def clips_in(*sources: Path) -> list[Clip]:
    """SOURCE arguments as clips."""
    return clips_of([str(source) for source in sources])


def datasets(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Every dataset of an HDF5 file: type, shape and bytes."""
    found: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: (str(item.dtype), item.shape, item[()].tobytes())}))
    return found


def column_bytes(artifact: Artifact, clip: str, name: str) -> bytes:
    """The bytes of one column of one clip."""
    value = artifact.column(clip, name)
    if isinstance(value, list):
        return b"|".join(bytes(item) for item in value)
    return np.ascontiguousarray(value).tobytes()
