"""`affectkit train-head` and `predict`: from cached features to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli import _told
from affectkit.cli._options import (
    CacheOption,
    ClipsOption,
    JsonOption,
    OutOption,
    SplitsOption,
    TensorboardOption,
    with_configs,
)
from affectkit.cli._results import as_line, choose, finish, log
from affectkit.cli.data import DeviceOption
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.stages.cross_validate import cross_validate
from affectkit.stages.fit_stage import Stopped
from affectkit.stages.predict import PredictConfig, is_network, predict_network
from affectkit.stages.predict import predict as run_predict
from affectkit.stages.replay import media_suffixes, replay, replay_upstream
from affectkit.stages.train import AuxiliarySource, TrainConfig, train
from affectkit.stages.tune import tune
from affectkit.store import Cache, Failure, open_artifact, open_features
from affectkit.store.features import names_features
from affectkit.store.kinds import STAGE_FILE, TRAINED
from affectkit.tables.labels import LabelChoice
from affectkit.tables.sources import clips_of


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train-head")(train_head)
    app.command("predict")(predict)


@with_configs(where=LabelChoice, config=TrainConfig, runtime=Runtime)
def train_head(
    features: Annotated[
        list[str],
        typer.Argument(help="feature artifacts, or PATH:layer_07 for one of several layers", metavar="FEATURES..."),
    ],
    where: LabelChoice,
    config: TrainConfig,
    runtime: Runtime,
    splits: SplitsOption = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, max=1000, help="cross-validate instead: every clip is predicted by the head of the fold it is out of"
        ),
    ] = None,
    aux: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURES:LABELS:TASK", help="another task to learn along, from clips of its own (repeatable)"
        ),
    ] = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    out: OutOption = None,
    tensorboard: TensorboardOption = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--tune",
            min=1,
            max=100_000,
            metavar="N",
            help="search the head's options on the validation clips first, N trials; -o fixes an option",
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="with --tune, what to search: low..high[:log] or a,b,c (all lists: every combination; repeatable)",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a light head on cached features: fitted on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best head so far can be used.

    Examples:

    `affectkit train-head "$FEATURES" --labels va.csv --task va --head transformer`

    `affectkit train-head "$FEATURES" --labels eri.csv --task eri --head lstm -o hidden=64 --seeds 3`

    `affectkit train-head "$FEATURES" --labels expr.csv --task expr --aux "$FEATURES":va.csv:va`

    `affectkit train-head "$FEATURES" --labels dfew.csv --task dfew --head gru --folds 5 --split-by subject`

    `affectkit train-head "$FEATURES" --labels va.csv --task va --tune 3 --search window=2,4,8 --smooth hamming`
    """
    if search and not trials:
        raise UsageError("--search says what --tune N searches: give --tune as well")
    opened = [open_features(path) for path in features]
    if folds:
        if trials or aux or tensorboard:
            raise UsageError("--folds trains plain heads: leave out --tune, --aux and --tensorboard")
        try:
            crossed = cross_validate(
                Cache(cache),
                opened,
                where.source(),
                config,
                runtime,
                folds=folds,
                device=device,
                splits=splits,
                out=out,
            )
        except KeyboardInterrupt:
            log("kept: the folds that are finished, and the fold under way; the same command goes on from there")
            raise
        _told.folds(crossed.report)
        _print(crossed.artifact.path, {"cached": crossed.cached, **crossed.report}, as_json)
        return
    auxiliary = [AuxiliarySource.of(item) for item in aux or []]
    about: dict[str, Any] = {}
    if trials:
        try:
            found = tune(
                Cache(cache), opened, where.source(), config, runtime, trials=trials, search=search or [],
                device=device, splits=splits, auxiliary=auxiliary,
            )  # fmt: skip
        except KeyboardInterrupt:
            log("kept: the trials that are finished; the same command goes on from there")
            raise
        _told.tuned(found)
        config, about["tuned"] = found.config, found.report
    try:
        done = train(
            Cache(cache), opened, where.source(), config, runtime, device=device, splits=splits, out=out,
            tensorboard=tensorboard, auxiliary=auxiliary,
        )  # fmt: skip
    except Stopped as stopped:
        log(f"kept: {stopped.after}, which the same command goes on from")
        log(f"the best head so far, which predict takes, until training is finished: {stopped.best}")
        raise
    score = done.report["val_score"]
    _told.training(done.report)
    log(f"val {score['metric']} {score['mean']:.4f}" + (f" ± {score['deviation']:.4f}" if config.seeds > 1 else ""))
    if done.report.get("refit"):
        log("fitted again on train and val clips; the val score, and predictions of val clips, are of the head before")
    about |= {"cached": done.cached, "val_score": score, "clips": done.report["clips"]}
    about |= {name: done.report[name] for name in ("training", "refit", "cautions") if name in done.report}
    if smoothing := done.report.get("smoothing"):
        _told.smoothing(smoothing)
        about["smoothing"] = smoothing
    _print(done.artifact.path, about, as_json)


@with_configs(config=PredictConfig, runtime=Runtime)
def predict(
    head: Annotated[Path, typer.Argument(help="what train-head or finetune printed")],
    inputs: Annotated[
        list[str],
        typer.Argument(help="the features (of a fine-tuned network the crops or sound), or media to replay its recipe"),
    ],
    config: PredictConfig,
    runtime: Runtime,
    at: Annotated[
        Path | None, typer.Option(help="CSV clip,start,end (a label table, say): predict its rows, interpolated")
    ] = None,
    clips: ClipsOption = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="for media: NAME=PATH of a detector or backbone whose weight file has moved"),
    ] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="a manifest may name media outside its own directory")
    ] = False,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict for every clip of the features given, or for new media in one go.

    Examples:

    `affectkit predict "$HEAD" "$FEATURES"`

    `affectkit predict "$HEAD" new_video.mp4 --json`

    `affectkit predict "$HEAD" "$FEATURES" --at test_frames.csv --smooth hamming --half-width 0.5`

    `affectkit predict "$FINETUNED" "$FACES" --smooth hamming --half-width 0.5`
    """
    _refuse_swapped(head, inputs)
    store, opened, moved = Cache(cache), open_artifact(head), _moved(weights)
    media_suffixes(opened)  # raises for what was not trained
    made = all(names_features(item) for item in inputs)
    if made and moved:
        raise UsageError("--weights is for media: features, crops and sound have been made already")
    settings: dict[str, Any] = {"config": config, "at": at, "device": device, "out": out}
    media = [] if made else clips_of(inputs, media_suffixes(opened), allow_outside=allow_outside)
    failed: list[Failure] = []
    told: tuple[str, ...] = ()
    if is_network(opened):
        if made and len(inputs) > 1:
            raise UsageError(f"{head} is a fine-tuned network: it reads one artifact, {len(inputs)} are given")
        if made:
            upstream = open_artifact(inputs[0])
            chosen = choose(clips, upstream.clips)
        else:
            seen = replay_upstream(store, opened, media, runtime, device=device, weights=moved)
            upstream, chosen, failed = seen.artifact, choose(clips, seen.clips) or seen.clips, seen.failed
            told = seen.notices
        outcome = predict_network(store, opened, upstream, runtime, clips=chosen, **settings)
    else:
        if made:
            features = [open_features(item) for item in inputs]
            chosen = choose(clips, features[0].clips)
        else:
            again = replay(store, opened, media, runtime, device=device, weights=moved)
            features, chosen, failed = again.features, choose(clips, again.clips) or again.clips, again.failed
            told = again.notices
        outcome = run_predict(store, opened, features, runtime, clips=chosen, **settings)
    finish(outcome, as_json, earlier=failed, notices=told)


def _refuse_swapped(head: Path, inputs: list[str]) -> None:
    """Raises UsageError where the head was not given first."""
    trained = next((item for item in inputs if _is_trained(Path(item))), None)
    if trained is not None and not _is_trained(head):
        raise UsageError(f"the head comes first, then what it is to predict from: affectkit predict {trained} {head}")


def _is_trained(path: Path) -> bool:
    return (path / STAGE_FILE).is_file() and open_artifact(path).stage.stage in TRAINED


def _print(path: Path, about: dict[str, Any], as_json: bool) -> None:
    typer.echo(as_line({"artifact": str(path), **about}) if as_json else str(path))


def _moved(given: list[str] | None) -> dict[str, str]:
    moved = dict(item.partition("=")[::2] for item in given or [])
    if not all(moved.values()):
        raise UsageError(f"--weights {' '.join(given or [])} is not NAME=PATH, with the name of a detector or backbone")
    return moved
