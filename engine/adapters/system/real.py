"""The real time and the real chance; everything else gets them as arguments."""

from __future__ import annotations

import secrets
import time

SEED_BITS = 64


class SystemClock:
    """Clock of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemChance:
    """Chance from the operating system, so that two servers never draw alike."""

    def seed(self) -> int:
        return secrets.randbits(SEED_BITS)
