"""What `train-head --tune` tries: values and ranges by option name, as `--search` spells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from affectkit import plugins
from affectkit.errors import UsageError, unknown
from affectkit.tasks import Task

STRIDE_SHARE = "stride-share"
"""Searched beside `window`: the stride as a share of it."""

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("1e-5..1e-2:log",),
    "weight_decay": ("1e-6..1e-1:log",),
    "dropout": ("0..0.6",),
    "modality_dropout": ("0..0.5",),
    "batch_size": ("8,16,32,64",),
    "normalise": ("standard,min-max,per-clip-standard", "standard,power,canonical"),
    "window": ("2,4,8,16",),
    STRIDE_SHARE: ("0.25,0.5,1",),
    "layers": ("1..4",),
    "hidden": ("32,64,128,256",),
    "width": ("64,128,256",),
    "channels": ("32,64,128",),
    "kernel": ("linear,rbf", "3,5,7"),  # a kernel function, or a convolution's
    "gamma": ("1e-5..10:log",),
    "functionals": ("fun,all",),
    "estimator": ("ridge,linear-svm,random-forest",),
}
"""Of these, a head is tuned over the options that it has, each by the first text whose values it takes, unless
`--search` is given."""

_OVER_TIME = ("window", STRIDE_SHARE)  # tasks of one score a clip look at the whole clip


@dataclass(frozen=True)
class Choices:
    """One of some values, as they would be typed."""

    values: tuple[str, ...]

    @property
    def tried(self) -> tuple[str, ...]:
        return self.values

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Range:
    """A number from low to high, both included; `whole` for integers, `log` for sizes rather than amounts."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def tried(self) -> tuple[str, ...]:
        return self.text(self.low), self.text(self.high)

    def text(self, value: float) -> str:
        """A value as it would be typed: three digits say all there is to say, and are what is trained with."""
        if self.whole:
            return str(int(value))
        return f"{min(max(float(f'{value:.3g}'), self.low), self.high):.12g}"

    def __str__(self) -> str:
        low, high = (int(end) if self.whole else end for end in (self.low, self.high))
        return f"{low}..{high}" + (":log" if self.log else "")


Space = dict[str, Choices | Range]


def space(plugin: type[Any], head: str, task: Task, fixed: Sequence[str], search: Sequence[str]) -> Space:
    """What is searched: `search` (key=low..high[:log] or key=a,b,c) or, without it, the head's `DEFAULTS`.

    Options that `fixed` names are left alone. Raises UsageError: an option that the head does not have or that is
    fixed as well, values that it does not take, nothing left to search.
    """
    given = {item.partition("=")[0] for item in fixed}
    if not search:
        return _default(plugin, head, task, fixed, given)
    found: Space = {}
    for item in search:
        key, equals, spec = item.partition("=")
        if not equals or not spec:
            raise UsageError(f"--search {item} is neither key=low..high[:log] nor key=a,b,c")
        if key.partition(".")[0] not in (*plugin.Options.model_fields, STRIDE_SHARE):
            raise unknown(f"option of {head}", key, [*plugin.Options.model_fields, STRIDE_SHARE])
        if key in given or key in found:
            raise UsageError(
                f"--search {key}: -o {key}=... fixes it" if key in given else f"--search {key}: given twice"
            )
        found[key] = parse(key, spec)
        for value in found[key].tried if key != STRIDE_SHARE else ():
            plugins.parse_options(plugin, [*fixed, f"{key}={value}"], head)
    _check_shares(found)
    return found


def parse(key: str, spec: str) -> Choices | Range:
    """`low..high`, `low..high:log` (integers where both ends are) or `a,b,c`. Raises UsageError.

    >>> parse("layers", "1..4"), str(parse("dropout", "0,0.5"))
    (Range(low=1.0, high=4.0, log=False, whole=True), '0,0.5')
    """
    if ".." not in spec:
        values = tuple(dict.fromkeys(value.strip() for value in spec.split(",")))
        if not all(values):
            raise UsageError(f"--search {key}={spec} has an empty value")
        return Choices(values)
    text, colon, scale = spec.partition(":")
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UsageError(f"--search {key}={spec}: the ends of a range are numbers") from None
    log = scale == "log"
    if (colon and not log) or not (isfinite(ends[0]) and ends[0] < ends[1] < float("inf")) or (log and ends[0] <= 0):
        raise UsageError(
            f"--search {key}={spec} is not low..high with low < high, or low..high:log with 0 < low < high"
        )
    return Range(*ends, log, all(_is_whole(end) for end in (low, high)))


def typed(values: Mapping[str, str]) -> list[str]:
    """Chosen values as options of the head, key=value.

    >>> typed({"window": "8", "stride-share": "0.25", "layers": "2"})
    ['window=8', 'layers=2', 'stride=2']
    """
    found = [f"{key}={value}" for key, value in values.items() if key != STRIDE_SHARE]
    if STRIDE_SHARE in values:
        found.append(f"stride={float(values[STRIDE_SHARE]) * float(values['window']):.6g}")
    return found


def _default(plugin: type[Any], head: str, task: Task, fixed: Sequence[str], given: set[str]) -> Space:
    plain, set_ = (plugins.parse_options(plugin, options, head) for options in ([], fixed))
    given = given | {key for key in plugin.Options.model_fields if getattr(plain, key) != getattr(set_, key)}  # presets
    found: Space = {}
    for key, texts in DEFAULTS.items():
        if key in given or (task.level == "clip" and key in _OVER_TIME):
            continue
        for choices in (parse(key, text) for text in texts):
            if key == STRIDE_SHARE:
                fits = "window" in found and "stride" in plugin.Options.model_fields and "stride" not in given
            else:
                fits = key in plugin.Options.model_fields and _takes(plugin, head, fixed, key, choices.tried)
            if fits:
                found[key] = choices
                break
    if not found:
        raise UsageError(f"--tune: nothing of {head} is left to search; name options by --search key=...")
    return found


def _takes(plugin: type[Any], head: str, fixed: Sequence[str], key: str, values: Iterable[str]) -> bool:
    try:
        for value in values:
            plugins.parse_options(plugin, [*fixed, f"{key}={value}"], head)
    except UsageError:
        return False
    return True


def _check_shares(found: Space) -> None:
    if STRIDE_SHARE not in found:
        return
    window, shares = found.get("window"), found[STRIDE_SHARE]
    if window is None or not all(_is_number(value) for value in window.tried):
        raise UsageError(f"--search {STRIDE_SHARE} needs --search window=... in seconds beside it")
    if not all(_is_number(value) and 0 < float(value) <= 1 for value in shares.tried):
        raise UsageError(f"--search {STRIDE_SHARE}={shares}: a share of the window is above 0 and at most 1")


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
