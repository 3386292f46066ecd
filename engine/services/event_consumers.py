"""Takes events from brokers: each queue that an active handler names is read by a task of its own."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from engine.core.errors import EngineError
from engine.core.event_queues import CONDUCTOR, split_event
from engine.ports.brokers import Broker, Received
from engine.ports.system import Clock
from engine.services.due_loop import DueLoop
from engine.services.events import EventBus

log = structlog.get_logger(__name__)

LOOK_EVERY_MS = 1_000
"""How often a server looks for handlers that others changed. Its own changes it knows at once."""
COUNT_MAX = 10
"""Messages taken and handled at a time from one queue, as upstream does."""
WAIT_MS = 1_000
"""How long a broker is asked to wait for a message."""
PAUSE_MS = 1_000
"""Pause before messages that could not be handled are taken again."""
RETRY_MS_MAX = 30_000
"""A broker that is away is asked again after pauses that double up to this."""
QUEUES_MAX = 200
"""Broker queues one server reads."""


class EventConsumers:
    """Keeps one reader for every broker queue that is wanted; bootstrap repeats `step`."""

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._unserved: set[str] = set()

    @property
    def reading(self) -> set[str]:
        """The events whose queues this server reads."""
        return set(self._readers)

    async def step(self) -> int:
        """Begin and end readers as the handlers want; gives the instant of the next call."""
        wanted: dict[str, tuple[Broker, str]] = {}
        for event in await self._bus.handlers.events():
            kind, queue = split_event(event)
            if kind == CONDUCTOR:
                continue
            broker = self._bus.brokers.get(kind)
            if broker is not None and queue and len(wanted) < QUEUES_MAX:
                wanted[event] = (broker, queue)
            elif event not in self._unserved:
                self._unserved.add(event)
                log.warning("event_queue_not_served", event_name=event)
        for event in [event for event in self._readers if event not in wanted]:
            await _ended(self._readers.pop(event))
        for event, (broker, queue) in wanted.items():
            if event not in self._readers:
                read = partial(self.read_once, event, broker, queue)
                loop = DueLoop(f"reading {event}", read, self._clock, retry_ms_max=RETRY_MS_MAX)
                self._readers[event] = asyncio.get_running_loop().create_task(loop.run())
        return self._clock.now_ms() + LOOK_EVERY_MS

    async def read_once(self, event: str, broker: Broker, queue: str) -> int:
        """Take messages, have them handled, settle them; gives the instant of the next call.

        Raises:
            StoreError: the broker failed.
        """
        received = await broker.receive(queue, count=COUNT_MAX, wait_ms=WAIT_MS)
        if not received:
            return self._clock.now_ms()
        handled = await asyncio.gather(*(self._deliver(event, message) for message in received))
        done = [message for message, fine in zip(received, handled, strict=True) if fine]
        again = [message for message, fine in zip(received, handled, strict=True) if not fine]
        await broker.settle(queue, done=done, again=again)
        return self._clock.now_ms() + (PAUSE_MS if again else 0)

    async def _deliver(self, event: str, message: Received) -> bool:
        try:
            await self._bus.deliver(event, message.payload, message.id)
        except EngineError as error:
            log.warning("event_not_delivered", event_name=event, message_id=message.id, error=str(error))
            return False
        return True

    async def aclose(self) -> None:
        """End all readers, then hang up on the brokers."""
        readers, self._readers = list(self._readers.values()), {}
        for reader in readers:
            await _ended(reader)
        for broker in self._bus.brokers.values():
            await broker.aclose()


async def _ended(reader: asyncio.Task[None]) -> None:
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
