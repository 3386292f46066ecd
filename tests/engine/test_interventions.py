"""Reset callbacks, set variables, jump: what they do to a running workflow, and when they are refused."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from engine.core import events as ev
from engine.core.errors import ConflictError, InvalidRequestError, NotFoundError
from engine.core.statuses import TaskStatus
from engine.testing.story import Story, child, fork, join, loop, switch, task

FAR_SECONDS = 300


def _postponed() -> Story:
    story = Story.of(task("a"), task("b")).begun()
    report = story.report(story.newest("a").id, TaskStatus.IN_PROGRESS)
    story.tells(replace(report, callback_after_seconds=FAR_SECONDS))
    return story


# ------------------------------------------------------------------------------------ reset callbacks
def test_a_postponed_task_becomes_due() -> None:
    """Its queue entry is due now, and it no longer says that it is called back later."""
    story = _postponed()
    before_ms = story.queue[story.newest("a").id].due_ms

    story.tells(ev.ResetCallbacks())

    assert before_ms == story.now_ms + FAR_SECONDS * 1000
    assert story.queue[story.newest("a").id].due_ms == story.now_ms
    assert story.newest("a").state.callback_after_seconds == 0


def test_nothing_postponed_changes_nothing() -> None:
    """A task that is due already is left alone, a held one too."""
    story = Story.of(fork("f", [task("a")], [task("b")]), join("j", "a", "b")).begun()
    story.works_on("a")

    assert story.tells(ev.ResetCallbacks()).changed is False


def test_an_ended_workflow_has_no_callbacks() -> None:
    """The refusal carries upstream's text."""
    story = Story.of(task("a")).begun()
    story.done("a")

    with pytest.raises(ConflictError, match=r"Workflow is in terminal state\. Status = COMPLETED"):
        story.tells(ev.ResetCallbacks())


# ------------------------------------------------------------------------------------ variables
def test_variables_are_written_over() -> None:
    """Members given replace members of that name, others stay; the next task sees them."""
    story = Story.of(
        task("a"),
        task("b", inputParameters={"v": "${workflow.variables}"}),
        variables={"x": 1, "kept": True},
    ).begun()

    story.tells(ev.SetVariables(variables=Raw(b'{"x":2,"y":[3]}')))
    story.done("a")

    assert story.input_of("b") == {"v": {"x": 2, "y": [3], "kept": True}}


def test_lists_grow_when_told_to_append() -> None:
    """A list is continued by a list or by one value; what is no list is replaced."""
    story = Story.of(task("a"), variables={"l": [1], "x": 1}).begun()

    story.tells(ev.SetVariables(variables=Raw(b'{"l":[2,3],"x":5}'), append=True))
    story.tells(ev.SetVariables(variables=Raw(b'{"l":4}'), append=True))

    assert story.header is not None
    assert story.header.variables == {"l": [1, 2, 3, 4], "x": 5}


def test_variables_are_bounded() -> None:
    """Too many bytes are refused as SET_VARIABLE refuses them, and nothing changes."""
    story = Story.of(task("a"), variables={"x": 1}).begun()

    with pytest.raises(InvalidRequestError, match="greater than the permissible limit: 262144 bytes"):
        story.tells(ev.SetVariables(variables=Raw(b'{"x":"' + b"y" * 262_144 + b'"}')))

    assert story.header is not None
    assert story.header.variables == {"x": 1}


def test_an_ended_workflows_variables_are_final() -> None:
    """They are part of its result."""
    story = Story.of(task("a")).begun()
    story.done("a")

    with pytest.raises(ConflictError, match="variables are final"):
        story.tells(ev.SetVariables(variables=Raw(b"{}")))


# ------------------------------------------------------------------------------------ jump
def test_jump_forward_skips_what_is_open() -> None:
    """The open task becomes SKIPPED, those between are never created, the flow goes on from the target."""
    story = Story.of(task("a"), task("b"), task("c"), task("d")).begun()

    story.tells(ev.Jump(ref="c", input=Raw(b'{"hint":1}')))
    story.done("c")
    story.done("d")

    assert story.shown == ["a SKIPPED", "c COMPLETED", "d COMPLETED"]
    assert story.input_of("c") == {"hint": 1}
    assert story.state == "COMPLETED"


def test_jump_out_of_a_fork_and_a_loop() -> None:
    """Everything of them that is open goes, and no JOIN or loop waits for it any more."""
    story = Story.of(
        fork("f", [task("a")], [loop("l", 3, task("x"))]), join("j", "a", "l"), task("z")
    ).begun()

    story.tells(ev.Jump(ref="z"))
    story.done("z")

    assert story.state == "COMPLETED"
    assert "j SKIPPED" in story.shown
    assert "l SKIPPED" in story.shown


def test_jump_back_removes_what_came_after() -> None:
    """The target and what it led to are done anew."""
    story = Story.of(task("a"), task("b"), task("c")).begun()
    story.done("a", n=1)
    story.done("b")

    story.tells(ev.Jump(ref="a"))

    assert story.shown == ["a SCHEDULED"]
    for ref in ("a", "b", "c"):
        story.done(ref)
    assert story.state == "COMPLETED"


def test_jump_into_a_case() -> None:
    """A task of a SWITCH case stands on the switch's own level."""
    story = Story.of(task("a"), switch("s", "x", {"x": [task("b")]}, task("e")), task("z")).begun()

    story.tells(ev.Jump(ref="e"))
    story.done("e")

    assert story.shown == ["a SKIPPED", "e COMPLETED", "z SCHEDULED"]


def test_a_child_jumped_away_from_is_terminated() -> None:
    """The message that ends it leaves with the step."""
    story = Story.of(child("s"), task("z")).begun()

    story.tells(ev.Jump(ref="z"))

    assert [message.kind for message in story.messages][-1] == "terminate_child"


def test_jumps_that_are_refused() -> None:
    """An unknown task, one inside a fork, an input for a task that takes none, an ended workflow."""
    story = Story.of(
        task("a"), fork("f", [task("x")], [task("y")]), join("j", "x", "y"), task("n", "NOOP")
    ).begun()

    with pytest.raises(NotFoundError, match="no task with reference nobody"):
        story.tells(ev.Jump(ref="nobody"))
    with pytest.raises(InvalidRequestError, match="Task x is inside f; jump to f"):
        story.tells(ev.Jump(ref="x"))
    with pytest.raises(InvalidRequestError, match="takes no input of its own"):
        story.tells(ev.Jump(ref="n", input=Raw(b'{"x":1}')))
    story.tells(ev.Jump(ref="n"))
    with pytest.raises(ConflictError, match="only a RUNNING one can jump"):
        story.tells(ev.Jump(ref="a"))
