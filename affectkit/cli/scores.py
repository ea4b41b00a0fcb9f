"""`affectkit evaluate`: how good predictions are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from affectkit.cli._options import CacheOption, JsonOption, LabelsOption, OutOption, SplitsOption, with_configs
from affectkit.cli._results import columns, log
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.evaluate import evaluate as run_evaluate
from affectkit.store import Cache


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evaluate")(evaluate)


@with_configs(config=EvaluateConfig)
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="a prediction artifact or a CSV file")],
    labels: LabelsOption,
    config: EvaluateConfig,
    splits: SplitsOption = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score predictions against labels, on split test if there is one, else on val.

    Example:

    `affectkit evaluate "$FUSED" --labels va.csv --task va --json`
    """
    done = run_evaluate(Cache(cache), predictions, labels, config, splits=splits, out=out)
    absent = done.report["clips_without_prediction"]
    if absent:
        more = ", ..." if len(absent) > 3 else ""
        log(f"{len(absent)} clips ({', '.join(absent[:3])}{more}) labelled, without a prediction: not scored")
    _print_scores(done.report)
    about = {"artifact": str(done.artifact.path), **done.report}
    typer.echo(json.dumps(about, ensure_ascii=False) if as_json else str(done.artifact.path))


def _print_scores(report: dict[str, Any]) -> None:
    dropped = f"{report['rows_without_label']} rows without a label and {report['rows_without_score']} without a score"
    log(
        f"{report['task']}, split {report['split']}: {report['rows']} rows of {report['clips']} clips "
        f"({dropped} left out)"
    )
    table = columns("score", "pooled", "mean over clips")
    for name, value in report["scores"].items():
        if not name.startswith("clip-mean/"):
            per_clip = report["scores"].get(f"clip-mean/{name}")
            table.add_row(name, f"{value:.4f}", "" if per_clip is None else f"{per_clip:.4f}")
    Console(stderr=True).print(table)
