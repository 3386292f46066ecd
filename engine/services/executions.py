"""Workflow executions: start, update, operate, read. Every mutation goes through the workflow's mailbox."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Raw, Struct

from engine.core.statuses import TaskStatus


class StartRequest(Struct, kw_only=True, rename="camel"):
    """Upstream's StartWorkflowRequest. `workflow_def` is the inline definition's JSON when given."""

    name: str | None = None
    version: int | None = None
    correlation_id: str | None = None
    input: dict[str, Any] | None = None
    task_to_domain: dict[str, str] | None = None
    workflow_def: Raw | None = None
    external_input_payload_storage_path: str | None = None
    priority: int | None = None
    created_by: str | None = None
    idempotency_key: str | None = None
    idempotency_strategy: str | None = None


class TaskUpdate(Struct, kw_only=True, rename="camel"):
    """Upstream's TaskResult as a worker sends it."""

    workflow_instance_id: str | None = None
    task_id: str | None = None
    reason_for_incompletion: str | None = None
    callback_after_seconds: int | None = None
    worker_id: str | None = None
    status: str | None = None
    output_data: Raw | None = None
    logs: list[dict[str, Any]] | None = None
    external_output_payload_storage_path: str | None = None
    sub_workflow_id: str | None = None
    extend_lease: bool | None = None


class UpdateOutcome(Struct, kw_only=True):
    """What became of an update: `ended` is false for a lease extension and for a task still open."""

    task_id: str
    ended: bool
    task_type: str = ""
    domain: str | None = None


class Executions:
    async def start(self, request: StartRequest) -> str:
        """Start a workflow; decides inside the call. Returns the workflow id.

        Raises:
            NotFoundError: no such definition. InvalidRequestError: bad request. ConflictError: idempotency.
        """
        raise NotImplementedError

    async def update(self, update: TaskUpdate) -> UpdateOutcome:
        """Apply a worker's result. Late and duplicate ones change nothing. Raises NotFoundError, InvalidRequestError."""
        raise NotImplementedError

    async def update_by_ref(
        self, workflow_id: str, ref: str, status: str, output: Raw, worker_id: str | None
    ) -> str | None:
        """Update the first open task of that reference (else base reference); output is merged. None when there is none."""
        raise NotImplementedError

    async def pause(self, workflow_id: str) -> None: ...
    async def resume(self, workflow_id: str) -> None: ...
    async def terminate(self, workflow_id: str, reason: str | None) -> None: ...
    async def retry(self, workflow_id: str, *, resume_subworkflow_tasks: bool = False) -> None: ...
    async def restart(self, workflow_id: str, *, use_latest_definitions: bool = False) -> None: ...
    async def rerun(
        self,
        workflow_id: str,
        *,
        from_task_id: str | None = None,
        workflow_input: dict[str, Any] | None = None,
        task_input: dict[str, Any] | None = None,
        correlation_id: str | None = None,
    ) -> str:
        raise NotImplementedError

    async def skip_task(
        self, workflow_id: str, ref: str, task_input: dict[str, Any], task_output: dict[str, Any]
    ) -> None: ...
    async def decide(self, workflow_id: str) -> None: ...
    async def remove(self, workflow_id: str, *, archive: bool = True) -> None: ...

    async def workflow(self, workflow_id: str, *, include_tasks: bool = True) -> bytes:
        """The wire's Workflow as JSON bytes. Raises NotFoundError."""
        raise NotImplementedError

    async def status(
        self, workflow_id: str, *, include_output: bool = False, include_variables: bool = False
    ) -> dict[str, Any]:
        raise NotImplementedError

    async def task(self, task_id: str) -> bytes:
        """The wire's Task as JSON bytes. Raises NotFoundError."""
        raise NotImplementedError

    async def tasks_page(
        self, workflow_id: str, *, start: int = 0, count: int = 15, statuses: Collection[TaskStatus] | None = None
    ) -> tuple[int, list[bytes]]:
        raise NotImplementedError

    async def search(
        self, *, query: str, free_text: str, sort: str, start: int, size: int
    ) -> tuple[int, list[dict[str, Any]]]:
        """WorkflowSummary objects. Raises InvalidRequestError for a malformed query."""
        raise NotImplementedError

    async def correlated(
        self, name: str, correlation_ids: Sequence[str], *, include_closed: bool, include_tasks: bool
    ) -> dict[str, list[bytes]]:
        raise NotImplementedError

    async def running(
        self, name: str, *, version: int | None, start_ms: int | None, end_ms: int | None
    ) -> list[str]:
        raise NotImplementedError

    async def add_log(self, task_id: str, text: str) -> None: ...
    async def logs(self, task_id: str) -> list[dict[str, Any]]:
        """TaskExecLog objects {log, taskId, createdTime}."""
        raise NotImplementedError
