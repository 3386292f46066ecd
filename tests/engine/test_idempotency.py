"""Starts with an idempotency key: one execution for one key, whoever asks and whatever breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engine.core.errors import ConflictError, InvalidRequestError, StoreError
from engine.core.idempotency import KEY_CHARS_MAX, Strategy
from engine.core.model import MalformedBodyError
from engine.services.executions import StartRequest
from engine.services.options import Options
from engine.testing.story import task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen


async def _start(farm: Farm, strategy: str | None, key: str = "k", name: str = "flow", **given: Any) -> str:
    request = StartRequest(
        name=name,
        input=given,
        idempotency_key=key,
        idempotency_strategy=strategy,
    )
    return await farm.engine.executions.start(request)


async def test_return_existing_answers_the_execution_that_has_the_key(farm: Farm) -> None:
    """Running or ended, it is the same one, with the input of the first start."""
    await farm.register(task("a"))
    first = await _start(farm, "RETURN_EXISTING", n=1)

    again = await _start(farm, "RETURN_EXISTING", n=2)
    await farm.report((await farm.poll("a"))[0])
    after_its_end = await _start(farm, "RETURN_EXISTING")

    assert [again, after_its_end] == [first, first]
    shown = await farm.workflow(first)
    assert (shown["input"], shown["idempotencyKey"]) == ({"n": 1}, "k")


async def test_fail_refuses_a_used_key_and_names_the_execution(farm: Farm) -> None:
    """409, also when the execution has ended."""
    await farm.register(task("a"))
    first = await _start(farm, "FAIL")
    await farm.report((await farm.poll("a"))[0])

    with pytest.raises(ConflictError, match=f"idempotency key k exists already: {first}"):
        await _start(farm, "FAIL")


async def test_fail_on_running_starts_anew_once_the_execution_has_ended(farm: Farm) -> None:
    """The key then stands for the newest execution, for every strategy."""
    await farm.register(task("a"))
    first = await _start(farm, "FAIL_ON_RUNNING")
    with pytest.raises(ConflictError, match=f"is still running: {first}"):
        await _start(farm, "FAIL_ON_RUNNING")
    await farm.report((await farm.poll("a"))[0])

    second = await _start(farm, "FAIL_ON_RUNNING")

    assert second != first
    assert await _start(farm, "RETURN_EXISTING") == second
    with pytest.raises(ConflictError, match=f"is still running: {second}"):
        await _start(farm, "FAIL_ON_RUNNING")


async def test_a_key_belongs_to_one_workflow(farm: Farm) -> None:
    """Another workflow may use the same key; where a name ends and a key begins is no question."""
    await farm.register(task("a"))
    for name in ("ab", "a"):
        definition = {"name": name, "version": 1, "tasks": [task("t")]}
        await farm.engine.metadata.register_workflow(msgspec.json.encode(definition), overwrite=True)

    ids = [await _start(farm, "FAIL", name=name, key=key) for name, key in (("ab", "c"), ("a", "bc"))]

    assert len({*ids, await _start(farm, "FAIL", key="c")}) == 3


@pytest.mark.parametrize("strategy", ["FAIL", "RETURN_EXISTING", "FAIL_ON_RUNNING"])
async def test_of_many_starts_on_two_servers_one_wins(reopen: Reopen, strategy: str) -> None:
    """The workflow's own row is the unique index, so there is no moment between looking and writing."""
    one, two = reopen(), reopen()
    await one.register(task("a"))

    said = await asyncio.gather(*[_start(f, strategy) for f in (one, two) * 5], return_exceptions=True)

    ids = {answer for answer in said if isinstance(answer, str)}
    refused = [answer for answer in said if isinstance(answer, ConflictError)]
    assert len(ids) == 1
    assert len(refused) == (0 if strategy == "RETURN_EXISTING" else 9)
    assert len(await one.poll("a", count=10)) == 1


async def test_a_start_repeated_after_the_store_gave_no_answer_finds_the_first(farm: Farm) -> None:
    """The write that nobody heard of was made, and the repeat does not start another."""
    await farm.register(task("a"))
    farm.store.faults.append("fails")
    with pytest.raises(StoreError):
        await _start(farm, "RETURN_EXISTING")
    farm.store.faults.append("written")

    first = await _start(farm, "RETURN_EXISTING")

    assert await _start(farm, "RETURN_EXISTING") == first
    assert len(await farm.poll("a", count=10)) == 1


async def test_a_removed_execution_frees_its_key(farm: Farm) -> None:
    """What is gone cannot be returned."""
    await farm.register(task("a"))
    first = await _start(farm, "FAIL")
    await farm.engine.executions.terminate(first, "enough")
    await farm.engine.executions.remove(first)

    await _start(farm, "FAIL")

    assert len(await farm.poll("a", count=10)) == 1


async def test_without_a_strategy_a_key_is_only_kept(farm: Farm) -> None:
    """As on a Conductor server, whose clients repeat keys."""
    await farm.register(task("a"))

    assert await _start(farm, None) != await _start(farm, None)


async def test_a_setting_gives_keys_without_a_strategy_their_meaning(reopen: Reopen) -> None:
    """For whoever wants every key to count."""
    farm = reopen(Options(key_strategy=Strategy.RETURN_EXISTING))
    await farm.register(task("a"))

    assert await _start(farm, None) == await _start(farm, None)


async def test_what_is_no_strategy_or_no_key_is_refused(farm: Farm) -> None:
    """The sentence says which are, and how long a key may be."""
    await farm.register(task("a"))

    with pytest.raises(MalformedBodyError, match="must be one of FAIL, RETURN_EXISTING, FAIL_ON_RUNNING"):
        await _start(farm, "MAYBE")
    with pytest.raises(InvalidRequestError, match=f"at most {KEY_CHARS_MAX}"):
        await _start(farm, "FAIL", key="k" * (KEY_CHARS_MAX + 1))


# ------------------------------------------------------------------------------ tasks that start workflows
async def _parent(farm: Farm, strategy: str) -> None:
    kid = {"name": "child", "version": 1, "tasks": [task("k")], "outputParameters": {"v": "${k.output.v}"}}
    await farm.engine.metadata.register_workflow(msgspec.json.encode(kid), overwrite=True)
    parameters = {"name": "child", "version": 1, "idempotencyKey": "${workflow.input.key}"}
    sub = task("s", "SUB_WORKFLOW", subWorkflowParam={**parameters, "idempotencyStrategy": strategy})
    await farm.register(sub)


async def _child_of(farm: Farm, workflow_id: str) -> dict[str, Any]:
    [shown] = (await farm.workflow(workflow_id))["tasks"]
    return dict(shown)


async def test_two_parents_with_one_key_wait_for_one_child(farm: Farm) -> None:
    """RETURN_EXISTING: both tasks get its output when it ends, and a third one at once."""
    await _parent(farm, "RETURN_EXISTING")
    parents = [await farm.start(key="k") for _ in range(2)]
    await farm.settle()
    [polled] = await farm.poll("k", count=5)
    children = {(await _child_of(farm, parent))["subWorkflowId"] for parent in parents}
    assert len(children) == 1

    await farm.report(polled, v=7)
    await farm.settle()
    late = await farm.start(key="k")
    await farm.settle()

    for parent in [*parents, late]:
        shown = await farm.workflow(parent)
        assert (shown["status"], shown["tasks"][0]["outputData"]["v"]) == ("COMPLETED", 7)


async def test_a_child_whose_key_is_taken_fails_its_task(farm: Farm) -> None:
    """FAIL: the reason is the one of a start over HTTP, and the other parent's child goes on."""
    await _parent(farm, "FAIL")
    first = await farm.start(key="k")
    await farm.settle()

    second = await farm.start(key="k")
    await farm.settle()

    assert "idempotency key k is still running" in (await _child_of(farm, second))["reasonForIncompletion"]
    await farm.report((await farm.poll("k"))[0])
    await farm.settle()
    assert (await farm.workflow(first))["status"] == "COMPLETED"


async def test_a_cancelled_waiter_leaves_the_others_child_alone(farm: Farm) -> None:
    """Only the parent that started a child ends it."""
    await _parent(farm, "RETURN_EXISTING")
    owner, waiter = [await farm.start(key="k") for _ in range(2)]
    await farm.settle()
    owners = [one for one in (owner, waiter) if await _owns(farm, one)]
    [other] = {owner, waiter} - set(owners)

    await farm.engine.executions.terminate(other, "enough")
    await farm.settle()
    await farm.report((await farm.poll("k"))[0])
    await farm.settle()

    assert (await farm.workflow(owners[0]))["status"] == "COMPLETED"


async def _owns(farm: Farm, parent: str) -> bool:
    child = await farm.workflow((await _child_of(farm, parent))["subWorkflowId"])
    return bool(child["parentWorkflowId"] == parent)


async def test_a_repeated_message_starts_no_second_child(farm: Farm) -> None:
    """The child it started before is its own, whatever the strategy says."""
    await _parent(farm, "FAIL")
    workflow_id = await farm.start(key="k")
    await farm.settle()
    [message] = [
        m for g in farm.store.groups for w in g for m in getattr(w, "outbox", []) if m.kind == "start_child"
    ]

    farm.engine.outbox.committed([message])
    await farm.settle()

    assert await farm.shown(workflow_id) == ["s IN_PROGRESS"]
    assert len(await farm.poll("k", count=5)) == 1


async def test_a_start_workflow_task_answers_with_the_execution_that_has_the_key(farm: Farm) -> None:
    """It ends when that is known; a taken key fails it under FAIL."""
    kid = {"name": "child", "version": 1, "tasks": [task("k")]}
    await farm.engine.metadata.register_workflow(msgspec.json.encode(kid), overwrite=True)
    request = {"name": "child", "version": 1, "input": {"x": 1}, "idempotencyKey": "k"}
    given = {"startWorkflow": {**request, "idempotencyStrategy": "${workflow.input.strategy}"}}
    await farm.register(task("s", "START_WORKFLOW", inputParameters=given))

    shown = []
    for strategy in ("FAIL", "RETURN_EXISTING", "FAIL"):
        workflow_id = await farm.start(strategy=strategy)
        await farm.settle()
        shown.append(await _child_of(farm, workflow_id))

    assert [one["status"] for one in shown] == ["COMPLETED", "COMPLETED", "FAILED"]
    assert shown[0]["outputData"] == shown[1]["outputData"]
    assert len(await farm.poll("k", count=5)) == 1
