"""What `affectkit analyze` writes: tables, a summary, episodes, pictures, and what the models are.

    DIR/  README.md  models.md  summary.csv  episodes.csv  scores.csv  overview.png
          tables/<clip>.csv  curves/<clip>.png  analysis.json  (with pyarrow also tables/<clip>.parquet, scores.parquet)

Clips are taken one at a time, so memory does not grow with their number or length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from affectkit.errors import HostileFile, MissingExtra
from affectkit.plugins import CAUTION
from affectkit.stages.scorers import VALENCE_INDEX, Scored, ScoringModel
from affectkit.stages.sink import Meter
from affectkit.store import Failure
from affectkit.store.result_folder import ANALYSIS, ResultFolder, file_names
from affectkit.tables.score_tables import (
    EPISODES,
    FaceSummary,
    ScoreTable,
    cell,
    csv_text,
    episode_rows,
    summary_header,
    summary_of,
    summary_row,
)
from affectkit.types import Bools, Floats, face_id

RECORD = ANALYSIS
WHAT = "the results of analyze"
TABLES, CURVES = "tables", "curves"
SUMMARY_FILE, EPISODES_FILE, SCORES_FILE, OVERVIEW = "summary.csv", "episodes.csv", "scores.csv", "overview"
_FIGURES = 3
"""Raised where pictures of the same scores change."""
FEW = 10
"""Rows with a face (or speech) from which on a summary is not called one of few."""
_NAMED = 5
_MEANS = 12
"""Scores whose means stand beside the overview's strips."""
_SUFFIXES = (".csv", ".parquet", ".png")


@dataclass(frozen=True)
class FolderOptions:
    """What is written: episodes are at or above `threshold`, gaps shorter than `gap` seconds bridged."""

    threshold: float
    gap: float
    figures: bool
    speech: bool
    unseen: str

    @property
    def seen(self) -> str:
        """What a row with a score shows."""
        return "speech" if "speech" in self.unseen else "a face"


@dataclass(frozen=True, repr=False)
class FaceRange:
    """What pictures need to know of a face before any is drawn: the least and the most of each score [K], the lead
    score of each model in a strip, and where no face is."""

    summary: FaceSummary
    low: Floats
    high: Floats
    digest: str
    strips: tuple[tuple[Floats, Bools, float], ...] = ()


@dataclass(repr=False)
class WrittenAnalysis:
    """What lies in the folder now: a summary of each face, clips that failed, lines for people, what changed;
    `few`: which clips and faces have fewer than `FEW` rows with a face."""

    faces: list[FaceSummary] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    failed: list[Failure] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    few: list[tuple[str, str]] = field(default_factory=list)


class AnalysisFolder:
    """Writes what models say of clips into a folder."""

    def __init__(self, root: Path, scored: Scored, clips: Sequence[str], options: FolderOptions) -> None:
        """Raises UsageError for a folder with other files in it."""
        self._folder = ResultFolder(root, RECORD, WHAT)
        self._scored, self._options = scored, options
        self._clips = [clip for clip in clips if any(_has(scorer, clip) for scorer in scored.scorers)]
        self._has_parquet = find_spec("pyarrow") is not None
        self._draws = options.figures and find_spec("matplotlib") is not None
        self._written = WrittenAnalysis()

    @cached_property
    def _names(self) -> dict[str, str]:
        return file_names(self._clips, _SUFFIXES)

    @cached_property
    def _pictures(self) -> dict[tuple[str, str], str]:
        """The picture of each face of a clip."""
        faces = [(clip, face) for clip in self._clips for face in self._faces_of(clip)]
        texts: list[str] = []
        for clip, face in faces:
            text = f"{clip}-face{face}" if face else clip
            while text in texts:  # a clip may be called as the face of another
                text += "~"
            texts.append(text)
        names = file_names(texts, _SUFFIXES)
        return {key: f"{CURVES}/{names[text]}.png" for key, text in zip(faces, texts, strict=True)}

    def _faces_of(self, clip: str) -> list[str]:
        """The numbers of a clip's faces, "" for the only one."""
        seeing = [each for each in self._scored.scorers if not each.hears and _has(each, clip)]
        faces: dict[str, None] = {}
        for scorer in seeing or [each for each in self._scored.scorers if _has(each, clip)]:
            faces |= dict.fromkeys(scorer.faces_of(clip))
        return list(faces)

    def write(self, about: Mapping[str, Any], texts: Mapping[str, str], counter: Meter) -> WrittenAnalysis:
        """Write all of it. `about`: what the record says besides; `texts`: small files by name."""
        tables = {clip: f"{TABLES}/{name}" for clip, name in self._names.items()}
        names = [*texts, SUMMARY_FILE, EPISODES_FILE, SCORES_FILE, *(f"{name}.csv" for name in tables.values())]
        if self._has_parquet:
            names += ["scores.parquet", *(f"{name}.parquet" for name in tables.values())]
        if self._draws:
            names += [*self._pictures.values(), *chain.from_iterable(self._pages)]
        self._folder.begin(names)
        for name, text in texts.items():
            self._folder.text(name, text)
        ranges = [each for clip in self._clips for each in self._tables(clip, tables[clip], counter)]
        self._write_all([tables[clip] for clip in dict.fromkeys(each.summary.clip for each in ranges)])
        self._write_summary([each.summary for each in ranges])
        if self._draws and ranges:
            self._draw(ranges, counter)
        if self._options.figures and not self._draws:
            self._written.notices.append(str(MissingExtra("matplotlib", "figures", "drawing the scores")))
        if not self._has_parquet:
            self._written.notices.append("tables are CSV alone: Parquet too with pip install 'affectkit[parquet]'")
        left = self._folder.end(about)
        self._say_changes(left)
        self._say_unreached([each.high for each in ranges])
        return self._written

    def _say_changes(self, left: Sequence[str]) -> None:
        folder, written = self._folder, self._written
        if folder.altered:
            written.notices.append(f"{_some(folder.altered)} had been changed by hand: written anew")
        if folder.removed:
            written.notices.append(
                f"{_some(folder.removed)} of an earlier analysis removed: a folder holds one analysis, name another to "
                "keep both"
            )
        if left:
            written.notices.append(f"{_some(left)} of an earlier analysis had been changed by hand: left as they are")
        written.changed = list(folder.changed)

    def _say_unreached(self, highest: Sequence[Floats]) -> None:
        """A line where no score of any face reaches the threshold."""
        values = np.array([float(high[np.isfinite(high)].max()) for high in highest if np.isfinite(high).any()])
        if len(values) and values.max() < self._options.threshold:
            self._written.notices.append(
                f"no episodes: the highest of all scores is {values.max():.3g}, less than --threshold "
                f"{self._options.threshold:g}"
            )

    def _tables(self, clip: str, name: str, counter: Meter) -> Iterator[FaceRange]:
        """Write a clip's table; yields what is to be known of each of its faces."""
        try:
            faces = list(self._scored.tables(clip, speech=self._options.speech))
        except HostileFile as error:
            self._written.failed.append(Failure(clip, "", str(error)))
            counter.advance(clips=1, failed=1)
            return
        self._written.columns = faces[0][0].columns
        header = ",".join(map(cell, faces[0][0].header)) + "\n"
        text = header + "".join(table.csv() for table, _ in faces)
        digest = self._folder.text(f"{name}.csv", text)
        if self._has_parquet:
            with self._folder.file(f"{name}.parquet", digest) as temporary:
                if temporary is not None:
                    _write_parquet([table for table, _ in faces], temporary)
        for table, seen in faces:
            boxes = self._scored.boxes(clip, table.face, len(table))
            summary = summary_of(table, seen, self._options.threshold, self._options.gap, boxes)
            with np.errstate(all="ignore"):
                low, high = np.fmin.reduce(table.scores, axis=0), np.fmax.reduce(table.scores, axis=0)
            yield FaceRange(summary, low, high, digest, self._strips(table, seen))
        counter.advance(rows=sum(len(table) for table, _ in faces), clips=1)

    def _strips(self, table: ScoreTable, seen: Bools) -> tuple[tuple[Floats, Bools, float], ...]:
        if not self._draws:
            return ()
        from affectkit.stages.score_figures import strip_of

        leads = [self._lead(self._columns_of(scorer.name, table.columns)) for scorer in self._scored.scorers]
        return tuple(strip_of(table.start, table.end, table.of(lead), seen) for lead in leads)

    def _write_all(self, names: Sequence[str]) -> None:
        """All clips in one table: the tables of clips, one after the other."""
        root = self._folder.root
        made_from = sha256(
            "\n".join(sha256((root / f"{name}.csv").read_bytes()).hexdigest() for name in names).encode()
        )
        with self._folder.file(SCORES_FILE, made_from.hexdigest()) as temporary:
            if temporary is not None:
                with temporary.open("wb") as out:
                    if not names:
                        out.write(b"clip,start,end,face,valid,observed\n")
                    for number, name in enumerate(names):
                        with (root / f"{name}.csv").open("rb") as table:
                            header = table.readline()
                            out.write(b"" if number else header)
                            while block := table.read(1 << 20):
                                out.write(block)
        if self._has_parquet:
            with self._folder.file("scores.parquet", made_from.hexdigest()) as temporary:
                if temporary is not None:
                    _join_parquet([root / f"{name}.parquet" for name in names], temporary)

    def _write_summary(self, faces: Sequence[FaceSummary]) -> None:
        self._written.faces = list(faces)
        some = [each for each in faces if self._are_few(each)]
        self._written.few = [(each.clip, each.face) for each in some]
        if few := [f"{each.clip}{f' #{each.face}' if each.face else ''}: {each.face_rows}" for each in some]:
            verb = "is" if len(few) == 1 else "are"
            more = ", ..." if len(few) > _NAMED else ""
            self._written.notices.append(
                f"{len(few)} of {len(faces)} summaries {verb} of fewer than {FEW} rows with {self._options.seen} "
                f"({', '.join(few[:_NAMED])}{more}): too few to say much"
            )
        columns = self._written.columns
        models = "+".join(scorer.name for scorer in self._scored.scorers)
        prefixes = [prefix for scorer, prefix in self._with_prefixes() for _ in scorer.classes]
        rows = [summary_row(each, models) for each in faces]
        self._folder.text(SUMMARY_FILE, csv_text(summary_header(columns, prefixes), rows))
        episodes = [row for each in faces for row in episode_rows(each, self._model_of)]
        self._folder.text(EPISODES_FILE, csv_text(EPISODES, episodes))

    def _with_prefixes(self) -> list[tuple[ScoringModel, str]]:
        return list(zip(self._scored.scorers, self._scored.prefixes, strict=True))

    def _model_of(self, column: str) -> str:
        """The name of the model that a column is of."""
        return next(scorer.name for scorer, prefix in self._with_prefixes() if column.startswith(prefix))

    def _columns_of(self, model: str, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if self._model_of(name) == model]

    def _lead(self, columns: Sequence[str]) -> str:
        """The score that stands for all where there is room for one: the first valence index, else the first valence,
        else the first score."""
        ends = [name.rpartition(".")[2].casefold() for name in columns]
        return next((columns[ends.index(name)] for name in (VALENCE_INDEX, "valence") if name in ends), columns[0])

    # Pictures.

    @cached_property
    def _pages(self) -> list[list[str]]:
        """The pages of each model's overview; those of the first, or the only one, are called after none."""
        if not self._draws:
            return [[] for _ in self._scored.scorers]
        from affectkit.stages.score_figures import ROWS_A_PAGE

        count = max(1, -(-len(self._pictures) // ROWS_A_PAGE)) if self._pictures else 0
        stems = [OVERVIEW, *(f"{OVERVIEW}.{scorer.name}" for scorer in self._scored.scorers[1:])]
        ends = ["", *(f"-{number}" for number in range(2, count + 1))][:count]
        return [[f"{stem}{end}.png" for end in ends] for stem in stems]

    def _draw(self, ranges: Sequence[FaceRange], counter: Meter) -> None:
        from affectkit.stages import score_figures

        with np.errstate(all="ignore"):
            low = np.fmin.reduce([each.low for each in ranges], axis=0)
            high = np.fmax.reduce([each.high for each in ranges], axis=0)
        bounds = {name: self._bounds(name, *pair) for name, *pair in zip(self._written.columns, low, high, strict=True)}
        note = " ".join(note_of(scorer) for scorer in self._scored.scorers) + f" {CAUTION}"
        settings = repr((_FIGURES, sorted(bounds.items()), note, self._options))
        for number in range(len(self._scored.scorers)):
            self._draw_overview(ranges, number, bounds, settings)
        for clip, faces in groupby(ranges, key=lambda each: each.summary.clip):
            tables: dict[str, tuple[ScoreTable, Bools]] = {}
            for face in faces:
                key = clip, face.summary.face
                made_from = sha256(f"{face.digest} {key} {settings}".encode()).hexdigest()
                with self._folder.file(self._pictures[key], made_from) as temporary:
                    if temporary is None:
                        continue
                    counter.say(f"drawing {clip}")
                    tables = tables or self._tables_of(clip)
                    timeline = self._timeline(face.summary, *tables[face.summary.face], bounds, note)
                    score_figures.draw_timeline(timeline, temporary)

    def _tables_of(self, clip: str) -> dict[str, tuple[ScoreTable, Bools]]:
        """The scores of each face of a clip, and where it is seen."""
        tables = self._scored.tables(clip, speech=self._options.speech)
        return {table.face: (table, seen) for table, seen in tables}

    def _are_few(self, summary: FaceSummary) -> bool:
        """Whether so few rows show a face (or have speech) that their mean says little; where a score is one of the
        whole clip, that is not known from its rows."""
        has_rows = any(task.level == "time" for scorer in self._scored.scorers for task in scorer.outputs)
        return has_rows and 0 < summary.face_rows < FEW

    def _timeline(
        self, summary: FaceSummary, table: ScoreTable, seen: Bools, bounds: Mapping[str, tuple[float, float]], note: str
    ) -> Any:
        from affectkit.stages.score_figures import Curve, Timeline

        groups = []
        for scorer, prefix in self._with_prefixes():
            names = [name for name in table.columns if self._model_of(name) == scorer.name]
            names.sort(key=lambda name: name.removeprefix(prefix) in scorer.probabilities)
            curves = [
                Curve(
                    name.removeprefix(prefix), table.of(name), *bounds[name], summary.of(name).mean,
                    summary.of(name).episodes, name.removeprefix(prefix) in scorer.probabilities,
                )
                for name in names
            ]  # fmt: skip
            groups.append((scorer.name, curves))
        face = f", face {summary.face}" if summary.face else ""
        model = f": {groups[0][0]}" if len(groups) == 1 else ""
        few = f" ({rows_in_words(summary.face_rows)} with {self._options.seen})" if self._are_few(summary) else ""
        return Timeline(
            f"{summary.clip}{face}{model}{few}", table.start, table.end, seen, groups, self._options.threshold, note,
            table.speech, self._options.unseen,
        )  # fmt: skip

    def _draw_overview(
        self, ranges: Sequence[FaceRange], model: int, bounds: Mapping[str, tuple[float, float]], settings: str
    ) -> None:
        """The overview of one of the models, which it says, and where those of the others are."""
        from affectkit.stages import score_figures

        scorer, prefix = self._with_prefixes()[model]
        columns = self._columns_of(scorer.name, self._written.columns)
        lead = self._lead(columns)
        columns = [lead, *(name for name in columns if name != lead)][:_MEANS]
        pages = self._pages[model]
        elsewhere = [
            f"{other.name} in {names[0]}"
            for other, names in zip(self._scored.scorers, self._pages, strict=True) if other is not scorer
        ]  # fmt: skip
        note = f"{note_of(scorer)} {CAUTION}" + (f" Other models: {', '.join(elsewhere)}." if elsewhere else "")
        rows = []
        for face in ranges:
            summary = face.summary
            name = f"{summary.clip}{f' #{summary.face}' if summary.face else ''}"
            means = np.array([summary.of(column).mean for column in columns])
            few = summary.face_rows if self._are_few(summary) else None
            rows.append(score_figures.OverviewRow(name, *face.strips[model], means, few))
        size = score_figures.ROWS_A_PAGE
        for number, page in enumerate(pages):
            some = rows[number * size : (number + 1) * size]
            digests = "".join(face.digest for face in ranges[number * size : (number + 1) * size])
            made_from = sha256(f"{digests} {settings}".encode()).hexdigest()
            of_all = f" ({number * size + 1} to {number * size + len(some)} of {len(rows)})" if len(pages) > 1 else ""
            title = f"{counted_faces([face.summary for face in ranges])}, {scorer.name}{of_all}"
            with self._folder.file(page, made_from) as temporary:
                if temporary is not None:
                    score_figures.draw_overview(
                        some, lead.removeprefix(prefix), bounds[lead], [name.removeprefix(prefix) for name in columns],
                        title, note, temporary, self._options.unseen,
                    )  # fmt: skip

    def _bounds(self, column: str, low: float, high: float) -> tuple[float, float]:
        """What an axis of a score shows: 0 to 1 or -1 to 1 where that holds all of it, else what there is."""
        if column.endswith(VALENCE_INDEX):
            return -1.0, 1.0
        if not np.isfinite([low, high]).all() or (low >= 0 and high <= 1 and self._is_probability(column)):
            return 0.0, 1.0
        if low >= -1 and high <= 1:
            return (-1.0 if low < 0 else 0.0), 1.0
        return float(low), float(high if high > low else low + 1)

    def _is_probability(self, column: str) -> bool:
        return any(
            column.removeprefix(prefix) in scorer.probabilities
            for scorer, prefix in self._with_prefixes() if column.startswith(prefix)
        )  # fmt: skip


def rows_in_words(count: int) -> str:
    """So many rows.

    >>> rows_in_words(1), rows_in_words(3)
    ('1 row', '3 rows')
    """
    return f"{count} row{'' if count == 1 else 's'}"


def counted_faces(faces: Sequence[FaceSummary]) -> str:
    """How many clips, and faces where they are told apart, in words."""
    clips = len({each.clip for each in faces})
    text = f"{clips} clip{'' if clips == 1 else 's'}"
    if not (numbered := sum(bool(each.face) for each in faces)):
        return text
    return f"{numbered} face{'' if numbered == 1 else 's'} in {text}"


def note_of(scorer: ScoringModel) -> str:
    """One model, what it was trained on, and how its scores were smoothed, for people."""
    trained_on = str(scorer.about.get("trained_on", "")).rstrip(".")
    return f"{scorer.name}: trained on {trained_on}; smoothing: {scorer.smoothed}."


def _has(scorer: ScoringModel, clip: str) -> bool:
    return clip in scorer.predictions or face_id(clip, 0) in scorer.predictions


def _some(names: Sequence[str]) -> str:
    count = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{count} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _write_parquet(tables: Sequence[ScoreTable], path: Path) -> None:
    """Tables of a clip's faces, as arrays: texts are repeated for all rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for table in tables:
        columns = {
            name: pa.array([value] * len(table), pa.string()) if isinstance(value, str) else pa.array(value)
            for name, value in table.data().items()
        }
        parts.append(pa.table(columns))
    pq.write_table(pa.concat_tables(parts), path)


def _join_parquet(paths: Sequence[Path], out: Path) -> None:
    """One Parquet file of several with the same columns, one at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not paths:
        pq.write_table(pa.table({"clip": pa.array([], pa.string())}), out)
        return
    with pq.ParquetWriter(out, pq.read_schema(paths[0])) as writer:
        for path in paths:
            writer.write_table(pq.read_table(path))
