"""Whether everything that a plan needs is here: data sets, label tables, templates, weights, packages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from affectkit import plugins, tasks
from affectkit.downloads import NOT_NOW, offline
from affectkit.errors import AffectkitError
from affectkit.recipes._settings import chosen, options_of, places_in
from affectkit.recipes.check import RecipePlan, root_option
from affectkit.recipes.folders import FolderMedia, Folders
from affectkit.recipes.steps import DataSet, Step, files_of
from affectkit.tables.label_tables import check_labels
from affectkit.tables.labels import DatasetLabels, Labels
from affectkit.tasks import Task
from affectkit.types import Clip, ClipLabels
from affectkit.weights import WeightsFile, advising

_HAVE_WEIGHTS = ("detectors", "backbones", "models", "networks")


class _Reader:
    """A data set's reader whose labels are read once: every step that learns or scores asks for them."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._labels: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def labels(self, task: Task) -> dict[str, ClipLabels]:
        """As the reader's own."""
        key = task.model_dump_json()
        if key not in self._labels:
            self._labels[key] = self._reader.labels(task)
        return dict(self._labels[key])


@dataclass(frozen=True)
class _Opened(DatasetLabels):
    """A data set that is opened once."""

    reader: Any = None

    def open(self) -> Any:
        return self.reader


class Media:
    """A data set that was opened, and its clips."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._checked: list[Task] = []

    @cached_property
    def reader(self) -> _Reader:
        """Raises UsageError."""
        return _Reader(self._data.source().open())

    @property
    def labels(self) -> DatasetLabels:
        """As stages take it. Raises UsageError."""
        source = self._data.source()
        return _Opened(source.name, source.root, source.option, self.reader)

    def check(self, task: Task) -> None:
        """That labels of a task can be read, but for their times: those may take minutes of looking into videos.
        Raises UsageError."""
        if task not in self._checked:
            self.reader.rows(task)
            self._checked.append(task)

    def clips(self, makes: str) -> list[Clip]:
        """Media for a stage that makes crops or sound: the same for both. Raises UsageError."""
        return self._clips

    @cached_property
    def _clips(self) -> list[Clip]:
        return list(self.reader.clips())


AnyMedia = Media | FolderMedia


def look(plan: RecipePlan, *, fetch: bool) -> dict[str, AnyMedia]:
    """Note in the plan what is missing, all of it; returns the data sets that could be opened.

    `fetch`: whether weights may be downloaded, which is done last, and only where nothing else is in the way.
    """
    media: dict[str, AnyMedia] = {
        name: FolderMedia(data) if isinstance(data, Folders) else Media(data)
        for name, data in plan.data.items() if data.root is not None
    }  # fmt: skip
    looking = _Looking(plan, media)
    for step in plan.steps.values():
        for check in (looking.folders, looking.data, looking.labels, looking.files, looking.needs):
            check(step)
    with nullcontext() if fetch and not plan.problems else offline():
        for step in plan.steps.values():
            looking.weights(step)
    return media


def fetch(plan: RecipePlan) -> dict[WeightsFile, list[str]]:
    """Every file of weights that a plan needs, once, with the steps that need it; what cannot be had is a problem of
    the plan."""
    found: dict[WeightsFile, list[str]] = {}
    for step in plan.steps.values():
        try:
            file = weights_of(step)
        except AffectkitError as error:
            setting = step.stage.plugin[1] if step.stage.plugin else "weights"
            plan.draft.problem(["steps", step.name, setting], str(error), is_missing=True)
            continue
        if file is not None and file.path is not None:
            found.setdefault(file, []).append(step.name)
    return found


def labels_of(plan: RecipePlan, media: dict[str, AnyMedia], step: Step, key: tuple[str, ...], given: str) -> Labels:
    """A data set of the recipe by name, else a table. Raises UsageError where the data set cannot be opened."""
    if given in plan.data:
        return media[given].labels
    return plan.draft.folder("steps", step.name, *key) / given


def weights_of(step: Step) -> WeightsFile | None:
    """The weights that a step's plugin begins with, downloaded where need be and where that may be; None where it has
    none, or takes those of another step. Raises UsageError, MissingExtra."""
    if step.model:
        name, model, model_options = plugins.backbone(step.model, options_of(step.settings))
        return plugins.weights("models", name, model, model_options, step.setting("weights"))
    if step.weights_of or step.stage.plugin is None or step.stage.plugin[0] not in _HAVE_WEIGHTS:
        return None
    if (found := chosen(step)) is None:
        return None
    plugin, options = found
    return plugins.weights(step.stage.plugin[0], step.plugin, plugin, options, step.setting("weights"))


class _Looking:
    def __init__(self, plan: RecipePlan, media: dict[str, AnyMedia]) -> None:
        self._plan = plan
        self._media = media

    def folders(self, step: Step) -> None:
        """Media, labels and splits of data sets without a reader: what is not there is told on the data set's line."""
        for name, one in self._media.items():
            for key, message in one.missing(step) if isinstance(one, FolderMedia) else ():
                if message not in {problem.what for problem in self._plan.draft.problems}:
                    self._plan.draft.problem(["data", name, key], message, is_missing=True)
                self._plan.lack(step.name, f"{key} of {name}")

    def data(self, step: Step) -> None:
        """Media that a step begins with."""
        if (name := getattr(step.keys, "data", None)) is not None and self._root(step, name):
            self._tried(step, ("data",), f"data set {name}", lambda: self._media[name].clips(step.stage.makes))

    def labels(self, step: Step) -> None:
        """Label tables: that they are there and of the task."""
        given: list[tuple[tuple[str, ...], str | None, str]] = [
            (("labels",), getattr(step.keys, "labels", None), step.setting("task"))
        ]
        given += [(("aux", str(n), "labels"), one.labels, one.task) for n, one in enumerate(step.aux)]
        for key, name, task in given:
            if name is None or task is None:  # a task that is lacking is told where settings are checked
                continue
            if name not in self._plan.data:
                path = self._plan.draft.folder("steps", step.name, *key) / name
                if self._file(step, key, path, "labels"):
                    self._tried(step, key, "labels", lambda: check_labels(path, tasks.get(task)))  # noqa: B023
            elif self._root(step, name):
                self._tried(step, key, "labels", lambda: self._media[name].check(tasks.get(task)))  # noqa: B023

    def files(self, step: Step) -> None:
        """Tables, templates and folders of videos."""
        kinds = files_of(step.stage)
        for name, path in step.paths.items():
            if places_in(str(path)):  # with a root that is not known
                continue
            if kinds[name] == "folder":
                if not path.is_dir():
                    self._missing(step, (name,), f"{name} {path} is not a folder", str(path))
            else:
                self._file(step, (name,), path, name)

    def weights(self, step: Step) -> None:
        """Files of weights, downloaded where that may be."""
        if not self._weights_matter(step):
            return
        if step.stage.plugin is not None or step.model:
            key = "weights" if "weights" in step.settings else step.stage.plugin[1] if step.stage.plugin else "model"
            self._tried(step, (key,), f"weights of {step.plugin or step.model}", lambda: weights_of(step))

    def needs(self, step: Step) -> None:
        """What only some settings need: packages of extras, a template of the right form."""
        there = {name: path for name, path in step.paths.items() if path.is_file()}
        for need in step.stage.needs(step.config(step.stage.Config), there):
            self._tried(step, (need.setting,), need.what, need.check)

    def _weights_matter(self, step: Step) -> bool:
        name = getattr(step.keys, "data", None)
        try:
            media = self._media.get(name or "")
            return media is None or step.stage.weights_matter(media.clips(step.stage.makes))
        except AffectkitError:
            return True

    def _root(self, step: Step, name: str) -> bool:
        """Whether a data set's root is known."""
        if name in self._media:
            return True
        option = root_option(self._plan.data, name)
        self._plan.draft.problem(
            ["data", name], f"where data set {name} ({self._plan.data[name].dataset}) lies is not said: {option}", True
        )
        self._plan.lack(step.name, option)
        return False

    def _file(self, step: Step, key: tuple[str, ...], path: Path, what: str) -> bool:
        if not path.is_file():
            self._missing(step, key, f"{what} {path} is not a file", str(path))
        return path.is_file()

    def _tried(self, step: Step, key: tuple[str, ...], what: str, call: Callable[[], Any]) -> None:
        try:
            with advising("--set STEP.weights=PATH"):  # run has no --weights
                call()
        except AffectkitError as error:
            self._missing(step, key, str(error), what)

    def _missing(self, step: Step, key: tuple[str, ...], message: str, what: str) -> None:
        message = message.replace("cannot fetch the weights", "not here yet: the weights").replace(f" ({NOT_NOW})", "")
        if message not in {one.what for one in self._plan.draft.problems}:  # else told of another step, or as a mistake
            self._plan.draft.problem(["steps", step.name, *key], message, is_missing=True)
        self._plan.lack(step.name, what)
