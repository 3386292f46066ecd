"""The document that `${...}` expressions are read from, made lazily out of a step.

Source of its shape: conductor-oss/conductor, ParametersUtils.getTaskInputV2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET

from engine.core.facts import EnvironmentFact, FactsMissingError
from engine.core.records import Task
from engine.core.step import Step

TASK_KEYS = (
    "input", "output", "taskType", "status", "referenceTaskName", "retryCount", "correlationId", "pollCount",
    "taskDefName", "scheduledTime", "startTime", "endTime", "workflowInstanceId", "taskId",
    "reasonForIncompletion", "callbackAfterSeconds", "workerId", "iteration",
)  # fmt: skip
WORKFLOW_KEYS = (
    "input", "output", "status", "workflowId", "parentWorkflowId", "parentWorkflowTaskId", "workflowType",
    "version", "correlationId", "reasonForIncompletion", "schemaVersion", "variables",
)  # fmt: skip

STORED = "workflow.env."  # names of stored values, apart from those of the process

_HEAD = {
    "taskType": "task_type",
    "referenceTaskName": "reference_task_name",
    "retryCount": "retry_count",
    "correlationId": "correlation_id",
    "taskDefName": "task_def_name",
    "scheduledTime": "scheduled_time",
    "workflowInstanceId": "workflow_instance_id",
    "taskId": "task_id",
    "iteration": "iteration",
}
_STATE = {
    "status": "status",
    "pollCount": "poll_count",
    "startTime": "start_time",
    "endTime": "end_time",
    "reasonForIncompletion": "reason_for_incompletion",
    "callbackAfterSeconds": "callback_after_seconds",
    "workerId": "worker_id",
}


class TaskDocument(Mapping[str, Any]):
    """One task as expressions see it."""

    def __init__(self, step: Step, task: Task) -> None:
        self._step = step
        self._task = task

    def __getitem__(self, key: str) -> Any:
        if key == "output":
            running = (
                self._step.header.loops.get(self._task.ref)
                if self._task.head.task_type == "DO_WHILE"
                else None
            )
            value = self._step.document(self._task.output)
            return value if running is None else {**value, "iteration": running.iteration}
        if key == "input":
            return self._step.document(self._task.head.input_data)
        value = (
            getattr(self._task.head, _HEAD[key]) if key in _HEAD else getattr(self._task.state, _STATE[key])
        )
        return None if value is UNSET else value

    def __iter__(self) -> Iterator[str]:
        return iter(TASK_KEYS)

    def __len__(self) -> int:
        return len(TASK_KEYS)


class WorkflowDocument(Mapping[str, Any]):
    """The workflow as expressions see it."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __getitem__(self, key: str) -> Any:
        header = self._step.header
        match key:
            case "input":
                return self._step.document(self._step.workflow_input)
            case "output":
                return {} if self._step.output is None else self._step.document(self._step.output)
            case "variables":
                return header.variables
            case "status":
                return header.status
            case "workflowId":
                return header.workflow_id
            case "parentWorkflowId":
                return header.parent_workflow_id
            case "parentWorkflowTaskId":
                return header.parent_task_id
            case "workflowType":
                return header.name
            case "version":
                return header.version
            case "correlationId":
                return header.correlation_id
            case "reasonForIncompletion":
                return header.reason
            case "schemaVersion":
                return 2
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(WORKFLOW_KEYS)

    def __len__(self) -> int:
        return len(WORKFLOW_KEYS)


class StepScope:
    """The Scope of engine/core/expressions.py for one task being mapped."""

    def __init__(
        self, step: Step, task_id: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._step = step
        self._task_id = task_id
        self._environment = environment or {}

    def task(self, ref: str) -> Mapping[str, Any] | None:
        task = self._step.latest(ref)
        return None if task is None else TaskDocument(self._step, task)

    def workflow(self) -> Mapping[str, Any]:
        return WorkflowDocument(self._step)

    def env(self, name: str) -> str | None:
        if name == "CPEWF_TASK_ID":
            return self._task_id
        value = self._environment.get(name)
        if value is None and name.startswith(STORED):
            stored, wanted = self._step.view.stored_environment, name.removeprefix(STORED)
            if wanted not in stored:
                raise FactsMissingError([EnvironmentFact(wanted)])
            return stored[wanted]
        return value
