"""Scripts that end in the step that creates them: LAMBDA (JavaScript) and JSON_JQ_TRANSFORM (jq)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from engine.core.mapping import Mapper, Source, new_task
from engine.core.records import Task
from engine.core.statuses import TaskStatus
from engine.core.step import Step
from engine.core.tasks.switch import script


class Lambda:
    """The legacy form of INLINE: the script is a function's body and returns its result."""

    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [new_task(step, source, task_type="LAMBDA", status=TaskStatus.IN_PROGRESS)]

    def run(self, step: Step, task: Task) -> Task | None:
        given = step.document(task.head.input_data)
        body = given.get("scriptExpression") or step.workflow_task(task).script_expression
        if not isinstance(body, str) or not body.strip():
            text = (
                "Empty 'scriptExpression' in Lambda task's input parameters. "
                "A non-empty String value must be provided."
            )
            return _failed(step, task, text)
        outcome = script(step, "javascript", f"(function(){{{body}\n}})()", given)
        if outcome.error is not None:
            return _failed(step, task, outcome.error)
        return step.move(task, TaskStatus.COMPLETED, output=_encode({"result": outcome.value}))


class JsonJqTransform:
    """A jq program over the whole task input."""

    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [new_task(step, source, task_type="JSON_JQ_TRANSFORM", status=TaskStatus.IN_PROGRESS)]

    def run(self, step: Step, task: Task) -> Task | None:
        given = step.document(task.head.input_data)
        program = given.get("queryExpression")
        if not isinstance(program, str) or not program.strip():
            return _failed(step, task, "Missing 'queryExpression' in input parameters")
        outcome = script(step, "jq", program, given)
        if outcome.error is not None:
            return _failed(step, task, outcome.error)
        results: list[Any] = outcome.value or []
        output = {"result": results[0] if results else None, "resultList": results}
        return step.move(task, TaskStatus.COMPLETED, output=_encode(output))


def _failed(step: Step, task: Task, reason: str) -> Task:
    """Unlike INLINE's, these failures may be retried."""
    return step.move(task, TaskStatus.FAILED, reason=reason, output=_encode({"error": reason}))


def _encode(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
