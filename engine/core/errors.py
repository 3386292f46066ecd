"""What the engine raises on purpose. Each class carries the HTTP status and code that clients see.

EngineError
 |- InvariantError        a bug of ours; nothing was written
 |- RefusedError          the request does not fit the state it met; nothing changed
 |   |- NotFoundError (404)  |- ConflictError (409)
 |   |- InvalidRequestError (400)  |- IllegalStateError (500, upstream's word)
 |   |   |- SearchTooLongError (400)
 |   |- RateLimitedError (429)
 |- StoreError            a back end refused or failed
     |- VersionConflictError  |- OutcomeUnknownError  |- StoreFullError  |- SlotsTakenError
     |- StoreAwayError
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Root of what we raise on purpose."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    retryable: ClassVar[bool] = False


class InvariantError(EngineError):
    """The engine met a state that its own tables forbid: our bug."""


class RefusedError(EngineError):
    """The request does not fit the state it met; nothing was changed."""


class NotFoundError(RefusedError):
    status, code = 404, "NOT_FOUND"


class ConflictError(RefusedError):
    status, code = 409, "CONFLICT"


class InvalidRequestError(RefusedError):
    """A value is not acceptable; `problems` lists path and message of each (may be empty)."""

    status, code = 400, "INVALID_INPUT"

    def __init__(self, message: str, problems: tuple[tuple[str, str, str | None], ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class SearchTooLongError(InvalidRequestError):
    """A search looks at more than it may in its time; a narrower one would not."""

    def __init__(self, ms_max: int) -> None:
        super().__init__(
            f"The search took longer than {ms_max} ms; narrow it, by workflowType, status or startTime"
        )


class IllegalStateError(RefusedError):
    """Upstream answers 500 here (IllegalStateException) and clients compare it, so we do too."""

    status, code = 500, "ILLEGAL_STATE"


class RateLimitedError(RefusedError):
    """A limit that the definition sets is reached, and it says to refuse; try again later."""

    status, code, retryable = 429, "TOO_MANY_REQUESTS", True


class StoreError(EngineError):
    """A back end refused or failed; `__cause__` keeps the driver's own error."""


class VersionConflictError(StoreError):
    """Somebody wrote first; nothing was written. Reload and decide again."""

    status, code, retryable = 409, "CONFLICT", True


class OutcomeUnknownError(StoreError):
    """The write may or may not have landed. Read before writing again."""

    status, code, retryable = 503, "UNAVAILABLE", True


class SlotsTakenError(StoreError):
    """No slot is free for the workflow, or others wait for one; nothing was written."""

    status, code, retryable = 429, "TOO_MANY_REQUESTS", True


class StoreFullError(StoreError):
    """The disk under the store is full; nothing was written."""

    status, code, retryable = 507, "STORAGE_FULL", True


class StoreAwayError(StoreError):
    """What keeps payloads cannot be reached or refuses; nothing was changed, try again later."""

    status, code, retryable = 503, "UNAVAILABLE", True
