"""Annotators' files: what is exported reads back the same, what strangers wrote is bounded, and raters are made one."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from store_tables import artifact, write

from affectkit import plugins, tasks
from affectkit.annotations import raters
from affectkit.annotations.clips import ClipMedia
from affectkit.annotations.eaf import eaf_text
from affectkit.annotations.eaf_reading import read_eaf
from affectkit.annotations.folder import WRITERS, file_of
from affectkit.annotations.tiers import Annotation, Tier, TierRules, TimedRows, tiers_of
from affectkit.annotations.webvtt import webvtt_text
from affectkit.api.exporting import export
from affectkit.errors import UsageError
from affectkit.plugins import contracts
from affectkit.plugins.contracts.datasets import OBLIGATIONS
from affectkit.store import Artifact, Cache, predictions_schema
from affectkit.store.export import ANNOTATION_FORMATS
from affectkit.tables.label_tables import read_labels
from affectkit.tasks import Task
from affectkit.types import ClipLabels

VA, EXPR, AU = (tasks.get(name) for name in ("va", "expr", "au"))
NAN = float("nan")


def reader(name: str, root: Path, *options: str) -> Any:
    plugin = plugins.get("datasets", name)
    return plugin(plugins.parse_options(plugin, options, name), root)


def refusal(work: Any) -> str:
    with pytest.raises(UsageError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)


def same(given: ClipLabels, expected: ClipLabels, tolerance: float) -> None:
    np.testing.assert_allclose(given.start, expected.start, atol=tolerance)
    np.testing.assert_allclose(given.end, expected.end, atol=tolerance)
    np.testing.assert_array_equal(given.values, expected.values)


def table(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


TABLES: dict[str, tuple[Task, str, tuple[str, ...]]] = {
    "va": (VA, "clip,start,end,valence,arousal", (
        "day1/anna,0,0.0333,0.1,-0.2", "day1/anna,0.0333,0.0667,0.123456789,1", "day1/anna,0.5,1,-1,0",
        "bo,0,2,0.5,0.5",
    )),
    "expr": (EXPR, "clip,start,end,label", ("a,0,1,Happiness", "a,1,2.5,Anger", "a,4,5,Neutral")),
    "au": (AU, "clip,start,end," + ",".join(AU.targets), (
        "a,0,1," + ",".join("100000000001"), "a,1,2," + ",".join("100000000000"), "a,3,4," + ",".join("000000000000"),
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_labels_exported_to_elan_read_back_the_same(name: str, tmp_path: Path) -> None:
    task, header, rows = TABLES[name]
    path = table(tmp_path / "labels.csv", header, *rows)
    export(path, "eaf", out=tmp_path / "eaf", task=name, every=0)
    labels, expected = reader("elan", tmp_path / "eaf").labels(task), read_labels(path, task)
    assert list(labels) == sorted(expected)
    for clip, each in labels.items():
        same(each, expected[clip], 5.001e-4)  # ELAN's times are milliseconds


def test_traces_read_back_bit_for_bit_with_their_gaps(tmp_path: Path) -> None:
    _, header, rows = TABLES["va"]
    path = table(tmp_path / "labels.csv", header, *rows)
    export(path, "traces", out=tmp_path / "traces", task="va")
    labels, expected = reader("traces", tmp_path / "traces").labels(VA), read_labels(path, VA)
    assert list(labels) == sorted(expected)
    for clip, each in labels.items():
        same(each, expected[clip], 0)


@pytest.mark.parametrize("name", ["elan", "traces"])
def test_readers_keep_the_protocol(name: str, tmp_path: Path) -> None:
    path = table(tmp_path / "labels.csv", TABLES["va"][1], *TABLES["va"][2])
    export(path, "eaf" if name == "elan" else "traces", out=tmp_path / "root", task="va")
    plugin = plugins.get("datasets", name)
    candidate = contracts.Candidate("datasets", name, plugin, plugin.Options(), task=VA, root=tmp_path / "root")
    for obligation in OBLIGATIONS:
        obligation(candidate)


# ---- predictions


def predictions(root: Path, columns: list[str], scores: np.ndarray) -> Artifact:
    times = np.arange(len(scores) + 1) / 5
    made = artifact(root, predictions_schema(columns))
    rows = {"start": times[:-1], "end": times[:-1] + 0.04, "valid": np.isfinite(scores).all(axis=1)}
    rows |= {"scores": scores.astype("f4"), "observed": np.ones(len(scores))}
    write(made, {"anna#1": rows | {"split": "val"}})
    made.seal()
    return made


def test_classes_are_runs_with_their_mean_probability(tmp_path: Path) -> None:
    scores = np.full((6, 8), 0.0)
    scores[[0, 1, 3], 4] = 0.6, 0.8, 0.5
    scores[[0, 1, 3], 0] = 0.4, 0.2, 0.5  # a tie is the first class
    scores[2] = np.nan
    scores[4:, 1] = 1.0
    made = predictions(tmp_path / "p", list(EXPR.targets), scores)
    folder = export(made, "eaf", out=tmp_path / "eaf")
    tier = read_eaf(folder / "anna#1.eaf").tiers["class"]
    assert [(each.start, each.end, each.text) for each in tier.annotations] == [
        (0.0, 0.4, "Happiness (0.70)"), (0.6, 0.8, "Neutral (0.50)"), (0.8, 1.2, "Anger (1.00)")
    ]  # fmt: skip
    assert 'PARTICIPANT="face 1"' in (folder / "anna#1.eaf").read_text()
    labels = reader("elan", folder).labels(EXPR)["anna#1"]
    assert labels.values.ravel().tolist() == [4, 0, 1]
    rows = (export(made, "boris", out=tmp_path / "boris") / "anna#1.csv").read_text().splitlines()
    assert rows[1] == "anna#1,,face 1,Happiness,STATE,0.000,0.400,0.400,0.7000"
    assert len(rows) == 4


def test_values_are_averaged_over_seconds_or_cut_by_a_threshold(tmp_path: Path) -> None:
    scores = np.stack([np.linspace(-0.5, 0.4, 10), np.full(10, 0.25)], axis=1)
    made = predictions(tmp_path / "p", ["valence", "arousal"], scores)
    tiers = read_eaf(export(made, "eaf", out=tmp_path / "eaf", task="va") / "anna#1.eaf").tiers
    assert [(each.start, each.end, each.text) for each in tiers["valence"].annotations] == [
        (0.0, 1.0, "-0.3000"), (1.0, 2.0, "0.2000")
    ]  # fmt: skip
    cut = read_eaf(export(made, "eaf", out=tmp_path / "cut", threshold=0.05) / "anna#1.eaf").tiers
    assert [(each.start, each.end) for each in cut["valence"].annotations] == [(1.2, 2.0)]
    cues = (export(made, "webvtt", out=tmp_path / "vtt") / "anna#1.vtt").read_text()
    assert cues.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nvalence -0.30\narousal 0.25\n\n")
    assert "by --threshold" in refusal(lambda: export(made, "boris", out=tmp_path / "boris"))
    assert not (tmp_path / "boris").exists()
    assert "name a new folder" in refusal(lambda: export(made, "eaf", out=tmp_path / "eaf"))


def test_two_exports_are_the_same_bytes(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", ["valence", "arousal"], np.zeros((3, 2)))
    first, second = (export(made, "eaf", out=tmp_path / name) / "anna#1.eaf" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_options_of_annotations_are_refused_elsewhere(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", ["valence", "arousal"], np.zeros((3, 2)))
    assert "--every is for --to eaf and boris" in refusal(lambda: export(made, "csv", out=tmp_path / "x", every=1))
    assert "traces have every row" in refusal(lambda: export(made, "traces", out=tmp_path / "x", every=1))
    labels = table(tmp_path / "labels.csv", "clip,label", "a,Anger")
    assert "say by --task" in refusal(lambda: export(labels, "eaf", out=tmp_path / "x"))
    assert "by --videos" in refusal(lambda: export(labels, "eaf", out=tmp_path / "x", task="expr"))
    assert tuple(WRITERS) == ANNOTATION_FORMATS


def test_text_is_text_wherever_it_comes_from() -> None:
    evil = "<b>&\"'\x00\x1b]]>--> \u202e\ud800"
    tiers = [Tier(evil, (Annotation(0, 1, evil), Annotation(1, 1.0001, "short")))]
    text = eaf_text(tiers, "a b&<.mp4", evil, 0.0)
    from xml.dom.minidom import parseString  # an XML parser that is not ours

    document = parseString(text.encode())
    value = document.getElementsByTagName("ANNOTATION_VALUE")
    assert [each.firstChild.data for each in value] == ["<b>&\"'\ufffd\ufffd]]>--> \u202e\ufffd"]
    assert document.getElementsByTagName("MEDIA_DESCRIPTOR")[0].getAttribute("MEDIA_URL") == "./a%20b%26%3C.mp4"
    cues = webvtt_text([Tier("x", (Annotation(0, 1, "<i>\n\n00:00 --> 00:01"),))])
    assert cues.splitlines()[2:] == ["00:00:00.000 --> 00:00:01.000", "&lt;i&gt;  00:00 --&gt; 00:01"]


def test_file_names_are_safe() -> None:
    assert str(file_of('a/b:c"%.', ".eaf")) == "a/b%3Ac%22%25%2E.eaf"
    for clip in ("../x", "/x", "a/../b"):
        assert "cannot name a folder" in refusal(lambda clip=clip: file_of(clip, ".eaf"))


def test_media_are_named_where_they_are_known(tmp_path: Path) -> None:
    (tmp_path / "day1").mkdir()
    (tmp_path / "day1" / "anna.MP4").touch()
    media = ClipMedia(tmp_path, (".mp4",))
    assert (media.name("day1/anna#0"), media.name("day1/bo")) == ("anna.MP4", "")
    assert ClipMedia(named={"anna": "/films/x.mkv"}).name("anna#3") == "x.mkv"


def test_the_rules_on_rows_by_hand() -> None:
    start = np.arange(4.0)
    rows = TimedRows(start, start + np.array([1, 0.5, 1, 1]), np.array([[1.0, 0], [1, 1], [1, NAN], [0, 1]]), False)
    pair = Task(name="t", kind="multilabel", level="time", targets=("x", "y"), metric="binary-f1")
    x, y, covered = tiers_of(pair, rows, TierRules())
    assert [(each.start, each.end) for each in x.annotations] == [(0, 1.5), (2, 3)]
    assert [(each.start, each.end) for each in y.annotations] == [(1, 1.5), (3, 4)]
    assert [(each.start, each.end) for each in covered.annotations] == [(0, 1.5), (3, 4)]


# ---- files of strangers

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="x" MIME_TYPE="y"{origin}/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="100"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="1100"/>
<TIME_SLOT TIME_SLOT_ID="t3"/><TIME_SLOT TIME_SLOT_ID="t4" TIME_VALUE="3000"/></TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="a" TIER_ID="speech">{speech}</TIER>
<TIER LINGUISTIC_TYPE_REF="b" PARENT_REF="speech" TIER_ID="Class">{classes}</TIER>
</ANNOTATION_DOCUMENT>"""


def interval(name: str, first: str, last: str, text: str = "") -> str:
    refs = f'ANNOTATION_ID="{name}" TIME_SLOT_REF1="{first}" TIME_SLOT_REF2="{last}"'
    value = f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
    return f"<ANNOTATION><ALIGNABLE_ANNOTATION {refs}>{value}</ALIGNABLE_ANNOTATION></ANNOTATION>"


def reference(name: str, to: str, text: str, more: str = "") -> str:
    refs = f'ANNOTATION_ID="{name}" ANNOTATION_REF="{to}"{more}'
    value = f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
    return f"<ANNOTATION><REF_ANNOTATION {refs}>{value}</REF_ANNOTATION></ANNOTATION>"


def eaf(path: Path, speech: str = "", classes: str = "", origin: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(EAF.format(speech=speech, classes=classes, origin=origin))
    return path


def test_what_elan_writes_beside_plain_intervals(tmp_path: Path) -> None:
    speech = interval("a1", "t1", "t2", "hello") + interval("a3", "t2", "t4", "again")
    classes = reference("r1", "a1", "anger") + reference("r2", "a3", "Neutral")
    classes += reference("r3", "a3", "Fear", ' PREVIOUS_ANNOTATION="r2"')
    eaf(tmp_path / "one" / "a.eaf", speech, classes, ' TIME_ORIGIN="400"')
    elan = reader("elan", tmp_path / "one")
    labels = elan.labels(EXPR)["a"]
    assert (labels.start.tolist(), labels.end.tolist()) == ([0.5, 1.5], [1.5, 3.4])
    assert labels.values.ravel().tolist() == [1, 0]
    assert elan.notes() == ["left out: 1 annotations which divide another and have no time"]
    eaf(tmp_path / "two" / "a.eaf", "", interval("a1", "t1", "t3", "Fear") + interval("a2", "t2", "t4", "Fear"))
    elan = reader("elan", tmp_path / "two")
    assert elan.labels(EXPR)["a"].start.tolist() == [1.1]
    assert elan.notes() == ["left out: 1 annotations whose time slots have no time"]


@pytest.mark.parametrize(
    ("speech", "classes", "words"),
    [
        ("", interval("a", "t1", "t2", "Joy"), "a.eaf:7: tier 'Class': 'Joy', needed is a class of expr (Neutral, "),
        ("", interval("a", "t1", "t9"), "a.eaf:7: time slot 't9' is not there"),
        ("", interval("a", "t2", "t1"), "a.eaf:7: an annotation from 1100 to 100 ms"),
        ("", interval("a", "t1", "t2") + interval("a", "t2", "t4"), "two annotations are called 'a'"),
        ("", interval("a", "t1", "t4") + interval("b", "t2", "t4"), "'Class' has two annotations for one time"),
        (reference("a", "b", "") + reference("b", "a", ""), "", "refers to itself"),
        ("", reference("a", "z", ""), "refers to 'z', which is not there"),
        ("", "<ANNOTATION>", "not XML: mismatched tag"),
    ],
)
def test_elan_files_that_are_refused(speech: str, classes: str, words: str, tmp_path: Path) -> None:
    eaf(tmp_path / "a.eaf", speech, classes)
    assert words in refusal(lambda: reader("elan", tmp_path).labels(EXPR))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n<x>&b;</x>', "a.eaf:1: a document type (<!DOCTYPE>)"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "a document type"),
        ('<?xml version="1.0" encoding="EUC-KR"?><x/>', "not XML"),
        ("<x>" * 40 + "</x>" * 40, "more than 32 elements inside each other"),
        ("<x/>", "<x>, where ELAN's files begin with <ANNOTATION_DOCUMENT>"),
        ("", "not XML: no element found"),
        ("\0\1", "not XML"),
        (EAF.replace("milliseconds", "PAL-frames"), "a.eaf:3: TIME_UNITS is 'PAL-frames', needed is milliseconds"),
        (EAF.replace('"100"', '"1e2"'), "a.eaf:4: TIME_VALUE is '1e2', needed is a whole number of ms"),
    ],
)
def test_xml_that_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.eaf").write_text(text.format(speech="", classes="", origin="") if "{origin}" in text else text)
    assert words in refusal(lambda: reader("elan", tmp_path).labels(EXPR))


def test_many_elements_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affectkit.annotations.xml_tree.MOST_ELEMENTS", 5)
    eaf(tmp_path / "a.eaf")
    assert "more than 5 elements" in refusal(lambda: read_eaf(tmp_path / "a.eaf"))
    monkeypatch.setattr("affectkit.annotations.xml_tree.LARGEST_XML", 100)
    assert "too large for annotations" in refusal(lambda: read_eaf(tmp_path / "a.eaf"))


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("time,valence,arousal\n0,1,1\n0,1,1\n", (), "a.csv:3: the time 0 is not after that of the row before"),
        ("time,valence,arousal\n0,1,1\n\n-1,1,1\n", (), "a.csv:4: the time is -1, needed is a number from 0 on"),
        (
            "time;valence;arousal\n0;1;0,5\n",
            (),
            "a.csv:2: arousal is '0,5', needed is a finite number (a decimal comma?",
        ),
        ("time,valence,arousal\n0,1\n", (), "a.csv:2: 2 cells under 3 columns"),
        ("time,valence,arousal\n0,inf,1\n", (), "a.csv:2: valence is 'inf'"),
        ("t,valence,arousal\n0,1,1\n", (), "name it by --dataset-option time=NAME, or say the rows' rate"),
        ("time,valence,arousal\n0,1,1\n", (), "one row: how long it holds is not known"),
        ("time,x\n0,1\n1,1\n", (), "a.csv:1: no column valence or arousal among x"),
        ("time,time\n0,1\n", (), "two columns have one name"),
        ("", (), "a.csv:1: no header"),
        ("time,valence,arousal\n0,1,1\n1,1,1\n", ("raters=folders",), "is in no folder of a rater"),
    ],
)
def test_traces_that_are_refused(text: str, options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert words in refusal(lambda: reader("traces", tmp_path, *options).labels(VA))


def test_layouts_of_traces(tmp_path: Path) -> None:
    """Milliseconds, a rate, a folder a target with a column a rater as RECOLA has it, and a folder a rater."""
    rows = {"ms": "timestamp,valence,arousal\n0,0.5,1\n500,0.25,1\n", "rate": "valence\tarousal\n0.5\t1\n0.25\t1\n"}
    for name, text in rows.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(text)
    found = [reader("traces", tmp_path / "ms", "unit=ms"), reader("traces", tmp_path / "rate", "fps=2")]
    for target in ("valence", "arousal"):
        folder = tmp_path / "recola" / target
        folder.mkdir(parents=True)
        value = "0;0.25;0.75\n0.5;0;0.5\n" if target == "valence" else "0;1;1\n0.5;1;1\n"
        (folder / "a.csv").write_text(f"time;FM1;FM2\n{value}")
    assert "of several raters? Then" in refusal(lambda: reader("traces", tmp_path / "recola").labels(VA))
    found.append(reader("traces", tmp_path / "recola", "raters=columns"))
    for rater, value in (("x", 0.25), ("y", 0.75)):
        (tmp_path / "folders" / rater).mkdir(parents=True)
        (tmp_path / "folders" / rater / "a.csv").write_text(
            f"Time,Valence,Arousal\n0,{value},1\n0.5,{value - 0.25},1\n1,,\n"
        )
    found.append(reader("traces", tmp_path / "folders", "raters=folders"))
    named = tmp_path / "named"
    named.mkdir()
    (named / "a.csv").write_text("time,valence_x,valence_y,arousal_x\n0,0.25,0.75,1\n0.5,0,0.5,1\n")
    found.append(reader("traces", named, "raters=columns"))
    for each in found:
        labels = each.labels(VA)["a"]
        assert (labels.start.tolist(), labels.end.tolist()) == ([0, 0.5], [0.5, 1])
        assert labels.values.tolist() == [[0.5, 1], [0.25, 1]]
    assert found[3].notes() == ["labels of 2 raters (x, y): mean"]
    assert "1 of 1 clips were not rated by all of the 2 raters" in found[4].notes()


# ---- raters


def brute_icc(values: np.ndarray) -> float:
    """ICC(2,k) from variance components of the two-way model, as McGraw & Wong write it: ICC(A,k)."""
    n, k = values.shape
    rows = values.mean(axis=1, keepdims=True)
    columns = values.mean(axis=0, keepdims=True)
    ms_rows = k * np.var(rows, ddof=1)
    ms_columns = n * np.var(columns, ddof=1)
    ms_error = np.sum((values - rows - columns + values.mean()) ** 2) / (n - 1) / (k - 1)
    return (ms_rows - ms_error) / (ms_rows + (ms_columns - ms_error) / n)


def test_icc_against_the_paper_and_the_components() -> None:
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert round(raters.icc(table), 2) == 0.62  # Shrout & Fleiss 1979, table 4
    values = np.random.default_rng(0).normal(size=(40, 5)) + np.arange(40)[:, None] / 10
    assert raters.icc(values) == pytest.approx(brute_icc(values), rel=1e-12)
    assert math.isnan(raters.icc(values[:1]))


def test_alpha_against_krippendorffs_example() -> None:
    """Four observers, twelve units (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, C): 0.743."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
    assert raters.alpha(np.array(observers).T) == pytest.approx(0.743, abs=5e-4)
    assert raters.alpha(np.array([[1.0, 1], [1, 1]])) == 1


def test_weights_against_their_definition() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=200)
    values = np.stack([truth, truth + rng.normal(size=200), rng.normal(size=200), -truth], axis=1)
    expected = np.array(
        [max(0, np.corrcoef(values[:, k], np.delete(values, k, 1).mean(axis=1))[0, 1]) for k in range(4)]
    )
    np.testing.assert_allclose(raters.ewe_weights(values), expected / expected.sum(), rtol=1e-9)
    assert raters.ewe_weights(values)[3] == 0
    with pytest.raises(UsageError, match="no rater agrees"):
        raters.ewe_weights(np.array([[0.0, 1], [1, 0], [2, -1]]))


def test_several_raters_are_weighted_and_their_agreement_told(tmp_path: Path, affectkit: Command) -> None:
    rng = np.random.default_rng(2)
    times = np.arange(100) / 10
    (tmp_path / "valence").mkdir()
    values: dict[str, np.ndarray] = {}
    for clip in ("a", "b"):
        truth = np.sin(times + len(values))
        values[clip] = np.stack([truth, truth + rng.normal(size=100) / 4, truth + rng.normal(size=100)]).T.round(6)
        rows = (f"{at:.1f},{','.join(map(str, row))}" for at, row in zip(times, values[clip].tolist(), strict=True))
        (tmp_path / "valence" / f"{clip}.csv").write_text("\n".join(["time,x,y,z", *rows, "10,,,"]))
    task = tmp_path / "v.toml"
    task.write_text('name = "v"\nkind = "regression"\nlevel = "time"\ntargets = ["valence"]\nmetric = "ccc"\n')
    traces = reader("traces", tmp_path, "raters=columns", "combine=ewe")
    labels = traces.labels(tasks.get(str(task)))
    both = np.concatenate([values["a"], values["b"]])
    weights = raters.ewe_weights(both)
    np.testing.assert_allclose(labels["b"].values[:, 0], values["b"] @ weights, atol=1e-12)
    shown = ", ".join(f"{name} {weight:.3f}" for name, weight in zip("xyz", weights, strict=True))
    assert weights[2] > 0.1 and traces.notes() == [f"valence: evaluator-weighted mean of 3 raters, weights {shown}"]
    measures = traces.agreement(tasks.get(str(task)))["valence"]
    pairs = [np.corrcoef(both[:, i], both[:, j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert measures["pearson"] == pytest.approx(np.mean(pairs), abs=1e-9)
    assert measures["icc_2k"] == pytest.approx(brute_icc(both), abs=1e-9)
    options = ["--dataset-option", "raters=columns", "--no-media"]
    told = affectkit("dataset", "check", "traces", "--root", tmp_path, "--task", task, *options)
    assert re.search(r"agreement of the raters on valence: CCC \(mean of pairs\) 0\.\d+, Pearson", told.stdout), told


def test_raters_of_classes_in_elan(tmp_path: Path) -> None:
    tiers = [
        Tier(f"class@{rater}", (Annotation(0, 1, first), Annotation(1, 2, second)))
        for rater, first, second in (("x", "Anger", "Fear"), ("y", "Anger", "Sadness"), ("z", "Fear", "Neutral"))
    ]
    (tmp_path / "a.eaf").write_text(eaf_text(tiers, "", "", 0))
    elan = reader("elan", tmp_path)
    labels = elan.labels(EXPR)["a"]
    assert (labels.start.tolist(), labels.end.tolist()) == ([0, 1], [1, 2])
    np.testing.assert_array_equal(labels.values.ravel(), [1, NAN])
    assert "1 rows have no label: no value of some target, or a tie" in elan.notes()
    moments = np.repeat([[1.0, 1, 3], [3, 5, 0]], 10, axis=0)
    assert elan.agreement(EXPR) == {"label": {"alpha": pytest.approx(raters.alpha(moments))}}


def test_scores_of_a_published_model_are_of_the_tasks_on_its_card(tmp_path: Path) -> None:
    calm = Task(name="calm", kind="multiclass", level="time", targets=("no", "yes"), metric="uar")
    card = {"outputs": [each.model_dump(mode="json") for each in (calm, VA)]}
    schema = predictions_schema(["no", "yes", "valence", "arousal"])
    made = Cache(tmp_path).create("predict", "x", {"stage": "predict"}, schema, extra={"card": card})
    rows = {"start": [0.0, 1.0], "end": [1.0, 2.0], "valid": [1, 1], "observed": [1.0, 1.0], "split": ""}
    write(made, {"a": rows | {"scores": np.array([[0.25, 0.75, 0.5, -0.5], [0.0, 1.0, 0.25, 0.0]], "f4")}})
    made.seal()
    tiers = read_eaf(export(made, "eaf", out=tmp_path / "eaf") / "a.eaf").tiers
    assert {name: [each.text for each in tier.annotations] for name, tier in tiers.items()} == {
        "class": ["yes (0.88)"], "valence": ["0.5000", "0.2500"], "arousal": ["-0.5000", "0.0000"]
    }  # fmt: skip
    header = (export(made, "traces", out=tmp_path / "traces") / "a.csv").read_text().splitlines()[0]
    assert header == "time,no,yes,valence,arousal"
