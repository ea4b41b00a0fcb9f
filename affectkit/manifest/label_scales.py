"""On which scale values of valence, arousal and intensities are."""

from __future__ import annotations

from affectkit.tasks import BUILT_IN, Task

_RANGES = {"va": (-1.0, 1.0), "eri": (0.0, 1.0)}
_SCALES = (
    (0, 1), (-1, 1), (1, 5), (1, 7), (1, 9), (-2, 2), (-3, 3), (-4, 4), (0, 10), (-5, 5), (-10, 10), (0, 100),
    (-100, 100), (0, 255), (0, 1000), (-1000, 1000),
)  # fmt: skip


def value_range(task: Task) -> tuple[float, float] | None:
    """The lowest and highest value of a task's labels; None where they are not known to have any.

    >>> from affectkit import tasks
    >>> value_range(tasks.get("va"))
    (-1.0, 1.0)
    """
    alike = task.name in _RANGES and BUILT_IN[task.name].targets == task.targets and task.kind == "regression"
    return _RANGES[task.name] if alike else None


def likely_scale(below: float, above: float, low: float, high: float) -> str:
    """The usual scale that holds values from `below` to `above`, and how to bring it to [low, high].

    >>> likely_scale(1.5, 8, -1, 1)
    'on a scale 1..9? (then x -> (x - 5) / 4)'
    >>> likely_scale(-3000, 7, -1, 1)
    'on no usual scale'
    """
    usual = next(((a, b) for a, b in _SCALES if a <= below and above <= b and (a, b) != (low, high)), None)
    if usual is None:
        return "on no usual scale"
    first, last = usual
    step, middle = (last - first) / (high - low), first - low * (last - first) / (high - low)
    moved = f"(x - {middle:g})" if middle > 0 else f"(x + {-middle:g})" if middle else "x"
    return f"on a scale {first}..{last}? (then x -> {moved} / {step:g})"
