"""Event handlers: register, read, delete. A change takes effect on every server with the next event."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from engine.core.errors import ConflictError, NotFoundError
from engine.core.event_handlers import (
    CompiledHandler,
    EventHandler,
    check_handler,
    compile_handler,
    decode_handler,
    stored_handler,
)
from engine.ports.documents import DocumentStore
from engine.ports.system import Clock
from engine.services.cached_documents import CachedDocuments

KIND = "event_handler"


class EventHandlers:
    """Handlers as documents, compiled in memory."""

    def __init__(self, documents: DocumentStore, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._cache = CachedDocuments(
            documents, KIND, lambda found: compile_handler(stored_handler(found.body)), clock
        )
        self._on_change: Callable[[], None] = lambda: None

    def on_change(self, hook: Callable[[], None]) -> None:
        """Call `hook()` after this server changed a handler."""
        self._on_change = hook

    async def add(self, body: bytes) -> None:
        """Register a handler given as JSON.

        Raises:
            MalformedBodyError, InvalidRequestError: it is none. ConflictError: the name is taken.
        """
        handler = decode_handler(body)
        check_handler(handler, "addEventHandler")
        if not await self._put(handler, expect=0):
            raise ConflictError(f"EventHandler with name {handler.name} already exists!")

    async def update(self, body: bytes) -> None:
        """Replace a handler given as JSON; raises as `add` does, and NotFoundError."""
        handler = decode_handler(body)
        check_handler(handler, "updateEventHandler")
        if await self._documents.get(KIND, str(handler.name)) is None:
            raise NotFoundError(f"EventHandler with name {handler.name} not found!")
        await self._put(handler, expect=None)

    async def delete(self, name: str) -> None:
        """Raises NotFoundError."""
        if not await self._documents.delete(KIND, name):
            raise NotFoundError(f"EventHandler with name {name} not found!")
        await self._changed()

    async def all(self, event: str | None = None, *, active_only: bool = False) -> list[bytes]:
        """Wire JSON of all handlers by name, or of those of one event."""
        found = [stored_handler(document.body) for document in await self._documents.list(KIND)]
        return [
            msgspec.json.encode(handler)
            for handler in found
            if (event is None or handler.event == event) and (handler.active or not active_only)
        ]

    async def active(self, event: str) -> list[CompiledHandler]:
        """The active handlers of an event, by name. Raises StoreError."""
        return [one for one in (await self._cache.all()).values() if one.active and one.event == event]

    async def events(self) -> list[str]:
        """The events that active handlers wait for. Raises StoreError."""
        return sorted({one.event for one in (await self._cache.all()).values() if one.active})

    async def _put(self, handler: EventHandler, expect: int | None) -> bool:
        body = msgspec.json.encode(handler)
        now_ms = self._clock.now_ms()
        written = await self._documents.put(KIND, str(handler.name), body, at_ms=now_ms, expect=expect)
        if written:
            await self._changed()
        return written > 0

    async def _changed(self) -> None:
        await self._cache.changed()
        self._on_change()
