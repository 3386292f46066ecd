"""The HTTP task: one request, its answer as the task's output.

Source of shapes and texts: conductor-oss/conductor, HttpTask; the texts of failures are Spring's, which
clients are used to.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec

from engine.adapters.calls.addresses import AddressRefusedError, Network, reachable
from engine.core.statuses import TaskStatus
from engine.core.values import to_text
from engine.ports.calls import CallResult

RESPONSE_BYTES_MAX = 8 * 1024 * 1024
CONNECT_MS = READ_MS = 3_000  # upstream's defaults
BODY_SHOWN_CHARS_MAX = 200  # of a failure's body, as Spring cuts it
REPEATED_STATUSES = frozenset({429, 503})
REPEAT_AFTER_S = 1.0  # upstream's HTTP client asks once more by itself
PORT_MAX = 65_535
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
FORM = "application/x-www-form-urlencoded"


class HttpCaller:
    """Each call has a connection of its own: to an address that was checked, under the name of its host."""

    def __init__(
        self, *, networks: Sequence[Network] = (), response_bytes_max: int = RESPONSE_BYTES_MAX
    ) -> None:
        self._networks = networks
        self._response_bytes_max = response_bytes_max
        self._client: httpx.AsyncClient | None = None

    async def call(self, given: Mapping[str, Any]) -> CallResult:
        """See `Caller.call`."""
        request = given.get("http_request", given)
        if not isinstance(request, Mapping):
            return _refused("http_request must be an object with uri and method")
        if not request.get("uri"):
            return _refused("Missing HTTP URI.  See documentation for HttpTask for required input parameters")
        if not request.get("method"):
            return _refused("No HTTP method specified")
        method, uri = to_text(request["method"]).upper(), to_text(request["uri"])
        try:
            prepared = _prepared(request, method, uri)
            response, body = await self._exchange(prepared)
            if response.status_code in REPEATED_STATUSES:
                await asyncio.sleep(REPEAT_AFTER_S)
                response, body = await self._exchange(prepared)
        except (httpx.HTTPError, httpx.InvalidURL, AddressRefusedError, OSError, ValueError) as error:
            return _failed(_said(error, method, uri))
        if response.status_code >= 400:
            return _failed(_status_text(response, body, method, uri))
        return _answered(response, body)

    async def aclose(self) -> None:
        """See `Caller.aclose`."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _exchange(self, prepared: httpx.Request) -> tuple[httpx.Response, bytes]:
        """Send a request to the first address of its host that takes a connection."""
        url = prepared.url
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("the uri must begin with http:// or https:// and name a host")
        port = url.port or (443 if url.scheme == "https" else 80)
        if port > PORT_MAX:
            raise ValueError(f"the uri's port is {port}; the highest is {PORT_MAX}")
        host = url.raw_host.decode("ascii").strip("[]")
        addresses = await reachable(host, port, self._networks)
        for at, address in enumerate(addresses):
            pinned = httpx.Request(
                prepared.method,
                url.copy_with(host=address),
                headers=prepared.headers,
                content=prepared.content,
                extensions={**prepared.extensions, "sni_hostname": host},
            )
            try:
                return await self._send(pinned)
            except httpx.ConnectError:
                if at + 1 == len(addresses):
                    raise
        raise AssertionError("unreachable: there is at least one address")

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        if self._client is None:
            # No proxy and no cookies of the server's own; one connection a call, because a kept one belongs
            # to an address and would be used under another host's name.
            self._client = httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            )
        response = await self._client.send(request, stream=True)
        self._client.cookies.clear()
        try:
            parts: list[bytes] = []
            size = 0
            async for part in response.aiter_bytes():
                size += len(part)
                if size > self._response_bytes_max:
                    raise ValueError(
                        f"the response is larger than {self._response_bytes_max} bytes; "
                        "fetch large content with a worker"
                    )
                parts.append(part)
        finally:
            await response.aclose()
        return response, b"".join(parts)


def _prepared(request: Mapping[str, Any], method: str, uri: str) -> httpx.Request:
    """The request as httpx has it. Raises ValueError, httpx.InvalidURL."""
    if method not in METHODS:
        raise ValueError(f"{method} is no HTTP method; use one of {', '.join(sorted(METHODS))}")
    headers = _headers(request.get("headers") or {})
    names = {name.lower() for name, _ in headers}
    accept = request.get("accept") or "application/json"
    if "accept" not in names:
        listed = accept if isinstance(accept, list) else [accept]
        headers.append(("Accept", ", ".join(map(to_text, listed))))
    content_type = to_text(request.get("contentType") or "application/json")
    body = request.get("body")
    content = None if body is None else _content(body, content_type)
    if "content-type" not in names:  # also without a body, as upstream
        headers.append(("Content-Type", content_type))
    timeout = httpx.Timeout(
        _seconds(request.get("readTimeOut"), READ_MS),
        connect=_seconds(request.get("connectionTimeOut"), CONNECT_MS),
    )
    return httpx.Request(
        method,
        uri.strip(),
        headers=[(name.encode(), value.encode()) for name, value in headers],
        content=content,
        extensions={"timeout": timeout.as_dict()},
    )


def _headers(given: Any) -> list[tuple[str, str]]:
    if not isinstance(given, Mapping):
        raise ValueError("headers must be an object of names and values")  # noqa: TRY004 - the author's value
    found = []
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        found += [(name, to_text(item)) for item in values if item is not None]
    return found


def _content(body: Any, content_type: str) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, Mapping) and content_type.partition(";")[0].strip().lower() == FORM:
        return urlencode({key: to_text(value) for key, value in body.items()}).encode()
    return msgspec.json.encode(body)


def _seconds(value: Any, default_ms: int) -> float | None:
    """A timeout in seconds; 0 is none, as in Java, and the task's response timeout still holds."""
    try:
        given_ms = default_ms if value is None else int(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"timeouts are whole milliseconds, not {to_text(value)}") from error
    if given_ms < 0:
        given_ms = default_ms
    return given_ms / 1000 or None


def _answered(response: httpx.Response, body: bytes) -> CallResult:
    headers: dict[str, list[str]] = {}
    for name, value in response.headers.raw:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    content = _parsed(_text(response, body))
    output = {
        "response": {
            "body": content,
            "headers": headers,
            "statusCode": response.status_code,
            "reasonPhrase": _phrase(response),
        }
    }
    if 200 <= response.status_code < 300:
        return CallResult(status=TaskStatus.COMPLETED, output=output)
    reason = "No response from the remote service" if content is None else to_text(content)
    return CallResult(status=TaskStatus.FAILED, output=output, reason=reason)


def _text(response: httpx.Response, body: bytes) -> str:
    encoding = response.charset_encoding or "utf-8"
    try:
        return body.decode(encoding, "replace")
    except LookupError:  # a charset nobody knows
        return body.decode("utf-8", "replace")


def _parsed(text: str) -> Any:
    """JSON arrays and objects as they are, a number as a double, other scalars as their text."""
    if not text:
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    if isinstance(value, dict | list):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return to_text(value)


def _phrase(response: httpx.Response) -> str:
    try:
        return response.reason_phrase or http.HTTPStatus(response.status_code).phrase
    except ValueError:
        return ""


def _status_text(response: httpx.Response, body: bytes, method: str, uri: str) -> str:
    text = _text(response, body)
    said = "[no body]" if not text else f'"{text}"'
    if len(text) > BODY_SHOWN_CHARS_MAX:
        said = f'"{text[:BODY_SHOWN_CHARS_MAX]}... ({len(body)} bytes)"'
    return f'{response.status_code} {_phrase(response)} on {method} request for "{uri}": {said}'


def _said(error: Exception, method: str, uri: str) -> str:
    kind = type(error).__name__
    match error:
        case httpx.ConnectTimeout():
            text = "connect timed out"
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            text = "read timed out"
        case AddressRefusedError() | ValueError():
            text = str(error)
        case _:
            # Of httpx's own texts only the kind: the URL in them has its secrets filled in.
            text = f"{kind}: {error.__cause__ or error}" if isinstance(error, httpx.ConnectError) else kind
    return f'I/O error on {method} request for "{uri}": {text}'


def _refused(reason: str) -> CallResult:
    return CallResult(status=TaskStatus.FAILED, reason=reason)


def _failed(text: str) -> CallResult:
    said = f"java.lang.Exception: {text}"
    return CallResult(
        status=TaskStatus.FAILED,
        output={"response": said},
        reason=f"Failed to invoke HTTP task due to: {said}",
    )
