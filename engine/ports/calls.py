"""Effects that the server carries out for a task: an HTTP request, a message to Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from engine.core.statuses import TaskStatus


class CallResult(Struct, kw_only=True, frozen=True):
    """How a call ended.

    Attributes:
        status: COMPLETED, FAILED (may be retried) or FAILED_WITH_TERMINAL_ERROR.
        output: the task's output, a JSON object.
        reason: one sentence for whoever reads the task, when it failed.
    """

    status: TaskStatus
    output: dict[str, Any] = {}
    reason: str | None = None


class Caller(Protocol):
    """Carries out one type's calls; safe for many at once, and cancelling one abandons it."""

    async def call(self, given: Mapping[str, Any]) -> CallResult:
        """Carry out what a task asks for; never raises for what the other side does.

        Args:
            given: the task's input, secrets filled in; the caller keeps them out of the texts it gets.
        """
        ...

    async def aclose(self) -> None:
        """Drop connections."""
        ...
