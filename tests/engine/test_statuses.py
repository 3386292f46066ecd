"""The tables of legal moves say what they should, for every pair of statuses."""

from __future__ import annotations

import pytest

from engine.core import statuses as s
from engine.core.statuses import TaskStatus as T
from engine.core.statuses import WorkflowStatus as W


def test_every_status_has_its_row() -> None:
    """A status without a row would raise instead of refusing."""
    assert set(s.TASK_MOVES) == set(T)
    assert set(s.WORKFLOW_MOVES) == set(W)


def test_open_and_ended_are_the_two_halves() -> None:
    """Nothing is both, nothing is neither."""
    assert set(T) == s.TASK_OPEN | s.TASK_ENDED
    assert not s.TASK_OPEN & s.TASK_ENDED
    assert set(W) == s.WORKFLOW_OPEN | s.WORKFLOW_ENDED
    assert not s.WORKFLOW_OPEN & s.WORKFLOW_ENDED


@pytest.mark.parametrize("status", sorted(s.TASK_OPEN))
def test_an_open_task_may_become_anything(status: T) -> None:
    """A worker may report any status, and IN_PROGRESS puts a task back."""
    assert s.TASK_MOVES[status] == set(T)


@pytest.mark.parametrize("status", sorted(s.TASK_ENDED))
def test_an_ended_task_moves_only_to_be_forgiven(status: T) -> None:
    """An optional task's failure becomes COMPLETED_WITH_ERRORS; a success stays what it is."""
    forgiven = set() if status in s.TASK_SUCCESSFUL else {T.COMPLETED_WITH_ERRORS}
    assert s.TASK_MOVES[status] == forgiven


def test_only_failures_and_timeouts_are_tried_again() -> None:
    """Not what was cancelled, and not what the worker called hopeless."""
    assert {T.FAILED, T.TIMED_OUT} == s.TASK_RETRIABLE


def test_a_skipped_task_is_never_revived() -> None:
    """Operations bring back anything else that ended, as open."""
    assert set(s.TASK_REVIVALS) == s.TASK_ENDED - {T.SKIPPED}
    assert all(targets == s.TASK_OPEN for targets in s.TASK_REVIVALS.values())


def test_a_workflow_ends_once() -> None:
    """Only TERMINATED may be written over a failure; nothing follows a success or a termination."""
    assert s.WORKFLOW_MOVES[W.COMPLETED] == s.WORKFLOW_MOVES[W.TERMINATED] == frozenset()
    assert s.WORKFLOW_MOVES[W.FAILED] == s.WORKFLOW_MOVES[W.TIMED_OUT] == {W.TERMINATED}


def test_an_ended_workflow_is_revived_as_running() -> None:
    """Retry, rerun and restart know no other way."""
    assert set(s.WORKFLOW_REVIVALS) == s.WORKFLOW_ENDED
    assert all(targets == {W.RUNNING} for targets in s.WORKFLOW_REVIVALS.values())
