"""The ends of a workflow: TERMINATE tasks, calls from outside, outputs, failure workflows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.core import events as ev
from engine.core.errors import ConflictError
from engine.core.model import TaskDef
from engine.testing.story import Story, child, fork, join, task


def _terminate(**given: Any) -> dict[str, Any]:
    return task("t", "TERMINATE", inputParameters=given)


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TERMINATED"])
def test_a_terminate_task_ends_the_workflow_as_it_says(status: str) -> None:
    """Its output becomes the workflow's; what runs beside it is cancelled."""
    given = {"terminationStatus": status, "terminationReason": "enough", "workflowOutput": {"n": 1}}
    story = Story.of(fork("f", [task("a")], [_terminate(**given)]), join("j", "a", "t"), task("z")).begun()

    assert (story.state, story.why, story.result) == (status, "enough", {"n": 1})
    assert story.shown == ["f COMPLETED", "a CANCELED", "t COMPLETED", "j CANCELED"]


def test_without_a_reason_one_is_made_up() -> None:
    """It names the task."""
    story = Story.of(_terminate(terminationStatus="FAILED")).begun()

    assert story.why == f"Workflow is FAILED by TERMINATE task: {story.newest('t').id}"


def test_a_scalar_output_is_wrapped() -> None:
    """An output is always an object."""
    story = Story.of(_terminate(terminationStatus="COMPLETED", workflowOutput="text")).begun()

    assert story.result == {"output": "text"}


def test_a_status_nobody_knows_fails_the_task() -> None:
    """And with it the workflow."""
    story = Story.of(_terminate(terminationStatus="DONE")).begun()

    assert story.shown == ["t FAILED"]
    assert story.reason_of("t") == "given termination status is not valid"


def test_the_output_is_the_last_tasks_when_nothing_else_is_said() -> None:
    """Without outputParameters."""
    story = Story.of(task("a"), task("b")).begun()
    story.done("a", n=1)
    story.done("b", n=2)

    assert story.result == {"n": 2}


def test_output_parameters_are_evaluated_at_the_end() -> None:
    """Whatever the status; a reference that never ran is null."""
    story = Story.of(
        task("a"), task("b"), outputParameters={"a": "${a.output.n}", "b": "${b.output.n}"},
        defs=[TaskDef(name="b", retry_count=0)],
    ).begun()  # fmt: skip
    story.done("a", n=1)
    story.fails("b")

    assert (story.state, story.result) == ("FAILED", {"a": 1, "b": None})


def test_a_call_from_outside_cancels_everything_open() -> None:
    """Queues and timers are empty afterwards, and children are told."""
    story = Story.of(fork("f", [task("a")], [child("c")]), join("j", "a", "c")).begun()

    story.tells(ev.Terminate(reason="stop it"))

    assert (story.state, story.why) == ("TERMINATED", "stop it")
    assert story.shown[1:] == ["a CANCELED", "c CANCELED", "j CANCELED"]
    told = story.messages[-1]
    assert (told.kind, told.target_id) == ("terminate_child", story.newest("c").state.sub_workflow_id)
    assert (
        msgspec.json.decode(told.body)["reason"] == "Parent workflow has been terminated with reason: stop it"
    )


def test_a_terminated_workflow_may_be_terminated_again_without_effect_a_completed_one_not() -> None:
    """The first is a repeat, the second a mistake."""
    story = Story.of(task("a")).begun()
    story.tells(ev.Terminate(reason="first"))
    assert not story.tells(ev.Terminate(reason="second")).changed
    assert story.why == "first"

    finished = Story.of(task("a")).begun()
    finished.done("a")
    with pytest.raises(ConflictError, match="Cannot terminate a COMPLETED workflow"):
        finished.tells(ev.Terminate(reason="late"))


def test_a_cancelled_task_tells_who_had_it() -> None:
    """Start, polls and worker are taken over from its lease."""
    story = Story.of(task("a")).begun()
    story.works_on("a")
    story.tells(ev.Terminate(reason=None))

    state = story.newest("a").state
    assert (state.worker_id, state.poll_count, state.start_time) == ("worker", 1, story.now_ms)


def test_a_failure_starts_the_failure_workflow() -> None:
    """A message carries what the compensation needs; its id is in the output of the failed one."""
    story = Story.of(
        task("a"),
        failureWorkflow="clean_up",
        failureWorkflowVersion=3,
        defs=[TaskDef(name="a", retry_count=0)],
    ).begun()
    story.fails("a", "boom")

    [message] = story.messages
    body = msgspec.json.decode(message.body)
    assert message.kind == "start_failure_workflow"
    assert (body["name"], body["version"], body["failed_workflow_id"]) == ("clean_up", 3, "w")
    assert (body["failure_status"], body["failure_task_id"]) == ("FAILED", story.newest("a").id)
    assert body["reason"] == story.why
    assert story.result == {"conductor.failure_workflow": message.target_id}


def test_a_call_from_outside_starts_no_failure_workflow() -> None:
    """Whoever ends it knows."""
    story = Story.of(task("a"), failureWorkflow="clean_up").begun()
    story.tells(ev.Terminate(reason="stop"))

    assert story.messages == []


def test_a_workflow_whose_tasks_all_run_at_once_is_complete_with_its_start() -> None:
    """One step from the start to the end."""
    story = Story.of(task("v", "SET_VARIABLE", inputParameters={"x": 1})).begun()

    assert story.state == "COMPLETED"
    assert story.row_version == 1
    assert story.header is not None
    assert story.header.variables == {"x": 1}
