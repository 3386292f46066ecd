"""Run seeds of the simulator: `make simulate SEEDS=500`, or one that failed: `SEEDS=1 FROM=42`."""

from __future__ import annotations

import argparse
import sys

from engine.adapters.memory.store import MemoryExecutionStore
from engine.bootstrap import Engine
from engine.ports.documents import DocumentStore
from engine.ports.stores import ExecutionStore, MetadataStore
from engine.testing.services import SeededChance
from engine.testing.simulator import Outcome, Simulation
from engine.testing.simulator_servers import SimulatedScripts, SkewedClock


def build(
    store: ExecutionStore,
    metadata: MetadataStore,
    documents: DocumentStore,
    *,
    scripts: SimulatedScripts,
    clock: SkewedClock,
    chance: SeededChance,
) -> Engine:
    """The engine as the bootstrap puts it together, on what the simulation gives it."""
    return Engine(store, metadata, documents, scripts=scripts, clock=clock, chance=chance, environment={})


def simulate(seed: int, store: MemoryExecutionStore | None = None) -> Outcome:
    return Simulation(seed, build, store).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first")
    given = parser.parse_args()
    broken = commits = workflows = 0
    for seed in range(given.first, given.first + given.seeds):
        outcome = simulate(seed)
        commits, workflows = commits + outcome.commits, workflows + outcome.workflows
        if outcome.failure is not None:
            broken += 1
            sys.stdout.write(outcome.report() + "\n\n")
            sys.stdout.flush()
    sys.stdout.write(f"{given.seeds} seeds, {workflows} workflows, {commits} commits: {broken} broken\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
