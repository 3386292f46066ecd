"""One real server for the folder: uvicorn in a thread, a real engine on a temporary SQLite."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, Request, Response

from api.app import create_app
from engine.bootstrap import open_engine
from engine.settings import EngineSettings

BODY_BYTES_MAX = 1_000_000
WAIT_S_MAX = 20.0

product = APIRouter(prefix="/api/v1")


class TeapotError(Exception):
    pass


@product.get("/teapot")
async def teapot(cups: int) -> None:
    raise TeapotError(f"{cups} cups")


@product.get("/broken")
async def broken() -> None:
    raise ZeroDivisionError("never shown")


async def answer_teapot(_: Request, error: Exception) -> Response:
    return Response(f"product: {type(error).__name__}", 418, media_type="text/plain")


class Server:
    """A running server; `storage_fails` makes its storage refuse writes."""

    def __init__(self, folder: Path) -> None:
        self.storage_fails = False
        self._folder = folder
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._uvicorn: uvicorn.Server | None = None
        self._failure: BaseException | None = None
        self._open = threading.Event()
        self._drain: Callable[[], object] = partial(object)
        self._thread = threading.Thread(target=self._run, name="server")

    def start(self) -> None:
        self._thread.start()
        assert self._open.wait(WAIT_S_MAX)
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """What a server process does first when it is told to stop."""
        self._drain()

    def stop(self) -> None:
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
        self._thread.join(WAIT_S_MAX)
        assert not self._thread.is_alive()
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001 - handed to the test that started the server
            self._failure = failure
            self._open.set()

    async def _serve(self) -> None:
        async with await open_engine(
            EngineSettings(data=self._folder, database="", sqlite_synchronous="NORMAL")
        ) as engine:
            app = create_app(
                engine,
                routers=[product],
                exception_handlers={TeapotError: answer_teapot},
                storage_writable=lambda: not self.storage_fails,
                body_bytes_max=BODY_BYTES_MAX,
            )
            self._drain = partial(asyncio.get_running_loop().call_soon_threadsafe, app.drain)
            config = uvicorn.Config(app, log_level="critical", access_log=False, ws="none", http="httptools")
            self._uvicorn = uvicorn.Server(config)
            self._open.set()
            await self._uvicorn.serve(sockets=[self._socket])


class Api:
    """A client of the wire, with the few steps that most tests begin with."""

    _serial = itertools.count(1)

    def __init__(self, server: Server, client: httpx.Client) -> None:
        self.server = server
        self.http = client
        self.token = f"t{next(self._serial)}"

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self.http.request(method, path, **request)

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self.call("GET", "/api" + path, **request)

    def post(self, path: str, json: Any = None, **request: Any) -> httpx.Response:
        return self.call("POST", "/api" + path, json=json, **request)

    def put(self, path: str, json: Any = None, **request: Any) -> httpx.Response:
        return self.call("PUT", "/api" + path, json=json, **request)

    def name(self, name: str) -> str:
        """The test's own form of a name, so that tests share the server."""
        return f"{name}_{self.token}"

    def simple(self, name: str, **members: Any) -> dict[str, Any]:
        """A SIMPLE task named and referred to alike."""
        task = {"name": self.name(name), "taskReferenceName": name, "type": "SIMPLE", "retryCount": 0}
        return task | members

    def define(self, *tasks: dict[str, Any], name: str = "w", **members: Any) -> str:
        """Register a workflow; answers its name."""
        definition = {"name": self.name(name), "version": 1, "schemaVersion": 2, "tasks": list(tasks)}
        answer = self.post("/metadata/workflow", definition | members)
        assert answer.status_code == 200, answer.text
        return self.name(name)

    def start(self, name: str, workflow_input: dict[str, Any] | None = None, **members: Any) -> str:
        answer = self.post("/workflow", {"name": name, "input": workflow_input or {}} | members)
        assert answer.status_code == 200, answer.text
        return answer.text

    def workflow(self, workflow_id: str) -> dict[str, Any]:
        answer = self.get(f"/workflow/{workflow_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def poll(self, task: str, **query: Any) -> dict[str, Any] | None:
        """Lease one task of a type given by its short name."""
        answer = self.get(f"/tasks/poll/{self.name(task)}", params={"workerid": "w1"} | query)
        return answer.json() if answer.status_code == 200 else None

    def report(self, task: dict[str, Any], status: str = "COMPLETED", **members: Any) -> httpx.Response:
        ids = {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"], "workerId": "w1"}
        return self.post("/tasks", ids | {"status": status} | members)

    def metric(self, line: str) -> float:
        """One sample of /metrics, 0 when it is not there yet."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.call("GET", "/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        """Ask again until it holds; every question is a request, so the loop is not a busy one."""
        deadline = time.monotonic() + WAIT_S_MAX
        while not condition():
            assert time.monotonic() < deadline, "the condition never held"


@contextmanager
def client_of(server: Server) -> Iterator[Api]:
    with httpx.Client(base_url=server.url, timeout=WAIT_S_MAX) as client:
        yield Api(server, client)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def shared_api(server: Server) -> Iterator[Api]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def api(shared_api: Api) -> Api:
    """A client with names of its own; the connection is shared."""
    return Api(shared_api.server, shared_api.http)


@pytest.fixture
def own_api(tmp_path: Path) -> Iterator[Api]:
    """A client of a server that no other test uses."""
    running = Server(tmp_path)
    running.start()
    try:
        with client_of(running) as client:
            yield client
    finally:
        running.stop()
