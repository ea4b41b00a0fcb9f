"""The page of `affectkit report` in a real browser: Chromium from the distribution, without a window."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, chromium
from media_factory import make_clip
from report_factory import HOSTILE, faces, predictions, report, scores

from affectkit.pages.server import FolderServer
from affectkit.pages.texts import shown
from affectkit.store import Cache

pytestmark = pytest.mark.skipif(chromium() is None, reason="needs Chromium")
SECONDS, FPS = 8, 25
LONG = 12_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages: `copy` with a video beside it, `pictures`, `single`, and `hostile`."""
    folder = tmp_path_factory.mktemp("pages")
    cache = Cache(folder / "cache")
    shown_at = range(0, SECONDS * 1000, 1000 // FPS)
    video = make_clip(folder / "film.webm", SECONDS * FPS, pts=shown_at, codec="libvpx-vp9",
                      time_base=Fraction(1, 1000))  # fmt: skip
    entry = {"path": str(video), "split": "val", "subject": "s", "start": None, "end": None}
    crops = faces(cache, {"film": 40}, unseen=range(10, 14), clips={"film": entry, "other": entry})
    curves = {"film": scores(40), "other": scores(40, seed=3), "Zebra 10": scores(5), "Zebra 9": scores(5, seed=1),
              "long": np.sin(np.arange(LONG * 2).reshape(-1, 2) / 500).astype(np.float32)}  # fmt: skip
    curves["long"][7777, 0] = 9.0
    model = predictions(cache, curves, clips={"film": entry, "other": entry}, upstream=[crops.path])
    report(cache, folder / "copy", model.path, media="copy")
    report(cache, folder / "pictures", model.path)
    report(cache, folder / "single", model.path, media="none", single_file=True)
    bad = predictions(cache, {HOSTILE: scores(20), "b": scores(20)}, (HOSTILE, f"{HOSTILE}2"), name="bad",
                      card={"name": HOSTILE, "summary": HOSTILE * 300})  # fmt: skip
    report(cache, folder / "hostile", bad.path, title=HOSTILE * 200)
    return folder


def opened(browser: Browser, folder: Path, part: str = "") -> Browser:
    """A page at one of its parts, nothing of the page before it left."""
    browser.open("about:blank")
    browser.console.clear()
    browser.requests.clear()
    browser.open(f"{(folder / 'index.html').as_uri()}{part}")
    if part.startswith("#clip-"):
        browser.wait(
            "!document.getElementById('clip-body').hidden && document.querySelectorAll('#panels canvas').length > 0"
        )
    return browser


def names(browser: Browser) -> list[str]:
    rows: list[str] = browser.run(
        "[...document.querySelectorAll('#clip-table tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.cells[0].textContent.trim())"
    )
    return rows


def key_of(browser: Browser, clip: str) -> str:
    key: str = browser.run(
        f"[...document.querySelectorAll('#clip-table a')].find(a => a.textContent === {clip!r}).hash"
    )
    return key


def clock(browser: Browser) -> float:
    value: float = browser.run("parseFloat(document.getElementById('time').value)")
    return value


def playhead(browser: Browser) -> float:
    """Where the line stands in the first panel, as a time of the whole clip."""
    value: float = browser.run("""(() => {
      const over = document.querySelector('.u-over').getBoundingClientRect();
      const line = document.querySelector('.playhead').getBoundingClientRect();
      return (line.left + 1 - over.left) / over.width * parseFloat(document.getElementById('time').max);
    })()""")
    return value


def panel_box(browser: Browser) -> tuple[float, float, float, float]:
    x, y, width, height = browser.run("""(() => {
      document.querySelector('.u-over').scrollIntoView({block: 'center'});
      const box = document.querySelector('.u-over').getBoundingClientRect();
      return [box.x, box.y, box.width, box.height];
    })()""")
    return x, y, width, height


def no_complaint(browser: Browser) -> None:
    assert browser.console == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "about:"))] == []


@pytest.mark.parametrize("name", ["copy", "pictures", "single", "hostile"])
def test_every_part_opens_without_an_error_or_a_request(browser: Browser, pages: Path, name: str) -> None:
    for part in ("", "#clips", "#origin", "#clip-0001", "#clip-0002"):
        opened(browser, pages / name, part)
        assert browser.run("document.querySelectorAll('[data-part]:not([hidden])').length") == 1
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        no_complaint(browser)


def test_a_strangers_text_is_text_in_the_browser(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "hostile", "#clip-0001")
    told = {
        browser.run("document.getElementById('clip-title').textContent.trim()"),
        browser.run("document.querySelector('#clip-table a').textContent"),
    }
    assert told == {shown(HOSTILE)}
    assert browser.run("document.querySelector('.panel h3').textContent.trim()") == shown(HOSTILE)
    assert (
        browser.run("document.images.length + document.querySelectorAll('script:not([type]):not([src])').length") == 3
    )
    assert browser.run("document.querySelectorAll('[onerror], iframe, object').length") == 0
    no_complaint(browser)


def test_the_table_sorts_and_searches_by_keyboard(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "copy")
    head = "[...document.querySelectorAll('#clip-table thead th')].find(th => th.textContent === 'clip')"
    browser.run(f"{head}.querySelector('button').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    assert names(browser) == ["film", "long", "other", "Zebra 9", "Zebra 10"]
    browser.press(" ", 32, " ")
    assert names(browser) == ["Zebra 10", "Zebra 9", "other", "long", "film"]
    rows = "[...document.querySelectorAll('#clip-table thead th')].find(th => th.textContent === 'rows')"
    browser.run(f"{rows}.querySelector('button').click()")
    assert names(browser)[0] == "long" and browser.run(f"{head}.getAttribute('aria-sort')") == "none"
    browser.run("document.getElementById('search').focus()")
    for letter in "zeb 9":
        browser.press(letter, ord(letter.upper()), letter)
    assert (
        names(browser) == ["Zebra 9"] and browser.run("document.getElementById('count').textContent") == "1 of 5 clips"
    )
    browser.press("x", 88, "x")
    assert names(browser) == [] and not browser.run("document.getElementById('nothing').hidden")
    no_complaint(browser)


def test_the_line_follows_the_playing_video_and_a_click_seeks(browser: Browser, pages: Path) -> None:
    key = key_of(opened(browser, pages / "copy"), "film")
    opened(browser, pages / "copy", key)
    browser.wait("document.getElementById('video').readyState >= 2")
    x, y, width, height = panel_box(browser)
    browser.click(x + width * 0.5, y + height / 2)
    browser.wait(
        "Math.abs(document.getElementById('video').currentTime - 4) < 0.05 && !document.getElementById('video').seeking"
    )
    assert abs(playhead(browser) - 4) < 0.1
    browser.run("document.getElementById('video').muted = true; document.getElementById('play').click()")
    browser.wait("document.getElementById('video').currentTime > 4.6")
    assert browser.run("document.getElementById('play').textContent") == "Pause"
    browser.run("document.getElementById('video').pause()")
    browser.wait("document.getElementById('play').textContent === 'Play'")
    browser.wait(
        "Math.abs(parseFloat(document.getElementById('time').value) - document.getElementById('video').currentTime)"
        f" < {1.5 / FPS}"
    )
    assert abs(playhead(browser) - clock(browser)) < 0.1 and clock(browser) > 4.5
    no_complaint(browser)


def test_pictures_follow_a_clock_of_the_page(browser: Browser, pages: Path) -> None:
    key = key_of(opened(browser, pages / "pictures"), "film")
    opened(browser, pages / "pictures", key)
    first = browser.run("document.getElementById('frame').src")
    assert first.startswith("data:image/jpeg")
    x, y, width, height = panel_box(browser)
    browser.click(x + width * 0.75, y + height / 2)
    assert abs(clock(browser) - 6) < 0.05 and browser.run("document.getElementById('frame').src") != first
    browser.run("document.getElementById('play').click()")
    browser.wait("parseFloat(document.getElementById('time').value) > 6.3")
    browser.run("document.getElementById('play').click()")
    stopped = clock(browser)
    assert abs(playhead(browser) - stopped) < 0.1
    no_complaint(browser)


def test_the_values_at_the_line_are_those_of_the_rows(browser: Browser, pages: Path) -> None:
    key = key_of(opened(browser, pages / "copy"), "film")
    opened(browser, pages / "copy", key)
    stored = scores(40)
    for row in (0, 7, 12, 13, 25, 39):
        browser.run(
            f"(time => {{ time.value = {(row + 0.5) * 0.2}; time.dispatchEvent(new Event('input')); }})"
            "(document.getElementById('time'))"
        )
        told = browser.run("[...document.querySelectorAll('#values tbody td')].map(td => td.textContent)")
        wanted = ["–" if np.isnan(value) else f"{value:.3f}".replace("-", "−") for value in stored[row]]
        assert told == wanted, row


def test_no_peak_is_lost_where_rows_are_more_than_pixels(browser: Browser, pages: Path) -> None:
    key = key_of(opened(browser, pages / "copy"), "long")
    opened(browser, pages / "copy", key)
    ends = browser.run("""(() => {
      const rows = {n: 6, columns: 1, step: 1, start: [0,1,2,3,4,5], end: [1,2,3,4,5,6],
        middle: [.5,1.5,2.5,3.5,4.5,5.5], scores: [1,5,-2,NaN,NaN,3]};
      return affectkitDrawn([{rows, column: 0}], 0, 6, 2);
    })()""")
    assert ends == [[0.75, 2.25, 3.75, 5.25], [5, -2, 3, 3]]
    least, most = browser.run("""(() => {
      const n = 12000, rows = {n, columns: 1, step: 1, start: new Float64Array(n).map((_, i) => i),
        end: new Float64Array(n).map((_, i) => i + 1), middle: new Float64Array(n).map((_, i) => i + .5),
        scores: new Float32Array(n).map((_, i) => Math.sin(i / 50))};
      rows.scores[7777] = 9; rows.scores[33] = -8;
      const ys = affectkitDrawn([{rows, column: 0}], 0, n, 800)[1];
      return [Math.min(...ys), Math.max(...ys)];
    })()""")
    assert (least, most) == (-8, 9)


def test_curves_are_hidden_zoomed_and_moved_by_keyboard(browser: Browser, pages: Path) -> None:
    key = key_of(opened(browser, pages / "copy"), "long")
    opened(browser, pages / "copy", key)
    count = browser.run("document.querySelectorAll('#values tbody tr').length")
    browser.run("document.querySelector('.toggle input').focus()")
    browser.press(" ", 32, " ")
    assert browser.run("document.querySelectorAll('#values tbody tr').length") == count - 1
    browser.run("document.querySelector('.plotted').focus()")
    browser.press("End", 35)
    assert clock(browser) == pytest.approx(LONG * 0.2, rel=1e-3)
    browser.press("Home", 36)
    browser.press("+", 187, "+")
    browser.press("ArrowRight", 39)
    assert 0 < clock(browser) < 20
    assert browser.run("document.querySelector('.plotted').getAttribute('aria-valuetext')").startswith(
        f"{clock(browser):.2f} s"
    )
    x, y, width, height = panel_box(browser)
    browser.mouse("mouseMoved", x + width * 0.2, y + height / 2)
    browser.mouse("mousePressed", x + width * 0.2, y + height / 2)
    browser.mouse("mouseMoved", x + width * 0.4, y + height / 2)
    browser.mouse("mouseReleased", x + width * 0.4, y + height / 2)
    assert clock(browser) < 20  # a drag zooms and does not seek
    no_complaint(browser)


@pytest.mark.parametrize("width", [1400, 800, 380])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(browser: Browser, pages: Path, width: int, dark: bool) -> None:
    browser.resize(width, 900)
    browser.emulate(dark=dark)
    try:
        for name in ("copy", "hostile"):
            for part in ("#clips", "#clip-0001", "#origin"):
                opened(browser, pages / name, part)
                assert browser.run("document.documentElement.scrollWidth <= innerWidth"), (name, part)
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") is not dark
    finally:
        browser.resize(1400, 900)
        browser.emulate()


def test_it_prints_all_parts(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "copy", "#clip-0001")
    assert browser.pdf().startswith(b"%PDF")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('[data-part]:not([hidden])').length") == 3
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.querySelectorAll('[data-part]:not([hidden])').length") == 1


def test_a_file_that_is_gone_is_said(browser: Browser, pages: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes((pages / "copy/index.html").read_bytes())
    browser.open("about:blank")
    browser.open(f"{(tmp_path / 'index.html').as_uri()}#clip-0001")
    assert "is not beside this page" in browser.wait(
        "document.getElementById('clip-state').textContent.includes('read:')"
        " && document.getElementById('clip-state').textContent"
    )


def test_the_server_shows_the_page_and_its_video_seeks(browser: Browser, pages: Path) -> None:
    server = FolderServer(pages / "copy")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.open("about:blank")
        browser.console.clear()
        browser.open(server.url)
        key = key_of(browser, "film")
        browser.run(f"location.hash = {key!r}")
        browser.wait("document.getElementById('video').readyState >= 1")
        browser.run("document.getElementById('video').currentTime = 6.5")
        browser.wait(
            "!document.getElementById('video').seeking"
            " && Math.abs(document.getElementById('video').currentTime - 6.5) < 0.05"
        )
        assert abs(clock(browser) - 6.5) < 0.1
        assert [line for line in browser.console if "favicon" not in line] == []
    finally:
        server.shutdown()
        server.server_close()


def test_the_policy_stops_what_a_stranger_would_load(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "copy")
    stopped: Any = browser.run("""new Promise(done => {
      const seen = [];
      document.addEventListener('securitypolicyviolation', event => seen.push(event.effectiveDirective));
      const image = new Image(); image.src = 'http://127.0.0.1:9/x.png';
      const script = document.createElement('script');
      script.textContent = 'window.bad = 1';
      document.head.append(script);
      fetch('http://127.0.0.1:9/').catch(() => 0);
      setTimeout(() => done([seen.sort(), window.bad === undefined]), 300);
    })""")
    assert stopped == [["connect-src", "img-src", "script-src-elem"], True]


def test_seeds_are_drawn_as_their_mean_and_a_band(browser: Browser, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    sets = []
    for seed in range(3):
        head = cache.create_whole("train-head", "gru", {"stage": "train-head", "seeds": [seed, 1]}, bool)
        identity = {"head": head.stage.fingerprint}
        sets.append(
            predictions(cache, {"a": scores(20, seed=seed)}, upstream=[head.path], name="gru", identity=identity)
        )
    report(cache, tmp_path / "page", *(each.path for each in sets))
    opened(browser, tmp_path / "page", "#clip-0001")
    rows = browser.run("[...document.querySelectorAll('#values tbody tr')].map(row => row.textContent)")
    values = np.array([scores(20, seed=seed)[0, 0] for seed in range(3)])
    low, mean, high = (f"{value:.{digits}f}".replace("-", "−")
                       for value, digits in ((values.min(), 2), (values.mean(), 3), (values.max(), 2)))  # fmt: skip
    assert len(rows) == 2 and rows[0].endswith(f"gru, 3 seeds{mean} ({low} to {high})")
    checked = browser.run("[...document.querySelectorAll('.panel .toggle input')].map(box => box.checked)")
    assert checked == [True, False, False, False] * 2
    browser.screenshot(tmp_path / "seeds.png")
    no_complaint(browser)


@pytest.mark.parametrize(("start", "zero"), [(None, 1.0), (0.8, 1.8)])
def test_a_video_whose_first_frame_comes_late_and_a_part_of_one(
    browser: Browser, tmp_path: Path, start: float | None, zero: float
) -> None:
    video = make_clip(tmp_path / "late.webm", 100, pts=range(1000, 5000, 40), codec="libvpx-vp9",
                      time_base=Fraction(1, 1000))  # fmt: skip
    entry = {"path": str(video), "split": None, "subject": None, "start": start, "end": 3.0 if start else None}
    model = predictions(Cache(tmp_path / "cache"), {"late": scores(10)}, clips={"late": entry})
    report(Cache(tmp_path / "cache"), tmp_path / "page", model.path, media="link")
    opened(browser, tmp_path / "page", "#clip-0001")
    browser.wait("document.getElementById('video').readyState >= 2")
    browser.wait(f"Math.abs(document.getElementById('video').currentTime - {zero}) < 0.01")
    x, y, width, height = panel_box(browser)
    browser.click(x + width * 0.5, y + height / 2)
    browser.wait(f"Math.abs(document.getElementById('video').currentTime - {zero + 1}) < 0.05")
    browser.wait("!document.getElementById('video').seeking")
    shown_at: float = browser.run("""new Promise(done => {
      const video = document.getElementById('video');
      video.requestVideoFrameCallback((_, about) => { video.pause(); done(about.mediaTime); });
      video.play();
    })""")
    assert abs(shown_at - zero - 1) < 0.25  # the picture of that moment, on the file's clock
    assert abs(playhead(browser) - 1) < 0.3
    no_complaint(browser)
