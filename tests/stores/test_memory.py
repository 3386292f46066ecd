"""The in-memory stores keep the contracts."""

from collections.abc import Awaitable, Callable

import pytest

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.testing.document_store import DocumentStoreContract
from engine.testing.execution_store import ExecutionStoreContract
from engine.testing.metadata_store import MetadataStoreContract


class TestMemoryExecutionStore(ExecutionStoreContract):
    durable = False

    @pytest.fixture
    def store(self) -> MemoryExecutionStore:
        return MemoryExecutionStore()

    @pytest.fixture
    def reopen(self, store: MemoryExecutionStore) -> Callable[[], Awaitable[MemoryExecutionStore]]:
        async def close_and_open() -> MemoryExecutionStore:
            await store.close()
            return MemoryExecutionStore()

        return close_and_open


class TestMemoryMetadataStore(MetadataStoreContract):
    durable = False

    @pytest.fixture
    def metadata(self) -> MemoryMetadataStore:
        return MemoryMetadataStore()

    @pytest.fixture
    def reopen_metadata(self) -> Callable[[], Awaitable[MemoryMetadataStore]]:
        async def another() -> MemoryMetadataStore:
            return MemoryMetadataStore()

        return another


class TestMemoryDocumentStore(DocumentStoreContract):
    @pytest.fixture
    def documents(self) -> MemoryDocumentStore:
        return MemoryDocumentStore()
