"""Deletes what ended long ago, a bounded number at a time, so that nobody waits for it."""

from __future__ import annotations

import asyncio

from engine.core.errors import RefusedError, StoreError
from engine.ports.notifier import Notifier
from engine.ports.stores import ExecutionStore
from engine.ports.system import Clock
from engine.services.executions import Executions

BATCH_MAX = 10
"""Workflows deleted in one go; each is a delta of its own, and they ride in one transaction, which everybody
else's writes wait for."""
PAUSE_TIMES = 4
"""The pause after a batch, in times that the batch took: a busy store is left alone for longer."""
PAUSE_MS_MIN = 50
PAUSE_MS_MAX = 10_000
LOOK_EVERY_MS = 60_000
"""Between two looks when nothing was old enough."""


class Retention:
    """Deletes ended workflows older than `keep_ms`; None keeps everything.

    Of several servers one does it. A sub-workflow stays as long as its parent is open.
    """

    def __init__(
        self,
        store: ExecutionStore,
        executions: Executions,
        *,
        notifier: Notifier,
        clock: Clock,
        keep_ms: int | None,
    ) -> None:
        self._store = store
        self._executions = executions
        self._notifier = notifier
        self._clock = clock
        self._keep_ms = keep_ms
        self.deleted = 0

    async def step(self) -> int | None:
        """Delete one batch; gives the next instant to look, None for never."""
        if self._keep_ms is None:
            return None
        now_ms = self._clock.now_ms()
        if not self._notifier.is_mine("retention"):
            return now_ms + LOOK_EVERY_MS
        found = await self._store.ended_before(now_ms - self._keep_ms, BATCH_MAX)
        done = await asyncio.gather(*(self._delete(workflow_id) for workflow_id in found))
        self.deleted += sum(done)
        ended_ms = self._clock.now_ms()
        if not any(done) or len(found) < BATCH_MAX:
            return ended_ms + LOOK_EVERY_MS
        return ended_ms + pause_ms(ended_ms - now_ms)

    async def _delete(self, workflow_id: str) -> bool:
        try:
            await self._executions.remove(workflow_id)
        except (RefusedError, StoreError):
            return False  # brought back or deleted meanwhile, or the store failed: the next look sees
        return True


def pause_ms(took_ms: int) -> int:
    """How long to leave the store alone after a batch."""
    return max(PAUSE_MS_MIN, min(PAUSE_TIMES * took_ms, PAUSE_MS_MAX))
