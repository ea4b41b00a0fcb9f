"""Running a plan: each step by its stage, one after the other, every result cached."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from affectkit import tasks
from affectkit.config import Config, Numerics, Runtime
from affectkit.downloads import offline
from affectkit.errors import AffectkitError, listed
from affectkit.progress import part_of
from affectkit.recipes.at_hand import AnyMedia, labels_of
from affectkit.recipes.check import RecipePlan
from affectkit.recipes.steps import Ref, Step, is_either
from affectkit.stages import inputs as what
from affectkit.stages.map_stage import Outcome
from affectkit.stages.predict_published import PublishedModel
from affectkit.stages.stage import Context, TextTable
from affectkit.stages.training_data import AuxiliarySource
from affectkit.store import Artifact, Cache, Failure, Features, NotMade, names
from affectkit.store import features as column_of
from affectkit.store.atomic import explained
from affectkit.tables.frame_rates import frame_rates
from affectkit.tables.labels import Labels, lagged
from affectkit.types import Clip
from affectkit.untrusted import parsed_json, read_text

TIMES_FILE = "times.jsonl"
_OF_CLIPS = ("crops", "sound", "features")


@dataclass(frozen=True, repr=False)
class StepResult:
    """What a step made: the artifact, all of it or a selection (or the file), and what the stage said.

    `cached`: nothing of it was computed now; `said`: of a report, what its stage says of it; `name`: what commands may
    call it; `moved`: what else had that name; `unread`: of a file or a folder, clips that are not in it.
    """

    step: Step
    path: Path
    artifact: Artifact | None
    cached: bool
    seconds: float = 0.0
    outcome: Outcome | None = None
    report: dict[str, Any] = field(default_factory=dict)
    said: tuple[str | TextTable, ...] = ()
    name: str = ""
    moved: str = ""
    unread: tuple[Failure, ...] = ()

    @property
    def failed(self) -> tuple[Failure, ...]:
        """Clips that have no result."""
        return self.outcome.failed if self.outcome else self.unread


def notes_of(made: StepResult) -> list[str]:
    """What the user must know of a step: licences, damage, what was left out."""
    found = list(made.outcome.notices) if made.outcome else []
    found += [f"partial: {clip}: {problem}" for clip, problem in (made.outcome.damaged if made.outcome else ())]
    clips = made.report.get("clips")
    if isinstance(clips, dict) and "left_out" in clips:
        found += made.report.get("cautions") or clips["left_out"]
    for path, absent in made.report.get("partly_missing", {}).items():
        if absent:
            found.append(f"{path} has no score for {listed(absent, 'clips')}: fused from the others")
    if made.moved:
        found.append(made.moved)
    if absent := made.report.get("clips_without_prediction"):
        found.append(f"{listed(absent, 'clips')} labelled, without a prediction: not scored")
    if absent := made.report.get("clips_without_score"):
        found.append(f"{listed(absent, 'clips')} predicted without any score: not scored")
    return found


class StepFailed(AffectkitError):
    """A step could not be done; those before it are cached."""

    def __init__(self, step: Step, cause: AffectkitError) -> None:
        super().__init__(f"step {step.name} ({step.stage.name}): {cause}")


class Session:
    """What steps share while they run: the cache, the media of data sets, and what the steps before have made."""

    def __init__(
        self, plan: RecipePlan, media: dict[str, AnyMedia], root: Path | None, runtime: Runtime, *,
        device: str = "auto", folder: Path | None = None, dry: bool = False,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.cache = Cache(root, dry=dry)
        self.runtime = runtime
        self.device = device
        self.folder = folder or self.cache.root / "run"
        self.made: dict[str, StepResult] = {}
        self._media = media

    def media(self, step: Step) -> list[Clip]:
        """The clips of the data set that a step begins with."""
        return self._media[step.keys.data].clips(step.stage.makes)

    def artifact(self, ref: Ref) -> Artifact:
        """What a step has made, of its own clips."""
        artifact = self.made[ref.step].artifact
        assert artifact is not None, "a file is no step's input"
        return artifact

    def features(self, ref: Ref) -> Features:
        """What a step has made, as features."""
        return column_of(self.artifact(ref), ref.column)

    def scores(self, name: str) -> Path:
        """What a step has predicted. Raises NotMade where a dry run finds all of it, but no command has printed it."""
        made = self.made[name]
        if self.cache.dry and not made.path.exists():
            raise NotMade(made.path)
        return made.path

    def labels(self, step: Step) -> Labels:
        """Those that the step names."""
        labels = labels_of(self.plan, self._media, step, ("labels",), step.keys.labels)
        return lagged(labels, step.keys.label_lag)

    def aux_labels(self, step: Step) -> list[Labels]:
        """Those of the tasks that are learnt along."""
        return [
            labels_of(self.plan, self._media, step, ("aux", str(n), "labels"), one.labels)
            for n, one in enumerate(step.aux)
        ]

    def submission(self, step: Step) -> Path:
        """The file or the folder that a step writes."""
        given = step.settings.get("out")
        if given is None:
            template = step.paths.get("template")
            return self.folder / f"{step.name}{template.suffix if template else ''}"
        by_hand = self.plan.draft.where("steps", step.name, "out").startswith("--set")
        return Path(given) if by_hand else self.folder / given

    def run(self, step: Step) -> StepResult:
        """Run one step, whose inputs have been made. Raises what its stage raises."""
        began = time.monotonic()
        done = step.stage.run(self._inputs(step), self._config(step), self._context(step))
        seconds = time.monotonic() - began
        said = tuple(step.stage.lines(done)) if step.stage.makes == "report" else ()
        outcome = done if isinstance(done, Outcome) else None
        made = StepResult(
            step, done.path, done.artifact, done.is_cached, seconds, outcome, dict(done.report), said,
            unread=() if outcome else done.failed,
        )  # fmt: skip
        self.made[step.name] = made
        return made

    def name(self, made: StepResult) -> StepResult:
        """What a step made, by the name `recipe.step` from now on, where the cache may be written."""
        if made.artifact is None:
            return made
        name = names.safe(f"{self.plan.draft.name}.{made.step.name}")
        try:
            moved = names.keep(self.cache, made.path, made.artifact.stage.stage, name) or ""
        except AffectkitError as error:
            name, moved = "", f"it has no name: {error}"
        named = self.made[made.step.name] = replace(made, name=name, moved=moved)
        return named

    def _inputs(self, step: Step) -> Any:
        """What a step reads, as its stage takes it."""
        values: dict[str, Any] = {}
        refs = list(step.inputs)
        for position in step.stage.positions:
            if position.or_model and step.model:
                values[position.name] = PublishedModel(step.model)
                continue
            taken, refs = (refs, []) if position.many else (refs[:1], refs[1:])
            opened = [self._opened(ref) for ref in taken]
            if opened:
                values[position.name] = opened if position.many else opened[0]
        for one in step.stage.inputs:
            if one not in step.stage.positions and one.in_recipes and not isinstance(one, what.ClipsInput):
                values[one.name] = self._value(step, one)
        return step.stage.Inputs(**values)

    def _opened(self, ref: Ref) -> Any:
        makes = self.made[ref.step].step.stage.makes
        if makes == "predictions":
            return self.scores(ref.step)
        return self.features(ref) if makes == "features" else self.artifact(ref)

    def _value(self, step: Step, one: what.Input) -> Any:
        if isinstance(one, what.MediaInput):
            return self.media(step)
        if isinstance(one, what.LabelsInput):
            return self.labels(step) if step.keys.labels is not None else None
        if isinstance(one, what.FileInput):
            return self.submission(step) if one.kind == "made" else step.paths.get(one.name)
        said = getattr(step.keys, one.name)
        if isinstance(one, what.RatesInput) and said is not None:
            return frame_rates(step.paths[one.name] if isinstance(said, str) else said)
        if isinstance(one, what.ArtifactsInput) and one.or_model:
            names = [said] if isinstance(said, str) else said or []
            return [self.artifact(Ref(each)) if each in self.made else PublishedModel(each) for each in names]
        if isinstance(one, what.ArtifactsInput) and is_either(one):
            is_step = isinstance(said, str) and said.startswith("@")
            return self.features(Ref.of(said[1:])) if is_step else step.paths.get(one.name)
        if isinstance(one, what.ArtifactsInput) and said and "features" in one.makes:
            return self.features(Ref.of(said))
        if isinstance(one, what.ArtifactsInput):
            return self.scores(said) if said else None
        if isinstance(one, what.AuxiliaryInput):
            return [
                AuxiliarySource(self._along(Ref.of(along.from_)), labels, tasks.get(along.task))
                for along, labels in zip(said, self.aux_labels(step), strict=True)
            ]
        return said

    def _along(self, ref: Ref) -> Features:
        makes = self.made[ref.step].step.stage.makes
        return self.features(ref) if makes == "features" else Features(self.artifact(ref))

    def _config(self, step: Step) -> Config:
        config = step.config(step.stage.Config)
        paths = {name: str(path) for name, path in step.paths.items() if name in type(config).model_fields}
        if step.weights_of:
            paths["weights"] = str(self.made[step.weights_of].path)
        return config.model_copy(update=paths)

    def _context(self, step: Step) -> Context:
        numerics = step.config(Numerics) if step.stage.has_numerics else Numerics()
        return Context(self.cache, self.runtime, self.device, numerics.model_copy(update={"device": self.device}))

    def clip_count(self, step: Step) -> int:
        """How many clips a step is given."""
        if step.stage.makes in ("crops", "sound"):
            return len(self.media(step))
        own = [set(self.artifact(one).clips) for one in step.inputs if self._has_clips(one)]
        return len(set.intersection(*own)) if own else len(self.artifact(step.inputs[-1]))

    def _has_clips(self, ref: Ref) -> bool:
        return self.made[ref.step].step.stage.makes in _OF_CLIPS


def run_all(session: Session, say: Callable[[StepResult], None] = lambda made: None) -> list[StepResult]:
    """Run every step of a plan in order. Raises StepFailed at the first that cannot be done; clips that fail do not
    stop the others."""
    with explained(session.folder):
        session.folder.mkdir(parents=True, exist_ok=True)
    count = len(session.plan.steps)
    for number, step in enumerate(session.plan.steps.values(), 1):
        try:
            with part_of(f"step {number} of {count}"):
                made = session.name(session.run(step))
        except AffectkitError as error:
            raise StepFailed(step, error) from error
        if not made.cached:
            _note(session.folder / TIMES_FILE, made)
        say(made)
    return list(session.made.values())


def times_of(folder: Path, made: StepResult) -> dict[str, float] | None:
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
        if entry.step == made.step.name and Path(entry.path).name == _place(made).name:
            total = total or {"seconds": 0.0, "rows": 0}
            total = {"seconds": total["seconds"] + entry.seconds, "rows": total["rows"] + entry.rows}
    return total


class _Entry(Config):
    step: str
    path: str
    seconds: float
    rows: int


def _place(made: StepResult) -> Path:
    """The artifact's folder, or the file."""
    return made.artifact.folder if made.artifact is not None else made.path


def _note(file: Path, made: StepResult) -> None:
    rows = made.outcome.rows if made.outcome else 0
    entry = {"step": made.step.name, "path": str(_place(made)), "seconds": round(made.seconds, 3), "rows": rows}
    with explained(file), file.open("a", encoding="utf-8") as notes:
        notes.write(json.dumps(entry) + "\n")


@dataclass(frozen=True)
class Row:
    """A step, what it does, and how much of it is there. `is_done`: all of it."""

    step: str
    stage: str
    does: str
    state: str
    is_done: bool = False


def dry_run(session: Session) -> list[Row]:
    """Every step of the plan, in order. `session` has a dry cache."""
    rows: dict[str, Row] = {}
    with offline():
        for step in session.plan.steps.values():
            state, is_done = _state(session, step, rows)
            rows[step.name] = Row(step.name, step.stage.name, step.words, state, is_done)
    return list(rows.values())


def _state(session: Session, step: Step, before: dict[str, Row]) -> tuple[str, bool]:
    if lacks := session.plan.lacks.get(step.name):
        return f"needs {', '.join(lacks)}", False
    if waits := [name for name in step.needs if name not in before or not before[name].is_done]:
        return f"waits for {', '.join(waits)}", False
    if step.stage.makes == "file":
        return f"writes {session.submission(step)}", False
    try:
        return _of(session.run(step))
    except NotMade:
        if not step.stage.is_map:
            return "to compute", False
        count = session.clip_count(step)
        return f"{count} of {count} clips to compute", False
    except AffectkitError as error:
        session.plan.draft.problem(["steps", step.name], f"step {step.name} ({step.stage.name}): {error}")
        return "cannot run", False


def _of(made: StepResult) -> tuple[str, bool]:
    if made.outcome is None:
        return "cached", True
    pending, failed = len(made.outcome.pending), len(made.outcome.failed)
    total = pending + failed + made.outcome.cached
    before = f", {failed} failed before" if failed else ""
    if pending:
        return f"{pending} of {total} clips to compute{before}", False
    return f"cached, {made.outcome.cached} clips{before}", True
