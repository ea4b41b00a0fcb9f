"""overlay: seconds of video a second of work, for a clip of 640 x 360 at 30 frames a second, of each style.

The clip has one face whose box, seven classes, valence and arousal are made up, at five rows a second. Decoding,
drawing, encoding and writing are in it; looking for faces (--detect, --check-hidden) is not, for it is the detector's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _clips import face_clip
from _report import alternate, machine, options, seconds, show_value

from affectkit.stages.overlay import Overlay, OverlayConfig
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Cache, faces_schema, predictions_schema
from affectkit.tables.source_digests import clip_entries, media_sources
from affectkit.types import Clip

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
ROWS_A_SECOND = 5.0


def main() -> None:
    parser = options(__doc__, quick={"seconds": 10, "rounds": 2}, smoke={"seconds": 1, "rounds": 1})
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="decoding and encoding threads (0: one a core)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = Clip("face", face_clip(folder, arguments.seconds))
        artifacts = made_up(Cache(folder / "cache"), clip, arguments.seconds)
        styles: dict[str, dict[str, Any]] = {
            "boxes": {}, "bars": {"style": "bars"}, "circumplex": {"style": "circumplex"},
            "blur": {"anonymise": "blur", "detect": False},
        }  # fmt: skip
        work = {
            style: seconds(lambda config=config: draw(folder, artifacts, config)) for style, config in styles.items()
        }  # fmt: skip
        for style, taken in alternate(arguments.rounds, **work).items():
            pace = [arguments.seconds / each for each in taken]
            show_value(f"overlay, {style}, 640 x 360", pace, "s of video/s", at_least=1)
    print(machine())


def draw(folder: Path, artifacts: list[Path], config: Mapping[str, Any]) -> None:
    """Draw the clip into a new folder."""
    out = Path(tempfile.mkdtemp(dir=folder))
    result = Overlay().run(
        Overlay.Inputs(what=artifacts, out=out), OverlayConfig.model_validate(config), Context(Cache(folder / "cache"))
    )
    assert not result.failed, result.failed


def made_up(cache: Cache, clip: Clip, length: float) -> list[Path]:
    """Faces and two sets of predictions of a clip."""
    start = np.arange(0, length, 1 / ROWS_A_SECOND)
    sources, entries = media_sources([clip], cache.digests()), clip_entries([clip])
    box = np.array([220.0, 70, 370, 285]) + 10 * np.sin(start)[:, None]
    rows = {
        "start": start, "end": start + 1 / 30, "valid": np.ones(len(start), bool), "image": [b""] * len(start),
        "boxes": box, "landmarks": np.zeros((len(start), 5, 2)), "score": np.ones(len(start)),
        "frame_index": np.arange(len(start)),
    }  # fmt: skip
    extra = {"config": {"face": "all", "margin": "0.2", "shape": "square", "align": False, "size": 224}}
    faces = cache.create("faces", "made-up", {"made": "up"}, faces_schema(), extra=extra)
    write(faces, "face#0", sources["face"], rows, {"origin": 0.0})
    shown = faces.select(sources, entries)
    paths = []
    for model, columns in (("classes", CLASSES), ("affect", ("valence", "arousal"))):
        scores = np.abs(np.sin(start[:, None] + np.arange(len(columns)))) / len(columns)
        schema = predictions_schema(list(columns))
        artifact = cache.create("predict", model, {"made": model}, schema, upstream=[shown.path])
        rows = {name: rows[name] for name in ("start", "end", "valid")}
        rows |= {"observed": np.ones(len(start)), "scores": scores}
        write(artifact, "face#0", shown.digest("face#0"), rows, {"split": ""})
        paths.append(artifact.select({"face#0": shown.digest("face#0")}, entries).path)
    return paths


def write(artifact: Artifact, clip: str, source: str, rows: Mapping[str, Any], scalars: Mapping[str, Any]) -> None:
    """One clip's rows into an artifact."""
    part = artifact.new_part()
    part.append(dict(rows))
    part.end(clip, source, dict(scalars))
    part.commit()
    artifact.seal([])


if __name__ == "__main__":
    main()
