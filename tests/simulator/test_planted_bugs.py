"""The simulator is worth its name only if it sees bugs: each kind, planted, turns it red within 50 seeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from engine.adapters.memory.store import MemoryExecutionStore
from engine.core import flow
from engine.core.records import Delta, Message, Task
from engine.core.step import Step, Wanted
from engine.core.tasks import forks
from engine.ports.stores import Write, WriteResult
from engine.services.fact_loader import FactLoader
from engine.services.leases import Leases
from engine.services.outbox import Outbox
from engine.testing.simulator import Outcome
from tests.simulator.run import simulate

SEEDS = 50


def red(store: Callable[[], MemoryExecutionStore] = MemoryExecutionStore) -> Outcome:
    """The first history that shows the bug.

    Raises:
        AssertionError: none does.
    """
    for seed in range(SEEDS):
        outcome = simulate(seed, store())
        if outcome.failure is not None:
            return outcome
    raise AssertionError(f"{SEEDS} seeds did not see it")


class _NoVersions(MemoryExecutionStore):
    """Takes every delta, whatever it was decided on."""

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        taken: list[Write] = []
        for write in group:
            stored = await self.load(write.workflow_id) if isinstance(write, Delta) else None
            if isinstance(write, Delta) and stored is not None and write.expected_version:
                write = replace(write, expected_version=stored.row_version)
            taken.append(write)
        return await super().write(taken)


class _TwoHolders(MemoryExecutionStore):
    """Forgets now and then, when it looks for work, that somebody has a task already."""

    _looks = 0

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        self._looks += 1
        if self._looks % 20 == 0:
            for entry in self._entries.values():
                if entry.lease is not None and entry.lease.held:
                    entry.lease = replace(entry.lease, held=False)
        return await super().write(group)


class _ForgetsTimers(MemoryExecutionStore):
    """Keeps no timer of a WAIT."""

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        return await super().write(
            [
                replace(write, timers_set=[timer for timer in write.timers_set if timer.kind != "wait"])
                if isinstance(write, Delta)
                else write
                for write in group
            ]
        )


def test_a_lost_update_is_seen() -> None:
    """A store that does not compare versions lets one server write over another."""
    assert red(_NoVersions).failure


def test_a_task_scheduled_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of events that are decided together the second goes on behind its task twice."""
    follow = flow._successors

    def successors(step: Step, task: Task) -> list[Wanted]:
        return follow(step, task) + (follow(step, task) if step.history else [])

    monkeypatch.setattr(flow, "_successors", successors)

    assert red().failure


def test_a_task_with_two_holders_is_seen() -> None:
    """A lease that is not respected hands one attempt to two workers."""
    failure = red(_TwoHolders).failure or ""

    assert "holds it" in failure


def test_a_forgotten_join_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JOIN that does not complete when its last branch ends."""
    monkeypatch.setattr(forks, "complete_join", lambda step, task: None)
    progress = forks.join_progress

    def forgets(step: Step, ref: str) -> Task | None:
        state = step.header.joins.get(ref)
        return None if state is not None and state.waiting == 1 else progress(step, ref)

    monkeypatch.setattr(forks, "join_progress", forgets)

    assert "join" in (red().failure or "").lower()


def test_a_leaked_lease_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll that goes away keeps what it was about to get."""

    async def keeps(_: Leases, __: Any) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(Leases, "_release", keeps)

    assert "leased" in (red().failure or "")


def test_a_forgotten_message_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody delivers what a server wrote and did not live to send."""

    async def sweeps_nothing(_: Outbox) -> int:
        return 0

    monkeypatch.setattr(Outbox, "sweep", sweeps_nothing)

    assert "message" in (red().failure or "")


def test_a_message_taken_as_delivered_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose delivery failed is struck off all the same."""
    handle = Outbox._handle

    async def shrugs(outbox: Outbox, message: Message) -> None:
        try:
            await handle(outbox, message)
        except Exception:  # noqa: BLE001 - that is the bug
            return

    monkeypatch.setattr(Outbox, "_handle", shrugs)

    assert red().failure


def test_a_forgotten_timer_is_seen() -> None:
    """A WAIT whose timer nobody fires never ends."""
    assert "no end" in (red(_ForgetsTimers).failure or "")


def test_a_stale_state_that_decides_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server says 'nothing to do' by what it remembers, though another has moved the workflow on."""

    async def believes(_: FactLoader, __: Any) -> bool:
        return True

    monkeypatch.setattr(FactLoader, "current", believes)

    assert red().failure
