"""The wire: one method a request, blocking, safe to use from many threads at once."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from media_workers.sdk.errors import ServerRefusedError, ServerUnavailableError
from media_workers.sdk.models import ErrorResponse, Task, TaskResult, TaskStatus, Workflow

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 20.0
LONG_POLL_MS_MAX = 5000  # servers of the protocol refuse longer polls
# A long poll's answer may need a moment on top of its own wait.
LONG_POLL_GRACE_S = 10.0
CONNECTIONS_MAX = 128
# A gateway in front of a server that is starting or draining answers with these.
UNAVAILABLE_STATUSES = frozenset({502, 503, 504})
LOG_BYTES_MAX = 16_384
ERROR_CHARS_MAX = 300

_T = TypeVar("_T")

_tasks = msgspec.json.Decoder(list[Task])
_task = msgspec.json.Decoder(Task)
_workflow = msgspec.json.Decoder(Workflow)
_error = msgspec.json.Decoder(ErrorResponse)
_encoder = msgspec.json.Encoder()


class ConductorClient:
    """Speaks to one server (or a load balancer over several).

    Args:
        server_url: where the server is; with or without the `/api` at the end.
        api_key: sent as a bearer token when given.
        transport: another way to reach the server, for embedding.

    Every method raises ServerUnavailableError when no usable answer came, and ServerRefusedError when
    the server said no.
    """

    def __init__(
        self, server_url: str, *, api_key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        base = server_url.rstrip("/").removesuffix("/api")
        self.server_url = base
        headers = {"content-type": "application/json", "user-agent": "showrunner-worker"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(
            base_url=f"{base}/api",
            headers=headers,
            timeout=httpx.Timeout(REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
            transport=transport,
            # A proxy meant for the internet has no business between a worker and its engine.
            trust_env=False,
        )

    def close(self) -> None:
        """Drop every connection; requests under way end with ServerUnavailableError."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def poll(
        self, task_type: str, *, worker_id: str, count: int, timeout_ms: int, domain: str | None = None
    ) -> list[Task]:
        """Lease up to `count` tasks, waiting up to `timeout_ms` (at most LONG_POLL_MS_MAX) for the first."""
        params: dict[str, str | int] = {
            "workerid": worker_id,
            "count": count,
            "timeout": min(timeout_ms, LONG_POLL_MS_MAX),
        }
        if domain:
            params["domain"] = domain
        timeout = httpx.Timeout(
            REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, read=timeout_ms / 1000 + LONG_POLL_GRACE_S
        )
        answer = self._send("GET", f"/tasks/poll/batch/{_segment(task_type)}", params=params, timeout=timeout)
        return _decode(_tasks, answer) if answer.content else []

    def update(self, result: TaskResult) -> None:
        """Report a task. Repeating it is harmless: an ended task answers 200 and changes nothing."""
        self._send("POST", "/tasks", content=_encoder.encode(result))

    def extend_lease(self, task: Task, *, worker_id: str, output: dict[str, object]) -> None:
        """Say that the task is still being worked on; `output` is for people to look at meanwhile."""
        self.update(
            TaskResult(
                workflow_instance_id=task.workflow_instance_id,
                task_id=task.task_id,
                worker_id=worker_id,
                status=TaskStatus.IN_PROGRESS,
                extend_lease=True,
                output_data=output,
            )
        )

    def get_task(self, task_id: str) -> Task | None:
        """The task as the server knows it, or None when it does not."""
        try:
            answer = self._send("GET", f"/tasks/{_segment(task_id)}")
        except ServerRefusedError as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return _decode(_task, answer) if answer.content else None

    def get_workflow(self, workflow_id: str) -> Workflow:
        """The execution with its tasks."""
        answer = self._send("GET", f"/workflow/{_segment(workflow_id)}", params={"includeTasks": "true"})
        return _decode(_workflow, answer)

    def add_log(self, task_id: str, text: str) -> None:
        """Append one entry to the task's log; over-long text loses its middle bytes."""
        self._send("POST", f"/tasks/{_segment(task_id)}/log", content=_shorten(text.encode()))

    def register_task_definitions(self, definitions: bytes) -> None:
        """Create or replace task definitions; the body is a JSON list."""
        self._send("POST", "/metadata/taskdefs", content=definitions)

    def register_workflows(self, definitions: bytes) -> None:
        """Create or replace workflow definitions; the body is a JSON list."""
        self._send("PUT", "/metadata/workflow", content=definitions)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> httpx.Response:
        try:
            answer = self._http.request(
                method,
                path,
                params=params,
                content=content,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
            )
        except httpx.HTTPError as error:
            raise ServerUnavailableError(f"{self.server_url} does not answer ({_cause(error)})") from error
        except RuntimeError as error:
            # httpx says this when the client was closed by another thread; nothing else reaches here.
            raise ServerUnavailableError("the connection was closed") from error
        if answer.status_code in UNAVAILABLE_STATUSES:
            raise ServerUnavailableError(f"{self.server_url} answers {answer.status_code}")
        if answer.is_error:
            raise ServerRefusedError(answer.status_code, _refusal(method, path, answer))
        if not answer.is_success:
            raise ServerRefusedError(
                answer.status_code, f"{self.server_url} answered {answer.status_code}, not a result"
            )
        return answer


def _decode(decoder: msgspec.json.Decoder[_T], answer: httpx.Response) -> _T:
    try:
        return decoder.decode(answer.content)
    except msgspec.DecodeError as error:
        raise ServerRefusedError(
            httpx.codes.BAD_GATEWAY,
            f"{answer.url.path} answered something else than the protocol says: {error}",
        ) from error


def _refusal(method: str, path: str, answer: httpx.Response) -> str:
    try:
        message = _error.decode(answer.content).message or ""
    except msgspec.DecodeError:
        message = answer.text
    return f"{method} {path} was refused with {answer.status_code}: {message[:ERROR_CHARS_MAX]}"


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__


def _segment(text: str) -> str:
    return quote(text, safe="")


def _shorten(text: bytes) -> bytes:
    if len(text) <= LOG_BYTES_MAX:
        return text
    half = LOG_BYTES_MAX // 2
    return text[:half] + b"\n[...]\n" + text[-half:]
