"""Testing a definition with given results: POST /workflow/test."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.server


def run_test(api: Any, name: str, mocks: dict[str, Any], **members: Any) -> Any:
    body = {"name": name, "version": 1, "input": {}, "taskRefToMockOutput": mocks} | members
    answer = api.post("/workflow/test", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(run: Any) -> list[tuple[str, str]]:
    return [(task["referenceTaskName"], task["status"]) for task in run["tasks"]]


def loop(api: Any, times: int) -> dict[str, Any]:
    return {
        "name": "l",
        "taskReferenceName": "l",
        "type": "DO_WHILE",
        "loopCondition": f"$.l['iteration'] < {times}",
        "loopOver": [api.simple("a")],
    }


def test_results_come_from_the_request(api: Any) -> None:
    """A loop takes one a round, by its reference or by the round's; the workflow ends as if worked on."""
    name = api.define(loop(api, 2), outputParameters={"v": "${a.output.v}"})

    by_ref = run_test(api, name, {"a": [{"output": {"v": 1}}, {"output": {"v": 2}}]})
    by_round = run_test(api, name, {"a__1": [{"output": {"v": 1}}], "a__2": [{"output": {"v": 2}}]})

    for run in (by_ref, by_round):
        assert (run["status"], run["output"]) == ("COMPLETED", {"v": 2})
        assert listed(run) == [("l", "COMPLETED"), ("a__1", "COMPLETED"), ("a__2", "COMPLETED")]


def test_failures_are_retried_with_the_next_result(api: Any) -> None:
    """A mocked failure is followed by a new attempt without its delay; times are those of the mock."""
    api.post("/metadata/taskdefs", [{"name": api.name("a"), "retryCount": 1, "retryDelaySeconds": 600}])
    name = api.define({"name": api.name("a"), "taskReferenceName": "a", "type": "SIMPLE"})

    run = run_test(
        api,
        name,
        {
            "a": [
                {"status": "FAILED"},
                {"output": {"v": 1}, "executionTime": 5_000, "queueWaitTime": 300},
            ]
        },
    )

    assert (run["status"], run["output"]) == ("COMPLETED", {"v": 1})
    last = run["tasks"][1]
    assert (last["startTime"] - last["scheduledTime"], last["endTime"] - last["startTime"]) == (300, 5_000)


def test_no_worker_sees_a_tested_task(api: Any) -> None:
    """What has no result stays open in the answer, is never handed out, and is terminated afterwards."""
    name = api.define(api.simple("a"))

    run = run_test(api, name, {})

    assert (run["status"], listed(run)) == ("RUNNING", [("a", "SCHEDULED")])
    assert api.poll("a") is None
    assert api.workflow(run["workflowId"])["status"] == "TERMINATED"


def test_a_mocked_call_is_not_made(api: Any) -> None:
    """An HTTP task with a result never reaches the network; one in a child neither."""
    http = {
        "name": "h",
        "taskReferenceName": "h",
        "type": "HTTP",
        "inputParameters": {"http_request": {"uri": "http://127.0.0.1:9/", "method": "GET"}},
    }
    kid = api.define(http, name="kid", outputParameters={"code": "${h.output.response.statusCode}"})
    child = {
        "name": "s",
        "taskReferenceName": "s",
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"name": kid, "version": 1},
    }
    name = api.define(child, api.simple("z"))
    answer = {"output": {"response": {"statusCode": 200}}}

    run = run_test(
        api,
        name,
        {"z": [{}]},
        subWorkflowTestRequest={"s": {"name": kid, "taskRefToMockOutput": {"h": [answer]}}},
    )

    assert run["status"] == "COMPLETED"
    assert run["tasks"][0]["outputData"]["code"] == 200


def test_loops_longer_than_a_step(api: Any) -> None:
    """A loop that goes on by itself over several steps is followed to its end."""
    noop = {"name": "n", "taskReferenceName": "n", "type": "NOOP"}
    name = api.define(loop(api, 120) | {"loopOver": [noop]}, api.simple("z"))

    run = run_test(api, name, {"z": [{}]})

    assert run["status"] == "COMPLETED"


def test_what_cannot_be_tested(api: Any) -> None:
    """An unknown definition is 404, an unknown status 400 with the name of the task."""
    unknown = api.post("/workflow/test", {"name": api.name("none"), "version": 1, "taskRefToMockOutput": {}})
    name = api.define(api.simple("a"))
    bad = api.post("/workflow/test", {"name": name, "taskRefToMockOutput": {"a": [{"status": "GOOD"}]}})

    assert unknown.status_code == 404
    assert unknown.json()["message"] == f"No such workflow defined. name={api.name('none')}, version=1"
    assert bad.status_code == 400
    assert 'taskRefToMockOutput.a: status is "GOOD"' in bad.json()["message"]
