"""What keeps the events' documents in order: those that waited for a handler are delivered, old ones go."""

from __future__ import annotations

import structlog

from engine.core.errors import EngineError
from engine.ports.documents import DocumentStore
from engine.ports.system import Clock
from engine.services.events import RECORD_KIND, SEPARATOR, WAITING_KIND, EventBus

log = structlog.get_logger(__name__)

EVERY_MS = 60_000
"""How often a server looks. After a handler was registered on it, it looks at once."""
CLEAN_EVERY_MS = 600_000
KEPT_MS = 7 * 24 * 3_600_000
"""Records, and events of the internal queue that no handler wanted, are kept so long."""
KEPT_MAX = 100_000
"""Documents kept of each of the two kinds, the newest."""
PAGE_MAX = 500
DELETED_MAX = 5_000
"""Documents of one kind that one cleaning deletes; the next goes on."""


class EventUpkeep:
    """One step of upkeep at a time; bootstrap repeats it."""

    def __init__(self, documents: DocumentStore, bus: EventBus, clock: Clock) -> None:
        self._documents = documents
        self._bus = bus
        self._clock = clock
        self._cleaned_ms = clock.now_ms()

    async def step(self) -> int:
        """Deliver what waits, clean up when it is time; gives the instant of the next call."""
        await self.deliver_waiting()
        now_ms = self._clock.now_ms()
        if now_ms - self._cleaned_ms >= CLEAN_EVERY_MS:
            self._cleaned_ms = now_ms
            for kind in (RECORD_KIND, WAITING_KIND):
                deleted = await self.clean(kind)
                if deleted:
                    log.info("events_cleaned", kind=kind, count=deleted)
        return now_ms + EVERY_MS

    async def deliver_waiting(self) -> int:
        """Deliver the events that were published before their event had a handler; gives how many."""
        delivered = 0
        for event in await self._bus.handlers.events():
            prefix, after = event + SEPARATOR, ""
            while page := await self._documents.list(
                WAITING_KIND, prefix=prefix, after=after, limit=PAGE_MAX
            ):
                for document in page:
                    after = document.name
                    try:
                        await self._bus.deliver(event, document.body, document.name.removeprefix(prefix))
                    except EngineError as error:
                        log.warning("waiting_event_not_delivered", event_name=event, error=str(error))
                        continue
                    await self._documents.delete(WAITING_KIND, document.name)
                    delivered += 1
        return delivered

    async def clean(self, kind: str) -> int:
        """Delete documents that are too old, or beyond KEPT_MAX; gives how many."""
        ages: list[tuple[int, str]] = []
        after = ""
        while page := await self._documents.list(kind, after=after, limit=PAGE_MAX):
            ages += [(document.at_ms, document.name) for document in page]
            after = page[-1].name
        ages.sort(reverse=True)
        oldest_ms = self._clock.now_ms() - KEPT_MS
        gone = [name for at, (at_ms, name) in enumerate(ages) if at >= KEPT_MAX or at_ms < oldest_ms]
        for name in gone[-DELETED_MAX:]:
            await self._documents.delete(kind, name)
        return len(gone[-DELETED_MAX:])
