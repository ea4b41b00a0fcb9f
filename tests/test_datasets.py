"""Readers of data sets: every quirk of the layouts, labels at the frames' own times, and what is refused."""

from __future__ import annotations

import csv
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import dataset_factory as factory
import numpy as np
import pytest
from dataset_factory import VFR, aff_wild2, aff_wild2_crops, expr_text, va_text, write
from media_factory import make_clip
from stage_calls import extract_faces
from stage_factory import clips_in, portrait

from affectkit import plugins, tasks
from affectkit.config import Runtime
from affectkit.datasets import _frame_times
from affectkit.errors import UsageError
from affectkit.media import Sampling, VideoReader
from affectkit.plugins import contracts
from affectkit.plugins.contracts.datasets import OBLIGATIONS
from affectkit.stages.faces import FacesConfig
from affectkit.store import Artifact, Cache
from affectkit.tables.crops import crop_frames
from affectkit.tables.label_tables import read_labels
from affectkit.tables.pooling import align
from affectkit.tables.splits import SplitRequest, resolve_splits
from affectkit.tasks import Task
from affectkit.types import ClipLabels

VA, EXPR, AU, ERI = (tasks.get(name) for name in ("va", "expr", "au", "eri"))
COMPOUND, DFEW, AFFECTNET = (tasks.get(name) for name in ("compound", "dfew", "affectnet"))
NAN = float("nan")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Frame times are remembered below the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    return tmp_path / "user-cache"


def reader(name: str, root: Path, *options: str) -> Any:
    """A data set's reader, as `--dataset NAME --root ROOT --dataset-option ...` makes it."""
    plugin = plugins.get("datasets", name)
    return plugin(plugins.parse_options(plugin, options, name), root)


def same(given: Any, expected: Any) -> bool:
    return np.array_equal(given, expected, equal_nan=True)


def refusal(work: Any) -> str:
    with pytest.raises(UsageError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)


LAYOUTS = {
    "affwild2": (aff_wild2, VA), "hume-reaction": (factory.hume_muse, ERI), "dfew": (factory.dfew, DFEW),
    "affectnet": (factory.affectnet, VA),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_reader_keeps_the_protocol(name: str, tmp_path: Path) -> None:
    make, task = LAYOUTS[name]
    root, plugin = make(tmp_path / "root"), plugins.get("datasets", name)
    candidate = contracts.Candidate("datasets", name, plugin, plugin.Options(), task=task, root=root)
    for obligation in OBLIGATIONS:
        obligation(candidate)
    for other in tasks.BUILT_IN.values():
        if other.name not in candidate.instance.tasks:
            words = f"{name} has no labels for the task {other.name}"
            assert words in refusal(lambda task=other: candidate.instance.labels(task))


@pytest.mark.parametrize("name", plugins.names("datasets"))
def test_every_reader_refuses_a_root_that_is_none(name: str, tmp_path: Path) -> None:
    assert f"--root '{tmp_path / 'none'}' is not a directory" in refusal(lambda: reader(name, tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    for task in (VA, EXPR, AU, ERI, COMPOUND, DFEW, AFFECTNET):
        dataset = reader(name, tmp_path / "empty")
        if name == "cexpr" and task is COMPOUND:
            assert dataset.labels(task) == {} and dataset.clips() == []
        else:
            assert refusal(lambda dataset=dataset, task=task: dataset.labels(task))


def test_a_task_of_another_name_is_served(tmp_path: Path) -> None:
    dataset = reader("affwild2", aff_wild2(tmp_path))
    mine = Task(
        name="mine", kind="regression", level="time", targets=("valence", "arousal"), metric="ccc", invalid=(-5,)
    )
    assert same(dataset.labels(mine)["plain"].values, dataset.labels(VA)["plain"].values)
    swapped = mine.model_copy(update={"targets": ("arousal", "valence")})
    assert "no labels for the task mine (accepted: va, expr, au)" in refusal(lambda: dataset.labels(swapped))


# --- Aff-Wild2


def test_aff_wild2_values(tmp_path: Path) -> None:
    dataset = reader("affwild2", aff_wild2(tmp_path))
    va, expr, au = (dataset.rows(task) for task in (VA, EXPR, AU))
    assert same(va["plain"].values, [(0.1 * n, -0.1 * n) for n in range(8)])
    assert same(va["marked"].values, [(NAN, NAN)] * 3 + [(0.5, -0.5)])  # -5 of either drops the row
    assert same(va["two_left"].values, [(-0.5, 0.25)] * 8)
    assert va["header_only"].values.shape == (0, 2)
    assert same(expr["plain"].values, np.arange(8)[:, None])
    assert same(expr["marked"].values, [[NAN], [4], [NAN], [7]])
    assert same(au["plain"].values[0], [1, 0, 1] + [0] * 9) and same(au["plain"].values[1], [1] * 12)
    assert np.isnan(au["plain"].values[2]).all()
    assert (va["marked"].first_line, va["marked"].path.name) == (2, "marked.txt")


def test_aff_wild2_splits_are_a_tasks_own(tmp_path: Path) -> None:
    dataset = reader("affwild2", aff_wild2(tmp_path))
    assert dataset.splits(VA) == {
        "header_only": "val", "longer": "val", "marked": "train", "plain": "train", "two": "train",
        "two_left": "train", "unseen": "test",
    }  # fmt: skip
    assert dataset.splits(EXPR) == {"marked": "val", "plain": "train", "unseen": "test"}
    assert dataset.splits() == {name: split for name, split in dataset.splits(VA).items() if name != "marked"}
    assert dataset.labels(VA)["marked"].split == "train" and dataset.labels(EXPR)["marked"].split == "val"


def test_aff_wild2_clips(tmp_path: Path) -> None:
    dataset = reader("affwild2", aff_wild2(tmp_path))
    clips = {clip.id: clip for clip in dataset.clips()}
    assert list(clips) == ["header_only", "longer", "marked", "plain", "two", "two_left", "unseen"]
    assert clips["two_left"].path == clips["two"].path == tmp_path / "batch1" / "two.mp4"
    assert (clips["two_left"].face, clips["two"].face) == ("left", None)
    assert (clips["unseen"].split, clips["marked"].split, clips["longer"].split) == ("test", None, "val")


def test_aff_wild2_crops(tmp_path: Path) -> None:
    aff_wild2(tmp_path, media=False)
    aff_wild2_crops(tmp_path, {"plain": (1, 2, 4, 8), "two_left": (3,), "unseen": (1,)})
    dataset = reader("affwild2", tmp_path, "fps=30")
    clips = {clip.id: clip for clip in dataset.clips()}
    assert list(clips) == ["plain", "two_left", "unseen"]
    assert (clips["two_left"].path, clips["two_left"].face) == (tmp_path / "cropped_aligned" / "two_left", None)
    assert dataset.splits(VA)["unseen"] == "test"
    # Crop 00004.jpg is row 3 of the labels.
    numbers = crop_frames(clips["plain"].path).numbers
    values = dataset.labels(VA)["plain"].values[numbers - 1]
    assert same(values[:, 0], [0.1 * n for n in (0, 1, 3, 7)])


@pytest.mark.parametrize("name", ["EXPR_Recognition_Challenge", "EXPR_Classification_Challenge"])
@pytest.mark.parametrize("above", [".", "6th annotations"])
def test_aff_wild2_folder_names(name: str, above: str, tmp_path: Path) -> None:
    aff_wild2(tmp_path / above, expr=name, media=False)
    dataset = reader("affwild2", tmp_path)
    assert same(dataset.rows(EXPR)["plain"].values, np.arange(8)[:, None])
    assert dataset.splits(EXPR) == {"marked": "val", "plain": "train"}


def test_aff_wild2_two_folders_or_two_sets_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "EXPR_Recognition_Challenge/Train_Set/a.txt", expr_text([1]))
    write(tmp_path / "EXPR_Classification_Challenge/Train_Set/a.txt", expr_text([1]))
    assert "are both there" in refusal(lambda: reader("affwild2", tmp_path).rows(EXPR))
    write(tmp_path / "VA_Estimation_Challenge/Train_Set/a.txt", va_text([(0, 0)]))
    write(tmp_path / "VA_Estimation_Challenge/Validation_Set/a.txt", va_text([(0, 0)]))
    words = refusal(lambda: reader("affwild2", tmp_path).rows(VA))
    assert "clip 'a' is in two sets" in words and "Train_Set" in words and "Validation_Set" in words
    assert "AU_Detection_Challenge" in refusal(lambda: reader("affwild2", tmp_path).labels(AU))


BAD_FILES = {
    "a word": ("valence,arousal\n0,0\n0.1,high\n", ":3: arousal is 'high'"),
    "no number": ("valence,arousal\n0,nan\n", ":2: arousal is 'nan'"),
    "infinity": ("valence,arousal\n0,0\n0,inf\n", ":3: arousal is 'inf'"),
    "an empty cell": ("valence,arousal\n0,\n", ":2: arousal is ''"),
    "too few cells": ("valence,arousal\n0,0\n0\n0,0\n", ":3: 1 cells"),
    "too many cells": ("valence,arousal\n0,0\n0,0,0\n", ":3: 3 cells"),
    "few and many": ("valence,arousal\n0,0\n0\n0,0,0\n", ":3: 1 cells"),
    "many and few": ("valence,arousal\n0,0,0\n0\n", ":2: 3 cells"),
    "a blank line": ("valence,arousal\n0,0\n\n0,0\n", ":3: a blank line between rows"),
    "blank first": ("valence,arousal\n\n0,0\n", ":2: a blank line between rows"),
    "no header": ("0.1,0.2\n0.3,0.4\n", ":1: the header is '0.1,0.2', needed is 'valence,arousal'"),
    "swapped": ("arousal,valence\n0.3,0.4\n", ":1: the header is 'arousal,valence'"),
    "an underscore": ("valence,arousal\n0,1_0\n", ":2: arousal is '1_0'"),
    "an open quote": ('valence,arousal\n0,"0\n0,0\n', ":2: "),
    "empty": ("", " is empty"),
    "zeros": ("valence,arousal\n0,0\0\n", " is not UTF-8 text"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_aff_wild2_bad_files_are_named(case: str, tmp_path: Path) -> None:
    """Also among good ones, with which they are parsed together."""
    aff_wild2(tmp_path, media=False)
    path = write(tmp_path / "VA_Estimation_Challenge" / "Train_Set" / "odd.txt", BAD_FILES[case][0])
    words = refusal(lambda: reader("affwild2", tmp_path).rows(VA))
    assert f"{path}{BAD_FILES[case][1]}" in words, words


@pytest.mark.parametrize(
    ("folder", "text", "task", "words"),
    [
        ("EXPR_Recognition_Challenge", expr_text([0, 8]), EXPR, ":3: label is 8, needed is 0 to 7, or -1"),
        ("EXPR_Recognition_Challenge", expr_text([0, 1]).replace("1\n", "1.5\n"), EXPR, ":3: label is 1.5"),
        ("EXPR_Recognition_Challenge", f"{factory.EXPRESSIONS}\n0,1\n", EXPR, ":2: 2 cells"),
        ("EXPR_Recognition_Challenge", "Neutral,Anger,Disgust\n0\n", EXPR, ":1: the header is"),
        ("AU_Detection_Challenge", f"{factory.ACTION_UNITS}\n{'0,' * 11}2\n", AU, ":2: AU26 is 2, needed is 0 or 1"),
    ],
)  # fmt: skip
def test_aff_wild2_classes_are_checked(folder: str, text: str, task: Task, words: str, tmp_path: Path) -> None:
    aff_wild2(tmp_path, media=False)
    path = write(tmp_path / folder / "Train_Set" / "odd.txt", text)
    assert f"{path}{words}" in refusal(lambda: reader("affwild2", tmp_path).rows(task))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n \n"])
@pytest.mark.parametrize("bom", [False, True])
def test_aff_wild2_spellings(ending: str, tail: str, bom: bool, tmp_path: Path) -> None:
    text = " Valence, AROUSAL\n0.25, -0.5\n-1,1e-3\n+0.5 ,.5" + tail
    path = tmp_path / "VA_Estimation_Challenge" / "Validation_Set" / "a.txt"
    write(path, text.replace("\n", ending), bom=bom)
    write(path.with_name("b.txt"), va_text([(0.125, 1)]))
    rows = reader("affwild2", tmp_path).rows(VA)
    assert same(rows["a"].values, [(0.25, -0.5), (-1, 0.001), (0.5, 0.5)])
    assert same(rows["b"].values, [(0.125, 1)])
    write(path.with_name("c.txt"), 'valence,arousal\n"0.5","0.25"\n')
    assert same(reader("affwild2", tmp_path).rows(VA)["c"].values, [(0.5, 0.25)])


def test_many_files_read_as_the_csv_module_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, in blocks of any size, whatever number of digits."""
    rng = np.random.default_rng(0)
    expected = {}
    for number in range(40):
        rows = rng.uniform(-1, 1, (rng.integers(0, 60), 2)).round(int(rng.integers(0, 16)))
        path = (
            tmp_path
            / "VA_Estimation_Challenge"
            / ("Train_Set" if number % 2 else "Validation_Set")
            / f"v{number:02}.txt"
        )
        write(path, va_text(rows.tolist()), crlf=number % 3 == 0, bom=number % 5 == 0)
        with path.open(newline="", encoding="utf-8-sig") as file:
            expected[path.stem] = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    for size in (1, 500, 8 << 20):
        monkeypatch.setattr("affectkit.datasets._frame_rows._BLOCK", size)
        rows = reader("affwild2", tmp_path).rows(VA)
        assert rows.keys() == expected.keys()
        assert all(same(rows[clip].values, np.reshape(plain, (-1, 2))) for clip, plain in expected.items())


# --- times


def clip_of_frames(path: Path, pts: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_clip(path, len(pts), pts=pts, **options)


def test_labels_meet_the_rows_of_extract_faces(tmp_path: Path) -> None:
    """A clip of variable frame rate: faces at --fps native and labels have the same rows, to the last bit."""
    aff_wild2(tmp_path / "data", media=False)
    video = tmp_path / "data" / "videos" / "plain.mp4"
    video.parent.mkdir()
    make_clip(video, [portrait()] * len(VFR), pts=VFR)
    for name in ("marked", "two", "longer"):
        make_clip(tmp_path / "data" / "videos" / f"{name}.mp4", len(VFR), pts=VFR)
    config = FacesConfig(detector="centerface", size=32, fps="native")
    done = extract_faces(
        Cache(tmp_path / "cache"), clips_in(video), config, Runtime(workers=1, progress=False), device="cpu"
    )
    faces, labels = Artifact(done.path), reader("affwild2", tmp_path / "data").labels(VA)["plain"]
    assert labels.start.tobytes() == faces.column("plain", "start").astype(np.float64).tobytes()
    assert labels.end.tobytes() == faces.column("plain", "end").astype(np.float64).tobytes()
    assert same(faces.column("plain", "frame_index"), np.arange(8))
    assert same(align(labels, faces.column("plain", "start"), faces.column("plain", "end")), labels.values)
    # Counting frames at 30 a second would shift them: frame 5 is shown at 10/30 s.
    assert labels.start[5] == pytest.approx(10 / 30) and labels.end[2] == pytest.approx(5 / 30)


@pytest.mark.parametrize(
    ("suffix", "base", "pts", "options"),
    [
        (".mp4", Fraction(1, 30), VFR, {}),
        (".mp4", Fraction(1001, 30000), range(40), {"options": {"preset": "veryfast", "bf": "3", "g": "30"}}),
        (".mkv", Fraction(1, 1000), (0, 33, 67, 100, 150, 151, 400), {}),
        (".avi", Fraction(1, 25), range(12), {"codec": "mpeg4"}),
        (".mp4", Fraction(1, 90000), (9000, 12003, 15007, 20000), {}),
    ],
)
def test_times_are_those_of_the_reader_of_videos(
    suffix: str, base: Fraction, pts: Any, options: Any, tmp_path: Path
) -> None:
    path = clip_of_frames(tmp_path / f"a{suffix}", pts, time_base=base, **options)
    frames = [(frame.start, frame.end, frame.index) for frame in VideoReader(path, Sampling(fps="native"))]
    times = _frame_times.read_times([path])[path]
    assert isinstance(times, _frame_times.FrameTimes)
    assert list(zip(times.start.tolist(), times.end.tolist(), range(len(times)), strict=True)) == frames
    assert len(frames) == len(pts)


def test_frames_of_one_time_count_once() -> None:
    """As in VideoReader: the first is shown; labels of the others have no time to hold for."""
    from affectkit.media import PacketIndex

    index = PacketIndex("mp4", "h264", np.array([5, 6, 6, 8]), 10, 1, Fraction(1, 10), True, True, False, False, ())
    times = _frame_times.of_index(index)
    assert same(times.start, [0, 0.1, 0.3, 0.3]) and same(times.end, [0.1, 0.3, 0.3, 0.5])


def test_rows_and_frames_are_matched_from_the_first(tmp_path: Path) -> None:
    dataset = reader("affwild2", aff_wild2(tmp_path))
    labels = dataset.labels(VA)
    assert len(labels["longer"]) == 8 and same(labels["longer"].values, [(0.01 * n, 0.02 * n) for n in range(8)])
    assert len(labels["marked"]) == 4  # fewer rows than frames: none is made up
    assert labels["marked"].end[-1] == pytest.approx(6 / 30)
    assert "header_only" not in labels
    assert dataset.notes() == ["more label rows than frames, the surplus (up to 3) left out: 1 (longer)"]
    assert same(labels["two"].start, labels["two_left"].start)


def test_without_videos_a_rate_is_asked_for_and_said(tmp_path: Path) -> None:
    aff_wild2(tmp_path, media=False)
    words = refusal(lambda: reader("affwild2", tmp_path).labels(VA))
    assert "--dataset-option videos=DIR" in words and "--dataset-option fps=30" in words
    assert "5 (longer, marked, plain, ...)" in words
    make_clip(tmp_path / "plain.mp4", len(VFR), pts=VFR)
    dataset = reader("affwild2", tmp_path, "fps=25")
    labels = dataset.labels(VA)
    assert same(labels["longer"].start, np.arange(11) / 25) and same(labels["longer"].end, np.arange(1, 12) / 25)
    assert labels["plain"].start[3] == pytest.approx(5 / 30)  # a video that is there decides
    assert dataset.notes() == ["times assumed, 25 frames a second, no video: 4 (longer, marked, two, ...)"]


def test_a_table_of_rates_for_videos_that_are_not_there(tmp_path: Path) -> None:
    aff_wild2(tmp_path, media=False)
    make_clip(tmp_path / "plain.mp4", len(VFR), pts=VFR)
    rates = tmp_path / "rates.csv"
    rates.write_text("clip,fps\nlonger,25\nmarked,24\nplain,1\ntwo,30\nelse,12\n")
    dataset = reader("affwild2", tmp_path, f"fps={rates}")
    labels = dataset.labels(VA)
    assert same(labels["longer"].start, np.arange(11) / 25) and labels["marked"].start[1] == 1 / 24
    assert labels["two"].start[1] == labels["two_left"].start[1] == 1 / 30
    assert labels["plain"].start[3] == pytest.approx(5 / 30)  # a video that is there decides
    assert f"{rates}: rows of clips that are not here: 1 (else)" in dataset.notes()
    assert rates in dataset.label_files(VA)
    rates.write_text("clip,fps\nlonger,25\n")
    words = refusal(lambda: reader("affwild2", tmp_path, f"fps={rates}").labels(VA))
    assert "no fps of 3 of 4 clips, the first: 'marked'" in words


def test_videos_elsewhere(tmp_path: Path) -> None:
    aff_wild2(tmp_path / "labels", media=False)
    aff_wild2(tmp_path / "media")
    dataset = reader("affwild2", tmp_path / "labels", f"videos={tmp_path / 'media'}")
    assert len(dataset.labels(VA)) == 5 and len(dataset.clips()) == 7
    assert "is not a directory" in refusal(lambda: reader("affwild2", tmp_path / "labels", "videos=/none"))


def test_a_video_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    aff_wild2(tmp_path)
    (tmp_path / "batch1" / "plain.mp4").write_bytes(b"no video")
    dataset = reader("affwild2", tmp_path)
    assert set(dataset.labels(VA)) == {"longer", "marked", "two", "two_left"}
    assert any("unreadable video: 1 (plain)" in note for note in dataset.notes())


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    aff_wild2(tmp_path)
    make_clip(tmp_path / "batch2" / "plain.mp4", 3)
    assert "two videos are called plain" in refusal(lambda: reader("affwild2", tmp_path).labels(VA))


def test_frame_times_are_remembered_until_the_video_changes(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, scanned = make_clip(tmp_path / "a.mp4", 5), []
    scan = _frame_times.scan
    monkeypatch.setattr(_frame_times, "scan", lambda path: scanned.append(path) or scan(path))
    first, again = (_frame_times.read_times([video])[video] for _ in range(2))
    assert scanned == [video] and same(first.start, again.start) and same(first.end, again.end)
    make_clip(video, 7)
    assert len(_frame_times.read_times([video])[video]) == 7 and len(scanned) == 2
    for memo in own_cache.rglob("*.npy"):
        memo.write_bytes(b"damaged")
    assert len(_frame_times.read_times([video])[video]) == 7 and len(scanned) == 3
    assert not list(own_cache.rglob("*.part"))


def test_rows_and_frames_that_differ_by_many_are_said(tmp_path: Path) -> None:
    write(tmp_path / "VA_Estimation_Challenge/Train_Set/a.txt", va_text([(0, 0)] * 40))
    write(tmp_path / "VA_Estimation_Challenge/Train_Set/b.txt", va_text([(0, 0)] * 30))
    for name in "ab":
        make_clip(tmp_path / f"{name}.mp4", 10)
    dataset = reader("affwild2", tmp_path)
    dataset.labels(VA)
    assert dataset.notes() == [
        "more label rows than frames, the surplus (up to 30) left out: 2 (a, b)",
        "label rows and frames differ by many (other videos than the labels are about?): 1 (a: 40 rows, 10 frames)",
    ]


# --- Hume-Reaction


def test_hume_reaction_muse(tmp_path: Path) -> None:
    dataset = reader("hume-reaction", factory.hume_muse(tmp_path))
    labels = dataset.labels(ERI)
    assert list(labels) == ["00101", "00102", "00103"]
    assert same(labels["00102"].values, [[float(cell) for cell in factory.reactions(1)]])
    assert np.isnan(labels["00103"].values).all()
    assert (labels["00101"].start[0], labels["00101"].end[0]) == (0, np.inf)
    assert dataset.splits() == {"00101": "train", "00102": "val", "00103": "test", "00104": "test"}
    assert [clip.id for clip in dataset.clips()] == ["00101", "00102", "00103", "00104"]
    assert dataset.clips()[3].split == "test"
    assert dataset.features()["faus"]["00104"] == tmp_path / "feats" / "faus" / "00104.csv"
    assert list(dataset.features()) == ["egemaps", "faus"]
    assert dataset.rows(ERI)["00102"].first_line == 3


def test_hume_reaction_abaw5(tmp_path: Path) -> None:
    dataset = reader("hume-reaction", factory.hume_abaw5(tmp_path))
    labels = dataset.labels(ERI)
    assert dataset.splits() == {"201": "train", "202": "val", "203": "test"}
    assert same(labels["202"].values, [[float(cell) for cell in factory.reactions(1)]])
    assert np.isnan(labels["203"].values).all() and labels["202"].split == "val"
    assert dataset.features() == {} and dataset.clips() == []


def test_hume_reaction_refusals(tmp_path: Path) -> None:
    factory.hume_muse(tmp_path)
    labels, partition = tmp_path / "labels.csv", tmp_path / "partition.csv"
    good = labels.read_text("utf-8-sig")
    for text, words in (
        (good.replace("0.07", "much"), ":3: Adoration is 'much'"),
        (good.replace("[00102]", "[00101]"), ":3: clip '00101' is on line 2 already"),
        (good.replace("[00102]", "[../up]"), ":3: clip id '../up' has the part '..'"),
        (good.replace("Empathic-Pain", "Pain"), ": no column Empathic-Pain among"),
        (good.replace("[00102],", "[00102],1,"), ":3: 9 cells under 8 columns"),
    ):
        write(labels, text)
        assert f"{labels}{words}" in refusal(lambda: reader("hume-reaction", tmp_path).labels(ERI)), words
    write(labels, good)
    given = partition.read_text()
    write(partition, given.replace("devel", "devil"))
    assert f"{partition}:3: unknown split 'devil'" in refusal(lambda: reader("hume-reaction", tmp_path).splits())
    write(partition, given.replace("[00102],devel\n", ""))
    assert "clip '00102' has labels and no split" in refusal(lambda: reader("hume-reaction", tmp_path).labels(ERI))
    partition.unlink()
    assert "no partition.csv" in refusal(lambda: reader("hume-reaction", tmp_path).labels(ERI))
    write(tmp_path / "data_info.csv", "File_ID,Split\n")
    assert "are both there" in refusal(lambda: reader("hume-reaction", tmp_path).labels(ERI))


# --- C-EXPR-DB


def test_cexpr(tmp_path: Path) -> None:
    for name in ("a", "b"):
        clip_of_frames(tmp_path / "root" / f"{name}.mp4", range(2))
    dataset = reader("cexpr", tmp_path / "root")
    assert dataset.labels(COMPOUND) == {} and dataset.rows(COMPOUND) == {} and dataset.label_files(COMPOUND) == []
    assert dataset.splits() == {"a": "test", "b": "test"} and [clip.id for clip in dataset.clips()] == ["a", "b"]
    assert COMPOUND.targets == (
        "Fearfully_Surprised", "Happily_Surprised", "Sadly_Surprised", "Disgustedly_Surprised", "Angrily_Surprised",
        "Sadly_Fearful", "Sadly_Angry",
    )  # fmt: skip
    table = write(tmp_path / "mine.csv", "clip,split,label\na,train,Sadly_Angry\n")
    dataset = reader("cexpr", tmp_path / "root", f"labels={table}")
    assert same(dataset.labels(COMPOUND)["a"].values, [[6]]) and dataset.label_files(COMPOUND) == [table]
    assert dataset.splits() == {"a": "train", "b": "test"} and dataset.clips()[0].split == "train"
    absent = refusal(lambda: reader("cexpr", tmp_path / "root", "labels=none.csv"))
    assert "none.csv is not a file" in absent and "a table of your own (clip[,split][,subject],label)" in absent


# --- DFEW


@pytest.mark.parametrize("layout", ["label", "EmoLabel_DataSplit"])
@pytest.mark.parametrize("fold", range(1, 6))
def test_dfew(layout: str, fold: int, tmp_path: Path) -> None:
    dataset = reader("dfew", factory.dfew(tmp_path, layout=layout), f"fold={fold}")
    labels = dataset.labels(DFEW)
    assert list(labels) == [f"{n:05d}" for n in range(1, 8)]
    assert [float(at.values[0, 0]) for at in labels.values()] == [0, 1, 2, 3, 4, 5, 6]
    assert DFEW.targets == ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    assert [clip for clip, split in dataset.splits().items() if split == "test"] == [f"{fold:05d}"]
    assert set(dataset.splits().values()) == {"train", "test"}
    clips = dataset.clips()
    assert [clip.id for clip in clips] == ["00001", "00002", "00003"]
    assert len(crop_frames(clips[0].path).paths) == 2
    drawn = resolve_splits(list(labels), labels, {}, SplitRequest(val_fraction=0.34))
    assert sorted(drawn.values()) == ["test"] + ["train"] * 4 + ["val"] * 2


@pytest.mark.parametrize(
    ("name", "expected"), [("valence-2", [1, 0, None, 0, None, 0, 0]), ("arousal-2", [1, 0, 0, 1, 1, None, 1])]
)
def test_dfew_sides_of_the_circumplex(name: str, expected: list[int | None], tmp_path: Path) -> None:
    labels = reader("dfew", factory.dfew(tmp_path)).labels(tasks.get(name))
    found = [float(at.values[0, 0]) for at in labels.values()]
    assert [None if np.isnan(value) else value for value in found] == expected


def test_dfew_refusals(tmp_path: Path) -> None:
    factory.dfew(tmp_path)
    path = tmp_path / "label" / "single_trainset_1.csv"
    good = path.read_text()
    for text, words in (
        (good.replace("3,3", "3,8"), ":3: label is 8, needed is 1 to 7"),
        (good.replace("3,3", "3,0"), ":3: label is 0, needed is 1 to 7"),
        (good.replace("3,3", "00002,3"), ":3: clip '00002' is on line 2 already"),
        (good.replace("label", "class"), ": no column label"),
    ):
        write(path, text)
        assert f"{path}{words}" in refusal(lambda: reader("dfew", tmp_path).labels(DFEW))
    write(path, good + "1,1\n")
    assert "clip '00001' of fold 1 is in" in refusal(lambda: reader("dfew", tmp_path).labels(DFEW))
    assert "fold" in refusal(lambda: reader("dfew", tmp_path, "fold=6"))
    factory.dfew(tmp_path, layout="EmoLabel_DataSplit")
    assert "are both there" in refusal(lambda: reader("dfew", tmp_path).labels(DFEW))


# --- AffectNet


def test_affectnet(tmp_path: Path) -> None:
    dataset = reader("affectnet", factory.affectnet(tmp_path))
    va, classes, expr = (dataset.labels(task) for task in (VA, AFFECTNET, EXPR))
    assert same(va["4"].values, [[0.4, np.float32(-0.4)]])
    assert np.isnan(va["5"].values).all() and np.isnan(va["8"].values).all()  # -2 of either drops both
    assert [float(at.values[0, 0]) for at in classes.values()][:8] == list(range(8))
    assert np.isnan(classes["8"].values).all()
    names = [EXPR.targets[int(at.values[0, 0])] if np.isfinite(at.values).all() else None for at in expr.values()]
    assert names == ["Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", None, None]
    assert (va["4"].start[0], va["4"].end[0], va["4"].split, va["3"].split) == (0, np.inf, "train", "val")
    clips = dataset.clips()
    assert [clip.id for clip in clips] == [str(n) for n in range(9)]
    assert clips[3].path == tmp_path / "val_set" / "images" / "3.jpg"
    one = reader("affectnet", tmp_path / "train_set")
    assert set(one.splits().values()) == {"train"} and len(one.clips()) == 7
    (tmp_path / "train_set").rename(tmp_path / "faces")
    one = reader("affectnet", tmp_path / "faces")
    assert one.labels(VA)["4"].split is None and one.splits() == {} and one.clips()[0].split is None


class Fired:
    """What a pickle would run."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("fired"),)


def test_affectnet_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = factory.affectnet(tmp_path / "root")
    path = root / "train_set" / "annotations" / "4_exp.npy"
    for value, words in (
        (np.array([1, 2]), "it holds 2 values"), (np.array(np.nan), "holds nan"), (np.array("x"), "could not convert"),
        (np.array(11), "holds 11, needed is 0 to 10"), (np.array(1.5), "holds 1.5"), (np.array(1j), "it holds <c16"),
    ):  # fmt: skip
        np.save(path, value)
        told = refusal(lambda: reader("affectnet", root).labels(AFFECTNET))
        assert str(path) in told and words in told
    np.save(path, np.array(Fired(), object), allow_pickle=True)
    assert "it holds |O" in refusal(lambda: reader("affectnet", root).labels(AFFECTNET))
    for data in (b"", b"\x93NUMPY", pickle.dumps(Fired()), b"\x93NUMPY\x01\x00\x05\x00{'a':", b"0" * 70_000):
        path.write_bytes(data)
        assert str(path) in refusal(lambda: reader("affectnet", root).labels(AFFECTNET))
    assert not (tmp_path / "fired").exists()
    (root / "train_set" / "annotations" / "4_aro.npy").unlink()
    assert "4_aro.npy is missing" in refusal(lambda: reader("affectnet", root).labels(VA))


# --- table


TABLE = "video,begin,stop,set,valence,arousal,emotion\nb,1,2,dev,0.5,-0.5,Fear\nb,0,1,dev,-5,0.1,-1\na,0,1,train,,1,3\n"
COLUMNS = ("clip=video", "start=begin", "end=stop", "split=set", "label=emotion")


def as_labels(path: Path) -> Path:
    """The same table with the names that a labels CSV has."""
    names = "clip,start,end,split,valence,arousal,label"
    return write(path, TABLE.replace(TABLE.splitlines()[0], names))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("task", [VA, EXPR], ids=["va", "expr"])
def test_table(kind: str, task: Task, tmp_path: Path) -> None:
    import pandas as pd

    root = tmp_path / "root"
    path = write(root / "some.csv", TABLE)
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        pd.read_csv(path).to_parquet(root / "some.parquet")
        path.unlink()
    dataset = reader("table", root, *COLUMNS)
    labels, expected = dataset.labels(task), read_labels(as_labels(tmp_path / "labels.csv"), task)
    assert list(labels) == list(expected) == ["a", "b"]
    for clip, at in expected.items():
        assert isinstance(labels[clip], ClipLabels) and labels[clip].split == at.split
        assert all(same(getattr(labels[clip], name), getattr(at, name)) for name in ("start", "end", "values"))
    assert dataset.splits() == {"a": "train", "b": "val"}
    assert dataset.label_files(task) == [root / f"some.{kind}"] and set(dataset.rows(task)) == {"a", "b"}
    clip_of_frames(root / "videos" / "b.mp4", range(2))
    assert [(clip.id, clip.split) for clip in reader("table", root, *COLUMNS).clips()] == [("b", "val")]


def test_table_ids_may_be_paths(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "clip,subject,valence,arousal\nday1/a,anna,0,0\nday2/a,bob,0,0\nc,,0,0\n")
    for name in ("day1/a", "day2/a", "day2/c"):
        clip_of_frames(tmp_path / f"{name}.mp4", range(2))
    dataset = reader("table", tmp_path)
    found = {clip.id: (clip.path.relative_to(tmp_path).as_posix(), clip.subject) for clip in dataset.clips()}
    assert found == {"c": ("day2/c.mp4", None), "day1/a": ("day1/a.mp4", "anna"), "day2/a": ("day2/a.mp4", "bob")}
    assert dataset.labels(VA)["day1/a"].subject == "anna" and dataset.splits() == {}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_refusals(kind: str, tmp_path: Path) -> None:
    import pandas as pd

    def told(text: str, *options: str) -> str:
        path = write(tmp_path / "t.csv", text)
        if kind == "parquet":
            pd.read_csv(path).to_parquet(tmp_path / "t.parquet")
        return refusal(lambda: reader("table", tmp_path, f"file=t.{kind}", *COLUMNS, *options).labels(VA))

    name = tmp_path / f"t.{kind}"
    assert str(name) in (words := told(TABLE, "clip=clip")) and "clip" in words
    assert "come together" in told(TABLE, "end=finish")
    line = 3 if kind == "csv" else 2
    assert f"{name}:{line}: start 0, end 0" in told(TABLE.replace("b,0,1", "b,0,0"))
    assert "has no rows" in told(TABLE.splitlines()[0] + "\n")
    assert str(name) in told(TABLE.replace("-0.5", "low"))
    write(tmp_path / f"u.{kind}", "x")
    assert "tables (" in refusal(lambda: reader("table", tmp_path).labels(VA))
    assert str(tmp_path / f"u.{kind}") in refusal(lambda: reader("table", tmp_path, f"file=u.{kind}").labels(VA))
    write(tmp_path.parent / "outside.csv", TABLE)
    assert "leads outside" in refusal(lambda: reader("table", tmp_path, "file=../outside.csv").labels(VA))


# --- files from strangers


def test_links_stay_inside(tmp_path: Path) -> None:
    root = aff_wild2(tmp_path / "root")
    secret = write(tmp_path / "secret.txt", va_text([(0.1, 0.1)]))
    inside = root / "VA_Estimation_Challenge" / "Train_Set" / "linked.txt"
    inside.symlink_to("plain.txt")
    (root / "batch1" / "linked.mp4").symlink_to("plain.mp4")
    dataset = reader("affwild2", root)
    assert same(dataset.labels(VA)["linked"].values, dataset.labels(VA)["plain"].values)
    inside.unlink()
    inside.symlink_to(secret)
    assert f"{inside} is a link that leads outside" in refusal(lambda: reader("affwild2", root).labels(VA))
    inside.unlink()
    (root / "batch1" / "away.mp4").symlink_to(tmp_path / "secret.txt")
    assert "leads outside" in refusal(lambda: reader("affwild2", root).clips())
    (root / "batch1" / "away.mp4").unlink()
    (root / "cropped_aligned").symlink_to(tmp_path)
    assert "leads outside" in refusal(lambda: reader("affwild2", root, "media=crops").clips())


def test_a_linked_folder_counts_once_and_only_inside(tmp_path: Path) -> None:
    root = aff_wild2(tmp_path / "root", media=False)
    (root / "batch1").symlink_to(aff_wild2(tmp_path / "elsewhere") / "batch1")
    assert "links to folders are not followed" in refusal(lambda: reader("affwild2", root).labels(VA))
    assert reader("affwild2", root, f"videos={root / 'batch1'}", "fps=30").labels(VA)["two"].start[3] > 0.15
    (root / "VA_Estimation_Challenge").rename(root / "kept")
    (root / "VA_Estimation_Challenge").symlink_to("kept")
    assert len(reader("affwild2", root).rows(VA)) == 6
    (root / "kept").rename(root / "more")
    (root / "VA_Estimation_Challenge").unlink()
    (root / "VA_Estimation_Challenge").symlink_to(tmp_path / "elsewhere" / "VA_Estimation_Challenge")
    assert "leads outside" in refusal(lambda: reader("affwild2", root).rows(VA))


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    root = aff_wild2(tmp_path / "root")
    (root / "batch1" / "up").symlink_to(root)
    (root / "VA_Estimation_Challenge" / "Train_Set" / "self.txt").symlink_to("self.txt")
    assert "self.txt cannot be read" in refusal(lambda: reader("affwild2", root).labels(VA))
    (root / "VA_Estimation_Challenge" / "Train_Set" / "self.txt").unlink()
    assert len(reader("affwild2", root).labels(VA)) == 5
