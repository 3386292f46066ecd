"""Which workers get a task: domains by type, by activity, and for everything; priorities ride along."""

from __future__ import annotations

import pytest

from engine.core import events as ev
from engine.testing.story import Story, task


def _started(domains: dict[str, str], polled_s_ago: dict[str, int] | None = None) -> Story:
    story = Story.of(task("a"), task("b"), task("w", "WAIT"))
    ago = polled_s_ago or {}
    story.domains = {"a": {name: story.now_ms - seconds * 1000 for name, seconds in ago.items()}}
    story.tells(ev.Start(task_to_domain=domains, priority=7, correlation_id="c"))
    return story


@pytest.mark.parametrize(
    ("domains", "polled_s_ago", "queue"),
    [
        ({}, {}, "a"),
        ({"a": "x"}, {}, "x:a"),
        ({"*": "all"}, {}, "all:a"),
        ({"*": "all", "a": "x"}, {}, "x:a"),
        ({"b": "x"}, {}, "a"),
        ({"a": "x, y"}, {}, "y:a"),
        ({"a": "x,y"}, {"x": 5}, "x:a"),
        ({"a": "x,y"}, {"x": 10, "y": 1}, "x:a"),
        ({"a": "x,y,z"}, {"x": 11, "y": 3}, "y:a"),
        ({"a": "x,NO_DOMAIN"}, {"x": 60}, "a"),
        ({"a": "no_domain"}, {}, "a"),
    ],
)
def test_the_first_served_domain_of_the_list_gets_the_task(
    domains: dict[str, str], polled_s_ago: dict[str, int], queue: str
) -> None:
    """Served is one that was polled within ten seconds; when none was, the last of the list is taken."""
    story = _started(domains, polled_s_ago)

    assert story.queue[story.newest("a").id].queue == queue


def test_system_tasks_have_no_domain() -> None:
    """The entry for everything does not concern them."""
    story = _started({"*": "all"})
    for ref in ("a", "b"):
        story.done(ref)

    assert not story.newest("w").head.domain


def test_a_further_attempt_stays_in_its_domain() -> None:
    """Though another domain would be chosen by now."""
    story = _started({"a": "x,y"}, {"x": 5})
    story.domains = {"a": {"y": story.now_ms}}

    story.fails("a")

    assert story.queue[story.newest("a").id].queue == "x:a"


def test_tasks_carry_priority_and_correlation_id_of_their_workflow() -> None:
    """In the queue and on the wire, and so do further attempts and children."""
    story = _started({})
    story.fails("a")

    for attempt in story.attempts("a"):
        assert (attempt.head.workflow_priority, attempt.head.correlation_id) == (7, "c")
    assert story.queue[story.newest("a").id].priority == 7
