"""All stores walk beside the model."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from engine.adapters.memory.store import MemoryExecutionStore
from engine.adapters.sql.postgres import PostgresExecutionStore
from engine.adapters.sql.postgres_connection import PostgresDatabase
from engine.adapters.sql.sqlite import SqliteExecutionStore
from engine.testing.store_machine import StoreMachine
from tests.postgres_fixtures import emptied

WALK = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class MemoryMachine(StoreMachine):
    def open_store(self) -> MemoryExecutionStore:
        return MemoryExecutionStore()


class SqliteMachine(StoreMachine):
    blank: ClassVar[Path]

    def open_store(self) -> SqliteExecutionStore:
        self.folder = tempfile.mkdtemp()
        shutil.copy(self.blank, self.folder)
        return SqliteExecutionStore(Path(self.folder) / self.blank.name, "OFF")

    def close_store(self) -> None:
        shutil.rmtree(self.folder)


def test_memory_tells_what_the_model_tells() -> None:
    """After any sequence of groups, all that can be read is what the port's sentences say."""
    run_state_machine_as_test(MemoryMachine, settings=WALK)


def test_sqlite_tells_what_the_model_tells(blank_database: Path) -> None:
    """After any sequence of groups, all that can be read is what the port's sentences say."""
    SqliteMachine.blank = blank_database
    run_state_machine_as_test(SqliteMachine, settings=WALK)


class PostgresMachine(StoreMachine):
    url: ClassVar[str]

    def open_store(self) -> PostgresExecutionStore:
        asyncio.run(emptied(self.url))
        return PostgresExecutionStore(PostgresDatabase(self.url))


def test_postgres_tells_what_the_model_tells(postgres_url: str) -> None:
    """After any sequence of groups, all that can be read is what the port's sentences say."""
    PostgresMachine.url = postgres_url
    # Without shrinking: each step of a walk costs a round trip, and a walk that fails is short enough.
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    run_state_machine_as_test(PostgresMachine, settings=settings(WALK, max_examples=25, phases=phases))
