"""What the benchmarks share: their options, taking turns, medians, the machine, and one line a result."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch loads

Measure = Callable[[], float]
"""Does the work once and says what it took: seconds, rows a second, bytes."""


def seconds(work: Callable[[], object]) -> Measure:
    """A measure of the wall-clock time of `work`."""

    def measure() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return measure


def alternate(repeats: int, **cases: Measure) -> dict[str, list[float]]:
    """Measures the cases in turn (A B A B ...), because whatever else the machine does then meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, measure in cases.items():
            taken[name].append(measure())
    return taken


def options(doc: str | None, *, quick: dict[str, Any], smoke: dict[str, Any]) -> argparse.ArgumentParser:
    """A parser with --quick (a short run) and --smoke (the least that runs all of it), which stand for the values given
    of other options: those that follow on the command line win."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, values, what in (("--quick", quick, "a short run"), ("--smoke", smoke, "seconds: does it run at all")):
        stands_for = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())
        parser.add_argument(flag, action=_Preset, nargs=0, const=values, help=f"{what}: {stands_for}")
    return parser


class _Preset(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Set the options that this one stands for."""
        for name, value in self.const.items():
            setattr(namespace, name, value)


@dataclass(frozen=True)
class Ratio:
    """The measured thing against its reference, by the median over the rounds of their ratio within a round."""

    measured: list[float]
    reference: list[float]
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def value(self) -> float:
        return statistics.median(a / b for a, b in zip(self.measured, self.reference, strict=True))

    @property
    def target(self) -> str:
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"

    @property
    def met(self) -> bool:
        over = self.at_most is not None and self.value > self.at_most
        under = self.at_least is not None and self.value < self.at_least
        return not (over or under)

    def show(self, what: str) -> None:
        """Print: what, both medians, the ratio and whether it is what was aimed at."""
        here, there = statistics.median(self.measured), statistics.median(self.reference)
        print(
            f"{what}: {_number(here)} {self.unit} / {_number(there)} {self.unit} = {self.value:.2f} "
            f"(target {self.target}: {'met' if self.met else 'not met'}; {len(self.measured)} rounds)"
        )


def show_value(what: str, values: list[float], unit: str, *, at_least: float | None = None,
               at_most: float | None = None) -> None:  # fmt: skip
    """Print a median that has a target of its own."""
    value = statistics.median(values)
    met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    target = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    print(f"{what}: {_number(value)} {unit} (target {target} {unit}: {'met' if met else 'not met'}; "
          f"{len(values)} rounds)")  # fmt: skip


def machine() -> str:
    """The line that says what the numbers were taken on, and how busy it was."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "h5py", "av"))
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB, {_accelerator()}; load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({platform.machine()})"


def _accelerator() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
