"""Reading cached features in shuffled order, as training does: the store against an HDF5 file with a group a clip.

Both are opened before. Both give start, end, valid and values [T,D] of one clip after another, as arrays in memory of
their own: of the store's views, a copy is taken, since a view alone would read nothing. The files lie in the page
cache: what is compared is the work of finding and taking a clip, not the disk. The second comparison takes the values
alone, one dataset a clip; the third, for information, the same in gzip.

Then opening an artifact and asking which clips are finished, which every rerun begins with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from _report import Measure, Ratio, alternate, machine, options, seconds, show_value

from affectkit.store import Artifact, Cache, features_schema, open_artifact

COLUMNS = ("start", "end", "valid", "values")
Record = dict[str, np.ndarray]


def clip_record(length: int, dim: int, seed: int) -> Record:
    """One clip of features."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((length, dim), np.float32).astype(np.float16)
    start = np.arange(length) / 5
    return {"start": start, "end": start + 0.2, "valid": np.ones(length, np.uint8), "values": values}


def make_artifact(root: Path, clips: list[str], length: int, dim: int) -> Path:
    """The features in the store."""
    artifact = Cache(root).create("embed", "benchmark", {"dim": dim}, features_schema(dim, "float16"))
    for first in range(0, len(clips), 500):
        part = artifact.new_part()
        for seed, clip in enumerate(clips[first : first + 500], first):
            part.append(clip_record(length, dim, seed))
            part.end(clip, f"{seed:064x}")
        part.commit()
    artifact.seal()
    return artifact.path


def make_groups(path: Path, clips: list[str], length: int, dim: int, compression: str | None = None) -> Path:
    """The features as a group a clip, a dataset a column."""
    with h5py.File(path, "w") as file:
        for seed, clip in enumerate(clips):
            for name, values in clip_record(length, dim, seed).items():
                file.create_dataset(f"{clip}/{name}", data=values, compression=compression)
    return path


def rate(count: int, work: Callable[[], object]) -> Measure:
    """A measure of clips a second."""
    taken = seconds(work)
    return lambda: count / taken()


def read_store(artifact: Artifact, order: list[str]) -> None:
    for clip in order:
        sequence = artifact.sequence(clip)
        sequence.start.copy(), sequence.end.copy(), sequence.values.copy()


def read_store_values(artifact: Artifact, order: list[str]) -> None:
    for clip in order:
        artifact.column(clip, "values").copy()


def read_groups(file: h5py.File, order: list[str]) -> None:
    for clip in order:
        group = file[clip]
        for name in COLUMNS:
            group[name][()]


def read_group_values(file: h5py.File, order: list[str]) -> None:
    for clip in order:
        file[f"{clip}/values"][()]


def check_equal(artifact: Artifact, file: h5py.File, clips: list[str]) -> None:
    """Both sides hold the same."""
    for clip in clips[:: len(clips) // 50 or 1]:
        for name in COLUMNS:
            np.testing.assert_array_equal(artifact.column(clip, name), file[clip][name][()])


def main() -> None:
    parser = options(__doc__, quick={"clips": 2000, "rounds": 3}, smoke={"clips": 20, "rounds": 1})
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=20, help="rows of a clip")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    count, rounds = given.clips, given.rounds
    clips = [f"subject{n % 50:02d}/clip{n:06d}" for n in range(count)]
    order = [clips[n] for n in np.random.default_rng(0).permutation(count)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact = open_artifact(make_artifact(folder, clips, given.length, given.dim))
        groups = make_groups(folder / "groups.h5", clips, given.length, given.dim)
        packed = make_groups(folder / "gzip.h5", clips, given.length, given.dim, "gzip")
        with h5py.File(groups) as file, h5py.File(packed) as gzip:
            check_equal(artifact, file, clips)
            taken = alternate(
                rounds,
                store=rate(count, lambda: read_store(artifact, order)),
                groups=rate(count, lambda: read_groups(file, order)),
                store_values=rate(count, lambda: read_store_values(artifact, order)),
                group_values=rate(count, lambda: read_group_values(file, order)),
                gzip=rate(count, lambda: read_group_values(gzip, order)),
            )
        what = f"{count:,} clips of {given.length} x {given.dim} float16, shuffled"
        Ratio(taken["store"], taken["groups"], "clips/s", at_least=5).show(f"{what}; store / group a clip")
        Ratio(taken["store_values"], taken["group_values"], "clips/s", at_least=5).show("  values alone")
        Ratio(taken["store_values"], taken["gzip"], "clips/s", at_least=5).show("  values alone, against gzip")
        opening = [seconds(lambda: open_artifact(artifact.path).finished())() for _ in range(rounds)]
        show_value(f"opening {count:,} clips and listing what is finished", opening, "s", at_most=2)
    print(machine())


if __name__ == "__main__":
    main()
