"""The loop that repeats a step when it is due."""

from __future__ import annotations

import asyncio

import pytest

from engine.core.errors import StoreError
from engine.services.due_loop import DueLoop
from engine.testing.services import ManualClock

BOUND_S = 10


@pytest.mark.parametrize("turns", range(4))
async def test_a_loop_that_is_woken_and_ended_at_once_ends(turns: int) -> None:
    """The end is not lost when it comes together with something to do."""
    stepped = asyncio.Event()

    async def step() -> None:
        stepped.set()

    loop = DueLoop("step", step, ManualClock())
    running = asyncio.get_running_loop().create_task(loop.run())
    async with asyncio.timeout(BOUND_S):
        await stepped.wait()
        await asyncio.sleep(0)  # it goes to sleep
        loop.note(0)
        for _ in range(turns):
            await asyncio.sleep(0)
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=BOUND_S)

    assert ended


async def test_a_step_that_fails_is_tried_again() -> None:
    """Neither a store that is away nor a bug ends the loop."""
    outcomes = [StoreError("away"), ValueError("bug")]
    done = asyncio.Event()
    clock = ManualClock()

    async def step() -> int:
        clock.advance(2)  # the pause after a failure is over
        if outcomes:
            raise outcomes.pop()
        done.set()
        return clock.now_ms() + 60_000

    loop = DueLoop("step", step, clock)
    running = asyncio.get_running_loop().create_task(loop.run())
    async with asyncio.timeout(BOUND_S):
        while not done.is_set():
            loop.note(0)
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_said_during_a_step_is_not_forgotten() -> None:
    """A step that looked before something became due is called again for it."""
    clock = ManualClock()
    now_ms = clock.now_ms()
    steps = 0
    again = asyncio.Event()

    async def step() -> int | None:
        nonlocal steps
        steps += 1
        if steps == 2:
            loop.note(now_ms)
            return None
        if steps == 3:
            again.set()
            return None
        return now_ms - 1

    loop = DueLoop("step", step, clock)
    running = asyncio.get_running_loop().create_task(loop.run())
    async with asyncio.timeout(BOUND_S):
        await again.wait()
    running.cancel()
    await asyncio.wait({running}, timeout=BOUND_S)
