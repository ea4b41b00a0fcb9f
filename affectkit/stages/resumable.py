"""Artifacts that take long to fit: an interrupted one is gone on with, and Ctrl-C leaves the best so far.

What an interrupted train-head leaves: a hidden folder beside the place of its artifact, gone once that exists.

.NAME.state/
    fingerprint            of the recipe
    seed_0/                a seed that is finished, as it will lie in the artifact
    training/seed_1/       what the head of the present seed needs to go on; its own files
    best/                  after Ctrl-C: an artifact of the best so far, which predict takes like any other
"""

from __future__ import annotations

import errno
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from affectkit.config import fingerprint
from affectkit.devices import resolve
from affectkit.errors import HostileFile, MissingFile, UsageError
from affectkit.learning.processes import Processes
from affectkit.stages.fit_stage import FitStage, Report, write_report
from affectkit.stages.stage import Context, Result
from affectkit.store import Artifact, Cache
from affectkit.store.atomic import TEMPORARY, explained, fsync, put, require_folder, temporary_name, write_text
from affectkit.untrusted import read_text


class KeptInterrupt(KeyboardInterrupt):
    """Ctrl-C; `lines` say what is kept of the work."""

    lines: tuple[str, ...] = ()


class Stopped(KeptInterrupt):
    """Ctrl-C; `best` is an artifact of the best so far, `after` how far training came and goes on from."""

    def __init__(self, best: Path, after: str) -> None:
        super().__init__()
        self.best, self.after = best, after
        self.lines = (
            f"kept: {after}, which the same command goes on from",
            f"the best so far, which predict takes, until training is finished: {best}",
        )


class KeptOnInterrupt:
    """Says what is kept where Ctrl-C ends what is done within."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt) and not isinstance(error, KeptInterrupt):
            interrupted = KeptInterrupt()
            interrupted.lines = (f"kept: {self._what}",)
            raise interrupted from error


class Partly(KeyboardInterrupt):
    """Ctrl-C, and there is something already: its report, in which `stopped` says how far training came."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


MARK = "fingerprint"


_OURS = re.compile(rf"{MARK}|training|best|seed_[0-9]+|{re.escape(TEMPORARY)}.*")


class Unfinished:
    """The state of the training that makes the artifact at `artifact`."""

    def __init__(self, artifact: Path, fingerprint: str) -> None:
        place = artifact.resolve()
        self.path = place.with_name(f".{place.name}.state")
        self._fingerprint = fingerprint

    @property
    def best(self) -> Path:
        """Where the best so far lies after Ctrl-C."""
        return self.path / "best"

    def training(self, seed: int) -> Path:
        """The folder of a seed's head while it trains."""
        return self.path / "training" / f"seed_{seed}"

    def begin(self) -> None:
        """Take up what is there; start anew where it is of another recipe. UsageError: the folder is not ours."""
        mark = self.path / MARK
        with explained(self.path):
            if require_folder(self.path) and self._recipe() == self._fingerprint:
                for entry in self.path.rglob("*"):
                    if entry.is_symlink():
                        raise HostileFile(f"{entry} is a link: nothing that a training keeps is read through one")
                return
            self._ours()
            self.remove()
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(mark, self._fingerprint)

    def _recipe(self) -> str:
        try:
            return read_text(self.path / MARK, "a fingerprint", 1 << 10, inside=True)
        except MissingFile:
            return ""

    def take(self, folder: Path) -> bool:
        """Copy the finished seed of this folder's name to it; whether there was one."""
        found = self.path / folder.name
        if not found.is_dir():
            return False
        try:
            shutil.copytree(found, folder)
        except (OSError, shutil.Error):  # another training of the same has just ended, and removed it
            shutil.rmtree(folder, ignore_errors=True)
            return False
        return True

    def keep(self, seed: int, folder: Path) -> None:
        """Keep a finished seed, whole or not at all, in place of what its training needed."""
        temporary = temporary_name(self.path / folder.name)
        try:
            with explained(self.path):
                shutil.copytree(folder, temporary)
                for written in temporary.rglob("*"):
                    fsync(written)
                with suppress(FileExistsError):
                    self._keep_whole(temporary, self.path / folder.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(self.training(seed), ignore_errors=True)

    def remove(self) -> None:
        """Forget all of it, also what another training of the same wrote after it was forgotten once."""
        if self.path.is_symlink() or not self.path.is_dir():
            return
        if all(_OURS.fullmatch(one.name) for one in self.path.iterdir()):
            shutil.rmtree(self.path, ignore_errors=True)

    def _keep_whole(self, temporary: Path, place: Path) -> None:
        """Raises FileExistsError where another training of the same kept that seed."""
        if place.exists():
            raise FileExistsError(place)
        try:
            put(temporary, place)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise FileExistsError(place) from None
            raise

    def give_up(self) -> None:
        """Forget a training that cannot be; seeds that are finished stay."""
        if not any(self.path.glob("seed_*")):
            self.remove()

    def _ours(self) -> None:
        strangers = [one for one in self.path.glob("*") if not one.name.startswith(TEMPORARY)]
        if strangers and not (self.path / MARK).is_file():
            raise UsageError(f"{self.path} is needed for what training keeps, and holds other things: move it away")


class ResumableStage(FitStage):
    """A fit stage that takes long: the same command goes on with what was interrupted, and Ctrl-C leaves the best."""

    has_device = True
    kept = "what was trained is kept, repeat the command to go on"

    def train(self, resolved: Any, context: Context, folder: Path, state: Unfinished) -> Report:
        """Fill the artifact's folder on `context.device`, and keep in `state` what is needed to go on; the report.

        Raises `Partly` for Ctrl-C with the best so far in the folder, UsageError for a training that cannot be.
        """
        raise NotImplementedError

    def state(self, resolved: Any, identity: dict[str, Any], context: Context) -> Unfinished:
        """What is kept of this training while it is not finished."""
        path = context.cache.path(self.name, self.called(resolved), identity, context.out)
        return Unfinished(path, fingerprint(identity))

    def at_hand(self, cache: Cache, artifact: Artifact | None) -> Report | None:
        """The report of what was trained; None where nothing was. Raises HostileFile for a damaged one: hours of work
        are not thrown away for it."""
        return None if artifact is None else self.report_of(artifact)

    def run(self, inputs: Any, config: Any, context: Context) -> Result:
        """Take the artifact where there is one, and forget what another training of it kept; else train."""
        result = super().run(inputs, config, context)
        if result.cached and Processes.here().first and not context.cache.dry:
            Unfinished(result.path, "").remove()
        return result

    def make(self, resolved: Any, identity: dict[str, Any], context: Context) -> Result:
        """Train, and put the artifact in its place. Raises `Stopped` for Ctrl-C where there is something already;
        UsageError for a training that cannot be, which leaves nothing."""
        context = replace(context, device=resolve(context.device))  # before what is kept is touched
        cache, called, state = context.cache, self.called(resolved), self.state(resolved, identity, context)
        about: dict[str, Any] = {"upstream": self.upstream(resolved), "extra": self.provenance(resolved)}
        report: Report = {}

        def write(folder: Path) -> None:
            try:
                report.update(self.train(resolved, context, folder, state))
            except Partly as partly:
                so_far = partly.report
                shutil.rmtree(state.best, ignore_errors=True)

                def copy(best: Path) -> None:
                    shutil.copytree(folder, best, dirs_exist_ok=True)
                    write_report(best / self.file, so_far)

                stopped = so_far["stopped"]
                cache.create_whole(self.name, called, identity | {"stopped": stopped}, copy, out=state.best, **about)
                after = ", ".join(f"{count} {unit.removeprefix('after_')}" for unit, count in stopped.items())
                raise Stopped(state.best, after) from None
            write_report(folder / self.file, report)

        state.begin()
        try:
            artifact = cache.create_whole(self.name, called, identity, write, out=context.out, **about)
        except UsageError:
            state.give_up()
            raise
        state.remove()
        return Result(artifact.path, artifact, False, report)
