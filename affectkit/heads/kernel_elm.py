"""kernel-elm: the kernel extreme learning machine of the SUN and Kaya groups, on functionals of windows or clips.

beta = (K + I/C)^-1 T, scores K(x, X) beta (Huang et al. 2012), weighted for classes (Zong et al. 2013); their recipe is
z-scores, signed square roots, rows of length 1, the linear kernel, and C from 10^-5 to 10^4 by the validation score.

The raw scores of classes are the machine's outputs, near the targets 0 and 1, or -1 and 1. They pass as logits: argmax
is the machine's own, but the softmax of such outputs is flatter than the probability of a classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from affectkit import metrics
from affectkit.errors import HostileFile, UsageError
from affectkit.learning.static_head import Matrix, Normalise, Split, StaticHead, StaticHeader, StaticOptions, tensor
from affectkit.tables.splits import folds_of
from affectkit.tasks import Task

if TYPE_CHECKING:
    from affectkit.kernels.functions import Kernel
    from affectkit.kernels.grid import Grid, KernelMachine

GRID = [10.0**power for power in range(-5, 5)]
FEW_CLIPS = 500
"""Training clips below which folds of them choose C clearly better than a val split does (docs/benchmarks.md)."""
LEAST_FOLDS = 2
_ROWS = 2048  # scored at a time


class Options(StaticOptions):
    """Of the machine; the others say what it learns from."""

    normalise: Normalise = Field(
        "canonical",
        description="of the functionals, fitted on the training split: canonical (z-scores, signed square root, length "
        "1), or some of it: standard is z-scores, power the root, unit length 1",
    )
    kernel: Literal["linear", "rbf", "poly", "sigmoid", "chi2"] = Field("linear", description="k(x, y)")
    gamma: float | None = Field(None, gt=0, description="of rbf, poly, sigmoid (default: 1 / D) and chi2 (1)")
    degree: float = Field(3, gt=0, description="of poly")
    coef0: float = Field(1, description="of poly and sigmoid")
    C: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="how well the labels are fitted; auto: the best of a grid"
    )
    select: Literal["auto", "val", "grouped"] = Field(
        "auto",
        description="C=auto by the score on the val split, or (grouped) on held-out folds of the training clips; auto: "
        f"grouped with fewer than {FEW_CLIPS} training clips, or without val clips",
    )
    folds: int = Field(5, ge=2, description="select=grouped: folds, each of whole subjects (of clips, without any)")
    weighted: bool | None = Field(
        None, description="weigh rows by 1 / those of their class (default: yes, where a row has one class)"
    )
    targets: Literal["one-hot", "plus-minus"] = Field("one-hot", description="of classes: 0 and 1, or -1 and 1")
    centre: bool = Field(True, description="regression: learn deviations from the mean label (no: the bare formula)")
    memory_limit: int = Field(
        4096, ge=1, description="MiB for the kernel; beyond it, it is approximated (Nystroem) and a warning says so"
    )


class KernelHeader(StaticHeader):
    """C, the form of the solution (primal: no rows), and what each C of the grid scored."""

    c: float = Field(gt=0)
    form: Literal["primal", "dual", "nystroem"]
    grid: list[tuple[float, float]]


@dataclass(frozen=True, repr=False)
class Machine:
    """A solution at one C, and what is added to its outputs [K]; `grid` is what each C scored."""

    machine: KernelMachine
    shift: Matrix
    c: float
    form: str
    grid: list[tuple[float, float]]

    def scores(self, x: Matrix) -> Matrix:
        return _outputs(self.machine, x) + self.shift

    def raw(self, scores: Matrix) -> Matrix:
        return scores


class KernelElm(StaticHead):
    """Kernel extreme learning machine."""

    Options = Options
    Header = KernelHeader

    @property
    def selects(self) -> bool:  # type: ignore[override]
        """Whether val clips are needed to choose C; select=auto does without where there are none."""
        return self.options.C == "auto" and self.options.select == "val"

    @property
    def groups(self) -> bool:
        """Whether who is in a clip may matter: C is chosen on folds that keep subjects whole."""
        return self.options.C == "auto" and self.options.select != "val"

    def settled(self) -> Any:
        """See `StaticHead.settled`: C is the one that was chosen."""
        return self.options.model_copy(update={"C": self._fitted().model.c})

    def learn(self, train: Split, val: Split, *, seed: int, device: str) -> Machine:
        """All values of C at once. Raises UsageError for options that do not fit the task or the features."""
        from affectkit.kernels.grid import fit_grid

        options: Options = self.options
        labels = train.segments.labels.astype(np.float64)
        shift = (
            labels.mean(axis=0) if options.centre and self.task.kind == "regression" else np.zeros(self.task.outputs)
        )
        try:
            grid = fit_grid(
                train.x, _targets(options, self.task, labels) - shift, GRID if options.C == "auto" else [options.C],
                self._kernel(), weights=_weights(options, self.task, labels), device=device,
                memory_limit=options.memory_limit << 20, seed=seed,
            )  # fmt: skip
            scored = self._scored(grid, shift, train, val) if options.C == "auto" else []
            c = _best(self.task, scored) if scored else grid.cs[0]
            return Machine(grid.machine(c), shift, c, grid.form, scored)
        except ValueError as error:
            raise UsageError(f"kernel={options.kernel}, normalise={options.normalise}: {error}") from None

    def written(self, model: Machine) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The machine's numbers, in float64."""
        tensors = {"coef": model.machine.coef, "shift": model.shift}
        if model.machine.rows is not None:
            tensors["rows"] = model.machine.rows
        return {"c": model.c, "form": model.form, "grid": model.grid}, tensors

    def restored(self, header: KernelHeader, tensors: dict[str, NDArray[Any]], normaliser: Any) -> Machine:
        """See `StaticHead.restored`."""
        from affectkit.kernels.grid import KernelMachine

        width = normaliser.n_features_in_
        rows = None if header.form == "primal" else tensor(tensors, "rows", np.float64, None, width)
        count = width if rows is None else len(rows)
        coef = tensor(tensors, "coef", np.float64, count, self.task.outputs)
        shift = tensor(tensors, "shift", np.float64, self.task.outputs)
        if rows is None and self.options.kernel != "linear":
            raise HostileFile(f"a saved head's form is {header.form}, which kernel={self.options.kernel} cannot have")
        return Machine(KernelMachine(self._kernel(), rows, coef), shift, header.c, header.form, header.grid)

    def _kernel(self) -> Kernel:
        from affectkit.kernels.functions import Kernel

        options: Options = self.options
        return Kernel(options.kernel, options.gamma, options.degree, options.coef0)

    def _scored(self, grid: Grid, shift: Matrix, train: Split, val: Split) -> list[tuple[float, float]]:
        """The score of each C."""
        if self._by_val(train, val):
            split, found = val, _of_each(grid, val.x)
        else:
            split, found = train, grid.held_out(self._folds(train))
        return [(c, split.score(own + shift, lambda raw: raw)) for c, own in zip(grid.cs, found, strict=True)]

    def _by_val(self, train: Split, val: Split) -> bool:
        if self.options.select != "auto":
            return bool(self.options.select == "val")
        clips = len(np.unique(train.segments.clip))
        return len(val.segments) > 0 and (clips >= FEW_CLIPS or clips < LEAST_FOLDS)

    def _folds(self, train: Split) -> NDArray[np.int64]:
        """The fold of each training segment: whole subjects, or whole clips where there is one subject only.

        Raises UsageError for fewer clips than folds; with select=auto, and of subjects, there are at most as many
        folds.
        """
        folds, clips = self.options.folds, len(np.unique(train.segments.clip))
        if clips < (LEAST_FOLDS if self.options.select == "auto" else folds):
            raise UsageError(f"option folds={folds} needs as many labelled training clips, not {clips}")
        several = len(np.unique(train.groups)) >= LEAST_FOLDS
        groups = train.groups if several else train.segments.clip
        return folds_of(groups, min(folds, len(np.unique(groups))))


def _of_each(grid: Grid, x: Matrix) -> Matrix:
    """Outputs [len(cs),P,K] of every C on segments [P,D], from one evaluation of the kernel."""
    machines = [grid.machine(c) for c in grid.cs]
    coef = np.concatenate([machine.coef for machine in machines], axis=1)
    found = _outputs(replace(machines[0], coef=coef), x)
    return np.stack(np.split(found, len(machines), axis=1))


def _outputs(machine: KernelMachine, x: Matrix) -> Matrix:
    """[P,K], some rows at a time: the kernel with all training rows never lies in memory."""
    parts = [machine(x[at : at + _ROWS]) for at in range(0, max(1, len(x)), _ROWS)]
    return np.concatenate(parts)


def _best(task: Task, scored: Sequence[tuple[float, float]]) -> float:
    """The C of the best score; of several, the smallest."""
    best: tuple[float, float] | None = None
    for c, score in scored:
        if best is None or metrics.is_better(task.metric, score, best[1]):
            best = (c, score)
    assert best is not None
    return best[0]


def _targets(options: Options, task: Task, labels: Matrix) -> Matrix:
    """[P,K]: values; 0 and 1, or -1 and 1, for classes; -1 and 1 for labels, whose sigmoid is 0.5 at 0."""
    from affectkit.kernels.grid import one_hot

    if task.kind == "multiclass":
        return one_hot(labels[:, 0].astype(int), task.outputs, signed=options.targets == "plus-minus")
    return 2 * labels - 1 if task.kind == "multilabel" else labels


def _weights(options: Options, task: Task, labels: Matrix) -> Matrix | None:
    from affectkit.kernels.grid import class_weights

    if task.kind == "multiclass":
        return None if options.weighted is False else class_weights(labels[:, 0].astype(int))
    if options.weighted:
        raise UsageError(f"option weighted=true is for tasks of one class a row; {task.name} is {task.kind}")
    return None


PLUGIN = KernelElm
