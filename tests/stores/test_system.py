"""The real clock and the real chance."""

import time

from engine.adapters.system.real import SEED_BITS, SystemChance, SystemClock


def test_the_clock_is_the_machines() -> None:
    """Unix time in whole milliseconds."""
    before, now_ms, after = time.time(), SystemClock().now_ms(), time.time()
    assert int(before * 1000) <= now_ms <= after * 1000


def test_seeds_do_not_repeat() -> None:
    """Each is fresh and fits its bits."""
    chance = SystemChance()
    seeds = {chance.seed() for _ in range(1_000)}
    assert len(seeds) == 1_000
    assert all(0 <= seed < 2**SEED_BITS for seed in seeds)
