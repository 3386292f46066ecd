"""Who wants to know when a workflow moves: an in-process feed of committed changes and of progress."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

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


class Watch:
    """Somebody who waits until one of a growing set of workflows moves."""

    def __init__(self, watches: dict[str, set[Watch]]) -> None:
        self._watches = watches
        self._followed: set[str] = set()
        self._moved = asyncio.Event()

    def follow(self, workflow_id: str) -> bool:
        """Watch this workflow too; whether it is new here (then look at it: it may have moved before)."""
        if workflow_id in self._followed:
            return False
        self._followed.add(workflow_id)
        self._watches.setdefault(workflow_id, set()).add(self)
        return True

    def wake(self) -> None:
        self._moved.set()

    async def wait(self, timeout_s: float) -> None:
        """Until something moved since the last wait, or the time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), timeout_s)
        self._moved.clear()

    def close(self) -> None:
        for workflow_id in self._followed:
            waiting = self._watches[workflow_id]
            waiting.discard(self)
            if not waiting:
                del self._watches[workflow_id]
        self._followed.clear()


class Feed:
    def __init__(self) -> None:
        self._queues: dict[str | None, set[asyncio.Queue[Change]]] = {}
        self._watches: dict[str, set[Watch]] = {}
        self._hooks: list[Callable[[Change], None]] = []

    @property
    def watched(self) -> bool:
        """Whether anybody would hear a change."""
        return bool(self._queues or self._hooks or self._watches)

    def publish(self, change: Change) -> None:
        """Called after the commit; never blocks."""
        for hook in self._hooks:
            hook(change)
        for watch in self._watches.get(change.workflow_id, ()):
            watch.wake()
        for key in (change.workflow_id, None):
            for queue in self._queues.get(key, ()):
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(change)

    def on_change(self, hook: Callable[[Change], None]) -> None:
        """Call `hook` for every change, in commit order; it must not block."""
        self._hooks.append(hook)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """A watch that follows nothing yet; cheaper than `subscribe` when only "it moved" matters."""
        watch = Watch(self._watches)
        try:
            yield watch
        finally:
            watch.close()

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
