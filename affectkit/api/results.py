"""What a function returns of a stage's result, and what a path that a command printed is opened as."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from affectkit.api.analysis import AnalysisResult, is_analysis
from affectkit.api.clip_tables import FaceTable, FeatureTable, PredictionTable, SoundTable
from affectkit.api.models import TrainedModel
from affectkit.api.outputs import ScoreReport, StageOutput, StageReport, WrittenFile
from affectkit.stages.bundle import is_bundle, opened_bundle
from affectkit.stages.stage import Result
from affectkit.store import Artifact, Cache, is_artifact
from affectkit.store.kinds import TRAINED
from affectkit.store.names import resolve_column

Output = StageOutput | WrittenFile


def of_result(result: Result) -> Output:
    """What a function returns of a stage's result."""
    if result.artifact is None:
        kind = AnalysisResult if is_analysis(result.path) else WrittenFile
        return kind(result.path, result)
    return _class_of(result.artifact)(result.artifact, result)


def open_output(path: Any, *, cache: Any = None) -> Output:
    """What a path, a name or "PATH:layer_07" denotes: an artifact, a selection of one, a bundle's model, or a file.

    `cache`: where names, `latest` and beginnings are looked up. Raises UsageError where there is nothing of the kind.
    """
    text = str(path)
    if is_bundle(os.path.expanduser(text)):  # noqa: PTH111
        return TrainedModel(opened_bundle(os.path.expanduser(text), Cache(None if cache is None else Path(cache))))  # noqa: PTH111
    if isinstance(path, str) and not Path(text).expanduser().exists():
        text = resolve_column(Cache(None if cache is None else Path(cache)), text)
    folder, _, layer = text.rpartition(":")
    if folder and not is_artifact(Path(text)) and is_artifact(Path(folder)):
        return FeatureTable(Artifact(Path(folder)), layer=layer)
    place = Path(text).expanduser()
    if not is_artifact(place) and is_analysis(place):
        return AnalysisResult(place)
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
