"""Live events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from api.videos.events import EVENTS_KEPT_MAX, WAITING_MAX, EventHub, stream


def hub_with(count: int) -> EventHub:
    hub = EventHub("e1")
    for number in range(1, count + 1):
        hub.publish("v", "progress", {"n": number})
    return hub


async def first(content: AsyncIterator[bytes], count: int) -> list[bytes]:
    return [await asyncio.wait_for(anext(content), 5) for _ in range(count)]


def test_what_was_missed_is_told_in_order() -> None:
    """After an event's id come exactly the later ones."""
    missed = hub_with(5).since("v", "e1-3")

    assert missed is not None
    assert [event.data["n"] for event in missed] == [4, 5]


def test_an_id_of_another_life_or_too_old_is_not_guessed() -> None:
    """An id that is not ours, malformed, from the future or forgotten answers None: the state is sent."""
    hub = hub_with(EVENTS_KEPT_MAX + 10)

    for unknown in ("e0-3", "nonsense", "e1-", "e1-x", "e1-5", f"e1-{EVENTS_KEPT_MAX + 11}"):
        assert hub.since("v", unknown) is None
    assert hub.since("v", f"e1-{EVENTS_KEPT_MAX + 10}") == []


async def test_a_new_client_gets_the_state_and_then_changes() -> None:
    """First the state under the id of the last event, then what is published; nothing twice."""
    hub = hub_with(2)
    content = stream(hub, "v", "", lambda: [("status", {"status": "processing"})])

    [state] = await first(content, 1)
    hub.publish("v", "progress", {"n": 3})
    [change] = await first(content, 1)

    assert state == b'id: e1-2\nevent: status\ndata: {"status":"processing"}\n\n'
    assert change == b'id: e1-3\nevent: progress\ndata: {"n":3}\n\n'
    await content.aclose()


async def test_a_returning_client_gets_no_state() -> None:
    """With the last id only the missed events come."""
    hub = hub_with(3)
    content = stream(hub, "v", "e1-1", lambda: [("status", {})])

    assert [part.split(b"\n")[0] for part in await first(content, 2)] == [b"id: e1-2", b"id: e1-3"]
    await content.aclose()


async def test_silence_is_filled() -> None:
    """A comment keeps the line open."""
    content = stream(EventHub("e1"), "v", "", list, keepalive_ms=10)

    assert (await first(content, 1))[0].startswith(b":")
    await content.aclose()


async def test_a_slow_client_is_cut_off_and_closing_ends_all() -> None:
    """A full queue ends with None, so that the client reconnects; so does the server's end."""
    hub = EventHub("e1")
    async with hub.subscribe("v") as queue:
        for number in range(WAITING_MAX + 1):
            hub.publish("v", "progress", {"n": number})
        drained = [queue.get_nowait() for _ in range(queue.qsize())]
    assert drained[-1] is None

    content = stream(hub, "v", "", list)
    waiting = asyncio.ensure_future(anext(content, b"end"))
    await asyncio.sleep(0)
    hub.close()
    assert await asyncio.wait_for(waiting, 5) == b"end"
