"""The limits that task definitions set now, for every poll and hand-over to go by."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from engine.core.limits import NO_LIMITS, TaskLimit, TaskLimits, limit_of
from engine.core.model import TaskDef
from engine.ports.stores import MetadataStore
from engine.ports.system import Clock

KEPT_MS_MAX = 2_000
"""How long another server's change of a limit may go unseen here."""


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
        self.known: TaskLimits = NO_LIMITS

    def forget(self) -> None:
        """A definition changed: read them before the next use."""
        self._read_ms = None

    @property
    def stale(self) -> bool:
        now_ms = self._clock.now_ms()
        return self._read_ms is None or not self._read_ms <= now_ms < self._read_ms + KEPT_MS_MAX

    async def current(self) -> TaskLimits:
        """The limits by task definition name.

        Raises:
            StoreError: they cannot be read.
        """
        if self.stale:
            now_ms = self._clock.now_ms()
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
            self.known, self._read_ms = found, now_ms
        return self.known
