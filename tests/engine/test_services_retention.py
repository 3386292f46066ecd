"""Retention: what ended long ago goes, a bounded number at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.services import retention
from engine.services.options import Options
from engine.testing.story import task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

KEEP_S = 3_600


async def finished(farm: Farm) -> str:
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")
    await farm.report(polled)
    return workflow_id


async def test_old_ends_go_and_the_rest_stays(reopen: Reopen) -> None:
    """A workflow is deleted when its end is older than the setting; open ones stay however old."""
    farm = reopen(Options(keep_ended_ms=KEEP_S * 1000))
    await farm.register(task("a"))
    old = await finished(farm)
    farm.clock.advance(KEEP_S / 2)
    young = await finished(farm)
    running = await farm.start()
    farm.clock.advance(KEEP_S / 2 + 1)

    await farm.engine.retention.step()

    kept = [one for one in (old, young, running) if await farm.engine.store.load(one) is not None]
    assert kept == [young, running]
    assert farm.engine.retention.deleted == 1


async def test_a_step_deletes_a_batch(reopen: Reopen) -> None:
    """No more than the bound goes at once, and the next step comes soon."""
    farm = reopen(Options(keep_ended_ms=KEEP_S * 1000))
    await farm.register(task("a"))
    for _ in range(retention.BATCH_MAX + 5):
        await finished(farm)
    farm.clock.advance(KEEP_S + 1)

    soon_ms = await farm.engine.retention.step()
    assert farm.engine.retention.deleted == retention.BATCH_MAX
    assert soon_ms == farm.clock.now_ms() + retention.PAUSE_MS_MIN
    later_ms = await farm.engine.retention.step()
    assert farm.engine.retention.deleted == retention.BATCH_MAX + 5
    assert later_ms == farm.clock.now_ms() + retention.LOOK_EVERY_MS


def test_the_pause_follows_the_work() -> None:
    """Retention has a bounded share of the store's time, also of a slow one's, and never stops for good."""
    assert retention.pause_ms(1) == retention.PAUSE_MS_MIN
    assert retention.pause_ms(100) == 100 * retention.PAUSE_TIMES
    assert retention.pause_ms(10**6) == retention.PAUSE_MS_MAX


async def test_without_the_setting_nothing_goes(reopen: Reopen) -> None:
    """It is off unless asked for."""
    farm = reopen()
    await farm.register(task("a"))
    workflow_id = await finished(farm)
    farm.clock.advance(100 * KEEP_S)
    assert await farm.engine.retention.step() is None
    assert await farm.engine.store.load(workflow_id) is not None
