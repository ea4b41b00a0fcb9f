"""`export` in Python and on the command line: tables to files of other programs, models to bundles and cards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectkit.api.annotating import AnnotationOptions, write_annotations
from affectkit.errors import UsageError, unknown
from affectkit.stages.bundle import is_bundle, opened_bundle
from affectkit.store import Artifact, Cache, Features, is_artifact, names, open_artifact, open_features
from affectkit.store.export import ALL_FORMATS, ANNOTATION_FORMATS
from affectkit.store.export import export as export_table
from affectkit.store.features import names_features
from affectkit.store.kinds import wrong_kind
from affectkit.tables.ids import ClipChoice, choose


@dataclass(frozen=True)
class Written:
    """A file or folder that was written, what of (an artifact, a table or a data set's folder), and what its user must
    know."""

    path: Path
    source: Path
    notices: tuple[str, ...] = ()


def export(
    artifact: Any, to: str = "csv", *, out: Any = None, clips: ClipChoice = None, card: Any = None, scores: Any = None,
    task: str | None = None, dataset: str | None = None, dataset_option: Sequence[str] = (), videos: Any = None,
    every: float | None = None, threshold: float | None = None, cache: Any = None,
) -> Path:  # fmt: skip
    """Write an artifact's table to csv, parquet or npz, its crops to images, predictions or labels to annotators'
    files, or a model to a bundle or a card.

    Returns the path of what was written. Of features `PATH:layer_07` is one column, `PATH:mouth_opening` one named
    component. `to`: csv, parquet, npz, images, muse, eaf, boris, webvtt, traces, bundle or
    card. `out`: the file or folder (default: named after the artifact). `clips`: only these. `card`: to bundle, the
    card as it was edited. `scores`: to bundle or card, what `evaluate` returned of the model's predictions. To eaf,
    boris, webvtt or traces `artifact` may be a CSV of labels as well, or with `dataset` that data set's root; `task`:
    what it is of; `videos`: the folder of the clips' media; `every`: seconds that values are averaged over (0: every
    row); `threshold`: what is at or above it is annotated. Raises UsageError.
    """
    folder = None if cache is None else Path(cache)
    out, card, videos = (None if path is None else Path(path).expanduser() for path in (out, card, videos))
    options = AnnotationOptions(task, dataset, tuple(dataset_option), videos, every, threshold)
    written = written_as(
        artifact, to, out, clips=clips, card=card, scores=scores, annotation=options, cache=Cache(folder)
    )
    if written.notices:
        from affectkit.api.functions import warn

        for notice in written.notices:
            warn(notice)
    return written.path


def written_as(
    artifact: Any, to: str, out: Path | None, *, clips: ClipChoice, card: Path | None, scores: Any,
    annotation: AnnotationOptions, cache: Cache,
) -> Written:  # fmt: skip
    """Write an artifact in one of the formats. Raises UsageError for options of another format."""
    if to not in ALL_FORMATS:
        raise unknown("format", to, ALL_FORMATS)
    options: dict[str, tuple[Any, tuple[str, ...]]] = {
        "--card": (card, ("bundle",)), "--scores": (scores, ("bundle", "card")),
        **{flag: (value, ANNOTATION_FORMATS) for flag, value in annotation.flags().items()},
    }  # fmt: skip
    for flag, (value, formats) in options.items():
        if value is not None and to not in formats:
            raise UsageError(f"{flag} is for --to {' and '.join(formats)}; given --to {to}")
    if to in ANNOTATION_FORMATS:
        annotated = _annotated(artifact, cache, annotation)
        place = annotated.path if isinstance(annotated, Artifact) else annotated
        named = annotated.folder.name if isinstance(annotated, Artifact) else annotated.stem
        target = out or Path(f"{named}.{to}")
        return Written(target, place, tuple(write_annotations(annotated, to, target, clips, annotation)))
    source = _opened(artifact, cache)
    opened = source.artifact if isinstance(source, Features) else source
    if to not in ("bundle", "card"):
        part = f"-{source.name}" if isinstance(source, Features) else ""
        target = out or Path(f"{opened.folder.name}{part}.{to}")
        return Written(export_table(source, to, target, choose(clips, source.clips)), opened.path)
    if isinstance(source, Features):
        raise UsageError(f"{source.path}:{source.name} is features; a {to} is of a head, a network or a fusion")
    if clips is not None:
        raise UsageError(f"--clips is for tables; a {to} is of the whole model")
    from affectkit.stages import bundling

    report = None if scores is None else _report(scores, cache)
    if to == "card":
        return Written(
            bundling.write_card(opened, out or Path(f"{opened.folder.name}.card.toml"), report), opened.path
        )  # fmt: skip
    bundle = bundling.write_bundle(opened, out or bundling.default_file(opened), card=card, scores=report)
    return Written(bundle.path, opened.path, bundle.notices)


def _annotated(value: Any, cache: Cache, options: AnnotationOptions) -> Artifact | Path:
    """Predictions, or the table or folder that labels lie in. Raises UsageError."""
    value = getattr(value, "stored", value)
    if isinstance(value, str | os.PathLike):
        path = Path(os.path.expanduser(os.fspath(value)))  # noqa: PTH111
        if options.dataset is not None or (path.suffix.lower() == ".csv" and path.is_file()):
            return path
    opened = _opened(value, cache)
    return opened.artifact if isinstance(opened, Features) else opened


def _report(value: Any, cache: Cache) -> Artifact:
    """What `evaluate` made. Raises UsageError for features."""
    opened = _opened(value, cache)
    if isinstance(opened, Features):
        raise wrong_kind(opened.path, opened.artifact.stage.stage, "evaluate")
    return opened


def _opened(value: Any, cache: Cache) -> Artifact | Features:
    """What a path, a name, a bundle or what a function returned denotes; Features of one column or component alone.
    Raises UsageError."""
    value = getattr(value, "stored", value)
    if isinstance(value, Features | Artifact):
        return value
    text = os.path.expanduser(os.fspath(value))  # noqa: PTH111
    if is_bundle(text):
        return opened_bundle(text, cache)
    path = names.resolve_column(cache, text)
    is_part = not is_artifact(Path(path)) and names_features(path)
    return open_features(path) if is_part else open_artifact(path)
