"""One workflow with every type of task there is, from registration to its end, over HTTP alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.core.tasks import TASK_TYPES
from tests.wire.conftest import Wire, eventually

pytestmark = pytest.mark.server

Task = dict[str, Any]


def task(ref: str, kind: str, given: Any = None, **members: Any) -> Task:
    return {"name": ref, "taskReferenceName": ref, "type": kind, "inputParameters": given or {}, **members}


def inline(ref: str, expression: str, **given: Any) -> Task:
    return task(ref, "INLINE", {"evaluatorType": "javascript", "expression": expression, **given})


def noop(ref: str) -> Task:
    return task(ref, "NOOP")


def choices() -> list[Task]:
    """SWITCH and DECISION, and the EXCLUSIVE_JOIN that takes over what the chosen one gave."""
    switch = task(
        "switch",
        "SWITCH",
        {"n": "${inline.output.result}"},
        evaluatorType="javascript",
        expression="$.n > 2 ? 'many' : 'few'",
        decisionCases={"many": [inline("many", "'took many'")], "few": [noop("few")]},
    )
    decision = task(
        "decision", "DECISION", {"c": "no"}, caseValueParam="c", decisionCases={"yes": [noop("yes")]}
    )
    decision["defaultCase"] = [noop("no")]
    return [switch, task("exclusive", "EXCLUSIVE_JOIN", joinOn=["few", "many"]), decision]


def scripts() -> list[Task]:
    return [
        inline("inline", "$.a + $.b", a=1, b=2),
        task("lambda", "LAMBDA", {"scriptExpression": "return $.x * 2;", "x": "${inline.output.result}"}),
        task("jq", "JSON_JQ_TRANSFORM", {"queryExpression": ".l | map(. + 1)", "l": [1, 2]}),
        task("variables", "SET_VARIABLE", {"jq": "${jq.output.result}"}),
    ]


def forks(worker: str, health: str) -> list[Task]:
    """Branches that a worker, the server, a timer, a person and a child end."""
    child = {"name": "inner", "version": 1, "tasks": [inline("deep", "'from below'")]}
    branches = [
        [{**task("simple", "SIMPLE", {"x": "${workflow.input.x}"}), "name": worker}],
        [task("http", "HTTP", {"uri": health, "method": "GET"})],
        [task("wait", "WAIT", {"until": "2020-01-01 00:00"})],
        [task("human", "HUMAN")],
        [task("sub", "SUB_WORKFLOW", subWorkflowParam={"name": "inner", "workflowDefinition": child})],
    ]
    dynamic = {"forkTaskType": "INLINE", "forkTaskInputs": [{"expression": f"{n} * {n}"} for n in range(3)]}
    return [
        task("fork", "FORK_JOIN", forkTasks=branches),
        task("join", "JOIN", joinOn=["simple", "http", "wait", "human", "sub"]),
        task("dynamic_fork", "FORK_JOIN_DYNAMIC", dynamic),
        task("dynamic_join", "JOIN"),
        task("dynamic", "DYNAMIC", {"which": "NOOP"}, dynamicTaskNameParam="which"),
    ]


def loops() -> list[Task]:
    counted = task(
        "counted", "DO_WHILE", loopCondition="$.counted['iteration'] < 3", loopOver=[noop("round")]
    )
    listed = task("listed", "DO_WHILE", items="${workflow.input.list}", loopCondition="")
    listed["loopOver"] = [inline("item", "$.i + '!'", i="${listed.output.loopItem}")]
    return [counted, listed]


def messages(other: str) -> list[Task]:
    request = {"bootStrapServers": "127.0.0.1:9", "topic": "t", "value": 1, "requestTimeoutMs": 200}
    return [
        task("start", "START_WORKFLOW", {"startWorkflow": {"name": other, "input": {"from": "sink"}}}),
        task("event", "EVENT", {"k": 1}, sink="conductor:told"),
        task("pull", "PULL_WORKFLOW_MESSAGES"),
        task("kafka", "KAFKA_PUBLISH", {"kafka_request": request}, optional=True),  # no broker is there
    ]


def end() -> Task:
    output = {
        "exclusive": "${exclusive.output.result}",
        "variables": "${workflow.variables.jq}",
        "lambda": "${lambda.output.result}",
        "http": "${http.output.response.statusCode}",
        "sub": "${sub.output.result}",
        "squares": "${dynamic_join.output}",
        "rounds": "${counted.output.iteration}",
        "last": "${item.output.result}",
        "message": "${pull.output.messages[0].payload.say}",
        "kafka": "${kafka.status}",
    }
    return task("end", "TERMINATE", {"terminationStatus": "COMPLETED", "workflowOutput": output})


def types_in(tasks: list[Task]) -> Iterator[str]:
    for one in tasks:
        yield one["type"]
        branches = one.get("forkTasks", []), one.get("decisionCases", {}).values()
        for inner in (*branches[0], *branches[1], one.get("defaultCase", []), one.get("loopOver", [])):
            yield from types_in(inner)


def test_every_type_of_task_in_one_workflow_completes(wire: Wire) -> None:
    """Each does its part, and the output tells so."""
    worker, name, other = wire.name("worker"), wire.name("sink"), wire.name("other")
    tasks = [*scripts(), *choices(), *forks(worker, f"{wire.url}/health"), *loops(), *messages(other), end()]
    assert set(types_in(tasks)) == {*TASK_TYPES, "SIMPLE"}
    for definition in (
        {"name": other, "version": 1, "tasks": [noop("n")]},
        {"name": name, "version": 1, "tasks": tasks},
    ):
        wire.post("/metadata/workflow", {**definition, "schemaVersion": 2, "ownerEmail": "a@b.c"})

    workflow_id = wire.start(name, {"x": 1, "list": ["a", "b"]})
    wire.post(f"/workflow/{workflow_id}/messages", {"say": "hello"})
    polled = wire.poll(worker, "w1", wait_ms=5_000)
    assert polled is not None
    wire.update(polled, status="COMPLETED", outputData={"y": polled["inputData"]["x"]})
    wire.post(f"/tasks/{workflow_id}/human/COMPLETED", {"signed": True})
    found = wire.ended(workflow_id)

    assert found["status"] == "COMPLETED", found.get("reasonForIncompletion")
    assert found["output"] == {
        "exclusive": "took many",
        "variables": [2, 3],
        "lambda": 6,
        "http": 200,
        "sub": "from below",
        "squares": {f"_INLINE_{n}": {"result": n * n} for n in range(3)},
        "rounds": 3,
        "last": "b!",
        "message": "hello",
        "kafka": "COMPLETED_WITH_ERRORS",
    }
    started = next(one for one in found["tasks"] if one["taskType"] == "START_WORKFLOW")
    started_id = started["outputData"]["workflowId"]
    eventually(lambda: wire.workflow(started_id)["status"] == "COMPLETED", "the started workflow's end")
    assert wire.workflow(started_id)["input"] == {"from": "sink"}
