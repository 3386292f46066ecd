"""DO_WHILE: iterations one by one, references with suffixes, progress kept as two numbers."""

from __future__ import annotations

from engine.core.model import TaskDef
from engine.testing.story import Story, fork, join, loop, switch, task


def test_the_first_iteration_begins_with_the_loop() -> None:
    """The loop runs, and its first task carries the iteration in its reference."""
    story = Story.of(loop("l", 2, task("x"))).begun()

    assert story.shown == ["l IN_PROGRESS", "x__1 SCHEDULED"]
    assert story.newest("x__1").head.iteration == 1


def test_each_iteration_begins_when_the_one_before_has_ended() -> None:
    """The condition is asked after each; at its end the loop holds the outputs of all iterations."""
    story = Story.of(loop("l", 2, task("x")), task("z")).begun()

    story.done("x__1", n=1)
    assert story.shown == ["l IN_PROGRESS", "x__1 COMPLETED", "x__2 SCHEDULED"]
    story.done("x__2", n=2)

    assert story.shown == ["l COMPLETED", "x__1 COMPLETED", "x__2 COMPLETED", "z SCHEDULED"]
    assert story.output_of("l") == {"iteration": 2, "1": {"x": {"n": 1}}, "2": {"x": {"n": 2}}}


def test_progress_is_two_numbers_whatever_went_before() -> None:
    """The header keeps the iteration and how many of its tasks are open, and forgets both at the end."""
    story = Story.of(loop("l", 3, task("x"), task("y"))).begun()
    assert story.header is not None

    story.done("x__1")
    assert (story.header.loops["l"].iteration, story.header.loops["l"].open) == (1, 1)
    story.done("y__1")
    assert (story.header.loops["l"].iteration, story.header.loops["l"].open) == (2, 1)
    story.finish_everything()

    assert story.header.loops == {}


def test_tasks_of_a_loop_are_named_without_suffix_in_expressions() -> None:
    """`${x.output}` is the newest iteration's."""
    ask = task("y", inputParameters={"seen": "${x.output.n}"})
    story = Story.of(loop("l", 2, task("x"), ask)).begun()

    story.done("x__1", n="first")
    assert story.input_of("y__1") == {"seen": "first"}
    story.done("y__1")
    story.done("x__2", n="second")

    assert story.input_of("y__2") == {"seen": "second"}


def test_a_failed_task_is_tried_again_within_its_iteration() -> None:
    """The new attempt keeps reference and iteration; the loop waits for it."""
    quick = TaskDef(name="x", retry_count=1, retry_delay_seconds=0)
    story = Story.of(loop("l", 1, task("x")), defs=[quick]).begun()

    story.fails("x__1")
    assert [(a.head.retry_count, a.head.iteration) for a in story.attempts("x__1")] == [(0, 1), (1, 1)]
    story.done("x__1", n=2)

    assert story.output_of("l") == {"iteration": 1, "1": {"x": {"n": 2}}}
    assert story.state == "COMPLETED"


def test_a_failure_without_attempts_left_ends_the_workflow_and_cancels_the_loop() -> None:
    """The cancelled loop tells in which iteration it was."""
    story = Story.of(loop("l", 3, task("x")), defs=[TaskDef(name="x", retry_count=0)]).begun()

    story.done("x__1")
    story.fails("x__2")

    assert story.shown == ["l CANCELED", "x__1 COMPLETED", "x__2 FAILED"]
    assert story.newest("l").head.iteration == 2
    assert story.state == "FAILED"


def test_a_list_loop_has_one_iteration_for_each_item() -> None:
    """`items` and no condition: the body sees loopItem."""
    body = task("x", inputParameters={"item": "${l.output.loopItem}"})
    looped = task("l", "DO_WHILE", items="${workflow.input.names}", loopCondition="", loopOver=[body])
    story = Story.of(looped).begun(names=["one", "two"])

    assert story.input_of("x__1") == {"item": "one"}
    story.done("x__1")
    assert story.input_of("x__2") == {"item": "two"}
    story.done("x__2")

    assert story.state == "COMPLETED"
    assert story.output_of("l") | {"1": 0, "2": 0} == {
        "iteration": 2, "1": 0, "2": 0, "loopIndex": 1, "loopItem": "two",
    }  # fmt: skip


def test_a_loop_over_an_empty_list_ends_at_once() -> None:
    """No iteration, output {"iteration": 0}, and the flow goes on."""
    looped = task("l", "DO_WHILE", items="${workflow.input.names}", loopCondition="", loopOver=[task("x")])
    story = Story.of(looped, task("z")).begun(names=[])

    assert story.shown == ["l COMPLETED", "z SCHEDULED"]
    assert story.output_of("l") == {"iteration": 0}


def test_a_fork_inside_a_loop_joins_within_its_iteration() -> None:
    """Fork, branches and JOIN carry the suffix; the next iteration begins after the JOIN."""
    story = Story.of(loop("l", 2, fork("f", [task("a")], [task("b")]), join("j", "a", "b"))).begun()
    assert story.shown == [
        "l IN_PROGRESS", "f__1 COMPLETED", "a__1 SCHEDULED", "b__1 SCHEDULED", "j__1 IN_PROGRESS",
    ]  # fmt: skip

    story.done("a__1", n=1)
    story.done("b__1", n=2)

    assert story.output_of("j__1") == {"a__1": {"n": 1}, "b__1": {"n": 2}}
    assert story.open_refs() == ["l", "a__2", "b__2", "j__2"]


def test_a_switch_inside_a_loop_chooses_anew_in_each_iteration() -> None:
    """The untaken branch leaves nothing behind that the loop would wait for."""
    chosen = switch("s", "${x.output.go}", {"left": [task("a")]}, task("b"))
    story = Story.of(loop("l", 2, task("x"), chosen)).begun()

    story.done("x__1", go="left")
    assert story.open_refs() == ["l", "a__1"]
    story.done("a__1")
    story.done("x__2", go="right")

    assert story.open_refs() == ["l", "b__2"]


def test_nested_loops_name_every_iteration_around_a_task() -> None:
    """`x__2__1` is the first inner iteration of the second outer one, so nothing collides."""
    story = Story.of(loop("o", 2, loop("i", 2, task("x")))).begun()

    for ref in ("x__1__1", "x__1__2", "x__2__1", "x__2__2"):
        assert story.open_refs()[-1] == ref
        story.done(ref)

    assert story.state == "COMPLETED"
    assert story.output_of("o")["iteration"] == 2


def test_an_endless_loop_of_tasks_that_end_at_once_is_cut_into_steps() -> None:
    """One event creates a bounded number of tasks; the rest follows by a message to the workflow itself."""
    story = Story.of(loop("l", 200, task("v", "SET_VARIABLE", inputParameters={"n": 1}))).begun()
    assert story.header is not None
    assert story.header.pending
    assert len(story.tasks) < 60
    assert [message.kind for message in story.messages] == ["continue"]

    story.finish_everything()

    assert story.state == "COMPLETED"
    assert len(story.tasks) == 201
