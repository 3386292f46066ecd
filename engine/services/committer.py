"""Group commit: writes of many requests ride in one transaction.

Nothing waits on a timer for company: a commit starts as soon as the store is free and takes whatever has
gathered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from engine.core.errors import StoreError
from engine.core.records import Delta
from engine.ports.stores import Claim, ExecutionStore, ExtendLease, Release, Write, WriteResult

GROUP_WRITES_MAX = 256
"""Writes in one transaction; beyond this a group gains nothing and only makes its members wait."""
GROUP_ROWS_MAX = 20_000
"""Rows in one transaction, so that one wide fork does not hold everybody else for seconds."""


class GroupObserver(Protocol):
    """Sees a group just before it is written and just after, and a delta that proved written later."""

    def before(self, group: Sequence[Write]) -> None: ...
    def after(self, group: Sequence[Write], results: Sequence[WriteResult]) -> None: ...
    def recovered(self, delta: Delta) -> None: ...


class _Lane:
    """Writes that wait for their turn, and the group of them that is being written."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Write, asyncio.Future[WriteResult]]] = []
        self.drain: asyncio.Task[None] | None = None

    def take(self) -> list[tuple[Write, asyncio.Future[WriteResult]]]:
        rows, count = 0, 0
        workflows: set[str] = set()
        for write, _ in self.waiting[:GROUP_WRITES_MAX]:
            if isinstance(write, Delta):
                if write.workflow_id in workflows:
                    break  # a removal met a step: the later one meets the other's version
                workflows.add(write.workflow_id)
                rows += write.rows
            else:
                rows += 1
            count += 1
            if rows >= GROUP_ROWS_MAX:
                break
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken


class Committer:
    """Writes groups, one at a time; where the store says so, claims and leases beside the steps."""

    def __init__(self, store: ExecutionStore, observer: GroupObserver) -> None:
        self._store = store
        self._observer = observer
        self._steps = _Lane()
        self._leases = _Lane() if store.leases_apart else self._steps
        self.groups = 0
        self.writes = 0

    async def write(self, write: Write) -> WriteResult:
        """Durable when this returns. A Delta's conflict comes back as a value (see the store's contract).

        Raises:
            StoreError: the group failed as a whole.
        """
        future: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
        lane = self._leases if isinstance(write, Claim | ExtendLease | Release) else self._steps
        lane.waiting.append((write, future))
        if lane.drain is None:
            lane.drain = asyncio.get_running_loop().create_task(self._run(lane))
        return await future

    def recovered(self, delta: Delta) -> None:
        """A delta whose outcome was unknown turned out to be written."""
        self._observer.recovered(delta)

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._steps.drain is not None or self._leases.drain is not None

    async def idle(self) -> None:
        """Wait until nothing is being written."""
        for lane in (self._steps, self._leases, self._steps):
            while lane.drain is not None:
                await asyncio.shield(lane.drain)

    async def _run(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                await self._commit(lane.take())
        finally:
            lane.drain = None

    async def _commit(self, taken: list[tuple[Write, asyncio.Future[WriteResult]]]) -> None:
        group = [write for write, _ in taken]
        results: list[WriteResult]
        try:
            self._observer.before(group)
            results = await self._store.write(group)
        except StoreError as error:
            results = [error] * len(group)
        except Exception as error:  # noqa: BLE001 - whatever the driver raised, every waiter must hear of it
            wrapped = StoreError(f"the store failed: {error}")
            wrapped.__cause__ = error
            results = [wrapped] * len(group)
        self.groups += 1
        self.writes += len(group)
        try:
            self._observer.after(group, results)
        finally:
            for (_, future), result in zip(taken, results, strict=True):
                if not future.done():
                    future.set_result(result)


def raise_failure(result: WriteResult) -> WriteResult:
    """Turn a failure that came back as a value into an exception."""
    if isinstance(result, StoreError):
        raise result
    return result
