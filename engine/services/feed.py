"""Who wants to know when a workflow moves: an in-process feed of committed changes and of progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec import Struct

CHANGES_WAITING_MAX = 1024
"""Changes one slow subscriber may leave waiting; older ones are dropped, the newest kept."""


class Change(Struct, kw_only=True, frozen=True):
    """Something committed about a workflow.

    Attributes:
        kind: `workflow` (its status moved; `status` has it), `task` (a task moved) or `progress` (a worker's
            heartbeat).
    """

    workflow_id: str
    kind: str
    status: str = ""
    task_id: str = ""
    ref: str = ""


class Feed:
    def __init__(self) -> None:
        self._queues: dict[str | None, set[asyncio.Queue[Change]]] = {}
        self._hooks: list[Callable[[Change], None]] = []

    @property
    def watched(self) -> bool:
        """Whether anybody would hear a change."""
        return bool(self._queues or self._hooks)

    def publish(self, change: Change) -> None:
        """Called after the commit; never blocks."""
        for hook in self._hooks:
            hook(change)
        for key in (change.workflow_id, None):
            for queue in self._queues.get(key, ()):
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(change)

    def on_change(self, hook: Callable[[Change], None]) -> None:
        """Call `hook` for every change, in commit order; it must not block."""
        self._hooks.append(hook)

    @asynccontextmanager
    async def subscribe(self, workflow_id: str | None = None) -> AsyncIterator[asyncio.Queue[Change]]:
        """A queue of the changes of one workflow, or of all."""
        queue: asyncio.Queue[Change] = asyncio.Queue(CHANGES_WAITING_MAX)
        self._queues.setdefault(workflow_id, set()).add(queue)
        try:
            yield queue
        finally:
            waiting = self._queues[workflow_id]
            waiting.discard(queue)
            if not waiting:
                del self._queues[workflow_id]
