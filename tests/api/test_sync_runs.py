"""Synchronous starts and signals: what they wait for, and what they answer."""

from __future__ import annotations

import threading
from typing import Any

import pytest

pytestmark = pytest.mark.server

UNKNOWN = "00000000-0000-4000-8000-000000000000"
INLINE = {
    "name": "i",
    "taskReferenceName": "i",
    "type": "INLINE",
    "inputParameters": {"evaluatorType": "value-param", "expression": "x", "x": "${workflow.input.x}"},
}
WAIT = {"name": "x", "taskReferenceName": "x", "type": "WAIT"}


def sub(name: str) -> dict[str, Any]:
    return {
        "name": "s",
        "taskReferenceName": "s",
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"name": name, "version": 1},
    }


def execute(api: Any, name: str, body: dict[str, Any] | None = None, version: int = 1, **query: Any) -> Any:
    answer = api.post(f"/workflow/execute/{name}/{version}", {"input": {}} | (body or {}), params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_execute_answers_with_the_end(api: Any) -> None:
    """A workflow that ends at once is answered whole, without a timeout; version 0 means the newest."""
    name = api.define(INLINE, outputParameters={"r": "${i.output.result}"})

    run = execute(
        api, name, {"input": {"x": 5}, "correlationId": "c", "priority": 2}, version=0, requestId="r1"
    )

    assert (run["status"], run["output"], run["requestId"]) == ("COMPLETED", {"r": 5}, "r1")
    assert run["signalTimeout"] is False
    assert set(run) == {
        "correlationId",
        "createTime",
        "input",
        "output",
        "priority",
        "requestId",
        "responseType",
        "signalTimeout",
        "status",
        "targetWorkflowId",
        "targetWorkflowStatus",
        "tasks",
        "updateTime",
        "variables",
        "workflowId",
    }


def test_execute_hears_of_the_end_at_once(api: Any) -> None:
    """The answer comes when a worker has completed the task, long before the time is over."""
    name = api.define(api.simple("a"))

    def work() -> None:
        polled = api.get(f"/tasks/poll/batch/{api.name('a')}", params={"timeout": 5000}).json()
        api.report(polled[0], outputData={"v": 1})

    worker = threading.Thread(target=work)
    worker.start()
    run = execute(api, name, waitForSeconds=60)
    worker.join()

    assert (run["status"], run["output"], run["signalTimeout"]) == ("COMPLETED", {"v": 1}, False)


def test_execute_at_the_end_of_its_time(api: Any) -> None:
    """The state so far is answered, marked so; the workflow goes on."""
    name = api.define(api.simple("a"))

    run = execute(api, name, waitForSeconds=1)

    assert (run["status"], run["signalTimeout"]) == ("RUNNING", True)
    assert api.report(api.poll("a")).status_code == 200
    assert api.workflow(run["workflowId"])["status"] == "COMPLETED"


def test_execute_until_a_task(api: Any) -> None:
    """A named task's end is enough, in a child as well."""
    kid = api.define(INLINE, api.simple("k"), name="kid")
    name = api.define(sub(kid), api.simple("a"))

    run = execute(api, name, waitForSeconds=60, waitUntilTaskRef="nobody, i")

    assert (run["status"], run["signalTimeout"]) == ("RUNNING", False)


@pytest.mark.parametrize(
    "strategy", ["TARGET_WORKFLOW", "BLOCKING_WORKFLOW", "BLOCKING_TASK", "BLOCKING_TASK_INPUT"]
)
def test_execute_blocked_in_a_child(api: Any, strategy: str) -> None:
    """A WAIT without a time blocks the run; the strategy says which part of it is shown."""
    kid = api.define(WAIT | {"inputParameters": {"i": 1}}, name="kid")
    name = api.define(sub(kid))

    run = execute(api, name, waitForSeconds=60, returnStrategy=strategy)

    assert (run["responseType"], run["targetWorkflowStatus"]) == (strategy, "RUNNING")
    assert (run["workflowId"] == run["targetWorkflowId"]) == (strategy == "TARGET_WORKFLOW")
    if strategy.startswith("BLOCKING_TASK"):
        assert (run["referenceTaskName"], run["taskType"], run["status"]) == ("x", "WAIT", "IN_PROGRESS")
        assert run["input"] == {"i": 1}
    else:
        assert [t["referenceTaskName"] for t in run["tasks"]] == [
            "s" if strategy == "TARGET_WORKFLOW" else "x"
        ]


def test_execute_with_a_definition_of_its_own(api: Any) -> None:
    """A run whose definition came with the request is marked in its input."""
    definition = {"name": api.name("own"), "version": 1, "tasks": [INLINE]}

    run = execute(api, api.name("own"), {"workflowDef": definition, "input": {"x": 1}})

    assert run["input"] == {"x": 1, "_systemMetadata": {"dynamic": True}}


def test_execute_by_name(api: Any) -> None:
    """The body is the input and the waiting is said in headers; a GET has no input."""
    name = api.define(INLINE, outputParameters={"r": "${i.output.result}"})

    posted = api.post(f"/workflow/execute/{name}", {"x": 3}, headers={"requestId": "r2"}).json()
    got = api.get(f"/workflow/execute/{name}", headers={"waitForSeconds": "1"}).json()
    refused = api.get(f"/workflow/execute/{name}", headers={"waitForSeconds": "soon"})

    assert (posted["output"], posted["requestId"]) == ({"r": 3}, "r2")
    assert got["output"] == {"r": None}
    assert (refused.status_code, "waitForSeconds" in refused.json()["message"]) == (500, True)


def test_execute_refuses_what_it_cannot_read(api: Any) -> None:
    """A strategy or consistency that does not exist is 500, as upstream; so is a task when none blocks."""
    name = api.define(INLINE)
    path = f"/workflow/execute/{name}/1"

    bad = api.post(path, {"input": {}}, params={"returnStrategy": "EVERYTHING"})
    inconsistent = api.post(path, {"input": {}}, params={"consistency": "NONE"})
    no_task = api.post(path, {"input": {}}, params={"returnStrategy": "BLOCKING_TASK"})
    unknown = api.post(f"/workflow/execute/{api.name('none')}/1", {"input": {}})

    assert (bad.status_code, inconsistent.status_code, no_task.status_code) == (500, 500, 500)
    assert "TARGET_WORKFLOW" in bad.json()["message"]
    assert "No task blocks workflow" in no_task.json()["message"]
    assert unknown.status_code == 404


def test_signal_goes_to_the_first_wait(api: Any) -> None:
    """The workflow's own WAIT first, then its children's; the body joins the output."""
    kid = api.define(WAIT, name="kid", outputParameters={"got": "${x.output.b}"})
    name = api.define(WAIT, sub(kid))
    workflow_id = api.start(name)

    first = api.post(f"/tasks/{workflow_id}/COMPLETED/signal", {"a": 1})
    run = api.post(f"/tasks/{workflow_id}/COMPLETED/signal/sync", {"b": 2}, params={"timeoutMillis": 20_000})
    ended = api.workflow(workflow_id)

    assert (first.status_code, first.content) == (200, b"")
    assert (run.json()["status"], run.json()["signalTimeout"]) == ("COMPLETED", False)
    assert ended["tasks"][0]["outputData"] == {"a": 1}
    assert ended["output"]["got"] == 2


def test_signal_reaches_a_timed_wait(api: Any) -> None:
    """A WAIT with a duration can be ended before its time, with a failure as well."""
    name = api.define(WAIT | {"inputParameters": {"duration": "1 hour"}})
    workflow_id = api.start(name)

    api.post(f"/tasks/{workflow_id}/FAILED/signal", {"s": 1})

    ended = api.workflow(workflow_id)
    assert (ended["status"], ended["output"]) == ("FAILED", {"s": 1})


def test_signal_without_a_blocked_task(api: Any) -> None:
    """Nothing blocked is fine for a signal, 404 for one that waits; an unknown workflow is always 404."""
    workflow_id = api.start(api.define(api.simple("a")))

    plain = api.post(f"/tasks/{workflow_id}/COMPLETED/signal", {})
    waiting = api.post(f"/tasks/{workflow_id}/COMPLETED/signal/sync", {})
    unknown = api.post(f"/tasks/{UNKNOWN}/COMPLETED/signal", {})
    bad = api.post(f"/tasks/{workflow_id}/SOMETIMES/signal", {})

    assert (plain.status_code, plain.content) == (200, b"")
    assert waiting.status_code == 404
    assert waiting.json()["message"] == f"Found no blocked task in workflow {workflow_id} to signal"
    assert unknown.json()["message"] == f"No such workflow found by id: {UNKNOWN}"
    assert bad.status_code == 500


def test_signal_sync_answers_when_blocked_again(api: Any) -> None:
    """The next WAIT ends the wait; the strategy may ask for it."""
    second = WAIT | {"taskReferenceName": "y", "inputParameters": {"step": 2}}
    workflow_id = api.start(api.define(WAIT, second))

    run = api.post(
        f"/tasks/{workflow_id}/COMPLETED/signal/sync", {}, params={"returnStrategy": "BLOCKING_TASK"}
    ).json()

    assert (run["referenceTaskName"], run["input"]) == ("y", {"step": 2})


def test_waiting_calls_end_when_the_server_stops(own_api: Any) -> None:
    """A server that drains answers them with the state so far instead of being held up."""
    name = own_api.define(own_api.simple("a"))
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(execute(own_api, name, waitForSeconds=200)))
    caller.start()
    own_api.until(lambda: own_api.get("/tasks/queue/sizes").json().get(own_api.name("a")) == 1)
    own_api.server.drain()
    caller.join(15)

    assert [(run["status"], run["signalTimeout"]) for run in answers] == [("RUNNING", True)]
