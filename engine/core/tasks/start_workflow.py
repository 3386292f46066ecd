"""START_WORKFLOW: starts another workflow and does not wait for it.

The id of the new workflow is fixed in the step that completes the task, and the request travels as a message
written with it: the workflow is started once, whatever happens in between.
Source of texts: conductor-oss/conductor, StartWorkflow.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core.facts import DefinitionFact, FactsMissingError
from engine.core.mapping import Mapper, Source, new_task
from engine.core.messages import StartWorkflowBody
from engine.core.model import MalformedBodyError, WorkflowDef, decode_workflow_def
from engine.core.records import Task
from engine.core.statuses import TaskStatus
from engine.core.step import Step
from engine.core.validation import validate_start, validate_workflow_def


class StartRequestInput(msgspec.Struct, kw_only=True, rename="camel"):
    """The task's `startWorkflow`; members as of a start over HTTP."""

    name: str | None = None
    version: int | None = None
    correlation_id: str | None = None
    input: dict[str, Any] | None = None
    task_to_domain: dict[str, str] | None = None
    workflow_def: dict[str, Any] | None = None
    priority: int | None = None
    created_by: str | None = None
    idempotency_key: str | None = None
    idempotency_strategy: str | None = None


class StartWorkflow:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [new_task(step, source, task_type="START_WORKFLOW", status=TaskStatus.IN_PROGRESS)]

    def run(self, step: Step, task: Task) -> Task | None:
        given = step.document(task.head.input_data).get("startWorkflow")
        if given is None:
            return _failed(step, task, "Missing 'startWorkflow' in input data.")
        try:
            request = msgspec.convert(given, StartRequestInput)
            definition = None if request.workflow_def is None else decode_workflow_def(request.workflow_def)
        except (msgspec.ValidationError, MalformedBodyError) as error:
            return _failed(step, task, f"Error reading StartWorkflowRequest. {error}")
        problem = _problem(step, request, definition)
        if problem is not None:
            return _failed(step, task, problem)
        header = step.header
        workflow_id = step.ids.uuid()
        domains = request.task_to_domain
        body = StartWorkflowBody(
            name=request.name or "",
            version=request.version,
            definition=request.workflow_def,
            input=Raw(msgspec.json.encode(request.input or {})),
            correlation_id=request.correlation_id or header.correlation_id,
            task_to_domain=header.task_to_domain if domains is None else domains,
            priority=request.priority or 0,
            created_by=request.created_by,
            idempotency_key=request.idempotency_key,
            idempotency_strategy=request.idempotency_strategy,
        )
        if request.idempotency_key and request.idempotency_strategy:
            # Which execution has the key is found out at delivery; the task waits for that.
            body = replace(body, report_to=(header.workflow_id, task.id))
            step.send("start_workflow", workflow_id, msgspec.structs.asdict(body))
            return None
        step.send("start_workflow", workflow_id, msgspec.structs.asdict(body))
        output = Raw(msgspec.json.encode({"workflowId": workflow_id}))
        return step.move(task, TaskStatus.COMPLETED, output=output)


def _problem(step: Step, request: StartRequestInput, definition: WorkflowDef | None) -> str | None:
    """Why the request cannot be carried out. Raises FactsMissingError for a definition not looked up yet."""
    problems = validate_start(request.name, request.priority)
    if definition is not None:
        problems += validate_workflow_def(definition, path="workflowDef")
    if problems:
        listed = "".join(f"'{problem.path}' -> {problem.message}. " for problem in problems)
        return f"startWorkflow validation failed. {listed}"
    if definition is not None:
        return None
    fact = DefinitionFact(request.name or "", request.version or None)
    if fact not in step.view.definitions:
        raise FactsMissingError([fact])
    if step.view.definitions[fact] is None:
        shown = "null" if request.version is None else request.version
        return f"No such workflow defined. name={request.name}, version={shown}"
    return None


def _failed(step: Step, task: Task, reason: str) -> Task:
    return step.move(task, TaskStatus.FAILED, reason=reason)
