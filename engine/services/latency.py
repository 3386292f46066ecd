"""How long things took, counted in buckets; whoever exports metrics reads it."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 5_000, 60_000, 3_600_000)


class LatencyCounter:
    """A histogram of whole milliseconds.

    Attributes:
        counts: observations per bucket, not cumulated; the last one holds what exceeds every bound.
        sum_ms: of all observations.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0

    def observe(self, took_ms: int) -> None:
        """Count one; a clock that went back counts as 0."""
        took_ms = max(0, took_ms)
        self.counts[bisect_left(BOUNDS_MS, took_ms)] += 1
        self.sum_ms += took_ms
