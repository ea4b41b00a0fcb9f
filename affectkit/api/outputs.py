"""What all outputs of the Python functions have, and those that are no tables by clip: reports and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectkit.errors import AffectkitError
from affectkit.stages import catalogue
from affectkit.stages.fit_stage import FitStage
from affectkit.stages.stage import Result
from affectkit.store import Artifact, Features, ancestors
from affectkit.store.kinds import MAKES

if TYPE_CHECKING:
    import pandas as pd

SOME_FAILED = 3


class Info(dict[str, Any]):
    """What an artifact is and how it was made; shown a line an entry."""

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{key:<{width}}  {_said(value)}" for key, value in self.items())


class StageOutput:
    """What a stage made: an artifact on disk, or a file.

    path: what a command or another function takes; notices: what its user must know; cached: whether all of it was
    there already.
    """

    def __init__(self, artifact: Artifact, result: Result | None = None) -> None:
        self.artifact = artifact
        self.cached = True if result is None else result.is_cached
        self.notices: tuple[str, ...] = () if result is None else tuple(result.notices)
        self._result = result

    @property
    def path(self) -> Path:
        """The artifact's folder, or the selection of it that holds exactly these clips."""
        return self.artifact.path

    @property
    def stored(self) -> Artifact | Features:
        """The artifact as stages read it."""
        return self.artifact

    @property
    def failed(self) -> dict[str, str]:
        """The clips that have no result, and why."""
        if self._result is not None:
            return {failure.clip: failure.cause for failure in self._result.failed}
        if self.artifact.stage.table is None:
            return {}
        return {clip: failure.cause for clip, failure in self.artifact.failures().items()}

    @property
    def exit_code(self) -> int:
        """0, or 3 where clips failed."""
        return SOME_FAILED if self.failed else 0

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """What the stage says of what it made; empty for one that says nothing."""
        if self._result is not None and self._result.report:
            return self._result.report
        return _report_of(self.artifact)

    def info(self) -> Info:
        """What it is, how it was made, how much it holds, and the weights and licences behind it."""
        stage = self.artifact.stage
        noun, command = MAKES.get(stage.stage, ("an artifact", stage.stage))
        info = Info({"what": f"{noun}, made by {command} ({stage.name})", "path": str(self.path)})
        info |= self._counts()
        info["settings"] = stage.provenance.get("config") or {}
        info["made from"], info["weights"] = _made_from(self.artifact)
        versions = f"affectkit {stage.provenance.get('affectkit')}"
        info["made"] = f"{stage.provenance.get('created')} by {versions}"
        info["fingerprint"] = stage.fingerprint
        return info

    def _counts(self) -> dict[str, Any]:
        return {}

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {value}" for name, value in self._counts().items())
        return f"<{type(self).__name__} {self.artifact.stage.name}{': ' if counts else ''}{counts}; {self.path}>"


class StageReport(StageOutput):
    """What a stage found out, by name: `report["clips"]` is an entry."""

    def __getitem__(self, name: str) -> Any:
        """An entry of the report."""
        return self.report[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.report)

    def __len__(self) -> int:
        return len(self.report)


class ScoreReport(StageReport):
    """Scores and what speaks against them, what `evaluate` and `compare` return."""

    @property
    def scores(self) -> dict[str, float]:
        """The pooled scores by name; of several prediction sets those of the first."""
        if "scores" in self.report:
            return dict(self.report["scores"])
        return dict(self.report["systems"][0]["scores"])

    @property
    def cautions(self) -> list[str]:
        """What speaks against the scores."""
        return list(self.report["cautions"])

    def frame(self) -> pd.DataFrame:
        """Scores as a pandas frame: a row a score (of `compare`, a score of a system), with its interval."""
        import pandas as pd

        systems = self.report.get("systems") or [self.report]
        rows = []
        for system in systems:
            of_system = {"predictions": system["path"]} if "path" in system else {}
            for name, score in system["scores"].items():
                low, high = system["intervals"].get(name, (np.nan, np.nan))
                rows.append({**of_system, "score": name, "value": score, "low": low, "high": high})
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        lines = "".join(f"<li>{escape(caution)}</li>" for caution in self.cautions)
        return f"{self.frame().to_html(index=False)}<ul>{lines}</ul>"

    def _counts(self) -> dict[str, Any]:
        metric = self.report["metric"]
        return {metric: f"{self.scores[metric]:.4f}", "clips": self.report["clips"]}


class WrittenFile:
    """A file that was written or checked, or a folder of such: what `submit` and `overlay` return.

    path: where it lies; cached: whether all of it was there already; failed: clips without a result, and why; report:
    what is said of it; notices: what its user must know, of a checked file what is wrong; exit_code: 3 where a checked
    file is wrong, or clips failed.
    """

    def __init__(self, path: Path, result: Result | None = None) -> None:
        self.path = path
        self.cached = result is not None and result.is_cached
        self.failed: dict[str, str] = {} if result is None else {each.clip: each.cause for each in result.failed}
        self.report: Mapping[str, Any] = {} if result is None else result.report
        self.notices: tuple[str, ...] = () if result is None else tuple(result.notices)
        self.exit_code = 0 if result is None else result.code or (SOME_FAILED if self.failed else 0)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<WrittenFile {self.path}>"


def _report_of(artifact: Artifact) -> Mapping[str, Any]:
    """The report that lies in an artifact's folder; none for a stage that writes none."""
    name = artifact.stage.stage
    if name == "cross-validate":
        from affectkit.stages.cross_validate import CrossValidate

        return CrossValidate().report_of(artifact)
    if name in catalogue.entries() and isinstance(stage := catalogue.get(name), FitStage):
        return stage.report_of(artifact)
    return {}


def _made_from(artifact: Artifact) -> tuple[list[str], list[str]]:
    """The artifacts behind one, media first, and the weights of all of them with their licences."""
    try:
        line = [*ancestors(artifact), artifact]
    except AffectkitError as error:
        return [str(error)], []
    weights = [artifact.stage.provenance.get("weights") for artifact in line]
    told = [f"{about['name']}: {about['licence']}" for about in weights if about]
    return [f"{source.stage.stage} {source.folder.name}" for source in line[:-1]], list(dict.fromkeys(told))


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        told = {key: item for key, item in value.items() if item not in (None, [], ())}
        return ", ".join(f"{key}={item}" for key, item in told.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return str(value)
