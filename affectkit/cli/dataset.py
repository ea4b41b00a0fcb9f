"""`affectkit dataset`: a data set in its own layout, looked over before anything is computed from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli._complete import datasets
from affectkit.cli._help import Commands
from affectkit.cli._options import INPUTS, OUTPUT, CacheOption, JsonOption, with_configs
from affectkit.cli._results import SOME_FAILED, columns, log, plain_console, print_json
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.stages.dataset_check import CheckConfig, Report, check_dataset, draw_labels
from affectkit.store import Cache
from affectkit.tables.labels import DatasetLabels

NameArgument = Annotated[str, typer.Argument(help="a data set (affectkit list datasets)", autocompletion=datasets)]
RootOption = Annotated[Path, typer.Option("--root", help="where it lies", rich_help_panel=INPUTS)]
ReaderOption = Annotated[
    list[str] | None,
    typer.Option("--dataset-option", help="an option of its reader, key=value (repeatable)", rich_help_panel=INPUTS),
]


_MEASURES = {
    "ccc": "CCC (mean of pairs)", "pearson": "Pearson (mean of pairs)", "icc_2k": "ICC(2,k)",
    "alpha": "Krippendorff's alpha",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Commands(rich_markup_mode=None, no_args_is_help=True, help="Look over a data set in its own layout.")
    group.command("check")(check)
    group.command("clips")(clips)
    app.add_typer(group, name="dataset")


@with_configs(config=CheckConfig, runtime=("workers", "progress", "rehash"))
def check(
    name: NameArgument,
    root: RootOption,
    config: CheckConfig,
    runtime: Runtime,
    dataset_option: ReaderOption = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="draw classes and histograms of labels", rich_help_panel=OUTPUT)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder of the figures (default: named after the data set)", rich_help_panel=OUTPUT),
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a data set holds, and what in it would go wrong, before any training.

    Clips, rows and invalid rows of each split, classes and ranges of labels; media that are missing, broken or there
    twice; rows of labels against frames; subjects in several splits. Exit code 3 when something would bias a result.

    Examples:

    `affectkit dataset check affwild2 --root AffWild2/ --task va`

    `affectkit dataset check hume-reaction --root Hume/ --no-media --figures --out figures/ --json`
    """
    if out is not None and not figures:
        raise UsageError("--out is the folder of figures: give --figures as well")
    source = DatasetLabels(name, root, tuple(dataset_option or ()))
    report = check_dataset(source, config, runtime, Cache(cache).digests(runtime.rehash))
    drawn = draw_labels(out or Path(f"{name}-figures"), report) if figures else []
    if as_json:
        print_json(report.as_dict() | {"figures": [str(path) for path in drawn]})
    else:
        _print(report)
        for path in drawn:
            log(f"figure: {path}")
    if report.biased:
        raise typer.Exit(SOME_FAILED)


def clips(
    name: NameArgument, root: RootOption, dataset_option: ReaderOption = None, as_json: JsonOption = False
) -> None:
    """List the media of a data set as a manifest: clip,path,split,subject,face.

    Example:

    `affectkit dataset clips affwild2 --root AffWild2/ > AffWild2/clips.csv; affectkit extract faces AffWild2/clips.csv`
    """
    import csv
    import sys

    reader = DatasetLabels(name, root, tuple(dataset_option or ())).open()
    headers = ("clip", "path", "split", "subject", "face")
    rows = (
        (clip.id, str(clip.path.relative_to(root)), clip.split or "", clip.subject or "", clip.face or "")
        for clip in reader.clips()
    )
    if as_json:
        print_json({"clips": [dict(zip(headers, row, strict=True)) for row in rows]})
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)


def _print(report: Report) -> None:
    console = plain_console()
    for task, about in report.tasks.items():
        table = columns(task, "clips", "rows", "invalid rows", "labels")
        for split, one in about["splits"].items():
            table.add_row(split, str(one["clips"]), f"{one['rows']:,}", f"{one['invalid_rows']:,}", _labels(one))
        console.print(table)
        for column, measures in about.get("agreement", {}).items():
            said = ", ".join(f"{_MEASURES.get(name, name)} {value:.3f}" for name, value in measures.items())
            console.print(f"agreement of the raters on {column}: {said}", markup=False, highlight=False)
    if report.media:
        media = report.media
        console.print(f"media: {media['clips']} clips, {media['frames']:,} frames (counted by {media['counted_by']})")
    for note in report.notes:
        console.print(f"note: {note}")
    for finding in report.findings:
        mark = "BIASES RESULTS: " if finding.biases else ""
        more = ", ..." if finding.count > len(finding.examples) else ""
        console.print(f"{mark}{finding.what}: {finding.count} ({', '.join(finding.examples)}{more})")
    if not report.findings:
        console.print("nothing amiss")


def _labels(one: dict[str, Any]) -> str:
    if "range" in one:
        return ", ".join(f"{k} {v[0]:.2f}..{v[1]:.2f}" for k, v in one["range"].items() if v)
    return ", ".join(f"{name} {count:,}" for name, count in (one.get("classes") or one["positive"]).items())
