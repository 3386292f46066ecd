"""Engines on the stores of this version, with a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec import Raw

from engine.adapters.calls.http import HttpCaller
from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.adapters.sql.sqlite import SqliteExecutionStore, SqliteMetadataStore
from engine.adapters.sql.sqlite_documents import SqliteDocumentStore
from engine.bootstrap import Engine
from engine.core.model import TaskDef, encode
from engine.ports.documents import DocumentStore
from engine.ports.payloads import PayloadStore
from engine.ports.stores import ExecutionStore, MetadataStore
from engine.services.executions import StartRequest, TaskUpdate, UpdateOutcome
from engine.services.options import Options
from engine.testing.services import FaultyStore, ManualClock, SeededChance
from engine.testing.story import Definition


class Farm:
    """An engine, its clock and its store, with the few verbs a worker and a client have."""

    def __init__(
        self,
        store: ExecutionStore,
        metadata: MetadataStore,
        documents: DocumentStore,
        *,
        clock: ManualClock,
        seed: int,
        options: Options | None = None,
        payloads: PayloadStore | None = None,
    ) -> None:
        self.store = FaultyStore(store)
        self.clock = clock
        self.engine = Engine(
            cast("ExecutionStore", self.store),
            metadata,
            documents,
            scripts=QuickJsRunner(),
            clock=clock,
            chance=SeededChance(seed),
            environment={},
            options=options,
            callers={"HTTP": HttpCaller()},
            payloads=payloads,
        )

    async def register(self, *tasks: Definition, defs: list[TaskDef] | None = None, **members: Any) -> None:
        """Register the workflow `flow` and the task definitions."""
        if defs:
            await self.engine.metadata.register_tasks(encode(defs))
        definition = {"name": "flow", "version": 1, "tasks": list(tasks), **members}
        await self.engine.metadata.register_workflow(msgspec.json.encode(definition), overwrite=True)

    async def start(self, name: str = "flow", **given: Any) -> str:
        return await self.engine.executions.start(StartRequest(name=name, input=given))

    async def poll(self, task_type: str, *, timeout_ms: int = 0, count: int = 1) -> list[dict[str, Any]]:
        polled = await self.engine.queues.poll(
            task_type, domain=None, worker_id="worker", count=count, timeout_ms=timeout_ms
        )
        return [msgspec.json.decode(one) for one in polled]

    async def report(self, polled: dict[str, Any], status: str = "COMPLETED", **output: Any) -> UpdateOutcome:
        return await self.engine.executions.update(
            TaskUpdate(
                workflow_instance_id=polled["workflowInstanceId"],
                task_id=polled["taskId"],
                status=status,
                output_data=Raw(msgspec.json.encode(output)),
            )
        )

    async def workflow(self, workflow_id: str) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(await self.engine.executions.workflow(workflow_id))
        return found

    async def shown(self, workflow_id: str) -> list[str]:
        """`ref STATUS` of every task, by seq."""
        tasks = (await self.workflow(workflow_id))["tasks"]
        return [f"{one['referenceTaskName']} {one['status']}" for one in tasks]

    async def settle(self) -> None:
        """Wait until everything said so far has been delivered."""
        for _ in range(3):
            await self.engine.mailboxes.idle()
            await self.engine.outbox.idle()
            await self.engine.committer.idle()


Reopen = Callable[..., Farm]


@pytest.fixture(params=["memory", "sqlite"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reopen]:
    """Open another engine over the same store: a second server, or the first after a crash."""
    clock = ManualClock()
    shared = (MemoryExecutionStore(), MemoryMetadataStore(), MemoryDocumentStore())
    farms: list[Farm] = []

    def open_one(options: Options | None = None, payloads: PayloadStore | None = None) -> Farm:
        seed = len(farms) + 1
        given: dict[str, Any] = {"clock": clock, "seed": seed, "options": options, "payloads": payloads}
        if request.param == "memory":
            farm = Farm(*shared, **given)
        else:
            store = SqliteExecutionStore(str(tmp_path / "engine.db"), "NORMAL")
            others = SqliteMetadataStore(store.database), SqliteDocumentStore(store.database)
            farm = Farm(store, *others, **given)
        farms.append(farm)
        return farm

    yield open_one
    for farm in farms:
        farm.store.open.set()
        async with asyncio.timeout(10):
            await farm.engine.close()


@pytest.fixture
def farm(reopen: Reopen) -> Farm:
    return reopen()
