"""Workflow executions: start, update, operate. Every mutation goes through the workflow's mailbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from engine.core import events as ev
from engine.core import payloads
from engine.core.errors import InvalidRequestError, NotFoundError, VersionConflictError
from engine.core.facts import IdStream
from engine.core.graph import Graph
from engine.core.idempotency import Strategy, strategy_of
from engine.core.model import MalformedBodyError, decode_workflow_def
from engine.core.records import EMPTY_OBJECT, Delta, Task
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus
from engine.core.validation import validate_workflow_def
from engine.ports.stores import AppendLogs, ExecutionStore, StoredWorkflow
from engine.ports.system import Chance, Clock
from engine.services.committer import Committer, raise_failure
from engine.services.definitions import Definitions
from engine.services.feed import Change, Feed
from engine.services.idempotency import KeyedStarts
from engine.services.mailboxes import Mailboxes
from engine.services.metadata import INVALID
from engine.services.payloads import ExternalPayloads, Fetched
from engine.services.queues import Queues
from engine.services.reading import Reading
from engine.services.schema_checks import SchemaChecks

LOG_LINES_PER_UPDATE_MAX = 10
"""Log lines of one task update that are kept (upstream: taskExecLogSizeLimit)."""


REMOVALS_MAX = 10
"""How often the removal of a workflow that moves is tried."""


def _null() -> Raw:
    return Raw(b"null")


REPORTABLE = {
    "IN_PROGRESS": TaskStatus.IN_PROGRESS,
    "FAILED": TaskStatus.FAILED,
    "FAILED_WITH_TERMINAL_ERROR": TaskStatus.FAILED_WITH_TERMINAL_ERROR,
    "COMPLETED": TaskStatus.COMPLETED,
    "CANCELED": TaskStatus.CANCELED,
}
"""TaskResult.Status: what a report may say."""


class StartRequest(Struct, kw_only=True, rename="camel"):
    """Upstream's StartWorkflowRequest; an `input` of None was given as null, which is refused.

    `workflow_def` is an inline definition's JSON, or the JSON null.
    """

    name: str | None = None
    version: int | None = None
    correlation_id: str | None = None
    input: dict[str, Any] | None = field(default_factory=dict)
    task_to_domain: dict[str, str] | None = None
    workflow_def: Raw = field(default_factory=_null)
    external_input_payload_storage_path: str | None = None
    priority: int | None = None
    created_by: str | None = None
    idempotency_key: str | None = None
    idempotency_strategy: str | None = None


class TaskUpdate(Struct, kw_only=True, rename="camel"):
    """Upstream's TaskResult as a worker sends it; `output_data` is a JSON object or null."""

    workflow_instance_id: str | None = None
    task_id: str | None = None
    reason_for_incompletion: str | None = None
    callback_after_seconds: int | None = None
    worker_id: str | None = None
    status: str | None = None
    output_data: Raw = field(default_factory=_null)
    logs: list[dict[str, Any]] | None = None
    external_output_payload_storage_path: str | None = None
    sub_workflow_id: str | None = None
    extend_lease: bool | None = None


class UpdateOutcome(Struct, kw_only=True):
    """What became of an update: `ended` is false for a lease extension and for a task still open."""

    task_id: str
    ended: bool
    task_type: str = ""
    domain: str | None = None


class Executions(Reading):
    def __init__(
        self,
        store: ExecutionStore,
        definitions: Definitions,
        *,
        mailboxes: Mailboxes,
        committer: Committer,
        queues: Queues,
        feed: Feed,
        clock: Clock,
        chance: Chance,
        keyed: KeyedStarts,
        schemas: SchemaChecks,
        external: ExternalPayloads,
        key_strategy: Strategy | None = None,
    ) -> None:
        super().__init__(store, definitions)
        self._keyed = keyed
        self._schemas = schemas
        self._external = external
        self._key_strategy = key_strategy
        self._mailboxes = mailboxes
        self._committer = committer
        self._queues = queues
        self._feed = feed
        self._clock = clock
        self._chance = chance
        self._slot_freed: Callable[[str], None] = lambda _: None

    def on_slot_freed(self, hook: Callable[[str], None]) -> None:
        """Call `hook` with the rate limit key of an execution that was removed."""
        self._slot_freed = hook

    # ------------------------------------------------------------------------------------ start
    async def start(
        self, request: StartRequest, *, workflow_id: str | None = None, event: str | None = None
    ) -> str:
        """Start a workflow; decides inside the call. Returns the workflow id.

        Args:
            request: what to start.
            workflow_id: given by callers that repeat themselves: one that exists already is left as it is.
            event: name of the event that starts it.

        Raises:
            NotFoundError: no such definition. InvalidRequestError: bad request. ConflictError: the
                idempotency key is taken. StoreAwayError: what keeps its input cannot be reached.
        """
        if not request.name:
            raise _invalid("startWorkflow.arg0.name", "Workflow name cannot be null or empty")
        priority = request.priority or 0
        if not 0 <= priority <= 99:
            bound = "minimum 0" if priority < 0 else "maximum 99"
            raise _invalid(
                "startWorkflow.arg0.priority", f"priority: {priority} should be {bound}", str(priority)
            )
        graph = await self._graph_to_start(request)
        start = ev.Start(
            input=await self._input(request, graph.definition.name),
            correlation_id=request.correlation_id,
            priority=priority,
            task_to_domain=request.task_to_domain or {},
            event=event,
            created_by=request.created_by,
            idempotency_key=request.idempotency_key,
        )
        await self._schemas.check_start(graph, start.input)
        strategy = strategy_of(request.idempotency_strategy) or self._key_strategy
        if request.idempotency_key and strategy is not None:
            found, _ = await self._keyed.start(graph, start, key=request.idempotency_key, strategy=strategy)
            return found
        workflow_id = workflow_id or IdStream(self._chance.seed(), self._clock.now_ms()).uuid()
        await self._mailboxes.create(workflow_id, graph, start)
        return workflow_id

    async def _input(self, request: StartRequest, name: str) -> Raw:
        """The input; what lies elsewhere counts only beside an empty one, as upstream has it."""
        path = request.external_input_payload_storage_path
        if path and not request.input:
            fetched = await self._external.fetch(path, member="externalInputPayloadStoragePath")
            payloads.check_input(name, fetched.size_bytes)
            return fetched.document
        if request.input is None:
            raise InvalidRequestError("NULL input passed when starting workflow")
        given = Raw(msgspec.json.encode(request.input)) if request.input else EMPTY_OBJECT
        payloads.check_input(name, len(memoryview(given)))
        return given

    async def _graph_to_start(self, request: StartRequest) -> Graph:
        if bytes(memoryview(request.workflow_def)[:1]) == b"{":
            definition = decode_workflow_def(bytes(request.workflow_def))
            problems = validate_workflow_def(
                definition,
                path="startWorkflow.arg0.workflowDef",
                js_problem=self._definitions.js_problem,
                env_names=self._definitions.environment,
            )
            if problems:
                raise InvalidRequestError(
                    INVALID, tuple((p.path, p.message, p.invalid_value) for p in problems)
                )
            return await self._definitions.compile(definition)
        graph = await self._definitions.registered(request.name or "", request.version)
        if graph is None:
            shown = "null" if request.version is None else request.version
            raise NotFoundError(f"No such workflow defined. name={request.name}, version={shown}")
        return graph

    # ------------------------------------------------------------------------------------ task updates
    async def update(self, update: TaskUpdate) -> UpdateOutcome:
        """Apply a worker's result. Late and duplicate ones change nothing.

        Raises:
            NotFoundError: no such workflow or task. InvalidRequestError: ids are missing. MalformedBodyError:
                no such status. StoreAwayError: what keeps its output cannot be reached.
        """
        if update.extend_lease:
            return await self._extend(update)
        problems = []
        if not update.workflow_instance_id:
            problems.append(
                ("updateTask.arg0.workflowInstanceId", "Workflow Id cannot be null or empty", None)
            )
        if not update.task_id:
            problems.append(("updateTask.arg0.taskId", "Task ID cannot be null or empty", None))
        if problems:
            raise InvalidRequestError(INVALID, tuple(problems))
        workflow_id, task_id = update.workflow_instance_id or "", update.task_id or ""
        entries = await self._store.entries([task_id])
        status, reason = _status(update.status), update.reason_for_incompletion
        given = await self._output(update, task_id)
        output = given.document
        overflow = payloads.output_problem(workflow_id, task_id, given.size_bytes)
        if overflow is not None:
            status, reason, output = TaskStatus.FAILED_WITH_TERMINAL_ERROR, overflow, EMPTY_OBJECT
        event = ev.TaskReported(
            task_id=task_id,
            status=status,
            output=output,
            reason=reason,
            worker_id=update.worker_id,
            callback_after_seconds=max(0, update.callback_after_seconds or 0),
            sub_workflow_id=update.sub_workflow_id,
            entry=entries.get(task_id),
        )
        applied = await self._mailboxes.submit(workflow_id, event)
        if update.logs and applied.changed:
            await self._append_logs(task_id, [str(line.get("log", "")) for line in update.logs])
        task = applied.task
        if task is None:
            return UpdateOutcome(task_id=task_id, ended=True)
        domain = task.head.domain if isinstance(task.head.domain, str) else None
        return UpdateOutcome(
            task_id=task_id, ended=not task.open, task_type=task.head.task_type, domain=domain
        )

    async def _output(self, update: TaskUpdate, task_id: str) -> Fetched:
        path = update.external_output_payload_storage_path
        if not path:
            output = update.output_data if _is_object(update.output_data) else EMPTY_OBJECT
            return Fetched(size_bytes=len(memoryview(output)), document=output)
        try:
            return await self._external.fetch(path, member="externalOutputPayloadStoragePath")
        except NotFoundError:
            task = (await self._store.tasks_by_id([task_id])).get(task_id)
            if task is None or task.open:
                raise
            # A repeated report, whose payload has been used and removed: nothing of it matters any more.
            return Fetched(size_bytes=0, document=EMPTY_OBJECT)

    async def _extend(self, update: TaskUpdate) -> UpdateOutcome:
        """Renew the lease; an IN_PROGRESS report's output is kept as progress (upstream ignores it)."""
        task_id = update.task_id or ""
        if not update.workflow_instance_id or not update.task_id:
            raise InvalidRequestError(
                INVALID, (("updateTask.arg0.taskId", "Task ID cannot be null or empty", None),)
            )
        task = (await self._store.tasks_by_id([task_id])).get(task_id)
        if task is None:
            raise NotFoundError(f"No such task found by id: {task_id}")
        progress = None
        if update.status == "IN_PROGRESS" and _is_object(update.output_data):
            progress = update.output_data if bytes(update.output_data) != b"{}" else None
        if task.open and await self._queues.extend(task_id, progress) and progress is not None:
            workflow_id = task.head.workflow_instance_id
            self._feed.publish(
                Change(workflow_id=workflow_id, kind="progress", task_id=task_id, ref=task.ref)
            )
        return UpdateOutcome(task_id=task_id, ended=False, task_type=task.head.task_type)

    async def update_by_ref(
        self, workflow_id: str, ref: str, status: str, output: Raw, worker_id: str | None
    ) -> str | None:
        """Update the first open task of that reference (else base reference), merging its output.

        Returns:
            the task's id; None when there is none.
        """
        reported = _status(status)
        if await self._store.load(workflow_id) is None:
            raise NotFoundError(f"No such workflow found by id: {workflow_id}")
        task = await self._open_by_ref(workflow_id, ref)
        if task is None:
            return None
        entries = await self._store.entries([task.id])
        event = ev.TaskReported(
            task_id=task.id,
            status=reported,
            output=output,
            merge=True,
            worker_id=worker_id,
            entry=entries.get(task.id),
        )
        await self._mailboxes.submit(workflow_id, event)
        return task.id

    async def _open_by_ref(self, workflow_id: str, ref: str) -> Task | None:
        open_tasks = await self._store.open_tasks(workflow_id)
        exact = (task for task in open_tasks if task.ref == ref)
        base = (task for task in open_tasks if task.links.base_ref == ref)
        return next(exact, None) or next(base, None)

    # ------------------------------------------------------------------------------------ operations
    async def pause(self, workflow_id: str) -> None:
        await self._mailboxes.submit(workflow_id, ev.Pause())

    async def resume(self, workflow_id: str) -> None:
        await self._mailboxes.submit(workflow_id, ev.Resume())

    async def terminate(self, workflow_id: str, reason: str | None) -> None:
        await self._mailboxes.submit(workflow_id, ev.Terminate(reason=reason))

    async def retry(self, workflow_id: str, *, resume_subworkflow_tasks: bool = False) -> None:
        """Retry the failed tasks; with `resume_subworkflow_tasks` those of the deepest failed child."""
        target = workflow_id
        if resume_subworkflow_tasks:
            found = await self._deepest_failed(workflow_id)
            if found is None:
                return
            target = found
        await self._mailboxes.submit(target, ev.Retry())

    async def _deepest_failed(self, workflow_id: str) -> str | None:
        stored = await self._stored(workflow_id)
        if stored.header.status in WORKFLOW_OPEN:
            return workflow_id  # refused there, with the text for a running workflow
        failures = (
            TaskStatus.FAILED,
            TaskStatus.FAILED_WITH_TERMINAL_ERROR,
            TaskStatus.TIMED_OUT,
            TaskStatus.CANCELED,
        )
        tasks = [t for t in await self._store.tasks(workflow_id, statuses=failures) if not t.state.retried]
        tasks = [t for t in tasks if t.head.task_type not in ("JOIN", "DO_WHILE")]
        if not tasks:
            return None
        child_id = tasks[0].state.sub_workflow_id
        if tasks[0].head.task_type == "SUB_WORKFLOW" and isinstance(child_id, str):
            return await self._deepest_failed(child_id)
        return workflow_id

    async def restart(self, workflow_id: str, *, use_latest_definitions: bool = False) -> None:
        graph = None
        if use_latest_definitions:
            stored = await self._stored(workflow_id)
            graph = await self._definitions.registered(stored.header.name, None)
            if graph is None:
                raise NotFoundError(f"Unable to find latest definition for {stored.header.name}")
        await self._mailboxes.submit(workflow_id, ev.Restart(), restart_graph=graph)

    async def rerun(
        self,
        workflow_id: str,
        *,
        from_task_id: str | None = None,
        workflow_input: dict[str, Any] | None = None,
        task_input: dict[str, Any] | None = None,
        correlation_id: str | None = None,
    ) -> str:
        event = ev.Rerun(
            task_id=from_task_id,
            workflow_input=workflow_input,
            task_input=task_input,
            correlation_id=correlation_id,
        )
        await self._mailboxes.submit(workflow_id, event)
        return workflow_id

    async def skip_task(
        self, workflow_id: str, ref: str, task_input: dict[str, Any], task_output: dict[str, Any]
    ) -> None:
        event = ev.SkipTask(
            ref=ref, input=Raw(msgspec.json.encode(task_input)), output=Raw(msgspec.json.encode(task_output))
        )
        await self._mailboxes.submit(workflow_id, event)

    async def reset_callbacks(self, workflow_id: str) -> None:
        """Make postponed tasks due now."""
        await self._mailboxes.submit(workflow_id, ev.ResetCallbacks())

    async def set_variables(
        self, workflow_id: str, variables: dict[str, Any], *, append: bool = False
    ) -> None:
        """Write members over the workflow's variables; with `append` lists grow by what is given."""
        given = Raw(msgspec.json.encode(variables))
        await self._mailboxes.submit(workflow_id, ev.SetVariables(variables=given, append=append))

    async def push_message(self, workflow_id: str, payload: Raw) -> str:
        """Send a JSON object to the workflow's PULL_WORKFLOW_MESSAGES tasks; returns the message's id.

        Raises:
            NotFoundError: no such workflow. ConflictError: it has ended. RateLimitedError: its inbox is full.
        """
        message_id = IdStream(self._chance.seed(), self._clock.now_ms()).uuid()
        await self._mailboxes.submit(workflow_id, ev.MessageSent(message_id=message_id, payload=payload))
        return message_id

    async def jump(self, workflow_id: str, ref: str, task_input: dict[str, Any]) -> None:
        """Drop what is under way and go on from a task of the top level."""
        given = Raw(msgspec.json.encode(task_input))
        await self._mailboxes.submit(workflow_id, ev.Jump(ref=ref, input=given))

    async def decide(self, workflow_id: str) -> None:
        """Look at a workflow again. Nothing waits for this here; it is the clients' safety net."""
        await self._mailboxes.submit(workflow_id, ev.Continue())

    async def remove(self, workflow_id: str, *, archive: bool = True) -> None:
        """Delete an execution with all that belongs to it; a running one only when not to be archived."""
        for attempt in range(1, REMOVALS_MAX + 1):
            stored = await self._stored(workflow_id)
            header = stored.header
            if archive and header.status in WORKFLOW_OPEN:
                text = f"Cannot archive workflow: {workflow_id} with status: {header.status}"
                raise InvalidRequestError(text)
            try:
                await self._delete(stored)
                break
            except VersionConflictError:  # it moved meanwhile; only one that runs goes on doing so
                if attempt == REMOVALS_MAX:
                    raise
        if header.rate_limit_key is not None:
            self._slot_freed(header.rate_limit_key)
        self._mailboxes.forget(workflow_id)

    async def _delete(self, stored: StoredWorkflow) -> None:
        delta = Delta(
            workflow_id=stored.header.workflow_id,
            expected_version=stored.row_version,
            header=stored.header,
            delete=True,
        )
        raise_failure(await self._committer.write(delta))

    # ------------------------------------------------------------------------------------ logs
    async def add_log(self, task_id: str, text: str) -> None:
        await self._append_logs(task_id, [text])

    async def _append_logs(self, task_id: str, lines: list[str]) -> None:
        now_ms = self._clock.now_ms()
        kept = tuple((line, now_ms) for line in lines[:LOG_LINES_PER_UPDATE_MAX])
        raise_failure(await self._committer.write(AppendLogs(task_id=task_id, lines=kept)))


def _status(name: str | None) -> TaskStatus:
    found = REPORTABLE.get(name or "IN_PROGRESS")
    if found is None:
        raise MalformedBodyError(f"status: {name} is none of {', '.join(REPORTABLE)}")
    return found


def _is_object(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:64]).lstrip()[:1] == b"{"


def _invalid(path: str, message: str, value: str | None = None) -> InvalidRequestError:
    return InvalidRequestError(INVALID, ((path, message, value),))
