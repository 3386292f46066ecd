"""Tasks that a worker polls: SIMPLE, any type the server does not know, DYNAMIC (named by its input)."""

from __future__ import annotations

from msgspec.structs import replace

from engine.core.facts import FactsMissingError, TaskDefFact
from engine.core.graph import DEFINED_TYPES, SYSTEM_TYPES
from engine.core.mapping import Mapper, Source, domain_of, evaluate, new_task
from engine.core.model import TaskDef
from engine.core.records import Task
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.core.step import EndWorkflow, Step
from engine.core.timeouts import queue_entry, queue_name


class Simple:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        task = source.workflow_task
        name = task.name if task.type == "SIMPLE" else task.type
        if name in SYSTEM_TYPES:  # a SIMPLE task named like one is one, as upstream's executor has it
            if name in DEFINED_TYPES or name == "FORK":
                raise EndWorkflow(
                    WorkflowStatus.FAILED,
                    f"{task.task_reference_name}: no worker can have a task named {name}; "
                    "use another name, or the type of that name",
                )
            return mapper(step, replace(source, workflow_task=replace(task, type=name)))
        return [scheduled(step, source, name)]

    def run(self, step: Step, task: Task) -> Task | None:
        return None


class Dynamic:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        task = source.workflow_task
        parameter = task.dynamic_task_name_param
        given = evaluate(step, source, None)
        name = given.get(parameter) if parameter else None
        if not isinstance(name, str) or not name:
            raise EndWorkflow(
                WorkflowStatus.FAILED,
                "Cannot map a dynamic task based on the parameter and input. "
                f"Parameter= {parameter}, input= {_java_map(given)}",
            )
        if name in DEFINED_TYPES:
            raise EndWorkflow(
                WorkflowStatus.FAILED,
                f"{task.task_reference_name}: a dynamic task cannot be a {name}; name a task, or use "
                "a sub-workflow",
            )
        definition = task.task_definition
        if definition is None or definition.name != name:
            if name not in step.view.task_defs:
                raise FactsMissingError([TaskDefFact(name)])
            definition = step.view.task_defs[name] or TaskDef(name=name)
        named = replace(task, type=name, name=name, task_definition=definition)
        return mapper(step, replace(source, workflow_task=named))

    def run(self, step: Step, task: Task) -> Task | None:
        return None


def scheduled(step: Step, source: Source, name: str) -> Task:
    """A task waiting in its worker's queue."""
    delay_s = source.workflow_task.start_delay
    task = new_task(
        step,
        source,
        task_type=name,
        task_def_name=name if source.workflow_task.type != "SIMPLE" else source.workflow_task.name,
        status=TaskStatus.SCHEDULED,
        domain=domain_of(step, name),
        callback_after_seconds=delay_s,
    )
    due_ms = step.now_ms + delay_s * 1000
    step.queue(queue_entry(task, source.workflow_task.task_definition, queue=queue_name(task), due_ms=due_ms))
    return task


def _java_map(value: object) -> str:
    from engine.core.values import to_text

    return to_text(value)
