"""Random forests whose trees are grown on drawn clips instead of drawn rows.

Neighbouring frames are nearly copies: a forest that leaves single rows out has seen their neighbours, so its out-of-bag
score says nothing about new clips. Here each tree is grown on as many groups as there are, drawn with replacement
(all rows of a group together), and is judged on the groups that it did not draw.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.types import Floats

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
        """The same from the first `trees` trees that did not see a row's group, on the rows grown on; NaN where all
        did. which [N]: each row's group."""
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

    def one(tree: int) -> tuple[Any, NDArray[np.intp]]:
        generator = np.random.default_rng([seed, tree])
        drawn = np.bincount(generator.integers(0, groups, groups), minlength=groups)
        grown = _tree(options, classes, int(generator.integers(1 << 31)))
        rows = drawn[which] > 0
        return grown.fit(inputs[rows], truth[rows], sample_weight=(drawn[which] * balance)[rows]), drawn

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        grown, drawn = zip(*pool.map(one, range(trees)), strict=True)
    return Forest(list(grown), np.array(drawn), classes or 1)


def _tree(options: TreeOptions, classes: int | None, seed: int) -> Any:
    """A tree as scikit-learn's forests grow them: a class tree looks at sqrt(C) inputs a split, a regressor at all."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if classes:
        return DecisionTreeClassifier(**options, max_features="sqrt", random_state=seed)
    return DecisionTreeRegressor(**options, random_state=seed)


def _add(total: Floats, tree: Any, inputs: Floats) -> None:
    if hasattr(tree, "classes_"):
        total[:, tree.classes_.astype(int)] += tree.predict_proba(inputs)
    else:
        total[:, 0] += tree.predict(inputs)


def _balanced(truth: Floats) -> Floats:
    """N / (classes that occur * rows of the row's class)."""
    _, which, rows = np.unique(truth, return_inverse=True, return_counts=True)
    return len(truth) / (len(rows) * rows[which])
