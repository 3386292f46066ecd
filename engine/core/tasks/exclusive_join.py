"""EXCLUSIVE_JOIN: takes over the output of the one branch that ran.

It is looked at when it is created and whenever a task that it names has ended for good; nothing polls.
Source: conductor-oss/conductor, ExclusiveJoin.execute.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.mapping import Mapper, Source, new_task
from engine.core.records import Task
from engine.core.statuses import TASK_SUCCESSFUL, TaskStatus
from engine.core.step import Step


class ExclusiveJoin:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        definition = source.workflow_task
        given = {"joinOn": definition.join_on}
        if definition.default_exclusive_join_task:
            given["defaultExclusiveJoinTask"] = definition.default_exclusive_join_task
        return [
            new_task(step, source, task_type="EXCLUSIVE_JOIN", status=TaskStatus.IN_PROGRESS, input=given)
        ]

    def run(self, step: Step, task: Task) -> Task | None:
        """Decide by the first named task that exists; stay open while that one has not ended."""
        given = step.document(task.head.input_data)
        named = _existing(step, task, given.get("joinOn") or [])
        first = next((one for one in named if one.status is not TaskStatus.SKIPPED), None)
        if first is not None and not first.open:
            tolerated = step.workflow_task(first).permissive and any(one.open for one in named)
            if first.status not in TASK_SUCCESSFUL and not tolerated:
                reason = first.state.reason_for_incompletion
                return step.move(
                    task, TaskStatus.FAILED, reason=reason if isinstance(reason, str) else "null"
                )
            return step.move(task, TaskStatus.COMPLETED, output=first.output)
        for fallback in _existing(step, task, given.get("defaultExclusiveJoinTask") or []):
            if not fallback.open:
                return step.move(task, TaskStatus.COMPLETED, output=fallback.output)
        return None


def joins_of(step: Step, task: Task) -> list[Task]:
    """The open EXCLUSIVE_JOINs that name this task."""
    node = step.node(task)
    if node is None or not node.exclusive_joins:
        return []
    refs = [
        base + task.links.suffix if step.graph.nodes[base].loop == node.loop else base
        for base in node.exclusive_joins
    ]
    return [join for join in step.by_refs(refs).values() if join.open]


def _existing(step: Step, task: Task, names: Sequence[str]) -> list[Task]:
    refs = [name + task.links.suffix for name in names]
    found = step.by_refs(refs)
    return [found[ref] for ref in refs if ref in found and not found[ref].state.retried]
