"""What `overlay` draws of each clip: its faces, meshes and scores, and the video that they were found in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.config import validate
from affectkit.digests import Digests
from affectkit.errors import AffectkitError, ClipError, HostileFile, UsageError, listed
from affectkit.media import STILL_SUFFIXES, VIDEO_SUFFIXES
from affectkit.overlays.curves import ScoreCurves
from affectkit.overlays.faces import FaceRows
from affectkit.store import Artifact, Features, is_artifact, open_artifact
from affectkit.store.integrity import problem_of
from affectkit.store.kinds import FEATURES, PREDICTIONS, wrong_kind
from affectkit.store.segment import ClipRows
from affectkit.tables.source_digests import media_sources
from affectkit.tables.sources import clips_of
from affectkit.tracks import FACE_RULES, CropConfig
from affectkit.tracks.uncrop import in_frame
from affectkit.types import Clip, Floats, is_face, without_face
from affectkit.untrusted import read_object

ANALYSIS = "analysis.json"
"""The record in a folder of `analyze`."""
POINTS = "points"
"""The output of backbone face-mesh that holds its points."""
_AXES = 3


Drawable = Path | Artifact | Features


def opened_all(what: Sequence[Drawable]) -> list[Artifact]:
    """The artifacts that are given or that paths name, those of a folder of `analyze` among them, each once. Raises
    UsageError for what cannot be drawn."""
    artifacts: dict[Path, Artifact] = {}
    for item in what:
        artifact = item.artifact if isinstance(item, Features) else item
        for each in _opened(artifact.path if isinstance(artifact, Artifact) else artifact):
            artifacts.setdefault(each.path.resolve(), each)
    return list(artifacts.values())


def _opened(path: Path) -> Iterator[Artifact]:
    if not is_artifact(path) and (path / ANALYSIS).is_file():
        record = read_object(path / ANALYSIS, "the record of analyze")
        models = record.get("models")
        about = [each for each in models.values() if isinstance(each, dict)] if isinstance(models, dict) else []
        texts = [record.get("faces"), *(each.get("predictions") for each in about)]
        named_paths = [Path(text) for text in texts if isinstance(text, str)]
        if not named_paths:
            raise UsageError(f"{path} names no faces and no predictions: give what extract faces or predict printed")
        for place in named_paths:
            yield from _opened(place)
        return
    if path.suffix.lower() == ".csv" and path.is_file():
        raise UsageError(
            f"{path} is a table, which does not say what video it is of: give what predict or extract faces printed"
        )
    artifact = open_artifact(path)
    columns = {} if artifact.stage.table is None else artifact.schema.columns
    if artifact.stage.stage != "faces" and "scores" not in columns and POINTS not in columns:
        if artifact.stage.stage in FEATURES:
            raise UsageError(
                f"{path} holds features ({', '.join(columns)}), of which none can be drawn: give those of backbone "
                f"face-mesh, whose output '{POINTS}' is a mesh, or predictions, or faces"
            )
        raise wrong_kind(path, artifact.stage.stage, "faces", *PREDICTIONS)
    yield artifact


@dataclass(frozen=True, repr=False)
class ClipSource:
    """What there is of one clip: its video and how it is cut from it, its faces and its scores.

    digest: of the video as it is cut; rows: the digests of all rows that are drawn; face_rules: those by which its
    faces were chosen; detectors: the configs of how they were found; notices: what a user must know of this clip.
    """

    id: str
    media: Clip
    digest: str
    faces: tuple[FaceRows, ...]
    curves: tuple[ScoreCurves, ...]
    rows: tuple[str, ...]
    face_rules: tuple[str, ...]
    detectors: tuple[Mapping[str, Any], ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Origin:
    """Rows of an artifact that were made from media, by the digest of those."""

    artifact: Artifact
    rows: ClipRows


@dataclass(repr=False)
class OverlaySources:
    """The clips of some artifacts, looked up one at a time.

    folder: where the videos are now, if they have moved; digests: of files.
    """

    artifacts: Sequence[Artifact]
    folder: Path | None
    digests: Digests
    _opened: dict[Path, Artifact] = field(default_factory=dict)
    _indices: dict[Path, dict[str, list[ClipRows]]] = field(default_factory=dict)

    @cached_property
    def clips(self) -> list[str]:
        """The ids of all clips, without those of single faces, sorted."""
        return sorted({without_face(clip) for artifact in self.artifacts for clip in artifact.clips})

    @cached_property
    def failed(self) -> dict[str, str]:
        """Clips that failed when they were analysed, and why."""
        return {clip: each.cause for artifact in self.artifacts for clip, each in artifact.failures().items()}

    @cached_property
    def _tables(self) -> list[dict[str, dict[str, Any]]]:
        return [artifact.clip_table() for artifact in self.artifacts]

    @cached_property
    def _moved(self) -> dict[str, Path]:
        """Videos of the folder by their clip id, and by their name where only one has it."""
        if self.folder is None:
            return {}
        clips = clips_of([str(self.folder)], VIDEO_SUFFIXES)
        names: dict[str, list[Path]] = {}
        for clip in clips:
            names.setdefault(clip.path.name, []).append(clip.path)
        by_name = {name: paths[0] for name, paths in names.items() if len(paths) == 1}
        return by_name | {clip.id: clip.path for clip in clips}

    def source(self, clip: str) -> ClipSource:
        """What there is of a clip. Raises ClipError where its video is not to be had or is another one now."""
        said = next((table[clip] for table in self._tables if clip in table), None)
        if said is None:
            raise ClipError("the artifact does not say where its video was: give --videos FOLDER")
        origins = [origin for artifact in self.artifacts for origin in self._origins(artifact, clip)]
        media, digest = self._media(clip, said, {origin.rows.key[1] for origin in origins})
        origins = [origin for origin in origins if digest is None or origin.rows.key[1] == digest]
        faces = [each for each in origins if each.artifact.stage.stage == "faces"]
        notices = [] if digest is not None else ["its video cannot be compared with what was analysed"]
        shown = next((each.artifact for each in faces), None)
        chosen = {each.rows.key[0]: each.rows for each in faces if each.artifact is shown}
        tracks, curves, contents = self._tracks(clip, shown, chosen), [], [rows.content for rows in chosen.values()]
        for artifact in self.artifacts:
            if "scores" not in artifact.schema.columns:
                continue
            for name, rows in self._rows_of(artifact, clip):
                _check(rows)
                curves.append(_curves(artifact, name, rows, has_faces=self._sees(artifact, clip)))
                contents.append(rows.content)
        contents += [rows.content for artifact in self._meshes for _, rows in self._rows_of(artifact, clip)]
        configs = [_config(each.artifact) for each in faces]
        rules = tuple(dict.fromkeys(str(config.get("face")) for config in configs))
        return ClipSource(
            clip, media, digest or "", tuple(tracks), tuple(_named_apart(curves)), tuple(contents), rules,
            tuple(configs), tuple(notices),
        )  # fmt: skip

    @property
    def _meshes(self) -> list[Artifact]:
        return [each for each in self.artifacts if POINTS in each.schema.columns]

    def _sees(self, artifact: Artifact, clip: str) -> bool:
        """Whether scores are of faces (else of sound)."""
        return any(origin.artifact.stage.stage == "faces" for origin in self._origins(artifact, clip))

    def _origins(self, artifact: Artifact, clip: str) -> Iterator[_Origin]:
        """The rows that those of a clip were made from, of faces and sound, as far up as there are any."""
        seen: set[tuple[Path, str, str]] = set()
        waiting = [(artifact, rows) for _, rows in self._rows_of(artifact, clip)]
        while waiting:
            artifact_above, rows = waiting.pop(0)
            key = (artifact_above.folder.resolve(), *rows.key)
            if key in seen:
                continue
            seen.add(key)
            if not artifact_above.stage.upstream:
                if artifact_above.stage.stage in ("faces", "audio"):
                    _check(rows)
                    yield _Origin(artifact_above, rows)
                continue
            for path in artifact_above.stage.upstream:
                above = self._above(Path(path), artifact_above)
                if above is None:
                    continue
                named = self._held(above, clip)
                exact = [each for each in named if each.content == rows.key[1]]
                waiting += [(above, each) for each in exact or named]

    def _held(self, artifact: Artifact, clip: str) -> list[ClipRows]:
        """All rows of a clip and its faces, of every content."""
        if artifact.path not in self._indices:
            index: dict[str, list[ClipRows]] = {}
            for rows in artifact.rows.values():
                index.setdefault(without_face(rows.key[0]), []).append(rows)
            self._indices[artifact.path] = index
        return self._indices[artifact.path].get(clip, [])

    def _rows_of(self, artifact: Artifact, clip: str) -> list[tuple[str, ClipRows]]:
        """A clip's rows in an artifact that is drawn, or those of each of its faces."""
        names = self._names_of[artifact.path].get(clip, [])
        return [(name, artifact.clip_rows(name)) for name in names]

    @cached_property
    def _names_of(self) -> dict[Path, dict[str, list[str]]]:
        names: dict[Path, dict[str, list[str]]] = {}
        for artifact in self.artifacts:
            index = names.setdefault(artifact.path, {})
            for name in artifact.clips:
                index.setdefault(without_face(name), []).append(name)
        return names

    def _above(self, path: Path, below: Artifact) -> Artifact | None:
        """An upstream artifact with a table; None for one without."""
        place = path.resolve()
        if place not in self._opened:
            try:
                self._opened[place] = Artifact(place)
            except HostileFile:
                raise
            except UsageError as error:
                raise UsageError(f"{below.path} was made from what is not there any more: {error}") from None
        artifact = self._opened[place]
        return None if artifact.stage.table is None else artifact

    def _media(self, clip: str, said: Mapping[str, Any], sources: set[str]) -> tuple[Clip, str | None]:
        """The video, and the digest by which it is the one that was analysed; None where nobody knows."""
        recorded = said.get("path")
        recorded = recorded if isinstance(recorded, str) else ""
        possible = [self._moved.get(clip), self._moved.get(Path(recorded).name), Path(recorded) if recorded else None]
        candidates = list(dict.fromkeys(place for place in possible if place is not None))
        present = [place for place in candidates if os.path.lexists(place)]
        if not present:
            where = f" and not in {self.folder}" if self.folder else ""
            raise ClipError(f"its video is not at {recorded or 'any known place'}{where}: give --videos FOLDER")
        for place in present:
            if place.is_dir():
                raise ClipError(f"{place} is a folder of crops: there is no video to draw on")
            if place.suffix.lower() in STILL_SUFFIXES:
                raise ClipError(f"{place} is a picture: there is no video to draw on")
            for rule in (None, *FACE_RULES):
                media = Clip(clip, place, _seconds(said.get("start")), _seconds(said.get("end")), face=rule)
                digest = media_sources([media], self.digests)[clip]
                if digest in sources:
                    return media, digest
        media = Clip(clip, present[0], _seconds(said.get("start")), _seconds(said.get("end")))
        if not sources or not self._has_faces(clip):
            return media, None
        raise ClipError(
            f"{present[0]} is not the file that was analysed (its content differs): give --videos FOLDER with that "
            "one, or analyse this one"
        )

    def _has_faces(self, clip: str) -> bool:
        return any(
            origin.artifact.stage.stage == "faces"
            for artifact in self.artifacts for origin in self._origins(artifact, clip)
        )  # fmt: skip

    def _tracks(self, clip: str, artifact: Artifact | None, rows: Mapping[str, ClipRows]) -> Iterator[FaceRows]:
        """The faces of a clip, with their meshes where features hold them."""
        if artifact is None:
            return
        for name in sorted(rows, key=_number_of):
            read = {
                column: np.asarray(rows[name].column(column))
                for column in ("start", "end", "boxes", "landmarks", "valid")
            }
            valid = read["valid"].astype(bool)
            mesh = None
            for features in self._meshes:
                for other, mesh_rows in self._rows_of(features, clip):
                    if other == name:
                        _check(mesh_rows)
                        mesh = _mesh(features, mesh_rows, artifact, read)
            number = _number_of(name) if is_face(name) else None
            yield FaceRows(read["start"], read["end"], read["boxes"], read["landmarks"], valid, number, mesh)


def _check(rows: ClipRows) -> None:
    """Raises ClipError where the bytes are not what was written."""
    try:
        problem = problem_of(rows)
    except AffectkitError as error:
        raise ClipError(str(error)) from None
    if problem:
        raise ClipError(f"{rows.segment.path} is damaged: {problem}; repeat the command that made it")


def _number_of(name: str) -> int:
    return int(name.rpartition("#")[2]) if is_face(name) else 0


def _config(faces: Artifact) -> Mapping[str, Any]:
    config = faces.stage.provenance.get("config")
    return config if isinstance(config, dict) else {}


def _curves(artifact: Artifact, name: str, rows: ClipRows, *, has_faces: bool) -> ScoreCurves:
    scores = np.array(rows.column("scores"), float)
    scores[~np.asarray(rows.column("valid")).astype(bool)] = np.nan
    face = _number_of(name) if is_face(name) else None
    return ScoreCurves(
        artifact.stage.name, tuple(artifact.schema.names["scores"]), np.asarray(rows.column("start")),
        np.asarray(rows.column("end")), scores, face, "no face" if has_faces else "no speech",
    )  # fmt: skip


def _named_apart(curves: Sequence[ScoreCurves]) -> list[ScoreCurves]:
    """Curves of which those of several artifacts of one name are numbered; the face that is there longest comes first,
    of each model, then the next of each."""
    from dataclasses import replace

    count: dict[tuple[str, int | None], int] = {}
    named = []
    for each in curves:
        key = (each.model, each.face)
        count[key] = count.get(key, 0) + 1
        named.append(replace(each, model=f"{each.model} ({count[key]})") if count[key] > 1 else each)
    models = list(dict.fromkeys(each.model for each in named))
    seen = {model: _by_presence([each for each in named if each.model == model]) for model in models}
    return [faces[place] for place in range(len(named)) for faces in seen.values() if place < len(faces)]


def _by_presence(curves: Sequence[ScoreCurves]) -> list[ScoreCurves]:
    """The faces with most scores first."""
    return sorted(curves, key=lambda each: -int(np.isfinite(each.scores).all(axis=1).sum()))


def _mesh(features: Artifact, rows: ClipRows, faces: Artifact, read: Mapping[str, Any]) -> Floats:
    """[T,P,2] the mesh of each row in pixels of the video, NaN where there is none."""
    values, valid = np.asarray(rows.column(POINTS), float), np.asarray(rows.column("valid")).astype(bool)
    start = np.asarray(rows.column("start"))
    points = values.reshape(len(values), -1, _AXES)[..., :2]
    contract = features.stage.inputs.get("contract")
    fields = contract if isinstance(contract, dict) else _config(faces)
    config = validate(
        CropConfig, {key: fields[key] for key in ("margin", "shape", "align", "size") if key in fields}, "crops"
    )
    mesh = np.full((len(read["start"]), points.shape[1], 2), np.nan, np.float32)
    rows_at = {round(float(moment), 6): row for row, moment in enumerate(start)}
    for row, moment in enumerate(read["start"].tolist()):
        place = rows_at.get(round(moment, 6))
        if place is not None and valid[place] and read["valid"][row]:
            mesh[row] = in_frame(points[place], read["boxes"][row], read["landmarks"][row], config)
    return mesh


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def lacking(artifacts: Sequence[Artifact], clips: Sequence[str]) -> list[str]:
    """A line for each artifact that lacks some of the clips which others have."""
    told = []
    for artifact in artifacts:
        held = {without_face(clip) for clip in artifact.clips}
        absent = [clip for clip in clips if clip not in held]
        if absent and len(absent) < len(clips):
            told.append(f"{artifact.path} lacks {listed(absent, 'clips')}: nothing of it is drawn there")
    return told
