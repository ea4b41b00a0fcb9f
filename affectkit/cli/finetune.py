"""`affectkit finetune`: a backbone and its head, trained together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affectkit.cli import _told
from affectkit.cli._options import CacheOption, JsonOption, OutOption, SplitsOption, TensorboardOption, with_configs
from affectkit.cli._results import as_line, log
from affectkit.cli.data import DeviceOption
from affectkit.config import Runtime
from affectkit.errors import AffectkitError
from affectkit.learning.processes import NoMemory, Processes
from affectkit.stages.embed import notices
from affectkit.stages.finetune import FinetuneConfig
from affectkit.stages.finetune import finetune as run_finetune
from affectkit.stages.fit_stage import Stopped
from affectkit.stages.train import AuxiliarySource, Trained
from affectkit.store import Cache, open_artifact
from affectkit.tables.labels import LabelChoice
from affectkit.weights import WeightsFile

USAGE, INTERRUPTED = 2, 130


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("finetune")(finetune)


@with_configs(where=LabelChoice, config=FinetuneConfig, runtime=Runtime)
def finetune(
    artifact: Annotated[
        Path, typer.Argument(help="what extract faces printed, or extract audio for a network that listens")
    ],
    where: LabelChoice,
    config: FinetuneConfig,
    runtime: Runtime,
    splits: SplitsOption = None,
    aux: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARTIFACT:LABELS:TASK", help="another task to learn along, from clips of its own (repeatable)"
        ),
    ] = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    out: OutOption = None,
    tensorboard: TensorboardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a backbone and its head together, on cached crops or waveforms: on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best so far can be used.
    `embed --weights` and `predict` take what is printed. On several GPUs, torchrun starts a process for each.

    Examples:

    `affectkit finetune "$FACES" --labels expr.csv --task expr -o preset=sun -o backbone=tf_efficientnet_b1.in1k`

    `affectkit finetune "$FACES" --labels va.csv --task va -o loss=log-cosh -o unfreeze_epochs=2 -o layer_decay=0.85`

    `affectkit finetune "$FACES" --labels expr.csv --task expr -o batch_size=16 -o accumulate=4 -o precision=bfloat16`

    `affectkit finetune "$SOUND" --labels va.csv --task va --network speech -o trainable_blocks=4`

    `affectkit finetune "$FACES" --labels ce.csv --task compound --network pyramid --aux "$DFEW":va.csv:dfew-va.toml`

    `torchrun --nproc-per-node 4 -m affectkit finetune "$FACES" --labels va.csv --task va`
    """
    first = Processes.here().first
    try:
        done = run_finetune(
            Cache(cache), open_artifact(artifact), where.source(), config, runtime, device=device, splits=splits,
            out=out, tensorboard=tensorboard, auxiliary=[AuxiliarySource.of(item, open_artifact) for item in aux or []],
        )  # fmt: skip
    except Stopped as stopped:
        log(f"kept: {stopped.after}, which the same command goes on from")
        log(f"the best network so far, until training is finished: {stopped.best}")
        raise
    except KeyboardInterrupt:
        if first:
            raise
        raise SystemExit(INTERRUPTED) from None
    except AffectkitError as error:
        if first:
            raise
        _say(error)
        raise typer.Exit(USAGE) from None
    if first:
        _print(done, as_json)


def _say(error: AffectkitError) -> None:
    """What is wrong with all processes process 0 says; what is wrong with this one's data or device it says itself."""
    from affectkit.learning.crop_table import BrokenRow

    if isinstance(error, BrokenRow | NoMemory):
        log(f"affectkit: {error}")


def _print(done: Trained, as_json: bool) -> None:
    report, path = done.report, str(done.artifact.path)
    _told.training(report)
    for notice in notices(WeightsFile(**report["weights"])):
        log(f"note: {notice}")
    score = report["val_score"]
    log(f"val {score['metric']} {score['mean']:.4f} after {report['epochs']} epochs")
    if not as_json:
        typer.echo(path)
        return
    told = ("val_score", "epochs", "clips", "units", "parameters", "training", "cautions")
    about = {name: report[name] for name in told if name in report}
    typer.echo(as_line({"artifact": path, "cached": done.cached, **about}))
