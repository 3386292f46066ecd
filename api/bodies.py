"""Reading request bodies: bounded, and refused when a later reader could not read them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import msgspec

from api.errors import BodyTooLargeError, ClientGoneError
from engine.core.model import MalformedBodyError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
T = TypeVar("T")

BODY_BYTES_MAX = 16 * 1024 * 1024
"""Default bound of a Conductor request's body; upstream's own limits on inputs and outputs are below it."""

NESTING_MAX = 250
"""Containers within containers. A task's output is embedded in other documents, read up to about 1000."""

DISCARDED_BYTES_MAX = 256 * 1024 * 1024
DISCARD_TIMEOUT_S = 10.0
"""How much of a refused body is read, and for how long, before the answer goes out."""

# May be beyond a double: three digits of exponent, or as many digits as the largest double has.
_HUGE_NUMBER = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{309}")


def header(scope: Scope, name: bytes) -> str | None:
    """A request header by its lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


async def read_body(scope: Scope, receive: Receive, bytes_max: int) -> bytes:
    """Read a whole body of at most `bytes_max`.

    Raises:
        BodyTooLargeError: by declaration or by what came.
        ClientGoneError: the client hung up half-way.
    """
    if int(header(scope, b"content-length") or 0) > bytes_max:
        # A client that waits for "100 Continue" has sent nothing yet, and reading would ask for it.
        if header(scope, b"expect") is None:
            await _discard(receive)
        raise BodyTooLargeError(bytes_max)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= bytes_max:
        return body
    parts, size = [body], len(body)
    while size <= bytes_max and message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
    if size <= bytes_max:
        return b"".join(parts)
    if message.get("more_body", False):
        await _discard(receive)
    raise BodyTooLargeError(bytes_max)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Read a JSON body.

    Raises:
        MalformedBodyError: no body, not JSON, a value of the wrong type, or nested deeper than NESTING_MAX.
    """
    if not body:
        raise MalformedBodyError("Required request body is missing")
    try:
        value = decoder.decode(body)
        _check(body)
    except _UNREADABLE as error:
        raise _worded(error) from error
    return value


def readable(body: bytes) -> bytes:
    """The same body, if every later reader can read it; its decoder says whether it is well-formed JSON.

    Raises:
        MalformedBodyError: not UTF-8, a number that no double holds, or nested deeper than NESTING_MAX.
    """
    try:
        _check(body)
    except _UNREADABLE as error:
        raise _worded(error) from error
    return body


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _worded(error: Exception) -> MalformedBodyError:
    if isinstance(error, RecursionError):
        return MalformedBodyError(_too_deep())
    if isinstance(error, msgspec.ValidationError):
        return MalformedBodyError(f"The request body does not fit: {error}")
    return MalformedBodyError(f"The request body is not valid JSON: {error}")


def _check(body: bytes) -> None:
    # A decoder that keeps parts of the body as raw bytes checks those for JSON syntax only.
    if not body.isascii():
        body.decode()
    containers = body.count(b"{") + body.count(b"[")
    if containers > NESTING_MAX or _HUGE_NUMBER.search(body) is not None:
        value = msgspec.json.decode(body)
        if containers > NESTING_MAX and deeper_than(value, NESTING_MAX):
            raise MalformedBodyError(_too_deep())


def deeper_than(value: Any, levels_max: int) -> bool:
    """Whether containers nest deeper than `levels_max`; walks level by level, so depth costs no stack."""
    level = [value]
    for _ in range(levels_max + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return False
    return True


async def _discard(receive: Receive) -> None:
    """Read and drop what the client still sends: one that is cut off while sending never sees the answer."""
    left = DISCARDED_BYTES_MAX
    try:
        async with asyncio.timeout(DISCARD_TIMEOUT_S):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return


def _too_deep() -> str:
    return f"The request body nests deeper than {NESTING_MAX} levels; flatten it"
