"""`affectkit report`: Write a page that shows predictions and scores beside the moving picture, and opens anywhere.

Predictions, scores, faces, sound, an analysis or a run -> a folder with one page.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from affectkit import __version__, tasks
from affectkit.config import Config
from affectkit.digests import Digests
from affectkit.errors import AffectkitError, HostileFile, UsageError, listed
from affectkit.pages import page
from affectkit.pages.drawings import SPARK_HEIGHT, SPARK_WIDTH
from affectkit.pages.texts import script_json, shown
from affectkit.stages.inputs import REQUIRED, artifacts, file
from affectkit.stages.report_clips import ClipLine, ClipReporter, ReportOptions
from affectkit.stages.report_panels import families_of, panels_of
from affectkit.stages.report_provenance import provenance_of
from affectkit.stages.report_scores import is_lower_better, section_of
from affectkit.stages.report_slices import grouped, manifest_columns
from affectkit.stages.report_sources import Sources, sources_of
from affectkit.stages.sink import meter
from affectkit.stages.stage import Context, Need, Result, Stage, TextTable
from affectkit.store import Artifact
from affectkit.store.result_folder import ResultFolder, file_names
from affectkit.tables.labels import read
from affectkit.tasks import Task
from affectkit.types import ClipLabels, without_face

PAGE, RECORD, DATA, MEDIA = "index.html", "report.json", "data", "media"
WHAT = "a report"
LARGEST_SINGLE = 64 << 20
"""Bytes of a page in a single file: browsers read it whole before they show anything."""
_CAUTIONS = 3


class ReportConfig(Config):
    """What the page shows."""

    task: str | None = Field(
        None, description="the task of labels and of tables of predictions  [default: that of the scores]"
    )
    media: Literal["none", "thumbnails", "link", "copy"] = Field(
        "thumbnails",
        description="none: no picture of anybody; thumbnails: small pictures and crops in the page; link: videos where "
        "they lie; copy: videos beside the page",
    )
    by: list[str] = Field([], description="slice scores by this column of --manifest, split or subject (repeatable)")
    title: str | None = Field(None, description="the page's title  [default: what it is of]")
    single_file: bool = Field(
        False, description=f"all in one file, of at most {LARGEST_SINGLE >> 20} MiB, to send to somebody"
    )


class Report(Stage):
    """Write a page that shows predictions and scores beside the moving picture, and opens anywhere.

    The page loads nothing from anywhere. A clip's curves follow its video or pictures, and clicking a curve seeks. Rows
    of each clip lie beside the page as they are stored, and are read when the clip is opened. The same line writes
    again only what changed.

    Examples:

    `affectkit report "$P" --out page`

    `affectkit report "$VIDEO" "$AUDIO" "$FUSED" "$SCORES" --labels va.csv --media link --out page`

    `affectkit report results --media copy --out page`
    """

    name = "report"
    makes = "file"
    says = "a page of {inputs}"
    version = 1
    Config = ReportConfig
    runtime = ("progress",)
    kept = "finished clips are kept, repeat the command to go on"

    @dataclass(frozen=True)
    class Inputs:
        """What is shown, and where the page goes."""

        what: Sequence[Path | Artifact] = artifacts(
            "predictions", "report", "crops", "sound", many=True,
            help="predictions, scores, faces or sound; the folder of an analysis or a run; a CSV of predictions",
        )  # fmt: skip
        labels: Path | None = file("CSV: clip[,start,end],<targets>, drawn beside the curves")
        manifest: Path | None = file("CSV: clip,<columns>, for --by")
        out: Path = file("the folder for the page", kind="made", default=REQUIRED)

    def needs(self, config: ReportConfig, files: Mapping[str, Path]) -> Iterator[Need]:
        yield Need("report", "jinja2", page.require_jinja)

    def run(self, inputs: Inputs, config: ReportConfig, context: Context) -> Result:
        """Write the page and a file for each clip; what is there and current is left as it is."""
        paths = [each.path if isinstance(each, Artifact) else each for each in inputs.what]
        page.require_jinja()
        if config.single_file and config.media in ("link", "copy"):
            raise UsageError(f"--single-file holds no videos: --media {config.media} needs files beside the page")
        folder = ResultFolder(inputs.out, RECORD, WHAT)
        sources = sources_of(paths, config.task)
        labelled = _task(config, sources) if inputs.labels else None
        labels = read(inputs.labels, labelled) if inputs.labels and labelled else {}
        columns = manifest_columns(inputs.manifest, config.by)
        reporter = _reporter(sources, config, inputs.out, labels, context.cache.digests())
        if not reporter.clips and not sources.scorings:
            raise UsageError(f"{listed(map(str, paths))}: no clip in it")
        writer = _Writer(folder, sources, reporter, config, labelled)
        with meter("report", len(reporter.clips), "rows", context.runtime.progress) as counter:
            lines = []
            for clip in reporter.clips:
                line = writer.clip(clip)
                lines += [line] if line else []
                counter.advance(clips=1, rows=line.rows if line else 0, failed=0 if line else 1)
        by = grouped(lines, columns, config.by)
        size = writer.page(lines, by, _command(inputs, config), config.title or title_of(sources))
        left = folder.end({"affectkit": __version__, "command": _command(inputs, config), "media": config.media})
        notices = list(dict.fromkeys([*sources.notices, *writer.notices()]))
        if folder.altered:
            notices.append(f"{listed(folder.altered, 'files')} had been changed by hand: written anew")
        if left:
            notices.append(f"{listed(left, 'files')} of an earlier report had been changed by hand: left as they are")
        report = {"page": str(inputs.out / PAGE), "clips": len(lines), "bytes": size, "written": len(folder.changed)}
        return Result(inputs.out, cached=not folder.changed, report=report, notices=tuple(notices))

    def json(self, result: Result) -> dict[str, Any]:
        return {"folder": str(result.path), "cached": result.cached, **result.report}

    def lines(self, result: Result) -> Iterator[str | TextTable]:
        yield from super().lines(result)
        report = result.report
        yield f"{report['clips']} clips; open {report['page']} in a browser, or: affectkit view {result.path}"


STAGE = Report


FOLDER = "report"
"""Where a command that ends with a page puts it, below its own folder of results."""


def page_of(
    results: Path, context: Context, config: ReportConfig | None = None, labels: Path | None = None
) -> tuple[Path | None, list[str]]:
    """The page of a folder of results, an analysis or a run, written into its `report/`, and lines about it.

    Where none can be written, the results stand without one: None, and a line that says why.
    """
    inputs = Report.Inputs(what=[results], labels=labels, out=results / FOLDER)
    try:
        result = Report().run(inputs, config or ReportConfig(), context)
    except AffectkitError as error:
        return None, [f"no page to look at: {error}"]
    return results / FOLDER / PAGE, list(result.notices)


class _Writer:
    """Writes the files of clips, then the page."""

    def __init__(
        self,
        folder: ResultFolder,
        sources: Sources,
        reporter: ClipReporter,
        config: ReportConfig,
        labelled: Task | None,
    ) -> None:
        self._folder, self._sources, self._reporter, self._config = folder, sources, reporter, config
        self._labelled = labelled
        self._inside: dict[str, str] = {}
        self._damaged: list[str] = []
        self._copies = _copies(reporter, config)
        names = [PAGE, *dict.fromkeys(self._copies.values())]
        if not config.single_file:
            names += [self._file(clip) for clip in reporter.clips]
        folder.begin(names)

    def _file(self, clip: str) -> str:
        return f"{DATA}/{self._reporter.keys[clip]}.js"

    def clip(self, clip: str) -> ClipLine | None:
        """Write a clip's file; returns its line of the table, None where it is damaged."""
        reporter = self._reporter
        try:
            line = reporter.line(clip)
            if self._config.single_file:
                self._inside[line.key] = script_json(reporter.chunk(clip).content())
                self._check_size()
                return line
            with self._folder.file(self._file(clip), reporter.made_from(clip)) as temporary:
                if temporary is not None:
                    temporary.write_text(reporter.chunk(clip).script(line.key), encoding="ascii")
        except HostileFile as error:
            self._damaged.append(f"{clip}: {error}")
            return None
        if (copy := self._copies.get(clip)) and (source := reporter.media_path(clip)) is not None:
            status = source.stat()
            with self._folder.file(copy, f"{source.resolve()} {status.st_size} {status.st_mtime_ns}") as temporary:
                if temporary is not None:
                    shutil.copyfile(source, temporary)
        return line

    def page(self, lines: Sequence[ClipLine], by: Sequence[str], command: str, title: str) -> int:
        """Write the page; returns its bytes."""
        families = families_of(self._sources)
        text = page.rendered(
            _about(self._sources, self._reporter, lines, by, command, title, self._config),
            {"panels": panels_of(self._sources, families, self._labelled), "families": families,
             "single": self._config.single_file,
             "clips": [{"key": line.key, "id": shown(line.id)} for line in lines],
             "sets": [shown(each.name) for each in self._sources.sets]},
            self._inside if self._config.single_file else None,
        )  # fmt: skip
        size = len(text.encode())
        if self._config.single_file and size > LARGEST_SINGLE:
            raise _too_large(size)
        self._folder.text(PAGE, text)
        return size

    def notices(self) -> Iterator[str]:
        """What is not shown, in a line each."""
        if self._damaged:
            yield f"left out, damaged: {listed(self._damaged, 'clips')}"
        absent = [clip for clip in self._reporter.clips if self._reporter.media_path(clip) is None]
        if absent and self._config.media != "none":
            why = "nobody says where their media lie, or they are not there"
            yield f"{listed(absent, 'clips')} without pictures: {why}"
        if self._reporter.changed:
            yield f"{listed(self._reporter.changed, 'clips')}: their media are not those that their rows were made from"
        if self._config.media == "link":
            yield "videos are linked where they lie: affectkit view shows those below the folder alone (--media copy)"

    def _check_size(self) -> None:
        if (size := sum(map(len, self._inside.values()))) > LARGEST_SINGLE:
            raise _too_large(size)


def _too_large(size: int) -> UsageError:
    return UsageError(
        f"the page would have {size >> 20} MiB, and a single file may have {LARGEST_SINGLE >> 20}: leave --single-file "
        "away, give --media none, or fewer clips"
    )


def _copies(reporter: ClipReporter, config: ReportConfig) -> dict[str, str]:
    """Where the media of each clip are copied to; faces of one clip share theirs."""
    if config.media != "copy":
        return {}
    paths = {clip: path for clip in reporter.clips if (path := reporter.media_path(clip)) is not None}
    names = file_names(dict.fromkeys(without_face(clip) for clip in paths))
    copies = {clip: f"{MEDIA}/{names[without_face(clip)]}{path.suffix.lower()}" for clip, path in paths.items()}
    reporter.copies.update(copies)
    return copies


def _reporter(
    sources: Sources, config: ReportConfig, out: Path, labels: Mapping[str, ClipLabels], digests: Digests
) -> ClipReporter:
    scores = next((each.by_clip for each in sources.scorings if each.by_clip), {})
    return ClipReporter(sources, ReportOptions(config.media, out), labels, scores, digests)


def _task(config: ReportConfig, sources: Sources) -> Task:
    """The task of the labels. Raises UsageError where nobody says it."""
    named = [scoring.report["task"] for scoring in sources.scorings]
    outputs = [task.name for each in sources.sets for task in each.outputs]
    for name in [config.task] if config.task else [*named, *outputs]:
        if config.task or name in tasks.BUILT_IN:
            return tasks.get(name)
    raise UsageError("--labels: of which task? give --task (affectkit list tasks)")


def title_of(sources: Sources) -> str:
    """What a page is of, for people."""
    titles = [str(record["title"]) for record in sources.records if record.get("title")]
    if titles:
        return titles[0]
    alone = [f"{each.name} ".startswith(f"{each.artifact_name} ") for each in sources.sets]
    names = list(dict.fromkeys(
        each.artifact_name if is_plain else each.name for each, is_plain in zip(sources.sets, alone, strict=True)
    ))  # fmt: skip
    if names:
        return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    titles = [f"{artifact.stage.stage} {artifact.stage.name}" for artifact in (*sources.faces, *sources.sound)]
    scored = [f"{scoring.report['task']}, split {scoring.report['split']}" for scoring in sources.scorings]
    return ", ".join(dict.fromkeys([*titles, *scored][:3]))


def _command(inputs: Report.Inputs, config: ReportConfig) -> str:
    """The line that makes the page again."""
    words = ["affectkit", "report", *(str(each.path if isinstance(each, Artifact) else each) for each in inputs.what)]
    for name, path in (("labels", inputs.labels), ("manifest", inputs.manifest)):
        words += [f"--{name}", str(path)] if path else []
    defaults = ReportConfig()
    for name in ReportConfig.model_fields:
        value, flag = getattr(config, name), f"--{name.replace('_', '-')}"
        if value == getattr(defaults, name):
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [flag] if each is True else [flag, str(each)]
    return " ".join(map(shlex.quote, [*words, "--out", str(inputs.out)]))


def _about(
    sources: Sources, reporter: ClipReporter, lines: Sequence[ClipLine], by: Sequence[str], command: str, title: str,
    config: ReportConfig,
) -> dict[str, Any]:  # fmt: skip
    """For the template."""
    provenance = provenance_of(sources, lines, command)
    metric = next((each.report["metric"] for each in sources.scorings if each.by_clip), "")
    has = {
        "split": any(line.split for line in lines), "subject": any(line.subject for line in lines),
        "face": any(np.isfinite(line.face_share) for line in lines), "curve": any(line.curve_said for line in lines),
        "mostly": any(line.mostly for line in lines), "failed": any(line.failed for line in lines),
        "score": bool(metric),
        "rows": bool(sources.sets),
    }  # fmt: skip
    seconds = [line.seconds for line in lines if np.isfinite(line.seconds)]
    return {
        "title": title, "version": __version__, "lines": [line.about() for line in lines], "has": has,
        "columns": reporter.columns, "metric": metric, "lead": sources.sets[reporter.lead].name if sources.sets else "",
        "worst_is_low": not is_lower_better(metric),
        "spark": {"width": SPARK_WIDTH, "height": SPARK_HEIGHT}, "provenance": provenance,
        "scores": [section_of(scoring, sources.sets, lines, by) for scoring in sources.scorings],
        "sets": [each.name for each in sources.sets], "media": config.media,
        "facts": {
            "clips": len(lines), "seconds": float(sum(seconds)), "rows": sum(line.rows for line in lines),
            "failed": sum(bool(line.failed) for line in lines), "sets": len(sources.sets),
        },
        "first_cautions": provenance["cautions"][:_CAUTIONS],
    }  # fmt: skip
