"""Types that end in the step that creates them: INLINE, SET_VARIABLE, TERMINATE, NOOP."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from engine.core.mapping import Mapper, Source, new_task
from engine.core.records import Task
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.core.step import EndWorkflow, Step
from engine.core.tasks.switch import SCRIPT_LANGUAGES, script

VARIABLES_KB_MAX = 256
"""All variables of one workflow together, as JSON (upstream: maxWorkflowVariablesPayloadSizeThreshold)."""


class _AtOnce:
    """Created IN_PROGRESS and executed in the same step."""

    kind = ""

    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [
            new_task(
                step,
                source,
                task_type=self.kind,
                task_def_name=self.name(source),
                status=TaskStatus.IN_PROGRESS,
            )
        ]

    def name(self, source: Source) -> str:
        return source.workflow_task.name


class Inline(_AtOnce):
    kind = "INLINE"

    def run(self, step: Step, task: Task) -> Task | None:
        given = step.document(task.head.input_data)
        evaluator, expression = given.get("evaluatorType") or "javascript", given.get("expression")
        if not isinstance(expression, str) or not expression.strip():
            return _failed(
                step,
                task,
                "Empty 'expression' in Inline task's input parameters. "
                "A non-empty String value must be provided.",
            )
        if evaluator == "value-param":
            return step.move(task, TaskStatus.COMPLETED, output=_encode({"result": given.get(expression)}))
        if evaluator not in SCRIPT_LANGUAGES:
            return _failed(step, task, f"Unknown evaluator '{evaluator}' in INLINE task.")
        outcome = script(step, evaluator, expression, given)
        if outcome.error is None:
            return step.move(task, TaskStatus.COMPLETED, output=_encode({"result": outcome.value}))
        status = TaskStatus.FAILED if outcome.timed_out else TaskStatus.FAILED_WITH_TERMINAL_ERROR
        return step.move(task, status, reason=outcome.error, output=_encode({"error": outcome.error}))


class SetVariable(_AtOnce):
    kind = "SET_VARIABLE"

    def run(self, step: Step, task: Task) -> Task | None:
        variables = {**step.header.variables, **step.document(task.head.input_data)}
        size = len(msgspec.json.encode(variables))
        if size > VARIABLES_KB_MAX * 1024:
            return _failed(
                step,
                task,
                f"The variables payload size: {size} of workflow: {step.header.workflow_id} "
                f"is greater than the permissible limit: {VARIABLES_KB_MAX} kilobytes",
            )
        step.header.variables = variables
        return step.move(task, TaskStatus.COMPLETED)


class Terminate(_AtOnce):
    kind = "TERMINATE"

    def run(self, step: Step, task: Task) -> Task | None:
        given = step.document(task.head.input_data)
        name = given.get("terminationStatus")
        if name not in ("COMPLETED", "FAILED", "TERMINATED"):
            return step.move(task, TaskStatus.FAILED, reason="given termination status is not valid")
        value = given.get("workflowOutput")
        output: Any = value if isinstance(value, dict) else {} if value is None else {"output": value}
        task = step.move(task, TaskStatus.COMPLETED, output=_encode(output), executed=True)
        reason = given.get("terminationReason") or f"Workflow is {name} by TERMINATE task: {task.id}"
        raise EndWorkflow(WorkflowStatus(name), str(reason), output=task.output)


class Noop(_AtOnce):
    kind = "NOOP"

    def run(self, step: Step, task: Task) -> Task | None:
        return step.move(task, TaskStatus.COMPLETED)


def _failed(step: Step, task: Task, reason: str) -> Task:
    return step.move(
        task, TaskStatus.FAILED_WITH_TERMINAL_ERROR, reason=reason, output=_encode({"error": reason})
    )


def _encode(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
