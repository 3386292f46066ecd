"""Uploads: streamed, bounded, and nothing left behind when they fail."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.videos.conftest import WAIT_S, RunningServer, eventually

BOUNDARY = "sep"


def head(length: int | None, extra: str = "") -> bytes:
    size = f"Content-Length: {length}\r\n" if length is not None else "Transfer-Encoding: chunked\r\n"
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    return f"POST /api/v1/videos HTTP/1.1\r\nHost: x\r\n{kind}{size}{extra}\r\n".encode()


def part(name: str, content: bytes, filename: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content


def answer_of(raw: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of one HTTP answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(raw)
    lines, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += _more(raw)
    return int(lines.split()[1]), json.loads(body)


def _more(raw: socket.socket) -> bytes:
    block = raw.recv(65536)
    assert block, "the server closed the connection without an answer"
    return block


@pytest.fixture
def raw(shared: RunningServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=WAIT_S) as connection:
        yield connection


def test_an_upload_becomes_a_video(shared: RunningServer) -> None:
    """201 with the Video and its address; the bytes lie under a name of ours, with their hash."""
    content = os.urandom(3_000_000)

    answer = shared.upload(content, {"title": "A title", "metadata": {"a": None}, "passthrough": "p"})

    assert answer.status_code == 201, answer.text
    video = answer.json()
    assert answer.headers["location"] == f"{shared.url}/api/v1/videos/{video['id']}"
    assert video["title"] == "A title"
    assert video["metadata"] == {"a": None}
    assert video["passthrough"] == "p"
    assert video["status"] in {"queued", "processing"}
    assert video["source"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert video["source"]["size"] == len(content)
    assert video["source"]["filename"] == "clip one.mp4"
    assert (shared.media / "sources" / video["id"] / "input.bin").read_bytes() == content


def test_the_name_of_the_file_is_only_text(shared: RunningServer, raw: socket.socket) -> None:
    """Folders and control characters of the uploader's name go nowhere."""
    body = part("file", b"x", "../../etc/pass\x01wd%22") + f"\r\n--{BOUNDARY}--\r\n".encode()

    raw.sendall(head(len(body)) + body)
    _, video = answer_of(raw)

    assert video["title"] == 'passwd"'
    assert f"sources/{video['id']}/input.bin" in shared.leftovers()


def test_zero_bytes_are_refused(start_server: Callable[..., RunningServer]) -> None:
    """422 empty_file, no video, no file."""
    server = start_server()

    answer = server.upload(b"")

    assert (answer.status_code, answer.json()["code"]) == (422, "empty_file")
    assert answer.headers["content-type"] == "application/problem+json"
    assert server.http.get("/api/v1/videos").json()["items"] == []
    assert server.leftovers() == []


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"profile": "nope"}, "profile"),
        ({"colour": 1}, "colour"),
        ({"overrides": {"codecs": ["mp3"]}}, "overrides.codecs.0"),
        ({"overrides": {"renditions": ["720"]}}, "overrides.renditions.0"),
        ({"overrides": {"renditions": [{"height": 720, "codec": "mpeg2"}]}}, "overrides.renditions.0.codec"),
        ({"overrides": {"hdr": "on"}}, "overrides.hdr"),
        ({"overrides": {"audioCodecs": ["mp3"]}}, "overrides.audioCodecs.0"),
        ({"overrides": {"chunkSeconds": 0}}, "overrides.chunkSeconds"),
        ({"overrides": {"clip": {"start": 5, "end": 2}}}, "overrides.clip"),
        ({"drm": {"scheme": "rot13"}}, "drm.scheme"),
        ({"drm": {"systems": ["vhs"]}}, "drm.systems.0"),
        ({"drm": {"keySource": "chance"}}, "drm.keySource"),
        ({"drm": {"key": "00"}}, "drm.key"),
        ({"overrides": {"bogus": 1}}, "overrides.bogus"),
        ({"priority": 100}, "priority"),
    ],
)
def test_wrong_options_name_the_field(shared: RunningServer, options: dict[str, Any], path: str) -> None:
    """422 with the field's path."""
    answer = shared.upload(b"x", options)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert problem["errors"][0]["path"] == path
    assert path in problem["detail"]


def test_an_unknown_profile_lists_the_known(shared: RunningServer) -> None:
    """The accepted values are those of GET /profiles."""
    names = [each["name"] for each in shared.http.get("/api/v1/profiles").json()]

    problem = shared.upload(b"x", {"profile": "nope"}).json()

    assert problem["errors"][0]["accepted"] == names
    assert names[0] == "default"


def test_wrong_options_are_refused_before_the_file_is_sent(raw: socket.socket) -> None:
    """With the options first the answer comes while the client still holds the file."""
    options = part("options", b'{"profile":"nope"}') + b"\r\n"
    raw.sendall(head(10_000_000) + options + part("file", b"start", "f"))

    status, problem = answer_of(raw)

    assert (status, problem["code"]) == (422, "invalid_request")


def test_a_refusal_reaches_a_client_that_is_still_sending(shared: RunningServer) -> None:
    """A client that sends on regardless reads the answer, not a broken connection."""
    body = part("options", b'{"profile":"nope"}') + b"\r\n" + part("file", bytes(20_000_000), "f")
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    answer = shared.http.post("/api/v1/videos", content=body, headers=kind)

    assert answer.status_code == 422


def test_a_client_that_goes_away_leaves_nothing(start_server: Callable[..., RunningServer]) -> None:
    """An upload cut off half-way: no file, no folder, no video."""
    server = start_server()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head(50_000_000) + part("file", bytes(4_000_000), "f"))
        eventually(lambda: [name for name in server.leftovers() if name.endswith(".part")], "the part file")

    eventually(lambda: list((server.media / "sources").iterdir()) == [], "an empty sources folder")
    assert server.http.get("/api/v1/videos").json()["items"] == []


def test_a_silent_client_is_dropped(start_server: Callable[..., RunningServer]) -> None:
    """A client that sends nothing for the bound is gone, and so is its file."""
    server = start_server(upload_idle_ms_max=200)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head(50_000_000) + part("file", bytes(2_000_000), "f"))
        eventually(lambda: list((server.media / "sources").iterdir()), "the upload's folder")
        eventually(lambda: list((server.media / "sources").iterdir()) == [], "an empty sources folder")


def test_a_declared_size_over_the_bound_is_refused_unread(start_server: Callable[..., RunningServer]) -> None:
    """413 before a byte of the body is asked for."""
    server = start_server(upload_bytes_max=1_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as connection:
        connection.sendall(head(10_000_000, "Expect: 100-continue\r\n"))
        status, problem = answer_of(connection)

    assert (status, problem["code"]) == (413, "too_large")


def test_an_undeclared_size_over_the_bound_is_refused(start_server: Callable[..., RunningServer]) -> None:
    """A chunked body is cut off at the bound, and nothing stays."""
    server = start_server(upload_bytes_max=3_000_000)

    def body() -> Iterator[bytes]:
        yield part("file", b"", "f")
        for _ in range(50):
            yield bytes(100_000)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = server.http.post("/api/v1/videos", content=body(), headers=kind)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert server.leftovers() == []


def test_a_disk_without_room_is_told_before_the_upload(start_server: Callable[..., RunningServer]) -> None:
    """507 disk_full, retryable, nothing stays."""
    server = start_server(disk_free_bytes_min=1 << 60)

    answer = server.upload(b"x" * 100)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (507, "disk_full", True)
    assert server.leftovers() == []


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        (f"multipart/form-data; boundary={BOUNDARY}", part("other", b"x"), 422, "invalid_request"),
        (f"multipart/form-data; boundary={BOUNDARY}", f"--{BOUNDARY}--\r\n".encode(), 422, "missing_file"),
        (f"multipart/form-data; boundary={BOUNDARY}", part("file", b"cut", "f"), 400, "malformed_body"),
        (f"multipart/form-data; boundary={BOUNDARY}", b"no form at all", 400, "malformed_body"),
        ("multipart/form-data", b"x", 400, "malformed_body"),
        ("video/mp4", b"x", 415, "unsupported_media_type"),
        ("application/json", b'{"source":{"url":"https://x.example/a.mp4"}}', 501, "not_available_yet"),
        ("application/json", b'{"upload":{"filename":"a","size":1}}', 501, "not_available_yet"),
        ("application/json", b'{"bogus":1}', 422, "invalid_request"),
        ("application/json", b"{", 400, "malformed_body"),
    ],
)
def test_other_bodies_have_their_codes(
    shared: RunningServer, kind: str, body: bytes, status: int, code: str
) -> None:
    """Each is one problem with a stable code, and leaves no video."""
    before = len(shared.http.get("/api/v1/videos", params={"limit": 200}).json()["items"])

    answer = shared.http.post("/api/v1/videos", content=body, headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(shared.http.get("/api/v1/videos", params={"limit": 200}).json()["items"]) == before


def test_what_is_asked_but_not_built_is_refused(shared: RunningServer) -> None:
    """A callback that would never come is refused: 501."""
    answer = shared.upload(b"x", {"callbackUrl": "http://example.com/"})

    assert (answer.status_code, answer.json()["code"]) == (501, "not_available_yet")


def test_the_announced_checksum_is_kept_to(start_server: Callable[..., RunningServer]) -> None:
    """A file that is not the announced one is 422 `checksum_mismatch` and leaves nothing."""
    server = start_server()

    def send(sha256: str) -> httpx.Response:
        return server.http.post(
            "/api/v1/videos", data={"sha256": sha256}, files={"file": ("a.mp4", b"bytes")}
        )

    wrong, none = send("0" * 64), send("short")
    left = server.leftovers()
    right = send(hashlib.sha256(b"bytes").hexdigest().upper())

    assert (wrong.status_code, wrong.json()["code"]) == (422, "checksum_mismatch")
    assert (none.status_code, none.json()["errors"][0]["path"]) == (422, "sha256")
    assert left == []
    assert right.status_code == 201


def test_the_same_file_again_is_recognised(start_server: Callable[..., RunningServer]) -> None:
    """A second upload of the same bytes is a video of its own that names the first."""
    server = start_server()

    first = server.upload(b"same bytes", {"title": "The first"}).json()
    again = server.upload(b"same bytes").json()
    other = server.upload(b"other bytes").json()

    [verdict] = again["verdicts"]
    assert (verdict["code"], verdict["severity"]) == ("duplicate_source", "info")
    assert first["id"] in verdict["message"]
    assert "The first" in verdict["message"]
    assert again["id"] != first["id"]
    assert first["verdicts"] == other["verdicts"] == []


def test_a_key_makes_an_upload_repeatable(shared: RunningServer) -> None:
    """Same key and body: the same answer and one video. Another body: 409."""
    first = shared.upload(b"content", {"title": "t"}, **{"Idempotency-Key": "key-1"})
    again = shared.upload(b"content", {"title": "t"}, **{"Idempotency-Key": "key-1"})
    other = shared.upload(b"different", {"title": "t"}, **{"Idempotency-Key": "key-1"})

    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch")
    folders = [p.name for p in (shared.media / "sources").iterdir()]
    assert folders.count(first.json()["id"]) == 1
    assert not [name for name in shared.leftovers() if name.endswith(".part")]


@pytest.mark.server
def test_a_large_upload_stays_out_of_memory_and_a_full_disk_is_survived(tmp_path: Path) -> None:
    """Memory does not grow with the file; a write that fails in the middle is 507 and leaves nothing."""
    limit = 80 << 20

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    argv = [
        sys.executable,
        "-m",
        "api.cli",
        "serve",
        "--port",
        "0",
        "--json",
        "--data",
        str(tmp_path / "data"),
    ]
    environment = {**os.environ, "SHOWRUNNER_DISK_FREE_BYTES_MIN": "1"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment, preexec_fn=bounded) as server:  # noqa: PLW1509 - the child only sets a limit
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            _upload_mib(url, 1)
            before = _peak_kib(server.pid)

            assert _upload_mib(url, 64).status_code == 201
            assert _peak_kib(server.pid) - before < 32 * 1024

            refused = _upload_mib(url, 96)
            assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
            sources = tmp_path / "data" / "media" / "sources"
            assert len(list(sources.iterdir())) == 2
            assert httpx.get(f"{url}/healthz").status_code == 200
        finally:
            server.terminate()


def _upload_mib(url: str, size_mib: int) -> httpx.Response:
    block = bytes(1 << 20)

    def body() -> Iterator[bytes]:
        yield part("file", b"", "f")
        for _ in range(size_mib):
            yield block
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return httpx.post(f"{url}/api/v1/videos", content=body(), headers=kind, timeout=60)


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
