"""`affectkit fuse`: several models' predictions -> one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from affectkit.cli._options import CacheOption, JsonOption, OutOption, SplitsOption, with_configs
from affectkit.cli._results import as_line, columns, log, log_table
from affectkit.errors import listed
from affectkit.stages.fuse import FuseConfig
from affectkit.stages.fuse import fuse as run_fuse
from affectkit.store import Cache
from affectkit.tables.labels import LabelChoice


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fuse")(fuse)


@with_configs(where=LabelChoice, config=FuseConfig)
def fuse(
    predictions: Annotated[list[Path], typer.Argument(help="two or more prediction artifacts or CSV files")],
    where: LabelChoice,
    config: FuseConfig,
    splits: SplitsOption = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Combine the predictions of several models.

    Weights are fitted on the validation clips only. The scores printed are of the test clips where they have labels,
    else of folds of the validation clips that were not fitted on; those on the rows fitted on stand beside them.

    Examples:

    `affectkit fuse "$A" "$B" --labels va.csv --task va --method dwf -o draws=2000`

    `affectkit fuse a.csv b.csv c.csv --labels expr.csv --task expr --gate auto --beside nnls --beside stacking`

    `affectkit fuse "$FACES_5FPS" "$SPEECH" --labels va.csv --task va --rate 30`
    """
    done = run_fuse(Cache(cache), predictions, where.source(), config, splits=splits, out=out)
    for caution in done.report["cautions"]:
        log(f"note: {caution}")
    _print_scores(done.report)
    about = {"artifact": str(done.artifact.path), "cached": done.cached, **done.report}
    typer.echo(as_line(about) if as_json else str(done.artifact.path))


def _print_scores(report: dict[str, Any]) -> None:
    held_out, in_sample = report["held_out"], report["in_sample"]
    scores = held_out.get("scores", {})
    where = f" ({held_out['rows']} rows of {held_out['clips']} clips)" if scores else ""
    log(f"held out: {held_out['how']}{where}")
    if held_out.get("rows_without_score"):
        absent = held_out.get("clips_without_score")
        whole = f", {listed(absent, 'clips')} altogether" if absent else ""
        log(f"{held_out['rows_without_score']} rows left out, which a set has no score for{whole}")
    table = columns("", "held out", "where it was fitted (optimistic)")
    for name in dict.fromkeys([*scores, *in_sample]):
        table.add_row(name, *(f"{part[name]:.4f}" if name in part else "" for part in (scores, in_sample)))
    log_table(table)
    if "chosen" in (fuser := report["fuser"]):
        log(f"chosen: {fuser['chosen']} ({fuser['why']})")
    if fuser.get("shrinkage"):
        log(f"shrunk: {fuser['shrinkage']:.0%} of the weight is shared alike")
    if (against := held_out.get("against_best_single")) is not None:
        log(verdict(against))


def verdict(against: dict[str, Any]) -> str:
    """Whether the fusion is better than the best single model, beyond noise."""
    if "difference" not in against:
        return f"fused against the best single model: {'; '.join(against['cautions'])}"
    gap = f"{against['difference']:+.4f} [{against['low']:+.4f}, {against['high']:+.4f}]"
    says = "better than the best single model" if against["better"] else "NOT better than the best single model"
    notes = f" ({'; '.join(against['cautions'])})" if against["cautions"] else ""
    return f"fused is {says} beyond noise: {gap}, 95 % interval over clips{notes}"
