"""Pause, resume, retry, restart, rerun and skip: what they do, and when they are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import Raw

from engine.core import events as ev
from engine.core.errors import (
    ConflictError,
    EngineError,
    IllegalStateError,
    InvalidRequestError,
    NotFoundError,
)
from engine.core.model import TaskDef
from engine.core.statuses import TaskStatus
from engine.testing.story import Story, child, dynamic, fork, join, loop, task

ONCE = [TaskDef(name=name, retry_count=0) for name in ("a", "b", "x")]


def _two() -> Story:
    return Story.of(task("a"), task("b"), defs=ONCE).begun(given=1)


def _failed() -> Story:
    story = _two()
    story.done("a", n=1)
    story.fails("b", "boom")
    return story


# ------------------------------------------------------------------------------------ pause, resume
def test_a_paused_workflow_takes_results_but_schedules_nothing() -> None:
    """What ended meanwhile leads on at the resume."""
    story = _two()
    story.tells(ev.Pause())

    story.done("a")
    assert (story.state, story.shown) == ("PAUSED", ["a COMPLETED"])
    story.tells(ev.Resume())

    assert (story.state, story.shown) == ("RUNNING", ["a COMPLETED", "b SCHEDULED"])


def test_a_failure_during_the_pause_is_decided_at_the_resume() -> None:
    """Until then the workflow is only paused."""
    story = _two()
    story.tells(ev.Pause())
    story.fails("a")
    assert story.state == "PAUSED"

    story.tells(ev.Resume())

    assert story.state == "FAILED"


def test_a_paused_fork_resumes_with_everything_that_ended() -> None:
    """Both branches ended during the pause: the JOIN completes once."""
    story = Story.of(fork("f", [task("a")], [task("b")]), join("j", "a", "b"), task("z")).begun()
    story.tells(ev.Pause())
    story.done("a")
    story.done("b")

    story.tells(ev.Resume())

    assert story.shown[3:] == ["j COMPLETED", "z SCHEDULED"]


def test_pausing_twice_is_no_error() -> None:
    """The second changes nothing."""
    story = _two()
    assert story.tells(ev.Pause()).changed
    assert not story.tells(ev.Pause()).changed


# ------------------------------------------------------------------------------------ retry
def test_retry_gives_the_failed_task_another_attempt() -> None:
    """Limits are ignored, the reason is cleared, what was complete stays."""
    story = _failed()
    story.passes(10)

    story.tells(ev.Retry())

    assert (story.state, story.why) == ("RUNNING", None)
    assert story.shown == ["a COMPLETED", "b FAILED", "b SCHEDULED"]
    first, second = story.attempts("b")
    assert (first.state.retried, first.state.executed, second.head.retry_count) == (True, True, 1)
    assert story.reason_of("b") is None
    assert story.queue[second.id].due_ms == story.now_ms
    story.done("b")
    assert story.state == "COMPLETED"


def test_retry_of_a_fork_brings_back_what_was_cancelled_and_its_join() -> None:
    """Cancelled branches get attempts, too; the JOIN is the same task, waiting again."""
    story = Story.of(fork("f", [task("a")], [task("b")]), join("j", "a", "b"), defs=ONCE).begun()
    story.fails("a")
    assert story.shown == ["f COMPLETED", "a FAILED", "b CANCELED", "j CANCELED"]

    story.tells(ev.Retry())

    assert story.open_refs() == ["j", "a", "b"]
    assert len(story.attempts("j")) == 1
    story.done("a")
    story.done("b")
    assert story.state == "COMPLETED"


def test_retry_inside_a_loop_goes_on_in_its_iteration() -> None:
    """The loop is revived in place and counts on."""
    story = Story.of(loop("l", 2, task("x")), defs=ONCE).begun()
    story.done("x__1")
    story.fails("x__2")

    story.tells(ev.Retry())

    assert story.open_refs() == ["l", "x__2"]
    story.done("x__2", n=2)
    assert story.output_of("l") == {"iteration": 2, "1": {"x": {}}, "2": {"x": {"n": 2}}}
    assert story.state == "COMPLETED"


def test_retry_of_a_failed_child_starts_a_new_one() -> None:
    """Without asking for the deepest failure."""
    from engine.core.statuses import WorkflowStatus

    story = Story.of(child("c"), defs=[TaskDef(name="c", retry_count=0)]).begun()
    story.tells(story.child_end(story.newest("c"), WorkflowStatus.FAILED))

    story.tells(ev.Retry())

    started = [message.target_id for message in story.messages if message.kind == "start_child"]
    assert len(set(started)) == 2


# ------------------------------------------------------------------------------------ restart, rerun
def test_restart_begins_again_under_the_same_id() -> None:
    """No task is left, the input is kept, times are new."""
    story = _failed()
    story.passes(100)

    story.tells(ev.Restart())

    assert (story.state, story.why, story.shown) == ("RUNNING", None, ["a SCHEDULED"])
    assert story.header is not None
    assert (story.header.create_ms, story.header.end_ms) == (story.now_ms, 0)
    assert bytes(story.input) == b'{"given":1}'
    assert story.newest("a").head.seq == 1


def test_restart_keeps_the_variables() -> None:
    """As upstream does."""
    story = Story.of(task("v", "SET_VARIABLE", inputParameters={"n": 1}), task("a"), defs=ONCE).begun()
    story.fails("a")

    story.tells(ev.Restart())

    assert story.header is not None
    assert story.header.variables == {"n": 1}


def test_rerun_from_a_task_takes_away_what_followed() -> None:
    """The task keeps its id and gets new input when given."""
    story = _two()
    story.done("a", n=1)
    story.done("b", n=2)
    from_id = story.newest("a").id

    story.tells(ev.Rerun(task_id=from_id, task_input={"fresh": True}))

    assert (story.state, story.shown) == ("RUNNING", ["a SCHEDULED"])
    assert story.newest("a").id == from_id
    assert story.input_of("a") == {"fresh": True}
    assert story.output_of("a") == {}
    story.finish_everything()
    assert story.state == "COMPLETED"


def test_rerun_of_one_branch_leaves_the_other_alone() -> None:
    """Upstream drops every task with a later number; here only what follows goes."""
    story = Story.of(fork("f", [task("a")], [task("b")]), join("j", "a", "b"), task("z")).begun()
    for ref in ("a", "b", "z"):
        story.done(ref)

    story.tells(ev.Rerun(task_id=story.newest("a").id))

    assert story.shown == ["f COMPLETED", "a SCHEDULED", "b COMPLETED", "j IN_PROGRESS"]


def test_rerun_without_a_task_begins_again_with_new_input() -> None:
    """The whole list goes; input and correlation id may be replaced."""
    story = _failed()

    story.tells(ev.Rerun(workflow_input={"given": 2}, correlation_id="later"))

    assert story.shown == ["a SCHEDULED"]
    assert bytes(story.input) == b'{"given":2}'
    assert story.header is not None
    assert story.header.correlation_id == "later"


# ------------------------------------------------------------------------------------ skip
def test_a_skipped_task_is_stepped_over_when_the_flow_comes_to_it() -> None:
    """Its record has the given output, which others may read."""
    tasks = [task("a"), task("b"), task("z", inputParameters={"seen": "${b.output.n}"})]
    story = Story.of(*tasks).begun()

    story.tells(ev.SkipTask(ref="b", output=Raw(b'{"n":7}')))
    story.done("a")

    assert story.shown == ["a COMPLETED", "b SKIPPED", "z SCHEDULED"]
    assert story.input_of("z") == {"seen": 7}


# ------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("prepare", "event", "kind", "text"),
    [
        (_failed, ev.Pause(), ConflictError, "has ended, status cannot be updated"),
        (_two, ev.Resume(), IllegalStateError, "is not PAUSED so cannot resume. Current status is RUNNING"),
        (_two, ev.Retry(), NotFoundError, "Workflow is still running.  status=RUNNING"),
        (_two, ev.Restart(), ConflictError, "is not in terminal state, unable to restart"),
        (_two, ev.Rerun(), ConflictError, "is not in terminal state, unable to rerun"),
        (_failed, ev.Rerun(task_id="nobody"), InvalidRequestError, "Task nobody not found"),
        (_failed, ev.SkipTask(ref="b"), IllegalStateError, "is not running so the task referenced by b"),
        (_two, ev.SkipTask(ref="a"), IllegalStateError, "a has already been processed, cannot be skipped"),
        (_two, ev.SkipTask(ref="q"), IllegalStateError, "q does not exist in the WorkflowDefinition story"),
    ],
)
def test_an_operation_that_does_not_fit_is_refused_and_changes_nothing(
    prepare: Callable[[], Story], event: ev.Event, kind: type[EngineError], text: str
) -> None:
    """With upstream's words and status, and no new version of the workflow."""
    story = prepare()
    version = story.row_version

    with pytest.raises(kind) as refusal:
        story.tells(event)

    assert text in str(refusal.value)
    assert story.row_version == version


def test_a_completed_workflow_has_nothing_to_retry() -> None:
    """Restart is the word for that."""
    story = _two()
    story.done("a")
    story.done("b")

    with pytest.raises(ConflictError, match="There are no retryable tasks"):
        story.tells(ev.Retry())


def test_a_workflow_declared_unrestartable_is_not_restarted_once_complete() -> None:
    """A failed one is, all the same."""
    story = Story.of(task("a"), restartable=False, defs=ONCE).begun()
    story.fails("a")
    story.tells(ev.Restart())
    story.done("a")

    with pytest.raises(NotFoundError, match="is non-restartable"):
        story.tells(ev.Restart())


def test_a_worker_hands_its_task_back_for_later() -> None:
    """IN_PROGRESS with callbackAfterSeconds: SCHEDULED again, due then; polls so far are remembered."""
    story = _two()
    story.works_on("a")
    report = story.report(story.newest("a").id, TaskStatus.IN_PROGRESS, {"half": True})
    report.callback_after_seconds = 20

    story.tells(report)

    waiting = story.newest("a")
    entry = story.queue[waiting.id]
    assert (waiting.status, story.output_of("a")) == (TaskStatus.SCHEDULED, {"half": True})
    assert entry.due_ms == story.now_ms + 20_000
    assert entry.lease is not None
    assert (entry.lease.held, entry.lease.poll_count) == (False, 1)


def test_a_rerun_takes_dynamic_branches_inside_a_later_loop_away() -> None:
    """They report to a JOIN of an iteration, and still follow a task outside the loop."""
    branches = [task("x0", type="SIMPLE"), task("x1", type="SIMPLE")]
    body = (dynamic("f", tasks=branches, inputs={}), join("j"))
    story = Story.of(task("a"), loop("l", 1, *body)).begun()
    story.done("a")
    story.finish_everything()

    story.tells(ev.Rerun(task_id=story.newest("a").id))

    assert story.shown == ["a SCHEDULED"]


def test_only_retry_and_resume_show_when_they_were() -> None:
    """A rerun leaves lastRetriedTime alone, and the workflow's timeout counts from it all the same."""
    story = Story.of(task("a"), defs=ONCE, timeoutSeconds=60, timeoutPolicy="TIME_OUT_WF").begun()
    story.passes(50)
    story.fails("a")
    story.passes(20)

    story.tells(ev.Rerun(task_id=story.newest("a").id))

    assert story.header is not None
    assert story.header.last_retried_ms == 0
    assert story.timers["workflow"].due_ms == story.now_ms + 60_000


def test_a_rerun_task_shows_who_had_it_and_why_until_somebody_polls_it() -> None:
    """As upstream: reason and worker stay on the task that runs again."""
    story = Story.of(task("a"), defs=ONCE).begun()
    story.works_on("a")
    story.fails("a", "boom")

    story.tells(ev.Rerun(task_id=story.newest("a").id))

    again = story.newest("a")
    assert (again.status, again.state.worker_id, story.reason_of("a")) == ("SCHEDULED", "worker", "boom")


def test_a_rerun_workflow_lists_attempts_that_failed_before() -> None:
    """An attempt that stays in the list as FAILED is named at the end, whatever came after it."""
    story = Story.of(task("a"), defs=[TaskDef(name="a", retry_count=1, retry_delay_seconds=0)]).begun()
    story.fails("a", "one")
    story.fails("a", "two")

    story.tells(ev.Rerun(task_id=story.newest("a").id))
    story.done("a")

    assert story.header is not None
    assert (story.state, story.header.failed_refs, story.header.failed_names) == ("COMPLETED", ["a"], ["a"])


def test_a_rerun_numbers_new_tasks_from_the_last_one_left() -> None:
    """The seq goes on where the list now ends."""
    story = Story.of(task("a"), task("b"), task("c"), defs=ONCE).begun()
    for ref in ("a", "b", "c"):
        story.done(ref)

    story.tells(ev.Rerun(task_id=story.newest("a").id))
    story.done("a")

    assert [(t.ref, t.head.seq) for t in story.listed()] == [("a", 1), ("b", 2)]
