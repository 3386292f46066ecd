"""The limits that task definitions set now, for every poll and hand-over to go by."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from engine.core.graph import SYSTEM_TYPES
from engine.core.limits import NO_LIMITS, TaskLimit, TaskLimits, limit_of
from engine.core.model import TaskDef
from engine.ports.stores import MetadataStore
from engine.ports.system import Clock

KEPT_MS_MAX = 2_000
"""How long another server's change of a limit may go unseen here."""


TYPES_KEPT_MAX = 10_000
"""Task types whose limits are remembered."""


class _Limits(Struct, kw_only=True, rename="camel"):
    """The members of a TaskDef that matter here."""

    name: str = ""
    concurrent_exec_limit: int | None = None
    rate_limit_per_frequency: int | None = None
    rate_limit_frequency_in_seconds: int | None = None


_decode = msgspec.json.Decoder(_Limits).decode


class CurrentLimits:
    """Limits of all registered task definitions, read anew when one changes here, and every KEPT_MS_MAX.

    Attributes:
        known: as last read; what must not wait goes by these.
    """

    def __init__(self, metadata: MetadataStore, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._read_ms: int | None = None
        self._changes = 0
        self._by_type: dict[str, TaskLimits] = {}
        self.known: TaskLimits = NO_LIMITS

    def forget(self) -> None:
        """A definition changed: read them before the next use."""
        self._read_ms = None
        self._changes += 1

    @property
    def unread(self) -> bool:
        """Not read yet, or not since a definition changed here: `known` may be wrong."""
        return self._read_ms is None

    @property
    def stale(self) -> bool:
        now_ms = self._clock.now_ms()
        return self._read_ms is None or not self._read_ms <= now_ms < self._read_ms + KEPT_MS_MAX

    async def current(self) -> TaskLimits:
        """The limits by task definition name.

        Raises:
            StoreError: they cannot be read.
        """
        while self.stale:
            changes, now_ms = self._changes, self._clock.now_ms()
            found: dict[str, TaskLimit] = {}
            for body in await self._metadata.list_task_defs():
                fields = _decode(body)
                limit = limit_of(
                    TaskDef(
                        name=fields.name,
                        concurrent_exec_limit=fields.concurrent_exec_limit,
                        rate_limit_per_frequency=fields.rate_limit_per_frequency,
                        rate_limit_frequency_in_seconds=fields.rate_limit_frequency_in_seconds,
                    )
                )
                if limit is not None:
                    found[fields.name] = limit
            if changes != self._changes:
                continue  # changed while they were read
            self._read_ms = now_ms
            if found != self.known:
                self.known, self._by_type = found, {}
        return self.known

    def of(self, task_type: str) -> TaskLimits:
        """Those of the limits last read that can concern tasks polled as this type.

        A worker's tasks are of the definition they are polled by; queues of the server's own types hold tasks
        of any. Behind either an execution name space or an isolation group may stand.
        """
        if not self.known:
            return NO_LIMITS
        found = self._by_type.get(task_type)
        if found is None:
            if len(self._by_type) >= TYPES_KEPT_MAX:
                self._by_type.clear()
            base = re.split("[@-]", task_type)[0]
            found = self._by_type[task_type] = {
                name: limit
                for name, limit in self.known.items()
                if base in SYSTEM_TYPES or name == task_type or task_type.startswith((f"{name}@", f"{name}-"))
            }
        return found
