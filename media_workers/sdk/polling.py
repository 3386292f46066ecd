"""Takes tasks for a number of slots from several queues: fairly, at once, and quietly while there is nothing.

Two ways to poll, because the wire knows only polls of one queue at a time. While slots have been filling up,
one thread *scans*: it asks queue after queue for no more tasks than there are free slots, without waiting,
beginning where the last scan ended. When a scan finds nothing more, the queues are *watched*: one long poll
each, all at once, so that a new task starts the moment it exists. Watching may deliver more tasks than there
are free slots; those go back to their queue at once.
"""

import threading
from collections.abc import Callable, Sequence

import structlog

from media_workers.sdk.errors import ServerRefusedError, ServerUnavailableError
from media_workers.sdk.models import Task
from media_workers.sdk.outage import Outage, backoff_s

_log = structlog.get_logger(__name__)

PollQueue = Callable[[str, int, int], list[Task]]
"""(task type, count, timeout in ms) -> leased tasks."""


class SlotPool:
    """A number of slots and the queues that feed them.

    Args:
        name: for threads and logs.
        slots: how many tasks run at once.
        task_types: the queues.
        poll: leases tasks; raises as ConductorClient.poll does.
        start: begins a leased task in a thread of its own, which calls `free_slot` when it is done.
        give_back: puts a leased task back.
        outage: shared knowledge about the server.
        long_poll_ms: how long a watching poll waits.
    """

    def __init__(
        self,
        name: str,
        *,
        slots: int,
        task_types: Sequence[str],
        poll: PollQueue,
        start: Callable[[Task, "SlotPool"], None],
        give_back: Callable[[Task], None],
        outage: Outage,
        long_poll_ms: int,
    ) -> None:
        self.name = name
        self._task_types = tuple(task_types)
        self._poll = poll
        self._start = start
        self._give_back = give_back
        self._outage = outage
        self._long_poll_ms = long_poll_ms
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._free = slots
        self._scan_due = True
        self._watching = False
        self._watched: set[str] = set()
        self._turn = 0

    def threads(self) -> list[threading.Thread]:
        """The pool's threads, not yet started: one scans, one a queue watches."""
        scanner = threading.Thread(target=self._scan_until_stopped, name=f"scan-{self.name}", daemon=True)
        watchers = [
            threading.Thread(
                target=self._watch_until_stopped, args=(kind,), name=f"watch-{kind}", daemon=True
            )
            for kind in self._task_types
        ]
        return [scanner, *watchers]

    def stop(self) -> None:
        """Poll no more; what is still delivered goes back."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def free_slot(self) -> None:
        """A task ended."""
        with self._changed:
            self._free += 1
            if self._free == 1:
                self._scan_due = True
            self._changed.notify_all()

    def _scan_until_stopped(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping.is_set() or (self._scan_due and self._free > 0))
                if self._stopping.is_set():
                    return
                self._scan_due = False
            if self._scan():
                failures = 0
                continue
            failures += 1
            self._stopping.wait(backoff_s(failures))
            with self._changed:
                self._scan_due = True

    def _scan(self) -> bool:
        """One round over the queues; False when the server is away."""
        first = self._turn
        for offset in range(len(self._task_types)):
            position = (first + offset) % len(self._task_types)
            kind = self._task_types[position]
            with self._changed:
                free, watched = self._free, kind in self._watched
            if self._stopping.is_set():
                return True
            if free == 0:
                self._turn = position
                return True
            if watched:
                continue
            tasks = self._ask(kind, free, 0)
            if tasks is None:
                return False
            for task in tasks:
                self._take(task)
        self._turn = (first + 1) % len(self._task_types)
        with self._changed:
            if not self._scan_due and self._free > 0:
                self._watching = True
                self._changed.notify_all()
        return True

    def _watch_until_stopped(self, kind: str) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping.is_set() or (self._watching and self._free > 0))
                if self._stopping.is_set():
                    return
                self._watched.add(kind)
            tasks = self._ask(kind, 1, self._long_poll_ms)
            with self._changed:
                self._watched.discard(kind)
            if tasks is None:
                failures += 1
                self._stopping.wait(backoff_s(failures))
                continue
            failures = 0
            for task in tasks:
                self._take(task)

    def _take(self, task: Task) -> None:
        with self._changed:
            taken = self._free > 0 and not self._stopping.is_set()
            if taken:
                self._free -= 1
            if self._free == 0:
                self._watching = False
        if taken:
            self._start(task, self)
        else:
            self._give_back(task)

    def _ask(self, kind: str, count: int, timeout_ms: int) -> list[Task] | None:
        """Poll one queue; None when the server is away or does not let us."""
        try:
            tasks = self._poll(kind, count, timeout_ms)
        except (ServerUnavailableError, ServerRefusedError) as error:
            if not self._stopping.is_set():
                self._outage.failed(str(error))
            return None
        self._outage.answered()
        return tasks
