"""Upstream's default event queues: a message says that a waiting task is COMPLETED or FAILED.

A message is kept as a document until the task has it, so that an accepted one survives the server.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import structlog
from msgspec import Raw, Struct

from engine.core.errors import EngineError, InvalidRequestError, NotFoundError, RefusedError
from engine.core.facts import IdStream
from engine.core.model import MalformedBodyError
from engine.ports.documents import DocumentStore
from engine.ports.stores import ExecutionStore
from engine.ports.system import Chance, Clock
from engine.services.executions import Executions, TaskUpdate

log = structlog.get_logger(__name__)

KIND = "queue_update"
QUEUES = {"COMPLETED": "conductor:queue_update_completed", "FAILED": "conductor:queue_update_failed"}
"""Status -> name of its queue."""
STATUSES = frozenset(
    {
        "IN_PROGRESS",
        "CANCELED",
        "FAILED",
        "FAILED_WITH_TERMINAL_ERROR",
        "COMPLETED",
        "COMPLETED_WITH_ERRORS",
        "SCHEDULED",
        "TIMED_OUT",
        "SKIPPED",
    }
)
EVERY_MS = 60_000
"""How often messages are looked for that a crash left behind."""


class QueueUpdate(Struct, kw_only=True):
    """One message."""

    workflow_id: str
    task_id: str
    status: Literal["COMPLETED", "FAILED"]
    output: dict[str, Any] = {}


class QueueUpdates:
    def __init__(
        self,
        documents: DocumentStore,
        store: ExecutionStore,
        executions: Executions,
        *,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._documents = documents
        self._store = store
        self._executions = executions
        self._clock = clock
        self._chance = chance

    async def post(
        self,
        workflow_id: str,
        status: str,
        output: dict[str, Any],
        *,
        ref: str | None = None,
        task_id: str | None = None,
    ) -> None:
        """Accept a message for a task, named by its id or by the reference of an open one, and hand it over.

        One whose task is not there, or has ended, is dropped, as upstream's is. The task is settled when the
        message is accepted: a reference in a loop does not come to mean the next iteration.

        Raises:
            MalformedBodyError: no such status. InvalidRequestError: a status without a queue.
            StoreError: it was not accepted.
        """
        if status not in STATUSES:
            raise MalformedBodyError(f"status: {status} is none of {', '.join(sorted(STATUSES))}")
        if status not in QUEUES:
            raise InvalidRequestError(f"There is no queue for handling {status} status")
        tasks = await self._store.open_tasks(workflow_id)
        if task_id is not None:
            meant = [task for task in tasks if task.id == task_id]
        else:
            meant = [task for task in tasks if task.ref == ref]
            meant = meant or [task for task in tasks if task.links.base_ref == ref]
        if not meant:
            log.info("queue_update_dropped", workflow_id=workflow_id, ref=ref, task_id=task_id)
            return
        given = {"workflow_id": workflow_id, "task_id": meant[0].id, "status": status, "output": output}
        update = msgspec.convert(given, QueueUpdate)
        now_ms = self._clock.now_ms()
        message_id = IdStream(self._chance.seed(), now_ms).uuid()
        await self._documents.put(KIND, message_id, msgspec.json.encode(update), at_ms=now_ms)
        await self._deliver(message_id, update)

    async def sizes(self) -> dict[str, int]:
        """Status -> messages that wait."""
        waiting = [msgspec.json.decode(d.body, type=QueueUpdate) for d in await self._documents.list(KIND)]
        return {status: sum(one.status == status for one in waiting) for status in QUEUES}

    async def step(self) -> int:
        """Hand over what a crash left behind; gives the instant of the next call."""
        for document in await self._documents.list(KIND):
            await self._deliver(document.name, msgspec.json.decode(document.body, type=QueueUpdate))
        return self._clock.now_ms() + EVERY_MS

    async def _deliver(self, message_id: str, update: QueueUpdate) -> None:
        try:
            await self._apply(update)
        except RefusedError as error:
            log.info("queue_update_dropped", workflow_id=update.workflow_id, reason=str(error))
        except EngineError as error:
            log.warning("queue_update_not_delivered", workflow_id=update.workflow_id, error=str(error))
            return
        await self._documents.delete(KIND, message_id)

    async def _apply(self, update: QueueUpdate) -> None:
        task = (await self._store.tasks_by_id([update.task_id])).get(update.task_id)
        if task is None:
            raise NotFoundError(f"No such task found by id: {update.task_id}")
        merged = msgspec.json.decode(task.output) | update.output
        await self._executions.update(
            TaskUpdate(
                workflow_instance_id=update.workflow_id,
                task_id=task.id,
                status=update.status,
                output_data=Raw(msgspec.json.encode(merged)),
            )
        )
