"""`affectkit cache` and `affectkit export`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli._help import Commands
from affectkit.cli._options import CacheOption, ClipsOption, JsonOption
from affectkit.cli._results import SOME_FAILED, as_line, columns, log, print_table
from affectkit.errors import AffectkitError
from affectkit.store import Artifact, Cache, names, open_artifact, upkeep
from affectkit.store.export import FORMATS, export
from affectkit.tables.ids import choose

ArtifactArgument = Annotated[
    str,
    typer.Argument(
        help="what a command printed, its name (--as), latest, or the beginning of a folder's name", metavar="ARTIFACT"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Commands(rich_markup_mode=None, no_args_is_help=True, help="Look at and look after artifacts.")
    for name, command in (
        ("ls", ls), ("show", show), ("verify", verify), ("why-miss", why_miss), ("compact", compact), ("gc", gc),
    ):  # fmt: skip
        group.command(name)(command)
    app.add_typer(group, name="cache")
    app.command("export")(export_artifact)


def ls(cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """List the artifacts: stage, name, clips, failures, size."""
    rows = []
    for folder in Cache(cache).folders():
        try:
            rows.append(_row(open_artifact(folder)))
        except AffectkitError as error:
            log(f"cannot be read: {error}")
    if as_json:
        typer.echo(as_line(rows))
        return
    table = columns("artifact", "clips", "failed", "unsealed parts", "size")
    for row in rows:
        clips = "" if row["clips"] is None else str(row["clips"])
        table.add_row(row["artifact"], clips, str(row["failed"] or ""), str(row["unsealed"] or ""),
                      megabytes(row["bytes"]))  # fmt: skip
    print_table(table)


def _row(artifact: Artifact) -> dict[str, Any]:
    has_table = artifact.stage.table is not None
    return {
        "artifact": str(artifact.path), "stage": artifact.stage.stage, "name": artifact.stage.name,
        "clips": len(artifact.rows) if has_table else None, "failed": len(artifact.failed()),
        "unsealed": len(artifact.part_paths()), "bytes": upkeep.size(artifact.path),
    }  # fmt: skip


def show(artifact: ArtifactArgument, cache: CacheOption = None) -> None:
    """Print what an artifact is and how it was made."""
    opened = opened_by(artifact, cache)
    about = opened.stage.model_dump(mode="json", exclude={"table"})
    if opened.stage.table is not None:
        held = opened.current()
        about["clips"] = len(held)
        about["rows"] = sum(len(rows) for rows in held)
        about["partial"] = sorted(rows.key[0] for rows in held if rows.status == "partial")
        about["failed"] = {clip: failure.cause for clip, failure in opened.failures().items()}
        if opened.selection is None:
            about["selections"] = {str(path): len(one.sources) for path, one in opened.selections()}
    typer.echo(json.dumps(about, indent=2, ensure_ascii=False))


def opened_by(text: str, cache: Path | None) -> Artifact:
    """The artifact that an argument denotes."""
    return open_artifact(names.resolve(Cache(cache), text))


def verify(artifact: ArtifactArgument, cache: CacheOption = None) -> None:
    """Recompute every clip's digest; exit 3 if any byte has changed."""
    problems = list(upkeep.verify(opened_by(artifact, cache)))
    for clip, problem in problems:
        log(f"damaged: {clip or artifact}: {problem}")
    typer.echo(f"{len(problems)} damaged")
    if problems:
        raise typer.Exit(SOME_FAILED)


def why_miss(
    artifact: ArtifactArgument,
    other: Annotated[str | None, typer.Argument(help="compare with this one (default: the most similar)")] = None,
    cache: CacheOption = None,
) -> None:
    """Print the fingerprint inputs in which two artifacts differ: why the second was not reused for the first."""
    here = opened_by(artifact, cache)
    there = opened_by(other, cache) if other else upkeep.nearest(here, Cache(cache))
    differences = upkeep.why_miss(here, there)
    typer.echo(f"{here.path}\n{there.path}")
    for key, mine, theirs in differences:
        typer.echo(f"  {key}: {mine!r} -> {theirs!r}")
    if not differences:
        typer.echo("  the recipes are the same")


def compact(artifact: ArtifactArgument, cache: CacheOption = None) -> None:
    """Merge the segments of an artifact into one; rows that no selection names are dropped, and counted."""
    opened = opened_by(artifact, cache)
    if dropped := opened.compact():
        log(f"note: {dropped} clips dropped that were replaced, or that no selection names")
    typer.echo(str(opened.path))


def gc(
    cache: CacheOption = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="also remove artifacts not written to for N days")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
) -> None:
    """Remove what dead processes left behind and, with --older-than, old artifacts."""
    total, store = 0, Cache(cache)
    known = names.paths(store)
    for leftover in upkeep.leftovers(store, older_than, time.time()):
        total += leftover.nbytes
        called = names.names_of(known, leftover.path)
        and_names = f", and its names: {', '.join(called)}" if called else ""
        log(f"{'would remove' if dry_run else 'removed'} {leftover.path} ({leftover.why}){and_names}")
        if not dry_run:
            upkeep.remove(leftover)
            if called:
                names.drop(store, [leftover.path])
    typer.echo(f"{megabytes(total)} {'to free' if dry_run else 'freed'}")


def export_artifact(
    artifact: ArtifactArgument,
    to: Annotated[str, typer.Option("--to", help=", ".join(FORMATS))] = "csv",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="file or, for images and muse, folder to write (default: named after the artifact)"),
    ] = None,
    clips: ClipsOption = None,
    cache: CacheOption = None,
) -> None:
    """Write an artifact's table to csv, parquet or npz, or its crops to image files.

    Example: `affectkit export "$P" --to csv --out predictions.csv`
    """
    opened = opened_by(artifact, cache)
    target = out or Path(f"{opened.folder.name}.{to}")
    typer.echo(str(export(opened, to, target, choose(clips, opened.clips))))


def megabytes(nbytes: int) -> str:
    """A size for people.

    >>> megabytes(2_500_000)
    '2.5 MB'
    """
    return f"{nbytes / 1e6:,.1f} MB"
