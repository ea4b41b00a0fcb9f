"""Running a fit stage: what depends on all clips at once is made whole, or taken as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from affectkit.stages.reports import Shape, report_at_hand
from affectkit.stages.stage import Context, Result, Stage
from affectkit.store import Schema
from affectkit.store.atomic import write_text

Report = dict[str, Any]
Write = Callable[[Path], None]


class FitStage(Stage):
    """A stage whose result depends on all clips at once: its artifact appears whole, under a digest of all it reads.

    file, shape: where the report lies, and what it must hold.
    """

    file: ClassVar[str]
    shape: ClassVar[type[Shape]]

    def compute(self, resolved: Any) -> tuple[Report, Write]:
        """The report, and what writes all other files into the artifact's folder. Heavy imports are in here."""
        raise NotImplementedError

    def table(self, resolved: Any) -> Schema | None:
        """The columns of the artifact's table, where it has one."""
        return None

    def run(self, inputs: Any, config: Any, context: Context) -> Result:
        """Take the artifact where there is one and its report is whole, else make it."""
        resolved = self.resolve(inputs, config)
        identity = {"stage": self.name, "version": self.version, **self.identity(resolved)}
        artifact = context.cache.find(self.name, self.called(resolved), identity, context.out)
        report = report_at_hand(context.cache, artifact, self.file, self.shape)
        if artifact is not None and report is not None:
            return Result(artifact.path, artifact, True, report)
        report, write_files = self.compute(resolved)

        def write(folder: Path) -> None:
            write_text(folder / self.file, json.dumps(report, indent=1))
            write_files(folder)

        artifact = context.cache.create_whole(
            self.name, self.called(resolved), identity, write, table=self.table(resolved),
            upstream=self.upstream(resolved),
            out=context.out, extra=self.provenance(resolved),
        )  # fmt: skip
        return Result(artifact.path, artifact, False, report)
