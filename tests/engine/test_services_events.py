"""Events over real stores: handlers, conditions, actions, repeats, crashes, events nobody waits for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.core.errors import ConflictError, InvalidRequestError, NotFoundError
from engine.core.model import MalformedBodyError
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


# ------------------------------------------------------------------------------------ handlers
async def test_a_handler_is_kept_as_it_was_given(farm: Farm) -> None:
    """Read back by event; inactive ones only when asked for; explicit nulls are left out."""
    await farm.engine.event_handlers.add(handler(active=False, condition="$.x > 1", evaluatorType=None))

    assert await farm.engine.event_handlers.all(EVENT, active_only=True) == []
    [stored] = await farm.engine.event_handlers.all(EVENT)
    assert msgspec.json.decode(stored) == {
        "name": "h",
        "event": EVENT,
        "condition": "$.x > 1",
        "active": False,
        "actions": [
            {
                "action": "start_workflow",
                "start_workflow": {"name": "flow", "input": {"x": "${x}"}},
                "expandInlineJSON": False,
            }
        ],
    }


async def test_names_of_handlers(farm: Farm) -> None:
    """A name is taken once; only what is there can be replaced or deleted."""
    await farm.engine.event_handlers.add(handler())
    with pytest.raises(ConflictError, match="EventHandler with name h already exists!"):
        await farm.engine.event_handlers.add(handler())
    with pytest.raises(NotFoundError, match="EventHandler with name other not found!"):
        await farm.engine.event_handlers.update(handler(name="other"))

    await farm.engine.event_handlers.delete("h")

    with pytest.raises(NotFoundError, match="EventHandler with name h not found!"):
        await farm.engine.event_handlers.delete("h")


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"name": None}, "name", "Missing event handler name"),
        ({"event": ""}, "event", "Missing event location"),
        ({"actions": []}, "actions", "No actions specified. Please specify at-least one action"),
    ],
)
async def test_an_incomplete_handler_is_refused(
    farm: Farm, members: dict[str, Any], path: str, message: str
) -> None:
    """With upstream's texts and paths."""
    with pytest.raises(InvalidRequestError) as refusal:
        await farm.engine.event_handlers.add(handler(**members))

    assert refusal.value.problems == ((f"addEventHandler.arg0.{path}", message, None),)


@pytest.mark.parametrize("body", [handler({"action": "dance"}), b"[]", b"{", handler(active="perhaps")])
async def test_a_body_that_is_no_handler(farm: Farm, body: bytes) -> None:
    """An unknown action, or JSON of another shape, is a malformed body."""
    with pytest.raises(MalformedBodyError):
        await farm.engine.event_handlers.add(body)


async def test_one_handler_cannot_stop_the_others(farm: Farm) -> None:
    """What cannot be compiled is refused when it comes, and passed over when it is there all the same."""
    deep: Any = 1
    for _ in range(240):
        deep = {"a": deep}
    with pytest.raises(InvalidRequestError, match="nested"):
        await farm.engine.event_handlers.add(handler(start(input=deep)))
    await farm.engine.event_handlers.add(handler())
    await farm.engine.documents.put("event_handler", "broken", b'{"event": 5}', at_ms=1)

    await publish(farm, {"x": 1})

    assert len(await running(farm)) == 1


async def test_a_change_takes_effect_at_once_on_every_server(reopen: Reopen, farm: Farm) -> None:
    """The next event on another server meets the handlers as they are now."""
    other = reopen()
    await publish(other, {"x": 0}, "before")
    await farm.engine.event_handlers.add(handler())
    await publish(other, {"x": 1}, "m1")
    await farm.engine.event_handlers.update(handler(start(input={"x": "changed"})))
    await publish(other, {"x": 2}, "m2")
    await farm.engine.event_handlers.update(handler(active=False))
    await publish(other, {"x": 3}, "m3")

    assert sorted(str(one["input"]["x"]) for one in await running(other)) == ["1", "changed"]


# ------------------------------------------------------------------------------------ EVENT tasks
async def test_an_event_task_triggers_its_handlers(farm: Farm) -> None:
    """What a workflow publishes starts another with values of its payload and the event's names."""
    await farm.register(task("e", "EVENT", sink="conductor:done", inputParameters={"k": {"deep": [7]}}))
    definition = {"name": "follower", "version": 1, "tasks": [task("a")]}
    await farm.engine.metadata.register_workflow(msgspec.json.encode(definition))
    follow = start(name="follower", input={"seven": "${k.deep[0]}", "from": "${workflowType}"})
    await farm.engine.event_handlers.add(handler(follow))

    workflow_id = await farm.start()
    await farm.settle()

    [published] = (await farm.workflow(workflow_id))["tasks"]
    [started] = await running(farm, "follower")
    assert published["status"] == "COMPLETED"
    assert started["event"] == EVENT
    assert started["input"] == {
        "seven": 7,
        "from": "flow",
        "conductor.event.messageId": published["taskId"],
        "conductor.event.name": EVENT,
    }
    [record] = await records(farm)
    assert record == {
        "id": f"{published['taskId']}_0",
        "messageId": published["taskId"],
        "name": "h",
        "event": EVENT,
        "created": farm.clock.at_ms,
        "status": "COMPLETED",
        "action": "start_workflow",
        "output": {"workflowId": started["workflowId"]},
    }


async def test_an_event_survives_the_crash_of_its_server(
    reopen: Reopen, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that completes the EVENT task holds the event; another server delivers it."""
    await farm.register(task("e", "EVENT", sink="conductor:done"), task("a"))
    await farm.engine.event_handlers.add(handler(start(name="follower")))
    definition = {"name": "follower", "version": 1, "tasks": [task("a")]}
    await farm.engine.metadata.register_workflow(msgspec.json.encode(definition))
    monkeypatch.setattr(farm.engine.outbox, "committed", lambda _: None)  # the crash: nothing is sent
    await farm.start()

    other = reopen()
    await other.engine.outbox.sweep()
    await other.settle()

    assert len(await running(other, "follower")) == 1


async def test_a_broker_that_is_not_there_keeps_the_event(farm: Farm) -> None:
    """An event for a broker stays in the outbox until one of its type is connected."""
    await farm.register(task("e", "EVENT", sink="sqs:orders"))
    await farm.start()
    await farm.settle()

    [message] = await farm.engine.store.pending_messages(10)
    assert message.kind == "publish_event"


# ------------------------------------------------------------------------------------ conditions
@pytest.mark.parametrize(
    ("members", "payload", "holds"),
    [
        ({"condition": "$.x > 1"}, {"x": 2}, True),
        ({"condition": "$.x > 1", "evaluatorType": "javascript"}, {"x": 1}, False),
        ({"condition": "$.x == 'yes'", "evaluatorType": "graaljs"}, {"x": "yes"}, True),
        ({"condition": "$.inner.x == 5"}, {"x": 1, "inner": '{"x": 5}'}, True),
        ({"condition": "x", "evaluatorType": "value-param"}, {"x": True}, True),
        ({"condition": "x", "evaluatorType": "value-param"}, {"y": True}, False),
        ({"condition": "'text'"}, {"x": 1}, False),
        ({"condition": ""}, {"x": 1}, True),
    ],
)
async def test_a_condition_decides(
    farm: Farm, members: dict[str, Any], payload: dict[str, Any], *, holds: bool
) -> None:
    """Judged on the payload, JSON texts in it read; passed over is recorded as SKIPPED under `_0`."""
    await farm.engine.event_handlers.add(handler(**members))

    await publish(farm, payload)

    assert len(await running(farm)) == int(holds)
    [record] = await records(farm)
    assert record["id"] == "m1_0"
    assert record["status"] == ("COMPLETED" if holds else "SKIPPED")
    if not holds:
        assert record["output"] == {"msg": payload, "condition": members["condition"]}
        assert "action" not in record


@pytest.mark.parametrize(
    "members", [{"condition": "$.x.y.z"}, {"condition": "x == 1", "evaluatorType": "python"}]
)
async def test_a_condition_that_fails_is_recorded(farm: Farm, members: dict[str, Any]) -> None:
    """The handler's own mistake ends in a FAILED record, and does not come back."""
    await farm.engine.event_handlers.add(handler(**members))

    await publish(farm, {"x": None})
    await publish(farm, {"x": None})

    [record] = await records(farm)
    assert record["status"] == "FAILED"
    assert record["output"]["exception"]


async def test_a_payload_that_is_no_object(farm: Farm) -> None:
    """A list or a text is a payload, too."""
    await farm.engine.event_handlers.add(handler(start(input={"all": "${$}", "first": "${[0]}"})))

    await publish(farm, [1, 2])
    await farm.engine.events.publish(EVENT, b"just text", "m2")

    inputs = sorted((str(one["input"]["all"]), one["input"]["first"]) for one in await running(farm))
    assert inputs == [("[1, 2]", 1), ("just text", None)]


# ------------------------------------------------------------------------------------ actions
async def test_json_in_texts_is_expanded_when_asked(farm: Farm) -> None:
    """`expandInlineJSON` lets an action see into texts that are JSON; without it they are texts."""
    action = start(input={"x": "${body.x}"})
    await farm.engine.event_handlers.add(handler(action | {"expandInlineJSON": True}, action))

    await publish(farm, {"body": '{"x": 3}'})

    assert sorted(str(one["input"]["x"]) for one in await running(farm)) == ["3", "None"]


async def test_domains_and_correlation_come_from_the_payload(farm: Farm) -> None:
    """The correlation id may be an expression; domains are the payload's unless the handler has its own."""
    await farm.engine.event_handlers.add(
        handler(start(correlationId="c-${id}"), start(correlationId="own", taskToDomain={"a": "west"}))
    )

    await publish(farm, {"id": 5, "taskToDomain": {"a": "east"}})

    found = sorted((one["correlationId"], one["taskToDomain"]) for one in await running(farm))
    assert found == [("c-5", {"a": "east"}), ("own", {"a": "west"})]


@pytest.mark.parametrize(("action", "status"), [("complete_task", "COMPLETED"), ("fail_task", "FAILED")])
async def test_a_task_is_ended_by_reference(farm: Farm, action: str, status: str) -> None:
    """Its output is everything that was evaluated, and the names of the event."""
    await farm.register(task("w", "WAIT"))
    workflow_id = await farm.start()
    said = {
        "workflowId": "${id}",
        "taskRefName": "w",
        "output": {"v": "${v}"},
        "reasonForIncompletion": "because ${v}",
    }
    await farm.engine.event_handlers.add(handler({"action": action, action: said}))

    await publish(farm, {"id": workflow_id, "v": 8})

    [ended] = (await farm.workflow(workflow_id))["tasks"]
    assert ended["status"] == status
    evaluated = {
        "workflowId": workflow_id,
        "taskId": None,
        "taskRefName": "w",
        "reasonForIncompletion": "because 8",
        "v": 8,
    }
    assert ended["outputData"] == evaluated | {
        "conductor.event.messageId": "m1",
        "conductor.event.name": EVENT,
    }
    [record] = await records(farm)
    assert (record["status"], record["output"]) == ("COMPLETED", evaluated)


async def test_a_task_in_a_loop_is_the_newest_iteration(farm: Farm) -> None:
    """A reference without its iteration means the one that runs."""
    await farm.register(loop("l", 2, task("w", "WAIT")))
    workflow_id = await farm.start()
    said = {"workflowId": "${id}", "taskRefName": "w"}
    await farm.engine.event_handlers.add(handler({"action": "complete_task", "complete_task": said}))

    for message in ("m1", "m2"):
        await publish(farm, {"id": workflow_id}, message)

    assert (await farm.workflow(workflow_id))["status"] == "COMPLETED"


async def test_a_task_by_its_id(farm: Farm) -> None:
    """The id alone is enough, and a polled task is freed."""
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")
    said = {"taskId": "${task}"}
    await farm.engine.event_handlers.add(handler({"action": "complete_task", "complete_task": said}))

    await publish(farm, {"task": polled["taskId"]})

    assert (await farm.workflow(workflow_id))["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"workflowId": "w", "taskRefName": "a"}, "No workflow found with ID: w"),
        ({"taskId": "t"}, "No task found with taskId: t, reference name: null, workflowId: null"),
    ],
)
async def test_a_task_that_is_not_there(farm: Farm, said: dict[str, str], error: str) -> None:
    """It is not a failure of the handler: the record is COMPLETED and says what was not found."""
    await farm.engine.event_handlers.add(handler({"action": "complete_task", "complete_task": said}))

    await publish(farm, {})

    [record] = await records(farm)
    assert (record["status"], record["output"]["error"]) == ("COMPLETED", error)


async def test_a_workflow_is_terminated(farm: Farm) -> None:
    """Upstream accepts the action and fails; here it works."""
    workflow_id = await farm.start()
    said = {"workflowId": "${id}", "terminationReason": "told by ${who}"}
    await farm.engine.event_handlers.add(
        handler({"action": "terminate_workflow", "terminate_workflow": said})
    )

    await publish(farm, {"id": workflow_id, "who": "an event"})

    ended = await farm.workflow(workflow_id)
    assert (ended["status"], ended["reasonForIncompletion"]) == ("TERMINATED", "told by an event")


async def test_variables_are_set(farm: Farm) -> None:
    """Names are written over; with `appendArray` lists grow."""
    workflow_id = await farm.start()
    for name, append in (("first", False), ("second", True)):
        said = {"workflowId": "${id}", "variables": {"v": ["${v}"]}, "appendArray": append}
        action = {"action": "update_workflow_variables", "update_workflow_variables": said}
        await farm.engine.event_handlers.add(handler(action, name=name, event=f"conductor:{name}"))

    await publish(farm, {"id": workflow_id, "v": 1}, "m1", "conductor:first")
    await publish(farm, {"id": workflow_id, "v": 2}, "m2", "conductor:second")

    assert (await farm.workflow(workflow_id))["variables"] == {"v": [1, 2]}


@pytest.mark.parametrize(
    "action",
    [
        {"action": "start_workflow", "start_workflow": {"name": "nowhere"}},
        {"action": "terminate_workflow", "terminate_workflow": {"workflowId": "nobody"}},
        {"action": "terminate_workflow", "terminate_workflow": {}},
        {"action": "update_workflow_variables", "update_workflow_variables": {"workflowId": "${id}"}},
        {"action": "start_agent", "start_agent": {}},
        {"action": "complete_task"},
    ],
)
async def test_an_action_that_cannot_be_done(farm: Farm, action: dict[str, Any]) -> None:
    """It is recorded as such, once, and the handler's other actions are done."""
    await farm.engine.event_handlers.add(handler(action, start()))

    await publish(farm, {"x": 1})
    await publish(farm, {"x": 1})

    first, second = await records(farm)
    assert first["action"] == action["action"]
    assert first["status"] == "FAILED" or "error" in first["output"]
    assert second["status"] == "COMPLETED"
    assert len(await running(farm)) == 1


async def test_stored_environment_values(farm: Farm) -> None:
    """`${workflow.env.X}` is read when the event comes; a secret's name stays a name in the input."""
    await farm.engine.environment.put("REGION", "north")
    said = {"region": "${workflow.env.REGION}", "key": "${workflow.secrets.KEY}"}
    await farm.engine.event_handlers.add(handler(start(input=said)))

    await publish(farm, {})

    [started] = await running(farm)
    assert (started["input"]["region"], started["input"]["key"]) == ("north", "${workflow.secrets.KEY}")
