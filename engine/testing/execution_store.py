"""The contract of ExecutionStore, one test a promise.

A store's test subclasses ExecutionStoreContract, supplies the fixtures `store` (a fresh one) and `reopen`
(close it and open it again on the same data) and declares what it is capable of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from engine.ports.stores import ExecutionStore
from engine.testing.builders import accepted, creation, entry, everything, task
from engine.testing.store_commits import CommitContract
from engine.testing.store_limits import LaneContract, SlotContract, TaskLimitContract
from engine.testing.store_queues import QueueContract
from engine.testing.store_reads import ReadContract
from engine.testing.store_search import SearchContract
from engine.testing.store_task_search import TaskSearchContract

Reopen = Callable[[], Awaitable[ExecutionStore]]


class ExecutionStoreContract(
    CommitContract,
    QueueContract,
    LaneContract,
    TaskLimitContract,
    SlotContract,
    ReadContract,
    SearchContract,
    TaskSearchContract,
):
    """All promises of the port.

    Attributes:
        durable: what was acknowledged is there when the store is opened again.
    """

    durable: ClassVar[bool]

    async def test_what_is_acknowledged_outlives_the_store(
        self, store: ExecutionStore, reopen: Reopen
    ) -> None:
        """After a reopen a durable store tells the same as before, any other starts empty."""
        made = task("w1", "t1")
        await accepted(store, creation("w1", tasks_new=[made], queue_put=[entry("w1", "t1")]))
        before = await everything(store, "w1")

        again = await reopen()

        if self.durable:
            assert await everything(again, "w1") == before
        else:
            assert await again.load("w1") is None
            assert await again.queue_detail() == {}
