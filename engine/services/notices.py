"""Delivers notices: to the address or the event queue that a definition or the settings name.

A notice is kept as a document until the other side has taken it. One server at a time tries it, with growing
pauses; after a day it is given up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from msgspec import Raw, Struct

from engine.core import messages as m
from engine.core.errors import StoreError
from engine.core.statuses import TaskStatus
from engine.ports.calls import Caller
from engine.ports.documents import Document, DocumentStore
from engine.ports.system import Clock

log = structlog.get_logger(__name__)

KIND = "notice"
FIRST_PAUSE_MS = 1_000
PAUSE_MS_MAX = 300_000
GIVEN_UP_AFTER_MS = 24 * 3_600_000
TRY_MS_MAX = 30_000
"""A try that is not over by then belongs to a server that died."""
PAGE_MAX = 100
TIMEOUT_MS = 10_000

Publish = Callable[[str, bytes, str], Awaitable[None]]
Summary = Callable[[str], Awaitable[dict[str, Any] | None]]


class Waiting(Struct, kw_only=True):
    """A notice that is not taken yet. `body` is what is sent."""

    sink: str
    body: Raw
    since_ms: int
    due_ms: int
    tries: int = 0


class Notices:
    """Notices of this engine.

    Attributes:
        sent, given_up: how many were taken by the other side, and dropped after a day of trying.
    """

    def __init__(
        self,
        documents: DocumentStore,
        clock: Clock,
        *,
        caller: Caller | None,
        publish: Publish,
        summary: Summary,
        default_sink: str,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._caller = caller
        self._publish = publish
        self._summary = summary
        self._default_sink = default_sink
        self._on_due: Callable[[int], None] = lambda _: None
        self.sent = self.given_up = 0

    def on_due(self, note: Callable[[int], None]) -> None:
        """Tell `note(at_ms)` when a try is due."""
        self._on_due = note

    async def take(self, workflow_id: str, message_id: str, notice: m.Notice) -> None:
        """Keep a notice for delivery; a repeat of the message changes nothing.

        Raises:
            StoreError: it is not kept; take it again.
        """
        sink = notice.sink or self._default_sink
        if not sink:
            return  # listening is on, but nobody said where
        body = notice.payload
        if body is None:
            summary = await self._summary(workflow_id)
            if summary is None:
                return  # removed meanwhile
            body = Raw(msgspec.json.encode({**summary, "status": notice.status, "eventType": notice.event}))
        now_ms = self._clock.now_ms()
        waiting = Waiting(sink=sink, body=body, since_ms=notice.at_ms, due_ms=now_ms)
        await self._documents.put(KIND, message_id, msgspec.json.encode(waiting), at_ms=now_ms, expect=0)
        self._on_due(now_ms)

    async def step(self) -> int | None:
        """Try what is due; gives when the next try is."""
        next_ms: int | None = None
        after = ""
        while page := await self._documents.list(KIND, after=after, limit=PAGE_MAX):
            after = page[-1].name
            for document in page:
                waiting = msgspec.json.decode(document.body, type=Waiting)
                due_ms: int | None = waiting.due_ms
                if waiting.due_ms <= self._clock.now_ms():
                    due_ms = await self._try(document, waiting)
                if due_ms is not None:
                    next_ms = due_ms if next_ms is None else min(next_ms, due_ms)
        return next_ms

    async def _try(self, document: Document, waiting: Waiting) -> int | None:
        """Send one; gives when to try again, None when it is done with or somebody else's."""
        now_ms = self._clock.now_ms()
        waiting.tries += 1
        waiting.due_ms = now_ms + TRY_MS_MAX
        revision = await self._documents.put(
            KIND, document.name, msgspec.json.encode(waiting), at_ms=now_ms, expect=document.revision
        )
        if not revision:
            return None
        problem = await self._sent(document.name, waiting)
        now_ms = self._clock.now_ms()
        if problem is None or now_ms - waiting.since_ms >= GIVEN_UP_AFTER_MS:
            self.sent += problem is None
            self.given_up += problem is not None
            if problem is not None:
                log.warning("notice_given_up", sink=waiting.sink, tries=waiting.tries, reason=problem)
            await self._documents.delete(KIND, document.name)
            return None
        waiting.due_ms = now_ms + min(PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** min(waiting.tries - 1, 30))
        await self._documents.put(
            KIND, document.name, msgspec.json.encode(waiting), at_ms=now_ms, expect=revision
        )
        return waiting.due_ms

    async def _sent(self, notice_id: str, waiting: Waiting) -> str | None:
        """Why it was not taken; None when it was."""
        if not waiting.sink.startswith(("http://", "https://")):
            try:
                await self._publish(waiting.sink, bytes(waiting.body), notice_id)
            except StoreError as error:
                return str(error)
            return None
        if self._caller is None:
            return "this server makes no calls"
        request: Mapping[str, Any] = {
            "uri": waiting.sink,
            "method": "POST",
            "body": msgspec.json.decode(waiting.body),
            "headers": {"Idempotency-Key": notice_id},
            "connectionTimeOut": TIMEOUT_MS,
            "readTimeOut": TIMEOUT_MS,
        }
        result = await self._caller.call(request)
        return None if result.status is TaskStatus.COMPLETED else result.reason or "refused"
