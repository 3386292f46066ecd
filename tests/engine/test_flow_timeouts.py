"""Four bounds on a task and one on the workflow; every one is an instant known beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core import events as ev
from engine.core.model import TaskDef, TimeoutPolicy
from engine.core.statuses import TaskStatus
from engine.testing.story import Story, task

RETRY, END, ALERT = TimeoutPolicy.RETRY, TimeoutPolicy.TIME_OUT_WF, TimeoutPolicy.ALERT_ONLY


def _story(policy: TimeoutPolicy = RETRY, **bounds: int) -> Story:
    usual: dict[str, Any] = {"retry_count": 1, "retry_delay_seconds": 0, "response_timeout_seconds": 0}
    definition = TaskDef(name="a", timeout_policy=policy, **(usual | bounds))
    return Story.of(task("a"), task("z"), defs=[definition]).begun()


def _due_s(story: Story) -> float:
    """Seconds from the start to the task's next deadline."""
    return (story.queue[story.newest("a").id].deadline_ms() - 1_000_000) / 1000


def test_without_bounds_there_is_no_deadline() -> None:
    """Nothing looks at the task ever again by itself."""
    story = _story()
    story.works_on("a")

    assert story.queue[story.newest("a").id].deadline_ms() == 0


def test_the_response_timeout_counts_from_the_last_sign_of_life() -> None:
    """A silent worker loses the task, whatever the policy; the retry rules decide what follows."""
    story = _story(ALERT, response_timeout_seconds=30)
    story.works_on("a")
    first = story.newest("a").id
    assert _due_s(story) == 30

    story.deadline("a")

    assert story.shown == ["a TIMED_OUT", "a SCHEDULED"]
    assert story.reason_of("a") == (
        f"responseTimeout: 30 exceeded for the taskId: {first} with Task Definition: a"
    )


def test_a_task_nobody_holds_has_no_response_to_miss() -> None:
    """The bound begins with the poll."""
    assert _story(response_timeout_seconds=30).queue.popitem()[1].deadline_ms() == 0


def test_a_renewed_lease_moves_the_deadline() -> None:
    """A deadline read before the renewal finds that there is more time."""
    story = _story(response_timeout_seconds=30)
    story.works_on("a")
    entry = story.queue[story.newest("a").id]
    stale = ev.DeadlinePassed(task_id=entry.task_id, entry=entry)
    story.passes(29)
    assert entry.lease is not None
    entry.lease.update_ms = story.now_ms
    story.passes(2)

    assert not story.tells(stale).changed
    assert _due_s(story) == 59


def test_the_run_timeout_counts_from_the_first_poll_whatever_the_worker_says() -> None:
    """Signs of life do not stretch it."""
    story = _story(timeout_seconds=10)
    story.passes(5)
    story.works_on("a")
    assert _due_s(story) == 15

    story.deadline("a")

    assert story.attempts("a")[0].status is TaskStatus.TIMED_OUT
    assert story.reason_of("a") == (
        "Task timed out after 10 seconds. Timeout configured as 10 seconds. "
        "Timeout policy configured to RETRY"
    )


def test_the_poll_timeout_counts_from_the_scheduling_until_somebody_takes_it() -> None:
    """It is gone while a worker has the task."""
    story = _story(poll_timeout_seconds=20)
    assert _due_s(story) == 20
    story.works_on("a")
    assert story.queue[story.newest("a").id].deadline_ms() == 0

    story = _story(poll_timeout_seconds=20)
    story.deadline("a")

    assert story.reason_of("a") == (
        "Task poll timed out after 20 seconds. Poll timeout configured as 20 seconds. "
        "Timeout policy configured to RETRY"
    )


def test_the_total_timeout_bounds_all_attempts_together() -> None:
    """The second attempt inherits the instant of the first."""
    story = _story(total_timeout_seconds=100)
    assert _due_s(story) == 100
    story.passes(60)
    story.fails("a")
    assert _due_s(story) == 100

    story.deadline("a")

    assert story.state == "TIMED_OUT"
    assert story.reason_of("a") == (
        f"Task a/{story.newest('a').id} exceeded total timeout of 100 seconds "
        "(elapsed 100 seconds across all attempts including retry delays). Timeout policy: RETRY"
    )


def test_policy_retry_gives_another_attempt_then_times_the_workflow_out() -> None:
    """The workflow ends as the task did."""
    story = _story(RETRY, timeout_seconds=10)

    for _ in range(2):
        story.works_on("a")
        story.deadline("a")

    assert story.shown == ["a TIMED_OUT", "a TIMED_OUT"]
    assert story.state == "TIMED_OUT"


def test_policy_time_out_wf_ends_the_workflow_at_once() -> None:
    """No retry; the reason is the timeout's own sentence."""
    story = _story(END, timeout_seconds=10)
    story.works_on("a")
    story.deadline("a")

    assert story.shown == ["a TIMED_OUT"]
    assert story.state == "TIMED_OUT"
    assert story.why == story.reason_of("a")


@pytest.mark.parametrize("bound", ["timeout_seconds", "poll_timeout_seconds", "total_timeout_seconds"])
def test_policy_alert_only_has_no_deadline(bound: str) -> None:
    """Neither a waiting nor a running task is ever ended by it."""
    story = _story(ALERT, **{bound: 10})
    assert story.queue[story.newest("a").id].deadline_ms() == 0
    story.works_on("a")

    assert story.queue[story.newest("a").id].deadline_ms() == 0


def test_policy_alert_only_is_not_applied_by_somebody_elses_deadline() -> None:
    """A response deadline that turns out to be renewed must not end a task for running long."""
    story = _story(ALERT, timeout_seconds=10, response_timeout_seconds=5)
    story.works_on("a")
    entry = story.queue[story.newest("a").id]
    assert entry.lease is not None
    story.passes(12)
    entry.lease.update_ms = story.now_ms

    assert not story.tells(ev.DeadlinePassed(task_id=entry.task_id, entry=entry)).changed
    assert story.shown == ["a SCHEDULED"]


def test_the_workflows_own_timeout_is_a_timer() -> None:
    """It cancels what is open."""
    story = Story.of(task("a"), timeoutSeconds=60, timeoutPolicy="TIME_OUT_WF").begun()
    assert story.timers["workflow"].due_ms == story.now_ms + 60_000

    story.post(ev.TimerFired(key="workflow", kind="workflow_timeout"))
    assert story.state == "RUNNING"  # too early: it is set again
    story.passes(60)
    story.post(ev.TimerFired(key="workflow", kind="workflow_timeout"))

    assert story.state == "TIMED_OUT"
    assert story.shown == ["a CANCELED"]
    assert story.why == (
        "Workflow timed out after 60 seconds. Timeout configured as 60 seconds. "
        "Timeout policy configured to TIME_OUT_WF"
    )


def test_a_workflow_that_only_alerts_has_no_timer() -> None:
    """The default policy ends nothing."""
    assert not Story.of(task("a"), timeoutSeconds=60).begun().timers


def test_a_resume_starts_the_workflows_clock_anew() -> None:
    """As upstream: from the last retry or resume."""
    story = Story.of(task("a"), timeoutSeconds=60, timeoutPolicy="TIME_OUT_WF").begun()
    story.tells(ev.Pause())
    story.passes(50)
    story.tells(ev.Resume())

    assert story.timers["workflow"].due_ms == story.now_ms + 60_000
