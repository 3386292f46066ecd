"""WAIT and HUMAN: open until a timer or somebody outside ends them."""

from __future__ import annotations

import pytest

from engine.core.statuses import TaskStatus
from engine.testing.story import Story, task

START_MS = 1_000_000


def _waits(**given: str) -> Story:
    return Story.of(task("w", "WAIT", inputParameters=given), task("z")).begun()


def test_a_duration_is_one_durable_timer() -> None:
    """The instant is fixed when the task begins; nothing looks at the task before."""
    story = _waits(duration="1 hour 30 seconds")

    [timer] = story.timers.values()
    assert (timer.kind, timer.due_ms) == ("wait", START_MS + 3_630_000)
    assert story.newest("w").state.callback_after_seconds == 3630
    story.timer("w")

    assert story.shown == ["w COMPLETED", "z SCHEDULED"]
    assert story.output_of("w") == {}
    assert not story.timers


def test_a_date_in_the_past_is_due_at_once() -> None:
    """It still goes through the timer, so that a step never waits."""
    story = _waits(until="1970-01-01 00:01")

    [timer] = story.timers.values()
    assert timer.due_ms == START_MS


def test_a_wait_without_an_end_is_ended_by_an_update() -> None:
    """Neither duration nor date: no timer; a report completes it with its output."""
    story = _waits()
    assert not story.timers

    story.done("w", said="go")

    assert story.shown == ["w COMPLETED", "z SCHEDULED"]
    assert story.output_of("w") == {"said": "go"}


def test_an_update_before_the_instant_takes_the_timer_away() -> None:
    """Whoever comes first ends it; the other finds nothing."""
    story = _waits(duration="10s")

    story.done("w")

    assert not story.timers


def test_a_timer_that_comes_late_changes_nothing() -> None:
    """It fired while an update ended the task."""
    story = _waits(duration="10s")
    [timer] = story.timers.values()
    story.done("w")
    story.timers[timer.key] = timer

    assert not story.timer("w").changed
    assert not story.timers


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"duration": "1s", "until": "2030-01-01"},
            "Both 'duration' and 'until' specified. Please provide only one input",
        ),
        ({"until": "soon"}, "Invalid/Unsupported Wait Until format.  Provided: soon"),
    ],
)
def test_a_wait_that_cannot_be_understood_fails_at_once(given: dict[str, str], reason: str) -> None:
    """A terminal error, never tried again."""
    story = _waits(**given)

    assert story.newest("w").status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    assert story.reason_of("w") == reason
    assert story.state == "FAILED"


def test_a_human_task_waits_for_its_update() -> None:
    """It is in no queue and has no timer."""
    story = Story.of(task("h", "HUMAN"), task("z")).begun()
    assert story.shown == ["h IN_PROGRESS"]
    assert not story.queue

    story.done("h", approved=True)

    assert story.shown == ["h COMPLETED", "z SCHEDULED"]


def test_an_update_in_progress_keeps_a_human_task_open() -> None:
    """Its output is kept, its status too."""
    story = Story.of(task("h", "HUMAN")).begun()

    story.tells(story.report(story.newest("h").id, TaskStatus.IN_PROGRESS, {"seen": 1}))

    assert story.shown == ["h IN_PROGRESS"]
    assert story.output_of("h") == {"seen": 1}


def test_the_end_of_the_workflow_takes_its_timers_along() -> None:
    """A terminated workflow leaves no timer behind."""
    from engine.core import events as ev

    story = _waits(duration="10 days")

    story.tells(ev.Terminate(reason="enough"))

    assert not story.timers
    assert story.shown == ["w CANCELED"]
