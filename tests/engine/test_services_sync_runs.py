"""Waiting for a workflow across servers, and documents that several people change at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from engine.services.executions import StartRequest
from engine.services.tags import Tag
from engine.testing.story import task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

BOUND_S = 30


async def test_a_run_that_another_server_ends_is_heard_of(reopen: Reopen) -> None:
    """Without a word between the servers, the waiting one looks by itself and answers."""
    here, there = reopen(), reopen()
    await here.register(task("a"))

    waiting = asyncio.ensure_future(
        here.engine.sync_runs.execute(
            StartRequest(name="flow", input={}), wait_ms=BOUND_S * 1000, request_id="r1"
        )
    )
    polled: list[dict[str, object]] = []
    async with asyncio.timeout(BOUND_S):
        while not polled:
            polled = await there.poll("a")
            await asyncio.sleep(0)
        await there.report(polled[0], v=1)
        run = msgspec.json.decode(await waiting)

    assert (run["status"], run["output"], run["signalTimeout"]) == ("COMPLETED", {"v": 1}, False)


async def test_nobody_watches_when_nobody_waits(farm: Farm) -> None:
    """A call that was answered leaves nothing behind in the feed."""
    await farm.register(task("n", "NOOP"))

    await farm.engine.sync_runs.execute(StartRequest(name="flow", input={}), wait_ms=1000, request_id="r1")

    assert farm.engine.feed.watched is False


async def test_tags_added_at_once_are_all_kept(reopen: Reopen) -> None:
    """Two servers add tags to one thing; neither loses the other's."""
    here, there = reopen(), reopen()
    tags = [Tag(key=f"k{number}", value=number) for number in range(8)]

    await asyncio.gather(
        *(
            (here if tag.value in (0, 2, 4, 6) else there).engine.tags.add("workflow", "w", [tag])
            for tag in tags
        )
    )

    assert sorted(tag.key for tag in await here.engine.tags.of("workflow", "w")) == [t.key for t in tags]
