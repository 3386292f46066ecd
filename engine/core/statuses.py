"""Task and workflow statuses, and the moves the engine may make between them.

The tables are the rule: a move that is not listed is refused and changes nothing.
Source of the status properties: conductor-oss/conductor, Task.Status and Workflow.WorkflowStatus.
"""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"
    FAILED_WITH_TERMINAL_ERROR = "FAILED_WITH_TERMINAL_ERROR"
    TIMED_OUT = "TIMED_OUT"
    CANCELED = "CANCELED"
    SKIPPED = "SKIPPED"


class WorkflowStatus(StrEnum):
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    TERMINATED = "TERMINATED"


_T, _W = TaskStatus, WorkflowStatus

TASK_OPEN = frozenset({_T.SCHEDULED, _T.IN_PROGRESS})
TASK_ENDED = frozenset(_T) - TASK_OPEN
TASK_SUCCESSFUL = frozenset({_T.COMPLETED, _T.COMPLETED_WITH_ERRORS, _T.SKIPPED})
TASK_RETRIABLE = frozenset({_T.FAILED, _T.TIMED_OUT})

WORKFLOW_OPEN = frozenset({_W.RUNNING, _W.PAUSED})
WORKFLOW_ENDED = frozenset(_W) - WORKFLOW_OPEN

# SCHEDULED to itself and IN_PROGRESS back to SCHEDULED: a worker that reports IN_PROGRESS hands the task back
# to its queue. From an ended status only an operation on the whole workflow (retry, rerun) leads back, and
# only in place for containers.
TASK_MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    _T.SCHEDULED: frozenset(_T),
    _T.IN_PROGRESS: frozenset(_T),
    _T.COMPLETED: frozenset(),
    _T.COMPLETED_WITH_ERRORS: frozenset(),
    _T.FAILED: frozenset({_T.COMPLETED_WITH_ERRORS}),
    _T.FAILED_WITH_TERMINAL_ERROR: frozenset({_T.COMPLETED_WITH_ERRORS}),
    _T.TIMED_OUT: frozenset({_T.COMPLETED_WITH_ERRORS}),
    _T.CANCELED: frozenset({_T.COMPLETED_WITH_ERRORS}),
    _T.SKIPPED: frozenset(),
}

# What retry and rerun may do beside TASK_MOVES: bring an ended task back in place.
TASK_REVIVALS: dict[TaskStatus, frozenset[TaskStatus]] = {
    status: frozenset({_T.SCHEDULED, _T.IN_PROGRESS}) for status in TASK_ENDED - {_T.SKIPPED}
}

WORKFLOW_MOVES: dict[WorkflowStatus, frozenset[WorkflowStatus]] = {
    _W.RUNNING: frozenset({_W.PAUSED, _W.COMPLETED, _W.FAILED, _W.TIMED_OUT, _W.TERMINATED}),
    _W.PAUSED: frozenset({_W.RUNNING, _W.COMPLETED, _W.FAILED, _W.TIMED_OUT, _W.TERMINATED}),
    _W.COMPLETED: frozenset(),
    _W.FAILED: frozenset({_W.TERMINATED}),  # DELETE on a failed workflow overwrites its status
    _W.TIMED_OUT: frozenset({_W.TERMINATED}),
    _W.TERMINATED: frozenset(),
}

# retry, rerun and restart, the only ways out of an end.
WORKFLOW_REVIVALS: dict[WorkflowStatus, frozenset[WorkflowStatus]] = {
    status: frozenset({_W.RUNNING}) for status in WORKFLOW_ENDED
}
