"""Stages called as functions, as many tests want them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectkit.stages.compare import Compare, CompareConfig
from affectkit.stages.evaluate import Evaluate, EvaluateConfig
from affectkit.stages.fuse import Fuse, FuseConfig
from affectkit.stages.stage import Context, Result
from affectkit.store import Cache


def evaluate(
    cache: Cache, predictions: Path, labels: Any, config: EvaluateConfig, *, out: Path | None = None, **more: Any
) -> Result:
    """The stage `evaluate`."""
    return Evaluate().run(
        Evaluate.Inputs(predictions=predictions, labels=labels, **more), config, Context(cache, out=out)
    )


def compare(
    cache: Cache, sets: Sequence[Path], labels: Any, config: CompareConfig, *, out: Path | None = None, **more: Any
) -> Result:
    """The stage `compare`."""
    return Compare().run(Compare.Inputs(predictions=sets, labels=labels, **more), config, Context(cache, out=out))


def fuse(
    cache: Cache, sets: Sequence[Path], labels: Any, config: FuseConfig, *, out: Path | None = None, **more: Any
) -> Result:
    """The stage `fuse`."""
    return Fuse().run(Fuse.Inputs(predictions=sets, labels=labels, **more), config, Context(cache, out=out))
