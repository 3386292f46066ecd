"""Time, ids and chance as the engine is given them."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...


class Chance(Protocol):
    def seed(self) -> int:
        """A fresh 64-bit number; a step derives its ids and jitter from it, so a replay repeats them."""
        ...
