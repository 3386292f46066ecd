"""How the official SDK's runners use the server: seen from the wire between the two."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from conductor.client.automator.async_task_runner import AsyncTaskRunner
from conductor.client.automator.task_runner import TaskRunner
from conductor.client.configuration.configuration import Configuration
from conductor.client.worker.worker import Worker

from tests.cli.conftest import Serving
from tests.wire.conftest import WAIT_S_MAX, Wire

pytestmark = [
    pytest.mark.server,
    # The SDK reads the members it has deprecated itself.
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),
]

REQUEST_LINE = re.compile(rb"^(GET|POST|PUT) (/\S*) HTTP/1\.1\r$", re.MULTILINE)
TASKS = 12
AT_ONCE = 4
UPDATE, UPDATE_V2 = "POST /api/tasks", "POST /api/tasks/update-v2"


class Tap:
    """Passes connections on to a server and notes the request lines that go through.

    Attributes:
        requests: `METHOD /path` without the query, in order.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (str(parts.hostname), int(parts.port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server, timeout=WAIT_S_MAX)
            self._open += [client, server]
            for source, target, note in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._pass_on, args=(source, target, note))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, note: bool) -> None:
        try:
            while chunk := source.recv(65_536):
                for method, path in REQUEST_LINE.findall(chunk) if note else ():
                    self.requests.append(f"{method.decode()} {path.decode().partition('?')[0]}")
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed by the other side, or by `close`

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(WAIT_S_MAX)
            assert not thread.is_alive()
        for one in self._open:
            one.close()


@pytest.fixture
def tap(server: Serving) -> Iterator[Tap]:
    opened = Tap(server.url)
    yield opened
    opened.close()


@pytest.fixture
def ids(wire: Wire) -> list[str]:
    """Workflows of one task each, all scheduled."""
    task = {"name": wire.name("task"), "taskReferenceName": "a", "type": "SIMPLE"}
    wire.post("/metadata/workflow", {"name": wire.name("w"), "tasks": [task]})
    return [wire.start(wire.name("w"), {}) for _ in range(TASKS)]


@contextmanager
def running(
    kind: Any, wire: Wire, tap: Tap, function: Callable[..., Any], thread_count: int
) -> Iterator[None]:
    """One of the SDK's runners, as its TaskHandler runs it in a process; stopped at the block's end."""
    worker = Worker(wire.name("task"), function, poll_interval=10, thread_count=thread_count)
    runner = kind(worker, Configuration(base_url=tap.url))

    def work() -> None:
        if kind is AsyncTaskRunner:
            asyncio.run(runner.run())
        else:
            runner.run()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        if kind is AsyncTaskRunner:
            asyncio.run(runner.stop())
        else:
            runner.stop()
        thread.join(WAIT_S_MAX)
        assert not thread.is_alive()


def outputs(wire: Wire, ids: list[str]) -> list[Any]:
    found = [wire.ended(workflow_id) for workflow_id in ids]
    assert {each["status"] for each in found} == {"COMPLETED"}
    return [each["output"] for each in found]


def test_each_result_brings_the_next_task(wire: Wire, tap: Tap, ids: list[str]) -> None:
    """Without a poll between them: the SDK stays in its loop over update-v2, and never falls back."""

    def work() -> dict[str, Any]:
        return {"done": True}

    with running(TaskRunner, wire, tap, work, 1):
        assert outputs(wire, ids) == [{"done": True}] * TASKS

    first = tap.requests.index(UPDATE_V2)
    assert tap.requests[first : first + TASKS] == [UPDATE_V2] * TASKS
    assert tap.requests.count(UPDATE_V2) == TASKS
    assert UPDATE not in tap.requests


def test_threads_work_side_by_side(wire: Wire, tap: Tap, ids: list[str]) -> None:
    """As many tasks at once as the worker has threads: none returns before all of them are at work."""
    together = threading.Barrier(AT_ONCE, timeout=WAIT_S_MAX)

    def work() -> dict[str, Any]:
        together.wait()
        return {"done": True}

    with running(TaskRunner, wire, tap, work, AT_ONCE):
        assert outputs(wire, ids) == [{"done": True}] * TASKS

    assert tap.requests.count(UPDATE_V2) == TASKS
    assert UPDATE not in tap.requests


def test_coroutines_work_side_by_side(wire: Wire, tap: Tap, ids: list[str]) -> None:
    """An `async def` worker's tasks share one loop, and its results bring the next ones, too."""
    together = asyncio.Barrier(AT_ONCE)

    async def work() -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S_MAX):
            await together.wait()
        return {"done": True}

    with running(AsyncTaskRunner, wire, tap, work, AT_ONCE):
        assert outputs(wire, ids) == [{"done": True}] * TASKS

    assert tap.requests.count(UPDATE_V2) == TASKS
    assert UPDATE not in tap.requests
