"""What the Python functions return: artifacts as a notebook reads them, clip by clip or as a pandas frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit import tasks
from affectkit.arguments import TableFiles, labels_from
from affectkit.errors import AffectkitError, UsageError
from affectkit.stages import catalogue, reports
from affectkit.stages.fit_stage import FitStage
from affectkit.stages.stage import Result
from affectkit.store import Artifact, Features, ancestors, feature_columns, is_artifact
from affectkit.store.features import features as column_of
from affectkit.store.kinds import MAKES, TRAINED
from affectkit.tables.labels import match_labels, read
from affectkit.tables.splits import SplitRequest, resolve_splits
from affectkit.tables.timeline import Pooling
from affectkit.types import FaceTrack, FeatureSequence, Floats, Predictions

if TYPE_CHECKING:
    import pandas as pd

    from affectkit.training.window_set import WindowSet

SOME_FAILED = 3
_COMPONENTS = {
    "boxes": ["x0", "y0", "x1", "y1"],
    "landmarks": [
        f"{point}_{axis}" for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth") for axis in "xy"
    ],
}
"""What the numbers of a column are called where its schema does not say."""


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
        self.cached = True if result is None else result.cached
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


class ClipTable(StageOutput):
    """A table by clip: `len`, `in` and iteration are over the ids of its clips."""

    @property
    def clips(self) -> list[str]:
        """Ids of the clips, sorted."""
        return self.artifact.clips

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[str]:
        return iter(self.clips)

    def __contains__(self, clip: object) -> bool:
        return clip in self.artifact

    def frame(self, clips: Sequence[str] | None = None) -> pd.DataFrame:
        """Every row as a pandas frame: clip, start, end (s), valid, then a column a component."""
        import pandas as pd

        chosen = self.clips if clips is None else list(clips)
        lengths = [self.artifact.length(clip) for clip in chosen]
        columns: dict[str, Any] = {"clip": np.repeat(np.array(chosen, dtype=object), lengths)}
        blocks = []
        for name in self._columns():
            column = self.artifact.schema.columns[name]
            rows = _joined([self.artifact.column(clip, name) for clip in chosen], column.shape, column.dtype)
            if not column.shape:
                columns[name] = rows.astype(bool) if name == "valid" else rows
                continue
            names = _component_names(self.artifact, name)
            blocks.append(pd.DataFrame(rows.reshape(len(rows), len(names)), columns=names))
        return self._ordered(pd.concat([pd.DataFrame(columns), *blocks], axis=1), lengths, chosen)

    def _columns(self) -> list[str]:
        """The columns that a frame has, of those with a value a row."""
        return [name for name, column in self.artifact.schema.columns.items() if column.per == "row"]

    def _ordered(self, frame: pd.DataFrame, lengths: Sequence[int], clips: Sequence[str]) -> pd.DataFrame:
        return frame

    def _counts(self) -> dict[str, Any]:
        return {"clips": len(self), "rows": sum(map(self.artifact.length, self.clips)), "failed": len(self.failed)}


class FaceTable(ClipTable):
    """Face tracks with crops, what `extract_faces` returns."""

    def __getitem__(self, clip: str) -> FaceTrack:
        """The track of a clip; `crops` are encoded pictures."""
        rows = self.artifact.read(clip)
        return FaceTrack(
            rows["start"], rows["end"], rows["boxes"], rows["landmarks"], rows["score"],
            [bytes(crop) for crop in rows["image"]], rows["valid"].astype(bool), rows["frame_index"],
        )  # fmt: skip

    def crop(self, clip: str, row: int) -> NDArray[np.uint8]:
        """The crop of one row of a clip, uint8 [H,W,3]. Raises UsageError where there is no face."""
        from io import BytesIO

        from PIL import Image

        crop = bytes(self.artifact.column(clip, "image")[row])
        if not crop:
            raise UsageError(f"row {row} of clip '{clip}' has no face")
        with Image.open(BytesIO(crop)) as picture:
            return np.asarray(picture.convert("RGB"))


class SoundTable(ClipTable):
    """Waveforms and where speech is, what `extract_audio` returns. A row is a stretch of speech."""

    def __getitem__(self, clip: str) -> Floats:
        """The samples of a clip, float32 [S]; `sampling_rate` is how many there are a second."""
        return np.asarray(self.artifact.column(clip, "samples"))

    @property
    def sampling_rate(self) -> int:
        """Samples a second (Hz)."""
        return int(self.artifact.stage.inputs["config"]["sampling_rate"])


class FeatureTable(ClipTable):
    """Features, what `embed`, `functionals` and `import_features` return.

    `layer` is the one that is read where a backbone gave several: `features.of_layer("layer_07")`.
    """

    def __init__(self, artifact: Artifact, result: Result | None = None, layer: str = "") -> None:
        super().__init__(artifact, result)
        if layer:
            column_of(artifact, layer)  # raises where there is none
        self.layer = layer

    @property
    def stored(self) -> Artifact | Features:
        """The features as stages read them."""
        return Features(self.artifact, self.layer) if self.layer else self.artifact

    @property
    def layers(self) -> dict[str, int]:
        """What there is to be read, `values` for most, with dimensions D."""
        return {name: self.artifact.schema.columns[name].shape[0] for name in feature_columns(self.artifact.schema)}

    @property
    def names(self) -> list[str]:
        """What the D components are called."""
        return _component_names(self.artifact, column_of(self.artifact, self.layer).column)

    def of_layer(self, layer: str) -> FeatureTable:
        """The same features, of which this layer is read."""
        return FeatureTable(self.artifact, self._result, layer)

    def __getitem__(self, clip: str) -> FeatureSequence:
        """The features of a clip: start, end [T] (s), values [T,D], valid [T]."""
        return column_of(self.artifact, self.layer).sequence(clip)

    def windows(
        self, *, labels: Any, task: str, window: float | Literal["clip"] = 4.0, hop: float | None = None,
        split: str | None = None, splits: Any = None, label_pooling: Pooling = "midpoint",
    ) -> WindowSet:  # fmt: skip
        """A torch data set of windows of the labelled clips, with their labels: see `WindowSet` for what an item is.

        `window` and `hop` (half a window by default) are seconds, and become steps by the median time between rows;
        `window="clip"` is one window a clip. `split`: only the clips of train, val or test, by `splits`, the labels or
        the manifest. Raises UsageError, as training does.
        """
        from affectkit.training.window_set import WindowSet

        meant, source = tasks.get(task), column_of(self.artifact, self.layer)
        with TableFiles() as tables:
            known = read(labels_from(labels, tables), meant)
            clips = list(match_labels(source.clips, known).clips)
            if split is not None:
                file = None if splits is None else tables.path("splits", splits)
                table = resolve_splits(source.clips, known, source.clip_table(), SplitRequest(file))
                clips = [clip for clip in clips if table.get(clip) == split]
        if not clips:
            raise UsageError(f"no labelled clip with features has split '{split}'")
        sequences = {clip: source.sequence(clip) for clip in clips}
        return WindowSet(sequences, known, meant, window, hop, label_pooling)

    def _columns(self) -> list[str]:
        wanted = [self.layer] if self.layer else list(self.layers)
        return ["start", "end", "valid", *wanted]

    def _counts(self) -> dict[str, Any]:
        counts = super()._counts()
        return counts | {"dimensions": " + ".join(map(str, self.layers.values()))}


class PredictionTable(ClipTable):
    """Scores, what `predict`, `fuse` and `train_head(folds=...)` return."""

    @property
    def targets(self) -> list[str]:
        """What is predicted: names of the scores' columns."""
        return self.artifact.schema.names["scores"]

    def __getitem__(self, clip: str) -> Predictions:
        """The scores of a clip."""
        rows = self.artifact.read(clip)
        count = len(rows["start"])
        observed = rows.get("observed", np.full(count, np.nan))
        return Predictions(
            np.full(count, clip), np.asarray(rows["start"]), np.asarray(rows["end"]),
            np.asarray(rows["scores"], float), tuple(self.targets), np.full(count, rows["split"]),
            np.asarray(observed, float),
        )  # fmt: skip

    def _columns(self) -> list[str]:
        observed = [name for name in ("observed",) if name in self.artifact.schema.columns]
        return ["start", "end", "scores", "valid", *observed]

    def _ordered(self, frame: pd.DataFrame, lengths: Sequence[int], clips: Sequence[str]) -> pd.DataFrame:
        split = np.array([self.artifact.column(clip, "split") for clip in clips], dtype=object)
        frame.insert(3, "split", np.repeat(split, lengths))
        last = [name for name in ("valid", "observed") if name in frame]
        return frame[[name for name in frame if name not in last] + last]


class TrainedModel(StageOutput):
    """A head or a fine-tuned network, what `train_head` and `finetune` return."""

    @property
    def task(self) -> tasks.Task:
        """What it predicts."""
        return tasks.Task.model_validate(self.report["task"])

    @property
    def val_score(self) -> float:
        """The task's metric on the validation clips, the mean over seeds; NaN where there were none."""
        mean = self.report["val_score"]["mean"]
        return float("nan") if mean is None else float(mean)

    def predict(self, inputs: Any, **options: Any) -> PredictionTable:
        """Scores from features (of a network: crops or sound) or from media: `affectkit.predict` of this model."""
        import affectkit

        table: PredictionTable = affectkit.predict(self, inputs, **options)
        return table

    def _counts(self) -> dict[str, Any]:
        score = self.report["val_score"]
        return {f"val {score['metric']}": "none" if score["mean"] is None else f"{score['mean']:.4f}"}


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
    """A file that was written or checked, what `submit` returns.

    path: where it lies; report: what is said of it; notices: what its user must know, of a checked file what is wrong;
    exit_code: 3 where a file that was checked is wrong.
    """

    def __init__(self, path: Path, result: Result | None = None) -> None:
        self.path = path
        self.cached = False
        self.failed: dict[str, str] = {}
        self.report: Mapping[str, Any] = {} if result is None else result.report
        self.notices: tuple[str, ...] = () if result is None else tuple(result.notices)
        self.exit_code = 0 if result is None else result.code

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<WrittenFile {self.path}>"


Output = StageOutput | WrittenFile


def of_result(result: Result) -> Output:
    """What a function returns of a stage's result."""
    if result.artifact is None:
        return WrittenFile(result.path, result)
    return _class_of(result.artifact)(result.artifact, result)


def open_output(path: Any) -> Output:
    """What a command printed or a function returned: an artifact, a selection of one, `PATH:layer_07`, or a file.

    Raises UsageError where there is nothing of the kind.
    """
    text = str(path)
    folder, _, layer = text.rpartition(":")
    if folder and not is_artifact(Path(text)) and is_artifact(Path(folder)):
        return FeatureTable(Artifact(Path(folder)), layer=layer)
    place = Path(text).expanduser()
    if not is_artifact(place) and place.is_file():
        return WrittenFile(place)
    artifact = Artifact(place)
    return _class_of(artifact)(artifact)


def _class_of(artifact: Artifact) -> type[StageOutput]:
    """What is returned of an artifact: of a table by its columns, whichever stage made it."""
    if artifact.stage.table is None:
        is_scores = artifact.stage.stage in ("evaluate", "compare")
        return TrainedModel if artifact.stage.stage in TRAINED else ScoreReport if is_scores else StageReport
    columns = artifact.schema.columns
    return next((kind for name, kind in _BY_COLUMN.items() if name in columns), FeatureTable)


_BY_COLUMN: dict[str, type[StageOutput]] = {"boxes": FaceTable, "samples": SoundTable, "scores": PredictionTable}


def _report_of(artifact: Artifact) -> Mapping[str, Any]:
    """The report that lies in an artifact's folder; none for a stage that writes none."""
    name = artifact.stage.stage
    if name in catalogue.entries() and isinstance(stage := catalogue.get(name), FitStage):
        return reports.read_report(artifact.folder / stage.file, stage.shape)
    if name == "cross-validate":
        return reports.read_report(artifact.folder / "folds.json", reports.FoldsShape)
    if name in TRAINED:
        file, shape = ("head.json", reports.TrainedShape) if name == "train-head" else _NETWORK
        return reports.read_report(artifact.folder / file, shape)
    return {}


_NETWORK = ("finetune.json", reports.FinetunedShape)


def _made_from(artifact: Artifact) -> tuple[list[str], list[str]]:
    """The artifacts behind one, media first, and the weights of all of them with their licences."""
    try:
        line = [*ancestors(artifact), artifact]
    except AffectkitError as error:
        return [str(error)], []
    weights = [one.stage.provenance.get("weights") for one in line]
    told = [f"{about['name']}: {about['licence']}" for about in weights if about]
    return [f"{one.stage.stage} {one.folder.name}" for one in line[:-1]], list(dict.fromkeys(told))


def _component_names(artifact: Artifact, name: str) -> list[str]:
    count = int(np.prod(artifact.schema.columns[name].shape))
    names = artifact.schema.names.get(name) or _COMPONENTS.get(name)
    return list(names) if names else [f"{name}_{number}" for number in range(count)]


def _joined(parts: Sequence[Any], shape: Sequence[int], dtype: str) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros((0, *shape), dtype)


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        told = {key: item for key, item in value.items() if item not in (None, [], ())}
        return ", ".join(f"{key}={item}" for key, item in told.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return str(value)
