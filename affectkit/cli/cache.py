"""`affectkit cache` and `affectkit export`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli._complete import artifacts, datasets, file_formats
from affectkit.cli._help import Commands
from affectkit.cli._options import COMPUTED, INPUTS, OUTPUT, RUN, CacheOption, ClipsOption, JsonOption
from affectkit.cli._results import NOTE, SOME_FAILED, columns, log, print_json, print_table
from affectkit.stages.inventory import Entry, described, inventory, short
from affectkit.stages.map_stage import LISTED
from affectkit.store import Artifact, Cache, names, open_artifact, upkeep
from affectkit.store.export import ALL_FORMATS

ArtifactArgument = Annotated[
    str,
    typer.Argument(
        help="what a command printed, its name (--as), latest, or the beginning of a folder's name",
        metavar="ARTIFACT",
        autocompletion=artifacts(),
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Commands(rich_markup_mode=None, no_args_is_help=True, help="Look at and look after artifacts.")
    for name, command in (
        ("list", list_artifacts), ("show", show), ("verify", verify), ("why-miss", why_miss), ("compact", compact),
        ("gc", gc),
    ):  # fmt: skip
        group.command(name)(command)
    group.command("ls", hidden=True)(list_artifacts)
    app.add_typer(group, name="cache")
    app.command("export")(export_artifact)


def list_artifacts(cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """List artifacts, the newest first: names, date, source, clips, score, size."""
    store = Cache(cache)
    entries, problems = inventory(store)
    for problem in problems:
        log(f"cannot be read: {problem}")
    if as_json:
        print_json([entry.as_dict() for entry in entries])
        return
    named = {name: Path(entry.artifact) for entry in entries for name in entry.names}
    table = columns("artifact", "names", "made", "from", "clips", "score", "size")
    for entry in entries:
        folder = Path(entry.artifact)
        table.add_row(
            f"{folder.parent.name}/{folder.name}", ", ".join(entry.names), _date(entry.created),
            ", ".join(short(source, named) for source in entry.source), _clips(entry), _score(entry.score),
            megabytes(entry.bytes),
        )  # fmt: skip
    print_table(table)


def _date(created: str) -> str:
    return created[:16].replace("T", " ")


def _clips(entry: Entry) -> str:
    failed = f", {entry.failed} failed" if entry.failed else ""
    unsealed = f", {entry.unsealed} unsealed parts" if entry.unsealed else ""
    return "" if entry.clips is None else f"{entry.clips}{failed}{unsealed}"


def _score(score: Mapping[str, Any] | None) -> str:
    return f"{score['metric']} {score['mean']:.3f}" if score else ""


def show(artifact: ArtifactArgument, cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """Say what an artifact is and how it was made; --json: everything that is recorded."""
    store = Cache(cache)
    about = described(opened_by(artifact, cache), store)
    if as_json:
        print_json(about)
        return
    table = columns("", "")
    for topic, text in _said(about):
        table.add_row(topic, text)
    print_table(table)


def _said(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(topic, text) of an artifact, for people."""
    provenance = about["provenance"]
    yield about["stage"], f"{about['holds']}, made by affectkit {about['made_by']}"
    yield "path", about["path"]
    yield "names", ", ".join(about["names"]) or "none (--as NAME gives one)"
    host, version = provenance.get("host", "?"), provenance.get("affectkit", "?")
    yield "made", f"{_date(str(provenance.get('created', '?')))} on {host} by affectkit {version}"
    if isinstance(command := provenance.get("command"), list):
        yield "by", shlex.join(["affectkit", *map(str, command[1:])])
    yield "from", "\n".join(about["source"])
    config = about["inputs"].get("config") or provenance.get("config")
    if isinstance(config, dict):
        yield "settings", ", ".join(f"{key}={value}" for key, value in config.items() if value not in (None, [], ""))
    for file in about["weights"]:
        yield "weights", f"{file.get('name')}, licence: {file.get('licence')}, SHA-256 {str(file.get('sha256'))[:16]}"
    if "clips" in about:
        partial = f", {len(about['partial'])} of them partial" if about["partial"] else ""
        yield "clips", f"{about['clips']:,} of {about['rows']:,} rows{partial}; {len(about['failed'])} failed"
        for clip, cause in list(about["failed"].items())[:LISTED]:
            yield "failed", f"{clip}: {cause}"
    for path, count in about.get("selections", {}).items():
        yield "selection", f"{path} ({count} clips)"
    if score := about["score"]:
        yield "score", f"{score['metric']} {score['mean']:.4f} on validation clips"
    yield "size", megabytes(about["bytes"])


def opened_by(text: str, cache: Path | None) -> Artifact:
    """The artifact that an argument denotes."""
    return open_artifact(names.resolve(Cache(cache), text))


def verify(artifact: ArtifactArgument, cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """Recompute every clip's digest; exit 3 if any byte has changed."""
    problems = list(upkeep.verify(opened_by(artifact, cache)))
    for clip, problem in problems:
        log(f"damaged: {clip or artifact}: {problem}")
    if as_json:
        print_json({"damaged": [{"clip": clip, "problem": problem} for clip, problem in problems]})
    else:
        typer.echo(f"{len(problems)} damaged")
    if problems:
        raise typer.Exit(SOME_FAILED)


def why_miss(
    artifact: ArtifactArgument,
    other: Annotated[
        str | None,
        typer.Argument(help="compare with this one (default: the most similar)", autocompletion=artifacts()),
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the fingerprint inputs in which two artifacts differ: why the second was not reused for the first."""
    here = opened_by(artifact, cache)
    there = opened_by(other, cache) if other else upkeep.nearest(here, Cache(cache))
    differences = upkeep.why_miss(here, there)
    if as_json:
        listed = [{"input": key, "here": mine, "there": theirs} for key, mine, theirs in differences]
        print_json({"here": str(here.path), "there": str(there.path), "differences": listed})
        return
    typer.echo(f"{here.path}\n{there.path}")
    for key, mine, theirs in differences:
        typer.echo(f"  {key}: {mine!r} -> {theirs!r}")
    if not differences:
        typer.echo("  the recipes are the same")


def compact(artifact: ArtifactArgument, cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """Merge the segments of an artifact into one; rows that no selection names are dropped, and counted."""
    opened = opened_by(artifact, cache)
    dropped = opened.compact()
    if as_json:
        print_json({"artifact": str(opened.path), "dropped": dropped})
        return
    if dropped:
        log(f"note: {dropped} clips dropped that were replaced, or that no selection names")
    typer.echo(str(opened.path))


def gc(
    cache: CacheOption = None,
    older_than: Annotated[
        float | None,
        typer.Option(min=0, help="also remove artifacts not written to for N days", rich_help_panel=COMPUTED),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go", rich_help_panel=RUN)] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what dead processes left behind and, with --older-than, old artifacts."""
    store, removed = Cache(cache), []
    named = names.paths(store)
    for leftover in upkeep.leftovers(store, older_than, time.time()):
        called = names.names_of(named, leftover.path)
        and_names = f", and its names: {', '.join(called)}" if called else ""
        log(f"{'would remove' if dry_run else 'removed'} {leftover.path} ({leftover.why}){and_names}")
        removed.append({"path": str(leftover.path), "why": leftover.why, "bytes": leftover.nbytes, "names": called})
        if not dry_run:
            upkeep.remove(leftover)
            if called:
                names.drop(store, [leftover.path])
    total = sum(int(str(each["bytes"])) for each in removed)
    if as_json:
        print_json({"removed": removed, "bytes": total, "dry_run": dry_run})
        return
    typer.echo(f"{megabytes(total)} {'to free' if dry_run else 'freed'}")


def export_artifact(
    artifact: ArtifactArgument,
    to: Annotated[
        str,
        typer.Option("--to", help=", ".join(ALL_FORMATS), rich_help_panel=OUTPUT, autocompletion=file_formats),
    ] = "csv",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="file to write or, for images, muse and annotations, folder (default: named after the artifact)",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    clips: ClipsOption = None,
    card: Annotated[
        Path | None,
        typer.Option(
            "--card", help="to bundle: the model's card as you edited it (--to card writes one)", rich_help_panel=OUTPUT
        ),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores",
            help="to bundle or card: what evaluate printed of the model's predictions",
            metavar="REPORT",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="annotations: the task of the predictions or labels", rich_help_panel=INPUTS),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="annotations: the labels of a data set whose root is given in place of an artifact",
            rich_help_panel=INPUTS,
            autocompletion=datasets,
        ),
    ] = None,
    dataset_option: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset-option", help="an option of its reader, key=value (repeatable)", rich_help_panel=INPUTS
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option("--videos", help="annotations: the folder of the clips' media", rich_help_panel=INPUTS),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every",
            min=0,
            max=1e6,
            help="annotations: seconds that values are averaged over, 0 for every row (default: 1)",
            rich_help_panel=COMPUTED,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="annotations: annotate the stretches at or above this (default: 0.5 for multilabel tasks)",
            rich_help_panel=COMPUTED,
        ),
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an artifact's table to csv, parquet or npz, its crops to image files, or a model to one file.

    A head, a network or a fusion becomes one file, which `predict` takes anywhere, by `--to bundle`; `--to card` writes
    what is known of it, to read (`.md`) or to edit (`.toml`). Predictions, and labels (a CSV, or a data set's root with
    `--dataset`), become a folder with a file a clip for annotators: `--to eaf` (ELAN), `boris`, `webvtt` or `traces`.

    Examples:

    `affectkit export "$P" --to csv --out predictions.csv`

    `affectkit export "$HEAD" --to bundle --out my.affect --scores "$REPORT"`

    `affectkit export my.affect --to card --out card.toml`

    `affectkit export "$P" --to eaf --every 0.5 --out for-elan/`

    `affectkit export va.csv --task va --to webvtt --videos clips/ --out subtitles/`
    """  # fmt: skip
    from affectkit.api.annotating import AnnotationOptions
    from affectkit.api.exporting import written_as

    annotation = AnnotationOptions(task, dataset, tuple(dataset_option or ()), videos, every, threshold)
    written = written_as(
        artifact, to, out, clips=clips, card=card, scores=scores, annotation=annotation, cache=Cache(cache)
    )
    for notice in written.notices:
        log(f"{NOTE}{notice}")
    if as_json:
        print_json({"file": str(written.path), "artifact": str(written.source), "notices": list(written.notices)})
    else:
        typer.echo(str(written.path))


def megabytes(nbytes: int) -> str:
    """A size for people.

    >>> megabytes(2_500_000)
    '2.5 MB'
    """
    return f"{nbytes / 1e6:,.1f} MB"
