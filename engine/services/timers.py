"""Durable timers and the deadlines of queue entries: fires what is due, and says when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from engine.core import events as ev
from engine.core.errors import NotFoundError, RefusedError, StoreError
from engine.core.records import Delta, QueueEntry, Timer
from engine.ports.notifier import Alone, Notifier
from engine.ports.stores import ExecutionStore
from engine.ports.system import Clock
from engine.services.mailboxes import Mailboxes

log = structlog.get_logger(__name__)

BATCH_MAX = 2_000
"""Timers, and deadlines, fired in one call: what is due at one instant is decided in full groups."""
OUTAGE_LEASES_MAX = 10_000
"""Leases renewed after an outage; beyond that they run out as if their workers had been silent."""
FRUITLESS_PAUSE_MS = 1_000
"""How long an entry that led to nothing is left alone, so that it cannot turn the loop into a busy one."""
LOOK_EVERY_MS = 1_000
"""The longest a server sleeps that shares its store: what others wrote may come without a word."""
TAKEOVER_MS = 700
"""What another server should have fired is fired by anybody after so long."""


class Timers:
    def __init__(
        self,
        store: ExecutionStore,
        mailboxes: Mailboxes,
        clock: Clock,
        extend: Callable[[str], Awaitable[bool]],
        notifier: Notifier | None = None,
    ) -> None:
        self._store = store
        self._mailboxes = mailboxes
        self._clock = clock
        self._extend = extend
        self._notifier = notifier or Alone()
        self._fruitless: dict[str, int] = {}
        self._changed: Callable[[int], None] = lambda _: None

    def on_earlier(self, hook: Callable[[int], None]) -> None:
        """Call `hook(at_ms)` whenever something was written that is due at that instant."""
        self._changed = hook

    def note(self, at_ms: int) -> None:
        self._changed(at_ms)

    def committed(self, delta: Delta) -> None:
        for timer in delta.timers_set:
            self._changed(timer.due_ms)

    async def forgive_outage(self) -> int:
        """Renew leases that ran out while no server was there to hear their workers; gives how many.

        Call it once, before the first `fire_due`. A worker that lives beats again within its lease; one that
        died, too, is found out one lease later.
        """
        now_ms = self._clock.now_ms()
        renewed = 0
        for entry in await self._store.due_deadlines(now_ms, OUTAGE_LEASES_MAX):
            if entry.lease is not None and entry.lease.held and await self._extend(entry.task_id):
                renewed += 1
        return renewed

    async def fire_due(self) -> int | None:
        """Fire what is due now, up to a batch of each kind; give the next instant to look, None for none.

        Of several servers the one it falls to fires first, so that one instant is not decided by all of them.
        """
        now_ms = self._clock.now_ms()
        self._fruitless = {key: until for key, until in self._fruitless.items() if until > now_ms}
        batch = BATCH_MAX + len(self._fruitless)  # those left alone must not stand before the others
        timers = [
            timer
            for timer in await self._store.due_timers(now_ms, batch)
            if self._may_fire(_key(timer), timer.workflow_id, timer.due_ms, now_ms)
        ]
        entries = [
            entry
            for entry in await self._store.due_deadlines(now_ms, batch)
            if self._may_fire(entry.task_id, entry.workflow_id, entry.deadline_ms(), now_ms)
        ]
        work = [self._timer(timer) for timer in timers] + [self._deadline(entry) for entry in entries]
        if work:
            await asyncio.gather(*work)
            return now_ms
        next_ms = await self._store.next_instant_ms()
        if self._fruitless:
            soonest = min(self._fruitless.values())
            next_ms = soonest if next_ms is None or next_ms <= now_ms else min(next_ms, soonest)
        if self._notifier.shared:
            look_ms = now_ms + LOOK_EVERY_MS
            return look_ms if next_ms is None else min(next_ms, look_ms)
        return next_ms

    def _may_fire(self, key: str, workflow_id: str, due_ms: int, now_ms: int) -> bool:
        if key in self._fruitless:
            return False
        if now_ms < due_ms + TAKEOVER_MS and not self._notifier.is_mine(workflow_id):
            self._fruitless[key] = due_ms + TAKEOVER_MS
            return False
        return True

    async def _timer(self, timer: Timer) -> None:
        await self._fire(_key(timer), timer.workflow_id, ev.TimerFired(key=timer.key, kind=timer.kind))

    async def _deadline(self, entry: QueueEntry) -> None:
        await self._fire(
            entry.task_id, entry.workflow_id, ev.DeadlinePassed(task_id=entry.task_id, entry=entry)
        )

    async def _fire(self, key: str, workflow_id: str, event: ev.Event) -> None:
        try:
            applied = await self._mailboxes.submit(workflow_id, event)
        except NotFoundError:
            applied = None  # removed meanwhile
        except (RefusedError, StoreError) as error:
            log.warning("timer_not_fired", workflow_id=workflow_id, key=key, error=str(error))
            applied = None
        if applied is None or not applied.changed:
            self._fruitless[key] = self._clock.now_ms() + FRUITLESS_PAUSE_MS


def _key(timer: Timer) -> str:
    return f"{timer.workflow_id}/{timer.key}"
