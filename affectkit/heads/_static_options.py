"""Options of the heads that are fitted at once: what they learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.functionals import FUNCTIONALS, SETS
from affectkit.heads._options import Seconds
from affectkit.heads._recipe import Names, Recipe
from affectkit.heads._windows import SECONDS_AT_TIME_LEVEL
from affectkit.tasks import Level, Task

Normalise = Literal["canonical", "standard", "standard-power", "standard-unit", "power", "power-unit", "unit", "none"]
ROWS_AS_THEY_ARE = "none"


class StaticOptions(Config):
    """What is learnt from. A segment is a window, or a row where there are no functionals; rows without a face or
    speech never count, and a segment needs a row of every input that does.

    Clip level: a segment learns its clip's label, and the clip's score is the mean over its segments. Time level: it
    learns the mean (classes: the most frequent) of its rows' labels, and a row's score is the mean over the segments
    that hold it.
    """

    functionals: str = Field(
        "fun",
        description="a set (fun, sun-visual, sun-audio, all), names divided by commas, or none: rows as they are; with "
        "several inputs, / divides what is for each",
    )
    window: Seconds | Literal["auto", "clip"] = Field(
        "auto", description="window in seconds, or clip: the whole clip (auto: 4 s for time-level tasks, else clip)"
    )
    stride: Seconds | None = Field(None, description="seconds between windows (default: half a window)")
    normalise: Normalise = Field(
        "standard",
        description="of the functionals, fitted on the training split: standard (z-scores), power (signed square "
        "root), unit (length 1), two of them, or canonical: all three",
    )

    @field_validator("functionals")
    @classmethod
    def _known(cls, given: str) -> str:
        parts = given.split("/")
        if ROWS_AS_THEY_ARE in parts and len(set(parts)) > 1:
            raise ValueError("none is for all inputs or for no input")
        for name in [name for part in parts for name in part.split(",")]:
            if name not in (*SETS, *FUNCTIONALS, ROWS_AS_THEY_ARE) or ("," in given and name == ROWS_AS_THEY_ARE):
                raise ValueError(f"'{name}' is neither a set ({', '.join(SETS)}), nor of {', '.join(FUNCTIONALS)}")
        return given

    def recipe(self, task: Task, dims: Sequence[int]) -> Recipe:
        """How clips of these inputs become segments. Raises UsageError for options that do not fit each other or the
        number of inputs."""
        window, stride = self._window(task.level)
        if self.functionals.startswith(ROWS_AS_THEY_ARE):
            return Recipe(task, tuple(dims), None, window, stride)
        parts = [_names(part) for part in self.functionals.split("/")]
        if len(parts) not in (1, len(dims)):
            raise UsageError(
                f"option functionals={self.functionals} is for {len(parts)} inputs; there are {len(dims)}: give one "
                "for all, or one for each"
            )
        return Recipe(task, tuple(dims), tuple(parts * len(dims) if len(parts) == 1 else parts), window, stride)

    def _window(self, level: Level) -> tuple[float | Literal["clip"], float | None]:
        window = self.window
        if window == "auto":
            window = SECONDS_AT_TIME_LEVEL if level == "time" else "clip"
        if self.stride is not None and window == "clip":
            raise UsageError(f"option stride={self.stride:g} needs a window in seconds, not the whole clip")
        if self.stride is not None and window != "clip" and self.stride > window:
            raise UsageError(f"option stride={self.stride:g} is longer than window={window:g}: rows would be left out")
        return window, self.stride


def _names(part: str) -> Names:
    """`sun-visual,slope` -> mean, max, min, slope; each once."""
    found = [one for name in part.split(",") for one in SETS.get(name, (name,))]
    return tuple(dict.fromkeys(found))  # type: ignore[arg-type]
