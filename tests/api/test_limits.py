"""Limits as clients see them."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.server


def test_a_full_limit_answers_429(api: Any) -> None:
    """A definition whose policy is REJECT: the second start is refused and creates nothing."""
    config = {"concurrentExecLimit": 1, "policy": "REJECT"}
    name = api.define(api.simple("a"), rateLimitConfig=config)
    workflow_id = api.start(name)

    refused = api.post("/workflow", {"name": name, "input": {}})

    assert refused.status_code == 429
    assert refused.json()["message"].startswith(f"Workflow {name} may run 1 times at once")
    api.report(api.poll("a"))
    assert api.workflow(workflow_id)["status"] == "COMPLETED"
    assert api.start(name)


def test_a_workflow_that_waits_is_shown_so(api: Any) -> None:
    """RUNNING, rateLimited, with its key and without a task, until a slot is free."""
    name = api.define(
        api.simple("a"), rateLimitConfig={"rateLimitKey": "${workflow.input.c}", "concurrentExecLimit": 1}
    )
    api.start(name, {"c": "x"})
    waiting = api.workflow(api.start(name, {"c": "x"}))

    assert (waiting["status"], waiting["rateLimited"], waiting["rateLimitKey"]) == ("RUNNING", True, "x")
    assert waiting["tasks"] == []
    api.report(api.poll("a"))
    assert api.poll("a")["workflowInstanceId"] == waiting["workflowId"]
    begun = api.workflow(waiting["workflowId"])
    assert (begun["rateLimited"], len(begun["tasks"])) == (False, 1)


def test_a_limited_task_definition_is_kept_to(api: Any) -> None:
    """The limit counts as soon as it is registered."""
    name = api.define(api.simple("a"))
    api.start(name)
    api.start(name)
    limited = {"name": api.name("a"), "concurrentExecLimit": 1, "partitions": 4}
    assert api.post("/metadata/taskdefs", [limited]).status_code == 200

    assert len(api.get(f"/tasks/poll/batch/{api.name('a')}?count=5&timeout=50").json()) == 1
    assert api.get(f"/tasks/poll/batch/{api.name('a')}?count=5&timeout=50").json() == []


def test_impossible_partitions_are_refused(api: Any) -> None:
    """With the member and the bound."""
    refused = api.post("/metadata/taskdefs", [{"name": api.name("a"), "partitions": 1_000}])

    assert refused.status_code == 400
    assert "TaskDef partitions: 1000 must be between 0 and 256" in refused.text
