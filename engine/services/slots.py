"""Lets workflows that wait for a slot begin, in order, whenever one may have become free.

The store decides who gets a slot; here it is only asked. So it does no harm to ask too often, or on several
servers at once, and what a crash left undone the next sweep does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from engine.core import events as ev
from engine.core.errors import EngineError, NotFoundError, SlotsTakenError
from engine.core.records import Delta
from engine.core.slots import slot_config
from engine.core.statuses import WorkflowStatus
from engine.ports.stores import ExecutionStore
from engine.services.definitions import Definitions
from engine.services.mailboxes import Mailboxes

log = structlog.get_logger(__name__)

WAITING_READ_MAX = 20
"""Waiting workflows read at first; twice as many again while none of them may begin (paused ones)."""
UNLIMITED = 2**31 - 1


class Slots:
    def __init__(self, store: ExecutionStore, definitions: Definitions, mailboxes: Mailboxes) -> None:
        self._store = store
        self._definitions = definitions
        self._mailboxes = mailboxes
        self._asked: set[str] = set()
        self._serving: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def committed(self, delta: Delta) -> None:
        """After a step: the slot it freed, or found free after all, is for those who wait."""
        header = delta.header
        if header.rate_limit_key is not None and (
            delta.slot_freed or delta.delete or header.rate_limited or delta.status_moved
        ):
            self.look(header.rate_limit_key)

    def look(self, key: str) -> None:
        """See, in the background, whether somebody who waits for a slot of this key may begin."""
        self._asked.add(key)
        if key not in self._serving:
            self._serving.add(key)
            self._in_background(self._serve(key))

    def look_at_all(self) -> None:
        """The same for every key: limits may have changed."""
        self._in_background(self.sweep())

    async def sweep(self) -> None:
        """Look at every key somebody waits for.

        Raises:
            StoreError: the keys cannot be read.
        """
        for key in await self._store.slot_keys_waited_for():
            self.look(key)

    async def idle(self) -> None:
        """Wait until everybody who may begin has begun."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _serve(self, key: str) -> None:
        try:
            while key in self._asked:
                self._asked.discard(key)
                await self._begin_waiting(key)
        except EngineError as error:  # they stay in the store; the next sweep tries again
            log.warning("slots_not_served", key=key, error=str(error))
        finally:
            self._serving.discard(key)

    async def _begin_waiting(self, key: str) -> None:
        """Begin waiting workflows in order until there is no slot left, or nobody who may begin."""
        most = WAITING_READ_MAX
        while True:
            _, waiting = await self._store.slots(key, most)
            begun = 0
            for workflow_id in waiting:
                try:
                    begun += await self._begin(workflow_id)
                except SlotsTakenError:
                    return
            if not begun:
                if len(waiting) < most:
                    return
                most *= 2

    async def _begin(self, workflow_id: str) -> bool:
        stored = await self._store.load(workflow_id)
        if stored is None or stored.header.status is not WorkflowStatus.RUNNING:
            return False
        header = stored.header
        graph = await self._definitions.registered(header.name, header.version)
        if graph is None:
            graph = await self._definitions.frozen(header.definition_hash)
        config = slot_config(graph)
        slots_max = UNLIMITED if config is None else config.concurrent_exec_limit
        try:
            applied = await self._mailboxes.submit(workflow_id, ev.SlotFreed(slots_max=slots_max))
        except NotFoundError:
            return False
        return applied.changed

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("slots_not_served", error=str(error))
