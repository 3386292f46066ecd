"""The stores that a database URL can name, and what opens each."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.adapters.sql.sqlite import SqliteExecutionStore, SqliteMetadataStore
from engine.adapters.sql.sqlite_connection import Synchronous
from engine.adapters.sql.sqlite_documents import SqliteDocumentStore
from engine.core.errors import InvalidRequestError
from engine.ports.documents import DocumentStore
from engine.ports.notifier import Alone, Notifier
from engine.ports.stores import ExecutionStore, MetadataStore

POSTGRES_PREFIXES = ("postgresql://", "postgres://")
SQLITE_PREFIX = "sqlite:///"
MEMORY = "memory://"


class Backend(Struct, kw_only=True, frozen=True):
    """Everything an engine keeps, and the word to other servers that keep it with it."""

    store: ExecutionStore
    metadata: MetadataStore
    documents: DocumentStore
    notifier: Notifier


def may_be_shared(database: str) -> bool:
    """Whether several servers may work on the database at the same time."""
    return database.startswith(POSTGRES_PREFIXES)


async def open_backend(url: str, data: Path, synchronous: Synchronous, number: int) -> Backend:
    """Open the database a URL names.

    Args:
        url: empty for SQLite in `data`.
        data: folder of this server; made when it is needed.
        synchronous: SQLite's.
        number: tells this server from others on the same store; any number below 2^31.

    Raises:
        InvalidRequestError: the database URL is of no kind this version knows.
        StoreError: the store cannot be opened.
    """
    if may_be_shared(url):
        return await _postgres(url, number)
    if url == MEMORY:
        return Backend(
            store=MemoryExecutionStore(),
            metadata=MemoryMetadataStore(),
            documents=MemoryDocumentStore(),
            notifier=Alone(),
        )
    if url and not url.startswith(SQLITE_PREFIX):
        raise InvalidRequestError(
            f"database: {url.split('://', 1)[0]} is no store this version knows; "
            "use postgresql://..., sqlite:///PATH or leave it empty"
        )
    if url:
        path = url.removeprefix(SQLITE_PREFIX)
    else:
        data.mkdir(parents=True, exist_ok=True)
        path = str(data / "showrunner.db")
    store = SqliteExecutionStore(path, synchronous)
    return Backend(
        store=store,
        metadata=SqliteMetadataStore(store.database),
        documents=SqliteDocumentStore(store.database),
        notifier=Alone(),
    )


async def _postgres(url: str, number: int) -> Backend:
    # Imported when it is used: an embedded server starts without the driver.
    from engine.adapters.sql.postgres import PostgresExecutionStore
    from engine.adapters.sql.postgres_metadata import PostgresDocumentStore, PostgresMetadataStore
    from engine.adapters.sql.postgres_notifier import PostgresNotifier

    store = await PostgresExecutionStore.open(url)
    return Backend(
        store=store,
        metadata=PostgresMetadataStore(store.database),
        documents=PostgresDocumentStore(store.database),
        notifier=PostgresNotifier(url, number),
    )
