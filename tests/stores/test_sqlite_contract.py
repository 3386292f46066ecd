"""The SQLite stores keep the contracts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from engine.adapters.sql.sqlite import SqliteExecutionStore, SqliteMetadataStore
from engine.adapters.sql.sqlite_connection import SqliteDatabase
from engine.adapters.sql.sqlite_documents import SqliteDocumentStore
from engine.testing.document_store import DocumentStoreContract
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


class TestSqliteDocumentStore(DocumentStoreContract):
    @pytest.fixture
    async def database(self, database_path: Path) -> AsyncIterator[SqliteDatabase]:
        database = SqliteDatabase(database_path, synchronous="OFF")
        yield database
        await database.close()

    @pytest.fixture
    def documents(self, database: SqliteDatabase) -> SqliteDocumentStore:
        return SqliteDocumentStore(database)

    async def test_a_document_outlives_the_store(
        self, documents: SqliteDocumentStore, database: SqliteDatabase, database_path: Path
    ) -> None:
        """What was acknowledged is there when the file is opened again."""
        await documents.put("k", "a", b"1", at_ms=3)
        await database.close()
        again = SqliteDatabase(database_path, synchronous="OFF")
        found = await SqliteDocumentStore(again).get("k", "a")
        await again.close()
        assert found is not None
        assert found.body == b"1"
