"""The server process: ready, refusing, ending."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import BOUND_S, Done, Serving

pytestmark = pytest.mark.server
Serve = Callable[..., Serving]


def eventually(check: Callable[[], object], what: str) -> None:
    pause, deadline = threading.Event(), time.monotonic() + BOUND_S
    while not check():
        assert time.monotonic() < deadline, what
        pause.wait(0.05)


def test_it_answers_when_it_says_so(serve: Serve) -> None:
    """After the ready line every part answers; SIGTERM ends it with 0 and leaves no lock behind."""
    server = serve()

    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert httpx.get(f"{server.url}/api/v1/videos").json() == {"items": []}
    names = [each["name"] for each in httpx.get(f"{server.url}/api/metadata/workflow").json()]
    assert "video_processing" in names
    assert server.end(signal.SIGTERM).code == 0
    assert serve().end(signal.SIGTERM).code == 0


def test_ctrl_c_is_130(serve: Serve) -> None:
    """SIGINT ends it, also while an event stream is open; no traceback."""
    server = serve()
    clip = {"file": ("a.mp4", b"x")}
    video_id = httpx.post(f"{server.url}/api/v1/videos", files=clip).json()["id"]
    with httpx.stream("GET", f"{server.url}/api/v1/videos/{video_id}/events") as stream:
        assert stream.status_code == 200
        done = server.end(signal.SIGINT)

    assert done.code == 130
    assert "Traceback" not in done.err


def test_a_port_in_use_is_one_sentence(showrunner: Callable[..., Done]) -> None:
    """Exit 1, and the sentence names the port and the flag."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = showrunner("serve", "--port", port, "--data", "data")

    assert done.code == 1
    assert done.err == (
        f"port {port} on 127.0.0.1 is in use; stop what uses it, or name another port with --port\n"
    )


def test_one_server_a_data_folder(serve: Serve, showrunner: Callable[..., Done]) -> None:
    """A second server on the same folder is refused and the first goes on."""
    first = serve()

    done = showrunner("serve", "--port", "0", "--data", "data")

    assert done.code == 1
    assert "another server uses the data folder data" in done.err
    assert len(done.err.splitlines()) == 1
    assert httpx.get(f"{first.url}/healthz").status_code == 200


def test_a_data_folder_that_cannot_be_is_one_sentence(
    showrunner: Callable[..., Done], tmp_path: Path
) -> None:
    """A file in the folder's place is named."""
    (tmp_path / "data").write_bytes(b"")

    done = showrunner("serve", "--port", "0", "--data", "data")

    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "the data folder data cannot be used" in done.err


def test_a_damaged_database_is_one_sentence(showrunner: Callable[..., Done], tmp_path: Path) -> None:
    """The sentence names the file; no traceback."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "videos.db").write_bytes(b"no database at all, and long enough to be sure" * 50)

    done = showrunner("serve", "--port", "0", "--data", "data")

    assert done.code == 1
    assert "videos.db" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


@pytest.mark.media
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_worker_goes_with_it(serve: Serve, number: signal.Signals) -> None:
    """--with-workers: the worker polls, and is gone when the server is, even by kill -9."""
    server = serve("--with-workers")
    eventually(lambda: _live_workers(server.url), "a polling worker")
    [pid] = _children(server.process.pid)

    server.end(number)

    eventually(lambda: not Path(f"/proc/{pid}").exists() or _zombie(pid), "the worker's end")


def _live_workers(url: str) -> list[object]:
    return list(httpx.get(f"{url}/api/v1/workers").json())


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and b"media_workers" in (path.parent / "cmdline").read_bytes():
            found.append(int(path.parent.name))
    return found


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
