"""Seeded damage to media, artifacts and tables, and what reads them. As a program it runs cases under limits:

    python tests/fuzz_cases.py KIND FOLDER FIRST COUNT

prints a JSON line when a case begins and one when it ended, so that whoever started it knows which case took it down.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MEMORY = 3 << 30  # bytes of address space for a case; importing numpy, av and h5py alone takes 1 GB of it
SECONDS = 20.0
Damage = Callable[[random.Random, bytes], bytes]


def flipped(rng: random.Random, data: bytes) -> bytes:
    """A few bytes are others."""
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 30])):
        damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(damaged)


def torn(rng: random.Random, data: bytes) -> bytes:
    """The end, or the beginning, is missing."""
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.7 else data[at:]


def blanked(rng: random.Random, data: bytes) -> bytes:
    """A stretch is all zeros or all ones."""
    at = rng.randrange(len(data))
    length = min(rng.choice([4, 8, 64, 4096]), len(data) - at)
    return data[:at] + bytes([rng.choice([0, 0xFF])]) * length + data[at + length :]


def moved(rng: random.Random, data: bytes) -> bytes:
    """A stretch stands again at another place, over what was there or before it."""
    begin, to = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[begin : begin + rng.choice([1, 8, 100, 5000])]
    return data[:to] + piece + data[to + rng.choice([0, len(piece)]) :]


def enlarged(rng: random.Random, data: bytes) -> bytes:
    """A length or a count somewhere is huge, in either byte order."""
    at = rng.randrange(max(1, len(data) - 8))
    value = rng.choice([2**31 - 1, 2**32 - 1, 2**24, 2**63 - 1, 1 << rng.randrange(64)])
    size = 8 if value >= 2**32 else 4
    return data[:at] + value.to_bytes(size, rng.choice(["little", "big"])) + data[at + size :]


WORDS = [
    b"1e308", b"-1e308", b"nan", b"inf", b"9" * 5000, b"\xff\xfe", b"\0", b'"', b",", b"\n", b"\r", b"[" * 3000,
    b"{" * 3000, b"a" * 70000, "\u202e\u0000é".encode(), b"../../etc/passwd", b"true", b"null", b"-1", b"0x10",
    b"1_000",
    b"=" * 50, b"[[a]]\n" * 500, b"18446744073709551616",
]  # fmt: skip


def worded(rng: random.Random, data: bytes) -> bytes:
    """A text holds a word that no reader expects."""
    at, drop = rng.randrange(len(data) + 1), rng.choice([0, 1, 5, 20])
    return data[:at] + rng.choice(WORDS) + data[at + drop :]


BINARY: tuple[Damage, ...] = (flipped, torn, blanked, moved, enlarged)
TEXT: tuple[Damage, ...] = (worded, worded, worded, flipped, torn, moved)


def read_media(path: Path) -> None:
    """Everything that stages ask of a media file: its index, some pictures, its sound."""
    from affectkit.errors import AffectkitError, ClipError
    from affectkit.media import STILL_SUFFIXES, Sampling, StillReader, VideoReader, probe, read_audio, scan

    reads: list[Callable[[], object]] = [lambda: read_audio(path), lambda: probe(path), lambda: scan(path)]
    if path.suffix in STILL_SUFFIXES:
        reads.append(lambda: list(StillReader(path)))
    else:
        reads += [
            lambda: _pictures(VideoReader(path, Sampling(fps=5))),
            lambda: _pictures(VideoReader(path, Sampling(frames=3))),
        ]
    for read in reads:
        with contextlib.suppress(ClipError, AffectkitError):
            read()


def _pictures(reader: Any) -> None:
    before = -1.0
    for frame in reader:
        assert frame.start > before and frame.end > frame.start, "times that do not rise"
        before = frame.start


def read_artifact(path: Path) -> None:
    """Everything that commands do with an artifact that came from elsewhere."""
    from affectkit.errors import AffectkitError, ClipError
    from affectkit.store import open_artifact, open_features
    from affectkit.store.upkeep import verify

    def everything() -> None:
        artifact = open_artifact(path)
        for clip in artifact.clips:
            artifact.read(clip)
            artifact.status(clip), artifact.source(clip), artifact.digest(clip)

    uses: list[Callable[[], object]] = [
        everything, lambda: [open_features(str(path)).sequence(clip) for clip in open_artifact(path).clips],
        lambda: list(verify(open_artifact(path))), lambda: open_artifact(path).failures(),
        lambda: open_artifact(path).clip_table(), lambda: open_artifact(path).finished(),
        lambda: open_artifact(path).seal(), lambda: open_artifact(path).compact(), everything,
    ]  # fmt: skip
    for use in uses:
        with contextlib.suppress(AffectkitError, ClipError):
            use()


def read_table(path: Path) -> None:
    """Everything that commands read from a CSV or a TOML file of the user."""
    from affectkit import tasks
    from affectkit.errors import AffectkitError, ClipError
    from affectkit.recipes.read import read as read_recipe
    from affectkit.tables.label_tables import read_labels
    from affectkit.tables.manifests import read_manifest
    from affectkit.tables.openings import read_openings
    from affectkit.tables.predictions import read_predictions
    from affectkit.tables.splits import read_splits

    va = tasks.get("va")
    reads: list[Callable[[], object]] = [lambda: tasks.get(str(path)), lambda: read_recipe(str(path))]
    if path.suffix == ".csv":
        reads = [lambda: read_labels(path, va), lambda: read_predictions(path, va), lambda: read_splits(path),
                 lambda: read_manifest(path), lambda: read_openings(path)]  # fmt: skip
    for read in reads:
        with contextlib.suppress(AffectkitError, ClipError):
            read()


def _media(folder: Path) -> None:
    import numpy as np
    from media_factory import B_FRAMES, make_clip, make_sound, numbered
    from PIL import Image

    make_clip(folder / "a.mp4", 12, options=B_FRAMES, audio=True)
    make_clip(folder / "b.mkv", 12)
    make_clip(folder / "c.ts", 12)
    make_clip(folder / "d.avi", 12, codec="mpeg4")
    tone = 0.3 * np.sin(np.arange(8000) / 9)[None]
    for name, codec in (("e.wav", "pcm_s16le"), ("f.m4a", "aac"), ("g.flac", "flac"), ("h.mp3", "libmp3lame")):
        make_sound(folder / name, tone, 16000, codec=codec)
    pictures = [Image.fromarray(image) for image in numbered(3)]
    for suffix in ("png", "jpg", "gif", "webp", "tiff"):
        pictures[0].save(
            folder / f"p.{suffix}", **({"save_all": True, "append_images": pictures[1:]} if suffix == "gif" else {})
        )


def _artifact(folder: Path) -> None:
    from store_tables import SCHEMAS, artifact, record, write

    from affectkit.store import Failure

    schema = SCHEMAS["features"]
    table = artifact(folder / "cache", schema)
    for clips in ("ab", "cd"):
        write(table, {clip: record(schema, 6, ord(clip)) for clip in clips}, per_part=2)
        table.seal([Failure(f"x{clips}", "s", "no face")])
    write(table, {"e": record(schema, 4, 5)})


def _tables(folder: Path) -> None:
    rows = "".join(f"c{k // 5},{k / 5:.1f},{k / 5 + 0.2:.1f},train,{k / 40:.2f},{-k / 40:.2f}\n" for k in range(30))
    (folder / "labels.csv").write_text("clip,start,end,split,valence,arousal\n" + rows)
    (folder / "manifest.csv").write_text(
        "path,clip,start,end,split,subject\n" + "a.mp4,a,0,1,train,s1\nb.mp4,b,,,val,s2\n"
    )
    (folder / "splits.csv").write_text("clip,split,subject\na,train,s1\nb,val,s2\nc,test,s3\n")
    (folder / "mouth.csv").write_text("clip,start,end,opening\n" + "".join(f"a,{k},{k + 1},0.{k}\n" for k in range(9)))
    (folder / "task.toml").write_text(
        'name = "calm"\nkind = "regression"\nlevel = "frame"\ntargets = ["calm"]\nmetric = "ccc"\n'
    )
    recipe = Path(__file__).parents[1] / "affectkit/recipes/builtin/eri-2023.toml"
    shutil.copy(recipe, folder / "recipe.toml")


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "media": (_media, read_media),
    "artifacts": (_artifact, read_artifact),
    "tables": (_tables, read_table),
}


def damaged(kind: str, originals: Path, case: int, work: Path) -> Path:
    """Case number `case` of a kind, written below `work`: what to read. The same number gives the same bytes."""
    rng = random.Random(f"{kind} {case}")
    shutil.rmtree(work, ignore_errors=True)
    if kind == "artifacts":
        shutil.copytree(originals, work)
        files = sorted(file for file in work.rglob("*") if file.is_file() and file.stat().st_size)
        target = rng.choice(files)
        read = next((work / "cache").glob("*/*/stage.json")).parent
    else:
        work.mkdir(parents=True)
        target = read = work / shutil.copy(rng.choice(sorted(originals.iterdir())), work)
    data = target.read_bytes()
    for _ in range(rng.choice([1, 1, 2])):
        choice = BINARY if kind == "media" or target.suffix == ".h5" else TEXT
        data = rng.choice(choice)(rng, data) or b"\n"
    target.write_bytes(data)
    return read


def make_originals(kind: str, folder: Path) -> Path:
    """The whole files that the cases of a kind damage."""
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind][0](folder)
    return folder


def peak_memory() -> int:
    """The most memory this process has held, MB. Not `ru_maxrss`, which begins with that of the process that forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM:"))


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(kind: str, folder: str, first: str, count: str) -> None:
    """Run cases [first, first + count) of a kind over the originals in `folder`; one line a case goes to stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    read = KINDS[kind][1]
    work = Path(folder).with_name(f"{Path(folder).name}-work-{first}")
    for case in range(int(first), int(first) + int(count)):
        target = damaged(kind, Path(folder), case, work)
        print(json.dumps({"begin": case}), flush=True)
        began, problem = time.monotonic(), ""
        try:
            with limited(SECONDS), contextlib.redirect_stderr(io.StringIO()):
                read(target)
        except BaseException as error:
            problem = f"{target.name}: {type(error).__name__}: {error}"[:500]
        peak = peak_memory()
        print(
            json.dumps({"end": case, "s": round(time.monotonic() - began, 2), "mb": peak, "problem": problem}),
            flush=True,
        )
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
