"""Several feature inputs of a clip as the one that a network reads: layers of a speech model, mostly.

They share their rows. Heads made for modalities with rows of their own read the others at the rows of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from affectkit.errors import HostileFile, UsageError
from affectkit.heads._modalities import Dims, ModalityOptions, side_by_side
from affectkit.heads._options import Combine, TrainingOptions
from affectkit.plugins import Example
from affectkit.types import FeatureSequence


@dataclass(frozen=True)
class Inputs:
    """How `count` inputs become one. `concat` and `weights` put their dimensions side by side, and the network of the
    latter learns a weight for each; `sweep` takes the one `chosen` on the validation clips. Modalities have `dims`
    dimensions each, and are read where no row of theirs is farther than `max_gap` seconds."""

    combine: Combine | None = None
    count: int = 1
    chosen: int | None = None
    dims: Dims = ()
    max_gap: float = 0.0

    @staticmethod
    def of(examples: Sequence[Example], options: TrainingOptions) -> Inputs:
        """What these examples come with. Raises UsageError for several inputs where none is expected."""
        count, combine = len(examples[0].inputs) if examples else 1, options.combine
        if count > 1 and combine is None:
            if isinstance(options, ModalityOptions):
                return Inputs(None, count, None, tuple(one.dim for one in examples[0].inputs), options.max_gap)
            raise UsageError(
                f"this head takes one feature artifact; clip '{examples[0].clip}' comes with {count}: set option "
                "combine=weights (layers of one model), concat or sweep"
            )
        return Inputs(combine if count > 1 else None, count)

    @staticmethod
    def again(options: TrainingOptions, count: int, chosen: int | None, dims: Dims) -> Inputs:
        """Those of a saved head. Raises HostileFile for modalities of a head that reads none."""
        if dims and not isinstance(options, ModalityOptions):
            raise HostileFile("a saved head has modalities that no head of its kind reads")
        max_gap = options.max_gap if isinstance(options, ModalityOptions) and dims else 0.0
        return Inputs(options.combine if count > 1 else None, count, chosen, dims, max_gap)

    @property
    def layers(self) -> int:
        """How many inputs the network weighs."""
        return self.count if self.combine == "weights" else 1

    def join(self, example: Example) -> Example:
        """The same clip with one input. Raises UsageError where the inputs do not fit each other."""
        if len(example.inputs) != self.count:
            takes = "one feature artifact" if self.count == 1 else f"{self.count} feature artifacts"
            raise UsageError(f"this head takes {takes}; clip '{example.clip}' comes with {len(example.inputs)}")
        if self.chosen is not None:
            return replace(example, inputs=(example.inputs[self.chosen],))
        if self.count == 1:
            return example
        if self.dims:
            return replace(example, inputs=(side_by_side(example, self.dims, self.max_gap),))
        first = example.inputs[0]
        for other in example.inputs[1:]:
            if not (np.array_equal(first.start, other.start) and np.array_equal(first.end, other.end)):
                raise UsageError(
                    f"the inputs of clip '{example.clip}' have rows of other times: this head needs equal ones"
                )
            if self.layers > 1 and other.dim != first.dim:
                raise UsageError(f"layers of {first.dim} and {other.dim} dimensions cannot be weighed: combine=concat")
        values = np.concatenate([np.asarray(one.values, np.float32) for one in example.inputs], axis=1)
        valid = np.logical_and.reduce([np.asarray(one.valid, bool) for one in example.inputs])
        return replace(example, inputs=(FeatureSequence(first.start, first.end, values, valid),))
