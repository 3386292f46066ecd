"""`keepLastN`: what a loop forgets, and that forgetting costs and breaks nothing."""

from __future__ import annotations

import pytest

from engine.core import events as ev
from engine.core.model import TaskDef
from engine.testing.story import Definition, Story, child, dynamic, fork, join, loop, switch, task


def _keeping(times: int, keep: int, *body: Definition) -> Definition:
    return loop("l", times, *body, inputParameters={"keepLastN": keep})


def test_only_the_last_rounds_keep_tasks_and_outputs() -> None:
    """Earlier rounds are gone from the list and from the loop's output."""
    story = Story.of(_keeping(5, 2, task("x")), task("z")).begun()

    for n in range(1, 6):
        story.done(f"x__{n}", n=n)

    assert story.shown == ["l COMPLETED", "x__4 COMPLETED", "x__5 COMPLETED", "z SCHEDULED"]
    assert story.output_of("l") == {"iteration": 5, "4": {"x": {"n": 4}}, "5": {"x": {"n": 5}}}


def test_every_attempt_of_a_round_goes_with_it() -> None:
    """Retried attempts are not left behind."""
    quick = TaskDef(name="x", retry_count=2, retry_delay_seconds=0)
    story = Story.of(_keeping(3, 1, task("x")), defs=[quick]).begun()
    story.fails("x__1")
    story.fails("x__1")
    story.done("x__1")

    story.done("x__2")

    assert story.shown == ["l IN_PROGRESS", "x__2 COMPLETED", "x__3 SCHEDULED"]


@pytest.mark.parametrize(
    "body",
    [
        [fork("f", [task("a")], [task("b")]), join("j", "a", "b")],
        [switch("s", "a", {"a": [task("a")], "b": [task("b")]})],
        [dynamic("f", tasks=[task("a"), task("b")], inputs={}), join("j")],
        [loop("m", 2, task("a"))],
        [loop("m", 3, task("a"), inputParameters={"keepLastN": 1}), task("b")],
        [child("c"), task("a", optional=True)],
        [task("w", "WAIT", inputParameters={"duration": "1 s"})],
    ],
)
def test_whatever_stands_in_the_body_is_forgotten(body: list[Definition]) -> None:
    """Branches, chosen cases, dynamic branches and loops inside go with their round, and only they do."""
    story = Story.of(_keeping(4, 1, *body), task("z")).begun()

    story.finish_everything()

    rounds = {one.links.suffix.split("__")[1] for one in story.listed() if one.links.suffix}
    assert rounds == {"4"}
    assert story.state == "COMPLETED"


def test_a_workflow_that_forgot_rounds_can_be_retried() -> None:
    """The failed round runs again; the forgotten ones stay forgotten."""
    story = Story.of(_keeping(3, 1, task("x")), defs=[TaskDef(name="x", retry_count=0)]).begun()
    story.done("x__1")
    story.done("x__2")
    story.fails("x__3")
    assert story.state == "FAILED"

    story.tells(ev.Retry())
    story.done("x__3", n=3)

    assert story.state == "COMPLETED"
    assert story.output_of("l") == {"iteration": 3, "3": {"x": {"n": 3}}}


@pytest.mark.parametrize("keep", [0, -1, "2", None, True])
def test_what_is_no_number_of_rounds_forgets_nothing(keep: object) -> None:
    """Upstream takes a JSON integer; anything else leaves all rounds."""
    story = Story.of(loop("l", 2, task("x"), inputParameters={"keepLastN": keep})).begun()

    story.done("x__1")
    story.done("x__2")

    assert story.shown == ["l COMPLETED", "x__1 COMPLETED", "x__2 COMPLETED"]


def test_forgetting_reads_the_same_few_facts_in_every_round() -> None:
    """A later round is not dearer than an early one: its tasks are found by name."""
    story = Story.of(_keeping(40, 1, task("x"))).begun()
    costs = []
    for n in range(1, 40):
        before = story.rounds
        story.done(f"x__{n}")
        costs.append(story.rounds - before)

    assert len(set(costs[2:])) == 1
