"""Random forest on the models' concatenated scores (SUN team, arXiv 2403.12609): a classifier over class
probabilities, or one regressor a target.

SUN's forests overfitted, and their out-of-bag score did not show it: it left out single frames. Here a tree is grown on
drawn clips and judged on the clips that it never saw.

Random forests whose trees are grown on drawn clips instead of drawn rows.

Neighbouring frames are nearly copies: a forest that leaves single rows out has seen their neighbours, so its out-of-bag
score says nothing about new clips. Here each tree is grown on as many groups as there are, drawn with replacement
(all rows of a group together), and is judged on the groups that it did not draw.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from affectkit import metrics
from affectkit.config import Config
from affectkit.errors import HostileFile, UsageError
from affectkit.fusers._weighting import usable
from affectkit.tasks import Task
from affectkit.types import Floats

Criterion = Literal["gini", "entropy"]
_SUN_TREES, _SUN_CRITERIA = (10, 50, 100), ("gini", "entropy")


class ForestOptions(Config):
    """The forest. `criterion` is for classes; regressors minimise the squared error."""

    trees: int = Field(100, ge=1, description="trees (the paper: 10, 50 or 100)")
    criterion: Criterion = Field("gini", description="split quality for classes")
    min_leaf: int = Field(5, ge=1, description="least rows in a leaf: neighbouring frames are nearly copies")
    preset: Literal["sun"] | None = Field(
        None, description="sun: 10, 50 or 100 trees, gini or entropy, whichever is best on the clips left out"
    )

    @model_validator(mode="after")
    def _chosen_once(self) -> ForestOptions:
        both = [name for name in ("trees", "criterion") if getattr(self, name) != type(self).model_fields[name].default]
        if self.preset and both:
            raise ValueError(f"preset=sun chooses {' and '.join(both)} itself: leave out the one or the other")
        return self


class RandomForestFusion:
    """Forests over [M * K] inputs; a missing score is a missing value of the tree."""

    version: ClassVar[int] = 2
    Options: ClassVar[type[Config]] = ForestOptions
    inputs: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, options: ForestOptions, task: Task) -> None:
        if task.kind == "multilabel":
            raise UsageError("random-forest fuses regression and multiclass tasks; use dwf for multilabel ones")
        self.options = options
        self.task = task
        self.forests: list[Forest] = []
        self.chosen: dict[str, Any] = {}
        self.tried: list[dict[str, Any]] = []

    def fit(self, scores: Floats, truth: Floats, groups: NDArray[Any], *, seed: int) -> None:
        """Grow the forests. scores [M,N,K]; truth [N,K] (regression) or class indices [N,1]; groups [N] whose rows are
        drawn and left out together. Raises UsageError when no row can be used."""
        scores, truth, groups = usable(scores, truth, np.asarray(groups))
        inputs, which = _inputs(scores), np.unique(groups, return_inverse=True)[1].reshape(-1)
        self.forests, self.tried, found = [], [], None
        for criterion in self._criteria():
            grown = self._grow(inputs, truth, which, criterion, seed)
            for trees in _SUN_TREES if self.options.preset else (self.options.trees,):
                score = self._out_of_bag(grown, inputs, truth, which, trees)
                self.tried.append({"trees": trees, "criterion": criterion, "out_of_bag_score": score})
                if not self.forests or (score is not None and metrics.is_better(self.task.metric, score, found)):
                    self.forests, self.chosen, found = [one.first(trees) for one in grown], self.tried[-1], score

    def combine(self, scores: Floats) -> Floats:
        """[M,N,K] -> [N,K]; NaN where every model's score is missing."""
        inputs = _inputs(scores)
        fused = np.concatenate([forest.predict(inputs) for forest in self.forests], axis=1)
        fused[np.isnan(inputs).all(axis=1)] = np.nan
        return fused

    def state(self) -> dict[str, Any]:
        """Trees, criterion and the score on clips that a tree did not see (None: there is one clip only), of the chosen
        forests and of all tried; how much each input [model, column] matters to each (mean decrease in impurity)."""
        return {
            **self.chosen,
            "tried": self.tried,
            "importances": [
                np.mean([tree.feature_importances_ for tree in forest.trees], axis=0).tolist()
                for forest in self.forests
            ],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The trees of each forest, as `tree_arrays` lays them out."""
        return {
            f"{number}.{name}": values
            for number, forest in enumerate(self.forests) for name, values in tree_arrays(forest).items()
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Trees of plain numbers, which give what the grown ones gave. Raises HostileFile for what is no tree."""
        self.forests, self.chosen = [], {}
        while (number := len(self.forests)) < self.task.outputs and f"{number}.roots" in arrays:
            self.forests.append(forest_of({name: arrays[f"{number}.{name}"] for name in NODE_ARRAYS}))
        if sum(forest.outputs for forest in self.forests) != self.task.outputs:
            raise HostileFile(f"the forests are not those of {self.task.outputs} columns")

    def _criteria(self) -> tuple[str, ...]:
        if self.task.kind == "regression":
            return ("squared_error",)
        return _SUN_CRITERIA if self.options.preset else (self.options.criterion,)

    def _grow(self, inputs: Floats, truth: Floats, which: NDArray[np.intp], criterion: str, seed: int) -> list[Forest]:

        options = {"criterion": criterion, "min_samples_leaf": self.options.min_leaf}
        classes = self.task.outputs if self.task.kind == "multiclass" else None
        trees = max(_SUN_TREES) if self.options.preset else self.options.trees
        return [grow(inputs, column, which, options, classes=classes, trees=trees, seed=seed) for column in truth.T]

    def _out_of_bag(
        self, grown: list[Forest], inputs: Floats, truth: Floats, which: NDArray[np.intp], trees: int
    ) -> float | None:
        judged = np.concatenate([forest.out_of_bag(inputs, which, trees) for forest in grown], axis=1)
        rows = np.isfinite(judged).all(axis=1)
        return metrics.main(self.task, truth[rows], judged[rows]) if rows.any() else None


def _inputs(scores: Floats) -> Floats:
    models, rows, targets = scores.shape
    return np.moveaxis(scores, 0, 1).reshape(rows, models * targets)


PLUGIN = RandomForestFusion


TreeOptions = dict[str, Any]


@dataclass(frozen=True)
class Forest:
    """Trees, and how often each of the G groups was drawn for them [trees, G]."""

    trees: list[Any]
    drawn: NDArray[np.intp]
    outputs: int

    def predict(self, inputs: Floats) -> Floats:
        """Mean of the trees' outputs: [N,C] -> [N,outputs] class probabilities, or values [N,1]."""
        total = np.zeros((len(inputs), self.outputs))
        for tree in self.trees:
            _add(total, tree, inputs)
        return total / len(self.trees)

    def out_of_bag(self, inputs: Floats, which: NDArray[np.intp], trees: int) -> Floats:
        """Mean outputs [N,outputs] of the first `trees` trees, on the rows grown on: of those that did not see a row's
        group; NaN where all did. which [N]: each row's group."""
        total, judges = np.zeros((len(inputs), self.outputs)), np.zeros(len(inputs))
        for tree, drawn in zip(self.trees[:trees], self.drawn[:trees], strict=True):
            rows = drawn[which] == 0
            if rows.any():
                part = np.zeros((int(rows.sum()), self.outputs))
                _add(part, tree, inputs[rows])
                total[rows] += part
                judges += rows
        return np.divide(total, judges[:, None], out=np.full_like(total, np.nan), where=judges[:, None] > 0)

    def first(self, trees: int) -> Forest:
        """The forest of its first trees."""
        return Forest(self.trees[:trees], self.drawn[:trees], self.outputs)


def grow(
    inputs: Floats, truth: Floats, which: NDArray[np.intp], options: TreeOptions, *, classes: int | None, trees: int,
    seed: int,
) -> Forest:  # fmt: skip
    """A forest on rows inputs [N,C] (NaN = missing) of groups which [N]; truth [N] class indices (weighed by the
    inverse of how often a class occurs), or values where classes is None. The same seed gives the same trees, whatever
    their number."""
    groups = int(which.max()) + 1
    inputs = np.ascontiguousarray(inputs, np.float32)
    balance = _balanced(truth) if classes else np.ones(len(truth))

    def grown_tree(tree: int) -> tuple[Any, NDArray[np.intp]]:
        generator = np.random.default_rng([seed, tree])
        drawn = np.bincount(generator.integers(0, groups, groups), minlength=groups)
        grown = _tree(options, classes, int(generator.integers(1 << 31)))
        rows = drawn[which] > 0
        return grown.fit(inputs[rows], truth[rows], sample_weight=(drawn[which] * balance)[rows]), drawn

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        grown, drawn = zip(*pool.map(grown_tree, range(trees)), strict=True)
    return Forest(list(grown), np.array(drawn), classes or 1)


def _tree(options: TreeOptions, classes: int | None, seed: int) -> Any:
    """A tree as scikit-learn's forests grow them: a class tree looks at sqrt(C) inputs a split, a regressor at all."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if classes:
        return DecisionTreeClassifier(**options, max_features="sqrt", random_state=seed)
    return DecisionTreeRegressor(**options, random_state=seed)


NODE_ARRAYS = ("roots", "left", "right", "feature", "threshold", "missing_left", "values")


@dataclass(frozen=True)
class StoredTree:
    """A grown tree as arrays, a row a node: children (0 for a leaf, which no child is), the input that is compared
    with the threshold, whether a missing one goes left, and a leaf's outputs [nodes, outputs]."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: Floats
    missing_left: NDArray[np.bool_]
    values: Floats

    def outputs(self, inputs: Floats) -> Floats:
        """[N,C] -> [N,outputs]: inputs are compared as float32, as the tree was grown."""
        inputs = np.asarray(inputs, np.float32)
        node, rows = np.zeros(len(inputs), np.int64), np.arange(len(inputs))
        while len(rows := rows[self.left[node[rows]] > 0]):
            at = node[rows]
            value = inputs[rows, self.feature[at]]
            goes_left = np.where(np.isnan(value), self.missing_left[at], value <= self.threshold[at])
            node[rows] = np.where(goes_left, self.left[at], self.right[at])
        return np.asarray(self.values[node])


def tree_arrays(forest: Forest) -> dict[str, NDArray[Any]]:
    """The nodes of all trees, tree after tree (`NODE_ARRAYS`); roots [trees]: where each begins."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in NODE_ARRAYS}
    at = 0
    for tree in forest.trees:
        nodes, columns = tree.tree_, getattr(tree, "classes_", np.zeros(1)).astype(int)
        values = np.zeros((nodes.node_count, forest.outputs))
        values[:, columns] = nodes.value[:, 0]
        columns_of = {
            "roots": np.array([at]), "left": np.maximum(nodes.children_left, 0),
            "right": np.maximum(nodes.children_right, 0), "feature": np.maximum(nodes.feature, 0),
            "threshold": nodes.threshold, "missing_left": nodes.missing_go_to_left.astype(np.uint8), "values": values,
        }  # fmt: skip
        for name, column in columns_of.items():
            parts[name].append(column)
        at += nodes.node_count
    return {name: np.ascontiguousarray(np.concatenate(columns)) for name, columns in parts.items()}


def forest_of(arrays: Mapping[str, NDArray[Any]]) -> Forest:
    """The forest that `tree_arrays` laid out. Raises HostileFile for children that are not after their node, within
    its tree."""
    values, nodes = arrays["values"], len(arrays["values"])
    if values.ndim != 2 or any(arrays[name].shape != (nodes,) for name in NODE_ARRAYS[1:-1]):
        raise HostileFile("the nodes of a forest are not as many in every array")
    ends = [*arrays["roots"].tolist(), nodes]
    if ends[0] != 0 or any(first >= last for first, last in pairwise(ends)):
        raise HostileFile("the trees of a forest do not follow one another")
    trees = []
    for first, last in pairwise(ends):
        left, right, feature, threshold, missing_left = (arrays[name][first:last] for name in NODE_ARRAYS[1:-1])
        own, is_leaf = np.arange(last - first), left == 0
        inner = (left > own) & (right > own) & (left < last - first) & (right < last - first) & (feature >= 0)
        if not (is_leaf | inner).all():
            raise HostileFile("a node of a forest leads out of its tree")
        trees.append(StoredTree(left, right, feature, threshold, missing_left.astype(bool), values[first:last]))
    return Forest(trees, np.zeros((0, 0), np.intp), values.shape[1])


def _add(total: Floats, tree: Any, inputs: Floats) -> None:
    if isinstance(tree, StoredTree):
        total += tree.outputs(inputs)
    elif hasattr(tree, "classes_"):
        total[:, tree.classes_.astype(int)] += tree.predict_proba(inputs)
    else:
        total[:, 0] += tree.predict(inputs)


def _balanced(truth: Floats) -> Floats:
    """N / (classes that occur * rows of the row's class)."""
    _, which, rows = np.unique(truth, return_inverse=True, return_counts=True)
    return len(truth) / (len(rows) * rows[which])
