"""`affectkit submit` and `affectkit import`: to and from what others lay out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli._options import CacheOption, ClipsOption, JsonOption, OutOption, with_configs
from affectkit.cli._results import SOME_FAILED, as_line, choose, finish, log
from affectkit.config import Runtime
from affectkit.errors import UsageError, listed
from affectkit.stages import submit as stage
from affectkit.stages.import_features import ImportConfig, clips_below
from affectkit.stages.import_features import import_features as run_import
from affectkit.stages.submit import SubmitConfig
from affectkit.store import Cache


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("submit")(submit)
    app.command("import")(import_features)


@with_configs(config=SubmitConfig)
def submit(
    template: Annotated[Path, typer.Option(help="the organisers' file: its rows, in its order, are written")],
    config: SubmitConfig,
    predictions: Annotated[
        Path | None, typer.Argument(help="a prediction artifact or a CSV file", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="the file to write")] = None,
    videos: Annotated[Path | None, typer.Option(help="folder of the videos that give frames their times")] = None,
    check: Annotated[Path | None, typer.Option(help="instead: say what is wrong with this file, made anywhere")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write predictions as the file that a challenge takes, or check one.

    A frame gets the scores at the middle of the time that it is shown. Nothing is written where a row of the template
    has no prediction or a value is out of range (exit 2). --check ends with 3 where the file is wrong.

    Examples:

    `affectkit submit "$P" --format affwild2-va --template va_template.txt --videos videos/ --out va.txt`

    `affectkit submit "$P" --format hume-reaction --template test.csv --out reactions.csv`

    `affectkit submit --check va.txt --format affwild2-va --template va_template.txt`
    """
    if check is not None:
        if predictions is not None or out is not None or videos is not None or config.fps is not None:
            raise UsageError(
                "--check looks at a file that is there: give --format and --template with it, nothing else"
            )
        _check(check, template, config, as_json)
        return
    if predictions is None or out is None:
        raise UsageError("submit needs PREDICTIONS and --out FILE (or --check FILE)")
    done = stage.submit(predictions, template, out, config, videos=videos)
    _say(done.report)
    typer.echo(as_line({"file": str(done.path), **done.report}) if as_json else str(done.path))


def _say(report: dict[str, Any]) -> None:
    log(f"{report['rows']} rows of {report['clips']} clips")
    if fps := report["assumed_fps"]:
        log(
            f"frames are assumed to come at {fps:g} a second" if isinstance(fps, float) else f"rates are those of {fps}"
        )
    for notice in report["notices"]:
        log(f"note: {notice}")
    for name, what in (
        ("rows_interpolated", f"read between predictions ({report.get('interpolation')})"),
        ("rows_beyond_predictions", "before the first or after the last prediction: it is held"),
        ("rows_beyond_video", "beyond the last frame of their video"),
        ("rows_held", "without a score of their own: the nearest in time is held"),
        ("rows_cut_to_range", "cut to the format's range"),
    ):
        if report[name]:
            log(f"{report[name]} rows {what}")
    if report["clips_not_in_template"]:
        log(f"left out, not in the template: {listed(report['clips_not_in_template'])}")


def _check(path: Path, template: Path, config: SubmitConfig, as_json: bool) -> None:
    found = stage.check(path, template, config.format)
    problems = [{"what": one.what, "count": one.count, "first": list(one.first)} for one in found.problems]
    if as_json:
        about = {"file": str(path), "format": config.format, "good": found.good, "rows": found.rows}
        typer.echo(as_line({**about, "problems": problems}))
    else:
        for one in found.problems:
            log(f"wrong: {one}")
        sorts = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        typer.echo(f"{found.rows} rows, {sorts if problems else 'nothing wrong'}")
    if problems:
        raise typer.Exit(SOME_FAILED)


@with_configs(config=ImportConfig, runtime=Runtime)
def import_features(
    source: Annotated[Path, typer.Argument(help="a folder with one file a clip: .csv, .npy, .npz, .pt, .safetensors")],
    config: ImportConfig,
    runtime: Runtime,
    videos: Annotated[Path | None, typer.Option(help="folder of the videos that give rows their times")] = None,
    clips: ClipsOption = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over features that were made elsewhere, one file a clip.

    A CSV has a header; its columns start and end, or timestamp, say when its rows are, or with --videos or --fps the
    column frame; all others are features. Rows with an empty or NaN cell are kept as rows that do not count. `.npz` and
    torch files may hold the times as arrays of those names. Nothing is unpickled.

    Examples:

    `affectkit import openface/ --name openface --valid success --leave-out face_id --leave-out confidence`

    `affectkit import feats/egemaps/ --style muse --name egemaps`

    `affectkit import embeddings/ --style affwild2 --name mae --videos videos/`
    """
    chosen = choose(clips, clips_below(source)) if clips is not None else None
    finish(run_import(Cache(cache), source, config, runtime, videos=videos, clips=chosen, out=out), as_json)
