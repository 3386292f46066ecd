"""Several server processes behind one port: starts them, starts another when one dies, stops them together.

Each process has its own listening socket on the same address (SO_REUSEPORT), so that the kernel spreads
connections over them. The parent holds the address, the lock of the data folder and the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from api.failures import EXIT_INTERRUPTED
from api.processes import Child
from api.server import (
    ServerError,
    configure_log,
    event_loop,
    listen,
    lock,
    require_loopback,
    server_url,
    workers,
)
from api.settings import ServerSettings
from engine.adapters.backends import may_be_shared

log = structlog.get_logger(__name__)

RESTART_MS_MIN, RESTART_MS_MAX = 100, 10_000
HEALTHY_MS = 10_000
"""A process that lived so long is started again at once when it ends."""
STOP_MS_MAX = 30_000
"""How long a process may take to end beyond the time it drains, before it is killed."""


class Order(msgspec.Struct, kw_only=True):
    """What a process is told: the command line's flags, the port they share, and whether to recover."""

    flags: dict[str, Any]
    port: int
    recover: bool


def supervise(settings: ServerSettings, flags: Mapping[str, Any], on_ready: Callable[[str], None]) -> int:
    """Serve with several processes until SIGINT or SIGTERM.

    Args:
        settings: all of them.
        flags: what of them the command line said; the processes read the rest where this one did.
        on_ready: told the server's URL once all processes answer.

    Returns:
        the exit code: 0, or 130 after SIGINT.

    Raises:
        ServerError: it cannot start.
    """
    configure_log(settings.log_format)
    require_loopback(settings)
    if not may_be_shared(settings.database):
        raise ServerError(
            f"{settings.processes} server processes need a database they can share; name a PostgreSQL with "
            "--database postgresql://..., or leave --processes out"
        )
    with lock(settings.data), listen(settings.host, settings.port, shared=True, backlog=0) as address:
        port = int(address.getsockname()[1])
        return event_loop().run(_Supervisor(settings, flags, port, on_ready).run())


class _Supervisor:
    def __init__(
        self,
        settings: ServerSettings,
        flags: Mapping[str, Any],
        port: int,
        on_ready: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._flags = {name: str(value) for name, value in flags.items() if value is not None}
        self._port = port
        self._on_ready = on_ready
        self._url = server_url(settings.host, port)
        self._received: list[signal.Signals] = []
        self._stopping = asyncio.Event()
        self._children: dict[int, Child] = {}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told, number)
        keepers: list[asyncio.Task[None]] = []
        try:
            for index in range(self._settings.processes):
                # One after another: the first brings the database up to date and recovers what a crash left.
                child = self._start(index, recover=index == 0)
                if not await self._answers(child):
                    if self._stopping.is_set():
                        break
                    raise ServerError("the server cannot start: one of its processes ended; see above")
                keepers.append(asyncio.create_task(self._keep(index, child)))
            else:
                self._on_ready(self._url)
                async with workers(self._settings, self._url, self._stopping):
                    await self._stopping.wait()
        finally:
            self._stopping.set()
            await self._stop_all()
            await asyncio.gather(*keepers, return_exceptions=True)
        return EXIT_INTERRUPTED if self._received[:1] == [signal.SIGINT] else 0

    def _told(self, number: signal.Signals) -> None:
        self._received.append(number)
        self._stopping.set()
        if len(self._received) > 1:  # the processes do not wait for requests in flight either
            for child in self._children.values():
                child.ask()

    def _start(self, index: int, *, recover: bool) -> Child:
        order = Order(flags=self._flags, port=self._port, recover=recover)
        child = Child(
            [sys.executable, "-m", "api.server_process"],
            death_signal=signal.SIGTERM,
            stop_signal=signal.SIGTERM,
            stdout=subprocess.PIPE,
            given=msgspec.json.encode(order),
        )
        self._children[index] = child
        log.info("server_process_started", number=index, pid=child.process.pid)
        return child

    async def _answers(self, child: Child) -> bool:
        """Until the process serves (true) or has ended."""
        pipe = child.process.stdout
        line = await asyncio.to_thread(pipe.readline) if pipe is not None else b""
        return bool(line)

    async def _keep(self, index: int, child: Child) -> None:
        """Wait for the end of a process, and start another in its place, until told to stop."""
        pause_ms = RESTART_MS_MIN
        while True:
            began = time.monotonic()
            await asyncio.to_thread(child.process.wait)
            if self._stopping.is_set():
                return
            if (time.monotonic() - began) * 1000 >= HEALTHY_MS:
                pause_ms = RESTART_MS_MIN
            log.error(
                "server_process_ended", number=index, exit_code=child.process.returncode, again_in_ms=pause_ms
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_ms / 1000)
            if self._stopping.is_set():
                return
            pause_ms = min(2 * pause_ms, RESTART_MS_MAX)
            child = self._start(index, recover=False)
            await self._answers(child)

    async def _stop_all(self) -> None:
        limit_ms = self._settings.drain_ms + STOP_MS_MAX
        stops = (asyncio.to_thread(child.stop, limit_ms) for child in self._children.values())
        await asyncio.gather(*stops)
