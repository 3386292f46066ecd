"""Whole histories of several servers, with faults first and quiet after: every promise holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulator.run import simulate

SEEDS = 50
"""A quick look; `make simulate SEEDS=500` is the nightly one."""


def _kept() -> list[int]:
    """Seeds that once found something."""
    lines = (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_promise_holds(seed: int) -> None:
    """Nothing acknowledged is lost, nothing runs twice, and when the faults stop everything ends."""
    outcome = simulate(seed)

    assert outcome.failure is None, outcome.report()


@pytest.mark.parametrize("seed", _kept())
def test_what_was_found_once_stays_mended(seed: int) -> None:
    """The seeds of seeds.txt, each with what it found."""
    outcome = simulate(seed)

    assert outcome.failure is None, outcome.report()


def test_a_seed_is_one_history() -> None:
    """The same seed gives the same steps to the last one, so that a failure can be seen again."""
    one, two = simulate(11), simulate(11)

    assert one.trace == two.trace
    assert one.commits > 100


def test_different_seeds_are_different_histories() -> None:
    """Chance reaches everything: faults, definitions, orders."""
    assert simulate(1).trace != simulate(2).trace
