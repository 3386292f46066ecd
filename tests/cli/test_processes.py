"""Several server processes behind one port."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import BOUND_S, Done, Serving

pytestmark = pytest.mark.server
Serve = Callable[..., Serving]
DEFINITION = {
    "name": "flow",
    "version": 1,
    "tasks": [{"name": "a", "taskReferenceName": "a", "type": "SIMPLE"}],
}
LONG_POLL = {"timeout": 5_000}
"""Of a batch; a poll for one task waits 100 ms, whatever it asks for."""


def children(server: Serving) -> set[int]:
    """Ids of the server processes."""
    listed = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return {int(pid) for pid in listed.split()}


def eventually(check: Callable[[], object], what: str) -> None:
    pause, deadline = threading.Event(), time.monotonic() + BOUND_S
    while not check():
        assert time.monotonic() < deadline, what
        pause.wait(0.05)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_sqlite_is_for_one_process(showrunner: Callable[..., Done]) -> None:
    """More are refused in one sentence that says what to do."""
    done = showrunner("serve", "--processes", "2", "--data", "data")

    assert done.code == 1
    assert "--database postgresql://" in done.err
    assert "Traceback" not in done.err


def test_an_unreachable_database_is_one_sentence(showrunner: Callable[..., Done]) -> None:
    """It names the place, and not the password."""
    url = "postgresql://somebody:hunter2@127.0.0.1:1/nothing"
    done = showrunner("serve", "--database", url, "--data", "data", "--port", "0")

    assert done.code == 1
    assert "127.0.0.1:1/nothing" in done.err
    assert "hunter2" not in done.err + done.out
    assert "Traceback" not in done.err


def test_two_processes_are_one_server(serve: Serve, postgres_url: str) -> None:
    """What one connection starts another one polls, reports and sees ended; SIGTERM ends both with 0."""
    server = serve("--processes", "2", "--database", postgres_url)
    assert len(children(server)) == 2
    httpx.post(f"{server.url}/api/metadata/workflow", json=DEFINITION).raise_for_status()

    def run(_: int) -> str:
        """One workflow, over a new connection for each request."""
        with httpx.Client(base_url=server.url, headers={"connection": "close"}, timeout=BOUND_S) as client:
            client.post("/api/workflow", json={"name": "flow"}).raise_for_status()
            [task] = client.get("/api/tasks/poll/batch/a", params=LONG_POLL).raise_for_status().json()
            result = {key: task[key] for key in ("workflowInstanceId", "taskId")} | {"status": "COMPLETED"}
            client.post("/api/tasks", json=result).raise_for_status()
            return str(client.get(f"/api/workflow/{task['workflowInstanceId']}").json()["status"])

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(run, range(24))) == {"COMPLETED"}
    assert server.end(signal.SIGTERM).code == 0


def test_a_process_that_dies_is_replaced(serve: Serve, postgres_url: str) -> None:
    """The port goes on answering, and soon there are as many processes as before."""
    server = serve("--processes", "2", "--database", postgres_url)
    before = children(server)
    os.kill(min(before), signal.SIGKILL)

    eventually(lambda: len(children(server)) == 2 and min(before) not in children(server), "another process")
    eventually(lambda: answers(server.url), "an answer")
    assert server.end(signal.SIGTERM).code == 0


def test_readiness_goes_first(serve: Serve) -> None:
    """After SIGTERM a server with a drain time serves on, while it says that it is not ready."""
    server = serve(SHOWRUNNER_DRAIN_MS="2000")
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/readyz").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: client.get("/readyz").status_code == 503, "not ready")
        assert client.get("/healthz").status_code == 200
    server.process.communicate(timeout=BOUND_S)
    assert server.process.returncode == 0
