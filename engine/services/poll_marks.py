"""Who polled what, and when: told to clients, and what domains are chosen by."""

from __future__ import annotations

from typing import Any

from engine.ports.stores import ExecutionStore, MarkPolls

WRITTEN_EVERY_MS = 5_000
"""How often the time of a worker's last poll is written; in between it is known in memory."""
KEPT_MAX = 10_000
"""Workers known in memory; of the others what was written last counts."""


class PollMarks:
    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._marks: dict[tuple[str, str, str], tuple[int, int]] = {}  # last poll, last written

    def note(self, task_type: str, domain: str, worker_id: str, now_ms: int) -> MarkPolls | None:
        """A worker polls; gives what has to be written of it."""
        key = (task_type, domain, worker_id)
        _, written_ms = self._marks.get(key, (0, 0))
        if now_ms - written_ms < WRITTEN_EVERY_MS:
            self._marks[key] = (now_ms, written_ms)
            return None
        self._marks.pop(key, None)
        if len(self._marks) >= KEPT_MAX:
            del self._marks[next(iter(self._marks))]
        self._marks[key] = (now_ms, now_ms)
        return MarkPolls(marks=((*key, now_ms),))

    async def data(self, task_type: str | None = None) -> list[dict[str, Any]]:
        """PollData objects {queueName, domain?, workerId, lastPollTime}."""
        latest = {
            (m.task_type, m.domain, m.worker_id): m.at_ms for m in await self._store.poll_marks(task_type)
        }
        for key, (at_ms, _) in self._marks.items():
            if task_type is None or key[0] == task_type:
                latest[key] = max(at_ms, latest.get(key, 0))
        found = []
        for (name, domain, worker_id), at_ms in sorted(latest.items()):
            mark: dict[str, Any] = {"queueName": name, "workerId": worker_id, "lastPollTime": at_ms}
            if domain:
                mark["domain"] = domain
            found.append(mark)
        return found
