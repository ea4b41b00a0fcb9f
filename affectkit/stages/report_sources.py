"""What a report is of: the prediction sets, scores, faces and sound behind the paths that were given, and all that they
were made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from affectkit import tasks
from affectkit.emotions import valence_index
from affectkit.errors import HostileFile, MissingFile, UsageError, listed
from affectkit.stages import catalogue
from affectkit.stages.fit_stage import FitStage
from affectkit.store import Artifact, ancestors, is_artifact
from affectkit.store.kinds import PREDICTIONS, no_artifact, wrong_kind
from affectkit.store.segment import ClipRows
from affectkit.tables.predictions import read_predictions
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import Floats, Predictions, without_face
from affectkit.untrusted import read_object, read_text

SCORES = (*PREDICTIONS, "cross-validate")
ANALYSIS_FILE, RUN_FILE = "analysis.json", "summary.json"
CLIPS_FILE = "clips.csv"
_LARGEST_TABLE = 1 << 26


@dataclass(frozen=True, repr=False)
class ScoreRows:
    """Rows of one clip of one prediction set: start, end [T] (s), scores [T,K], observed [T] (NaN: not known)."""

    start: Floats
    end: Floats
    scores: Floats
    observed: Floats


@dataclass(frozen=True, repr=False)
class ScoreSet:
    """A prediction set under the name that the page gives it; `table`: of a CSV file, which is no artifact."""

    name: str
    columns: tuple[str, ...]
    artifact: Artifact | None
    outputs: tuple[Task, ...]
    clips: tuple[str, ...]
    table: Predictions | None = None

    def __contains__(self, clip: str) -> bool:
        return clip in self._places

    @property
    def artifact_name(self) -> str:
        """What its maker is called, without what tells it from others of that name."""
        return self.name if self.artifact is None else self.artifact.stage.name

    @property
    def is_fused(self) -> bool:
        """Whether it was fused of others."""
        return self.artifact is not None and self.artifact.stage.stage == "fuse"

    def digest(self, clip: str) -> str:
        """What its rows of a clip are, for a table that is no artifact by their bytes."""
        if self.artifact is not None:
            return self.artifact.digest(clip)
        rows = self.rows(clip)
        columns = (rows.start, rows.end, rows.scores)
        return sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in columns)).hexdigest()

    def rows(self, clip: str) -> ScoreRows:
        """Its rows of a clip. Raises HostileFile where they are damaged."""
        if self.artifact is None:
            assert self.table is not None
            part = self.table.select(self._places[clip])  # type: ignore[arg-type]
            return ScoreRows(part.start, part.end, part.scores, part.observed)
        self.artifact.check(clip)
        record = self.artifact.read(clip)
        unknown = np.full(len(record["start"]), np.nan)
        observed = np.asarray(record["observed"], float) if "observed" in record else unknown
        scores = np.asarray(record["scores"], np.float32)
        return ScoreRows(np.asarray(record["start"]), np.asarray(record["end"]), scores, observed)

    @cached_property
    def _places(self) -> Mapping[str, slice | None]:
        return dict.fromkeys(self.clips) if self.table is None else by_clip(self.table)

    def values(self, scores: Floats) -> tuple[str, Floats, tuple[float, float]]:
        """What stands for its scores in one small curve: its name, [T], and the range; the valence index of classes,
        else its first column."""
        classes = next((task for task in self.outputs if task.kind == "multiclass"), None)
        if classes is not None and set(classes.targets) <= set(self.columns):
            columns = [self.columns.index(target) for target in classes.targets]
            index = valence_index(scores[:, columns], classes.targets)
            if index is not None:
                return "valence index", index, (-1.0, 1.0)
        return self.columns[0], np.asarray(scores[:, 0], float), self.bounds(self.columns[0])

    def bounds(self, column: str) -> tuple[float, float]:
        """What an axis of a column shows: 0 to 1 for probabilities, else -1 to 1."""
        kind = self.kind(column)
        return (-1.0, 1.0) if kind == "regression" else (0.0, 1.0)

    def kind(self, column: str) -> str:
        """The kind of the task that a column is of."""
        return next((task.kind for task in self.outputs if column in task.targets), "regression")


@dataclass(frozen=True, repr=False)
class Scoring:
    """An evaluation or a comparison: its report, each clip's own score by the task's metric where that is kept, and the
    paths of what was scored."""

    path: Path
    report: Mapping[str, Any]
    by_clip: Mapping[str, float] = field(default_factory=dict)
    of: tuple[str, ...] = ()

    @property
    def is_comparison(self) -> bool:
        return "systems" in self.report


@dataclass(repr=False)
class Sources:
    """Everything behind the paths that were given, each artifact once, and lines about what is not there."""

    sets: list[ScoreSet] = field(default_factory=list)
    scorings: list[Scoring] = field(default_factory=list)
    faces: list[Artifact] = field(default_factory=list)
    sound: list[Artifact] = field(default_factory=list)
    artifacts: dict[Path, Artifact] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)
    entries: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def clips(self) -> list[str]:
        """Every clip that has rows, was scored or failed; of a clip whose faces are told apart, those."""
        ids: dict[str, None] = {}
        for each in self.sets:
            ids |= dict.fromkeys(each.clips)
        if not self.sets:
            for artifact in (*self.faces, *self.sound):
                ids |= dict.fromkeys(artifact.clips)
            for scoring in self.scorings:
                ids |= dict.fromkeys(scoring.by_clip)
        ids |= dict.fromkeys(self.failed)
        several = {without_face(clip) for clip in ids if without_face(clip) != clip}
        ids |= dict.fromkeys(clip for clip in self.entries if not self.scorings or self.sets)
        return sorted(clip for clip in ids if clip not in several)

    @cached_property
    def face_rows(self) -> Mapping[str, ClipRows]:
        """The face track of each clip."""
        return _rows_of(self.faces)

    @cached_property
    def sound_rows(self) -> Mapping[str, ClipRows]:
        """The sound of each clip, with its stretches of speech."""
        return _rows_of(self.sound)


def _rows_of(artifacts: Sequence[Artifact]) -> dict[str, ClipRows]:
    """Each clip's rows in the first artifact that has them, without those of which one has two contents: which was read
    nobody says."""
    rows: dict[str, ClipRows] = {}
    for artifact in artifacts:
        if artifact.selection is not None:
            rows = {clip: artifact.clip_rows(clip) for clip in artifact.clips} | rows
            continue
        counts = Counter(key[0] for key in artifact.rows)
        rows = {key[0]: each for key, each in artifact.rows.items() if counts[key[0]] == 1} | rows
    return rows


def sources_of(paths: Sequence[Path], task: str | None) -> Sources:
    """What lies behind these paths. Raises UsageError for what a report cannot be of."""
    sources = Sources()
    for path in paths:
        _add(sources, path, task, "")
    if not (sources.sets or sources.scorings or sources.faces or sources.sound):
        raise UsageError(f"{listed(map(str, paths))}: nothing to report: give predictions, scores, faces or sound")
    _tell_apart(sources)
    return sources


def _add(sources: Sources, path: Path, task: str | None, name: str) -> None:
    if is_artifact(path):
        _add_artifact(sources, Artifact(path), name)
    elif (path / ANALYSIS_FILE).is_file():
        _add_analysis(sources, path)
    elif (path / RUN_FILE).is_file():
        _add_run(sources, path)
    elif path.is_file():
        _add_table(sources, path, task)
    else:
        raise no_artifact(path)


def _add_artifact(sources: Sources, artifact: Artifact, name: str) -> None:
    if artifact.path.absolute() in {each.path.absolute() for each in _reported(sources)}:
        return
    stage = artifact.stage.stage
    if stage in ("evaluate", "compare"):
        _add_scoring(sources, artifact)
    elif stage in SCORES:
        _add_set(sources, artifact, name)
    elif stage in ("faces", "audio"):
        (sources.faces if stage == "faces" else sources.sound).append(artifact)
        _note(sources, artifact, artifact)
    else:
        raise wrong_kind(artifact.path, stage, *SCORES, "evaluate", "compare", "faces", "audio")


def _reported(sources: Sources) -> Iterator[Artifact]:
    yield from (each.artifact for each in sources.sets if each.artifact is not None)
    yield from (*sources.faces, *sources.sound)


def _add_scoring(sources: Sources, artifact: Artifact) -> None:
    stage = catalogue.maker(artifact.stage.stage)
    assert isinstance(stage, FitStage)
    if any(each.path == artifact.path for each in sources.scorings):
        return
    of = tuple(artifact.stage.upstream)
    sources.scorings.append(Scoring(artifact.path, stage.report_of(artifact), _clip_scores(artifact), of))
    sources.artifacts.setdefault(artifact.folder.resolve(), artifact)
    for each in artifact.stage.upstream:
        if not is_artifact(Path(each)):
            sources.notices.append(f"{artifact.path} scores {each}, which is not there any more: no curves of it")
            continue
        _add_artifact(sources, Artifact(Path(each)), "")


def _clip_scores(artifact: Artifact) -> dict[str, float]:
    """Each clip's own score; none where the artifact has no such table. Raises HostileFile for a damaged one."""
    import csv
    import io

    try:
        text = read_text(artifact.folder / CLIPS_FILE, "a table of scores", _LARGEST_TABLE, inside=True)
    except MissingFile:
        return {}
    try:
        rows = list(csv.reader(io.StringIO(text)))[1:]
        return {clip: float(value) if value else float("nan") for clip, _, value in rows}
    except (ValueError, csv.Error) as error:
        raise HostileFile(f"{artifact.folder / CLIPS_FILE} is not a table of scores: {error}") from None


def _add_set(sources: Sources, artifact: Artifact, name: str) -> None:
    columns = tuple(artifact.schema.names["scores"])
    card = artifact.stage.provenance.get("card")
    card_name = card.get("name") if isinstance(card, dict) else None
    called = name or str(card_name or artifact.stage.name)
    sources.sets.append(ScoreSet(called, columns, artifact, outputs_of(columns, card), tuple(artifact.clips)))
    _note(sources, artifact, artifact)


def _note(sources: Sources, reported: Artifact, artifact: Artifact) -> None:
    """Keep an artifact with all that it was made from, and what is said of its clips."""
    try:
        line = [*ancestors(artifact), artifact]
    except UsageError as error:
        sources.notices.append(f"{artifact.path}: {error}; what it was made from is not told")
        line = [artifact]
    wanted = {*reported.clips, *(without_face(clip) for clip in reported.clips)}
    told = _told(reported)
    wanted |= told.keys()
    for clip, entry in told.items():
        before = sources.entries.get(clip, {})
        sources.entries[clip] = {**entry, **{key: value for key, value in before.items() if value is not None}}
    for each in line:
        sources.artifacts.setdefault(each.folder.resolve(), each)
        opened = reported if each.folder == reported.folder else each
        for key, failure in opened.failed().items():
            if key[0] in wanted and without_face(key[0]) not in {without_face(clip) for clip in reported.clips}:
                text = f"{each.stage.stage}: {failure.cause}"
                causes = sources.failed.setdefault(key[0], [])
                if text not in causes:
                    causes.append(text)
        kinds = {"faces": sources.faces, "audio": sources.sound}.get(each.stage.stage)
        if kinds is not None and each.folder.resolve() not in {each_kind.folder.resolve() for each_kind in kinds}:
            kinds.append(each)


def _told(artifact: Artifact) -> Mapping[str, Mapping[str, Any]]:
    """What the user said of its clips."""
    try:
        return artifact.clip_table()
    except UsageError:
        return {}


def _add_table(sources: Sources, path: Path, name: str | None) -> None:
    if name is None:
        raise UsageError(f"{path} is a table of predictions: --task says of which task")
    task = tasks.get(name)
    table = read_predictions(path, task)
    clips = tuple(by_clip(table))
    sources.sets.append(ScoreSet(path.stem, tuple(task.targets), None, (task,), clips, table))


def _add_analysis(sources: Sources, folder: Path) -> None:
    record = read_object(folder / ANALYSIS_FILE, "the record of analyze")
    models = record.get("models")
    if not isinstance(models, dict):
        raise HostileFile(f"{folder / ANALYSIS_FILE} names no models: repeat the analyze command")
    for name, about in models.items():
        path = Path(str(about.get("predictions", ""))) if isinstance(about, dict) else Path()
        if not is_artifact(path):
            raise UsageError(f"{folder} is of {path}, which is not there any more: {_again(record, 'repeat analyze')}")
        _add_artifact(sources, Artifact(path), str(name))
    for key, kinds in (("faces", sources.faces), ("sound", sources.sound)):
        text = record.get(key)
        if isinstance(text, str) and is_artifact(Path(text)):
            artifact = Artifact(Path(text))
            if artifact.folder.resolve() not in {each_kind.folder.resolve() for each_kind in kinds}:
                kinds.append(artifact)
    for clip, where in _texts(record.get("clips")):
        sources.entries[clip] = {"path": where, **sources.entries.get(clip, {})}
    for clip, cause in _texts(record.get("failed")):
        sources.failed.setdefault(clip, []).append(cause)
    sources.records.append({"what": "analyze", "path": str(folder), "command": str(record.get("command", ""))})


def _add_run(sources: Sources, folder: Path) -> None:
    summary = read_object(folder / RUN_FILE, "the summary of a run", nan=True)
    steps = summary.get("steps")
    if not isinstance(steps, list):
        raise HostileFile(f"{folder / RUN_FILE} is not the summary of a run: it has no steps")
    for step in steps:
        if not isinstance(step, dict) or not all(isinstance(step.get(key), str) for key in ("step", "stage", "path")):
            raise HostileFile(f"{folder / RUN_FILE} is not the summary of a run: a step without a name or a path")
        if step["stage"] not in (*SCORES, "evaluate", "compare"):
            continue
        path = _place(Path(step["path"]), folder)
        if not is_artifact(path):
            sources.notices.append(f"step {step['step']} made {path}, which is not there any more: left out")
            continue
        _add_artifact(sources, Artifact(path), step["step"])
    recipe = summary.get("recipe")
    about = recipe if isinstance(recipe, dict) else {}
    notes = summary.get("notes")
    lines = [f"{step}: {line}" for step, some in (notes.items() if isinstance(notes, dict) else ()) for line in some]
    sources.records.append({
        "what": "run", "path": str(folder), "command": f"affectkit run {about.get('name', '')}",
        "title": str(about.get("title") or about.get("name") or ""), "notes": list(map(str, lines)),
    })  # fmt: skip


def _place(path: Path, run: Path) -> Path:
    """Where a step's artifact lies: a path as it was printed holds in the folder where the run was started, so the
    cache that the run's folder lies in is looked at as well."""
    if is_artifact(path):
        return path
    parts = path.parts[-4:] if path.parent.name == "selections" else path.parts[-2:]
    beside = run.absolute().parents[1].joinpath(*parts)
    return beside if ".." not in parts and is_artifact(beside) else path


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """The texts of a JSON object by their names."""
    if isinstance(value, dict):
        yield from ((str(key), text) for key, text in value.items() if isinstance(text, str))


def _again(record: Mapping[str, Any], otherwise: str) -> str:
    command = record.get("command")
    return f"repeat {command}" if isinstance(command, str) and command else otherwise


def outputs_of(columns: Sequence[str], card: Any) -> tuple[Task, ...]:
    """The tasks that columns are of: as a model's card says, else the built-in ones with these targets."""
    outputs: list[Task] = []
    for about in card.get("outputs", ()) if isinstance(card, dict) else ():
        try:
            task = Task.model_validate(about)
        except ValueError:
            continue
        if set(task.targets) <= set(columns):
            outputs.append(task)
    if outputs:
        return tuple(outputs)
    return tuple(task for task in tasks.BUILT_IN.values() if task.targets == tuple(columns))[:1]


def _tell_apart(sources: Sources) -> None:
    """Sets of one name get the beginning of their fingerprint after it, and tables a number."""
    names = [each.name for each in sources.sets]
    for place, each in enumerate(sources.sets):
        if names.count(each.name) > 1:
            mark = each.artifact.stage.fingerprint[:6] if each.artifact is not None else str(place + 1)
            sources.sets[place] = ScoreSet(
                f"{each.name} {mark}", each.columns, each.artifact, each.outputs, each.clips, each.table
            )
