"""The heartbeat contract: who holds a task, what is seen of its progress, what a lost holder can still do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.conftest import Wire

pytestmark = pytest.mark.server

RESPONSE_TIMEOUT_MS = 1000
LONG_POLL_MS = 5000


@pytest.fixture
def leased(wire: Wire) -> dict[str, Any]:
    """A task that `first` has polled; its definition allows a second of silence and two more attempts."""
    definition = {
        "name": wire.name("work"),
        "retryCount": 2,
        "retryDelaySeconds": 0,
        "responseTimeoutSeconds": RESPONSE_TIMEOUT_MS // 1000,
        "timeoutSeconds": 0,
        "timeoutPolicy": "RETRY",
    }
    wire.post("/metadata/taskdefs", [definition])
    task = {"name": wire.name("work"), "taskReferenceName": "work", "type": "SIMPLE"}
    wire.post("/metadata/workflow", {"name": wire.name("w"), "tasks": [task]})
    wire.start(wire.name("w"), {})
    polled = wire.poll(wire.name("work"), "first")
    assert polled is not None
    return polled


def test_progress_is_seen_on_the_open_task(wire: Wire, leased: dict[str, Any]) -> None:
    """A lease extension with output shows it at once, by task and by workflow; the next one replaces it."""
    heartbeat(wire, leased, fraction=0.25, fps=24)
    heartbeat(wire, leased, fraction=0.5)

    task = wire.get(f"/tasks/{leased['taskId']}")
    [listed] = wire.workflow(leased["workflowInstanceId"])["tasks"]

    assert (task["status"], task["outputData"]) == ("IN_PROGRESS", {"fraction": 0.5})
    assert (listed["status"], listed["outputData"]) == ("IN_PROGRESS", {"fraction": 0.5})


def test_an_extension_without_output_keeps_the_progress(wire: Wire, leased: dict[str, Any]) -> None:
    """What clients send that only extend leases takes nothing away."""
    heartbeat(wire, leased, fraction=0.5)

    wire.update(leased, status="IN_PROGRESS", extendLease=True)

    assert wire.get(f"/tasks/{leased['taskId']}")["outputData"] == {"fraction": 0.5}


@pytest.mark.parametrize("status", ["IN_PROGRESS", "COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"])
def test_an_extension_never_ends_a_task(wire: Wire, leased: dict[str, Any], status: str) -> None:
    """Whatever status comes with it, the task stays with its worker and the workflow runs."""
    wire.update(leased, status=status, extendLease=True, outputData={"fraction": 1})

    assert wire.get(f"/tasks/{leased['taskId']}")["status"] == "IN_PROGRESS"
    assert wire.workflow(leased["workflowInstanceId"])["status"] == "RUNNING"
    assert wire.poll(wire.name("work"), "second") is None


def test_extensions_keep_the_task_for_as_long_as_they_come(wire: Wire, leased: dict[str, Any]) -> None:
    """Twice the response timeout, with heartbeats inside it: nobody else gets the task, and it completes."""
    pause_ms = RESPONSE_TIMEOUT_MS * 2 // 5
    for beat in range(2 * RESPONSE_TIMEOUT_MS // pause_ms):
        heartbeat(wire, leased, beat=beat)
        assert wire.poll(wire.name("work"), "second", wait_ms=pause_ms) is None
    wire.update(leased, status="COMPLETED", outputData={"by": "first"})

    workflow = wire.ended(leased["workflowInstanceId"])

    assert (workflow["status"], workflow["output"]) == ("COMPLETED", {"by": "first"})
    assert [task["retryCount"] for task in workflow["tasks"]] == [0]


def test_silence_brings_the_task_back(wire: Wire, leased: dict[str, Any]) -> None:
    """Without a word for the response timeout the attempt is lost and the next one goes to who waits."""
    heartbeat(wire, leased, fraction=0.5)

    again = wire.poll(wire.name("work"), "second", wait_ms=LONG_POLL_MS)

    assert again is not None
    assert again["taskId"] != leased["taskId"]
    assert (again["retryCount"], again["retriedTaskId"]) == (1, leased["taskId"])
    assert again.get("outputData", {}) == {}
    lost = wire.get(f"/tasks/{leased['taskId']}")
    assert (lost["status"], lost["retried"]) == ("TIMED_OUT", True)
    assert lost["endTime"] - lost["startTime"] >= RESPONSE_TIMEOUT_MS


@pytest.mark.parametrize(
    ("status", "extend"), [("COMPLETED", False), ("FAILED", False), ("IN_PROGRESS", True)]
)
def test_a_late_word_of_the_lost_attempt_changes_nothing(
    wire: Wire, leased: dict[str, Any], status: str, *, extend: bool
) -> None:
    """The lost worker's result or heartbeat is answered 200 and leaves the workflow as it was."""
    again = wire.poll(wire.name("work"), "second", wait_ms=LONG_POLL_MS)
    assert again is not None
    before = wire.workflow(leased["workflowInstanceId"])

    wire.update(leased, status=status, extendLease=extend, outputData={"by": "first"})

    assert wire.workflow(leased["workflowInstanceId"]) == before
    wire.update(again, status="COMPLETED", outputData={"by": "second"})
    workflow = wire.ended(leased["workflowInstanceId"])
    assert (workflow["status"], workflow["output"]) == ("COMPLETED", {"by": "second"})


def heartbeat(wire: Wire, task: dict[str, Any], **progress: Any) -> None:
    wire.update(task, status="IN_PROGRESS", extendLease=True, outputData=progress)
