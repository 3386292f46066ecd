"""Delivers what one workflow's step says to another: at least once, receivers drop repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from engine.core import events as ev
from engine.core import messages as m
from engine.core.errors import EngineError, RefusedError, StoreError
from engine.core.records import Message
from engine.core.statuses import WORKFLOW_OPEN
from engine.ports.stores import ExecutionStore, MessagesDone
from engine.services.committer import Committer
from engine.services.mailboxes import Mailboxes
from engine.services.message_starts import MessageStarts

log = structlog.get_logger(__name__)

SWEEP_BATCH_MAX = 500
LOOKS_MAX = 4
"""Looks at the outbox after which any server delivers what it saw in all of them."""

Publish = Callable[[str, bytes, str], Awaitable[None]]
Notify = Callable[[str, str, m.Notice], Awaitable[None]]


class Outbox:
    def __init__(
        self, store: ExecutionStore, committer: Committer, mailboxes: Mailboxes, starts: MessageStarts
    ) -> None:
        self._store = store
        self._committer = committer
        self._mailboxes = mailboxes
        self._starts = starts
        self._under_way: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._coming: dict[str, asyncio.Task[None]] = {}  # target -> the newest delivery to it
        self._publish: Publish = _nobody
        self._notify: Notify = _nobody_listens
        self._noticed: dict[str, int] = {}
        self.swept = 0

    def on_event(self, publish: Publish) -> None:
        """Hand events of EVENT tasks to `publish(event, payload, id)`; what it raises keeps the message."""
        self._publish = publish

    def on_notice(self, notify: Notify) -> None:
        """Hand notices to `notify(workflow_id, message_id, notice)`; what it raises keeps the message."""
        self._notify = notify

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

    async def _revive(self, parent_id: str, revived: m.ChildRevivedBody) -> None:
        """The parent runs again; when the child has ended meanwhile, its end is told anew."""
        event = ev.ChildRevived(task_id=revived.task_id, child_id=revived.child_id)
        await self._mailboxes.submit(parent_id, event)
        child = await self._store.row(revived.child_id)
        if child is None or child.header.status in WORKFLOW_OPEN:
            return
        header = child.header
        ended = ev.ChildEnded(
            task_id=revived.task_id,
            child_id=revived.child_id,
            name=f"{header.name}.{header.version}/{header.workflow_id}",
            status=header.status,
            output=child.output,
            reason=header.reason,
        )
        await self._mailboxes.submit(parent_id, ended)

    async def _handle(self, message: Message) -> None:
        target = message.target_id
        match message.kind:
            case "start_child":
                await self._starts.child(target, msgspec.json.decode(message.body, type=m.StartChild))
            case "start_workflow":
                body = msgspec.json.decode(message.body, type=m.StartWorkflowBody)
                await self._starts.workflow(target, body)
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
                await self._revive(target, msgspec.json.decode(message.body, type=m.ChildRevivedBody))
            case "terminate_child":
                await self._starts.terminate_child(
                    target, msgspec.json.decode(message.body, type=m.TerminateChild)
                )
            case "start_failure_workflow":
                failed = msgspec.json.decode(message.body, type=m.StartFailureWorkflow)
                await self._starts.failure_workflow(target, failed)
            case "publish_event":
                event_body = msgspec.json.decode(message.body, type=m.PublishEvent)
                await self._publish(event_body.queue, bytes(event_body.payload), event_body.event_id)
            case "notice":
                await self._notify(target, message.id, msgspec.json.decode(message.body, type=m.Notice))
            case "continue":
                await self._mailboxes.submit(target, ev.Continue())
            case _:
                log.error("message_of_unknown_kind", kind=message.kind)


async def _nobody(event: str, payload: bytes, message_id: str) -> None:
    raise StoreError(f"event {event}: nothing takes events here")


async def _nobody_listens(workflow_id: str, message_id: str, notice: m.Notice) -> None:
    del workflow_id, message_id, notice
