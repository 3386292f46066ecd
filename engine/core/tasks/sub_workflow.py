"""SUB_WORKFLOW: another workflow as a task. Its start and end travel as messages written with the step."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from engine.core.expressions import compile_template
from engine.core.facts import DefinitionFact, FactsMissingError, name_uuid
from engine.core.graph import Graph, compile_definition
from engine.core.mapping import Mapper, Source, evaluate, new_task
from engine.core.model import MalformedBodyError, WorkflowDef, decode_workflow_def, wire
from engine.core.records import Task
from engine.core.scope import StepScope
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.core.step import EndWorkflow, Step
from engine.core.values import to_text


class SubWorkflow:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        parameters = source.workflow_task.sub_workflow_param
        task_id = step.ids.uuid()
        given = evaluate(step, source, task_id)
        resolved = _resolve(step, wire(parameters) if parameters is not None else {}, task_id)
        inline = _inline(step, resolved.get("workflowDefinition"))
        name, version = resolved.get("name") or "", resolved.get("version")
        if inline is not None:
            name, version = inline.name, inline.version
        else:
            version = _version(step, source, name, version)
        priority = resolved.get("priority")
        task_input: dict[str, Any] = {
            "subWorkflowName": name,
            "subWorkflowVersion": version if inline is None else None,
            "subWorkflowTaskToDomain": resolved.get("taskToDomain"),
            "subWorkflowDefinition": None if inline is None else wire(inline),
            "priority": priority,
            "idempotencyKey": resolved.get("idempotencyKey"),
            "idempotencyStrategy": resolved.get("idempotencyStrategy"),
            "workflowInput": given,
        }
        task = new_task(
            step,
            source,
            task_type="SUB_WORKFLOW",
            status=TaskStatus.SCHEDULED,
            input=task_input,
            task_id=task_id,
        )
        return [launch(step, task)]

    def run(self, step: Step, task: Task) -> Task | None:
        return None


def launch(step: Step, task: Task, *, again: bool = False) -> Task:
    """Write the message that starts the child.

    The child's id follows from parent, task and attempt, so a repeat is harmless.

    `again`: the same attempt gets a new child (rerun), so its id takes the time in, too.
    """
    given = step.document(task.head.input_data)
    seed = f"subworkflow:{step.header.workflow_id}:{task.id}:{task.head.retry_count}"
    child_id = name_uuid(f"{seed}:{step.now_ms}" if again else seed)
    workflow_input = given.get("workflowInput") or given
    inline = given.get("subWorkflowDefinition")
    if inline is not None:
        workflow_input = {**workflow_input, "_systemMetadata": {"dynamic": True}}
    priority, key = given.get("priority"), given.get("idempotencyKey")
    body = {
        "name": given["subWorkflowName"],
        "version": given["subWorkflowVersion"],
        "definition": inline,
        "input": workflow_input,
        "correlation_id": step.header.correlation_id,
        "task_to_domain": given.get("subWorkflowTaskToDomain") or step.header.task_to_domain,
        "priority": priority if isinstance(priority, int) else 0,
        "parent_workflow_id": step.header.workflow_id,
        "parent_task_id": task.id,
        "idempotency_key": None if key is None else to_text(key),
        "idempotency_strategy": given.get("idempotencyStrategy"),
    }
    step.send("start_child", child_id, body)
    return step.move(
        task,
        TaskStatus.IN_PROGRESS,
        sub_workflow_id=child_id,
        start_time=step.now_ms,
        output=Raw(msgspec.json.encode({"subWorkflowId": child_id})),
    )


def _resolve(step: Step, parameters: dict[str, Any], task_id: str) -> dict[str, Any]:
    """Evaluate the expressions in subWorkflowParam; those inside an inline definition are the child's."""
    definition = parameters.get("workflowDefinition")
    plain = {
        key: value
        for key, value in parameters.items()
        if key != "workflowDefinition" or isinstance(value, str)
    }
    value: dict[str, Any] = compile_template(plain).evaluate(StepScope(step, task_id, step.view.environment))
    return value if isinstance(definition, str | None) else {**value, "workflowDefinition": definition}


def _inline(step: Step, definition: Any) -> WorkflowDef | None:
    if definition is None:
        return None
    try:
        if isinstance(definition, str):
            raise MalformedBodyError("workflowDefinition is a text")
        return decode_workflow_def(definition)
    except MalformedBodyError as error:
        raise EndWorkflow(
            WorkflowStatus.FAILED, f"The sub-workflow's definition cannot be read: {error}"
        ) from error


def _version(step: Step, source: Source, name: str, version: Any) -> int:
    number = int(version) if isinstance(version, int | float | str) and str(version).isdigit() else 0
    fact = DefinitionFact(name, number or None)
    if fact not in step.view.definitions:
        raise FactsMissingError([fact])
    graph: Graph | None = step.view.definitions[fact]
    if graph is None:
        raise EndWorkflow(
            WorkflowStatus.FAILED,
            f"The Task {source.workflow_task.name} defined as a sub-workflow "
            "has no workflow definition available ",
        )
    return graph.definition.version


def child_graph(definition: dict[str, Any]) -> Graph:
    """Compile an inline child definition."""
    return compile_definition(decode_workflow_def(definition))
