"""Errors as Conductor's clients read them: one small JSON object, its status chosen by the error's class.

The product API (`/api/v1`, `/media`) answers in its own format: its handlers are given to `install`, and a
request below its prefixes goes to them first.
"""

from __future__ import annotations

import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import UNSET, Struct, UnsetType
from starlette.exceptions import HTTPException

from engine.core.errors import EngineError, InvalidRequestError, InvariantError, StoreError
from engine.core.model import MalformedBodyError

log = structlog.get_logger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Response]]

INVALID_MESSAGE = "Validation failed, check below errors for detail."
JSON = "application/json"

# Every answer of one server names the machine it came from, as upstream does.
INSTANCE = socket.gethostname()


class BodyTooLargeError(Exception):
    """The request's body is over the bound; nothing of it was used."""

    status: ClassVar[int] = 413
    code: ClassVar[str] = "BODY_TOO_LARGE"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The request body is larger than {bytes_max} bytes; pass a reference to the data")


class BadParameterError(Exception):
    """A path or query parameter cannot be read; upstream answers 500 here and clients compare it."""


class ForbiddenError(Exception):
    """Nobody may do this through the API."""


class ClientGoneError(Exception):
    """The client hung up; nobody reads an answer."""


class ValidationProblem(Struct, kw_only=True, rename="camel"):
    """One thing that is wrong with a value: where it stands, and why."""

    path: str
    message: str
    invalid_value: str | UnsetType = UNSET


class ErrorResponse(Struct, kw_only=True, rename="camel"):
    """What every refused or failed request answers. `retryable`: the same request may succeed later."""

    status: int
    message: str
    retryable: bool = False
    code: str | UnsetType = UNSET
    instance: str | UnsetType = UNSET
    validation_errors: list[ValidationProblem] | UnsetType = UNSET


def answer_for(error: Exception) -> ErrorResponse:
    """Word an error for the client; anything unexpected says only where to look."""
    if isinstance(error, InvalidRequestError) and error.problems:
        problems = [
            ValidationProblem(path=path, message=text, invalid_value=UNSET if value is None else value)
            for path, text, value in error.problems
        ]
        return ErrorResponse(status=error.status, message=INVALID_MESSAGE, validation_errors=problems)
    if isinstance(error, StoreError):
        # Upstream has no such statuses, so a code is free to say what they are.
        return ErrorResponse(
            status=error.status,
            message=str(error),
            retryable=error.retryable,
            code=error.code,
            instance=INSTANCE,
        )
    if isinstance(error, EngineError) and not isinstance(error, InvariantError):
        return ErrorResponse(status=error.status, message=str(error), instance=INSTANCE)
    if isinstance(error, BodyTooLargeError):
        return ErrorResponse(status=413, message=str(error), code=error.code, instance=INSTANCE)
    if isinstance(error, ForbiddenError):
        return ErrorResponse(status=403, message=str(error), instance=INSTANCE)
    if isinstance(error, MalformedBodyError | BadParameterError):
        return ErrorResponse(status=500, message=str(error), instance=INSTANCE)
    message = f"The server failed on this request ({type(error).__name__}); its log has the details"
    return ErrorResponse(status=500, message=message, instance=INSTANCE)


def expected(error: Exception) -> bool:
    """Whether the error is an answer to the client, or a failure that belongs into the log."""
    if isinstance(error, InvariantError | StoreError):
        return False
    expected_here = MalformedBodyError | BadParameterError | BodyTooLargeError | ForbiddenError
    return isinstance(error, EngineError | expected_here)


def encode_error(error: Exception) -> tuple[int, bytes]:
    """Status and JSON body of an error's answer."""
    answer = answer_for(error)
    return answer.status, msgspec.json.encode(answer)


def error_response(error: Exception) -> Response:
    status, body = encode_error(error)
    return Response(body, status, media_type=JSON)


def log_failure(error: Exception, *, method: str, path: str, request_id: str | None) -> None:
    # As text: renderers of exc_info may print local variables, and those hold what users sent.
    trace = "".join(traceback.format_exception(error))
    log.error("request_failed", method=method, path=path, request_id=request_id, traceback=trace)


def install(
    app: FastAPI, *, product_prefixes: Sequence[str], product: Mapping[type[Exception], Handler]
) -> None:
    """Answer errors in Conductor's format, or below `product_prefixes` by the product's own handlers.

    Args:
        app: gets the handlers.
        product_prefixes: path prefixes, without a closing slash.
        product: handlers by exception class; the nearest base class of what was raised is taken.
    """

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, ClientGoneError):
            return Response(status_code=499)  # nobody reads it; the number is what proxies log
        if below(request.url.path, product_prefixes):
            handler = next((product[c] for c in type(error).__mro__ if c in product), None)
            if handler is not None:
                return await handler(request, error)
        if isinstance(error, EngineError) and not expected(error):
            request_id = request.headers.get("x-request-id")
            log_failure(error, method=request.method, path=request.url.path, request_id=request_id)
        return _conductor_answer(request, error)

    ours = (
        EngineError,
        MalformedBodyError,
        BadParameterError,
        BodyTooLargeError,
        ForbiddenError,
        ClientGoneError,
        RequestValidationError,
        HTTPException,
        Exception,
    )
    for kind in {*ours, *product}:
        app.add_exception_handler(kind, handle)


def below(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def _conductor_answer(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        return error_response(BadParameterError(_parameter_sentence(error)))
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            message = f"No such URL: {request.method} {request.url.path}"
        elif error.status_code == 405:
            message = f"Request method '{request.method}' is not supported for {request.url.path}"
        else:
            message = str(error.detail)
        body = msgspec.json.encode(
            ErrorResponse(status=error.status_code, message=message, instance=INSTANCE)
        )
        return Response(body, error.status_code, headers=error.headers, media_type=JSON)
    response = error_response(error)
    if isinstance(error, BodyTooLargeError):
        response.headers["connection"] = "close"
    return response


def _parameter_sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where = " ".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"Required parameter is missing: {where}"
    return f'Failed to convert the value of {where}: {first["msg"]}; for input string: "{first["input"]}"'
