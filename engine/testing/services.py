"""What tests of the services need: a clock they move, seeded chance, a store that fails on purpose."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from engine.core.errors import OutcomeUnknownError, StoreError
from engine.core.facts import IdStream
from engine.core.records import Delta
from engine.ports.documents import DocumentStore
from engine.ports.stores import ExecutionStore, Write, WriteResult

START_MS = 1_700_000_000_000
Fault = Literal["fails", "lost", "written", "late"]


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms

    def advance(self, seconds: float) -> None:
        self.at_ms += round(seconds * 1000)


class SeededChance:
    """The same draws for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        self._stream = IdStream(seed, 0)

    def seed(self) -> int:
        return self._stream.below(2**47)


class FaultyStore:
    """A store before another one: the next writes of deltas, or of `struck`, go wrong as `faults` says.

    `fails`: nothing is written, and the store says so. `lost`: nothing is written and nobody knows.
    `written`: it is written, and nobody knows. `late`: nobody knows, and it is written just before the next
    write. While `held` is cleared, writes wait.

    Attributes:
        groups: the groups written so far, the failed ones included.
    """

    def __init__(self, inner: ExecutionStore) -> None:
        self._inner = inner
        self.faults: deque[Fault] = deque()
        self.struck: type[Write] = Delta
        self.open = asyncio.Event()
        self.open.set()
        self.groups: list[list[Write]] = []
        self._late: list[list[Write]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        await self.open.wait()
        self.groups.append(list(group))
        fault = (
            self.faults.popleft() if self.faults and any(isinstance(w, self.struck) for w in group) else None
        )
        if fault == "fails":
            raise StoreError("the disk said no")
        if fault == "late":
            self._late.append(list(group))
        if fault in {"lost", "late"}:
            raise OutcomeUnknownError("no answer came")
        while self._late:
            await self._inner.write(self._late.pop())
        results = await self._inner.write(group)
        if fault == "written":
            raise OutcomeUnknownError("no answer came")
        return results


class FaultyDocuments:
    """A DocumentStore before another one: the next puts of a kind fail, as often as `failing` says."""

    def __init__(self, inner: DocumentStore) -> None:
        self._inner = inner
        self.failing: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, kind: str, name: str, body: bytes, *, at_ms: int, expect: int | None = None) -> int:
        if self.failing.get(kind, 0) > 0:
            self.failing[kind] -= 1
            raise StoreError(f"no {kind} can be written")
        return await self._inner.put(kind, name, body, at_ms=at_ms, expect=expect)
