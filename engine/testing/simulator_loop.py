"""An event loop in which time jumps to the next timer, chance comes from a seed, and processes can die.

Everything the simulated servers do runs on it, on one thread, without a socket or a wait: hours pass in
milliseconds, and the same seed gives the same history.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SPIN_MAX = 100_000
"""Callbacks within one instant; beyond it something is going round without waiting."""


class SimulationError(Exception):
    """The simulation itself cannot go on: nothing is left to happen, or one instant never ends."""


class Process:
    """What runs as one operating system process: it can be frozen, and then nothing of it happens any more.

    A crash is a freeze without a thaw: no handler runs, no `finally`, as with SIGKILL.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.frozen = False
        self.parked: list[_Handle] = []


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process that a callback belongs to; inherited by whatever it starts."""


class _Handle(asyncio.TimerHandle):
    __slots__ = ("process",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Any,
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        context = copy_context() if context is None else context
        super().__init__(when, callback, args, loop, context)
        self.process = context.get(PROCESS)


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Just enough of a loop for tasks, futures and timers; whatever else is asked of it is not implemented.

    Args:
        dice: decides the order of what is ready at the same instant.
        shuffled: false keeps the order in which things became ready, as the real loop does.
    """

    def __init__(self, dice: Random, *, shuffled: bool = True) -> None:
        self._dice = dice
        self._shuffled = shuffled
        self._now = 0.0
        self._ready: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._serial = itertools.count()
        self._running = False
        self.problems: list[str] = []

    # ------------------------------------------------------------------------------------ what asyncio asks
    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(self._now, callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = _Handle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._serial), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # no threads here: it is done at once
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.problems.append(f"{context.get('message')}: {error!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays in the heap until its time."""

    # ------------------------------------------------------------------------------------ running
    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` is done.

        Raises:
            SimulationError: see there.
        """
        asyncio._set_running_loop(self)
        self._running = True
        try:
            task: asyncio.Task[T] = self.create_task(main)
            at, count = self._now, 0
            while not task.done():
                self._turn()
                count = count + 1 if self._now == at else 0
                at = self._now
                if count > SPIN_MAX:
                    raise SimulationError(f"{count} callbacks at {self._now:.3f} s, and no end")
            return task.result()
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def _turn(self) -> None:
        timers = self._timers
        if not self._ready and timers:
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])
        if not self._ready:
            raise SimulationError(f"nothing is left to happen at {self._now:.3f} s")
        place = self._dice.randrange(len(self._ready)) if self._shuffled and len(self._ready) > 1 else 0
        handle = self._ready.pop(place)
        if handle.cancelled():
            return
        if handle.process is not None and handle.process.frozen:
            handle.process.parked.append(handle)
        else:
            handle._run()

    def thaw(self, process: Process) -> None:
        """Let a frozen process go on: what was due meanwhile is due now."""
        process.frozen = False
        self._ready += process.parked
        process.parked = []


def spawn(process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that belongs to `process`, with all that it starts."""
    context = copy_context()
    context.run(PROCESS.set, process)
    return asyncio.get_running_loop().create_task(work, context=context)
