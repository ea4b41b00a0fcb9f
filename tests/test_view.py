"""The server of `affectkit view`: what it shows, to whom, and what it refuses."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command

from affectkit.errors import UsageError
from affectkit.pages.server import FolderServer

VIDEO = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FolderServer]:
    folder = tmp_path / "page"
    (folder / "media/deep").mkdir(parents=True)
    (folder / "index.html").write_text("<p>page")
    (folder / "media/deep/a b#ü.mp4").write_bytes(VIDEO)
    (folder / "other.html").write_text("<script>bad()</script>")
    (folder / "picture.svg").write_text("<svg onload='bad()'/>")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    serving = FolderServer(folder)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


def ask(
    server: FolderServer, path: str, method: str = "GET", token: str | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    begin = f"/{server.token if token is None else token}" if token != "" else ""
    connection.putrequest(method, begin + path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer, answer.read()


def test_files_of_the_folder_are_served_as_what_they_are(server: FolderServer) -> None:
    answer, body = ask(server, "/")
    assert answer.status == 200 and body == b"<p>page" and answer.headers["Content-Type"].startswith("text/html")
    assert "connect-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Referrer-Policy"] == "no-referrer"
    answer, body = ask(server, "/media/deep/a%20b%23%C3%BC.mp4")
    assert (
        body == VIDEO and answer.headers["Content-Type"] == "video/mp4" and answer.headers["Accept-Ranges"] == "bytes"
    )
    for name in ("/picture.svg", "/other.html"):
        answer, body = ask(server, name)
        assert answer.status == 200 and answer.headers["Content-Type"] == "application/octet-stream"
    answer, body = ask(server, "/media/deep/a%20b%23%C3%BC.mp4", "HEAD")
    assert answer.status == 200 and body == b"" and answer.headers["Content-Length"] == str(len(VIDEO))
    answer, _ = ask(server, "")
    assert answer.status == 301 and answer.headers["Location"] == f"/{server.token}/"


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-0", 206, VIDEO[:1]), ("bytes=100-199", 206, VIDEO[100:200]), ("bytes=10000-", 206, VIDEO[10000:]),
        ("bytes=-24", 206, VIDEO[-24:]), ("bytes=0-99999999", 206, VIDEO), ("bytes=-99999999", 206, VIDEO),
        (f"bytes={len(VIDEO)}-", 416, b""), ("bytes=-0", 416, b""), ("bytes=5-2", 200, VIDEO),
        ("lines=1-2", 200, VIDEO),
        ("bytes=0-1,5-6", 200, VIDEO), ("bytes=-", 200, VIDEO), ("bytes=" + "9" * 400 + "-", 200, VIDEO),
    ],
)  # fmt: skip
def test_ranges(server: FolderServer, asked: str, status: int, content: bytes) -> None:
    answer, body = ask(server, "/media/deep/a%20b%23%C3%BC.mp4", Range=asked)
    assert (answer.status, body) == (status, content)
    if status == 206:
        first = VIDEO.rindex(content) if asked.startswith("bytes=-") else int(asked[6:].split("-")[0])
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(content) - 1}/{len(VIDEO)}"
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(VIDEO)}"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/media/..%2f..%2fsecret.txt", "/media/../../secret.txt", "/link.txt",
        "/out/secret.txt", "//etc/passwd", "/media/./deep", "/media", "/media/", "/pipe", "/nowhere", "/%00",
        "/index.html%00.txt",
        "/..", "/[", "/media/%2e%2e/%2e%2e/secret.txt", "/" + "a" * 5000, "/index.html/", "/%ff%fe",
    ],
)  # fmt: skip
def test_nothing_outside_and_nothing_but_files(server: FolderServer, path: str) -> None:
    answer, body = ask(server, path)
    assert answer.status == 404 and b"secret" not in body


@pytest.mark.parametrize("token", ["", "wrong", "%", "%C3%A9", "."])
def test_without_the_token_nothing_is_shown(server: FolderServer, token: str) -> None:
    for path in ("/", "/index.html", "/nowhere"):
        answer, body = ask(server, path, token=token)
        assert answer.status == 403 and b"page" not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "[::1]:80", ""])
def test_another_host_is_refused(server: FolderServer, host: str) -> None:
    answer, body = ask(server, "/", Host=host)
    assert answer.status == 403 and b"page" not in body
    answer, _ = ask(server, "/", Host=f"localhost:{server.server_port}")
    assert answer.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_it_only_reads(server: FolderServer, method: str) -> None:
    answer, _ = ask(server, "/index.html", method)
    assert answer.status == 501
    assert (Path(server.folder) / "index.html").read_text() == "<p>page"


def test_it_listens_on_this_machine_alone(server: FolderServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32 and server.token not in {FolderServer(Path(server.folder)).token for _ in range(3)}
    with socket.create_connection(("127.0.0.1", server.server_port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert b"403" in connection.recv(100)


def test_what_is_no_folder_and_a_port_that_is_taken(server: FolderServer, tmp_path: Path, affectkit: Command) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        FolderServer(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"--port \d+: Address already in use; 0 takes a free one"):
        FolderServer(Path(server.folder), server.server_port)
    run = affectkit("view", "nowhere")
    assert run.returncode == 2 and run.stderr.count("\n") == 1


def test_the_command_prints_the_url_and_ends_by_ctrl_c(server: FolderServer, environment: dict[str, str]) -> None:
    line = [sys.executable, "-m", "affectkit", "view", server.folder]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    port, token = url.removeprefix("http://127.0.0.1:").rstrip("/").split("/")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    connection.request("GET", f"/{token}/")
    assert connection.getresponse().read() == b"<p>page"
    connection.close()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "Traceback" not in said and token not in said and process.returncode in (0, 130)
