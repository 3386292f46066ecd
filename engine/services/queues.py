"""Task queues: long polls, leases, sizes."""

from __future__ import annotations

from typing import Any


class Queues:
    async def poll(
        self, task_type: str, *, domain: str | None, worker_id: str, count: int, timeout_ms: int
    ) -> list[bytes]:
        """Up to `count` tasks leased to the worker, each as wire JSON; waits up to `timeout_ms` for the first."""
        raise NotImplementedError

    async def sizes(self, task_types: list[str] | None = None) -> dict[str, int]:
        """Queue name -> unheld tasks; all queues when None."""
        raise NotImplementedError

    async def detail(self) -> dict[str, tuple[int, int]]:
        """Queue name -> (unheld, held)."""
        raise NotImplementedError

    async def poll_data(self, task_type: str | None = None) -> list[dict[str, Any]]:
        """PollData objects {queueName, domain?, workerId, lastPollTime}."""
        raise NotImplementedError
