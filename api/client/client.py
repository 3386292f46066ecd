"""Synchronous HTTP client; documents come back as plain JSON objects, shaped as OpenAPI describes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Self
from urllib.parse import quote

import httpx

from api.failures import CommandError

TIMEOUT_S = 30.0
EVENTS_SILENCE_S = 60.0
"""The server says something at least every 15 s."""
FINAL = frozenset({"ready", "failed", "cancelled"})

Json = dict[str, Any]


class ClientError(CommandError):
    """Root of what the client raises; the text is one sentence for people."""


class ServerUnreachableError(ClientError):
    """Nobody answers there, or the line broke."""


class ServerRefusedError(ClientError):
    """The server refused: `code`, `status` and `errors` as in its problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        listed = [
            f"{each.get('path')}: {each.get('message')}" for each in problem.get("validationErrors") or []
        ]
        detail = (
            "; ".join(listed)
            or problem.get("detail")
            or problem.get("message")
            or f"the server answered {status}"
        )
        super().__init__(str(detail))
        self.status = status
        self.code = str(problem.get("code") or "")
        self.retryable = bool(problem.get("retryable"))
        self.errors: list[Json] = list(problem.get("errors") or [])


class VideoEvent(NamedTuple):
    """One server-sent event."""

    id: str
    name: str
    data: Json


class ShowrunnerClient:
    """Use it as a context manager.

    Args:
        server: URL of the server, with or without /api.
        api_key: sent as a bearer token when given.
    """

    def __init__(self, server: str, api_key: str | None = None) -> None:
        self.server = server.rstrip("/").removesuffix("/api")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=self.server, headers=headers, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # ----------------------------------------------------------------------------------------- videos
    def upload(
        self,
        file: Path,
        options: Mapping[str, Any] | None = None,
        *,
        on_sent: Callable[[int], None] | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Upload a file and start its processing.

        Args:
            file: what to send.
            options: VideoOptions as JSON data.
            on_sent: told the bytes read so far.
            idempotency_key: the same key and file give the same video.

        Raises:
            ClientError: refused or unreachable. OSError: the file cannot be read.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with file.open("rb") as opened:
            content: Any = _Counted(opened, on_sent) if on_sent else opened
            # The form field goes first: wrong options are refused before the file is sent.
            answer = self._send(
                "POST",
                "/api/v1/videos",
                data={"options": json.dumps(dict(options or {}))},
                files={"file": (file.name, content, "application/octet-stream")},
                headers=headers,
                timeout=httpx.Timeout(TIMEOUT_S, write=None, read=None),
            )
        return _object(answer)

    def video(self, video_id: str) -> Json:
        return _object(self._send("GET", f"/api/v1/videos/{_part(video_id)}"))

    def videos(self, **query: Any) -> Json:
        """A page: {items, nextCursor?}; `query` as in the API: status, q, profile, limit, cursor, sort."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return _object(self._send("GET", "/api/v1/videos", params=wanted))

    def edit(self, video_id: str, changes: Mapping[str, Any]) -> Json:
        return _object(self._send("PATCH", f"/api/v1/videos/{_part(video_id)}", json=dict(changes)))

    def delete(self, video_id: str) -> None:
        self._send("DELETE", f"/api/v1/videos/{_part(video_id)}")

    def cancel(self, video_id: str) -> Json:
        return _object(self._send("POST", f"/api/v1/videos/{_part(video_id)}/cancel"))

    def retry(self, video_id: str) -> Json:
        return _object(self._send("POST", f"/api/v1/videos/{_part(video_id)}/retry"))

    def reprocess(self, video_id: str, options: Mapping[str, Any] | None = None) -> Json:
        """Make a new version of an ended video."""
        path = f"/api/v1/videos/{_part(video_id)}/reprocess"
        return _object(self._send("POST", path, json=dict(options or {})))

    def files(self, video_id: str, **query: Any) -> Json:
        """A page of published files: {items, nextCursor?}."""
        return _object(self._send("GET", f"/api/v1/videos/{_part(video_id)}/files", params=query))

    def report(self, video_id: str) -> Json:
        return _object(self._send("GET", f"/api/v1/videos/{_part(video_id)}/report"))

    def events(self, video_id: str, last_event_id: str = "") -> Iterator[VideoEvent]:
        """The video's events, first its state, then each change; without end.

        Raises:
            ClientError: refused, or the line broke: call again with the last id.
        """
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        timeout = httpx.Timeout(TIMEOUT_S, read=EVENTS_SILENCE_S)
        with _sentences(self.server):
            url = f"/api/v1/videos/{_part(video_id)}/events"
            with self._http.stream("GET", url, headers=headers, timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refused(answer)
                yield from _parse_events(answer.iter_lines())

    def follow(self, video_id: str) -> Iterator[VideoEvent]:
        """Events until the video has reached its end, over broken lines; the server may end them once.

        Raises:
            ClientError: the server cannot be reached again.
        """
        last, idle = "", 0
        while idle < 2:
            idle += 1
            try:
                for event in self.events(video_id, last):
                    last, idle = event.id or last, 0
                    yield event
                    if event.name == "status" and event.data.get("status") in FINAL:
                        return
            except ServerUnreachableError:
                if idle >= 2:
                    raise

    # ------------------------------------------------------------------------------------ the rest of it
    def profiles(self) -> list[Json]:
        return _list(self._send("GET", "/api/v1/profiles"))

    def profile(self, name: str) -> Json:
        return _object(self._send("GET", f"/api/v1/profiles/{_part(name)}"))

    def put_profile(self, name: str, profile: Mapping[str, Any]) -> Json:
        """Create or replace a profile of the operator's own."""
        return _object(self._send("PUT", f"/api/v1/profiles/{_part(name)}", json=dict(profile)))

    def delete_profile(self, name: str) -> None:
        self._send("DELETE", f"/api/v1/profiles/{_part(name)}")

    def queues(self) -> list[Json]:
        return _list(self._send("GET", "/api/v1/queues"))

    def workers(self) -> list[Json]:
        return _list(self._send("GET", "/api/v1/workers"))

    def text(self, url: str) -> str:
        """A published text file such as a playlist."""
        return self._send("GET", url).text

    def size(self, url: str) -> int:
        """Bytes of a published file; raises ClientError when it is not there."""
        return int(self._send("HEAD", url).headers.get("content-length", "0"))

    # --------------------------------------------------------------------------------------- workflows
    def register_workflows(self, definitions: list[Json]) -> None:
        """Register workflow definitions, or replace those of the same name and version."""
        self._send("PUT", "/api/metadata/workflow", json=definitions)

    def validate_workflow(self, definition: Json) -> list[dict[str, str]]:
        """What looks wrong in a definition: {path, message} each. Refuses an invalid one."""
        answer = self._send("POST", "/api/metadata/workflow/validate", json=definition)
        return [dict(each) for each in _object(answer)["warnings"]] if answer.content else []

    def start_workflow(self, name: str, given: Mapping[str, Any], version: int | None = None) -> str:
        """Start a workflow; answers its id."""
        body = {"name": name, "input": dict(given), **({"version": version} if version is not None else {})}
        return self._send("POST", "/api/workflow", json=body).text

    def workflow(self, workflow_id: str) -> Json:
        return _object(self._send("GET", f"/api/workflow/{_part(workflow_id)}"))

    def history(self, workflow_id: str) -> bytes:
        """What `showrunner workflow replay` works on, as the server sends it."""
        return self._send("GET", f"/api/workflow/{_part(workflow_id)}/history").content

    def search_workflows(self, query: str = "", *, start: int = 0, size: int = 20) -> Json:
        """A page of summaries: {totalHits, results}."""
        params = {"query": query, "start": start, "size": size, "sort": "startTime:DESC"}
        return _object(self._send("GET", "/api/workflow/search", params=params))

    def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        with _sentences(self.server):
            answer = self._http.request(method, url, **options)
        if answer.is_error:
            raise _refused(answer)
        return answer


class _Counted:
    """A file that tells how far it was read."""

    def __init__(self, file: IO[bytes], on_sent: Callable[[int], None]) -> None:
        self._file = file
        self._on_sent = on_sent
        self._sent = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._sent += len(block)
        self._on_sent(self._sent)
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        self._sent = 0
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()


@contextmanager
def _sentences(server: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ServerUnreachableError(
            f"no server answers at {server}; start one with `showrunner serve`, or name it with --server"
        ) from error
    except httpx.UnsupportedProtocol as error:
        raise ServerUnreachableError(
            f"{server} is no server address; write it as http://host:port"
        ) from error
    except httpx.InvalidURL as error:
        raise ServerUnreachableError(f"{server} is no server address: {error}") from error
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise ServerUnreachableError(f"the line to {server} broke: {reason}") from error


def _refused(answer: httpx.Response) -> ServerRefusedError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    return ServerRefusedError(answer.status_code, problem if isinstance(problem, dict) else {})


def _parse_events(lines: Iterator[str]) -> Iterator[VideoEvent]:
    event_id, name = "", "message"
    data: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield VideoEvent(event_id, name, json.loads("\n".join(data)))
            name, data = "message", []
        elif field == "id":
            event_id = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _object(answer: httpx.Response) -> Json:
    document = answer.json()
    if not isinstance(document, dict):
        raise ClientError(
            f"{answer.url} answered something else than an object; is this a Showrunner server?"
        )
    return document


def _list(answer: httpx.Response) -> list[Json]:
    document = answer.json()
    if not isinstance(document, list):
        raise ClientError(f"{answer.url} answered something else than a list; is this a Showrunner server?")
    return document


def _part(text: str) -> str:
    """A value as one part of a path."""
    return quote(text, safe="")
