"""`affectkit evaluate` and `compare`: how good predictions are, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli._options import CacheOption, JsonOption, OutOption, SplitsOption, with_configs
from affectkit.cli._results import as_line, columns, log, log_table
from affectkit.errors import listed
from affectkit.stages.compare import CompareConfig
from affectkit.stages.compare import compare as run_compare
from affectkit.stages.evaluate import EvaluateConfig
from affectkit.stages.evaluate import evaluate as run_evaluate
from affectkit.store import Artifact, Cache
from affectkit.tables.labels import LabelChoice


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evaluate")(evaluate)
    app.command("compare")(compare)


@with_configs(where=LabelChoice, config=EvaluateConfig)
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="a prediction artifact or a CSV file")],
    where: LabelChoice,
    config: EvaluateConfig,
    splits: SplitsOption = None,
    against: Annotated[
        Path | None, typer.Option(help="another prediction set: the difference to it, with an interval")
    ] = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score predictions against labels, on split test if there is one, else on val.

    Every pooled score has an interval, from drawing whole clips with replacement.

    Examples:

    `affectkit evaluate "$FUSED" --labels va.csv --task va --json`

    `affectkit evaluate "$FUSED" --labels va.csv --task va --against "$P" --by subject`

    `affectkit evaluate "$P" --labels expr.csv --task expr --figures --clips 'video1*'`
    """
    done = run_evaluate(Cache(cache), predictions, where.source(), config, splits=splits, against=against, out=out)
    report = done.report
    _say_rows(report)
    table = columns("score", "pooled", _interval_header(report), "mean over clips")
    for name, value in report["scores"].items():
        if not name.startswith("clip-mean/"):
            per_clip = report["scores"].get(f"clip-mean/{name}")
            cells = (f"{value:.4f}", _interval(report["intervals"].get(name)))
            table.add_row(name, *cells, "" if per_clip is None else f"{per_clip:.4f}")
    log_table(table)
    if "calibration" in report:
        log(f"expected calibration error {report['calibration']['ece']:.4f} ({report['calibration']['bins']} bins)")
    for caution in report["cautions"]:
        log(f"note: {caution}")
    if other := report.get("against"):
        _say_difference(report, other)
    if config.figures:
        log(f"figures are in {done.artifact.path / 'figures'}")
    _print(done.artifact, report, as_json)


@with_configs(where=LabelChoice, config=CompareConfig)
def compare(
    predictions: Annotated[list[Path], typer.Argument(help="two or more prediction artifacts or CSV files")],
    where: LabelChoice,
    config: CompareConfig,
    splits: SplitsOption = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lay prediction sets side by side and say which differences are beyond noise.

    All are scored on the rows that every set has; differences are drawn clip by clip, the same clips for both.

    Examples:

    `affectkit compare "$VIDEO" "$AUDIO" "$FUSED" --labels va.csv --task va`

    `affectkit compare a.csv b.csv c.csv --labels expr.csv --task expr --reference best --json`
    """
    done = run_compare(Cache(cache), predictions, where.source(), config, splits=splits, out=out)
    report = done.report
    _say_rows(report)
    marks = [chr(ord("A") + place) if place < 26 else str(place + 1) for place in range(len(report["systems"]))]
    for mark, system in zip(marks, report["systems"], strict=True):
        log(f"{mark}: {system['path']}")
    reference = report["reference"]["place"]
    _print_systems(report, marks)
    for mark, system in zip(marks, report["systems"], strict=True):
        if report["metric"] in system.get("differences", {}):
            log(_verdict(report["metric"], mark, marks[reference], system["differences"][report["metric"]]))
    for caution in report["cautions"]:
        log(f"note: {caution}")
    _print(done.artifact, report, as_json)


def _say_rows(report: dict[str, Any]) -> None:
    absent = report["clips_without_prediction"]
    if absent:
        log(f"{listed(absent, 'clips')} labelled, without a prediction: not scored")
    if unscored := report.get("clips_without_score"):
        log(f"{listed(unscored, 'clips')} predicted without any score: not scored")
    dropped = f"{report['rows_without_label']} rows without a label and {report['rows_without_score']} without a score"
    log(
        f"{report['task']}, split {report['split']}: {report['rows']} rows of {report['clips']} clips "
        f"({dropped} left out); rows of: {report['rows_of']}"
    )
    if unobserved := report.get("rows_unobserved"):  # reports of earlier releases do not say
        log(f"{unobserved} of the rows have a score, but no face or speech: they are within the reach of predict")
    if held := report.get("rows_held"):
        log(f"{held} rows without a score of their own: the clip's nearest in time is held")
    _say_interpolation(report)


def _say_interpolation(counts: dict[str, Any]) -> None:
    if counts["rows_interpolated"]:
        beyond = counts["rows_beyond_predictions"]
        held = f"; {beyond} lie beyond them and take the nearest" if beyond else ""
        log(f"{counts['rows_interpolated']} rows read between predictions, {counts['interpolation']}{held}")


def _print_systems(report: dict[str, Any], marks: Sequence[str]) -> None:
    reference = marks[report["reference"]["place"]]
    table = columns("score", "", f"pooled, {_interval_header(report)}", f"less {reference}", "p (Holm)")
    for name in report["systems"][0]["scores"]:
        for mark, system in zip(marks, report["systems"], strict=True):
            cells = [_with_interval(system["scores"][name], system["intervals"].get(name), "")]
            if gap := system.get("differences", {}).get(name):
                cells.append(_with_interval(gap["difference"], (gap["low"], gap["high"]), "+"))
                cells.append(f"{gap['p_adjusted']:.3f}{' *' if gap['beyond_noise'] else ''}")
            table.add_row(name if mark == marks[0] else "", mark, *cells)
        table.add_row("", "constant", f"{report['constant']['scores'][name]:.3f}")
    log_table(table)
    log(f"* beyond noise; constant: {report['constant']['what']}")


def _say_difference(report: dict[str, Any], other: dict[str, Any]) -> None:
    log(f"against {other['path']}, on {other['rows']} rows of {other['clips']} clips that both have:")
    for caution in other.get("cautions", ()):
        log(f"note: {caution.replace(' of set 2', ' of the other set')}")
    _say_interpolation(other)
    table = columns("score", "of the other", "difference", _interval_header(report), "p")
    for name, gap in other["differences"].items():
        bounds = _interval((gap["low"], gap["high"]), signed=True)
        table.add_row(name, f"{other['scores'][name]:.4f}", f"{gap['difference']:+.4f}", bounds, f"{gap['p']:.3f}")
    log_table(table)


def _verdict(metric: str, mark: str, reference: str, gap: dict[str, Any]) -> str:
    if not gap["beyond_noise"]:
        return f"{mark} and {reference} cannot be told apart by {metric} (p {gap['p_adjusted']:.3f})"
    better = (gap["difference"] < 0) == (metric == "mae")
    word = "better" if better else "worse"
    return f"{mark} is {word} than {reference} by {metric}, beyond noise (p {gap['p_adjusted']:.3f})"


def _interval(bounds: Sequence[float] | None, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return "" if bounds is None else f"{bounds[0]:{sign}.4f} .. {bounds[1]:{sign}.4f}"


def _with_interval(value: float, bounds: Sequence[float] | None, sign: str) -> str:
    sure = f" [{bounds[0]:{sign}.3f}, {bounds[1]:{sign}.3f}]" if bounds else ""
    return f"{value:{sign}.3f}{sure}"


def _interval_header(report: dict[str, Any]) -> str:
    return f"{100 * report['bootstrap']['level']:g} % interval"


def _print(artifact: Artifact, report: dict[str, Any], as_json: bool) -> None:
    about = {"artifact": str(artifact.path), **report}
    typer.echo(as_line(about) if as_json else str(artifact.path))
