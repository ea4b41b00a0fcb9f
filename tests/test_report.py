"""The page of `affectkit report`: what is on it, that its numbers are the stored ones, and that texts stay texts."""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_factory
from conftest import Command
from media_factory import make_clip
from report_factory import HOSTILE, chunk_of, data_of, faces, numbers, predictions, report, scores, text_of

import affectkit as ak
from affectkit.errors import HostileFile, MissingExtra, UsageError
from affectkit.pages import drawings, page, texts
from affectkit.plugins import CAUTION
from affectkit.stages import report as stage
from affectkit.store import Cache
from affectkit.types import face_id

CURVES = {f"day1/clip-{number}": scores(40, seed=number) for number in range(4)}


def labels_of(path: Path, curves: dict[str, np.ndarray], hop: float = 0.2) -> Path:
    rows = [
        f"{clip},{row * hop:.4f},{row * hop + hop:.4f},test,{0.5 - row / 100:.4f},{np.sin(row / 5 + number):.4f}"
        for number, (clip, values) in enumerate(curves.items()) for row in range(len(values))
    ]  # fmt: skip
    path.write_text("\n".join(["clip,start,end,split,valence,arousal", *rows]) + "\n")
    return path


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag if tag in ("script", "style") else self._within
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif not self._within:
            self.text.append(data)


def test_rows_of_a_clip_lie_beside_the_page_bit_by_bit(cache: Cache, tmp_path: Path) -> None:
    model, other = predictions(cache, CURVES), predictions(cache, CURVES, name="other", hop=0.5)
    result = report(cache, tmp_path / "page", model.path, other.path)
    assert result.path == tmp_path / "page" and not result.cached and result.report["clips"] == 4
    data = data_of(tmp_path / "page")
    assert [each["id"] for each in data["clips"]] == sorted(CURVES) and data["sets"] == ["model", "other"]
    for each in data["clips"]:
        chunk = chunk_of(tmp_path / "page", each["key"])
        for packed, artifact in zip(chunk["sets"], (model, other), strict=True):
            record = artifact.read(each["id"])
            assert np.array_equal(numbers(packed, "start", "<f8"), record["start"])
            assert np.array_equal(numbers(packed, "end", "<f8"), record["end"])
            values = numbers(packed, "scores", "<f4").reshape(packed["rows"], packed["columns"])
            assert values.tobytes() == np.ascontiguousarray(record["scores"]).tobytes()
        assert chunk["id"] == each["id"] and chunk["duration"] == pytest.approx(20.0)


def test_the_same_line_writes_only_what_changed(cache: Cache, tmp_path: Path) -> None:
    out = tmp_path / "page"
    model = predictions(cache, CURVES)
    report(cache, out, model.path)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.js")}
    again = report(cache, out, model.path)
    assert again.cached and {path: path.stat().st_mtime_ns for path in out.rglob("*.js")} == before
    (out / "data/0002.js").write_text("altered")
    assert "altered" not in (report(cache, out, model.path), (out / "data/0002.js").read_text())[1]
    shorter = predictions(cache, dict(list(CURVES.items())[:2]), name="shorter")
    report(cache, out, shorter.path)
    assert sorted(path.name for path in (out / "data").iterdir()) == ["0001.js", "0002.js"]


def test_a_folder_with_other_files_is_left_alone(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files .* name a new or an empty folder for a report"):
        report(cache, tmp_path, predictions(cache, CURVES).path)
    assert [path.name for path in tmp_path.iterdir() if path.name == "index.html"] == []


def test_nothing_is_loaded_and_the_policy_allows_only_what_is_there(cache: Cache, tmp_path: Path) -> None:
    report(cache, tmp_path / "page", predictions(cache, CURVES).path)
    elements = Elements(text_of(tmp_path / "page"))
    policy = next(
        about["content"] for tag, about in elements.tags if about.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and "default-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "connect-src" not in policy
    code = [text for about, text in elements.scripts if about.get("type") != "application/json"]
    assert len(code) == 2
    for text in code:
        assert f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    for _, about in elements.tags:
        assert not {"src", "srcset", "style", "action", "onclick", "onerror", "onload"} & about.keys()
        assert not about.get("href") or about["href"].startswith("#")
    assert not any(tag in ("link", "iframe", "object", "embed", "base", "form") for tag, _ in elements.tags)


@pytest.mark.parametrize("single_file", [False, True])
def test_a_strangers_text_is_text_and_nothing_else(cache: Cache, tmp_path: Path, single_file: bool) -> None:
    clip = f"a/{HOSTILE}"
    card = {"name": HOSTILE, "summary": HOSTILE * 100, "trained_on": "x" * 10_000, "licences": {HOSTILE: HOSTILE}}
    weights = {"name": HOSTILE, "licence": HOSTILE, "sha256": HOSTILE, "source": HOSTILE, "path": None}
    entry = {"path": f"/nowhere/{HOSTILE}.mp4", "subject": HOSTILE, "split": "val", "start": None, "end": None}
    curves = {clip: scores(20), "b": scores(20, seed=1)}
    model = predictions(
        cache, curves, (HOSTILE, "plain"), name="n", clips={clip: entry}, card=card, weights=weights,
        config={HOSTILE: HOSTILE}, command=[HOSTILE, HOSTILE],
    )  # fmt: skip
    out = tmp_path / "page"
    report(cache, out, model.path, title=HOSTILE, single_file=single_file)
    elements = Elements(text_of(out))
    plain = Elements(text_of(out).replace(HOSTILE, ""))
    assert [tag for tag, _ in elements.tags] == [tag for tag, _ in plain.tags]
    assert not any(tag == "img" and "onerror" in about for tag, about in elements.tags)
    code = [text for about, text in elements.scripts if about.get("type") != "application/json"]
    assert len(code) == 2 and not any("bad()" in text for text in code)
    seen = "".join(elements.text)
    assert texts.shown(HOSTILE) in seen and "x" * 1900 in seen
    assert "\u202e" not in text_of(out) and "\u2066" not in text_of(out) and "⟨U+202E⟩" in seen
    for file in out.rglob("*"):
        assert file.is_dir() or re.fullmatch(r"index\.html|report\.json|\d{4}\.js", file.name)
    for script in [] if single_file else (out / "data").iterdir():
        assert "<" not in script.read_text("ascii") and not re.search("[\u2028\u2029']", script.read_text("ascii"))
    data = data_of(out)
    assert data["clips"][0]["id"] == texts.shown(clip)
    assert data["panels"][0]["title"] in (texts.shown(HOSTILE), "plain", texts.shown(HOSTILE * 1))


def test_a_single_file_holds_everything_and_has_a_largest_size(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = predictions(cache, CURVES)
    out = tmp_path / "page"
    report(cache, out, model.path, single_file=True)
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "report.json"]
    found = dict(re.findall(r'<script type="application/json" id="clip-(\d+)">(.*?)</script>', text_of(out)))
    assert len(found) == 4
    packed = json.loads(found["0001"])["sets"][0]
    assert (
        numbers(packed, "scores", "<f4").tobytes()
        == np.ascontiguousarray(model.read("day1/clip-0")["scores"]).tobytes()
    )
    monkeypatch.setattr(stage, "LARGEST_SINGLE", 1 << 10)
    with pytest.raises(UsageError, match="a single file may have"):
        report(cache, tmp_path / "other", model.path, single_file=True)
    with pytest.raises(UsageError, match="--single-file holds no videos"):
        report(cache, tmp_path / "other", model.path, single_file=True, media="copy")


def test_faces_that_were_cut_out_stand_below_the_curves_and_gaps_are_shaded(cache: Cache, tmp_path: Path) -> None:
    crops = faces(cache, {"a": 40}, unseen=[5, 6, 7, 30])
    model = predictions(cache, {"a": scores(40)}, upstream=[crops.path])
    report(cache, tmp_path / "page", model.path)
    chunk = chunk_of(tmp_path / "page", "0001")
    assert chunk["unseen"] == [[1.0, 1.6], [6.0, 6.2]]
    assert len(chunk["crops"]) == 24 and all(
        each["src"].startswith("data:image/jpeg;base64,") for each in chunk["crops"]
    )
    assert "90%" in "".join(Elements(text_of(tmp_path / "page")).text)
    report(cache, tmp_path / "without", model.path, media="none")
    assert chunk_of(tmp_path / "without", "0001")["crops"] == []
    assert "data:image" not in (tmp_path / "without/data/0001.js").read_text()


def test_crops_that_are_no_picture_are_left_out(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = report_factory.jpeg
    monkeypatch.setattr(report_factory, "jpeg", lambda grey: b"<svg onload=bad()>" if grey % 2 else picture(grey))
    report(cache, tmp_path / "page", faces(cache, {"a": 10}).path)
    assert len(chunk_of(tmp_path / "page", "0001")["crops"]) == 5


@pytest.mark.parametrize("media", ["none", "thumbnails", "link", "copy"])
def test_media_as_it_is_asked_for(cache: Cache, tmp_path: Path, media: str) -> None:
    (tmp_path / "videos").mkdir()
    video = make_clip(tmp_path / "videos/na me#1.mp4", 40)
    entry = {"path": str(video), "split": None, "subject": None, "start": None, "end": None}
    model = predictions(cache, {"na me#x": scores(7)}, clips={"na me#x": entry})
    report(cache, tmp_path / "page", model.path, media=media)
    chunk = chunk_of(tmp_path / "page", "0001")
    assert bool(chunk["frames"]) == (media == "thumbnails")
    copied = [path.relative_to(tmp_path / "page") for path in (tmp_path / "page").rglob("*.mp4")]
    if media == "link":
        assert chunk["video"] == "./../videos/na%20me%231.mp4" and not copied
    elif media == "copy":
        assert chunk["video"] == "./media/na%20me%23x.mp4" and copied == [Path("media/na me#x.mp4")]
        assert (tmp_path / "page" / copied[0]).read_bytes() == video.read_bytes()
    else:
        assert chunk["video"] == "" and not copied
    if media == "thumbnails":
        assert [each["t"] for each in chunk["frames"]] == sorted(each["t"] for each in chunk["frames"])


def test_an_evaluation_brings_its_predictions_scores_and_worst_clips(
    cache: Cache, tmp_path: Path, affectkit: Command
) -> None:
    model = predictions(cache, CURVES)
    labels = labels_of(tmp_path / "va.csv", CURVES)
    run = affectkit("evaluate", model.path, "--labels", labels, "--task", "va", "--draws", 50)
    assert run.returncode == 0, run.stderr
    scored = Path(run.stdout.strip())
    said = json.loads((tmp_path / scored / "report.json").read_text())
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "clip,room\n" + "".join(f"{clip},{'<b>' if n % 2 else 'hall'}\n" for n, clip in enumerate(CURVES))
    )
    result = report(cache, tmp_path / "page", tmp_path / scored, labels=labels, by=["room"], manifest=manifest)
    assert result.report["clips"] == 4
    text = " ".join("".join(Elements(text_of(tmp_path / "page")).text).split())
    low, high = said["intervals"]["ccc"]
    assert texts.number(said["scores"]["ccc"]) in text and f"{texts.number(low)} to {texts.number(high)}" in text
    assert "Worst clips first" in text and "By room" in text and "<b>" in text and CAUTION in text
    each = dict(row.split(",")[::2] for row in (tmp_path / scored / "clips.csv").read_text().splitlines()[1:])
    order = re.findall(
        r'<span class="num">([−\d.]+)</span> <a class="clamp" href="#clip-(\d+)">', text_of(tmp_path / "page")
    )
    assert [value for value, _ in order] == [texts.number(float(value)) for value in sorted(each.values(), key=float)]
    chunk = chunk_of(tmp_path / "page", "0001")
    assert chunk["labels"]["rows"] == 40
    panel = data_of(tmp_path / "page")["panels"][0]
    assert panel["title"] == "valence" and panel["label"] == 0


def test_classes_bring_confusion_and_reliability(cache: Cache, tmp_path: Path, affectkit: Command) -> None:
    names = ("negative", "positive")
    rows = np.random.default_rng(0).dirichlet([1, 1], 30).astype(np.float32)
    curves = {f"c{number:02d}": rows[number : number + 1] for number in range(30)}
    model = predictions(cache, curves, names)
    labels = tmp_path / "l.csv"
    labels.write_text(
        "clip,split,label\n" + "".join(f"{clip},test,{int(values[0, 1] > 0.4)}\n" for clip, values in curves.items())
    )
    run = affectkit("evaluate", model.path, "--labels", labels, "--task", "valence-2", "--draws", 20)
    assert run.returncode == 0, run.stderr
    report(cache, tmp_path / "page", tmp_path / run.stdout.strip())
    text = text_of(tmp_path / "page")
    said = json.loads((tmp_path / run.stdout.strip() / "report.json").read_text())
    cells = re.findall(r'<td class="num shade-\d">(\d+)<span', text)
    assert cells == [str(count) for row in said["confusion"]["rows"] for count in row]
    assert text.count('<circle class="dot"') == sum(
        count > 0 for count in said["calibration"]["curves"]["top class"]["rows"]
    )
    assert ">positive<" in text


def test_failures_stand_in_the_table_with_their_cause(affectkit: Command, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    make_clip(tmp_path / "clips/good.mp4", 20)
    (tmp_path / "clips/bad.mp4").write_bytes(b"no video")
    made = affectkit("extract", "faces", "clips", "--detector", "centerface", "--fps", 5, "--device", "cpu")
    if made.returncode != 3:
        pytest.skip(made.stderr)
    run = affectkit("report", made.stdout.strip(), "--out", "page", "--json")
    assert run.returncode == 0, run.stderr
    about = json.loads(run.stdout)
    assert about["clips"] == 2 and about["page"] == "page/index.html"
    text = text_of(tmp_path / "page")
    assert 'class="failed"' in text and "faces: " in text and "1 failed" in text


def test_faces_of_one_clip_are_told_apart(cache: Cache, tmp_path: Path) -> None:
    curves = {face_id("a", number): scores(20, seed=number) for number in range(2)}
    report(cache, tmp_path / "page", predictions(cache, curves, clips={"a": {"path": "gone.mp4", "split": "val"}}).path)
    assert [each["id"] for each in data_of(tmp_path / "page")["clips"]] == ["a#0", "a#1"]


def test_two_sets_of_one_name_are_told_apart(cache: Cache, tmp_path: Path) -> None:
    one = predictions(cache, CURVES)
    two = predictions(cache, {**CURVES, "more": scores(9)})
    report(cache, tmp_path / "page", one.path, two.path)
    names = data_of(tmp_path / "page")["sets"]
    assert len(set(names)) == 2 and all(name.startswith("model ") for name in names)


def test_a_table_of_predictions_needs_a_task(cache: Cache, tmp_path: Path) -> None:
    table = labels_of(tmp_path / "scores.csv", CURVES)
    with pytest.raises(UsageError, match="--task says of which task"):
        report(cache, tmp_path / "page", table)
    report(cache, tmp_path / "page", table, task="va")
    assert data_of(tmp_path / "page")["sets"] == ["scores"]


def test_what_cannot_be_shown_is_said_in_one_line(cache: Cache, tmp_path: Path) -> None:
    model = predictions(cache, CURVES)
    for what, words in (
        ([tmp_path / "nowhere"], "is not an artifact"), ([tmp_path], "is not an artifact"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            report(cache, tmp_path / "page", *what)
    with pytest.raises(UsageError, match="--by room is a column of a table"):
        report(cache, tmp_path / "page", model.path, by=["room"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/analysis.json").write_text('{"models": 3}')
    with pytest.raises(HostileFile, match="names no models"):
        report(cache, tmp_path / "page", tmp_path / "folder")
    (tmp_path / "folder/analysis.json").write_text(
        '{"models": {"m": {"predictions": "/gone"}}, "command": "affectkit analyze x"}'
    )
    with pytest.raises(UsageError, match="not there any more: repeat affectkit analyze x"):
        report(cache, tmp_path / "page", tmp_path / "folder")
    assert not (tmp_path / "page").exists()


def test_an_analysis_and_a_run_are_read_by_their_records(cache: Cache, tmp_path: Path) -> None:
    model = predictions(cache, CURVES)
    folder = tmp_path / "results"
    folder.mkdir()
    record = {"models": {"seen": {"predictions": str(model.path)}}, "command": "affectkit analyze v",
              "clips": {"day1/clip-0": "v.mp4"},
              "failed": {"broken": "no video"}}  # fmt: skip
    (folder / "analysis.json").write_text(json.dumps(record))
    report(cache, tmp_path / "page", folder)
    data = data_of(tmp_path / "page")
    assert data["sets"] == ["seen"] and [each["id"] for each in data["clips"]] == ["broken", *sorted(CURVES)]
    assert "affectkit analyze v" in text_of(tmp_path / "page") and "no video" in text_of(tmp_path / "page")
    run = cache.root / "run/r-123456789012"
    run.mkdir(parents=True)
    steps = [{"step": "voice", "stage": "predict", "path": f"elsewhere/predict/{model.folder.name}"}]
    (run / "summary.json").write_text(
        json.dumps({"recipe": {"name": "r", "title": "A run"}, "steps": steps, "notes": {}})
    )
    report(cache, tmp_path / "page2", run)
    assert data_of(tmp_path / "page2")["sets"] == ["voice"] and "<title>A run" in text_of(tmp_path / "page2")


def test_without_jinja_one_line_says_what_to_install(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'affectkit\[report\]'"):
        report(cache, tmp_path / "page", predictions(cache, CURVES).path)


def test_the_plotting_library_is_the_one_that_was_released() -> None:
    assets = files("affectkit.pages") / "assets"
    assert sha256((assets / "uplot.js").read_bytes()).hexdigest().startswith("19c8d4c6ad88929a")
    assert sha256((assets / "uplot.css").read_bytes()).hexdigest().startswith("df630c6a8d6f8eea")
    assert (
        "MIT" in (assets / "uplot.LICENSE").read_text()
        and page.UPLOT.split()[1] in (assets / "uplot.js").read_text()[:80]
    )
    for name in ("uplot.js", "report.js"):
        assert "</script" not in (assets / name).read_text() and "innerHTML" not in (assets / "report.js").read_text()


def test_no_peak_is_lost_in_a_small_curve() -> None:
    values = np.zeros(10_000)
    values[1234], values[7000:7300] = 1.0, np.nan
    pairs = drawings.least_and_most(values, 60)
    assert pairs.shape == (60, 2) and np.nanmax(pairs) == 1.0 and np.isnan(pairs).any()
    paths = drawings.spark(values, -1, 1)
    assert len(paths) == 2 and all(re.fullmatch(r"M[\d. L]+", path) for path in paths)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0001, 0.12349])
def test_numbers_for_people(value: Any) -> None:
    assert texts.number(value) == {-0.0001: "0.000", 0.12349: "0.123"}.get(value, "–")


def test_sets_that_differ_in_the_seed_alone_are_a_family(cache: Cache, tmp_path: Path) -> None:
    def seeded(seed: int, width: int = 8) -> Path:
        head = cache.create_whole(
            "train-head", "gru", {"stage": "train-head", "seeds": [seed, 1], "width": width}, bool
        )
        identity = {"head": head.stage.fingerprint}
        curves = {"a": scores(20, seed=seed), "b": scores(20, seed=seed + 1)}
        return predictions(cache, curves, upstream=[head.path], name="gru", identity=identity).path

    report(cache, tmp_path / "page", seeded(0), seeded(1), seeded(2), seeded(3, width=9))
    data = data_of(tmp_path / "page")
    assert data["families"] == [{"sets": [0, 1, 2], "name": "gru, 3 seeds"}]
    first, *rest = data["panels"][0]["curves"]
    assert (first["set"], first["name"], len(rest)) == ("family-0", "gru, 3 seeds", 4)


def test_from_python_and_in_a_recipe(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = predictions(cache, CURVES)
    made = ak.report(str(model.path), out="page", media="none", cache=cache.root)
    assert made.path == Path("page") and (tmp_path / "page/index.html").is_file()
    with pytest.raises(ak.UsageError, match="media"):
        ak.report(str(model.path), out="page", media="all")


def test_a_recipe_ends_with_a_page(affectkit: Command, tmp_path: Path) -> None:
    assert affectkit("practice", "table", "data", "--count", 3, "--seconds", 2).returncode == 0
    (tmp_path / "r.toml").write_text(
        'title = "A recipe"\n[data.main]\ndataset = "table"\n[steps.faces]\nstage = "extract-faces"\ndata = "main"\n'
        'detector = "centerface"\nfps = 2\n[steps.page]\nstage = "report"\nfrom = ["faces"]\nout = "page"\n'
    )
    dry = affectkit("run", "r.toml", "--root", "data", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    run = affectkit("run", "r.toml", "--root", "data")
    assert run.returncode == 0, run.stderr
    pages = list((tmp_path / ".affectkit/run").glob("r-*/page/index.html")) or list(tmp_path.rglob("page/index.html"))
    assert len(pages) == 1 and len(data_of(pages[0].parent)["clips"]) == 3


@pytest.mark.parametrize("media", ["thumbnails", "link", "copy"])
def test_another_file_than_the_one_of_the_rows_is_not_shown(cache: Cache, tmp_path: Path, media: str) -> None:
    video = make_clip(tmp_path / "a.mp4", 20)
    entry = {"path": str(video), "split": None, "subject": None, "start": None, "end": None}
    crops = faces(cache, {"a": 5}, clips={"a": entry})
    report(cache, tmp_path / "before", crops.path, media=media)
    chunk = chunk_of(tmp_path / "before", "0001")
    assert chunk["frames"] or chunk["video"]
    make_clip(video, 25)
    result = report(cache, tmp_path / "page", crops.path, media=media)
    chunk = chunk_of(tmp_path / "page", "0001")
    assert not chunk["frames"] and not chunk["video"] and not (tmp_path / "page/media").exists()
    assert any("not those that their rows were made from" in line for line in result.notices)


def test_a_path_that_is_no_media_is_never_copied(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    entry = {"path": str(tmp_path / "secret.txt"), "split": None, "subject": None, "start": None, "end": None}
    model = predictions(cache, {"a": scores(9)}, clips={"a": entry})
    report(cache, tmp_path / "page", model.path, media="copy")
    assert not [path for path in (tmp_path / "page").rglob("*") if path.is_file() and path.read_bytes() == b"secret"]
    assert chunk_of(tmp_path / "page", "0001")["video"] == ""
