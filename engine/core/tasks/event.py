"""EVENT: tells something to the queue that its sink names; what acts on it are the queue's handlers.

The message is written with the step and delivered after it, so that an event of a completed task is never
lost. Source of shapes: conductor-oss/conductor, Event and EventTaskMapper.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core.event_queues import event_of
from engine.core.expressions import compile_template
from engine.core.mapping import Mapper, Source, evaluate, new_task
from engine.core.messages import PublishEvent
from engine.core.records import Task
from engine.core.scope import StepScope
from engine.core.statuses import TaskStatus
from engine.core.step import Step


class Event:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        task_id = step.ids.uuid()
        definition = source.workflow_task
        sink = compile_template({"sink": definition.sink}).evaluate(
            StepScope(step, task_id, step.view.environment)
        )
        given = {
            **evaluate(step, source, task_id),
            "sink": sink["sink"],
            "asyncComplete": definition.async_complete,
        }
        return [
            new_task(
                step, source, task_type="EVENT", status=TaskStatus.IN_PROGRESS, input=given, task_id=task_id
            )
        ]

    def run(self, step: Step, task: Task) -> Task | None:
        header = step.header
        given: dict[str, Any] = step.document(task.head.input_data)
        payload = {
            **given,
            "workflowInstanceId": header.workflow_id,
            "workflowType": header.name,
            "workflowVersion": header.version,
            "correlationId": header.correlation_id,
            "taskToDomain": header.task_to_domain,
        }
        sink = given.get("sink")
        text = sink if isinstance(sink, str) else ""
        try:
            queue = event_of(text, workflow_name=header.name, ref=task.links.base_ref)
        except ValueError as error:
            return step.move(task, TaskStatus.FAILED, reason=str(error), output=_encode(payload))
        output = _encode({**payload, "event_produced": queue})
        step.send(
            "publish_event",
            header.workflow_id,
            msgspec.structs.asdict(PublishEvent(sink=text, queue=queue, payload=output, event_id=task.id)),
        )
        if given.get("asyncComplete") is True:
            step.put(replace(task, output=output))
            return None
        return step.move(task, TaskStatus.COMPLETED, output=output)


def _encode(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
