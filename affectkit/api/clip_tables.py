"""Tables by clip as a notebook reads them: clips as numpy, all as a pandas frame, windows as a torch data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit import tasks
from affectkit.api.arguments import TableFiles, labels_from
from affectkit.api.outputs import StageOutput
from affectkit.errors import UsageError
from affectkit.stages.stage import Result
from affectkit.store import Artifact, Features, feature_columns
from affectkit.store.features import features as column_of
from affectkit.store.features import measured
from affectkit.tables.labels import match_labels, read
from affectkit.tables.pooling import Pooling
from affectkit.tables.splits import SplitRequest, resolve_splits
from affectkit.types import FaceTrack, FeatureSequence, Floats, Predictions

if TYPE_CHECKING:
    import pandas as pd

    from affectkit.training.window_set import WindowSet

_COMPONENTS = {
    "boxes": ["x0", "y0", "x1", "y1"],
    "landmarks": [
        f"{point}_{axis}" for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth") for axis in "xy"
    ],
}
"""What the numbers of a column are called where its schema does not say."""


class ClipTable(StageOutput):
    """A table by clip: `len`, `in` and iteration are over the ids of its clips."""

    @property
    def clips(self) -> list[str]:
        """Ids of the clips, sorted."""
        return self.artifact.clips

    @property
    def partial(self) -> list[str]:
        """Ids of the clips whose media are damaged, and of which there is what could be read."""
        return [clip for clip in self.clips if self.artifact.status(clip) == "partial"]

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
            rows = _joined([measured(self.artifact, clip, name) for clip in chosen], column.shape, column.dtype)
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

    `layer` is the one that is read where a backbone gave several, `features.of_layer("layer_07")`, or one component by
    its name, `features.of_layer("mouth_opening")`.
    """

    def __init__(self, artifact: Artifact, result: Result | None = None, layer: str = "") -> None:
        super().__init__(artifact, result)
        if layer:
            column_of(artifact, layer)  # raises where there is none
        self.layer = layer

    @property
    def stored(self) -> Artifact | Features:
        """The features as stages read them."""
        return column_of(self.artifact, self.layer) if self.layer else self.artifact

    @property
    def layers(self) -> dict[str, int]:
        """What there is to be read, `values` for most, with dimensions D."""
        return {name: self.artifact.schema.columns[name].shape[0] for name in feature_columns(self.artifact.schema)}

    @property
    def names(self) -> list[str]:
        """What the D components are called."""
        read = column_of(self.artifact, self.layer)
        return [read.component] if read.component else _component_names(self.artifact, read.column)

    def of_layer(self, layer: str) -> FeatureTable:
        """The same features, of which this layer, or this component, is read."""
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
            labels_of_clip = read(labels_from(labels, tables), meant)
            clips = list(match_labels(source.clips, labels_of_clip).clips)
            if split is not None:
                file = None if splits is None else tables.path("splits", splits)
                table = resolve_splits(source.clips, labels_of_clip, source.clip_table(), SplitRequest(file))
                clips = [clip for clip in clips if table.get(clip) == split]
        if not clips:
            raise UsageError(f"no labelled clip with features has split '{split}'")
        sequences = {clip: source.sequence(clip) for clip in clips}
        return WindowSet(sequences, labels_of_clip, meant, window, hop, label_pooling)

    def frame(self, clips: Sequence[str] | None = None) -> pd.DataFrame:
        """Every row as a pandas frame: clip, start, end (s), valid, then a column a component. In rows that are not
        valid, components with names of their own are NaN, others zeros."""
        whole = super().frame(clips)
        return whole[["clip", "start", "end", "valid", *self.names]] if self._component else whole

    @property
    def _component(self) -> str:
        return column_of(self.artifact, self.layer).component if self.layer else ""

    def _columns(self) -> list[str]:
        wanted = [column_of(self.artifact, self.layer).column] if self.layer else list(self.layers)
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


def _component_names(artifact: Artifact, name: str) -> list[str]:
    count = int(np.prod(artifact.schema.columns[name].shape))
    names = artifact.schema.names.get(name) or _COMPONENTS.get(name)
    return list(names) if names else [f"{name}_{number}" for number in range(count)]


def _joined(parts: Sequence[Any], shape: Sequence[int], dtype: str) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros((0, *shape), dtype)
