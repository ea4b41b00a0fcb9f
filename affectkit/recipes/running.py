"""Running a plan: each step by its stage, one after the other, every result cached."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectkit.config import Config, Runtime
from affectkit.errors import AffectkitError, UsageError, listed
from affectkit.manifest import without_face
from affectkit.recipes.at_hand import Media, labels_of
from affectkit.recipes.checking import Plan
from affectkit.recipes.steps import Ref, Step
from affectkit.stages._labels import Labels
from affectkit.stages._map import Outcome
from affectkit.store import Artifact, Cache, Failure, Features
from affectkit.store import features as column_of
from affectkit.store.atomic import explained
from affectkit.types import Clip
from affectkit.untrusted import parsed_json, read_text

TIMES_FILE = "times.jsonl"
_OF_CLIPS = ("crops", "sound", "features")


@dataclass(frozen=True, repr=False)
class Made:
    """What a step made: the artifact's folder (or the file), its clips (None: all there are), and what the stage said.

    `cached`: nothing of it was computed now.
    """

    step: Step
    path: Path
    clips: tuple[str, ...] | None
    cached: bool
    seconds: float = 0.0
    outcome: Outcome | None = None
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[Failure, ...]:
        """Clips that have no result."""
        return self.outcome.failed if self.outcome else ()


def notes_of(made: Made) -> list[str]:
    """What the user must know of a step: licences, damage, what was left out."""
    found = list(made.outcome.notices) if made.outcome else []
    found += [f"partial: {clip}: {problem}" for clip, problem in (made.outcome.damaged if made.outcome else ())]
    clips = made.report.get("clips")
    found += clips["left_out"] if isinstance(clips, dict) else []
    for path, absent in made.report.get("partly_missing", {}).items():
        if absent:
            found.append(f"{path} has no score for {listed(absent, 'clips')}: fused from the others")
    if absent := made.report.get("clips_without_prediction"):
        found.append(f"{listed(absent, 'clips')} labelled, without a prediction: not scored")
    return found


class StepFailed(AffectkitError):
    """A step could not be done; those before it are cached."""

    def __init__(self, step: Step, cause: AffectkitError) -> None:
        super().__init__(f"step {step.name} ({step.kind.name}): {cause}")


class _Watched(Cache):
    """A cache that notes whether a whole artifact was made."""

    wrote = False

    def create_whole(self, *arguments: Any, **options: Any) -> Artifact:
        self.wrote = True
        return super().create_whole(*arguments, **options)


class Session:
    """What steps share while they run: the cache, the media of data sets, and what the steps before have made."""

    def __init__(
        self, plan: Plan, media: dict[str, Media], root: Path | None, runtime: Runtime, *,
        device: str = "auto", folder: Path | None = None, dry: bool = False,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.cache = _Watched(root, dry=dry)
        self.runtime = runtime
        self.device = device
        self.folder = folder or self.cache.root / "run"
        self.made: dict[str, Made] = {}
        self._media = media
        self._taken: dict[Path, dict[str, str]] = {}

    def media(self, step: Step) -> list[Clip]:
        """The clips of the data set that a step begins with."""
        return self._media[step.places.data].clips

    def artifact(self, ref: Ref) -> Artifact:
        """What a step has made."""
        return Artifact(self.made[ref.step].path, dry=self.cache.dry)

    def features(self, ref: Ref) -> Features:
        """The same as features, of the step's own clips."""
        found, clips = column_of(self.artifact(ref), ref.column), self.made[ref.step].clips
        return found if clips is None else Features(found.artifact, found.column, frozenset(clips))

    def source(self, ref: Ref) -> Features:
        """Crops or sound of the step's own clips, as tasks that are learnt along are given."""
        clips = self.made[ref.step].clips
        return Features(self.artifact(ref), only=None if clips is None else frozenset(clips))

    def clips(self, ref: Ref) -> list[str]:
        """The clips of a step's result, in order."""
        clips = self.made[ref.step].clips
        return self.artifact(ref).clips if clips is None else list(clips)

    def labels(self, step: Step) -> Labels:
        """Those that the step names."""
        return labels_of(self.plan, self._media, step, ("labels",), step.places.labels)

    def aux_labels(self, step: Step) -> list[Labels]:
        """Those of the tasks that are learnt along."""
        return [
            labels_of(self.plan, self._media, step, ("aux", str(n), "labels"), one.labels)
            for n, one in enumerate(step.aux)
        ]

    def submission(self, step: Step) -> Path:
        """The file that a step submits."""
        given = step.settings.get("out")
        if given is None:
            return self.folder / f"{step.name}{step.paths['template'].suffix}"
        by_hand = self.plan.draft.where("steps", step.name, "out").startswith("--set")
        return Path(given) if by_hand else self.folder / given

    def run(self, step: Step) -> Made:
        """Run one step, whose inputs have been made. Raises what its stage raises."""
        self.cache.wrote = False
        began = time.monotonic()
        found = step.kind.call(step, self)
        seconds = time.monotonic() - began
        if isinstance(found, Outcome):
            cached = not found.computed and not found.pending
            made = Made(step, found.path, self._clips(step, found), cached, seconds, found)
        else:
            path = found.path if step.kind.makes == "file" else found.artifact.path
            cached = step.kind.makes != "file" and not self.cache.wrote
            made = Made(step, path, None, cached, seconds, None, found.report)
        self.made[step.name] = made
        return made

    def _clips(self, step: Step, found: Outcome) -> tuple[str, ...]:
        """The clips of a map stage's artifact that are this step's: it may hold those of other data sets."""
        if step.kind.makes in ("crops", "sound"):
            given = {clip.id for clip in self.media(step)}
            self._refuse_shared(step, found.path, given)
            return tuple(one for one in Artifact(found.path).clips if one in given or without_face(one) in given)
        own = self._inputs(step)
        return tuple(one for one in Artifact(found.path).clips if own is None or one in own)

    def given(self, step: Step) -> int:
        """How many clips a step is given."""
        if step.kind.makes in ("crops", "sound"):
            return len(self.media(step))
        found = self._inputs(step)
        return len(self.clips(step.inputs[-1]) if found is None else found)

    def _inputs(self, step: Step) -> set[str] | None:
        """The clips that all features (or crops, or sound) of a step have; None: all there are."""
        own = [self.made[one.step].clips for one in step.inputs if self.made[one.step].step.kind.makes in _OF_CLIPS]
        sets = [set(one) for one in own if one is not None]
        return set.intersection(*sets) if sets else None

    def _refuse_shared(self, step: Step, path: Path, given: set[str]) -> None:
        """Two data sets in one artifact must not have an id in common: one would stand for the other."""
        names = self._taken.setdefault(path, {})
        twice = sorted(clip for clip in given if names.get(clip, step.places.data) != step.places.data)
        if twice:
            raise UsageError(
                f"data sets {names[twice[0]]} and {step.places.data} both have {listed(twice, 'clips')}: "
                "give one of the steps other settings, or rename the clips"
            )
        names.update(dict.fromkeys(given, step.places.data))


def run_all(session: Session, say: Callable[[Made], None] = lambda made: None) -> list[Made]:
    """Run every step of a plan in order. Raises StepFailed at the first that cannot be done; clips that fail do not
    stop the others."""
    with explained(session.folder):
        session.folder.mkdir(parents=True, exist_ok=True)
    for step in session.plan.steps.values():
        try:
            made = session.run(step)
        except AffectkitError as error:
            raise StepFailed(step, error) from error
        if not made.cached:
            _note(session.folder / TIMES_FILE, made)
        say(made)
    return list(session.made.values())


def times_of(folder: Path, made: Made) -> dict[str, float] | None:
    """Seconds and rows of all that was computed for what a step made, in this run and in those that it goes on from;
    None where all of it was there before."""
    total: dict[str, float] | None = None
    file = folder / TIMES_FILE
    try:
        lines = read_text(file, "times of steps", 1 << 26, inside=True).splitlines()
    except AffectkitError:
        return None
    for line in lines:
        try:
            entry = _Entry.model_validate(parsed_json(line))
        except ValueError:  # cut short by a kill
            continue
        if entry.step == made.step.name and Path(entry.path).name == made.path.name:
            total = total or {"seconds": 0.0, "rows": 0}
            total = {"seconds": total["seconds"] + entry.seconds, "rows": total["rows"] + entry.rows}
    return total


class _Entry(Config):
    step: str
    path: str
    seconds: float
    rows: int


def _note(file: Path, made: Made) -> None:
    rows = made.outcome.rows if made.outcome else 0
    entry = {"step": made.step.name, "path": str(made.path), "seconds": round(made.seconds, 3), "rows": rows}
    with explained(file), file.open("a", encoding="utf-8") as notes:
        notes.write(json.dumps(entry) + "\n")
