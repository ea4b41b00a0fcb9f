"""`affectkit train-head`: Train a light head on cached features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectkit.errors import UsageError
from affectkit.stages.cross_validate import cross_validate
from affectkit.stages.inputs import artifacts, auxiliary, file, labels, splits, value
from affectkit.stages.resumable import KeptOnInterrupt
from affectkit.stages.stage import TRAINING, TRAINING_KEPT, Context, Result, Stage, TextTable
from affectkit.stages.train import TrainConfig, train
from affectkit.stages.training_data import AuxiliarySource
from affectkit.stages.training_outcome import training_said
from affectkit.stages.tune import Tuned, tune
from affectkit.store import Features
from affectkit.tables.labels import Labels

_SAID = ("training", "refit", "cautions")


class TrainHead(Stage):
    """Train a light head on cached features: fitted on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best head so far can be used.

    Examples:

    `affectkit train-head "$FEATURES" --labels va.csv --task va --head transformer`

    `affectkit train-head "$FEATURES" --labels eri.csv --task eri --head lstm -o hidden=64 --seeds 3`

    `affectkit train-head "$FEATURES" --labels expr.csv --task expr --aux "$FEATURES":va.csv:va`

    `affectkit train-head "$FEATURES" --labels dfew.csv --task dfew --head gru --folds 5 --split-by subject`

    `affectkit train-head "$FEATURES" --labels va.csv --task va --tune 3 --search window=2,4,8 --smooth hamming`
    """

    name = "train-head"
    makes = "head"
    says = "{plugin} for {task} on {inputs}"
    Config = TrainConfig
    plugin = ("heads", "head")
    has_device = True
    kept = TRAINING_KEPT

    @dataclass(frozen=True)
    class Inputs:
        """Features and labels, and whether to search options or to cross-validate."""

        features: Sequence[Features] = artifacts(
            "features", help="feature artifacts, or PATH:layer_07 for one of several layers", many=True,
            metavar="FEATURES",
        )  # fmt: skip
        labels: Labels = labels()
        splits: Path | None = splits()
        aux: Sequence[AuxiliarySource] = auxiliary("features")
        folds: int | None = value(
            int, None, "cross-validate instead: every clip is predicted by the head of the fold it is out of",
            least_value=2, most_value=1000, in_recipes=False, panel=TRAINING,
        )  # fmt: skip
        trials: int | None = value(
            int, None, "search the head's options on the validation clips first, N trials; -o fixes an option",
            least_value=1, most_value=100_000, flag="--tune", metavar="N", in_recipes=False, panel=TRAINING,
        )  # fmt: skip
        search: Sequence[str] = value(
            str, (), "with --tune, what to search: low..high[:log] or a,b,c (all lists: every combination; repeatable)",
            metavar="KEY=VALUES", many=True, in_recipes=False, panel=TRAINING,
        )  # fmt: skip
        tensorboard: Path | None = file(
            "write training curves there for TensorBoard",
            kind="made",
            metavar="DIR",
            in_recipes=False,
            panel=TRAINING,
        )

    def run(self, inputs: Inputs, config: TrainConfig, context: Context) -> Result:
        if inputs.search and not inputs.trials:
            raise UsageError("--search says what --tune N searches: give --tune as well")
        if inputs.folds:
            return _folds(inputs, inputs.folds, config, context)
        tuned: dict[str, Any] = {}
        if inputs.trials:
            with KeptOnInterrupt("the trials that are finished; the same command goes on from there"):
                found = tune(
                    context.cache, inputs.features, inputs.labels, config, context.runtime, trials=inputs.trials,
                    search=list(inputs.search), device=context.device, splits=inputs.splits, auxiliary=inputs.aux,
                )  # fmt: skip
            config, tuned = found.config, {"tuned": found.report, "lines": list(_tuned(found))}
        done = train(
            context.cache, inputs.features, inputs.labels, config, context.runtime, device=context.device,
            splits=inputs.splits, out=context.out, tensorboard=inputs.tensorboard, auxiliary=inputs.aux,
        )  # fmt: skip
        return Result(done.artifact.path, done.artifact, done.cached, done.report | tuned)

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        report = result.report
        if "folds" in report:
            yield from _folds_said(report)
            return
        yield from report.get("lines", ())
        score = report["val_score"]
        yield from training_said(report)
        several = len(report.get("seeds", ())) > 1 or score["deviation"]
        yield f"val {score['metric']} {score['mean']:.4f}" + (f" ± {score['deviation']:.4f}" if several else "")
        if report.get("refit"):
            yield (
                "fitted again on train and val clips; the val score, and predictions of val clips, are of the head "
                "before"
            )
        if smoothing := report.get("smoothing"):
            width, scores = smoothing["half_width"], smoothing["val"]
            yield (
                f"smoothing {smoothing['kind']}, half-width {width:g} s: "
                f"val {scores[f'{width:g}']:.4f}, without {scores['0']:.4f} (mean over seeds)"
            )

    def json(self, result: Result) -> dict[str, Any]:
        report = result.report
        about: dict[str, Any] = {"artifact": str(result.path)}
        if "folds" in report:
            return about | {"cached": result.cached, **report}
        if "tuned" in report:
            about["tuned"] = report["tuned"]
        about |= {"cached": result.cached, "val_score": report["val_score"], "clips": report["clips"]}
        about |= {name: report[name] for name in _SAID if name in report}
        return about | ({"smoothing": report["smoothing"]} if report.get("smoothing") else {})


STAGE = TrainHead


def _folds(inputs: TrainHead.Inputs, folds: int, config: TrainConfig, context: Context) -> Result:
    if inputs.trials or inputs.aux or inputs.tensorboard:
        raise UsageError("--folds trains plain heads: leave out --tune, --aux and --tensorboard")
    with KeptOnInterrupt("the folds that are finished, and the fold under way; the same command goes on from there"):
        crossed = cross_validate(
            context.cache, inputs.features, inputs.labels, config, context.runtime, folds=folds,
            device=context.device, splits=inputs.splits, out=context.out,
        )  # fmt: skip
    return Result(crossed.artifact.path, crossed.artifact, crossed.cached, crossed.report)


def _folds_said(report: Mapping[str, Any]) -> Iterator[str]:
    each = ", ".join("none" if score is None else f"{score:.4f}" for score in report["folds"])
    yield f"{report['metric']} of {report['clips']} clips out of fold: {report['pooled']:.4f} over all rows"
    yield f"by fold: {each} (mean {report['mean']:.4f} ± {report['deviation']:.4f})"
    yield from (f"note: {caution}" for caution in report["cautions"])


def _tuned(found: Tuned) -> Iterator[str]:
    cut = f"{found.pruned} cut short, {found.failed} failed" if found.pruned or found.failed else "all in full"
    options = " ".join(f"-o {option}" for option in found.options)
    yield f"tuned over {found.trials} trials ({found.computed} now; {cut}): {options}"
    yield f"the best val score of these, {found.score:.4f}, was selected on the val clips, so it is optimistic"
