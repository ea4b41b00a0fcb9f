"""Running a fit stage: what depends on all clips at once is made whole, or taken as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from affectkit.stages.reports import Shape, read_report, report_at_hand
from affectkit.stages.stage import Context, Result, Stage
from affectkit.store import Artifact, Cache, Schema
from affectkit.store.atomic import write_text

Report = dict[str, Any]


class Computed(NamedTuple):
    """A report, what writes all other files into the artifact's folder, and artifacts that were made on the way and are
    upstream of it."""

    report: Report
    write: Callable[[Path], None] = lambda folder: None
    upstream: Sequence[Path] = ()


class FitStage(Stage):
    """A stage whose result depends on all clips at once: its artifact appears whole, under a digest of all it reads.

    file, shape: where the report lies, and what it must hold.
    """

    file: ClassVar[str]
    shape: ClassVar[type[Shape]]

    def compute(self, resolved: Any, context: Context) -> Computed:
        """The report and the files. Heavy imports are in here."""
        raise NotImplementedError

    def table(self, resolved: Any) -> Schema | None:
        """The columns of the artifact's table, where it has one."""
        return None

    def report_of(self, artifact: Artifact) -> Report:
        """What an artifact of this stage says of itself. Raises MissingFile, HostileFile."""
        return read_report(artifact.folder / self.file, self.shape)

    def at_hand(self, cache: Cache, artifact: Artifact | None) -> Report | None:
        """An artifact's report; None where there is none, or where it is damaged and the artifact is made again."""
        return report_at_hand(cache, artifact, self.file, self.shape)

    def run(self, inputs: Any, config: Any, context: Context) -> Result:
        """Take the artifact where there is one and its report is whole, else make it."""
        resolved = self.resolve(inputs, config)
        identity = {"stage": self.name, "version": self.version, **self.identity(resolved)}
        artifact = context.cache.find(self.name, self.called(resolved), identity, context.out)
        report = self.at_hand(context.cache, artifact)
        if artifact is not None and report is not None:
            return Result(artifact.path, artifact, True, report)
        return self.make(resolved, identity, context)

    def make(self, resolved: Any, identity: dict[str, Any], context: Context) -> Result:
        """Compute, and put the artifact in its place."""
        report, write_files, upstream = self.compute(resolved, context)

        def write(folder: Path) -> None:
            write_report(folder / self.file, report)
            write_files(folder)

        artifact = context.cache.create_whole(
            self.name, self.called(resolved), identity, write, table=self.table(resolved),
            upstream=[*self.upstream(resolved), *upstream], out=context.out, extra=self.provenance(resolved),
        )  # fmt: skip
        return Result(artifact.path, artifact, False, report)


def write_report(path: Path, report: Report) -> None:
    """Write a report as JSON for people and machines."""
    write_text(path, json.dumps(report, indent=1, ensure_ascii=False))
