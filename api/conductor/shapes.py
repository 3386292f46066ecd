"""Bodies of the Conductor surface that are not engine records: read, written and documented.

Structs that only people read (`Task`, `Workflow`, summaries) describe what the engine already wrote as JSON.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from engine.core.model import WorkflowDef, WorkflowTask
from engine.core.search import FREE_TEXT_EXACT_MAX, TOTAL_EXACT_MAX
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.services.executions import REPORTABLE, StartRequest, TaskUpdate
from engine.services.tags import Tag

RESULT_STATUSES = frozenset(REPORTABLE)

TotalHits = Annotated[
    int,
    Meta(
        description=f"How many match, on every page. Exact up to {TOTAL_EXACT_MAX} "
        f"({FREE_TEXT_EXACT_MAX} with a free text); on PostgreSQL a larger number is an estimate. "
        "Pages beyond it are served all the same."
    ),
]


class Wire(Struct, kw_only=True, rename="camel"):
    """Unknown members are ignored; an explicit null means the default."""


class StartWorkflowRequest(StartRequest):
    """What to start. `workflowDef` starts a definition that nobody registered."""


class TaskExecLog(Wire):
    """One log line of a task; `createdTime` in Unix milliseconds."""

    log: str = ""
    task_id: str = ""
    created_time: int = 0


class TaskResult(TaskUpdate):
    """What a worker reports. With `extendLease` only the lease is renewed."""


class SignalResponse(Wire):
    """A run as a synchronous call answers it: a workflow, or the task that blocks it.

    `signalTimeout` says that the time was over before anything the call waited for had happened.
    """

    response_type: str
    target_workflow_id: str
    target_workflow_status: WorkflowStatus
    request_id: str
    workflow_id: str
    signal_timeout: bool
    input: dict[str, Any]
    output: dict[str, Any]
    status: str
    create_time: int
    update_time: int
    priority: int
    variables: dict[str, Any]
    tasks: list[Any]
    correlation_id: str | None = None
    created_by: str | None = None
    task_id: str | None = None
    task_type: str | None = None
    task_def_name: str | None = None
    reference_task_name: str | None = None
    retry_count: int | None = None
    retried_task_id: str | None = None
    workflow_type: str | None = None
    reason_for_incompletion: str | None = None


class RerunWorkflowRequest(Wire):
    """From which task to run again, and with which input; without a task everything runs again."""

    re_run_from_task_id: str | None = None
    workflow_input: dict[str, Any] | None = None
    task_input: dict[str, Any] | None = None
    correlation_id: str | None = None


class SkipTaskRequest(Wire):
    """Input and output of the skipped task."""

    task_input: dict[str, Any] | None = None
    task_output: dict[str, Any] | None = None


class BulkResponse(Wire):
    """Per workflow id what went wrong, and the ids (or names) that succeeded."""

    bulk_error_results: dict[str, str]
    bulk_successful_results: list[Any]


class Task(Wire):
    """A task as the wire shows it. Times are Unix milliseconds, 0 when unset."""

    task_type: str
    status: TaskStatus
    input_data: dict[str, Any]
    output_data: dict[str, Any]
    reference_task_name: str
    task_def_name: str
    task_id: str
    workflow_instance_id: str
    workflow_type: str
    retry_count: int
    seq: int
    poll_count: int
    scheduled_time: int
    start_time: int
    end_time: int
    update_time: int
    retried: bool
    executed: bool
    callback_from_worker: bool
    callback_after_seconds: int
    response_timeout_seconds: int
    start_delay_in_seconds: int
    workflow_priority: int
    iteration: int
    queue_wait_time: int
    loop_over_task: bool
    workflow_task: WorkflowTask
    worker_id: str | None = None
    domain: str | None = None
    correlation_id: str | None = None
    reason_for_incompletion: str | None = None
    retried_task_id: str | None = None
    sub_workflow_id: str | None = None


class Workflow(Wire):
    """A workflow execution as the wire shows it. Times are Unix milliseconds, 0 when unset."""

    workflow_id: str
    workflow_name: str
    workflow_version: int
    status: WorkflowStatus
    create_time: int
    start_time: int
    update_time: int
    end_time: int
    last_retried_time: int
    tasks: list[Task]
    input: dict[str, Any]
    output: dict[str, Any]
    variables: dict[str, Any]
    task_to_domain: dict[str, str]
    failed_reference_task_names: list[str]
    failed_task_names: list[str]
    priority: int
    workflow_definition: WorkflowDef
    correlation_id: str | None = None
    parent_workflow_id: str | None = None
    parent_workflow_task_id: str | None = None
    re_run_from_workflow_id: str | None = None
    reason_for_incompletion: str | None = None
    idempotency_key: str | None = None


class WorkflowStatusAnswer(Wire):
    """A workflow's status; output and variables when asked for."""

    workflow_id: str
    status: WorkflowStatus
    correlation_id: str | None = None
    output: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None


class WorkflowSummary(Wire):
    """A search hit. Times are ISO texts in UTC; input and output are texts."""

    workflow_type: str
    version: int
    workflow_id: str
    status: WorkflowStatus
    start_time: str = ""
    update_time: str = ""
    end_time: str = ""
    correlation_id: str | None = None
    input: str = ""
    output: str = ""
    input_size: int = 0
    output_size: int = 0
    reason_for_incompletion: str | None = None
    execution_time: int = 0
    failed_reference_task_names: str = ""
    failed_task_names: list[str] = []
    priority: int = 0
    parent_workflow_id: str = ""


class WorkflowSearchResult(Wire):
    """A page of summaries; `totalHits` counts the matches of all pages."""

    total_hits: TotalHits
    results: list[WorkflowSummary]


class FullWorkflowSearchResult(Wire):
    """A page of workflows without their tasks."""

    total_hits: TotalHits
    results: list[Workflow]


class TaskSearchResult(Wire):
    """A page of tasks."""

    total_hits: TotalHits
    results: list[Task]


class PollData(Wire):
    """When a worker last polled a queue, Unix milliseconds."""

    queue_name: str
    worker_id: str
    last_poll_time: int
    domain: str | None = None


class WorkflowDefSummary(Wire):
    """A registered version of a workflow; times are Unix milliseconds."""

    name: str
    version: int
    create_time: int | None = None
    update_time: int | None = None


class ExternalLocation(Wire):
    """Where to put or fetch a large payload, and the path that names it; both empty: nowhere."""

    uri: str | None = None
    path: str | None = None


class DefinitionWarning(Wire):
    """What looks wrong in a definition that is accepted, where, and what to do."""

    path: str
    message: str


class DefinitionWarnings(Wire):
    """Warnings; an answer without a body has none."""

    warnings: list[DefinitionWarning]


class EnvironmentVariable(Wire):
    """What `${workflow.env.NAME}` gives."""

    name: str
    value: str


class TaggedName(Wire):
    """A name with the tags on it."""

    name: str
    tags: list[Tag]


class WorkflowStateUpdate(Wire):
    """Variables to write over a workflow's, and the result of one of its open tasks; either may be absent."""

    task_reference_name: str | None = None
    task_result: TaskResult | None = None
    variables: dict[str, Any] | None = None


class CorrelationIdsSearchRequest(Wire):
    """Which workflows to look for: every name with every correlation id."""

    workflow_names: list[str] = []
    correlation_ids: list[str] = []


class TaskSummary(Wire):
    """A task in a search. Times are ISO texts in UTC; input and output are texts."""

    task_id: str
    task_type: str
    task_def_name: str
    workflow_id: str
    workflow_type: str
    status: TaskStatus
    scheduled_time: str = ""
    start_time: str = ""
    update_time: str = ""
    end_time: str = ""
    correlation_id: str | None = None
    reason_for_incompletion: str | None = None
    execution_time: int = 0
    queue_wait_time: int = 0
    input: str = ""
    output: str = ""
    workflow_priority: int = 0
    domain: str | None = None


class TaskSummarySearchResult(Wire):
    """A page of task summaries; `totalHits` counts the matches of all pages."""

    total_hits: TotalHits
    results: list[TaskSummary]


class HealthStatus(Wire):
    """Health in the words of Conductor's clients."""

    health_results: list[Any]
    suppressed_health_results: list[Any]
    healthy: bool


class Liveness(Wire):
    status: str


class Readiness(Wire):
    """`checks` names what was tried: `ok` or `failed`."""

    status: str
    checks: dict[str, str]
