"""The one store of a simulation, and each server's unreliable way to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from engine.core.errors import OutcomeUnknownError, StoreError
from engine.ports.stores import ExecutionStore, Write, WriteResult

Seen = Callable[[str, Sequence[Write], Sequence[WriteResult]], Awaitable[None]]
UNANSWERED_S = 0.005
"""How long it takes at least to find out that an answer does not come."""
SIMULATED = "simulated"
"""In the text of every fault of ours, so that a trace tells them from real errors."""


class Faults(Struct, kw_only=True):
    """How often what goes wrong, as probabilities; all zero when the quiet begins.

    Attributes:
        write_fails: nothing is written, and the store says so.
        write_lost: nothing is written, and nobody knows.
        write_untold: it is written, and nobody knows.
        write_late: nobody knows, and it is written up to a second later.
        read_fails: a read raises.
        slow: an operation takes up to `slow_s`.
        pause: an operation gives others a turn, for up to `pause_s`.
    """

    write_fails: float = 0.0
    write_lost: float = 0.0
    write_untold: float = 0.0
    write_late: float = 0.0
    read_fails: float = 0.0
    slow: float = 0.0
    slow_s: float = 1.0
    pause: float = 0.3
    pause_s: float = 0.01

    def stop(self) -> None:
        self.write_fails = self.write_lost = self.write_untold = self.write_late = 0.0
        self.read_fails = self.slow = 0.0


class Link:
    """One server's way to the store: an ExecutionStore that pauses, fails and forgets to answer.

    Attributes:
        name: the server, for traces.
        hurt: faults so far; who compares it before and after knows whether any fell between.
        faults: how often what goes wrong.
        under_way: groups sent and not arrived; after a crash some of them arrive all the same.
    """

    def __init__(
        self,
        name: str,
        *,
        inner: ExecutionStore,
        seen: Seen,
        faults: Faults,
        dice: Random,
        note: Callable[[str], None],
    ) -> None:
        self.name = name
        self.inner = inner
        self.hurt = 0
        self.under_way: dict[int, Sequence[Write]] = {}
        self.delta_rows_max = inner.delta_rows_max
        self.leases_apart = inner.leases_apart
        self.total_exact_max = inner.total_exact_max
        self._seen = seen
        self._late: set[asyncio.Task[None]] = set()
        self.faults = faults
        self._dice = dice
        self._note = note

    def __getattr__(self, name: str) -> Any:
        read = getattr(self.inner, name)
        if not callable(read):
            return read

        async def reading(*args: Any, **named: Any) -> Any:
            await self._pause()
            if self._dice.random() < self.faults.read_fails:
                self._hurt(f"{name} fails")
                raise StoreError(f"{SIMULATED}: the read failed")
            return await read(*args, **named)

        return reading

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        self.under_way[id(group)] = group
        await self._pause()
        faults, roll = self.faults, self._dice.random()
        if roll < faults.write_fails:
            del self.under_way[id(group)]
            self._hurt("a write fails")
            raise StoreError(f"{SIMULATED}: the disk said no")
        roll -= faults.write_fails
        if roll < faults.write_lost:
            del self.under_way[id(group)]
            self._hurt("a write is lost")
            await self._no_answer()
        roll -= faults.write_lost
        if roll < faults.write_late:
            self._hurt("a write is late")
            self._late.add(asyncio.get_running_loop().create_task(self._arrive_late(group)))
            await self._no_answer()
        roll -= faults.write_late
        results = await self.arrive(group)
        await self._pause()
        if roll < faults.write_untold:
            self._hurt("a write is done, but not told")
            await self._no_answer()
        return results

    async def arrive(self, group: Sequence[Write]) -> list[WriteResult]:
        """The group reaches the store."""
        del self.under_way[id(group)]
        results = await self.inner.write(group)
        await self._seen(self.name, group, results)
        return results

    async def _no_answer(self) -> None:
        """That nothing comes is noticed after a while."""
        await asyncio.sleep(UNANSWERED_S)
        raise OutcomeUnknownError(f"{SIMULATED}: no answer came")

    async def _arrive_late(self, group: Sequence[Write]) -> None:
        await asyncio.sleep(self._dice.random())
        await self.arrive(group)

    async def close(self) -> None:
        """The store outlives its servers."""

    async def _pause(self) -> None:
        if self._dice.random() < self.faults.slow:
            self._hurt("the store is slow")
            await asyncio.sleep(self._dice.random() * self.faults.slow_s)
        elif self._dice.random() < self.faults.pause:
            await asyncio.sleep(self._dice.random() * self.faults.pause_s)

    def _hurt(self, what: str) -> None:
        self.hurt += 1
        self._note(f"{self.name}: {what}")
