"""Documents that are too large, or said to lie elsewhere, are refused where they come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.core.errors import InvalidRequestError
from engine.core.payloads import PAYLOAD_KB_MAX
from engine.services.executions import StartRequest, TaskUpdate
from engine.testing.story import task

if TYPE_CHECKING:
    from .conftest import Farm

TOO_LARGE = "x" * (PAYLOAD_KB_MAX * 1024)


async def test_an_input_beyond_the_bound_starts_nothing(farm: Farm) -> None:
    """In upstream's words."""
    await farm.register(task("a"))

    with pytest.raises(InvalidRequestError, match="of workflow: flow is greater than the permissible limit"):
        await farm.start(text=TOO_LARGE)


async def test_an_output_beyond_the_bound_fails_its_task_for_good(farm: Farm) -> None:
    """The output is dropped, and the reason says how large it was."""
    await farm.register(task("a"))
    workflow_id = await farm.start()

    await farm.report((await farm.poll("a"))[0], text=TOO_LARGE)

    [shown] = (await farm.workflow(workflow_id))["tasks"]
    assert (shown["status"], shown["outputData"]) == ("FAILED_WITH_TERMINAL_ERROR", {})
    assert f"limit: {PAYLOAD_KB_MAX * 1024} bytes" in shown["reasonForIncompletion"]


async def test_a_document_said_to_lie_elsewhere_is_refused(farm: Farm) -> None:
    """Rather than taken for an empty one: the server named no place to put it."""
    await farm.register(task("a"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")

    request = StartRequest(name="flow", external_input_payload_storage_path="p.json")
    with pytest.raises(InvalidRequestError, match="externalInputPayloadStoragePath: this server keeps no"):
        await farm.engine.executions.start(request)
    with pytest.raises(InvalidRequestError, match="externalOutputPayloadStoragePath: this server keeps no"):
        await farm.engine.executions.update(
            TaskUpdate(
                workflow_instance_id=workflow_id,
                task_id=polled["taskId"],
                status="COMPLETED",
                external_output_payload_storage_path="p.json",
            )
        )
