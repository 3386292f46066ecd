"""Events that come again: repeats, crashes, stores that fail, handlers that come late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.core.errors import StoreError
from engine.ports.documents import DocumentStore
from engine.services import event_upkeep
from engine.services.events import RECORD_KIND, WAITING_KIND
from engine.testing.services import FaultyDocuments, ManualClock
from engine.testing.story import loop, task

from .conftest import Farm, Reopen

EVENT = "conductor:flow:done"


def start(**given: Any) -> dict[str, Any]:
    return {"action": "start_workflow", "start_workflow": {"name": "flow", "input": {"x": "${x}"}, **given}}


def handler(*actions: dict[str, Any], **members: Any) -> bytes:
    given = {"name": "h", "event": EVENT, "active": True, "actions": list(actions) or [start()]}
    return msgspec.json.encode(given | members)


async def publish(farm: Farm, payload: Any, message_id: str = "m1", event: str = EVENT) -> None:
    await farm.engine.events.publish(event, msgspec.json.encode(payload), message_id)


async def records(farm: Farm, name: str = "h") -> list[dict[str, Any]]:
    return [msgspec.json.decode(one) for one in await farm.engine.events.records(name)]


async def running(farm: Farm, name: str = "flow") -> list[dict[str, Any]]:
    ids = await farm.engine.executions.running(name, version=None, start_ms=None, end_ms=None)
    return [await farm.workflow(one) for one in ids]


@pytest.fixture
async def farm(farm: Farm) -> Farm:
    await farm.register(task("a"))
    return farm


async def test_a_repeated_message_is_acted_on_once(reopen: Reopen, farm: Farm) -> None:
    """However often, and by how many servers at a time, a message is delivered."""
    other = reopen()
    await farm.engine.event_handlers.add(handler(start(), start(input={"x": "two"})))

    await asyncio.gather(*(publish(one, {"x": 1}) for one in (farm, other, farm)))
    await publish(other, {"x": 1})

    assert len(await running(farm)) == 2
    assert [one["id"] for one in await records(farm)] == ["m1_0", "m1_1"]


async def test_handlers_of_one_event_are_apart(farm: Farm) -> None:
    """Each handler acts, and has its own records for the same message."""
    await farm.engine.event_handlers.add(handler(name="h"))
    await farm.engine.event_handlers.add(handler(name="h2", condition="false"))
    await farm.engine.event_handlers.add(handler(name="other", event="conductor:other"))

    await publish(farm, {"x": 1})

    assert [one["status"] for one in await records(farm, "h")] == ["COMPLETED"]
    assert [one["status"] for one in await records(farm, "h2")] == ["SKIPPED"]
    assert await records(farm, "other") == []


@pytest.fixture
async def faulty() -> AsyncIterator[Farm]:
    documents = cast("DocumentStore", FaultyDocuments(MemoryDocumentStore()))
    farm = Farm(MemoryExecutionStore(), MemoryMetadataStore(), documents, clock=ManualClock(), seed=1)
    await farm.register(task("a"))
    yield farm
    async with asyncio.timeout(10):
        await farm.engine.close()


async def test_a_crash_between_action_and_record(faulty: Farm) -> None:
    """The message is not done then; delivered again, it finds the workflow that it started."""
    await faulty.engine.event_handlers.add(handler())
    cast("FaultyDocuments", faulty.engine.documents).failing[RECORD_KIND] = 1

    with pytest.raises(StoreError):
        await publish(faulty, {"x": 1})
    await publish(faulty, {"x": 1})

    assert len(await running(faulty)) == 1
    assert len(await records(faulty)) == 1


async def test_a_crash_after_an_iteration_was_completed(
    faulty: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message meant the iteration it ended; delivered again, it leaves the next one alone."""
    await faulty.register(loop("l", 3, task("w", "WAIT")))
    workflow_id = await faulty.start()
    said = {"workflowId": "${id}", "taskRefName": "w"}
    await faulty.engine.event_handlers.add(handler({"action": "complete_task", "complete_task": said}))
    documents = cast("FaultyDocuments", faulty.engine.documents)
    update = faulty.engine.executions.update

    async def update_then_break(*given: Any) -> Any:
        outcome = await update(*given)
        documents.failing[RECORD_KIND] = 1
        return outcome

    with monkeypatch.context() as crash:
        crash.setattr(faulty.engine.executions, "update", update_then_break)
        with pytest.raises(StoreError):
            await publish(faulty, {"id": workflow_id})
    await publish(faulty, {"id": workflow_id})

    shown = await faulty.shown(workflow_id)
    assert shown == ["l IN_PROGRESS", "w__1 COMPLETED", "w__2 IN_PROGRESS"]


async def test_a_store_that_fails_keeps_the_message(farm: Farm) -> None:
    """What could not be written is no failed action: it is done when the store is back."""
    await farm.engine.event_handlers.add(handler())
    farm.store.faults.extend(["fails"])

    with pytest.raises(StoreError):
        await publish(farm, {"x": 1})
    assert await records(farm) == []
    await publish(farm, {"x": 1})

    assert len(await running(farm)) == 1


async def test_an_event_waits_for_its_handler(farm: Farm) -> None:
    """What was published before anybody wanted it is delivered when somebody does, once."""
    await farm.engine.event_handlers.add(handler(active=False))
    for number in range(3):
        await publish(farm, {"x": number}, f"m{number}")
    assert await farm.engine.event_upkeep.deliver_waiting() == 0

    await farm.engine.event_handlers.update(handler())
    assert await farm.engine.event_upkeep.deliver_waiting() == 3
    assert await farm.engine.event_upkeep.deliver_waiting() == 0

    assert sorted(one["input"]["x"] for one in await running(farm)) == [0, 1, 2]


async def test_old_documents_go(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and waiting events are kept by age and by number, the newest longest."""
    monkeypatch.setattr(event_upkeep, "KEPT_MAX", 4)
    await farm.engine.event_handlers.add(handler())
    await publish(farm, {}, "nobody", "conductor:nobody")
    await publish(farm, {}, "old")
    farm.clock.at_ms += event_upkeep.KEPT_MS + 1
    for number in range(6):
        farm.clock.at_ms += 1
        await publish(farm, {}, f"m{number}")

    assert await farm.engine.event_upkeep.clean(RECORD_KIND) == 3
    assert await farm.engine.event_upkeep.clean(WAITING_KIND) == 1

    assert [one["messageId"] for one in await records(farm)] == ["m2", "m3", "m4", "m5"]
