"""How long `affectkit` takes before it has anything to do: its help, and a rerun in which every clip is cached.

The help is compared with importing typer and rich in the same interpreter, twice: the packages alone (`import typer,
rich`), and with what Typer itself loads of rich to print any help (`import typer.rich_utils`).

The reruns are the whole command, over sources and artifacts made through the store: every source is looked up, nothing
is computed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _report import Measure, Ratio, alternate, machine, options, seconds, show_value

from affectkit.config import Numerics
from affectkit.stages.embed import Embed, EmbedConfig
from affectkit.stages.faces import ExtractFaces, FacesConfig
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Cache, open_artifact
from affectkit.tables.source_digests import clip_entries, media_sources
from affectkit.tables.sources import clips_of
from affectkit.types import Clip

ROWS = 5
COMMAND = [sys.executable, "-m", "affectkit"]


def process(*command: str) -> Measure:
    """A measure of the wall-clock time of a process."""
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True))


def compare_help(rounds: int) -> None:
    """Print the ratios of `affectkit --help`."""
    cases = {
        "help": process(*COMMAND, "--help"),
        "packages": process(sys.executable, "-c", "import typer, rich"),
        "all of rich that Typer uses": process(sys.executable, "-c", "import typer.rich_utils"),
    }
    for measure in cases.values():
        measure()  # bytecode, page cache
    taken = alternate(rounds, **cases)
    for name in ("packages", "all of rich that Typer uses"):
        Ratio(taken["help"], taken[name], "s", at_most=2.5).show(
            f"affectkit --help / importing typer and rich ({name})"
        )


def make_sources(folder: Path, count: int) -> list[Clip]:
    """Files of a few bytes, in folders of 100. Nothing decodes them: all that is asked of them is cached."""
    for number in range(count):
        path = folder / f"{number // 100:04d}" / f"{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    return clips_of([str(folder)])


def cached_faces(cache: Cache, clips: list[Clip]) -> Artifact:
    """The artifact as `extract faces --detector centerface` would have left it, 5 frames a clip."""
    context = Context(cache, device="cpu")
    empty = ExtractFaces().run(ExtractFaces.Inputs(media=[]), FacesConfig(detector="centerface"), context)
    sources = media_sources(clips, cache.digests())
    rows = {"boxes": np.zeros((ROWS, 4)), "landmarks": np.zeros((ROWS, 5, 2)), "score": np.ones(ROWS),
            "image": [b"jpeg"] * ROWS, "frame_index": np.arange(ROWS)}  # fmt: skip
    return fill(open_artifact(empty.path), sources, rows, {"origin": 0.0}, clip_entries(clips))


def cached_features(cache: Cache, faces: Artifact) -> Artifact:
    """The artifact as `embed --backbone mean-pixel` would have left it."""
    context = Context(cache, numerics=Numerics(device="cpu"))
    empty = Embed().run(Embed.Inputs(artifact=faces, clips=[]), EmbedConfig(backbone="mean-pixel"), context)
    sources = {clip: faces.digest(clip) for clip in faces.clips}
    rows = {"values": np.ones((ROWS, 192), np.float32)}
    return fill(open_artifact(empty.path), sources, rows, {}, faces.clip_table())


def fill(
    artifact: Artifact, sources: dict[str, str], rows: dict[str, Any], scalars: dict[str, Any], entries: dict[str, Any]
) -> Artifact:
    """Write the same rows for every clip, seal, and select them."""
    start = np.arange(ROWS) / 5
    part = artifact.new_part()
    for clip, source in sources.items():
        part.append({"start": start, "end": start + 0.2, "valid": np.ones(ROWS), **rows})
        part.end(clip, source, scalars)
    part.commit()
    artifact.seal()
    return open_artifact(artifact.select(sources, entries).path)


def time_reruns(clips: int, rounds: int) -> None:
    """Print what repeating extract faces and embed takes when every clip is cached."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = Cache(folder / "cache")
        listed = make_sources(folder / "clips", clips)
        faces = cached_faces(cache, listed)
        features = cached_features(cache, faces)
        common = ["--cache", str(cache.root)]
        extract = ["extract", "faces", str(folder / "clips"), "--detector", "centerface", *common]
        again = ["embed", str(faces.path), "--backbone", "mean-pixel", *common]
        for arguments, artifact in ((extract, faces), (again, features)):
            run = subprocess.run([*COMMAND, *arguments, "--json"], check=True, capture_output=True, text=True)
            said = json.loads(run.stdout)
            assert Path(said["artifact"]) == artifact.path and (said["computed"], said["cached"]) == (0, clips), said
        taken = alternate(rounds, extract=process(*COMMAND, *extract), embed=process(*COMMAND, *again))
        show_value(f"extract faces again, {clips:,} cached clips", taken["extract"], "s", at_most=5)
        show_value(f"embed again, {clips:,} cached clips", taken["embed"], "s", at_most=5)


def main() -> None:
    parser = options(
        __doc__, quick={"clips": 1000, "helps": 5, "rounds": 2},
        smoke={"clips": 10, "helps": 1, "rounds": 1},
    )  # fmt: skip
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--helps", type=int, default=21, help="rounds of affectkit --help")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the reruns")
    given = parser.parse_args()
    compare_help(given.helps)
    time_reruns(given.clips, given.rounds)
    print(machine())


if __name__ == "__main__":
    main()
