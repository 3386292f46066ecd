"""optional forgives a task's failure; permissive lets the rest finish first."""

from __future__ import annotations

from engine.core.model import TaskDef, TimeoutPolicy
from engine.core.statuses import TaskStatus
from engine.testing.story import Story, child, dynamic, fork, join, task

ONCE = TaskDef(name="a", retry_count=0)
TWICE = TaskDef(name="a", retry_count=1, retry_delay_seconds=0)


def test_an_optional_task_that_fails_completes_with_errors() -> None:
    """The flow goes on; output and reason of the failure stay."""
    story = Story.of(task("a", optional=True), task("z"), defs=[ONCE]).begun()

    story.fails("a", "no matter")

    assert story.shown == ["a COMPLETED_WITH_ERRORS", "z SCHEDULED"]
    assert story.reason_of("a") == "no matter"


def test_an_optional_task_is_retried_first() -> None:
    """Forgiveness comes when the attempts are spent."""
    story = Story.of(task("a", optional=True), task("z"), defs=[TWICE]).begun()

    story.fails("a")
    assert story.shown == ["a FAILED", "a SCHEDULED"]
    story.fails("a")

    assert story.shown == ["a FAILED", "a COMPLETED_WITH_ERRORS", "z SCHEDULED"]


def test_a_terminal_error_of_an_optional_task_is_forgiven_at_once() -> None:
    """No attempt helps, and none is needed."""
    story = Story.of(task("a", optional=True), task("z"), defs=[TWICE]).begun()

    story.fails("a", status=TaskStatus.FAILED_WITH_TERMINAL_ERROR)

    assert story.shown == ["a COMPLETED_WITH_ERRORS", "z SCHEDULED"]


def test_a_workflow_with_a_forgiven_task_completes() -> None:
    """Forgiven without another attempt, it is not among the failed ones."""
    story = Story.of(task("a", optional=True), task("z"), defs=[ONCE]).begun()
    story.fails("a")
    story.done("z", all="well")

    assert story.state == "COMPLETED"
    assert story.result == {"all": "well"}
    assert story.header is not None
    assert story.header.failed_refs == []


def test_a_permissive_task_fails_the_workflow_only_at_its_end() -> None:
    """The reason is the task's, in the words for all such tasks."""
    story = Story.of(task("a", permissive=True), task("z"), defs=[ONCE]).begun()
    failed = story.newest("a").id

    story.fails("a", "boom")
    assert story.shown == ["a FAILED", "z SCHEDULED"]
    assert story.state == "RUNNING"
    story.done("z")

    assert story.state == "FAILED"
    assert story.why == f"Task {failed} failed with status: FAILED and reason: 'boom'"


def test_an_optional_child_that_fails_is_forgiven() -> None:
    """A sub-workflow is a task like any other here."""
    from engine.core.statuses import WorkflowStatus

    story = Story.of(child("c", optional=True), task("z")).begun()

    story.tells(story.child_end(story.newest("c"), WorkflowStatus.FAILED))

    assert story.shown == ["c COMPLETED_WITH_ERRORS", "z SCHEDULED"]


def test_a_permissive_task_with_its_total_time_spent_is_tolerated() -> None:
    """No attempt is left for another reason than the count, and the flow goes on all the same."""
    policy = TaskDef(name="a", retry_count=5, total_timeout_seconds=10, timeout_policy=TimeoutPolicy.RETRY)
    story = Story.of(task("a", permissive=True), task("z"), defs=[policy]).begun()
    story.passes(11)

    story.fails("a", "too late")

    assert story.shown == ["a FAILED", "z SCHEDULED"]


def test_a_join_shows_its_branches_up_to_the_first_that_failed() -> None:
    """As upstream, and so does the workflow that fails through it."""
    branches = fork("f", [task("a", permissive=True)], [task("b")])
    story = Story.of(branches, join("j", "a", "b"), defs=[ONCE]).begun()
    story.fails("a", "soft")
    story.done("b", y=1)

    assert (story.state, story.output_of("j"), story.result) == ("FAILED", {}, {})


def test_a_workflow_that_failed_before_its_first_task_has_no_output() -> None:
    """There is nothing to evaluate its outputParameters from."""
    story = Story.of(dynamic("f", tasks=None, inputs={}), join("j"), outputParameters={"o": "${j.output}"})

    story.begun()

    assert (story.state, story.shown, story.result) == ("FAILED", [], {})
