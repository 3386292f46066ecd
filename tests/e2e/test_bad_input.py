"""What cannot work ends in one clear sentence with a stable code, leaves nothing, and the server lives on."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import BOUND_S, Installation, environment, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]

Make = Callable[[Path, str], Path]
SENTENCE_CHARS_MAX = 300
CLIP = "-f lavfi -i testsrc2=s=192x108:r=25:d=4 -c:v libx264 -preset ultrafast"


def is_one_sentence(text: str) -> bool:
    return 10 < len(text) <= SENTENCE_CHARS_MAX and "\n" not in text and "Traceback" not in text


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


BAD_FILES: dict[str, tuple[str, Callable[[Path, Make], Path]]] = {
    "text": ("not_media", lambda folder, _: written(folder / "text.mp4", b"This is no film.\n" * 500)),
    "zeros": ("not_media", lambda folder, _: written(folder / "zeros.mp4", bytes(100_000))),
    "archive": ("not_media", lambda folder, _: written(folder / "zip.mp4", b"PK\x03\x04" + bytes(5000))),
    "index at the end, cut": (
        "truncated_no_index",
        lambda folder, make: cut(make(folder / "late.mp4", CLIP), 0.6),
    ),
    "index first, cut": (
        "truncated",
        lambda folder, make: cut(make(folder / "early.mp4", f"{CLIP} -movflags +faststart"), 0.5),
    ),
    "playlist": (
        "forbidden_container",
        lambda folder, _: written(
            folder / "list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile:///etc/passwd\n"
        ),
    ),
    "concat list": (
        "forbidden_container",
        lambda folder, _: written(folder / "concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
    ),
    "huge frame": (
        "too_large_frame",
        lambda folder, make: make(
            folder / "huge.mov", "-f lavfi -i color=s=15000x15000,format=monob -frames:v 1 -c:v png"
        ),
    ),
    "sound alone": ("no_video", lambda folder, make: make(folder / "sound.m4a", "-f lavfi -i sine=d=1")),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file(kind: str, *, running: Installation, make: Make, tmp_path: Path, tiny: Path) -> None:
    """The video fails with the verdict's code and a sentence for the uploader; the next good one is fine."""
    code, write = BAD_FILES[kind]

    video = running.ended(running.uploaded(write(tmp_path, make)))

    error = video["error"]
    assert (video["status"], error["code"], error["retryable"]) == ("failed", code, False), video
    assert is_one_sentence(error["message"]), error
    assert "playback" not in video
    assert not (running.media / "published" / video["id"]).exists()
    eventually(lambda: running.unfinished() == [], "nothing unfinished is left")
    if kind == "huge frame":
        running.ready(running.uploaded(tiny, profile="fast"))
    assert "Traceback" not in running.log("server.log") + running.log("worker.log")


@pytest.mark.parametrize(
    ("content", "options", "status", "code", "names"),
    [
        (b"", {}, 422, "empty_file", "file"),
        (b"some bytes", {"profile": "cinema"}, 422, "invalid_request", "profile"),
        (b"some bytes", {"overrides": {"renditions": ["99999p"]}}, 422, "invalid_request", "renditions"),
        (b"some bytes", {"colour": "blue"}, 422, "invalid_request", "colour"),
    ],
)
def test_refused_request(
    content: bytes,
    options: dict[str, object],
    status: int,
    code: str,
    names: str,
    *,
    running: Installation,
    tmp_path: Path,
) -> None:
    """What the request itself shows is refused at once, with the field's name, and creates nothing."""
    before = running.get("/api/v1/videos?limit=200")["items"]

    answer = running.upload(written(tmp_path / "clip.mp4", content), options)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert is_one_sentence(problem["detail"]), problem
    assert names in json.dumps(problem)
    assert running.get("/api/v1/videos?limit=200")["items"] == before
    assert running.unfinished() == []


def test_upload_cut_off(running: Installation, tiny: Path) -> None:
    """A client that goes away half-way leaves no file, no folder and no video."""
    before = sorted((running.media / "sources").iterdir())
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    request = (
        f"POST /api/v1/videos HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {5_000_000}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", running.port)) as line:
        line.sendall(request + head + bytes(3_000_000))
        eventually(running.unfinished, "the upload arrives")

    eventually(lambda: running.unfinished() == [], "the upload is dropped")
    # The file goes first, its folder a moment later.
    eventually(lambda: sorted((running.media / "sources").iterdir()) == before, "its folder goes, too")
    running.ready(running.uploaded(tiny, profile="fast"))
    assert "Traceback" not in running.log("server.log")


def test_server_cannot_write(installation: Installation, tiny: Path) -> None:
    """An upload that the disk refuses half-way is 507 `disk_full`; when there is room again it goes on."""
    installation.start_server()
    assert installation.server is not None
    large = written(installation.folder / "large.mp4", bytes(12_000_000))
    limits = resource.prlimit(installation.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(installation.server.pid, resource.RLIMIT_FSIZE, (8_000_000, limits[1]))

    answer = installation.upload(large)

    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert is_one_sentence(answer.json()["detail"])
    assert answer.json()["retryable"] is True
    assert [path for path in installation.media.rglob("*") if path.is_file()] == []
    assert installation.get("/api/v1/videos")["items"] == []
    resource.prlimit(installation.server.pid, resource.RLIMIT_FSIZE, limits)
    installation.uploaded(tiny)
    assert "Traceback" not in installation.log("server.log")


def test_worker_has_no_room(installation: Installation, tiny: Path) -> None:
    """Without scratch space an encode is tried again, and at last the video fails with `disk_full`."""
    installation.start_server()
    definitions = installation.get("/api/metadata/taskdefs")
    for definition in definitions:
        definition |= {"retryCount": 1, "retryDelaySeconds": 1, "backoffJitterMs": 0}
        assert installation.http.put("/api/metadata/taskdefs", json=definition).status_code == 200
    scratch = installation.folder / "small"
    scratch.mkdir()
    installation.start_worker(
        SHOWRUNNER_SCRATCH=str(scratch),
        wrapper=f'mount -t tmpfs -o size=16m none {scratch} && exec "$@"',
    )

    video = installation.ended(installation.uploaded(tiny, profile="fast"))

    error = video["error"]
    assert (video["status"], error["code"], error["retryable"]) == ("failed", "disk_full", True), video
    assert is_one_sentence(error["message"]), error
    assert not (installation.media / "published" / video["id"]).exists()
    installation.kill(installation.worker, signal.SIGTERM)
    installation.start_worker()
    answer = installation.http.post(f"/api/v1/videos/{video['id']}/retry")
    assert answer.status_code == 202, answer.text
    installation.ready(video["id"])
    assert "Traceback" not in installation.log("server.log") + installation.log("worker.log")


COMMANDS: dict[str, tuple[list[str], dict[str, str], str]] = {
    "port in use": (["serve", "--port", "{port}", "--data", "other"], {}, "in use"),
    "data folder in use": (["serve", "--port", "0", "--data", "{data}"], {}, "another server uses"),
    "no FFmpeg": (
        ["worker", "--server", "{url}", "--data", "other"],
        {"SHOWRUNNER_FFMPEG": "/nonexistent/ffmpeg"},
        "/nonexistent/ffmpeg",
    ),
    "no packager": (
        ["worker", "--server", "{url}", "--data", "other"],
        {"SHOWRUNNER_PACKAGER": "/etc/passwd"},
        "/etc/passwd",
    ),
    "demo without FFmpeg": (
        ["demo", "{clip}"],
        {"SHOWRUNNER_FFMPEG": "/nonexistent/ffmpeg"},
        "/nonexistent/ffmpeg",
    ),
    "upload to nobody": (["up", "{clip}", "--server", "http://127.0.0.1:1"], {}, "http://127.0.0.1:1"),
    "upload of nothing": (["up", "nowhere.mp4", "--server", "{url}"], {}, "nowhere.mp4"),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_command_that_cannot_work(kind: str, *, running: Installation, tiny: Path, tmp_path: Path) -> None:
    """The command ends by itself with exit code 1 or 2 and one sentence that names what is wrong."""
    words, env, names = COMMANDS[kind]
    known = {"port": running.port, "data": running.data, "url": running.http.base_url, "clip": tiny}
    argv = [sys.executable, "-m", "api.cli", *(word.format(**known) for word in words)]

    done = subprocess.run(
        argv,
        cwd=tmp_path,
        env=environment(tmp_path, **env, TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )

    said = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode in {1, 2}, done
    assert len(said) == 1, done.stderr
    assert names in said[0]
    assert is_one_sentence(said[0])
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "server.lock"] == []
    assert running.get("/healthz")
