"""A definition compiled once: who follows whom, what encloses what, and each task's parsed input expressions.

Compiled per content hash, so no step walks the definition tree. Reference names are unique within a
definition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

from msgspec import Raw, Struct

from engine.core.expressions import Template, compile_template, merge_input_template
from engine.core.model import WorkflowDef, WorkflowTask, decode, encode

SYSTEM_TYPES = frozenset(
    {
        "DECISION", "SWITCH", "FORK", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN", "EXCLUSIVE_JOIN", "DO_WHILE",
        "SET_VARIABLE", "TERMINATE", "INLINE", "LAMBDA", "JSON_JQ_TRANSFORM", "NOOP", "EVENT", "HUMAN",
        "HTTP", "SUB_WORKFLOW", "START_WORKFLOW", "WAIT", "KAFKA_PUBLISH", "PULL_WORKFLOW_MESSAGES",
    }
)  # fmt: skip
"""Types the server runs itself. Every other type is a worker's task, `SIMPLE` or not."""

QUEUED_SYSTEM_TYPES = frozenset({"HTTP", "KAFKA_PUBLISH"})
"""System types whose effect takes time: they wait in ordinary queues, which the server's own workers poll."""

CONTAINER_TYPES = frozenset(
    {"DECISION", "SWITCH", "FORK", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN", "EXCLUSIVE_JOIN", "DO_WHILE"}
)
"""Types that are never retried on their own failure."""

DEFINED_TYPES = CONTAINER_TYPES - {"FORK", "EXCLUSIVE_JOIN"}
"""Types whose parts stand in the definition: what a run adds to it (a dynamic branch) cannot be one."""

NO_TEMPLATE_TYPES = frozenset({"WAIT", "HUMAN", "TERMINATE", "EVENT", "FORK_JOIN", "JOIN", "SET_VARIABLE"})
"""Types whose input ignores the task definition's inputTemplate (conductor-oss, the task mappers)."""


def in_queue(task_type: str) -> bool:
    """Tasks of this type wait in a queue for whoever polls it: a worker, or the server itself."""
    return task_type not in SYSTEM_TYPES or task_type in QUEUED_SYSTEM_TYPES


class End(Struct, kw_only=True, frozen=True):
    """What the last task of a list leads to: the workflow's end, a fork's JOIN, or the loop around it."""

    kind: Literal["workflow", "join", "loop"]
    ref: str | None = None


class Node(Struct, kw_only=True):
    """One task of the definition.

    Attributes:
        next: reference of the task that follows, already resolved out of SWITCH branches; None when `end`
            says what happens.
        loop: reference of the innermost DO_WHILE around it.
        joins: JOINs whose joinOn names it. exclusive_joins: EXCLUSIVE_JOINs that look at it.
        cases, default, branches, body: the lists it contains, as references.
        wire, task_def_wire: its WorkflowTask and TaskDef JSON, spliced into the tasks made from it.
    """

    task: WorkflowTask
    template: Template
    next: str | None
    end: End
    loop: str | None
    parent: str | None
    joins: tuple[str, ...] = ()
    exclusive_joins: tuple[str, ...] = ()
    cases: dict[str, tuple[str, ...]] = {}
    default: tuple[str, ...] = ()
    branches: tuple[tuple[str, ...], ...] = ()
    body: tuple[str, ...] = ()
    wire: Raw = Raw(b"{}")
    task_def_wire: Raw = Raw(b"null")

    @property
    def ref(self) -> str:
        return self.task.task_reference_name

    @property
    def type(self) -> str:
        return self.task.type


class Graph(Struct, kw_only=True):
    """A compiled definition. `hash` identifies its content; `wire` is its JSON as clients see it."""

    definition: WorkflowDef
    hash: str
    wire: Raw
    nodes: dict[str, Node]
    first: str | None
    output: Template

    def inside(self, loop_ref: str) -> Iterator[Node]:
        """Every node in the body of a DO_WHILE, however deep."""
        for node in self.nodes.values():
            around = node.loop
            while around is not None:
                if around == loop_ref:
                    yield node
                    break
                around = self.nodes[around].loop


def compile_definition(definition: WorkflowDef) -> Graph:
    """Compile a valid definition (references unique); pure and deterministic."""
    wire = encode(definition)
    nodes: dict[str, Node] = {}
    _walk(definition.tasks, nodes, follow=None, end=End(kind="workflow"), loop=None, parent=None)
    for node in list(nodes.values()):
        if node.type == "JOIN":
            for ref in node.task.join_on:
                if ref in nodes and node.ref not in nodes[ref].joins:
                    nodes[ref].joins = (*nodes[ref].joins, node.ref)
        elif node.type == "EXCLUSIVE_JOIN":
            for ref in dict.fromkeys([*node.task.join_on, *node.task.default_exclusive_join_task]):
                if ref in nodes:
                    nodes[ref].exclusive_joins = (*nodes[ref].exclusive_joins, node.ref)
    return Graph(
        definition=definition,
        hash=hashlib.blake2b(wire, digest_size=16).hexdigest(),
        wire=Raw(wire),
        nodes=nodes,
        first=definition.tasks[0].task_reference_name if definition.tasks else None,
        output=compile_template(definition.output_parameters),
    )


def compile_task(task: WorkflowTask) -> Template:
    """The parsed input of a task, the task definition's inputTemplate included where its type uses one."""
    defaults = task.task_definition.input_template if task.task_definition is not None else {}
    if defaults and task.type not in NO_TEMPLATE_TYPES:
        return compile_template(merge_input_template(task.input_parameters, defaults))
    return compile_template(task.input_parameters)


def _walk(
    tasks: list[WorkflowTask],
    nodes: dict[str, Node],
    *,
    follow: str | None,
    end: End,
    loop: str | None,
    parent: str | None,
) -> tuple[str, ...]:
    """Add `tasks`, a list that continues at `follow` (or ends as `end` says), and give its references."""
    for index, task in enumerate(tasks):
        last = index + 1 == len(tasks)
        following = follow if last else tasks[index + 1].task_reference_name
        node = Node(
            task=task,
            template=compile_task(task),
            next=following,
            end=end if last else End(kind="workflow"),
            loop=loop,
            parent=parent,
            wire=Raw(encode(task)),
            task_def_wire=Raw(b"null" if task.task_definition is None else encode(task.task_definition)),
        )
        ref = node.ref
        nodes[ref] = node
        if task.type in {"SWITCH", "DECISION"}:
            node.cases = {
                name: _walk(branch, nodes, follow=following, end=node.end, loop=loop, parent=ref)
                for name, branch in task.decision_cases.items()
            }
            node.default = _walk(
                task.default_case, nodes, follow=following, end=node.end, loop=loop, parent=ref
            )
        elif task.type == "FORK_JOIN":
            joined = End(kind="join", ref=following)
            node.branches = tuple(
                _walk(branch, nodes, follow=None, end=joined, loop=loop, parent=ref)
                for branch in task.fork_tasks
            )
        elif task.type == "DO_WHILE":
            node.body = _walk(
                task.loop_over, nodes, follow=None, end=End(kind="loop", ref=ref), loop=ref, parent=ref
            )
    return tuple(task.task_reference_name for task in tasks)


def decode_workflow_task(raw: Raw | bytes) -> WorkflowTask:
    """A WorkflowTask from the JSON kept with a dynamic branch."""
    return decode(bytes(raw), WorkflowTask)
