"""The protocol's worked examples, end to end."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.server


def test_register_start_poll_complete(api: Any) -> None:
    """Register, start, poll, complete through update-v2; repeating the result changes nothing."""
    greet = {
        "name": api.name("g"),
        "retryCount": 1,
        "retryDelaySeconds": 0,
        "timeoutSeconds": 0,
        "responseTimeoutSeconds": 10,
        "ownerEmail": "a@b.c",
    }
    assert api.post("/metadata/taskdefs", [greet]).content == b""
    task = {"name": api.name("g"), "taskReferenceName": "g", "type": "SIMPLE"}
    hello = api.define(
        task | {"inputParameters": {"who": "${workflow.input.who}"}},
        name="hello",
        outputParameters={"text": "${g.output.text}"},
    )
    again = api.post("/metadata/workflow", {"name": hello, "version": 1, "tasks": [task]})
    workflow_id = api.start(hello, {"who": "Ada"})
    started = api.workflow(workflow_id)
    batch = api.get(
        f"/tasks/poll/batch/{api.name('g')}", params={"workerid": "w1", "count": 5, "timeout": 100}
    )
    polled = batch.json()
    empty_batch = api.get(f"/tasks/poll/batch/{api.name('g')}", params={"workerid": "w1", "timeout": 0})
    empty_poll = api.get(f"/tasks/poll/{api.name('g')}", params={"workerid": "w1"})
    result = {
        "workflowInstanceId": workflow_id,
        "taskId": polled[0]["taskId"],
        "workerId": "w1",
        "status": "COMPLETED",
        "outputData": {"text": "hi Ada"},
    }
    update = api.post("/tasks/update-v2", result)
    repeat = api.post("/tasks/update-v2", result)
    ended = api.workflow(workflow_id)

    assert again.status_code == 409
    assert again.json()["message"] == f"Workflow with {hello}.1 already exists!"
    assert again.json()["retryable"] is False
    assert set(again.json()) == {"status", "message", "instance", "retryable"}
    assert started["status"] == "RUNNING"
    assert started["input"] == {"who": "Ada"}
    assert started["workflowName"] == hello
    assert [(t["referenceTaskName"], t["status"], t["seq"]) for t in started["tasks"]] == [
        ("g", "SCHEDULED", 1)
    ]
    assert started["tasks"][0]["responseTimeoutSeconds"] == 10
    assert started["tasks"][0]["workflowTask"]["taskDefinition"]["name"] == api.name("g")
    assert [(t["status"], t["workerId"], t["pollCount"], t["inputData"]) for t in polled] == [
        ("IN_PROGRESS", "w1", 1, {"who": "Ada"})
    ]
    assert polled[0]["startTime"] > 0
    assert (empty_batch.status_code, empty_batch.json()) == (200, [])
    assert (empty_poll.status_code, empty_poll.content) == (204, b"")
    assert (update.status_code, repeat.status_code) == (204, 204)
    assert (ended["status"], ended["output"]) == ("COMPLETED", {"text": "hi Ada"})


def test_failure_and_retry(api: Any) -> None:
    """A failed attempt is followed by another, then the workflow fails; retry brings a third attempt."""
    retried = {"name": api.name("g"), "retryCount": 1, "retryDelaySeconds": 0, "responseTimeoutSeconds": 10}
    api.post("/metadata/taskdefs", [retried])
    name = api.define(
        {"name": api.name("g"), "taskReferenceName": "g", "type": "SIMPLE"},
        outputParameters={"text": "${g.output.text}"},
    )
    workflow_id = api.start(name)
    api.report(api.poll("g"), "FAILED", reasonForIncompletion="boom")
    once = api.workflow(workflow_id)
    api.report(api.poll("g"), "FAILED", reasonForIncompletion="boom")
    failed = api.workflow(workflow_id)
    retry = api.post(f"/workflow/{workflow_id}/retry", {})
    running = api.workflow(workflow_id)
    too_early = api.post(f"/workflow/{workflow_id}/retry", {})

    first, second = once["tasks"]
    assert (first["status"], first["retried"], first["retryCount"]) == ("FAILED", True, 0)
    assert (second["status"], second["retryCount"], second["seq"]) == ("SCHEDULED", 1, 2)
    assert second["retriedTaskId"] == first["taskId"]
    assert failed["status"] == "FAILED"
    assert (
        failed["reasonForIncompletion"]
        == f"Task {second['taskId']} failed with status: FAILED and reason: 'boom'"
    )
    assert failed["failedReferenceTaskNames"] == ["g"]
    assert failed["failedTaskNames"] == [api.name("g")]
    assert failed["output"] == {"text": None}
    assert (retry.status_code, retry.content) == (204, b"")
    assert running["status"] == "RUNNING"
    assert [t["retryCount"] for t in running["tasks"]] == [0, 1, 2]
    assert too_early.status_code == 404
    assert too_early.json()["message"] == "Workflow is still running.  status=RUNNING"


def test_fork_and_join(api: Any) -> None:
    """A fork lists FORK, its branches and the JOIN at once; the JOIN's output holds both branches'."""
    name = api.define(
        {
            "name": "f",
            "taskReferenceName": "fork_ref",
            "type": "FORK_JOIN",
            "forkTasks": [[api.simple("a")], [api.simple("b")]],
        },
        {"name": "j", "taskReferenceName": "join_ref", "type": "JOIN", "joinOn": ["a", "b"]},
        api.simple("z"),
    )
    workflow_id = api.start(name)
    forked = api.workflow(workflow_id)
    api.report(api.poll("b"), outputData={"v": 2})
    api.report(api.poll("a"), outputData={"v": 1})
    joined = api.workflow(workflow_id)

    assert [(t["referenceTaskName"], t["taskType"], t["status"]) for t in forked["tasks"]] == [
        ("fork_ref", "FORK", "COMPLETED"),
        ("a", api.name("a"), "SCHEDULED"),
        ("b", api.name("b"), "SCHEDULED"),
        ("join_ref", "JOIN", "IN_PROGRESS"),
    ]
    by_ref = {t["referenceTaskName"]: t for t in joined["tasks"]}
    assert by_ref["join_ref"]["status"] == "COMPLETED"
    assert by_ref["join_ref"]["outputData"] == {"a": {"v": 1}, "b": {"v": 2}}
    assert by_ref["z"]["status"] == "SCHEDULED"


def test_loop_listing(api: Any) -> None:
    """A loop's tasks carry the iteration in their references, and its output one member an iteration."""
    name = api.define(
        {
            "name": "loop",
            "taskReferenceName": "loop",
            "type": "DO_WHILE",
            "loopCondition": "$.loop['iteration'] < 2",
            "loopOver": [api.simple("x")],
        }
    )
    workflow_id = api.start(name)
    for value in (1, 2):
        api.report(api.poll("x"), outputData={"v": value})
    ended = api.workflow(workflow_id)

    assert ended["status"] == "COMPLETED"
    assert [t["referenceTaskName"] for t in ended["tasks"]] == ["loop", "x__1", "x__2"]
    assert ended["tasks"][0]["outputData"] == {
        "iteration": 2,
        "1": {"x": {"v": 1}},
        "2": {"x": {"v": 2}},
    }


def test_validation_error(api: Any) -> None:
    """An invalid definition names every problem with its path, and no instance."""
    answer = api.post("/metadata/workflow", {"name": api.name("empty"), "version": 1, "tasks": []})

    assert answer.status_code == 400
    assert answer.json() == {
        "status": 400,
        "message": "Validation failed, check below errors for detail.",
        "retryable": False,
        "validationErrors": [
            {"path": "registerWorkflowDef.arg0.tasks", "message": "WorkflowTask list cannot be empty"}
        ],
    }
