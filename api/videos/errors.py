"""What the product API refuses with: RFC 9457 problems, every code in one catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from api.videos.models import FieldError

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/api/v1/problems/"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its HTTP status, its title, and whether the same request may succeed later."""

    status: int
    title: str
    retryable: bool = False


REQUEST_PROBLEMS: dict[str, Kind] = {
    "invalid_request": Kind(422, "The request has a field that is unknown, missing or out of range"),
    "malformed_body": Kind(400, "The request body cannot be read"),
    "empty_file": Kind(422, "The uploaded file has no bytes"),
    "checksum_mismatch": Kind(422, "The file is not the one that was announced: its sha256 differs"),
    "source_rejected": Kind(422, "The source cannot be processed"),
    "plan_not_made": Kind(503, "No worker made the plan in time", retryable=True),
    "profile_in_use": Kind(409, "The name belongs to a profile that is shipped"),
    "missing_file": Kind(422, "The form has no part named file"),
    "too_large": Kind(413, "The request is larger than this server accepts"),
    "disk_full": Kind(507, "The server's disk has no room for this", retryable=True),
    "unsupported_media_type": Kind(415, "The content type of the request is not accepted here"),
    "not_available_yet": Kind(501, "This part of the interface is not available in this version"),
    "not_found": Kind(404, "There is no such thing here"),
    "method_not_allowed": Kind(405, "This address does not take that method"),
    "illegal_state": Kind(409, "The video's status does not allow this"),
    "idempotency_mismatch": Kind(409, "The Idempotency-Key was used with another request"),
    "idempotency_in_progress": Kind(
        409, "A request with this Idempotency-Key is still being answered", retryable=True
    ),
    "store_unavailable": Kind(503, "The store does not answer", retryable=True),
    "internal_error": Kind(500, "The server failed", retryable=True),
}
"""Codes that a request can be refused with."""

VIDEO_PROBLEMS: dict[str, str] = {
    "empty_file": "The file has no bytes.",
    "not_media": "The file is not a video or audio file.",
    "truncated_no_index": "The file ends before its index, so nothing in it can be found.",
    "truncated": "The file is shorter than it says it is.",
    "no_video": "The file has no picture, and the profile needs one.",
    "too_large_frame": "The frame is larger than the limit.",
    "over_budget": "Decoding the file would take more than the budget.",
    "forbidden_container": "The file points to other files or addresses.",
    "external_reference": "The file keeps its media in another file.",
    "corrupt": "Too much of the file cannot be decoded.",
    "too_short": "The file is too short for the profile.",
    "over_limit": "The file is longer than the limit.",
    "encrypted_source": "The file is encrypted.",
    "too_many_streams": "The file has too many streams.",
    "checksum_mismatch": "The file is not the one that was announced.",
    "no_timestamps": "The file says nowhere when its frames are shown.",
    "not_regular_file": "What stands in the source's place is no plain file.",
    "unsupported_codec": "The picture is stored in a way that is not accepted.",
    "too_small_frame": "The frame is smaller than the limit.",
    "dolby_vision_unsupported": "The Dolby Vision profile of the file has no picture for other screens.",
    "quality_failed": "A rendition stayed below its quality target, encoded again; see details.",
    "package_invalid": "The finished package broke a rule of its check; the report lists what.",
    "disk_full": "A worker had no room left.",
    "processing_failed": "A step failed for another reason; the message and the task say which.",
}
"""Codes in a failed video's `error`; workers may add others, which say so in their message."""


class ProblemError(Exception):
    """A refusal of the product API.

    Args:
        code: a key of `REQUEST_PROBLEMS`.
        detail: one sentence naming the field or file and what to do.
        errors: the fields at fault, if any.
        headers: extra response headers.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = headers or {}

    @property
    def kind(self) -> Kind:
        return REQUEST_PROBLEMS[self.code]


def problem_document(
    code: str, detail: str, *, instance: str, errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """The body of a refusal; `instance` is the path that was asked for."""
    kind = REQUEST_PROBLEMS[code]
    return {
        "type": TYPE_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "instance": instance,
        "retryable": kind.retryable,
        "errors": [error.model_dump(by_alias=True, exclude_none=True) for error in errors],
    }


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Every code, for people and for generated clients."""
    return {
        "requests": [
            {
                "code": code,
                "status": kind.status,
                "reason": HTTPStatus(kind.status).phrase,
                "title": kind.title,
                "retryable": kind.retryable,
            }
            for code, kind in REQUEST_PROBLEMS.items()
        ],
        "videos": [{"code": code, "title": title} for code, title in VIDEO_PROBLEMS.items()],
    }
