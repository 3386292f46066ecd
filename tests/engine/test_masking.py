"""maskedFields: hidden from whoever reads, present for whoever works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from engine.services.executions import TaskUpdate
from engine.services.masking import masked
from engine.testing.story import task

if TYPE_CHECKING:
    from .conftest import Farm

GIVEN: dict[str, Any] = {"card": {"number": 4711}, "who": "n", "list": [{"pin": 1}], "pin": None}
HIDDEN = {"card": "***", "who": "n", "list": [{"pin": "***"}], "pin": None}


async def _begun(farm: Farm) -> str:
    taken = {"all": "${workflow.input}"}
    await farm.register(
        task("v", "SET_VARIABLE", inputParameters=taken),
        task("a", inputParameters=taken),
        maskedFields=["card", "pin"],
        outputParameters={"out": "${a.output}"},
    )
    return await farm.start(**GIVEN)


async def test_reads_hide_what_the_worker_sees(farm: Farm) -> None:
    """Input, variables, task inputs and outputs, the output, whether a workflow runs or has ended."""
    workflow_id = await _begun(farm)

    [polled] = await farm.poll("a")
    await farm.report(polled, pin=99, ok=True)

    assert polled["inputData"] == {"all": GIVEN}
    shown = await farm.workflow(workflow_id)
    assert shown["input"] == HIDDEN
    assert shown["variables"] == {"all": HIDDEN}
    assert shown["output"] == {"out": {"pin": "***", "ok": True}}
    assert [one["inputData"] for one in shown["tasks"]] == [{"all": HIDDEN}] * 2
    assert shown["tasks"][1]["outputData"] == {"pin": "***", "ok": True}


async def test_every_way_to_read_hides_it(farm: Farm) -> None:
    """A task alone, its progress, status with output and variables, pages of tasks, search."""
    workflow_id = await _begun(farm)
    [polled] = await farm.poll("a")
    await farm.engine.executions.update(
        TaskUpdate(
            workflow_instance_id=workflow_id,
            task_id=polled["taskId"],
            status="IN_PROGRESS",
            extend_lease=True,
            output_data=Raw(b'{"pin":5}'),
        )
    )
    reads = farm.engine.executions

    one: dict[str, Any] = msgspec.json.decode(await reads.task(polled["taskId"]))
    _, page = await reads.tasks_page(workflow_id)
    status = await reads.status(workflow_id, include_output=True, include_variables=True)
    page_of: dict[str, Any] = {"query": "", "free_text": "*", "sort": "", "start": 0, "size": 10}
    _, found = await reads.search(**page_of)
    _, tasks = await reads.search_tasks(**page_of)

    assert (one["inputData"], one["outputData"]) == ({"all": HIDDEN}, {"pin": "***"})
    assert msgspec.json.decode(page[1])["inputData"] == {"all": HIDDEN}
    assert status["variables"] == {"all": HIDDEN}
    assert {one["output"] for one in tasks if one["taskId"] == polled["taskId"]} == {"{pin=***}"}
    assert found[0]["input"] == "{card=***, who=n, list=[{pin=***}], pin=null}"


def test_a_document_without_masked_keys_is_left_alone() -> None:
    """No copy is made, and a key that only looks alike is not one."""
    document = Raw(b'{"pinned":1,"x":"pin"}')

    assert masked(document, ["card"]) is document
    assert msgspec.json.decode(masked(document, ["pin"])) == {"pinned": 1, "x": "pin"}


def test_what_lies_too_deep_to_look_at_is_hidden_whole() -> None:
    """Better too much than too little."""
    value: Any = {"pin": 1}
    for _ in range(700):
        value = [value]

    assert b'"pin"' not in bytes(masked(Raw(msgspec.json.encode(value)), ["pin"]))
