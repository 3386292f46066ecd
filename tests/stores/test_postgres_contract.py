"""The PostgreSQL stores keep the contracts."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from engine.adapters.sql.postgres import PostgresExecutionStore
from engine.adapters.sql.postgres_connection import PostgresDatabase
from engine.adapters.sql.postgres_metadata import PostgresDocumentStore, PostgresMetadataStore
from engine.testing.document_store import DocumentStoreContract
from engine.testing.execution_store import ExecutionStoreContract
from engine.testing.metadata_store import MetadataStoreContract
from tests.postgres_fixtures import emptied


@pytest.fixture
async def opened(postgres_module_url: str) -> AsyncIterator[PostgresExecutionStore]:
    await emptied(postgres_module_url)
    store = PostgresExecutionStore(PostgresDatabase(postgres_module_url))
    yield store
    await store.close()


class TestPostgresExecutionStore(ExecutionStoreContract):
    durable = True

    @pytest.fixture
    def store(self, opened: PostgresExecutionStore) -> PostgresExecutionStore:
        return opened

    @pytest.fixture
    async def reopen(
        self, store: PostgresExecutionStore
    ) -> AsyncIterator[Callable[[], Awaitable[PostgresExecutionStore]]]:
        again: list[PostgresExecutionStore] = []

        async def close_and_open() -> PostgresExecutionStore:
            await store.close()
            again.append(await PostgresExecutionStore.open(store.database.url))
            return again[-1]

        yield close_and_open
        for one in again:
            await one.close()


class TestPostgresMetadataStore(MetadataStoreContract):
    durable = True

    @pytest.fixture
    def metadata(self, opened: PostgresExecutionStore) -> PostgresMetadataStore:
        return PostgresMetadataStore(opened.database)

    @pytest.fixture
    def reopen_metadata(
        self, opened: PostgresExecutionStore
    ) -> Callable[[], Awaitable[PostgresMetadataStore]]:
        async def another() -> PostgresMetadataStore:
            return PostgresMetadataStore(opened.database)

        return another


class TestPostgresDocumentStore(DocumentStoreContract):
    @pytest.fixture
    def documents(self, opened: PostgresExecutionStore) -> PostgresDocumentStore:
        return PostgresDocumentStore(opened.database)
