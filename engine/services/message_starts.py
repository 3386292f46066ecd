"""Starts that travel as messages, of sub-workflows say. A repeated message finds its workflow started."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from engine.core import events as ev
from engine.core import messages as m
from engine.core.errors import ConflictError, InvalidRequestError, NotFoundError
from engine.core.graph import Graph
from engine.core.idempotency import Strategy, strategy_of
from engine.core.model import MalformedBodyError, decode_workflow_def
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus
from engine.ports.stores import ExecutionStore
from engine.services.definitions import Definitions
from engine.services.idempotency import KeyedStarts
from engine.services.mailboxes import Mailboxes
from engine.services.schema_checks import SchemaChecks


class MessageStarts:
    def __init__(
        self,
        store: ExecutionStore,
        definitions: Definitions,
        *,
        mailboxes: Mailboxes,
        keyed: KeyedStarts,
        schemas: SchemaChecks,
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._mailboxes = mailboxes
        self._keyed = keyed
        self._schemas = schemas

    # ------------------------------------------------------------------------------------ sub-workflows
    async def child(self, child_id: str, body: m.StartChild) -> None:
        """Start the child of a SUB_WORKFLOW task, or fail the task with the reason."""
        try:
            graph = await self._graph(body.name, body.version, body.definition)
            await self._schemas.check_start(graph, body.input)
            start = ev.Start(
                input=body.input,
                correlation_id=body.correlation_id,
                priority=body.priority,
                task_to_domain=body.task_to_domain,
                parent_workflow_id=body.parent_workflow_id,
                parent_task_id=body.parent_task_id,
                idempotency_key=body.idempotency_key,
            )
            strategy = strategy_of(body.idempotency_strategy)
            if body.idempotency_key and strategy is not None:
                await self._keyed_child(graph, start, body, strategy)
                return
        except (MalformedBodyError, NotFoundError, InvalidRequestError, ConflictError) as refusal:
            failed = ev.ChildFailed(task_id=body.parent_task_id, reason=said(refusal))
            await self._mailboxes.submit(body.parent_workflow_id, failed)
            return
        await self._mailboxes.create(child_id, graph, start, patient=True)
        await self._unless_cancelled(child_id, body)

    async def _keyed_child(
        self, graph: Graph, start: ev.Start, body: m.StartChild, strategy: Strategy
    ) -> None:
        """The task waits for the execution that has its key: a new one, or one that somebody else started."""
        key = body.idempotency_key or ""

        async def attach(workflow_id: str) -> None:
            attached = ev.ChildAttached(task_id=body.parent_task_id, child_id=workflow_id)
            await self._mailboxes.submit(body.parent_workflow_id, attached)

        # The parent learns the id before the child begins, or it would not know a child that ends at once.
        child_id, ours = await self._keyed.start(
            graph, start, key=key, strategy=strategy, before=attach, owner_task_id=body.parent_task_id
        )
        if ours:
            await self._unless_cancelled(child_id, body)
            return
        await attach(child_id)
        waiter = ev.WaiterAdded(workflow_id=body.parent_workflow_id, task_id=body.parent_task_id)
        if not (await self._mailboxes.submit(child_id, waiter)).changed:
            await self._tell_end(child_id, body)

    async def _tell_end(self, child_id: str, body: m.StartChild) -> None:
        """The execution of the key had ended already."""
        row = await self._store.row(child_id)
        if row is None or row.header.status in WORKFLOW_OPEN:
            raise NotFoundError(f"No such workflow found by id: {child_id}")
        header = row.header
        event = ev.ChildEnded(
            task_id=body.parent_task_id,
            child_id=child_id,
            name=f"{header.name}.{header.version}/{child_id}",
            status=header.status,
            output=row.output,
            reason=header.reason,
        )
        await self._mailboxes.submit(body.parent_workflow_id, event)

    async def _unless_cancelled(self, child_id: str, body: m.StartChild) -> None:
        """The parent may have ended while the child was on its way."""
        task = (await self._store.tasks_by_id([body.parent_task_id])).get(body.parent_task_id)
        if task is None or not task.open:
            reason = "Parent workflow has been terminated with status CANCELED"
            terminate = m.TerminateChild(reason=reason, parent_task_id=body.parent_task_id)
            await self.terminate_child(child_id, terminate)

    async def terminate_child(self, child_id: str, body: m.TerminateChild) -> None:
        stored = await self._store.load(child_id)
        if stored is None or stored.header.parent_task_id != body.parent_task_id:
            return
        if stored.header.end_ms == 0:
            await self._mailboxes.submit(child_id, ev.Terminate(reason=body.reason))

    # ------------------------------------------------------------------------------------ START_WORKFLOW
    async def workflow(self, workflow_id: str, body: m.StartWorkflowBody) -> None:
        """Start what a START_WORKFLOW task asked for; a task that waits for the outcome is told."""
        try:
            graph = await self._graph(body.name, body.version, body.definition)
            await self._schemas.check_start(graph, body.input)
            start = ev.Start(
                input=body.input,
                correlation_id=body.correlation_id,
                priority=body.priority,
                task_to_domain=body.task_to_domain,
                created_by=body.created_by,
                idempotency_key=body.idempotency_key,
            )
            strategy = strategy_of(body.idempotency_strategy)
            if not (body.idempotency_key and strategy is not None):
                await self._mailboxes.create(workflow_id, graph, start, patient=True)
                return
            workflow_id, _ = await self._keyed.start(
                graph, start, key=body.idempotency_key, strategy=strategy
            )
        except (MalformedBodyError, NotFoundError, InvalidRequestError, ConflictError) as refusal:
            if body.report_to is None:
                raise
            await self._report(body.report_to, TaskStatus.FAILED, {}, said(refusal))
            return
        if body.report_to is not None:
            await self._report(body.report_to, TaskStatus.COMPLETED, {"workflowId": workflow_id}, None)

    async def _report(
        self, target: tuple[str, str], status: TaskStatus, output: dict[str, Any], reason: str | None
    ) -> None:
        workflow_id, task_id = target
        encoded = Raw(msgspec.json.encode(output))
        event = ev.TaskReported(task_id=task_id, status=status, output=encoded, reason=reason)
        await self._mailboxes.submit(workflow_id, event)

    # ------------------------------------------------------------------------------------ failure workflows
    async def failure_workflow(self, workflow_id: str, body: m.StartFailureWorkflow) -> None:
        graph = await self._graph(body.name, body.version, None)
        row = await self._store.row(body.failed_workflow_id)
        if row is None:
            raise NotFoundError(f"No such workflow found by id: {body.failed_workflow_id}")
        given: dict[str, Any] = msgspec.json.decode(row.input)
        given |= {
            "workflowId": body.failed_workflow_id,
            "reason": body.reason,
            "failureStatus": body.failure_status,
            "failureTaskId": body.failure_task_id,
            "failedWorkflow": {
                "workflowId": body.failed_workflow_id,
                "workflowName": row.header.name,
                "workflowVersion": row.header.version,
                "status": row.header.status,
                "input": row.input,
                "output": row.output,
                "reasonForIncompletion": row.header.reason,
                "failedReferenceTaskNames": row.header.failed_refs,
            },
        }
        start = ev.Start(
            input=Raw(msgspec.json.encode(given)),
            correlation_id=body.correlation_id,
            task_to_domain=body.task_to_domain,
        )
        await self._mailboxes.create(workflow_id, graph, start, patient=True)

    async def _graph(self, name: str, version: int | None, definition: dict[str, Any] | None) -> Graph:
        if definition is not None:
            return await self._definitions.compile(decode_workflow_def(definition))
        graph = await self._definitions.registered(name, version)
        if graph is None:
            shown = "null" if version is None else version
            raise NotFoundError(f"No such workflow defined. name={name}, version={shown}")
        return graph


def said(refusal: Exception) -> str:
    """One line of a refusal, its problems included."""
    if isinstance(refusal, InvalidRequestError) and refusal.problems:
        return f"{refusal} " + "; ".join(f"{path}: {text}" for path, text, _ in refusal.problems)
    return str(refusal)
