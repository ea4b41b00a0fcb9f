"""`affectkit plot`: Draw predictions and labels, for print: timelines, circumplex, subjects, reliability, confusion.

Predictions, labels or both -> a folder of figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from affectkit import __version__, tasks
from affectkit.config import Config
from affectkit.drawing import style
from affectkit.errors import UsageError, listed, unknown
from affectkit.stages.inputs import REQUIRED, artifacts, clips, file, labels, splits
from affectkit.stages.plot_data import PlotData, PlotSet, circumplex_columns, lines_of
from affectkit.stages.scoring import ScoringConfig, gather
from affectkit.stages.stage import Context, Need, Result, Stage, TextTable
from affectkit.store import is_artifact, open_artifact
from affectkit.store.result_folder import ResultFolder
from affectkit.tables import predictions as tables
from affectkit.tables.ids import ClipChoice, choose
from affectkit.tables.labels import Labels, identity, read
from affectkit.tables.splits import split_in, split_table
from affectkit.tables.subjects import By, Subjects
from affectkit.tables.timeline import by_clip
from affectkit.tasks import Task
from affectkit.types import SPLITS, ClipLabels, Predictions

RECORD, WHAT = "figures.json", "figures"
KINDS = ("timeline", "circumplex", "subjects", "reliability", "confusion")
MOST_TARGETS = 24
"""Targets that are told apart on paper."""
_AGAIN = 1  # raised where the same numbers are drawn in another way


class PlotConfig(Config):
    """What is drawn, and how."""

    task: str | None = Field(
        None,
        description="a task (affectkit list tasks), or a TOML file; needed with labels  [default: what the predictions "
        "are of]",
    )
    kind: list[str] = Field(
        [],
        description="timeline, circumplex, subjects, reliability or confusion (repeatable)  [default: all that fit the "
        "task and what is given]",
    )
    split: str | None = Field(
        None, description="train, val or test (default: with labels and predictions test, else val; otherwise all)"
    )
    by: By | None = Field(
        None, description="what is one line of subjects: clip or subject  [default: subject, where every clip has one]"
    )
    level: float = Field(0.95, ge=0.5, lt=1, description="how often an interval holds the truth")
    format: str = Field("png", description="png, svg, pdf, or several: png,svg,pdf", json_schema_extra={"is_own": True})

    @field_validator("kind")
    @classmethod
    def _are_kinds(cls, kind: list[str]) -> list[str]:
        for each in kind:
            if each not in KINDS:
                raise unknown("kind of figures", each, KINDS)
        return kind

    @field_validator("format")
    @classmethod
    def _known(cls, format: str) -> str:
        return ",".join(style.formats(format))

    @field_validator("split")
    @classmethod
    def _is_split(cls, split: str | None) -> str | None:
        if split is not None and split not in SPLITS:
            raise UsageError(f"--split '{split}' is none of {', '.join(SPLITS)}")
        return split


class Plot(Stage):
    """Draw predictions and labels, for print: timelines, circumplex, subjects, reliability, confusion.

    Figures are as wide as a column or a page of print, in colours that everybody can tell apart. With labels and
    predictions the clips are those that evaluate scores. The same line writes the same bytes.

    Examples:

    `affectkit plot "$P" --out figures`

    `affectkit plot "$VIDEO" "$FUSED" --labels va.csv --task va --format png,pdf --out figures`

    `affectkit plot --labels va.csv --task va --kind circumplex --out figures`
    """

    name = "plot"
    makes = "file"
    says = "figures of {inputs}"
    version = 1
    Config = PlotConfig

    @dataclass(frozen=True)
    class Inputs:
        """Predictions, labels, and where figures go."""

        predictions: Sequence[Path] | None = artifacts(
            "predictions", help="prediction artifacts or CSV files; none: the labels alone are drawn", many=True,
            least=0, default=None,
        )  # fmt: skip
        labels: Labels | None = labels(default=None)
        splits: Path | None = splits()
        clips: ClipChoice = clips()
        out: Path = file("the folder for the figures", kind="made", default=REQUIRED)

    def needs(self, config: PlotConfig, files: Mapping[str, Path]) -> Iterator[Need]:
        yield Need("kind", "matplotlib", style.require_matplotlib)

    def mistakes(self, config: Mapping[str, Any], inputs: int, plugin: Any) -> Iterator[tuple[str, str]]:
        if config.get("labels") is not None and config.get("task") is None:
            yield "task", "labels are of a task: say which"

    def reads_task(self, config: PlotConfig) -> tuple[Task, str] | None:
        if config.task is None:
            return None
        task = tasks.get(config.task)
        return task, f"not {task.name}"

    def run(self, inputs: Inputs, config: PlotConfig, context: Context) -> Result:
        """Write the figures; those that are there and would be the same are left as they are."""
        style.require_matplotlib()
        folder = ResultFolder(inputs.out, RECORD, WHAT)  # raises for a folder with other files, before any work
        task = _task(inputs, config)
        notices: list[str] = []
        data = _data(inputs, config, task, notices)
        kinds = _kinds(data, config)
        files = _write(folder, data, kinds, config, _identity(inputs, config, task))
        report = {
            "task": task.name, "kinds": kinds, "clips": len(data.clips), "sources": data.sources, "files": files,
            "written": len(folder.changed),
        }  # fmt: skip
        if folder.altered:
            notices.append(f"{listed(folder.altered)} had been changed by hand: written anew")
        return Result(inputs.out, cached=not folder.changed, report=report, notices=tuple(notices))

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        yield from super().lines(result)
        report = result.report
        state = "there already" if result.cached else f"{report['written']} written"
        yield (
            f"{len(report['files'])} files ({state}): {', '.join(report['kinds'])} of {report['clips']} clips, "
            f"{', '.join(report['sources'])}"
        )

    def json(self, result: Result) -> dict[str, Any]:
        return {"folder": str(result.path), "cached": result.is_cached, **result.report}


STAGE = Plot


def _task(inputs: Plot.Inputs, config: PlotConfig) -> Task:
    """The task that is said, or that the predictions are of. Raises UsageError."""
    if config.task is not None:
        task = tasks.get(config.task)
    elif inputs.labels is not None:
        raise UsageError("labels are of a task: give --task NAME with them (affectkit list tasks)")
    elif not inputs.predictions:
        raise UsageError("nothing to draw: give predictions, or --labels CSV and --task NAME, or both")
    else:
        task = _task_of(inputs.predictions[0])
    if not inputs.predictions and inputs.labels is None:
        raise UsageError("nothing to draw: give predictions, or --labels CSV and --task NAME, or both")
    if task.outputs > MOST_TARGETS:
        raise UsageError(f"task {task.name} has {task.outputs} targets; {MOST_TARGETS} at most are told apart on paper")
    if inputs.predictions and len(inputs.predictions) > len(style.SERIES):
        raise UsageError(
            f"{len(inputs.predictions)} prediction sets; {len(style.SERIES)} at most have a colour of their own"
        )
    return task


def _task_of(path: Path) -> Task:
    """The only task whose targets are all among the columns of predictions. Raises UsageError."""
    columns = tables.columns_of(path)
    fitting = [task for task in tasks.BUILT_IN.values() if set(task.targets) <= set(columns)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{path} has columns of several tasks: say which by --task {' or '.join(task.name for task in fitting)}"
        )
    raise UsageError(
        f"the columns of {path} ({listed(columns)}) are of no built-in task: give --task, a name or a TOML file "
        "(affectkit list tasks)"
    )


def _data(inputs: Plot.Inputs, config: PlotConfig, task: Task, notices: list[str]) -> PlotData:
    """Everything that is read, once, and the clips that are drawn of it."""
    labels_of_clip = None if inputs.labels is None else read(inputs.labels, task, notices)
    paths = list(inputs.predictions or ())
    sets = [
        PlotSet(name, tables.with_splits(tables.load(path, task), labels_of_clip or {}, inputs.splits))
        for name, path in zip(_names(paths), paths, strict=True)
    ]
    all_clips = _clips_of(sets, labels_of_clip)
    chosen = choose(inputs.clips, all_clips)
    if chosen is not None:
        sets = [replace(each, predictions=_of(each.predictions, set(chosen))) for each in sets]
        labels_of_clip = labels_of_clip and {clip: labels_of_clip[clip] for clip in chosen if clip in labels_of_clip}
    scored, split = None, config.split
    if sets and labels_of_clip is not None:
        scoring = ScoringConfig(task=task.name, split=config.split, draws=0)
        try:
            scored = gather(task, [each.predictions for each in sets], labels_of_clip, scoring, inputs.splits)
        except UsageError as error:
            if {"reliability", "confusion"} & set(config.kind):
                raise
            notices.append(f"nothing has both a label and a score: {error}")
        else:
            split = scored.split or None
            notices += scored.cautions
    split_of = _splits(all_clips, sets, labels_of_clip, inputs.splits)
    clips = [clip for clip in (chosen or all_clips) if split is None or split_of.get(clip) == split]
    if not clips:
        raise UsageError(f"none of {len(chosen or all_clips)} clips is in split '{split}'")
    if split is not None:
        notices.append(f"split {split}: {len(clips)} of {len(chosen or all_clips)} clips are drawn")
    subjects = Subjects.named(labels_of_clip or {})
    by_subject = config.by == "subject" or (config.by is None and all(map(subjects.of, clips)))
    data = PlotData(task, clips, sets, labels_of_clip, scored, subjects, by_subject, config.level)
    notices += _left_out(data)
    return data


def _clips_of(sets: Sequence[PlotSet], labels_of_clip: Mapping[str, ClipLabels] | None) -> list[str]:
    """The clips of all sets; without any set, those of the labels. Sorted."""
    if sets:
        return sorted({clip for each in sets for clip in np.unique(each.predictions.clip).tolist()})
    return sorted(labels_of_clip or {})


def _of(predictions: Predictions, clips: set[str]) -> Predictions:
    return predictions.select(np.isin(predictions.clip, sorted(clips)))


def _splits(
    clips: Sequence[str], sets: Sequence[PlotSet], labels_of_clip: Mapping[str, ClipLabels] | None, file: Path | None
) -> dict[str, str]:
    """The split of each clip as the first set that has it says; without any set, as the table of splits or the labels
    do."""
    if not sets:
        table = split_table(labels_of_clip or {}, file)
        return {clip: split_in(table, clip) for clip in clips}
    rows_of = [(each.predictions, by_clip(each.predictions)) for each in reversed(sets)]
    return {clip: str(each.split[rows][0]) for each, of_clip in rows_of for clip, rows in of_clip.items()}


def _left_out(data: PlotData) -> Iterator[str]:
    """Lines about what the figures do not show, or show as grey."""
    if data.labels is not None and data.sets:
        if unlabelled := [clip for clip in data.clips if clip not in data.labels]:
            yield f"{listed(unlabelled, 'clips')} have no labels: predictions alone are drawn"
        if data.scored is not None and (absent := data.scored.counts["clips_without_prediction"]):
            yield f"{listed(absent, 'clips')} labelled, without a prediction: not drawn"
    for source in data.sources:
        tracks = data.tracks(source).values()
        rows, valid = sum(len(each.times) for each in tracks), sum(int(each.valid.sum()) for each in tracks)
        if valid < rows:
            what = "label" if source == "labels" else "score"
            yield f"{source}: {rows - valid} of {rows} rows have no {what}"


def _names(paths: Sequence[Path]) -> list[str]:
    """What sets are called: the model's or the artifact's name, of a CSV file its own; numbered where two are alike."""
    names = []
    for path in paths:
        if is_artifact(path):
            stage = open_artifact(path).stage
            names.append(str(stage.provenance.get("card", {}).get("name") or stage.name))
        else:
            names.append(path.stem)
    return [
        name if names.count(name) == 1 and name != "labels" else f"{name} {names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _kinds(data: PlotData, config: PlotConfig) -> list[str]:
    """The kinds that were asked for, else all that fit. Raises UsageError for one that does not."""
    unfit = _unfit(data)
    for kind in config.kind:
        if kind in unfit:
            raise UsageError(f"--kind {kind}: {unfit[kind]}")
    if config.kind:
        if "subjects" in config.kind:
            lines_of(data)  # raises, before anything is written
        return [kind for kind in KINDS if kind in config.kind]
    fitting: list[str] = [kind for kind in KINDS if kind not in unfit]
    is_line_a_clip = data.task.level == "time" and not data.by_subject and config.by is None
    if len(fitting) > 1 and (is_line_a_clip or len(lines_of(data)) < 2):
        fitting.remove("subjects")
    return fitting


def _unfit(data: PlotData) -> dict[str, str]:
    """Why a kind cannot be drawn."""
    task, unfit = data.task, {}
    if task.level == "clip":
        unfit["timeline"] = f"it is for scores over time; {task.name} has one score a clip"
    if circumplex_columns(task) is None:
        unfit["circumplex"] = f"it is for valence and arousal; {task.name} has {', '.join(task.targets[:3])}"
    if task.kind == "regression":
        unfit["reliability"] = f"it is for probabilities; {task.name} is a regression"
    if task.kind != "multiclass":
        unfit["confusion"] = f"it is for classes, of which a row has one; {task.name} is a {task.kind} task"
    if data.scored is None:
        lacking = (
            "predictions and --labels are needed" if not (data.sets and data.labels is not None) else "no row is scored"
        )
        for kind in ("reliability", "confusion"):
            unfit.setdefault(kind, lacking)
    return unfit


def _identity(inputs: Plot.Inputs, config: PlotConfig, task: Task) -> str:
    """Of what all figures are made: the inputs, the settings and the libraries."""
    import matplotlib

    sources = {
        "config": config.model_dump(mode="json", exclude={"format", "kind"}),
        "task": task.model_dump(mode="json"),
        "predictions": [tables.identity(path) for path in inputs.predictions or ()],
        "names": _names(list(inputs.predictions or ())),
        "labels": None if inputs.labels is None else identity(inputs.labels, task),
        "splits": None if inputs.splits is None else tables.identity(inputs.splits),
        "versions": [_AGAIN, __version__, matplotlib.__version__],
    }
    return json.dumps(sources, sort_keys=True)


def _write(folder: ResultFolder, data: PlotData, kinds: Sequence[str], config: PlotConfig, about: str) -> list[str]:
    """Draw what is not there yet, and return the names of all files."""
    from affectkit.stages.plot_figures import DRAWN

    formats = style.formats(config.format)
    made_from = sha256(f"{about} {json.dumps(list(data.clips))}".encode()).hexdigest()
    names: list[str] = []
    with style.styled():
        drawings = [drawing for kind in kinds for drawing in DRAWN[kind](data)]
        names = [f"{name}.{kind}" for name, _ in drawings for kind in formats]
        folder.begin(names)
        for name, draw in drawings:
            figure = None
            for kind in formats:
                with folder.file(f"{name}.{kind}", made_from) as temporary:
                    if temporary is not None:
                        if figure is None:
                            figure = draw()
                            style.lay_out(figure)
                        style.write(figure, temporary, kind)
    folder.end({"affectkit": __version__, "task": data.task.name, "kinds": list(kinds), "clips": list(data.clips)})
    return names
