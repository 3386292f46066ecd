"""Repeats a step whenever it is due: at the instant it gave, or earlier when somebody says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from engine.core.errors import StoreError
from engine.ports.system import Clock

log = structlog.get_logger(__name__)

LOOK_EVERY_MS = 60_000
"""The longest a loop sleeps when nothing is due."""
RETRY_MS = 1_000
"""Pause after a step that failed."""


class DueLoop:
    """Calls a step, sleeps until the instant the step answered with (None: nothing is due), calls it again.

    Args:
        name: of the step, in logs.
        step: gives the next instant to be called, Unix milliseconds.
        clock: the one the step reads.
        retry_ms_max: the pause after a step that failed doubles from RETRY_MS up to this.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[int | None]],
        clock: Clock,
        *,
        retry_ms_max: int = RETRY_MS,
    ) -> None:
        self._name = name
        self._step = step
        self._clock = clock
        self._retry_ms = RETRY_MS
        self._retry_ms_max = retry_ms_max
        self._earlier = asyncio.Event()
        self._next_ms: int | None = None
        self._noted_ms: int | None = None
        self._in_step = False

    def note(self, at_ms: int) -> None:
        """Something is due at that instant: do not sleep longer."""
        if self._in_step:
            # The step may have looked before this was there.
            self._noted_ms = at_ms if self._noted_ms is None else min(self._noted_ms, at_ms)
        elif self._next_ms is None or at_ms < self._next_ms:
            self._earlier.set()

    async def run(self) -> None:
        """Repeat until cancelled; a step that fails is logged and tried again."""
        while True:
            self._earlier.clear()
            self._next_ms = await self._stepped()
            wait_ms = LOOK_EVERY_MS
            if self._next_ms is not None:
                wait_ms = min(LOOK_EVERY_MS, max(0, self._next_ms - self._clock.now_ms()))
            # Not wait_for: before Python 3.12 it may swallow the cancellation that is to end this loop.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000):
                    await self._earlier.wait()

    async def _stepped(self) -> int | None:
        """Do the step; gives the next instant, what was noted meanwhile included."""
        self._in_step, self._noted_ms = True, None
        try:
            next_ms = await self._step()
            self._retry_ms = RETRY_MS
        except StoreError as error:
            log.warning("step_not_done", step=self._name, error=str(error))
            return self._after_failure()
        except Exception:  # logged; the loop must outlive whatever one step does
            log.exception("step_failed", step=self._name)
            return self._after_failure()
        finally:
            self._in_step = False
        return min((at_ms for at_ms in (next_ms, self._noted_ms) if at_ms is not None), default=None)

    def _after_failure(self) -> int:
        pause_ms, self._retry_ms = self._retry_ms, min(self._retry_ms * 2, self._retry_ms_max)
        return self._clock.now_ms() + pause_ms
