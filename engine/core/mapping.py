"""Turning a task of the definition into a task of the execution: what every type shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Raw, Struct

from engine.core.expressions import Template, apply_input_template
from engine.core.facts import DomainsFact, FactsMissingError
from engine.core.graph import NO_TEMPLATE_TYPES, SYSTEM_TYPES, Node, in_queue
from engine.core.model import TaskDef, WorkflowTask
from engine.core.records import EMPTY_OBJECT, Task, TaskHead, TaskLinks, TaskState
from engine.core.scope import StepScope
from engine.core.statuses import TaskStatus
from engine.core.step import Place, Step, Wanted, unset

ACTIVE_POLL_MS = 10_000
"""A domain counts as served when it was polled this recently (upstream: activeWorkerLastPollTimeout)."""


class Source(Struct, kw_only=True, frozen=True):
    """What a task is made from: a node of the definition, or a dynamic branch with a definition of its own.

    Attributes:
        workflow_task: the definition. template: its parsed input.
        place: the loop around it. joins: JOINs a dynamic branch reports to.
    """

    workflow_task: WorkflowTask
    template: Template
    place: Place
    in_def: bool = True
    wire: Raw | None = None
    joins: tuple[str, ...] = ()

    @property
    def base_ref(self) -> str:
        return self.workflow_task.task_reference_name

    @property
    def ref(self) -> str:
        return self.workflow_task.task_reference_name + self.place.suffix


Mapper = Callable[[Step, Source], list[Task]]
"""Creates the tasks of a source; given to container types so that they can create what they contain."""


class TaskType(Protocol):
    """One type of task that the engine knows."""

    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        """Create the task and what comes with it, in seq order. `source` is counted as open already."""
        ...

    def run(self, step: Step, task: Task) -> Task | None:
        """Execute a synchronous type: give the ended task, or None when it stays open."""
        ...


def source_of(node: Node, place: Place) -> Source:
    return Source(workflow_task=node.task, template=node.template, place=place)


def want(step: Step, ref: str, place: Place) -> Wanted:
    """Ask for a task of the definition; it counts as open from now on."""
    step.count(place.loop, 1)
    return Wanted(ref=ref, place=place)


def evaluate(step: Step, source: Source, task_id: str | None) -> dict[str, Any]:
    """The task's input. Raises FactsMissingError for references not in the view."""
    value = source.template.evaluate(StepScope(step, task_id, step.view.environment))
    policy = source.workflow_task.task_definition
    if policy is not None and policy.input_template and source.workflow_task.type not in NO_TEMPLATE_TYPES:
        value = apply_input_template(value, policy.input_template)
    return value if isinstance(value, dict) else {}


def new_task(
    step: Step,
    source: Source,
    *,
    task_type: str,
    status: TaskStatus,
    input: Mapping[str, Any] | None = None,
    task_def_name: str | None = None,
    output: Raw | None = None,
    task_id: str | None = None,
    domain: str | None = None,
    **state: Any,
) -> Task:
    """Add a task to the step. Its input is evaluated here unless it is given."""
    header, place, definition = step.header, source.place, source.workflow_task.task_definition
    task_id = task_id or step.ids.uuid()
    given = evaluate(step, source, task_id) if input is None else input
    head = TaskHead(
        task_type=task_type,
        reference_task_name=source.ref,
        task_def_name=task_def_name or source.workflow_task.name,
        task_id=task_id,
        workflow_instance_id=header.workflow_id,
        workflow_type=header.name,
        input_data=Raw(msgspec.json.encode(given)) if given else EMPTY_OBJECT,
        correlation_id=unset(header.correlation_id),
        start_delay_in_seconds=source.workflow_task.start_delay,
        workflow_priority=header.priority,
        iteration=place.iteration,
        domain=unset(domain),
        parent_task_id=UNSET,
    )
    if definition is not None and (in_queue(task_type) or task_type == "DO_WHILE"):
        limits(head, definition)
    links = TaskLinks(
        base_ref=source.base_ref,
        in_def=source.in_def,
        loop=place.loop,
        suffix=place.suffix,
        joins=source.joins,
        workflow_task=source.wire,
    )
    if status is not TaskStatus.SCHEDULED:
        state.setdefault("start_time", step.now_ms)
        state.setdefault("update_time", step.now_ms)
    if status not in (TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS):
        state.setdefault("end_time", step.now_ms)
    return step.add(head, TaskState(status=status, **state), links, output)


def limits(head: TaskHead, definition: TaskDef) -> None:
    """Copy what the wire's Task repeats of its definition."""
    head.response_timeout_seconds = definition.response_timeout_seconds
    head.rate_limit_per_frequency = definition.rate_limit_per_frequency or 0
    every_s = definition.rate_limit_frequency_in_seconds
    head.rate_limit_frequency_in_seconds = 1 if every_s is None else every_s
    head.execution_name_space = unset(definition.execution_name_space)
    head.isolation_group_id = unset(definition.isolation_group_id)


def reserved_domain(step: Step, source: Source) -> str | None:
    """The domain that `ref:REFERENCE` in taskToDomain sets a task apart in, of whatever type it is.

    Nobody polls it: a test of the workflow gives the task's result.
    """
    return step.header.task_to_domain.get(f"ref:{source.workflow_task.task_reference_name}")


def domain_of(step: Step, task_type: str) -> str | None:
    """The domain whose workers get the task: the first served one of the list, else the last, else None."""
    mapping = step.header.task_to_domain
    if not mapping or task_type in SYSTEM_TYPES:
        return None
    listed = mapping.get(task_type) or mapping.get("*")
    if not listed:
        return None
    domains = [part.strip() for part in listed.split(",") if part.strip()]
    if not domains:
        return None
    chosen = domains[-1]
    if len(domains) > 1:
        if task_type not in step.view.domains:
            raise FactsMissingError([DomainsFact(task_type)])
        polled = step.view.domains[task_type]
        active = (d for d in domains if step.now_ms - polled.get(d, 0) <= ACTIVE_POLL_MS)
        chosen = next(active, chosen)
    return None if chosen.upper() == "NO_DOMAIN" else chosen
