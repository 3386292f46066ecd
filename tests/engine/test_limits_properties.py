"""Whatever happens in whatever order: no limit is exceeded, and nothing waits while there is room for it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.bootstrap import Engine
from engine.core.errors import RefusedError
from engine.core.model import TaskDef, encode
from engine.core.search import SearchQuery
from engine.core.statuses import WORKFLOW_OPEN
from engine.services.executions import StartRequest, TaskUpdate
from engine.testing.services import ManualClock, SeededChance
from engine.testing.story import task

HELD_MAX = 2
SLOTS_MAX = 3
DOMAINS = (None, "d")
ACTIONS = (
    "start", "start", "start", "complete", "complete", "fail", "put back", "hang up", "silence", "terminate",
    "pause", "resume", "retry", "remove",
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 99)), min_size=5, max_size=40)
QUIET_TURNS = 40

Polled = dict[str, Any]


class Shop:
    """Two workers, one a domain, that always have a poll waiting."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryExecutionStore()
        self.engine = Engine(
            self.store,
            MemoryMetadataStore(),
            MemoryDocumentStore(),
            scripts=QuickJsRunner(),
            clock=self.clock,
            chance=SeededChance(),
            environment={},
        )
        self.workflows: list[str] = []
        self.held: list[Polled] = []
        self.polls: dict[str | None, asyncio.Task[list[bytes]]] = {}

    async def open(self) -> None:
        policy = TaskDef(
            name="a", concurrent_exec_limit=HELD_MAX, response_timeout_seconds=10, retry_delay_seconds=0
        )
        await self.engine.metadata.register_tasks(encode([policy]))
        flow = {
            "name": "flow",
            "version": 1,
            "tasks": [task("x", name="a"), task("y", name="a")],
            "rateLimitConfig": {"concurrentExecLimit": SLOTS_MAX},
        }
        await self.engine.metadata.register_workflow(msgspec.json.encode(flow), overwrite=True)

    async def close(self) -> None:
        for poll in self.polls.values():
            poll.cancel()
        await asyncio.gather(*self.polls.values(), return_exceptions=True)
        await self.engine.close()

    async def act(self, action: str, draw: int) -> None:
        executions = self.engine.executions
        if action == "start":
            request = StartRequest(name="flow", input={}, task_to_domain={"a": "d"} if draw % 2 else None)
            self.workflows.append(await executions.start(request))
        elif action in ("complete", "fail", "put back"):
            if self.held:
                await self.report(self.held.pop(draw % len(self.held)), action)
        elif action == "hang up":
            self.polls[DOMAINS[draw % 2]].cancel()
        elif action == "silence":
            self.clock.advance(10)
            self.held.clear()
            await self.engine.timers.fire_due()
        elif self.workflows:
            workflow_id = self.workflows[draw % len(self.workflows)]
            operation: dict[str, Any] = {
                "terminate": lambda: executions.terminate(workflow_id, "enough"),
                "pause": lambda: executions.pause(workflow_id),
                "resume": lambda: executions.resume(workflow_id),
                "retry": lambda: executions.retry(workflow_id),
                "remove": lambda: executions.remove(workflow_id, archive=False),
            }
            try:
                await operation[action]()
            except RefusedError:
                return

    async def report(self, polled: Polled, action: str) -> None:
        status = {"complete": "COMPLETED", "fail": "FAILED", "put back": "IN_PROGRESS"}[action]
        update = TaskUpdate(
            workflow_instance_id=polled["workflowInstanceId"],
            task_id=polled["taskId"],
            status=status,
            output_data=Raw(b"{}"),
        )
        try:
            await self.engine.executions.update(update)
        except RefusedError:
            return  # removed meanwhile

    async def settle(self) -> None:
        """Let everything come to rest, with a poll waiting for each domain."""
        quiet = 0
        while quiet < QUIET_TURNS:
            quiet += 1
            for domain in DOMAINS:
                poll = self.polls.get(domain)
                if poll is None or poll.done():
                    if poll is not None and not poll.cancelled():
                        self.held += [msgspec.json.decode(one) for one in poll.result()]
                    self.polls[domain] = asyncio.ensure_future(
                        self.engine.queues.poll("a", domain=domain, worker_id="w", count=1, timeout_ms=60_000)
                    )
                    quiet = 0
            await self.engine.slots.idle()
            await self.engine.mailboxes.idle()
            await self.engine.outbox.idle()
            await self.engine.committer.idle()
            await asyncio.sleep(0)

    async def check(self) -> None:
        detail = await self.engine.queues.detail()
        held = sum(counts[1] for counts in detail.values())
        assert held <= HELD_MAX
        assert held == HELD_MAX or not any(counts[0] for counts in detail.values())
        _, rows = await self.store.search(SearchQuery(size=999))
        open_ones = [row.header for row in rows if row.header.status in WORKFLOW_OPEN]
        running = [header for header in open_ones if not header.rate_limited]
        held_slots, waiting = await self.store.slots("flow", 999)
        assert held_slots == len(running)
        assert len(waiting) == len(open_ones) - len(running)
        ready = [header for header in open_ones if header.rate_limited and header.status == "RUNNING"]
        assert held_slots >= SLOTS_MAX or not ready


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_limits_hold_and_no_place_stays_empty(steps: list[tuple[str, int]]) -> None:
    """Task places and workflow slots through starts, ends, silence, hang-ups and operations."""

    async def run() -> None:
        shop = Shop()
        await shop.open()
        try:
            for action, draw in steps:
                await shop.settle()
                await shop.act(action, draw)
                await shop.settle()
                await shop.check()
        finally:
            await shop.close()

    asyncio.run(run())
