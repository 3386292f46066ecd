"""Servers that run the engine's real services in simulated processes over one store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol, TypeVar

import msgspec

from engine.core.errors import EngineError
from engine.core.facts import IdStream
from engine.ports.documents import DocumentStore
from engine.ports.scripts import ScriptCall, ScriptResult
from engine.ports.stores import ExecutionStore, MetadataStore
from engine.services.executions import Executions
from engine.services.metadata import Metadata
from engine.services.queues import Queues
from engine.services.timers import Timers
from engine.testing.services import START_MS, SeededChance
from engine.testing.simulator_loop import Process, SimulatedLoop, spawn
from engine.testing.simulator_store import Link

T = TypeVar("T")
_ITERATION = re.compile(r"\$\.(\w+)\['iteration'\] < (\d+)")

SKEW_MS_MAX = 1_000
"""How far a server's clock may be from the true time."""


class GoneError(Exception):
    """No answer came: the server is not there, went away meanwhile, or the connection broke."""


class SkewedClock:
    """The simulated time, a little wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.skew_ms = 0

    def now_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000) + self.skew_ms


class SimulatedScripts:
    """ScriptRunner for the scripts that generated definitions use."""

    async def run(self, call: ScriptCall) -> ScriptResult:
        await asyncio.sleep(0)
        return self.run_sync(call)

    def run_sync(self, call: ScriptCall) -> ScriptResult:
        match = _ITERATION.fullmatch(call.source)
        if match is None:
            return ScriptResult(value=1)
        bindings = msgspec.json.decode(call.bindings)
        return ScriptResult(value=bindings[match.group(1)]["iteration"] < int(match.group(2)))

    def syntax_problem(self, source: str) -> str | None:
        return None

    async def aclose(self) -> None:
        """Nothing was started."""


class Engine(Protocol):
    """What the simulation uses of engine.bootstrap.Engine."""

    executions: Executions
    queues: Queues
    metadata: Metadata
    timers: Timers

    def start(self) -> None: ...
    async def close(self) -> None: ...


class Build(Protocol):
    """Makes an engine of these parts; given by the caller, since only the bootstrap knows how."""

    def __call__(
        self,
        store: ExecutionStore,
        metadata: MetadataStore,
        documents: DocumentStore,
        *,
        scripts: SimulatedScripts,
        clock: SkewedClock,
        chance: SeededChance,
    ) -> Engine: ...


class Server:
    """One server: booted, called, frozen, crashed, booted again.

    Attributes:
        life: how many times it was booted.
        engine: of this life.
    """

    def __init__(
        self,
        number: int,
        loop: SimulatedLoop,
        dice: Random,
        make: Callable[[Link, SkewedClock, SeededChance], Engine],
        link: Callable[[str], Link],
    ) -> None:
        self.name = f"server{number}"
        self.life = 0
        self.up = False
        self.clock = SkewedClock(loop)
        self._number = number
        self._loop = loop
        self._dice = dice
        self._make = make
        self._new_link = link
        self._replies: set[asyncio.Future[Any]] = set()
        self.graveyard: list[Process] = []

    async def boot(self) -> None:
        """Start a process, and wait until it serves."""
        self.life += 1
        self.process = Process(f"{self.name}.{self.life}")
        self.link = self._new_link(self.process.name)
        chance = SeededChance(IdStream(self._dice.randrange(2**40), self._number).below(2**40))
        self.engine = self._make(self.link, self.clock, chance)
        await spawn(self.process, self._serve(self.engine))
        self.up = True

    async def _serve(self, engine: Engine) -> None:
        while True:
            try:
                await engine.timers.forgive_outage()
                break
            except EngineError:  # the store was not there: a supervisor starts the server again
                await asyncio.sleep(0.2)
        engine.start()

    async def call(self, ask: Callable[[Engine], Awaitable[T]]) -> T:
        """Have a request served. Cancelling it is the client going away: the server's handler is cancelled.

        Raises:
            GoneError: the server is not there (any more). EngineError: its answer.
        """
        if not self.up:
            raise GoneError(self.name)
        reply: asyncio.Future[T] = self._loop.create_future()
        self._replies.add(reply)
        handler = spawn(self.process, _answer(ask, self.engine, reply))
        try:
            return await reply
        except asyncio.CancelledError:
            if not handler.cancel():
                self.link.hurt += 1  # it had answered already: the answer is lost on its way
            raise
        finally:
            self._replies.discard(reply)

    def crash(self) -> None:
        """As by kill -9. What it had sent to the store may still arrive."""
        self.up = False
        self.process.frozen = True
        self.graveyard.append(self.process)
        for group in list(self.link.under_way.values()):
            if self._dice.random() < 0.5:
                self._loop.create_task(_arrive_late(self.link, group, self._dice.random()))
        self.hang_up()

    def hang_up(self) -> None:
        """Its clients notice."""
        for reply in list(self._replies):
            if not reply.done():
                reply.set_exception(GoneError(self.name))

    async def stop(self) -> None:
        """As by SIGTERM: finish what is under way."""
        self.up = False
        process = self.process
        self.graveyard.append(process)
        await spawn(process, self.engine.close())
        process.frozen = True
        if process is self.process:
            self.hang_up()


async def _answer(ask: Callable[[Engine], Awaitable[T]], engine: Engine, reply: asyncio.Future[T]) -> None:
    try:
        answer = await ask(engine)
    except Exception as error:  # noqa: BLE001 - the client gets it
        if not reply.done():
            reply.set_exception(error)
        return
    if not reply.done():
        reply.set_result(answer)


async def _arrive_late(link: Link, group: Any, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await link.arrive(group)
