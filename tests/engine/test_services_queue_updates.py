"""Messages of the default event queues, for tasks that wait."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.errors import InvalidRequestError, StoreError
from engine.core.model import MalformedBodyError
from engine.testing.story import loop, task

from .conftest import Farm


async def test_a_queue_message_completes_a_waiting_task(farm: Farm) -> None:
    """By reference or by task id; the output is merged; nothing waits afterwards."""
    await farm.register(task("w", "WAIT"), task("v", "WAIT"))
    workflow_id = await farm.start()
    updates = farm.engine.queue_updates

    await updates.post(workflow_id, "COMPLETED", {"k": 1}, ref="w")
    [_, second] = (await farm.workflow(workflow_id))["tasks"]
    await updates.post(workflow_id, "FAILED", {"k": 2}, task_id=second["taskId"])

    tasks = (await farm.workflow(workflow_id))["tasks"]
    assert [(one["status"], one["outputData"]) for one in tasks] == [
        ("COMPLETED", {"k": 1}),
        ("FAILED", {"k": 2}),
    ]
    assert await updates.sizes() == {"COMPLETED": 0, "FAILED": 0}


async def test_a_queue_message_survives_a_store_that_fails(farm: Farm) -> None:
    """Accepted is accepted: it is handed over when the store is back."""
    await farm.register(task("w", "WAIT"))
    workflow_id = await farm.start()
    farm.store.faults.extend(["fails"])

    await farm.engine.queue_updates.post(workflow_id, "COMPLETED", {}, ref="w")
    assert (await farm.workflow(workflow_id))["status"] == "RUNNING"
    assert await farm.engine.queue_updates.sizes() == {"COMPLETED": 1, "FAILED": 0}
    await farm.engine.queue_updates.step()

    assert (await farm.workflow(workflow_id))["status"] == "COMPLETED"


async def test_a_queue_message_means_one_iteration(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash between the task's end and the message's, the next iteration is left alone."""
    await farm.register(loop("l", 3, task("w", "WAIT")))
    workflow_id = await farm.start()
    updates = farm.engine.queue_updates

    async def crash(*_: Any) -> bool:
        raise StoreError("the server is gone")

    with monkeypatch.context() as dying:
        dying.setattr(farm.engine.documents, "delete", crash)
        with pytest.raises(StoreError):
            await updates.post(workflow_id, "COMPLETED", {}, ref="w")
    await updates.step()

    assert await farm.shown(workflow_id) == ["l IN_PROGRESS", "w__1 COMPLETED", "w__2 IN_PROGRESS"]
    assert await updates.sizes() == {"COMPLETED": 0, "FAILED": 0}


async def test_queue_messages_that_make_no_sense(farm: Farm) -> None:
    """A status without a queue is refused with upstream's text; an unknown task is nothing to wait for."""
    updates = farm.engine.queue_updates
    with pytest.raises(InvalidRequestError, match="There is no queue for handling SCHEDULED status"):
        await updates.post("w", "SCHEDULED", {}, ref="x")
    with pytest.raises(MalformedBodyError, match="NONSENSE"):
        await updates.post("w", "NONSENSE", {}, ref="x")

    await updates.post("w", "COMPLETED", {}, ref="x")
    await updates.post("w", "COMPLETED", {}, task_id="x")

    assert await updates.sizes() == {"COMPLETED": 0, "FAILED": 0}
