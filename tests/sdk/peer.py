"""A small server of the protocol, written from its description alone, for the sdk to talk to."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

OPEN = ("SCHEDULED", "IN_PROGRESS")
Json = dict[str, Any]


class Peer:
    """Tasks in memory, queues in order of arrival; `down` makes it drop every connection unanswered."""

    def __init__(self, port: int = 0) -> None:
        self.changed = threading.Condition()
        self.tasks: dict[str, Json] = {}
        self.queue: list[str] = []
        self.workflows: dict[str, Json] = {}
        self.logs: dict[str, list[str]] = {}
        self.updates: list[Json] = []
        self.polls: list[str] = []
        self.refuse_update: int | None = None
        self.down = False
        self._server = _QuietServer(("127.0.0.1", port), type("Handler", (_Handler,), {"peer": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, task_type: str, given: object = None, *, response_timeout: int = 30, **more: object) -> str:
        """Queue a task and give its id."""
        with self.changed:
            task_id = f"t{len(self.tasks) + 1}"
            self.tasks[task_id] = {
                "taskId": task_id,
                "taskType": task_type,
                "workflowInstanceId": "w1",
                "status": "SCHEDULED",
                "inputData": {} if given is None else given,
                "outputData": {},
                "pollCount": 0,
                "responseTimeoutSeconds": response_timeout,
                "unknownToWorkers": [1, None],
                **more,
            }
            self.queue.append(task_id)
            self.changed.notify_all()
        return task_id

    def set_status(self, task_id: str, status: str) -> None:
        with self.changed:
            self.tasks[task_id]["status"] = status
            self.changed.notify_all()

    def wait_for(self, met: Callable[[], object], seconds: float = 10) -> None:
        """Wait until the condition holds; fail after a bound."""
        with self.changed:
            assert self.changed.wait_for(lambda: bool(met()), seconds), "the awaited state never came"

    def wait_status(self, task_id: str, *statuses: str) -> Json:
        self.wait_for(lambda: self.tasks[task_id]["status"] in statuses)
        return self.tasks[task_id]

    def poll(self, kind: str, worker: str, count: int, timeout_s: float) -> list[Json]:
        def due() -> list[str]:
            return [i for i in self.queue if self.tasks[i]["taskType"] == kind][:count]

        with self.changed:
            self.polls.append(kind)
            self.changed.notify_all()
            self.changed.wait_for(lambda: due() or self.down, timeout_s)
            leased = []
            for task_id in due():
                self.queue.remove(task_id)
                task = self.tasks[task_id]
                if task["status"] in OPEN:
                    task.update(status="IN_PROGRESS", workerId=worker, pollCount=task["pollCount"] + 1)
                    leased.append(dict(task))
            self.changed.notify_all()
            return leased

    def update(self, result: Json) -> int:
        with self.changed:
            if self.refuse_update is not None and result["status"] == "COMPLETED":
                return self.refuse_update
            task = self.tasks.get(result["taskId"])
            if task is None:
                return 404
            self.updates.append(result)
            if task["status"] in OPEN:
                if result.get("extendLease"):
                    task["outputData"] = result.get("outputData", {})
                else:
                    self._store(task, result)
            self.changed.notify_all()
            return 200

    def _store(self, task: Json, result: Json) -> None:
        task["outputData"] = result.get("outputData", {})
        task["reasonForIncompletion"] = result.get("reasonForIncompletion")
        if result["status"] == "IN_PROGRESS":
            task["status"] = "SCHEDULED"
            self.queue.append(task["taskId"])
        else:
            task["status"] = result["status"]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    peer: Peer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write an answer, or the kernel waits for company

    def do_GET(self) -> None:
        if self._dropped():
            return
        parts = urlsplit(self.path)
        path, query = parts.path.split("/")[1:], parse_qs(parts.query)
        match path:
            case ["api", "tasks", "poll", "batch", kind]:
                timeout_ms = int(query.get("timeout", ["100"])[0])
                if timeout_ms > 5000:
                    self._answer(400, {"message": "Long Poll Timeout value cannot be more than 5 seconds"})
                    return
                tasks = self.peer.poll(
                    kind, query["workerid"][0], int(query.get("count", ["1"])[0]), timeout_ms / 1000
                )
                if not self._dropped():
                    self._answer(200, tasks)
            case ["api", "tasks", task_id]:
                with self.peer.changed:
                    task = self.peer.tasks.get(task_id)
                self._answer(
                    200 if task else 404, task or {"message": f"Task not found for taskId: {task_id}"}
                )
            case ["api", "workflow", workflow_id]:
                workflow = self.peer.workflows.get(workflow_id)
                self._answer(200 if workflow else 404, workflow or {"message": "no workflow"})
            case _:
                self._answer(404, {"message": "no such path"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self._dropped():
            return
        match urlsplit(self.path).path.split("/")[1:]:
            case ["api", "tasks"]:
                result = cast("Json", json.loads(body))
                status = self.peer.update(result)
                self._answer(status, result["taskId"] if status == 200 else {"message": f"refused {status}"})
            case ["api", "tasks", task_id, "log"]:
                with self.peer.changed:
                    self.peer.logs.setdefault(task_id, []).append(body.decode())
                self._answer(200, None)
            case _:
                self._answer(404, {"message": "no such path"})

    def _dropped(self) -> bool:
        if self.peer.down:
            self.close_connection = True
        return self.peer.down

    def _answer(self, status: int, document: object) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        if isinstance(document, str):
            body = document.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain" if isinstance(document, str) else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""
