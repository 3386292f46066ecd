"""Whole histories from one seed: servers, a store, workers, operators, and what goes wrong with them.

    outcome = simulate(seed, build)

First the faults: for a while servers crash and stall, the store fails, workers die, repeat themselves and
come late, operators interfere. Every promise is checked at every commit and every answer. Then the quiet: no
faults any more, and within a bounded time everything must have ended.

Which faults there are, and how many of them, differs from seed to seed, so that rare ones meet alone, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from structlog.testing import capture_logs

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.core.model import encode
from engine.ports.stores import ExecutionStore
from engine.testing.generated import TASK_DEFS, definition, parent_of, wide_fork
from engine.testing.services import SeededChance
from engine.testing.simulator_audit import Audit
from engine.testing.simulator_clients import Habits, Operator, Outside, Signaller, Starter, Worker
from engine.testing.simulator_loop import SimulatedLoop, SimulationError
from engine.testing.simulator_servers import (
    SKEW_MS_MAX,
    Build,
    Engine,
    Server,
    SimulatedScripts,
    SkewedClock,
)
from engine.testing.simulator_store import SIMULATED, Faults, Link

QUIET_S_MAX = 600
"""Simulated seconds after the last fault within which everything must have ended."""
RESPONSE_S = 30
"""Every lease ends by then, so that work whose worker died comes back long before the bound above."""
AUDIT_EVERY_S = 5.0
OUR_BUGS = frozenset({"step_failed", "message_failed", "timers_failed", "outbox_sweep_failed"})
"""Log events that tell of an exception nobody foresaw."""
FAILED_BY_STORE = frozenset({"message_not_delivered", "timer_not_fired", "step_not_done", "outbox_not_swept"})
"""Log events that a fault of the store explains, and nothing else does."""


class Outcome(Struct, kw_only=True):
    """How one history ended.

    Attributes:
        failure: the broken promise; None when all held.
        trace: the last things that happened, for people.
        commits, workflows, simulated_s: how much happened.
    """

    seed: int
    failure: str | None
    trace: list[str]
    commits: int = 0
    workflows: int = 0
    simulated_s: float = 0.0

    def report(self, lines_max: int = 60) -> str:
        """What broke, the last steps, and how to see it again."""
        if self.failure is None:
            return f"seed {self.seed}: {self.commits} commits, {self.workflows} workflows, all promises held"
        steps = "\n".join(self.trace[-lines_max:])
        again = f"run it again: make simulate SEEDS=1 FROM={self.seed}"
        return f"seed {self.seed}: {self.failure}\n{again}\nthe last steps:\n{steps}"


class Mix(Struct, kw_only=True):
    """What one seed is made of."""

    servers: int
    workers: int
    starts: int
    chaos_s: float
    crash_every_s: float
    stall_every_s: float
    operate_every_s: float
    skewed: bool
    shuffled: bool
    limits: dict[str, int]
    faults: Faults
    habits: Habits

    @classmethod
    def drawn(cls, dice: Random) -> Mix:
        def some(*rates: float) -> float:
            """None at all in about half of the seeds."""
            return dice.choice((0.0,) * len(rates) + rates)

        return cls(
            servers=dice.choice((1, 2, 2, 3)),
            workers=dice.choice((2, 4, 8)),
            starts=dice.choice((2, 4, 8)),
            chaos_s=dice.choice((20.0, 40.0, 60.0)),
            crash_every_s=some(5.0, 15.0),
            stall_every_s=some(10.0, 20.0),
            operate_every_s=some(1.0, 3.0, 8.0),
            skewed=dice.random() < 0.5,
            shuffled=dice.random() < 0.7,
            limits=dice.choice(({}, {}, {"steady": 2}, {"steady": 1, "patient": 3})),
            faults=Faults(
                write_fails=some(0.02, 0.1),
                write_lost=some(0.02, 0.1),
                write_untold=some(0.02, 0.1),
                write_late=dice.choice((0.0, 0.0, 0.0, 0.05)),
                read_fails=some(0.005, 0.02),
                slow=some(0.01, 0.05),
                pause=dice.choice((0.0, 0.3, 0.9)),
                pause_s=dice.choice((0.01, 0.1, 0.4)),
            ),
            habits=Habits(
                fails=some(0.1, 0.3),
                fails_for_good=some(0.05),
                dies=some(0.05, 0.2),
                in_progress=some(0.1),
                extends=some(0.2),
                doubles=some(0.1, 0.3),
                repeats=some(0.1, 0.3),
                late=some(0.1),
                hangs_up=some(0.2, 0.6),
                loses_answer=some(0.02, 0.1),
                wait_s=dice.choice((0.0, 0.01, 2.0, 10.0)),
            ),
        )


class Simulation:
    """One history.

    Args:
        seed: decides everything.
        build: makes an engine (only the bootstrap can).
        store: the store to begin with; a test may give one that is broken on purpose.
    """

    def __init__(self, seed: int, build: Build, store: ExecutionStore | None = None) -> None:
        self.seed = seed
        self.dice = Random(seed)  # noqa: S311 - a simulation repeats itself
        self.mix = Mix.drawn(self.dice)
        order = Random(seed + 1)  # noqa: S311 - as above
        self.loop = SimulatedLoop(order, shuffled=self.mix.shuffled)  # type: ignore[abstract]  # what it lacks is never asked for
        self.store: ExecutionStore = store or MemoryExecutionStore()
        self.metadata = MemoryMetadataStore()
        self.documents = MemoryDocumentStore()
        self.audit = Audit(self.store, self.loop, self.mix.limits)
        self.servers = [
            Server(number + 1, self.loop, self.dice, self._engine, self._link)
            for number in range(self.mix.servers)
        ]
        self.outside = Outside(self.servers, self.audit, self.dice, self.mix.habits)
        self._build = build
        self._busy: list[asyncio.Task[None]] = []
        self._logged: list[Any] = []
        self._read = 0

    def _engine(self, link: Link, clock: SkewedClock, chance: SeededChance) -> Engine:
        return self._build(
            link, self.metadata, self.documents, scripts=SimulatedScripts(), clock=clock, chance=chance
        )  # fmt: skip

    def _link(self, name: str) -> Link:
        return Link(
            name,
            inner=self.store,
            seen=self.audit.seen,
            faults=self.mix.faults,
            dice=self.dice,
            note=self.audit.note,
        )

    # ------------------------------------------------------------------------------------ running
    def run(self) -> Outcome:
        with capture_logs() as logged:
            self._logged = logged
            try:
                self.loop.run(self._history())
            except SimulationError as error:
                self.audit.fail(str(error))
            outcome = Outcome(
                seed=self.seed,
                failure=self.audit.failure,
                trace=list(self.audit.trace),
                commits=self.audit.commits,
                workflows=len(self.audit.workflows),
                simulated_s=self.loop.time(),
            )
            self.loop.run(self._bury())
        return outcome

    async def _history(self) -> None:
        faults, self.mix.faults = self.mix.faults, Faults()
        self.audit.note(f"mix: {self.mix}")
        for server in self.servers:
            await server.boot()
        await self._define()
        self.mix.faults = faults
        for server in self.servers:
            server.link.faults = faults
        await self._chaos()
        if self.audit.failure is None:
            await self._quiet()

    async def _define(self) -> None:
        metadata = self.servers[0].engine.metadata
        impatient = [
            replace(
                one,
                response_timeout_seconds=min(one.response_timeout_seconds, RESPONSE_S),
                concurrent_exec_limit=self.mix.limits.get(one.name, 0),
            )
            for one in TASK_DEFS.values()
        ]
        await metadata.register_tasks(encode(impatient))
        for name, depth, child in (
            ("leaf", 0, "none"), ("cleanup", 0, "leaf"), ("child", 1, "leaf"), ("one", 2, "child"),
            ("two", 2, "child"), ("three", 1, "child"),
        ):  # fmt: skip
            made = definition(self.dice.choice, name=name, depth=depth, child=child)
            if name == "leaf":
                made["tasks"] = [one for one in made["tasks"] if one["type"] != "SUB_WORKFLOW"] or [
                    {"name": "steady", "taskReferenceName": "t1", "type": "SIMPLE"}
                ]
            if name == "two":
                made["failureWorkflow"] = "cleanup"
            if name == "three":
                made |= {"timeoutSeconds": 120, "timeoutPolicy": "TIME_OUT_WF"}
            if name in {"child", "one"}:
                made["tasks"] = [*parent_of(child), *made["tasks"]]
            if name in {"two", "three"}:
                made["tasks"] = [*wide_fork(self.dice.choice((2, 5, 12))), *made["tasks"]]
            await metadata.register_workflow(msgspec.json.encode(made), overwrite=True)
            self.audit.note(f"definition {name}: {msgspec.json.encode(made['tasks']).decode()}")

    # ------------------------------------------------------------------------------------ faults, then quiet
    async def _chaos(self) -> None:
        mix, outside = self.mix, self.outside
        self._begin(*(Worker(n, outside, sorted(TASK_DEFS)).run() for n in range(1, mix.workers + 1)))
        self._begin(Signaller(outside).run(), self._audits())
        self._begin(
            Starter(outside, ("one", "two", "three"), count=mix.starts, within_s=mix.chaos_s / 2).run()
        )
        if mix.operate_every_s:
            self._begin(Operator(outside, every_s=mix.operate_every_s).run())
        if mix.crash_every_s:
            self._begin(self._now_and_then(mix.crash_every_s, self._crash))
        if mix.stall_every_s:
            self._begin(self._now_and_then(mix.stall_every_s, self._stall))
        if mix.skewed:
            self._begin(self._now_and_then(5.0, self._jump))
        await asyncio.wait([self.audit.failed], timeout=mix.chaos_s)

    async def _quiet(self) -> None:
        """No more faults: everything must come to its end."""
        self.audit.note("quiet")
        self.outside.quiet = True
        self.mix.faults.stop()
        self.mix.habits.stop()
        for server in self.servers:
            self.loop.thaw(server.process) if server.up else await server.boot()
            server.clock.skew_ms = 0
        end_s = self.loop.time() + QUIET_S_MAX
        while self.audit.failure is None and self.loop.time() < end_s:
            await asyncio.wait([self.audit.failed], timeout=AUDIT_EVERY_S)
            if not await self.audit.at_rest():
                break
        else:
            if self.audit.failure is None:
                left = "\n  ".join((await self.audit.at_rest())[:20])
                self.audit.fail(f"no end after {QUIET_S_MAX} quiet seconds:\n  {left}")
        if self.audit.failure is None:
            await self.audit.check_families()
            await self.audit.one_per_key()
            await self.audit.check_histories(SimulatedScripts())

    async def _now_and_then(
        self, every_s: float, happen: Callable[[Server], Coroutine[Any, Any, None]]
    ) -> None:
        while not self.outside.quiet:
            await asyncio.sleep(self.dice.random() * 2 * every_s)
            server = self.dice.choice(self.servers)
            if server.up and not server.process.frozen and not self.outside.quiet:
                await happen(server)

    async def _crash(self, server: Server) -> None:
        graceful = self.dice.random() < 0.2
        self.audit.note(f"{server.process.name} {'stops' if graceful else 'crashes'}")
        await server.stop() if graceful else server.crash()
        await asyncio.sleep(self.dice.random() * 5)
        if not server.up:
            await server.boot()
            self.audit.note(f"{server.process.name} is up")

    async def _stall(self, server: Server) -> None:
        """The process gets no time for a while, and then goes on with what it believed before."""
        process = server.process
        self.audit.note(f"{process.name} stalls")
        server.link.hurt += 1
        process.frozen = True
        await asyncio.sleep(self.dice.random() * 15)
        if server.process is process and server.up:
            self.loop.thaw(process)
            server.link.hurt += 1

    async def _jump(self, server: Server) -> None:
        server.clock.skew_ms = self.dice.randint(-SKEW_MS_MAX, SKEW_MS_MAX)

    async def _audits(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_EVERY_S)
            await self.audit.leaks()
            self._logs()

    def _logs(self) -> None:
        fresh, self._read = self._logged[self._read :], len(self._logged)
        for entry in fresh:
            event, text = entry["event"], str(entry.get("error", ""))
            foreseen = SIMULATED in text or "conflicts in a row" in text
            if event in OUR_BUGS or (event in FAILED_BY_STORE and not foreseen):
                self.audit.fail(f"logged: {entry}")
        for problem in self.loop.problems:
            self.audit.fail(f"left behind: {problem}")
        self.loop.problems.clear()

    # ------------------------------------------------------------------------------------ beginning and end
    def _begin(self, *work: Coroutine[Any, Any, None]) -> None:
        for one in work:
            task = self.loop.create_task(one)
            task.add_done_callback(self._ended)
            self._busy.append(task)

    def _ended(self, done: asyncio.Task[None]) -> None:
        if not done.cancelled() and done.exception() is not None:
            self.audit.fail(f"the simulation itself failed: {done.exception()!r}")

    async def _bury(self) -> None:
        """Let every task end, those of dead servers too, so that nothing is left to the collector."""
        self.mix.faults.stop()
        for server in self.servers:
            for process in (*server.graveyard, server.process):
                self.loop.thaw(process)
        mine = asyncio.current_task(self.loop)
        for _ in range(20):
            alive = asyncio.all_tasks(self.loop) - {mine}
            if not alive:
                return
            for task in alive:
                task.cancel()
            await asyncio.wait(alive)
            for task in alive:
                if not task.cancelled():
                    task.exception()


def simulate(seed: int, build: Build, store: ExecutionStore | None = None) -> Outcome:
    """Run the history of a seed."""
    return Simulation(seed, build, store).run()
