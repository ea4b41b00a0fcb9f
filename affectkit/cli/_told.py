"""What train-head and finetune say on stderr of what became of a training."""

from __future__ import annotations

from typing import Any

from affectkit.cli._results import log
from affectkit.stages import fit_stage
from affectkit.stages.tune import Tuned


def training(report: dict[str, Any]) -> None:
    """How the training of each seed ended, and what speaks against the head or was left out. A head of before says the
    latter only."""
    for line in fit_stage.lines(report.get("training", {})):
        log(line)
    for caution in report.get("cautions", report["clips"]["left_out"]):
        log(f"note: {caution}")


def folds(report: dict[str, Any]) -> None:
    each = ", ".join("none" if score is None else f"{score:.4f}" for score in report["folds"])
    log(f"{report['metric']} of {report['clips']} clips out of fold: {report['pooled']:.4f} over all rows")
    log(f"by fold: {each} (mean {report['mean']:.4f} ± {report['deviation']:.4f})")
    for caution in report["cautions"]:
        log(f"note: {caution}")


def tuned(found: Tuned) -> None:
    cut = f"{found.pruned} cut short, {found.failed} failed" if found.pruned or found.failed else "all in full"
    log(
        f"tuned over {found.trials} trials ({found.computed} now; {cut}): " + " ".join(f"-o {o}" for o in found.options)
    )
    log(f"the best val score of these, {found.score:.4f}, was selected on the val clips, so it is optimistic")


def smoothing(chosen: dict[str, Any]) -> None:
    width, scores = chosen["half_width"], chosen["val"]
    log(
        f"smoothing {chosen['kind']}, half-width {width:g} s: "
        f"val {scores[f'{width:g}']:.4f}, without {scores['0']:.4f} (mean over seeds)"
    )
