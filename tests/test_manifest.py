"""SOURCE arguments, manifests, folders of crops, splits and predictions: what is read, and what is refused how."""

from __future__ import annotations

import csv
import io
import os
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from affectkit import tasks
from affectkit.errors import ClipError, UsageError
from affectkit.tables.crops import crop_frames
from affectkit.tables.csv import read_table
from affectkit.tables.ids import clip_id, split_name
from affectkit.tables.label_tables import read_labels
from affectkit.tables.labels import match_labels
from affectkit.tables.manifests import read_manifest
from affectkit.tables.predictions import read_predictions
from affectkit.tables.sources import sources
from affectkit.tables.splits import SplitRequest, read_splits, resolve_splits
from affectkit.tasks import Task
from affectkit.types import ClipLabels

VA, EXPR, AU, ERI = (tasks.get(name) for name in ("va", "expr", "au", "eri"))
SUFFIXES = {".mp4", ".mov", ".wav"}


def touch(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def table(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def found(*items: Path | str, stdin: str | None = None) -> list[str]:
    source = None if stdin is None else io.StringIO(stdin)
    return [clip.id for clip in sources([str(item) for item in items], media_suffixes=SUFFIXES, stdin=source)]


# --- clip ids and split names


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("../a", "part '..'"),
        ("a/../b", "part '..'"),
        ("a/./b", "part '.'"),
        ("a//b", "part ''"),
        ("a/", "part ''"),
        ("..", "part '..'"),
        ("/etc/passwd", "absolute"),
        ("a\\b", "backslash"),
        ("a\nb", "control"),
        ("a\x00b", "control"),
        ("a\u2028b", "control"),
        ("a\udcff", "control"),
        ("é" * 128, "255 bytes"),
    ],
)
def test_ids_that_could_leave_their_root_or_break_a_line_are_refused(given, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        clip_id(given)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize("given", ["é" * 127, "a..b", "日本/語 1", "x#1", "...", "a,b", '"q"'])
def test_other_ids_stay_as_they_are(given):
    assert clip_id(f" {given} ") == unicodedata.normalize("NFC", given)


@pytest.mark.parametrize("given", ["val", "Valid", " VALIDATION", "dev", "devel", "development"])
def test_split_synonyms(given):
    assert split_name(given) == "val"
    with pytest.raises(UsageError, match=r"unknown split 'tset'.*train, val, test"):
        split_name("tset")


# --- SOURCE arguments


def test_a_directory_gives_its_media_files_sorted_with_ids_below_it(tmp_path):
    touch(
        tmp_path, "b.mp4", "a.MP4", "day1/x.y.mov", "day1/s.wav", ".hidden.mp4", ".git/c.mp4", "notes.txt", "cover.jpg"
    )
    clips = sources([str(tmp_path)], media_suffixes=SUFFIXES)
    assert [clip.id for clip in clips] == ["a", "b", "day1/s", "day1/x.y"]
    assert clips[3].path == tmp_path / "day1/x.y.mov"


def test_a_file_is_named_by_its_stem_whatever_its_suffix(tmp_path):
    touch(tmp_path, "deep/down/anna.mp4", "list.m3u8")
    assert found(tmp_path / "deep/down/anna.mp4", tmp_path / "list.m3u8") == ["anna", "list"]


def test_relative_sources_and_the_current_directory(tmp_path, monkeypatch):
    touch(tmp_path, "set/a.mp4", "set/crops/00001.jpg")
    monkeypatch.chdir(tmp_path)
    assert found("set") == found("./set/") == found("set/../set") == ["a", "crops"]
    monkeypatch.chdir(tmp_path / "set/crops")
    assert found(".") == ["crops"]


def test_the_same_file_twice_is_one_clip(tmp_path):
    (file,) = touch(tmp_path, "a.mp4")
    (tmp_path / "link.mp4").symlink_to(file)
    assert found(file, tmp_path, file, tmp_path / "../" / tmp_path.name / "a.mp4") == ["a", "link"]


@pytest.mark.parametrize(("one", "two"), [("a.mp4", "a.mov"), ("x/a.mp4", "y/a.mp4")])
def test_one_id_with_two_contents_names_both_files(tmp_path, one, two):
    first, second = touch(tmp_path, one, two)
    with pytest.raises(UsageError, match="clip 'a' has two contents") as caught:
        found(first, second)
    assert str(first) in str(caught.value) and str(second) in str(caught.value)


def test_a_media_file_and_a_folder_of_crops_of_one_name_clash(tmp_path):
    touch(tmp_path, "a.mp4", "a/00001.jpg")
    with pytest.raises(UsageError, match="two contents"):
        found(tmp_path)


def test_the_two_unicode_forms_of_a_name_are_one_id(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Zoë.mp4") for form in ("NFC", "NFD"))
    (path,) = touch(tmp_path, decomposed)
    (clip,) = sources([str(tmp_path)], media_suffixes=SUFFIXES)
    assert clip.id == composed.removesuffix(".mp4") and clip.path == path
    touch(tmp_path, composed)
    with pytest.raises(UsageError, match="two contents"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("name", "given"),
    [("a\nb.mp4", "a%0Ab"), ("a\\b.mp4", "a%5Cb"), (os.fsdecode(b"a\xffb.mp4"), "a%FFb")],
)
def test_file_names_that_make_no_id_are_written_otherwise_and_stop_nothing(tmp_path, name, given):
    touch(tmp_path, name, "good.mp4")
    clips = sources([str(tmp_path)], media_suffixes=SUFFIXES)
    assert [clip.id for clip in clips] == sorted([given, "good"]) and tmp_path / name in {clip.path for clip in clips}


def test_missing_and_empty_sources(tmp_path):
    touch(tmp_path, "empty/readme.txt", "a.mp4")
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nowhere")
    for missing in (tmp_path / "b.mp4", tmp_path / "a.mp4/c.mp4", tmp_path / "broken.mp4", "", "x" * 300):
        with pytest.raises(UsageError, match=r"no such file|cannot read"):
            found(missing)
    with pytest.raises(UsageError, match=r"empty holds no media files \(.mov, .mp4, .wav\)"):
        found(tmp_path / "a.mp4", tmp_path / "empty")
    with pytest.raises(UsageError, match="no clips given"):
        found()
    with pytest.raises(UsageError, match="no clips given"):
        found("-", stdin="\n\n")


def test_an_unreadable_directory_is_a_usage_error(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4")

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UsageError, match=f"cannot read {tmp_path}: Permission denied"):
        found(tmp_path)


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "root/sub/a.mp4", "else/b.mp4", "else/deep/c.mp4")
    root, other = tmp_path / "root", tmp_path / "else"
    (root / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "sub")
    (root / "z").symlink_to(other)
    (root / "y").symlink_to(other)
    (other / "back").symlink_to(root)
    (root / "d.mp4").symlink_to(other / "b.mp4")
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere")
    assert found(root) == ["d", "gone", "sub/a", "y/b", "y/deep/c"]


def test_paths_on_stdin_count_as_given_directly(tmp_path):
    touch(tmp_path, "d/a.mp4", "d/b c.mp4", "e/f.mp4")
    assert found("-", stdin=f"{tmp_path}/d/b c.mp4\r\n\n{tmp_path}/e\n{tmp_path}/d/a.mp4") == ["b c", "f", "a"]
    with pytest.raises(UsageError, match="no such file"):
        found("-", stdin=f"{tmp_path}/d/zzz.mp4\n")


# --- folders of crops


def test_folders_of_crops_are_clips(tmp_path):
    touch(tmp_path, "v1.x/00001.jpg", "v1.x/00003.jpg", "v2_left/00001.PNG", "v2_left/.thumb.jpg", "text/a.txt")
    clips = sources([str(tmp_path)], media_suffixes=SUFFIXES)
    assert [(clip.id, clip.path.name) for clip in clips] == [("v1.x", "v1.x"), ("v2_left", "v2_left")]
    assert all(clip.path.is_dir() for clip in clips)
    assert found(tmp_path / "v1.x") == ["v1.x"]


def test_numbered_crops_are_frames_with_gaps(tmp_path):
    touch(tmp_path, "00007.jpg", "00002.jpg", "10.png", ".00001.jpg", "Thumbs.db")
    numbers, paths = crop_frames(tmp_path)
    assert numbers.tolist() == [2, 7, 10]
    assert [path.name for path in paths] == ["00002.jpg", "00007.jpg", "10.png"]
    assert crop_frames(tmp_path).frames == 10


@pytest.mark.parametrize(
    ("pattern", "numbers", "frames"),
    [
        ("frame_{:06d}.jpg", [1, 2, 31], [1, 2, 31]),
        ("frame_det_00_{:06d}.jpg", [5, 31], [5, 31]),
        ("frame_det_01_{:06d}.bmp.png", [7], [7]),
        ("v2_f{}.jpg", [1, 2, 10], [1, 2, 10]),
        ("{:04d}_face.png", [3, 9], [3, 9]),
        ("f{}.jpg", [0, 1, 5], [1, 2, 6]),
        ("00012_{:05d}.jpg", [1, 2, 3], [1, 2, 3]),
    ],
)
def test_the_number_in_a_name_is_the_frame(tmp_path, pattern, numbers, frames):
    touch(tmp_path, *(pattern.format(number) for number in numbers))
    made = crop_frames(tmp_path)
    assert made.numbers.tolist() == frames
    assert [path.name for path in made.paths] == [pattern.format(number) for number in numbers]


def test_names_that_differ_in_more_than_a_number_are_all_frames_in_natural_order(tmp_path):
    touch(tmp_path, "f10b.jpg", "f2a.jpg", "f1c.jpg")
    numbers, paths = crop_frames(tmp_path)
    assert numbers.tolist() == [1, 2, 3]
    assert [path.name for path in paths] == ["f1c.jpg", "f2a.jpg", "f10b.jpg"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a.txt"], "holds no images"),
        (["00001.jpg", "face.jpg"], "mixes frame numbers .* with other names .face.jpg"),
        (["00001.jpg", "1.png"], "are the same frame"),
        (["00000.jpg", "00001.jpg"], "numbered from 1"),
        (["99999999999999999999999999.jpg"], "go up to"),
        (["²²²²1.jpg", "00001.jpg"], "mixes"),
        (["f1.jpg", "f01.jpg"], "are the same frame"),
        (["frame_det_00_000031.jpg", "frame_det_01_000031.jpg", "frame_det_00_000032.jpg"], "different faces"),
    ],
)
def test_bad_folders_of_crops_fail_as_clips(tmp_path, names, problem):
    touch(tmp_path, *names)
    with pytest.raises(ClipError, match=problem):
        crop_frames(tmp_path)


def test_a_folder_of_crops_that_is_gone_fails_as_a_clip(tmp_path):
    with pytest.raises(ClipError, match="cannot read"):
        crop_frames(tmp_path / "gone")


# --- manifests


def test_a_manifest_with_every_column(tmp_path):
    touch(tmp_path, "media/a.mp4")
    path = table(
        tmp_path / "clips.csv",
        "\ufeffClip, PATH ,start,end,split,subject,face,comment\r\n"
        'one,media/a.mp4,0.5,2,Devel,anna,,"first, of two"\r\n'
        '"two, too",media/../media/a.mp4,,,train,,largest,\r\n'
        f"three,{tmp_path}/gone.mp4,,7,,,all,\r\n\r\n,,,,,,,\r\n",
    )
    one, two, three = sources([str(path)], media_suffixes=SUFFIXES)
    assert (one.id, one.start, one.end, one.split, one.subject, one.face) == ("one", 0.5, 2.0, "val", "anna", None)
    assert (two.id, two.start, two.end, two.split, two.face) == ("two, too", None, None, "train", "largest")
    assert one.path == two.path == tmp_path / "media/a.mp4"
    assert three.path == tmp_path / "gone.mp4" and (three.start, three.end) == (None, 7.0)


def test_a_manifest_may_name_folders_of_crops_and_repeat_a_row(tmp_path):
    touch(tmp_path, "crops/00001.jpg")
    (clip,) = read_manifest(table(tmp_path / "m.csv", "clip,path\nx,crops\nx,crops\n"))
    assert clip.path.is_dir()


@pytest.mark.parametrize("path", ["../a.mp4", "sub/../../a.mp4", "/etc/passwd", ".."])
def test_manifest_paths_stay_below_the_manifest(tmp_path, path):
    manifest = table(tmp_path / "m.csv", f"clip,path\nok,a.mp4\nx,{path}\n")
    with pytest.raises(UsageError, match=r"m\.csv:3: path '.*' leads outside"):
        read_manifest(manifest)


def test_a_manifest_in_the_current_directory(tmp_path, monkeypatch):
    table(tmp_path / "m.csv", "clip,path\nx,a/b.mp4\n")
    monkeypatch.chdir(tmp_path)
    assert found("m.csv") == ["x"]
    assert read_manifest(Path("m.csv"))[0].path == Path("a/b.mp4")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("clip\nx\n", "no column path among clip; manifests need clip, path"),
        ("clip,path,start\nx,a,1\n", "start and end come together"),
        ("clip,path\n", "no rows"),
        ("clip,path\n../x,a.mp4\n", r":2: clip id '\.\./x' has the part '\.\.'"),
        ("clip,path\n,a.mp4\n", ":2: clip id '' is empty"),
        ("clip,path\nx,\n", ":2: the path is empty"),
        ("clip,path\nx,a.mp4\nx,b.mp4\n", ":3: clip 'x' is on line 2 with another content"),
        ("clip,path,start,end\nx,a.mp4,3,2\n", ":2: start 3, end 2"),
        ("clip,path,start,end\nx,a.mp4,-1,2\n", ":2: start -1, end 2"),
        ("clip,path,start,end\nx,a.mp4,zero,2\n", ":2: start is 'zero', not a number"),
        ("clip,path,split\nx,a.mp4,tset\n", ":2: unknown split 'tset'"),
        ("clip,path\n\nx,a.mp4,extra\n", ":3: 3 cells under 2 columns"),
        ("clip,path,split\nx,a.mp4\n", ":2: 2 cells under 3 columns"),
        ("clip;path\nx;a.mp4\n", "separated by semicolons"),
        ("clip\tpath\nx\ta.mp4\n", "separated by tabs"),
        ("clip,path,Clip\nx,a.mp4,y\n", None),
        ("Clip,path,CLIP\nx,a.mp4,y\n", "2 columns are called clip"),
    ],
)
def test_bad_manifests_name_file_and_line(tmp_path, text, problem):
    manifest = table(tmp_path / "m.csv", text)
    if problem is None:
        assert read_manifest(manifest)[0].id == "x"
        return
    with pytest.raises(UsageError, match=problem) as caught:
        read_manifest(manifest)
    assert str(caught.value).startswith(str(manifest)) and "\n" not in str(caught.value)


# --- CSV files of any kind


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n  \n,\n"])
@pytest.mark.parametrize("head", ["", "\ufeff", "\n\n"])
def test_line_ends_byte_order_marks_and_blank_lines(tmp_path, end, tail, head):
    text = f'{head}name,Value\n"a, b", 1.5 \n\n c ,""\nd,NaN{tail}'.replace("\n", end)
    data = read_table(table(tmp_path / "t.csv", text), "tests", text=("name",), numbers=("value",))
    assert [data.text["name"][row] for row in range(3)] == ["a, b", "c", "d"]
    assert np.array_equal(data.numbers["value"], [1.5, np.nan, np.nan], equal_nan=True)
    above = head.count("\n")
    assert [data.line(row) for row in range(3)] == [above + 2, above + 4, above + 5]


def test_lines_are_right_below_cells_that_hold_line_breaks(tmp_path):
    path = table(tmp_path / "t.csv", 'name,value,note\na,1,"two\nlines"\nb,x,\n')
    with pytest.raises(UsageError, match=r"t\.csv:4: value is 'x', not a number"):
        read_table(path, "tests", text=("name",), numbers=("value",))


@pytest.mark.parametrize("last", ["4", "x"])
def test_ids_that_look_like_numbers_stay_as_they_are_written(tmp_path, last):
    path = table(tmp_path / "t.csv", f"name,value,code\n007,1,1\n1e3,2,2\n1.50,3,3\n{last},4,4\n")
    data = read_table(path, "tests", text=("name", "code"), numbers=("value",))
    assert [data.text["name"][row] for row in range(4)] == ["007", "1e3", "1.50", last]
    assert [data.text["code"][row] for row in range(4)] == ["1", "2", "3", "4"]


def test_words_that_look_empty_are_kept_in_text_columns(tmp_path):
    path = table(tmp_path / "t.csv", "name,value\nNA,1\nnull,2\nnan,3\n")
    data = read_table(path, "tests", text=("name",), numbers=("value",))
    assert [data.text["name"][row] for row in range(3)] == ["NA", "null", "nan"]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        ("name,value\na,1\n".encode("utf-16"), "not UTF-8"),
        (b"name,value\na\xe9,1\n", ":2: not UTF-8"),
        (b"n\xe9me,value\na,1\n", ":1: not UTF-8"),
        (b"name,value\na,1\nb\0,1\n", "not UTF-8"),
        (b'name,value\n"a,1\nb,2\n', "quotes do not match"),
        (b'"name,value\na,1\n', "header cannot be read"),
        (b"name,value\na,1\nb\nc,2\n", ":3: 1 cells under 2 columns"),
        (b"name,value\na,1\nb\nc,2,\n", ":3: 1 cells under 2 columns"),
        (b"name,value\na,1,\nb,2\n", ":2: 3 cells under 2 columns"),
        (b"name,value\na,1\nb,2,3\n", ":3: 3 cells under 2 columns"),
        (b"name,value,more\n,,x\n", ":2: name, value are empty"),
        (b"name,value\na,1_0\n", ":2: value is '1_0'"),
        (b'name,value\n"a,b",1\nc\n', ":3: 1 cells under 2 columns"),
        (b"name,value,more\n,\na,1\n", ":3: 2 cells under 3 columns"),
        (b"name,value\n,,,\na,1\n", ":2: 4 cells under 2 columns"),
        (b"name,value\n,nan\na,1\n", ":2: name, value are empty"),
    ],
)
def test_what_is_no_csv_table_is_refused(tmp_path, raw, problem):
    path = tmp_path / "t.csv"
    path.write_bytes(raw)
    with pytest.raises(UsageError, match=problem):
        read_table(path, "tests", text=("name",), numbers=("value",))


def test_paths_that_are_no_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path, problem in (("none.csv", "cannot read"), (".", "not a regular file"), ("pipe.csv", "not a regular file")):
        with pytest.raises(UsageError, match=problem):
            read_table(tmp_path / path, "tests", text=("name",), numbers=())


def by_the_csv_module(text: str) -> list[tuple[str, float, float]] | None:
    """Rows of a table with the columns n, v, w as a plain loop reads them; None where it must be refused."""
    rows = []
    try:
        for cells in list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True))[1:]:
            words = [cell.strip() for cell in cells]
            if not any(words) and len(words) <= 3:
                continue
            name, *numbers = words
            values = [float(number or "nan") for number in numbers]
            if len(values) != 2 or (not name and np.isnan(values).all()):
                return None
            rows.append((name, *values))
    except (ValueError, csv.Error):
        return None
    return rows or None


@pytest.mark.parametrize("seed", range(4))
def test_any_table_reads_as_a_plain_loop_reads_it(tmp_path, seed):
    rng = random.Random(seed)
    names = ["a", "b ", '"q,x"', ' "z"', "1", "2.5", "", "1e3", 'x"y', "é", '"a""b"', " ", '"1"', '"l\nm"']
    numbers = ["1", "2.5", "", " 3 ", '"4"', "nan", "-1e-3"]
    refused = 0
    for _ in range(100):
        text = "n,v,w\n"
        for _ in range(rng.randint(0, 6)):
            width = rng.choices([3, 2, 4, 0], [30, 0.6, 0.6, 1])[0]
            cells = [rng.choice(names), *rng.choices([*numbers, "zz"], [5] * len(numbers) + [0.5], k=3)][:width]
            text += ",".join(cells) + rng.choice(["\n", "\r\n"])
        expected = by_the_csv_module(text)
        path = table(tmp_path / "t.csv", text)
        if expected is None:
            refused += 1
            with pytest.raises(UsageError):
                read_table(path, "tests", text=("n",), numbers=("v", "w"))
            continue
        data = read_table(path, "tests", text=("n",), numbers=("v", "w"))
        assert [data.text["n"][row] for row in range(len(data))] == [row[0] for row in expected], text
        found = np.column_stack([data.numbers["v"], data.numbers["w"]])
        assert np.array_equal(found, [row[1:] for row in expected], equal_nan=True), text
    assert 10 < refused < 90


# --- splits


def labelled(split: str | None = None, subject: str | None = None) -> ClipLabels:
    return ClipLabels(np.zeros(1), np.full(1, np.inf), np.zeros((1, 2)), split, subject)


def test_the_file_overrides_labels_and_labels_override_the_manifest(tmp_path):
    file = table(tmp_path / "s.csv", "Clip,Split\na,Test\nb,dev\n\nz,train\n")
    labels = {"a": labelled("train"), "b": labelled("train"), "c": labelled()}
    manifest = {"a": {"split": "val"}, "b": {"split": "val"}, "c": {"split": "validation"}}
    clips = ["c", "b", "a"]
    assert resolve_splits(clips, labels, manifest, SplitRequest(file)) == {"a": "test", "b": "val"}
    assert resolve_splits(clips, labels, manifest, SplitRequest()) == {"a": "train", "b": "train"}
    assert resolve_splits(clips, {}, manifest, SplitRequest()) == dict.fromkeys("abc", "val")


def test_faces_follow_their_clip_unless_listed(tmp_path):
    file = table(tmp_path / "s.csv", "clip,split\na,val\nb#1,train\n")
    splits = resolve_splits(["a#0", "a#1", "b#0", "b#1"], {}, {}, SplitRequest(file))
    assert splits == {"a#0": "val", "a#1": "val", "b#1": "train"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("clip,set\na,val\n", "no column split"),
        ("clip,split\na,val\nb,\n", ":3: unknown split ''"),
        ("clip,split\na,val\na,train\n", ":3: clip 'a' is in train here and in val above"),
        ("clip,split\n/a,val\n", ":2: clip id '/a' is an absolute path"),
    ],
)
def test_bad_splits_files(tmp_path, text, problem):
    with pytest.raises(UsageError, match=problem):
        read_splits(table(tmp_path / "s.csv", text))


def test_no_splits_and_splits_of_other_clips(tmp_path):
    with pytest.raises(UsageError, match=r"no clip has a split.*clip,split.*fraction"):
        resolve_splits(["a"], {"a": labelled()}, {}, SplitRequest())
    file = table(tmp_path / "s.csv", "clip,split\na.mp4,val\n")
    with pytest.raises(UsageError, match=r"s\.csv gives a split to none of the 1 clips \('a.mp4', not 'a'\)"):
        resolve_splits(["a"], {}, {}, SplitRequest(file))


def test_a_subject_in_two_splits_is_a_leak(tmp_path):
    labels = {"a": labelled("train", "anna"), "b": labelled("val", "bob"), "c": labelled("test")}
    with pytest.raises(UsageError, match="subject 'anna' is in two splits: clip 'a' in train, 'c' in test"):
        resolve_splits(list("abc"), labels, {"c": {"subject": "anna"}}, SplitRequest())
    assert len(resolve_splits(list("abc"), labels, {}, SplitRequest())) == 3
    assert len(resolve_splits(list("ab"), labels, {"c": {"subject": "anna"}}, SplitRequest())) == 2


def test_validation_clips_are_drawn_by_seed_not_by_order():
    clips = [f"c{number}#{face}" for number in range(20) for face in range(2)]
    draws = [resolve_splits(order, {}, {}, SplitRequest(val_fraction=0.25, seed=seed))
             for order, seed in ((clips, 1), (clips[::-1], 1), (clips, 2))]  # fmt: skip
    assert draws[0] == draws[1] != draws[2]
    val = [name for name, split in draws[0].items() if split == "val"]
    assert len(val) == 10 and set(draws[0].values()) == {"train", "val"}
    assert all(name.replace("#0", "#1") in val for name in val if name.endswith("#0"))


def test_drawing_by_subject_keeps_subjects_whole():
    labels = {f"c{number}": labelled(None, f"s{number % 4}") for number in range(20)}
    splits = resolve_splits(labels, labels, {}, SplitRequest(val_fraction=0.01, by="subject"))
    assert sum(split == "val" for split in splits.values()) == 5
    with pytest.raises(UsageError, match=r"subject 's\d' is in two splits"):
        resolve_splits(labels, labels, {}, SplitRequest(val_fraction=0.5))
    with pytest.raises(UsageError, match="clip 'x' has no subject"):
        resolve_splits([*labels, "x"], labels, {}, SplitRequest(val_fraction=0.5, by="subject"))


def test_a_fraction_is_taken_from_the_training_clips_only(tmp_path):
    labels = {f"c{number}": labelled("train" if number else "test") for number in range(11)}
    splits = resolve_splits(labels, labels, {}, SplitRequest(val_fraction=0.9))
    assert splits["c0"] == "test" and sum(split == "val" for split in splits.values()) == 9
    with pytest.raises(UsageError, match="given already"):
        resolve_splits("ab", {"a": labelled("val")}, {}, SplitRequest(val_fraction=0.3))
    with pytest.raises(UsageError, match="cannot be divided"):
        resolve_splits(["a"], {}, {}, SplitRequest(val_fraction=0.3))
    for fraction in (0, 1, -0.5, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            resolve_splits(["a", "b"], {}, {}, SplitRequest(val_fraction=fraction))


def test_labels_and_features_are_matched_and_leftovers_told():
    match = match_labels(["a", "b", "c"], ["b", "c", "d", "e", "f", "g"])
    assert match.clips == ("b", "c") and match.without_labels == ("a",)
    assert match.warnings == [
        "left out, labels but no features: 4 (d, e, f, ...)",
        "left out, features but no labels: 1 (a)",
    ]
    assert match_labels("a", "a").warnings == []
    with pytest.raises(UsageError, match=r"none of the 1 labelled clips.*such as 'x/a', labels 'a\.mp4'"):
        match_labels(["x/a"], ["a.mp4"])


# --- predictions


def test_predictions_are_sorted_and_columns_found_by_name(tmp_path):
    path = table(
        tmp_path / "p.csv",
        "arousal,Clip,end,start,extra,valence,split\n"
        "0.4,b,1.5,1,x,0.3,test\n0.2,b,1,0,x,0.1,test\n,a,1,0,x,NaN,\n0.6,b,2,0,x,0.5,test\n",
    )
    got = read_predictions(path, VA)
    assert got.columns == ("valence", "arousal")
    assert got.clip.tolist() == ["a", "b", "b", "b"] and got.split.tolist() == ["", "test", "test", "test"]
    assert got.start.tolist() == [0, 0, 0, 1] and got.end.tolist() == [1, 1, 2, 1.5]
    assert np.array_equal(got.scores, [[np.nan] * 2, [0.1, 0.2], [0.5, 0.6], [0.3, 0.4]], equal_nan=True)


@pytest.mark.parametrize(
    ("task", "text", "problem"),
    [
        (
            VA,
            "clip,valence\na,1\n",
            r"no column arousal among clip, valence; predictions for va need clip, valence, ar",
        ),
        (VA, "clip,start,end,valence,arousal\na,0,1,1,1\nb,0,1,1,1\na,0,1,2,2\n", ":4: clip 'a' has two rows .*line 2"),
        (VA, "clip,valence,arousal\na,1,1\na,1,1\n", ":3: clip 'a' has two rows"),
        (VA, "clip,valence,arousal\na,inf,1\n", ":2: valence is inf, needed is a finite number"),
        (VA, "clip,valence,arousal\na,high,1\n", ":2: valence is 'high', not a number"),
        (VA, "clip,split,valence,arousal\na,x,1,1\n", ":2: unknown split 'x'"),
        (VA, "clip,start,end,valence,arousal\na,1,1,1,1\n", ":2: start 1, end 1"),
        (
            EXPR,
            "clip," + ",".join(EXPR.targets) + "\na,2,0,0,0,0,0,0,-1\n",
            ":2: Neutral is 2, needed is a probability",
        ),
        (EXPR, "clip," + ",".join(EXPR.targets) + "\na,1,1,0,0,0,0,0,0\n", ":2: the probabilities of expr add up to 2"),
        (AU, "clip," + ",".join(AU.targets) + "\na" + ",1" * 11 + ",1.5\n", ":2: AU26 is 1.5"),
    ],
)
def test_bad_predictions_name_file_and_line(tmp_path, task, text, problem):
    with pytest.raises(UsageError, match=problem):
        read_predictions(table(tmp_path / "p.csv", text), task)


def test_a_target_may_not_take_the_name_of_a_column(tmp_path):
    task = Task(name="odd", kind="regression", level="time", targets=("valence", "split"), metric="mae")
    with pytest.raises(UsageError, match="may not be called split"):
        read_predictions(table(tmp_path / "p.csv", "clip,valence,split\na,1,1\n"), task)


def test_importing_the_tables_loads_nothing_heavy():
    heavy = "{'pandas', 'torch', 'scipy', 'sklearn'}"
    code = f"import sys, affectkit.tables.labels, affectkit.tables.sources; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_numbers_of_other_spellings_say_what_they_seem_to_be(tmp_path):
    table = tmp_path / "labels.csv"
    for text, said in (
        ('a,0,1,"0,5",1\n', "valence is '0,5', not a number (a decimal comma? write 0.5)"),
        (
            "a,00:00:01.5,00:00:02,0,1\n",
            "start is '00:00:01.5', not a number (a time of day or of a clip? write seconds: 1.5)",
        ),
        (
            "a,0,1,0,5,0,1\n",
            "7 cells under 5 columns (clip, start, end, valence, arousal) (decimal commas? write points)",
        ),
        ("a,0,1,happy,1\n", "valence is 'happy', not a number"),
    ):
        table.write_text("clip,start,end,valence,arousal\n" + text)
        with pytest.raises(UsageError) as caught:
            read_labels(table, tasks.get("va"))
        assert str(caught.value) == f"{table}:2: {said}"
    table.write_text("clip,label\na,1\nb,7\n")
    with pytest.raises(
        UsageError, match=r"label .7. is no class of dfew .*: classes are numbered from 0, these from 1"
    ):
        read_labels(table, tasks.get("dfew"))
