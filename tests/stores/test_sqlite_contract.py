"""The SQLite stores keep the contracts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from engine.adapters.sql.sqlite import SqliteExecutionStore, SqliteMetadataStore
from engine.testing.execution_store import ExecutionStoreContract
from engine.testing.metadata_store import MetadataStoreContract


class TestSqliteExecutionStore(ExecutionStoreContract):
    durable = True

    @pytest.fixture
    async def store(self, database_path: Path) -> AsyncIterator[SqliteExecutionStore]:
        store = SqliteExecutionStore(database_path, "OFF")
        yield store
        await store.close()

    @pytest.fixture
    async def reopen(
        self, store: SqliteExecutionStore, database_path: Path
    ) -> AsyncIterator[Callable[[], Awaitable[SqliteExecutionStore]]]:
        opened = [store]

        async def close_and_open() -> SqliteExecutionStore:
            await opened[-1].close()
            opened.append(SqliteExecutionStore(database_path, "OFF"))
            return opened[-1]

        yield close_and_open
        await opened[-1].close()


class TestSqliteMetadataStore(MetadataStoreContract):
    durable = True

    @pytest.fixture
    async def executions(self, database_path: Path) -> AsyncIterator[SqliteExecutionStore]:
        store = SqliteExecutionStore(database_path, "OFF")
        yield store
        await store.close()

    @pytest.fixture
    def metadata(self, executions: SqliteExecutionStore) -> SqliteMetadataStore:
        return SqliteMetadataStore(executions.database)

    @pytest.fixture
    async def reopen_metadata(
        self, executions: SqliteExecutionStore, database_path: Path
    ) -> AsyncIterator[Callable[[], Awaitable[SqliteMetadataStore]]]:
        opened: list[SqliteExecutionStore] = []

        async def close_and_open() -> SqliteMetadataStore:
            await executions.close()
            opened.append(SqliteExecutionStore(database_path, "OFF"))
            return SqliteMetadataStore(opened[-1].database)

        yield close_and_open
        for store in opened:
            await store.close()
