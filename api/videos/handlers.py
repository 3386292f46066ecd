"""How the product API answers what went wrong: handlers by exception class, for `create_app`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.videos.errors import PROBLEM_MEDIA_TYPE, ProblemError, problem_document
from api.videos.models import FieldError
from api.videos.options import RENDITION_NAMES
from api.videos.store import StoreUnavailableError
from api.videos.uploads import Body
from engine.core.errors import EngineError, InvariantError, RefusedError, StoreError

log = structlog.get_logger(__name__)

PRODUCT_PREFIXES = ("/api/v1", "/media", "/player")
Handler = Callable[[Request, Exception], Awaitable[Response]]

DRAIN_BYTES_MAX = 64 << 20
DRAIN_MS_MAX = 10_000

_BY_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
}


class _PatientResponse(Response):
    """Answers, then reads on for a while: a client that is still sending would miss the answer."""

    def __init__(self, body: Body, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rest = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        read = 0
        try:
            async with asyncio.timeout(DRAIN_MS_MAX / 1000):
                async for chunk in self._rest.chunks():
                    read += len(chunk)
                    if read > DRAIN_BYTES_MAX:
                        break
        except (TimeoutError, ClientDisconnect):
            pass
        await send({"type": "http.response.body", "body": b""})


def problem_response(
    request: Request,
    code: str,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem+json answer."""
    document = problem_document(code, detail, instance=request.url.path, errors=errors)
    all_headers = {"Access-Control-Allow-Origin": "*", **(headers or {})}
    if request.url.path.startswith("/api/"):
        del all_headers["Access-Control-Allow-Origin"]
    body: Body | None = getattr(request.state, "body", None)
    unread = body is not None and not body.ended
    # A client that waits for "100 Continue" has sent nothing, and reading would tell it to.
    if body is not None and unread and (body.started or "expect" not in request.headers):
        return _PatientResponse(
            body, msgspec.json.encode(document), document["status"], all_headers, PROBLEM_MEDIA_TYPE
        )
    return Response(msgspec.json.encode(document), document["status"], all_headers, PROBLEM_MEDIA_TYPE)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - the table below says so
    return problem_response(request, error.code, error.detail, errors=error.errors, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the table below says so
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return problem_response(request, "malformed_body", "the request body is not valid JSON")
    fields = field_errors(error.errors())
    return problem_response(request, "invalid_request", sentence(fields), errors=fields)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the table below says so
    code = _BY_STATUS.get(
        error.status_code, "malformed_body" if error.status_code < 500 else "internal_error"
    )
    detail = {
        "not_found": f"there is nothing at {request.url.path[:200]}",
        "method_not_allowed": f"{request.url.path[:200]} does not take {request.method}",
    }.get(code) or str(error.detail or HTTPStatus(error.status_code).phrase)
    return problem_response(request, code, detail, headers=error.headers)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the number is what proxies log


async def _store(request: Request, error: Exception) -> Response:
    log.error("store_unavailable", path=request.url.path, error=str(error))
    full = getattr(error, "full", False) or getattr(error, "status", 0) == 507
    if full:
        return problem_response(
            request,
            "disk_full",
            "the disk under the server's database is full; free some space, then try again",
        )
    return problem_response(
        request, "store_unavailable", "the server's database does not answer; try again shortly"
    )


async def _refused(request: Request, error: Exception) -> Response:
    code = "not_found" if getattr(error, "status", 500) == 404 else "illegal_state"
    return problem_response(request, code, str(error))


async def _failed(request: Request, error: Exception) -> Response:
    log.error("request_failed", method=request.method, path=request.url.path, exc_info=error)
    return problem_response(
        request, "internal_error", "the server failed on this request; its log has the details"
    )


HANDLERS: dict[type[Exception], Handler] = {
    ProblemError: _problem,
    RequestValidationError: _invalid,
    HTTPException: _http,
    ClientDisconnect: _gone,
    StoreUnavailableError: _store,
    StoreError: _store,
    RefusedError: _refused,
    InvariantError: _failed,
    EngineError: _failed,
    Exception: _failed,
}
"""Below `PRODUCT_PREFIXES`, the nearest base class of what was raised answers."""


def field_errors(found: Any) -> tuple[FieldError, ...]:
    """Pydantic's findings as ours: the path without the part of the request, and what would be accepted."""
    errors: list[FieldError] = []
    for each in found:
        where = [str(part) for part in each["loc"]]
        if where and where[0] in {"body", "query", "path", "header"}:
            where = where[1:]
        # Branches of a union are no part of the document.
        where = [part for part in where if not part.startswith(("constrained-", "function-", "<"))]
        path = ".".join(where) or "body"
        errors.append(FieldError(path=path, message=str(each["msg"]), accepted=_accepted(each, path)))
    return tuple(errors)


def _accepted(each: Any, path: str) -> list[str] | None:
    if each["type"] == "literal_error":
        listed = str(each.get("ctx", {}).get("expected", ""))
        return [part.strip(" '") for part in listed.replace(" or ", ",").split(",") if part.strip(" '")]
    if each["type"] == "string_pattern_mismatch" and "renditions" in path:
        return list(RENDITION_NAMES)
    return None


def sentence(errors: tuple[FieldError, ...]) -> str:
    """One sentence about the first field at fault."""
    first = errors[0]
    text = f"{first.path}: {first.message[:1].lower()}{first.message[1:]}"
    return f"{text} (accepted: {', '.join(first.accepted)})" if first.accepted else text
