"""Live events of videos: in order, and kept for a while so that a client that lost its line can go on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct

EVENTS_KEPT_MAX = 512
"""Events of one video that a client can still ask for."""
VIDEOS_KEPT_MAX = 2_000
"""Videos whose events are kept, those that moved last."""
WAITING_MAX = 1_024
"""Events that one slow client may leave waiting; it is cut off then and comes back by itself."""
KEEPALIVE_MS = 15_000


class Event(Struct, kw_only=True, frozen=True):
    """`number` counts the events of one video from 1 within one life of the server."""

    number: int
    name: str
    data: dict[str, Any]


class EventHub:
    """Publishes in the event loop's thread.

    Args:
        epoch: names this life of the server, so that numbers of an earlier one are not mistaken for ours.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._kept: OrderedDict[str, deque[Event]] = OrderedDict()
        self._numbers: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Queue[Event | None]]] = {}
        self._closed = False

    def publish(self, video_id: str, name: str, data: dict[str, Any]) -> None:
        number = self._numbers.get(video_id, 0) + 1
        self._numbers[video_id] = number
        event = Event(number=number, name=name, data=data)
        self._kept.setdefault(video_id, deque(maxlen=EVENTS_KEPT_MAX)).append(event)
        self._kept.move_to_end(video_id)
        while len(self._kept) > VIDEOS_KEPT_MAX:
            # The number goes on, so that an id is never used twice.
            self._kept.popitem(last=False)
        for queue in self._waiting.get(video_id, ()):
            if queue.full():
                queue.get_nowait()
                queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def event_id(self, event: Event) -> str:
        return f"{self._epoch}-{event.number}"

    def last_number(self, video_id: str) -> int:
        return self._numbers.get(video_id, 0)

    def since(self, video_id: str, last_event_id: str) -> list[Event] | None:
        """What came after that event; None when that cannot be told any more, or the id is not ours."""
        epoch, _, number = last_event_id.rpartition("-")
        if epoch != self._epoch or not number.isdigit() or int(number) > self.last_number(video_id):
            return None
        kept = self._kept.get(video_id, deque())
        if int(number) < self.last_number(video_id) and (not kept or kept[0].number > int(number) + 1):
            return None
        return [event for event in kept if event.number > int(number)]

    @asynccontextmanager
    async def subscribe(self, video_id: str) -> AsyncIterator[asyncio.Queue[Event | None]]:
        """A queue of the video's events from now on; None ends it."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(WAITING_MAX)
        if self._closed:
            queue.put_nowait(None)
        self._waiting.setdefault(video_id, set()).add(queue)
        try:
            yield queue
        finally:
            waiting = self._waiting[video_id]
            waiting.discard(queue)
            if not waiting:
                del self._waiting[video_id]

    def close(self) -> None:
        """End every stream: the server stops."""
        self._closed = True
        for queues in self._waiting.values():
            for queue in queues:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(None)


async def stream(
    hub: EventHub,
    video_id: str,
    last_event_id: str,
    current: Callable[[], Iterable[tuple[str, dict[str, Any]]]],
    keepalive_ms: int = KEEPALIVE_MS,
) -> AsyncGenerator[bytes]:
    """Server-sent events of a video, without end: what was missed, or else the state now, then what comes.

    Args:
        hub: where the events are published.
        video_id: whose.
        last_event_id: the client's Last-Event-ID, empty on a first connection.
        current: the state as events, for a client whose place is not known.
        keepalive_ms: a comment is sent after so long a silence, so that proxies keep the line.
    """
    async with hub.subscribe(video_id) as queue:
        seen = hub.last_number(video_id)
        missed = hub.since(video_id, last_event_id) if last_event_id else None
        state = [] if missed is not None else list(current())
        if missed is not None:
            for event in missed:
                yield _encode(hub.event_id(event), event.name, event.data)
        else:
            here = hub.event_id(Event(number=seen, name="", data={}))
            for name, data in state:
                yield _encode(here, name, data)
        while True:
            try:
                event_or_end = await asyncio.wait_for(queue.get(), keepalive_ms / 1000)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if event_or_end is None:
                return
            if event_or_end.number > seen:
                yield _encode(hub.event_id(event_or_end), event_or_end.name, event_or_end.data)


def _encode(event_id: str, name: str, data: dict[str, Any]) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event_id.encode(), name.encode(), msgspec.json.encode(data))
