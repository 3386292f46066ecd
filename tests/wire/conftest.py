"""Servers and workers as processes of their own, and the plain client that looks at them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Serving, environment
from tests.wire import document

ROOT = Path(__file__).parents[2]
WAIT_S_MAX = 60.0


class Wire:
    """A client of one server, with names of its own for each test."""

    _serial = itertools.count(1)

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.url = str(http.base_url).rstrip("/")
        self._token = f"wire{next(self._serial)}"

    def name(self, name: str) -> str:
        return f"{name}_{self._token}"

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/api{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any) -> httpx.Response:
        answer = self.http.post(f"/api{path}", json=body)
        assert answer.status_code in {200, 204}, answer.text
        return answer

    def poll(self, task_type: str, worker: str, wait_ms: int = 0) -> dict[str, Any] | None:
        """Lease one task; waits at the server until there is one."""
        found = self.get(f"/tasks/poll/batch/{task_type}", workerid=worker, count=1, timeout=wait_ms)
        return found[0] if found else None

    def update(self, task: dict[str, Any], **members: Any) -> httpx.Response:
        ids = {"taskId": task["taskId"], "workflowInstanceId": task["workflowInstanceId"]}
        return self.post("/tasks", ids | {"workerId": task.get("workerId")} | members)

    def start(self, name: str, workflow_input: dict[str, Any]) -> str:
        return self.post("/workflow", {"name": name, "input": workflow_input}).text

    def workflow(self, workflow_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/workflow/{workflow_id}")
        return found

    def ended(self, workflow_id: str) -> dict[str, Any]:
        """Wait for the end of a workflow."""
        status = f"/workflow/{workflow_id}/status"
        eventually(lambda: self.get(status)["status"] not in {"RUNNING", "PAUSED"}, "the workflow's end")
        return self.workflow(workflow_id)


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Ask again until it holds; every question is a request, so the loop is not a busy one."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline, what


@contextmanager
def child(folder: Path, *argv: str) -> Iterator[None]:
    """A Python process in a group of its own that lives as long as the block."""
    variables = environment(folder, PYTHONPATH=str(ROOT))
    seed = os.environ.get(document.VARIABLE)
    if seed is not None:
        variables[document.VARIABLE] = seed
    with (folder / "child.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
        assert process.poll() is None, (folder / "child.log").read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server without workers."""
    running = Serving(
        tmp_path_factory.mktemp("wire"), "--port", "0", "--data", "data", SHOWRUNNER_DISK_FREE_BYTES_MIN="1"
    )
    yield running
    assert running.end(signal.SIGTERM).code == 0


@pytest.fixture(scope="session")
def http(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=WAIT_S_MAX) as client:
        yield client


@pytest.fixture
def wire(http: httpx.Client) -> Wire:
    return Wire(http)


@pytest.fixture(scope="session")
def seed() -> document.Document:
    """The architecture document. A laptop may do without it, CI may not."""
    path = document.path()
    if not path.is_file() and os.environ.get("CI") != "true":
        # The document is not part of this repository; in CI the reading below fails instead.
        pytest.skip(f"the architecture document is not at {path.resolve()}; name it with {document.VARIABLE}")
    return document.read(path.read_text(encoding="utf-8"))
