"""Bodies of the messages that one workflow's step sends to another; see records.Message for delivery."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from engine.core.records import EMPTY_OBJECT
from engine.core.statuses import WorkflowStatus


class StartChild(Struct, kw_only=True):
    """`start_child`: start the sub-workflow of a task. `definition` is the inline one if there is one."""

    name: str
    version: int | None
    definition: dict[str, Any] | None
    input: Raw
    parent_workflow_id: str
    parent_task_id: str
    correlation_id: str | None = None
    task_to_domain: dict[str, str] = {}
    priority: int = 0
    idempotency_key: str | None = None
    idempotency_strategy: str | None = None


class StartWorkflowBody(Struct, kw_only=True):
    """`start_workflow`: a START_WORKFLOW task's request; the message's target is the new workflow's id."""

    name: str
    version: int | None
    definition: dict[str, Any] | None
    input: Raw
    correlation_id: str | None = None
    task_to_domain: dict[str, str] = {}
    priority: int = 0
    created_by: str | None = None
    idempotency_key: str | None = None
    idempotency_strategy: str | None = None
    report_to: tuple[str, str] | None = None


class ChildEndedBody(Struct, kw_only=True):
    """`child_ended`."""

    task_id: str
    child_id: str
    name: str
    status: WorkflowStatus
    output: Raw = EMPTY_OBJECT
    reason: str | None = None


class ChildRevivedBody(Struct, kw_only=True):
    """`child_revived`."""

    task_id: str
    child_id: str


class TerminateChild(Struct, kw_only=True):
    """`terminate_child`: the parent's task was cancelled; `parent_task_id` guards against another's child."""

    reason: str
    parent_task_id: str


class StartFailureWorkflow(Struct, kw_only=True):
    """`start_failure_workflow`: the compensation of a failed workflow; delivery puts its input together."""

    name: str
    version: int | None
    failed_workflow_id: str
    reason: str | None
    failure_status: str
    failure_task_id: str | None
    correlation_id: str | None = None
    task_to_domain: dict[str, str] = {}


class PublishEvent(Struct, kw_only=True):
    """`publish_event`: what an EVENT task says to its queue; the handlers of `queue` have to act on it.

    Attributes:
        sink: as the author wrote it.
        queue: the event's full name, `type:queue`; see engine/core/event_queues.py.
        payload: JSON of the event, usually an object.
        event_id: the EVENT task's id; a repeat of it is dropped.
    """

    sink: str
    queue: str
    payload: Raw
    event_id: str


class Notice(Struct, kw_only=True):
    """`notice`: a status listener is to be told; see engine/core/notices.py.

    Attributes:
        event: STARTED, COMPLETED, ... of a workflow, or a key of onStateChange.
        sink: an address or an event (`type:queue`); empty for the one of the settings.
        status: what the status was then.
        payload: what is sent; None for the workflow's summary.
    """

    event: str
    sink: str
    status: str
    at_ms: int
    payload: Raw | None = None
