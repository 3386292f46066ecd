"""Reading executions: wire documents, pages, searches. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.core.errors import NotFoundError
from engine.core.graph import Graph
from engine.core.records import Header, QueueEntry, Task
from engine.core.search import TASK_FIELDS, Among, Compare, Condition, SearchQuery, all_of, equals
from engine.core.search_grammar import parse_query
from engine.core.statuses import TaskStatus
from engine.ports.stores import ExecutionRows, ExecutionStore, StoredWorkflow, WorkflowRow
from engine.services.definitions import Definitions
from engine.services.documents import task_json, task_summary, workflow_json, workflow_summary
from engine.services.masking import masked_entry, masked_row, masked_task

LIST_MAX = 5_000
"""Executions one list may hold."""


Arrived = Callable[[str], Awaitable[bool]]


class Reading:
    def __init__(self, store: ExecutionStore, definitions: Definitions) -> None:
        self._store = store
        self._definitions = definitions
        self._arrived: Arrived = _never

    def on_missing(self, arrived: Arrived) -> None:
        """Ask `arrived(workflow_id)` before a workflow is said to be unknown: it may be about to start."""
        self._arrived = arrived

    async def workflow(self, workflow_id: str, *, include_tasks: bool = True) -> bytes:
        """The wire's Workflow as JSON bytes. Raises NotFoundError."""
        if not include_tasks:
            return await self._without_tasks(await self._row(workflow_id))
        found = await self._store.execution(workflow_id)
        if found is None and await self._arrived(workflow_id):
            found = await self._store.execution(workflow_id)
        if found is None:
            raise NotFoundError(f"No such workflow found by id: {workflow_id}")
        return await self._whole(found)

    async def summary(self, workflow_id: str) -> dict[str, Any] | None:
        """The WorkflowSummary; None when there is no such workflow."""
        row = await self._store.row(workflow_id)
        return None if row is None else workflow_summary(await self._masked(row))

    async def status(
        self, workflow_id: str, *, include_output: bool = False, include_variables: bool = False
    ) -> dict[str, Any]:
        row = await self._row(workflow_id)
        row = await self._masked(row)
        shown: dict[str, Any] = {"workflowId": workflow_id, "status": row.header.status}
        if row.header.correlation_id is not None:
            shown["correlationId"] = row.header.correlation_id
        if include_output:
            shown["output"] = msgspec.json.decode(row.output)
        if include_variables:
            shown["variables"] = row.header.variables
        return shown

    async def task(self, task_id: str) -> bytes:
        """The wire's Task as JSON bytes. Raises NotFoundError."""
        task = (await self._store.tasks_by_id([task_id])).get(task_id)
        if task is None:
            raise NotFoundError(f"Task not found for taskId: {task_id}")
        stored = await self._stored(task.head.workflow_instance_id)
        graph = await self._definitions.frozen(stored.header.definition_hash)
        entry = (await self._store.entries([task_id])).get(task_id)
        return _shown(task, graph, entry, stored.header)

    async def tasks_page(
        self,
        workflow_id: str,
        *,
        start: int = 0,
        count: int = 15,
        statuses: Collection[TaskStatus] | None = None,
    ) -> tuple[int, list[bytes]]:
        """Tasks from position `start`, by seq, and how many there are."""
        stored = await self._stored(workflow_id)
        total = await self._store.task_count(workflow_id, statuses)
        tasks = await self._store.tasks(workflow_id, limit=start + count, statuses=statuses)
        return total, await self._task_documents(stored, tasks[start:])

    async def search(
        self, *, query: str, free_text: str, sort: str, start: int, size: int, also: Sequence[Condition] = ()
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many workflows match, and the WorkflowSummary objects of one page.

        The texts and the page are parse_query's; the conditions in `also` must hold besides.

        Raises (here and in the other searches):
            InvalidRequestError: the query is malformed, or takes too long.
        """
        parsed = parse_query(query, free_text=free_text, sort=sort, start=start, size=size)
        total, rows = await self._store.search(_narrowed(parsed, also))
        return total, [workflow_summary(await self._masked(row)) for row in rows]

    async def status_counts(
        self, *, query: str, free_text: str = "", also: Sequence[Condition] = ()
    ) -> dict[str, int]:
        """How many of the workflows a search finds have each status; statuses without any are left out."""
        parsed = parse_query(query, free_text=free_text, sort="", start=0, size=0)
        return await self._store.status_counts(_narrowed(parsed, also))

    async def search_by_tasks(
        self, *, query: str, free_text: str, sort: str, start: int, size: int
    ) -> tuple[int, list[dict[str, Any]]]:
        """Workflows that have a task which search_tasks finds, each once, as WorkflowSummary objects."""
        parsed = _of_tasks(query, free_text, sort, start, size)
        total, rows = await self._store.search_by_tasks(parsed)
        return total, [workflow_summary(await self._masked(row)) for row in rows]

    async def search_tasks(
        self, *, query: str, free_text: str, sort: str, start: int, size: int
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many tasks match, and the TaskSummary objects of one page."""
        total, tasks = await self._store.search_tasks(_of_tasks(query, free_text, sort, start, size))
        entries = await self._store.entries([task.id for task in tasks])
        graphs = await self._graphs_of(tasks)
        return total, [
            task_summary(masked_task(task, graph), entry=masked_entry(entries.get(task.id), graph))
            for task in tasks
            if (graph := graphs.get(task.head.workflow_instance_id)) is not None
        ]

    async def search_task_documents(
        self, *, query: str, free_text: str, sort: str, start: int, size: int
    ) -> tuple[int, list[bytes]]:
        """The same with the wire's Task objects, as JSON bytes."""
        total, tasks = await self._store.search_tasks(_of_tasks(query, free_text, sort, start, size))
        return total, await self._documents_of(tasks)

    async def pending_tasks(self, definition: str, *, after_id: str, limit: int) -> list[bytes]:
        """Open tasks of a task definition as the wire's Task, by id, which sorts by time, from `after_id`."""
        parts: list[Condition] = [
            equals("def_name", definition),
            Among(key="status", values=(TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS)),
        ]
        if after_id:
            parts.append(Compare(key="task_id", op=">", value=after_id))
        query = SearchQuery(where=all_of(*parts), sort=(("task_id", False),), size=limit)
        _, tasks = await self._store.search_tasks(query)
        return await self._documents_of(tasks)

    async def open_task_id(self, workflow_id: str, ref: str) -> str | None:
        """The first open task of that reference, else of that base reference."""
        open_tasks = await self._store.open_tasks(workflow_id)
        exact = (task.id for task in open_tasks if task.ref == ref)
        base = (task.id for task in open_tasks if task.links.base_ref == ref)
        return next(exact, None) or next(base, None)

    async def correlated(
        self, name: str, correlation_ids: Sequence[str], *, include_closed: bool, include_tasks: bool
    ) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {}
        for correlation_id in correlation_ids:
            clauses = [
                equals("name", name),
                equals("correlation_id", correlation_id),
            ]
            if not include_closed:
                clauses.append(equals("status", "RUNNING"))
            query = SearchQuery(where=all_of(*clauses), sort=(("create_ms", False),), size=LIST_MAX)
            _, rows = await self._store.search(query)
            found[correlation_id] = [
                document for row in rows if (document := await self._listed(row, include_tasks=include_tasks))
            ]
        return found

    async def running(
        self, name: str, *, version: int | None, start_ms: int | None, end_ms: int | None
    ) -> list[str]:
        """Ids of the running executions; with both times, of all created between them."""
        clauses = [equals("name", name)]
        if start_ms and end_ms:
            clauses += [
                Compare(key="create_ms", op=">=", value=start_ms),
                Compare(key="create_ms", op="<=", value=end_ms),
            ]
            if version is not None:
                clauses.append(equals("version", version))
        else:
            clauses.append(equals("status", "RUNNING"))
        _, rows = await self._store.search(SearchQuery(where=all_of(*clauses), size=LIST_MAX))
        return [row.header.workflow_id for row in rows]

    async def logs(self, task_id: str) -> list[dict[str, Any]]:
        """TaskExecLog objects {log, taskId, createdTime}."""
        lines = await self._store.logs(task_id)
        return [{"log": text, "taskId": task_id, "createdTime": at_ms} for text, at_ms in lines]

    # ------------------------------------------------------------------------------------ inside
    async def _stored(self, workflow_id: str) -> StoredWorkflow:
        stored = await self._store.load(workflow_id)
        if stored is None:
            raise NotFoundError(f"No such workflow found by id: {workflow_id}")
        return stored

    async def _documents_of(self, tasks: Sequence[Task]) -> list[bytes]:
        """The wire's Tasks of any workflows; those of a workflow removed just now are left out."""
        entries = await self._store.entries([task.id for task in tasks])
        stored: dict[str, StoredWorkflow | None] = {}
        documents: list[bytes] = []
        for task in tasks:
            workflow_id = task.head.workflow_instance_id
            if workflow_id not in stored:
                stored[workflow_id] = await self._store.load(workflow_id)
            if (workflow := stored[workflow_id]) is not None:
                graph = await self._definitions.frozen(workflow.header.definition_hash)
                entry = masked_entry(entries.get(task.id), graph)
                documents.append(
                    task_json(masked_task(task, graph), graph, entry=entry, header=workflow.header)
                )
        return documents

    async def _row(self, workflow_id: str) -> WorkflowRow:
        row = await self._store.row(workflow_id)
        if row is None and await self._arrived(workflow_id):
            row = await self._store.row(workflow_id)
        if row is None:
            raise NotFoundError(f"No such workflow found by id: {workflow_id}")
        return row

    async def _listed(self, row: WorkflowRow, *, include_tasks: bool) -> bytes | None:
        """None when the workflow was removed just now."""
        if not include_tasks:
            return await self._without_tasks(row)
        found = await self._store.execution(row.header.workflow_id)
        return None if found is None else await self._whole(found)

    async def _without_tasks(self, row: WorkflowRow) -> bytes:
        graph = await self._definitions.frozen(row.header.definition_hash)
        return workflow_json(masked_row(row, graph), graph, [])

    async def _whole(self, found: ExecutionRows) -> bytes:
        row = found.row
        graph = await self._definitions.frozen(row.header.definition_hash)
        documents = [_shown(t, graph, found.entries.get(t.id), row.header) for t in found.tasks]
        return workflow_json(masked_row(row, graph), graph, documents)

    async def _graphs_of(self, tasks: Sequence[Task]) -> dict[str, Graph]:
        """The graphs of these tasks' workflows, by id; those of workflows removed just now are left out."""
        graphs: dict[str, Graph] = {}
        for workflow_id in {task.head.workflow_instance_id for task in tasks}:
            stored = await self._store.load(workflow_id)
            if stored is not None:
                graphs[workflow_id] = await self._definitions.frozen(stored.header.definition_hash)
        return graphs

    async def _masked(self, row: WorkflowRow) -> WorkflowRow:
        return masked_row(row, await self._definitions.frozen(row.header.definition_hash))

    async def _task_documents(self, stored: StoredWorkflow, tasks: Sequence[Task]) -> list[bytes]:
        graph = await self._definitions.frozen(stored.header.definition_hash)
        entries = await self._store.entries([task.id for task in tasks])
        return [_shown(task, graph, entries.get(task.id), stored.header) for task in tasks]


def _shown(task: Task, graph: Graph, entry: QueueEntry | None, header: Header) -> bytes:
    return task_json(masked_task(task, graph), graph, entry=masked_entry(entry, graph), header=header)


async def _never(_workflow_id: str) -> bool:
    return False


def _narrowed(query: SearchQuery, also: Sequence[Condition]) -> SearchQuery:
    conditions = [*([] if query.where is None else [query.where]), *also]
    return replace(query, where=all_of(*conditions)) if conditions else query


def _of_tasks(query: str, free_text: str, sort: str, start: int, size: int) -> SearchQuery:
    return parse_query(query, free_text=free_text, sort=sort, start=start, size=size, fields=TASK_FIELDS)
