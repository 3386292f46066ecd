"""Reads what a request says beside its path: options, the idempotency key, cursors."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime

import msgspec
from fastapi import Request
from pydantic import ValidationError

from api.videos.errors import ProblemError
from api.videos.handlers import field_errors, sentence
from api.videos.models import CreateVideo, FieldError
from api.videos.options import VideoOptions
from api.videos.uploads import Body

JSON_BYTES_MAX = 256 * 1024
KEY_CHARS_MAX = 255

_KEY = re.compile(rf"[\x21-\x7e]{{1,{KEY_CHARS_MAX}}}")


def options_of(text: bytes) -> VideoOptions:
    """The form's part `options`; raises ProblemError naming the field at fault."""
    try:
        return VideoOptions.model_validate_json(text, strict=False)
    except ValidationError as error:
        found = error.errors()
        if any(each["type"] == "json_invalid" for each in found):
            raise ProblemError("malformed_body", "the part options is not valid JSON") from error
        fields = field_errors(found)
        raise ProblemError("invalid_request", sentence(fields), errors=fields) from error


def require_available(options: VideoOptions) -> None:
    """Raises ProblemError for what this version does not do."""
    if options.callback_url:
        raise ProblemError(
            "not_available_yet",
            "callbackUrl is not available in this version; leave it out",
            errors=[FieldError(path="callbackUrl", message="not available in this version")],
        )


async def json_body(body: Body) -> bytes:
    """A whole body that is JSON; raises ProblemError `too_large`."""
    text = bytearray()
    async for chunk in body.chunks():
        text += chunk
        if len(text) > JSON_BYTES_MAX:
            raise ProblemError("too_large", f"a JSON body may have {JSON_BYTES_MAX} bytes at most")
    return bytes(text)


async def refuse_json(body: Body) -> None:
    """Judge the JSON form of POST /videos, then say that this version has none; raises ProblemError."""
    text = await json_body(body)
    try:
        CreateVideo.model_validate_json(text)
    except ValidationError as error:
        found = error.errors()
        if any(each["type"] == "json_invalid" for each in found):
            raise ProblemError("malformed_body", "the request body is not valid JSON") from error
        fields = field_errors(found)
        raise ProblemError("invalid_request", sentence(fields), errors=fields) from error
    raise ProblemError(
        "not_available_yet",
        "videos from an address and announced uploads are not available in this version; "
        "send the file itself as multipart/form-data",
    )


def checked_key(key: str | None) -> str:
    """The Idempotency-Key, empty for none; raises ProblemError for one that cannot be one."""
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        message = f"must have 1 to {KEY_CHARS_MAX} printable ASCII characters without spaces"
        raise ProblemError(
            "invalid_request",
            f"the header Idempotency-Key {message}",
            errors=[FieldError(path="Idempotency-Key", message=message)],
        )
    return key


def content_length(request: Request) -> int:
    """What the request declares, 0 when it does not."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


def milliseconds(at: datetime | None) -> int:
    """Unix milliseconds, 0 for none."""
    return int(at.timestamp() * 1000) if at else 0


def page_cursor(created_ms: int, video_id: str) -> str:
    """Where a page of videos ended."""
    return encoded([created_ms, video_id])


def read_page_cursor(cursor: str) -> tuple[int, str]:
    """The opposite of `page_cursor`; raises ProblemError."""
    match decoded(cursor):
        case [int(created_ms), str(video_id)]:
            return created_ms, video_id
        case _:
            raise bad_cursor()


def encoded(value: object) -> str:
    """A JSON value as an opaque word."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def decoded(cursor: str) -> object:
    """The opposite of `encoded`; raises ProblemError."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise bad_cursor() from error


def bad_cursor() -> ProblemError:
    """The refusal of a cursor."""
    return ProblemError(
        "invalid_request",
        "cursor: is none of ours; pass nextCursor of the last page, or leave it out for the first",
        errors=[FieldError(path="cursor", message="is none of ours")],
    )
