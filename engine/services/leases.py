"""Leases that go back to their queue: of polls that went away, and of claims whose outcome nobody knew.

A lease is named by its task and the instant it was written; leases that a poll was given are told apart from
those that a claim of unknown outcome made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from engine.core.errors import OutcomeUnknownError, StoreError
from engine.core.records import Delta, QueueEntry
from engine.ports.stores import Claim, Claimed, ExecutionStore, Release, Write, WriteResult

REPEAT_AFTER_MS = (50, 200, 1_000, 5_000, 15_000)
"""Pauses before a lease that could not be given back is given back again; then it runs out by itself."""
GIVEN_KEPT_MAX = 4_096
"""Leases handed out lately; what a claim of unknown outcome leased is told apart from them."""


class Leases:
    """What this server's polls were given lately, and what is on its way back.

    Args:
        store: where leases are read.
        write: writes one of them; raises StoreError.
        returned: called with each queue entry that is back in its queue.
    """

    def __init__(
        self,
        store: ExecutionStore,
        write: Callable[[Write], Awaitable[WriteResult]],
        returned: Callable[[QueueEntry], None],
    ) -> None:
        self._store = store
        self._write = write
        self._returned = returned
        self._given: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._letting_go: set[tuple[str, int]] = set()  # on their way back: nobody may be given them
        self._background: set[asyncio.Task[Any]] = set()

    def given(self, claimed: Sequence[Claimed]) -> None:
        """A poll has these."""
        for item in claimed:
            self._given[_lease_of(item.entry)] = None
        while len(self._given) > GIVEN_KEPT_MAX:
            self._given.popitem(last=False)

    async def read_back(self, claim: Claim) -> list[Claimed]:
        """What a claim of unknown outcome leased; what cannot be seen yet is released later."""
        found: list[Claimed] = []
        try:
            found = await self._leased_by(claim)
        finally:
            if not found:  # the store does not answer, or the claim may land yet
                self._in_background(self._release_unknown(claim))
        return found

    def abandoned(self, claim: Claim, writing: asyncio.Future[Any]) -> None:
        """The poll went away while its claim was written."""
        if not writing.cancelled() and isinstance(writing.exception(), OutcomeUnknownError):
            self._in_background(self._release_unknown(claim))
        else:
            self._release_result(writing)

    def give_back(self, handing: asyncio.Future[list[Claimed]]) -> None:
        """The poll went away: what is being handed to it goes back to the queue."""
        handing.add_done_callback(self._release_result)

    def recovered(self, delta: Delta) -> None:
        """The delta was written after all: what it leased to polls that were told nothing goes back."""
        for entry in delta.queue_put:
            if entry.lease is not None and entry.lease.held and _lease_of(entry) not in self._given:
                self.let_go(entry)

    def let_go(self, entry: QueueEntry) -> None:
        """Release in the background; from now on no claim that is read back takes the lease for its own."""
        self._letting_go.add(_lease_of(entry))
        self._in_background(self._release(entry))

    # ------------------------------------------------------------------------------------ inside
    async def _leased_by(self, claim: Claim) -> list[Claimed]:
        found = await self._store.leased_at(claim.queue, claim.worker_id, claim.now_ms)
        taken = self._given.keys() | self._letting_go
        return [item for item in found if _lease_of(item.entry) not in taken]

    async def _release_unknown(self, claim: Claim) -> None:
        for pause_ms in REPEAT_AFTER_MS:
            await asyncio.sleep(pause_ms / 1000)
            try:
                found = await self._leased_by(claim)
            except StoreError:
                continue
            for item in found:
                await self._release(item.entry)
            return

    def _release_result(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        result = done.result()
        for item in result if isinstance(result, list) else []:
            self.let_go(item.entry)

    async def _release(self, entry: QueueEntry) -> None:
        update_ms = None if entry.lease is None else entry.lease.update_ms
        release = Release(task_id=entry.task_id, update_ms=update_ms)
        self._letting_go.add(_lease_of(entry))
        try:
            for pause_ms in (*REPEAT_AFTER_MS, None):
                try:
                    await self._write(release)
                    break
                except StoreError:
                    if pause_ms is None:
                        raise
                    await asyncio.sleep(pause_ms / 1000)
        finally:
            self._letting_go.discard(_lease_of(entry))
        self._returned(entry)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, done: asyncio.Task[Any]) -> None:
        self._background.discard(done)
        if not done.cancelled():
            done.exception()  # the lease runs out by itself


def _lease_of(entry: QueueEntry) -> tuple[str, int]:
    return entry.task_id, 0 if entry.lease is None else entry.lease.update_ms
