"""What follows an attempt that failed: another one later, or the end."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.model import RetryLogic, TaskDef
from engine.core.retry import DELAY_SECONDS_MAX, delay_seconds
from engine.core.statuses import TaskStatus
from engine.testing.story import Story, reason, task


def _policy(logic: RetryLogic = RetryLogic.FIXED, **members: int) -> TaskDef:
    usual: dict[str, Any] = {"name": "a", "retry_count": 5, "retry_delay_seconds": 3}
    return TaskDef(retry_logic=logic, **(usual | members))


def _story(policy: TaskDef, **members: Any) -> Story:
    return Story.of(task("a", **members), task("z"), defs=[policy]).begun()


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (_policy(RetryLogic.FIXED), [3, 3, 3, 3, 3]),
        (_policy(RetryLogic.LINEAR_BACKOFF, backoff_scale_factor=2), [6, 12, 18, 24, 30]),
        (_policy(RetryLogic.EXPONENTIAL_BACKOFF), [3, 6, 12, 24, 48]),
        (_policy(RetryLogic.EXPONENTIAL_BACKOFF, max_retry_delay_seconds=10), [3, 6, 10, 10, 10]),
    ],
)
def test_each_backoff_gives_its_pauses_in_seconds(policy: TaskDef, delays: list[int]) -> None:
    """The pause before each further attempt, as the queue and the wire see it."""
    story = _story(policy)

    for delay_s in delays:
        story.fails("a")
        attempt = story.newest("a")
        assert attempt.head.start_delay_in_seconds == delay_s
        assert attempt.state.callback_after_seconds == delay_s
        assert story.queue[attempt.id].due_ms == story.now_ms + delay_s * 1000


def test_a_delay_never_overflows() -> None:
    """Many doublings end at the largest delay the wire can carry."""
    policy = _policy(RetryLogic.EXPONENTIAL_BACKOFF)

    assert delay_seconds(policy, 500) == DELAY_SECONDS_MAX


def test_jitter_moves_the_instant_but_not_what_the_wire_shows() -> None:
    """Drawn from 0 to backoffJitterMs, so that a thousand failures do not come back as one wave."""
    drawn = set()
    for n in range(8):
        story = _story(_policy(backoff_jitter_ms=400))
        story._serial = 100 * n  # another seed for the step
        story.fails("a")
        attempt = story.newest("a")
        drawn.add(story.queue[attempt.id].due_ms - story.now_ms - 3_000)
        assert attempt.head.start_delay_in_seconds == 3

    assert all(0 <= jitter_ms <= 400 for jitter_ms in drawn)
    assert len(drawn) > 4


def test_a_new_attempt_is_a_task_of_its_own() -> None:
    """New id and place in the list, count one higher, no worker; the reason of the failure stays visible."""
    story = _story(_policy())
    story.works_on("a")
    story.fails("a", "boom")

    first, second = story.attempts("a")

    assert (first.status, first.state.retried, first.state.executed) == (TaskStatus.FAILED, True, False)
    assert (second.status, second.head.retry_count, second.head.seq) == (TaskStatus.SCHEDULED, 1, 2)
    assert second.head.retried_task_id == first.id
    assert reason(second) == "boom"
    assert second.state.poll_count == second.state.start_time == 0
    assert second.links.first_scheduled_ms == first.links.first_scheduled_ms


def test_a_new_attempt_sees_its_input_afresh() -> None:
    """Expressions are evaluated again, over what the old attempt got."""
    given = {"id": "${CPEWF_TASK_ID}", "fixed": 1}
    story = Story.of(task("a", inputParameters=given), defs=[_policy()]).begun()
    story.fails("a")

    first, second = story.attempts("a")

    assert story.input_of("a") == {"id": second.id, "fixed": 1}
    assert first.id != second.id


def test_the_last_attempt_fails_the_workflow() -> None:
    """`Task ID failed with status: STATUS and reason: 'REASON'`."""
    story = _story(_policy(retry_count=1))
    story.fails("a", "first")
    story.fails("a", "second")

    last = story.newest("a")

    assert story.shown == ["a FAILED", "a FAILED"]
    assert (story.state, story.why) == (
        "FAILED", f"Task {last.id} failed with status: FAILED and reason: 'second'",
    )  # fmt: skip


def test_a_failure_without_a_reason_prints_null() -> None:
    """As upstream prints what is not there."""
    story = _story(_policy(retry_count=0))
    story.fails("a", None)

    assert story.why is not None
    assert story.why.endswith("and reason: 'null'")


def test_a_terminal_error_is_never_tried_again() -> None:
    """The worker knows that no attempt can help."""
    story = _story(_policy())
    story.fails("a", status=TaskStatus.FAILED_WITH_TERMINAL_ERROR)

    assert story.shown == ["a FAILED_WITH_TERMINAL_ERROR"]
    assert story.state == "FAILED"


def test_the_tasks_own_retry_count_goes_before_its_definitions() -> None:
    """Zero in the workflow means no retry, whatever the task definition says."""
    story = _story(_policy(retry_count=5), retryCount=0)
    story.fails("a")

    assert story.shown == ["a FAILED"]


def test_total_time_spent_ends_the_retries() -> None:
    """It counts from the first attempt's scheduling, pauses included."""
    story = _story(_policy(total_timeout_seconds=60))
    story.passes(61)
    story.fails("a")

    assert story.why == (
        f"Task {story.newest('a').id}/a exceeded total timeout of 60 seconds "
        "(elapsed 61 seconds across all attempts). "
        "No further retries will be attempted."
    )


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.IN_PROGRESS])
def test_a_late_report_of_an_old_attempt_changes_nothing(status: TaskStatus) -> None:
    """The lost attempt's worker may say what it likes; the answer is still a yes."""
    story = _story(_policy())
    old = story.newest("a").id
    story.fails("a")
    before = story.shown

    assert not story.tells(story.report(old, status, {"late": 1})).changed
    assert story.shown == before
