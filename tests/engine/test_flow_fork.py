"""FORK_JOIN and JOIN: created in one step, counted down by events, never polled."""

from __future__ import annotations

from typing import Any

from engine.core.model import TaskDef
from engine.core.statuses import TaskStatus
from engine.testing.story import Story, fork, join, switch, task

ONCE = TaskDef(name="once", retry_count=0)


def _two_branches(**second: Any) -> Story:
    b = task("b", name="once", **second)
    story = Story.of(fork("f", [task("a", name="once")], [b]), join("j", "a", "b"), task("z"), defs=[ONCE])
    return story.begun()


def test_fork_branches_and_join_stand_in_the_list_at_once_in_this_order() -> None:
    """After the start: the FORK done, the first task of each branch, then the JOIN, already running."""
    story = _two_branches()

    assert story.shown == ["f COMPLETED", "a SCHEDULED", "b SCHEDULED", "j IN_PROGRESS"]
    assert [t.head.seq for t in story.listed()] == [1, 2, 3, 4]
    assert story.newest("f").head.task_type == "FORK"
    assert story.input_of("j") == {"joinOn": ["a", "b"]}


def test_the_join_counts_down_and_ends_with_the_last_branch() -> None:
    """The step that ends the last branch ends the JOIN with all outputs and schedules what follows."""
    story = _two_branches()
    assert story.header is not None
    assert (story.header.open, story.header.joins["j"].waiting) == (3, 2)

    story.done("b", from_b=2)
    assert (story.header.open, story.header.joins["j"].waiting) == (2, 1)
    story.done("a", from_a=1)

    assert story.shown[3:] == ["j COMPLETED", "z SCHEDULED"]
    assert story.output_of("j") == {"a": {"from_a": 1}, "b": {"from_b": 2}}
    assert not story.header.joins


def test_two_branches_that_end_in_one_step_complete_the_join_once() -> None:
    """Events decided together are counted one by one."""
    story = _two_branches()

    story.post(*[story.report(story.newest(ref).id, TaskStatus.COMPLETED) for ref in ("a", "b")])

    assert [line for line in story.shown if line.startswith(("j", "z"))] == ["j COMPLETED", "z SCHEDULED"]


def test_the_same_end_reported_twice_in_one_step_counts_once() -> None:
    """A duplicate in the same batch is late by then: accepted, without effect."""
    story = _two_branches()
    twice = story.report(story.newest("a").id, TaskStatus.COMPLETED)

    first, second = story.post(twice, twice)

    assert [getattr(first, "changed", None), getattr(second, "changed", None)] == [True, False]
    assert story.header is not None
    assert story.header.joins["j"].waiting == 1


def test_a_failed_branch_fails_the_workflow_and_cancels_the_rest() -> None:
    """Without attempts left the branch ends the workflow; its neighbours and the JOIN are cancelled."""
    story = _two_branches()
    failed = story.newest("a").id

    story.fails("a", "boom")

    assert story.state == "FAILED"
    assert story.why == f"Task {failed} failed with status: FAILED and reason: 'boom'"
    assert story.shown == ["f COMPLETED", "a FAILED", "b CANCELED", "j CANCELED"]
    assert story.header is not None
    assert story.header.failed_refs == ["a"]
    assert story.header.failed_names == ["once"]
    assert story.header.failed_task_id == failed


def test_an_optional_branch_that_fails_makes_the_join_complete_with_errors() -> None:
    """The flow goes on; the JOIN names the branch in its reason."""
    story = _two_branches(optional=True)
    forgiven = story.newest("b").id

    story.fails("b")
    story.done("a")

    assert story.shown[2:4] == ["b COMPLETED_WITH_ERRORS", "j COMPLETED_WITH_ERRORS"]
    assert story.reason_of("j") == f"once/{forgiven} completed with errors"
    assert story.shown[4] == "z SCHEDULED"


def test_a_permissive_branch_fails_the_join_only_when_all_have_ended() -> None:
    """The other branch may finish its work; then the JOIN fails with the branch's reason."""
    story = _two_branches(permissive=True)

    story.fails("b", "first words")
    assert story.shown[1:] == ["a SCHEDULED", "b FAILED", "j IN_PROGRESS"]
    story.done("a")

    assert story.state == "FAILED"
    assert story.newest("j").status is TaskStatus.FAILED
    assert story.reason_of("j") == "first words"


def test_a_retried_branch_keeps_the_join_waiting() -> None:
    """A failed attempt that is followed by another does not count."""
    story = Story.of(
        fork("f", [task("a")], [task("b")]),
        join("j", "a", "b"),
        defs=[TaskDef(name="a", retry_count=1, retry_delay_seconds=0)],
    ).begun()

    story.done("b")
    story.fails("a")
    assert story.newest("j").status is TaskStatus.IN_PROGRESS
    story.done("a", second="try")

    assert story.state == "COMPLETED"
    assert story.output_of("j") == {"a": {"second": "try"}}


def test_a_join_on_nothing_completes_at_once() -> None:
    """A fork whose JOIN names nobody goes on while its branches still run."""
    story = Story.of(fork("f", [task("a")]), join("j"), task("z")).begun()

    assert story.shown == ["f COMPLETED", "a SCHEDULED", "j COMPLETED", "z SCHEDULED"]


def test_a_join_waits_only_for_the_tasks_it_names() -> None:
    """It may name the first task of a branch; the rest of the branch runs beside what follows."""
    story = Story.of(fork("f", [task("a"), task("a2")], [task("b")]), join("j", "a", "b"), task("z")).begun()

    story.done("a")
    story.done("b")

    assert story.open_refs() == ["a2", "z"]


def test_forks_nest() -> None:
    """An inner JOIN is a task of the outer branch like any other."""
    inner = [fork("g", [task("x")], [task("y")]), join("k", "x", "y")]
    story = Story.of(fork("f", inner, [task("b")]), join("j", "k", "b")).begun()
    assert story.shown[:4] == ["f COMPLETED", "g COMPLETED", "x SCHEDULED", "y SCHEDULED"]
    assert story.shown[4:] == ["k IN_PROGRESS", "b SCHEDULED", "j IN_PROGRESS"]

    for ref in ("x", "b", "y"):
        story.done(ref, by=ref)

    assert story.state == "COMPLETED"
    assert story.output_of("j") == {"k": {"x": {"by": "x"}, "y": {"by": "y"}}, "b": {"by": "b"}}


def test_an_empty_branch_is_nothing_to_wait_for() -> None:
    """The fork goes on with its other branches."""
    story = Story.of(fork("f", [task("a", name="once")], []), join("j", "a"), task("z"), defs=[ONCE]).begun()

    story.done("a")

    assert story.shown == ["f COMPLETED", "a COMPLETED", "j COMPLETED", "z SCHEDULED"]


def test_a_switch_at_the_head_of_a_branch_stands_before_its_task_and_the_join() -> None:
    """Fork, each branch's head with what it chose, then the JOIN: the order that clients see upstream."""
    inner = switch("t", "a", {"a": [task("deep")]})
    outer = switch("s", "a", {"a": [inner, task("later")]})
    empty = switch("e", "none", {"a": [task("never")]})
    story = Story.of(
        fork("f", [outer], [task("d")], [empty, task("after")]), join("j", "later", "d", "after")
    )
    story.begun()

    assert [one.split()[0] for one in story.shown] == ["f", "s", "t", "deep", "d", "e", "j", "after"]
    story.finish_everything()
    assert story.state == "COMPLETED"


def test_a_switch_that_cannot_be_evaluated_fails_its_workflow_with_a_whole_fork() -> None:
    """The fork and its JOIN exist, so that a retry finds them."""
    bad = task("s", "SWITCH", evaluatorType="value-param", expression="on", decisionCases={"x": [task("a")]})
    story = Story.of(fork("f", [bad, task("b")], [task("c")]), join("j", "b", "c")).begun()

    assert [one.split()[0] for one in story.shown] == ["f", "s", "c", "j", "b"]
