"""Artifacts that take long to fit: an interrupted one is gone on with, and Ctrl-C leaves the best so far."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from affectkit.errors import UsageError
from affectkit.stages._unfinished import Unfinished
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import write_text

Report = dict[str, Any]


class Stopped(KeyboardInterrupt):
    """Ctrl-C; `best` is an artifact of the best so far, `after` how far training came and goes on from."""

    def __init__(self, best: Path, after: str) -> None:
        super().__init__()
        self.best, self.after = best, after


class Partly(KeyboardInterrupt):
    """Ctrl-C, and there is something already: its report, in which `stopped` says how far training came."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


def fitted(
    cache: Cache, stage: str, name: str, inputs: dict[str, Any], fit: Callable[[Path], Report], file: str,
    state: Unfinished, *, out: Path | None, **about: Any,
) -> tuple[Artifact, Report]:  # fmt: skip
    """The artifact of what `fit` writes into a folder, and its report, which lies there as `file`.

    `fit` keeps in `state` what it needs to go on. Raises `Stopped` for Ctrl-C where it raises `Partly`; UsageError for
    a training that cannot be, which leaves nothing.
    """
    report: Report = {}

    def write(folder: Path) -> None:
        try:
            report.update(fit(folder))
        except Partly as partly:
            so_far = partly.report
            shutil.rmtree(state.best, ignore_errors=True)
            cache.create_whole(
                stage, name, inputs | {"stopped": so_far["stopped"]},
                lambda best: _copy(folder, best, file, so_far), out=state.best, **about,
            )  # fmt: skip
            after = ", ".join(f"{count} {unit.removeprefix('after_')}" for unit, count in so_far["stopped"].items())
            raise Stopped(state.best, after) from None
        _write_report(folder / file, report)

    state.begin()
    try:
        artifact = cache.create_whole(stage, name, inputs, write, out=out, **about)
    except UsageError:
        state.give_up()
        raise
    state.remove()
    return artifact, report


def _copy(folder: Path, best: Path, file: str, report: Report) -> None:
    shutil.copytree(folder, best, dirs_exist_ok=True)
    _write_report(best / file, report)


def _write_report(path: Path, report: Report) -> None:
    write_text(path, json.dumps(report, indent=1, ensure_ascii=False))
