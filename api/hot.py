"""The routes that workers call thousands of times a second, as raw ASGI in front of FastAPI.

FastAPI documents the same routes and serves them through these handlers; here they skip its machinery, which
costs more than the rest of such a request. A handler gets the ASGI scope and receive callable and returns an
`Answer`, or None when the client is gone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, overload
from urllib.parse import unquote_plus

import msgspec
from msgspec import Raw

from api.bodies import BODY_BYTES_MAX, Receive, Scope, decode, header, read_body
from api.conductor.shapes import RESULT_STATUSES, StartWorkflowRequest, TaskResult
from api.errors import BadParameterError, ClientGoneError, encode_error, expected, log_failure
from api.ops.metrics import Metrics
from engine.bootstrap import Engine
from engine.core.errors import InvalidRequestError, NotFoundError
from engine.core.model import MalformedBodyError
from engine.services.executions import StartRequest, TaskUpdate, UpdateOutcome

Answer = tuple[int, bytes, bytes]  # status, content type, body
Handler = Callable[[Scope, Receive, str], Awaitable[Answer | None]]

POLL_TIMEOUT_MS = 100  # upstream's wait of a single poll, and its default for a batch
POLL_TIMEOUT_MS_MAX = 5000
POLL_COUNT_MAX = 1000
"""Tasks of one batch: what fits one answer; a client that asks for more gets this many."""

NEXT_TASK_TIMEOUT_MS = 0
"""update-v2 hands over what is there. Upstream waits 100 ms, which holds back the answer to the update."""

WATCH_AFTER_S = 0.01
"""A poll that waits longer is worth a task that watches for the client hanging up."""

JSON, TEXT = b"application/json", b"text/plain;charset=UTF-8"
NOTHING: Answer = (204, b"", b"")
_POLL, _BATCH = "/api/tasks/poll/", "/api/tasks/poll/batch/"
_START = "/api/workflow/"
_OTHER_POSTS = frozenset({"/api/workflow/test"})  # what only looks like a start by name

_read_result = msgspec.json.Decoder(TaskResult)
_read_start = msgspec.json.Decoder(StartWorkflowRequest)
_read_input = msgspec.json.Decoder(dict[str, Any])


class HotRoutes:
    """Handlers of poll, batch poll, update, update-v2 and the two starts."""

    def __init__(self, engine: Engine, metrics: Metrics, *, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self._engine = engine
        self._metrics = metrics
        self._body_bytes_max = body_bytes_max
        self._watches: set[_Watch] = set()
        self._draining = False
        self._posts: dict[str, Handler] = {
            "/api/tasks": self.update,
            "/api/tasks/update-v2": self.update_v2,
            "/api/workflow": self.start,
        }

    def drain(self) -> None:
        """Answer every waiting poll with nothing, and let later ones not wait: the server is stopping."""
        self._draining = True
        for watch in self._watches:
            watch.end()

    def find(self, method: str, path: str) -> tuple[Handler, str] | None:
        """The handler of a request and its path argument, or None when FastAPI has to answer."""
        if method == "POST":
            handler = self._posts.get(path)
            if handler is not None:
                return handler, ""
            if path.startswith(_START) and path not in _OTHER_POSTS:
                return _one_segment(self.start_by_name, path[len(_START) :])
        elif method == "GET" and path.startswith(_POLL):
            if path.startswith(_BATCH):
                return _one_segment(self.poll_batch, path[len(_BATCH) :])
            return _one_segment(self.poll, path[len(_POLL) :])
        return None

    async def answer(self, handler: Handler, argument: str, scope: Scope, receive: Receive) -> Answer | None:
        """Run a handler; every error becomes an answer."""
        try:
            return await handler(scope, receive, argument)
        except ClientGoneError:
            return None
        except Exception as error:  # noqa: BLE001 - the last rim before the client: no traceback may pass it
            if not expected(error):
                request_id = header(scope, b"x-request-id")
                log_failure(error, method=scope["method"], path=scope["path"], request_id=request_id)
            status, body = encode_error(error)
            return status, JSON, body

    async def poll(self, scope: Scope, receive: Receive, task_type: str) -> Answer | None:
        parameters = read_query(scope["query_string"])
        tasks = await self._poll(receive, task_type, parameters, count=1, timeout_ms=POLL_TIMEOUT_MS)
        if tasks is None:
            return None
        return (200, JSON, tasks[0]) if tasks else NOTHING

    async def poll_batch(self, scope: Scope, receive: Receive, task_type: str) -> Answer | None:
        parameters = read_query(scope["query_string"])
        count = _number(parameters, "count", 1)
        timeout_ms = _number(parameters, "timeout", POLL_TIMEOUT_MS)
        if timeout_ms > POLL_TIMEOUT_MS_MAX:
            raise InvalidRequestError("Long Poll Timeout value cannot be more than 5 seconds")
        count = min(count, POLL_COUNT_MAX)
        if count < 1:
            return 200, JSON, b"[]"
        tasks = await self._poll(receive, task_type, parameters, count=count, timeout_ms=max(timeout_ms, 0))
        if tasks is None:
            return None
        return 200, JSON, b"[" + b",".join(tasks) + b"]"

    async def update(self, scope: Scope, receive: Receive, _: str) -> Answer | None:
        outcome = await self._update(await self._result(scope, receive))
        return 200, TEXT, outcome.task_id.encode()

    async def update_v2(self, scope: Scope, receive: Receive, _: str) -> Answer | None:
        update = await self._result(scope, receive)
        try:
            outcome = await self._update(update)
        except InvalidRequestError as error:
            # Upstream validates this route's body too late to answer 400.
            raise MalformedBodyError(_sentence(error)) from error
        if not (outcome.ended and outcome.task_type):
            return NOTHING
        tasks = await self._engine.queues.poll(
            outcome.task_type,
            domain=outcome.domain,
            worker_id=update.worker_id or "",
            count=1,
            timeout_ms=NEXT_TASK_TIMEOUT_MS,
        )
        if not tasks:
            return NOTHING
        self._metrics.dispatched.inc()
        return 200, JSON, tasks[0]

    async def start(self, scope: Scope, receive: Receive, _: str) -> Answer | None:
        request = decode(_read_start, await self._body(scope, receive))
        _check_object(request.workflow_def, "workflowDef")
        workflow_id = await self._engine.executions.start(request)
        self._metrics.started.inc()
        return 200, TEXT, workflow_id.encode()

    async def start_by_name(self, scope: Scope, receive: Receive, name: str) -> Answer | None:
        parameters = read_query(scope["query_string"])
        version = _number(parameters, "version", None)
        priority = _number(parameters, "priority", 0)
        workflow_input = decode(_read_input, await self._body(scope, receive))
        try:
            workflow_id = await self._engine.executions.start(
                StartRequest(
                    name=name,
                    version=version,
                    correlation_id=parameters.get("correlationId") or None,
                    input=workflow_input,
                    priority=priority,
                )
            )
        except NotFoundError as error:
            if not str(error).startswith("No such workflow defined"):
                raise
            wanted = "null" if version is None else str(version)
            message = f"No such workflow found by name: {name}, version: {wanted}"
            raise NotFoundError(message) from error
        self._metrics.started.inc()
        return 200, TEXT, workflow_id.encode()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        return await read_body(scope, receive, self._body_bytes_max)

    async def _result(self, scope: Scope, receive: Receive) -> TaskUpdate:
        result = decode(_read_result, await self._body(scope, receive))
        if result.status is None:
            if not result.extend_lease:
                raise MalformedBodyError("status is missing; it must be one of " + ", ".join(_STATUSES))
        elif result.status not in RESULT_STATUSES:
            raise MalformedBodyError(f'status is "{result.status}"; it must be one of {", ".join(_STATUSES)}')
        _check_object(result.output_data, "outputData")
        return result

    async def _update(self, update: TaskUpdate) -> UpdateOutcome:
        outcome = await self._engine.executions.update(update)
        (self._metrics.updates_ended if outcome.ended else self._metrics.updates_open).inc()
        return outcome

    async def _poll(
        self, receive: Receive, task_type: str, parameters: dict[str, str], *, count: int, timeout_ms: int
    ) -> list[bytes] | None:
        """Poll the queue; None when the client hung up, and then nothing is leased to it.

        The poll is awaited in this very task, so that a cancellation reaches it wherever it is; what it had
        in hand at that moment it gives back.
        """
        metrics = self._metrics
        this_task = asyncio.current_task()
        watch = _Watch(receive, this_task)
        self._watches.add(watch)
        metrics.polls_waiting.inc()
        try:
            tasks = await self._engine.queues.poll(
                task_type,
                domain=parameters.get("domain") or None,
                worker_id=parameters.get("workerid") or parameters.get("workerId") or "",
                count=count,
                timeout_ms=0 if self._draining else timeout_ms,
            )
        except asyncio.CancelledError:
            if not watch.ended or this_task is None or this_task.uncancel() > 0:
                raise
            if watch.gone:
                metrics.polls_gone.inc()
                return None
            tasks = []
        finally:
            watch.stop()
            self._watches.discard(watch)
            metrics.polls_waiting.dec()
        (metrics.polls_with_tasks if tasks else metrics.polls_empty).inc()
        if tasks:
            metrics.dispatched.inc(len(tasks))
        return tasks


class _Watch:
    """Ends a waiting poll early: when its client hangs up, or when told to.

    It starts to watch late, so that quick polls do not pay for it.
    """

    def __init__(self, receive: Receive, waiting: asyncio.Task[Any] | None) -> None:
        self.ended = False
        self.gone = False
        self._receive = receive
        self._waiting = waiting
        self._task: asyncio.Task[None] | None = None
        self._start = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def end(self) -> None:
        if not self.ended and self._waiting is not None:
            self.ended = True
            self._waiting.cancel()

    def stop(self) -> None:
        self._start.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.end()


_STATUSES = sorted(RESULT_STATUSES)
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")


def read_query(raw: bytes) -> dict[str, str]:
    """Query parameters; of a repeated one the first counts."""
    out: dict[str, str] = {}
    if raw:
        for pair in raw.decode("latin-1").split("&"):
            name, _, value = pair.partition("=")
            if "%" in pair or "+" in pair:
                name, value = unquote_plus(name), unquote_plus(value)
            out.setdefault(name, value)
    return out


def _one_segment(handler: Handler, argument: str) -> tuple[Handler, str] | None:
    return (handler, argument) if argument and "/" not in argument else None


@overload
def _number(parameters: dict[str, str], name: str, default: int) -> int: ...
@overload
def _number(parameters: dict[str, str], name: str, default: None) -> int | None: ...
def _number(parameters: dict[str, str], name: str, default: int | None) -> int | None:
    value = parameters.get(name)
    if not value:
        return default
    number = int(value) if _INTEGER.fullmatch(value) else None
    if number is None or not -(2**31) <= number < 2**31:
        message = f"Failed to convert the value of query parameter {name} to an integer"
        raise BadParameterError(f'{message}; for input string: "{value}"')
    return number


def _check_object(raw: Raw, name: str) -> None:
    # The value may be megabytes: looked at, not copied.
    if bytes(memoryview(raw)[:1]) not in (b"{", b"n"):
        raise MalformedBodyError(f"{name} must be a JSON object")


def _sentence(error: InvalidRequestError) -> str:
    return "; ".join(text for _, text, _ in error.problems) or str(error)
