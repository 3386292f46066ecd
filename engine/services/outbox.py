"""Delivers what one workflow's step says to another: at least once, receivers drop repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog
from msgspec import Raw

from engine.core import events as ev
from engine.core import messages as m
from engine.core.errors import EngineError, NotFoundError, RefusedError, StoreError
from engine.core.graph import Graph
from engine.core.model import MalformedBodyError, decode_workflow_def
from engine.core.records import Message
from engine.ports.stores import ExecutionStore, MessagesDone
from engine.services.committer import Committer
from engine.services.definitions import Definitions
from engine.services.mailboxes import Mailboxes

log = structlog.get_logger(__name__)

SWEEP_BATCH_MAX = 500
LOOKS_MAX = 4
"""Looks at the outbox after which any server delivers what it saw in all of them."""

Publish = Callable[[str, bytes, str], Awaitable[None]]


class Outbox:
    def __init__(
        self, store: ExecutionStore, committer: Committer, mailboxes: Mailboxes, definitions: Definitions
    ) -> None:
        self._store = store
        self._committer = committer
        self._mailboxes = mailboxes
        self._definitions = definitions
        self._under_way: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._coming: dict[str, asyncio.Task[None]] = {}  # target -> the newest delivery to it
        self._publish: Publish = _nobody
        self._noticed: dict[str, int] = {}
        self.swept = 0

    def on_event(self, publish: Publish) -> None:
        """Hand events of EVENT tasks to `publish(event, payload, id)`; what it raises keeps the message."""
        self._publish = publish

    def committed(self, messages: Sequence[Message]) -> None:
        """Deliver messages just written, in the background."""
        for message in messages:
            self._begin(message)

    async def sweep(self) -> int:
        """Deliver what a crash left undelivered; gives how many there were."""
        after, found = "", 0
        while True:
            messages = await self._store.pending_messages(SWEEP_BATCH_MAX, after)
            for message in messages:
                if message.id not in self._under_way:
                    found += 1
                    self._begin(message)
            if len(messages) < SWEEP_BATCH_MAX:
                self.swept += found
                return found
            after = messages[-1].id

    async def sweep_shared(self, is_mine: Callable[[str], bool]) -> int:
        """Deliver what another server left behind; gives how much.

        A message that is still there at the second look has probably lost its server; whom its target falls
        to delivers it then, and anybody at the fourth look.
        """
        messages = await self._store.pending_messages(SWEEP_BATCH_MAX)
        self._noticed = {message.id: self._noticed.get(message.id, 0) + 1 for message in messages}
        found = 0
        for message in messages:
            looks = self._noticed[message.id]
            due = looks >= LOOKS_MAX or (looks > 1 and is_mine(message.target_id))
            if due and message.id not in self._under_way:
                found += 1
                self._begin(message)
        self.swept += found
        return found

    async def arrived(self, workflow_id: str) -> bool:
        """Wait until what is under way to a workflow is delivered; False when nothing is.

        Ids of children and failure workflows are known before these exist; who asks for one waits here.
        """
        task = self._coming.get(workflow_id)
        if task is None:
            return False
        await asyncio.wait([task])
        return True

    async def idle(self) -> None:
        """Wait until everything under way is delivered."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _begin(self, message: Message) -> None:
        self._under_way.add(message.id)
        task = asyncio.get_running_loop().create_task(self._deliver(message))
        self._tasks.add(task)
        self._coming[message.target_id] = task
        task.add_done_callback(lambda done: self._ended(message.target_id, done))

    def _ended(self, target_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._coming.get(target_id) is task:
            del self._coming[target_id]

    async def _deliver(self, message: Message) -> None:
        try:
            try:
                await self._handle(message)
            except (
                RefusedError
            ) as refusal:  # the receiver is gone or past it: there is nothing left to deliver
                log.info(
                    "message_refused", kind=message.kind, target_id=message.target_id, reason=str(refusal)
                )
            await self._committer.write(MessagesDone(message_ids=(message.id,)))
        except EngineError as error:  # stays in the outbox; the next sweep tries again
            log.warning(
                "message_not_delivered", kind=message.kind, target_id=message.target_id, error=str(error)
            )
        except Exception:  # logged; the message stays for the next sweep
            log.exception("message_failed", kind=message.kind, target_id=message.target_id)
        finally:
            self._under_way.discard(message.id)

    async def _handle(self, message: Message) -> None:
        target = message.target_id
        match message.kind:
            case "start_child":
                await self._start_child(target, msgspec.json.decode(message.body, type=m.StartChild))
            case "start_workflow":
                body = msgspec.json.decode(message.body, type=m.StartWorkflowBody)
                await self._start_workflow(target, body)
            case "child_ended":
                ended = msgspec.json.decode(message.body, type=m.ChildEndedBody)
                event = ev.ChildEnded(
                    task_id=ended.task_id,
                    child_id=ended.child_id,
                    name=ended.name,
                    status=ended.status,
                    output=ended.output,
                    reason=ended.reason,
                )
                await self._mailboxes.submit(target, event)
            case "child_revived":
                revived = msgspec.json.decode(message.body, type=m.ChildRevivedBody)
                await self._mailboxes.submit(
                    target, ev.ChildRevived(task_id=revived.task_id, child_id=revived.child_id)
                )
            case "terminate_child":
                await self._terminate_child(target, msgspec.json.decode(message.body, type=m.TerminateChild))
            case "start_failure_workflow":
                body = msgspec.json.decode(message.body, type=m.StartFailureWorkflow)
                await self._start_failure_workflow(target, body)
            case "publish_event":
                event_body = msgspec.json.decode(message.body, type=m.PublishEvent)
                await self._publish(event_body.queue, bytes(event_body.payload), event_body.event_id)
            case "continue":
                await self._mailboxes.submit(target, ev.Continue())
            case _:
                log.error("message_of_unknown_kind", kind=message.kind)

    async def _start_child(self, child_id: str, body: m.StartChild) -> None:
        problem = f"No such workflow defined. name={body.name}, version={body.version}"
        graph: Graph | None = None
        try:
            if body.definition is not None:
                graph = await self._definitions.compile(decode_workflow_def(body.definition))
            else:
                graph = await self._definitions.registered(body.name, body.version)
        except MalformedBodyError as error:
            problem = str(error)
        if graph is None:
            failed = ev.ChildFailed(task_id=body.parent_task_id, reason=problem)
            await self._mailboxes.submit(body.parent_workflow_id, failed)
            return
        start = ev.Start(
            input=body.input,
            correlation_id=body.correlation_id,
            priority=body.priority,
            task_to_domain=body.task_to_domain,
            parent_workflow_id=body.parent_workflow_id,
            parent_task_id=body.parent_task_id,
        )
        await self._mailboxes.create(child_id, graph, start)
        # The parent may have ended while the child was on its way.
        parent = await self._store.tasks_by_id([body.parent_task_id])
        task = parent.get(body.parent_task_id)
        if task is None or not task.open:
            reason = "Parent workflow has been terminated with status CANCELED"
            await self._terminate_child(
                child_id, m.TerminateChild(reason=reason, parent_task_id=body.parent_task_id)
            )

    async def _start_workflow(self, workflow_id: str, body: m.StartWorkflowBody) -> None:
        """Start what a START_WORKFLOW task asked for; a repeated message finds it started."""
        if body.definition is not None:
            graph: Graph | None = await self._definitions.compile(decode_workflow_def(body.definition))
        else:
            graph = await self._definitions.registered(body.name, body.version)
        if graph is None:  # removed since the task was completed
            raise NotFoundError(f"No such workflow defined. name={body.name}, version={body.version}")
        start = ev.Start(
            input=body.input,
            correlation_id=body.correlation_id,
            priority=body.priority,
            task_to_domain=body.task_to_domain,
            created_by=body.created_by,
            idempotency_key=body.idempotency_key,
        )
        await self._mailboxes.create(workflow_id, graph, start)

    async def _terminate_child(self, child_id: str, body: m.TerminateChild) -> None:
        stored = await self._store.load(child_id)
        if stored is None or stored.header.parent_task_id != body.parent_task_id:
            return
        if stored.header.end_ms == 0:
            await self._mailboxes.submit(child_id, ev.Terminate(reason=body.reason))

    async def _start_failure_workflow(self, workflow_id: str, body: m.StartFailureWorkflow) -> None:
        graph = await self._definitions.registered(body.name, body.version)
        row = await self._store.row(body.failed_workflow_id)
        if graph is None or row is None:
            raise NotFoundError(f"No such workflow defined. name={body.name}, version={body.version}")
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
        await self._mailboxes.create(workflow_id, graph, start)


async def _nobody(event: str, payload: bytes, message_id: str) -> None:
    raise StoreError(f"event {event}: nothing takes events here")
