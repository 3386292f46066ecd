"""What the PostgreSQL stores promise beyond the contract: migrations, lost connections, foreign databases."""

from __future__ import annotations

import asyncio

import pytest

from engine.adapters.sql.migrations import HEAD, marker, may_be_used
from engine.adapters.sql.postgres import PostgresExecutionStore
from engine.adapters.sql.postgres_connection import connect, without_password
from engine.adapters.sql.postgres_metadata import PostgresDocumentStore
from engine.adapters.sql.postgres_schema import bring_up_to_date
from engine.core.errors import OutcomeUnknownError, StoreError
from engine.ports.stores import Claim
from engine.testing.builders import accepted, creation, entry, event, step, task

SERVERS = 4


async def test_many_servers_open_one_empty_database(empty_postgres_url: str) -> None:
    """One makes the tables, the others wait for it; all of them can write."""
    stores = await asyncio.gather(*(PostgresExecutionStore.open(empty_postgres_url) for _ in range(SERVERS)))
    for number, store in enumerate(stores):
        await accepted(store, creation(f"w{number}"))
    assert all([await stores[0].load(f"w{number}") is not None for number in range(SERVERS)])
    for store in stores:
        await store.close()


async def written_by_a_newer_version(url: str, revision: str, body: bytes) -> None:
    connection = await connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    await connection.execute("UPDATE document SET body = $1 WHERE kind = 'schema'", body)
    await connection.close()


async def test_an_incompatible_newer_schema_is_refused(postgres_url: str) -> None:
    """One sentence, and nothing is touched; also where nothing says that this version may go on."""
    await written_by_a_newer_version(postgres_url, "9999", b"9999 9000")
    with pytest.raises(StoreError, match="newer version"):
        await bring_up_to_date(postgres_url)
    await written_by_a_newer_version(postgres_url, "9999", marker())
    with pytest.raises(StoreError, match="newer version"):
        await bring_up_to_date(postgres_url)


async def test_a_rolling_upgrade_leaves_older_servers_at_work(postgres_url: str) -> None:
    """A newer schema that says this version may use it is used as it is."""
    await written_by_a_newer_version(postgres_url, "9999", f"9999 {HEAD}".encode())
    store = await PostgresExecutionStore.open(postgres_url)
    await accepted(store, creation("w1"))
    await store.close()


def test_who_may_use_a_newer_schema() -> None:
    """Only servers that know the schema it names, and only if it speaks of the schema that is there."""
    assert may_be_used("9999", f"9999 {HEAD}".encode())
    assert not may_be_used("9999", b"9999 9998")
    assert not may_be_used("9999", f"9998 {HEAD}".encode())
    assert not may_be_used("9999", None)


async def test_a_connection_lost_in_a_commit_leaves_the_outcome_open(postgres_url: str) -> None:
    """The caller is told that nobody knows, and reads back; the next write has a new connection."""
    store = await PostgresExecutionStore.open(postgres_url)
    watcher = await connect(postgres_url)
    await accepted(store, creation("w1"))
    # The row is locked by somebody else, so that the write is under way when its session is ended.
    holder = await connect(postgres_url)
    await holder.execute("BEGIN; SELECT 1 FROM workflow WHERE workflow_id = 'w1' FOR UPDATE")
    writing = asyncio.ensure_future(store.write([step("w1", 1, history=[event("w1", "e1")])]))
    async with asyncio.timeout(20):
        while not await watcher.fetchval(  # noqa: ASYNC110 - the database tells nobody that a lock is waited for
            """SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock') AS ended"""
        ):
            await asyncio.sleep(0.01)

    with pytest.raises(OutcomeUnknownError):
        await writing
    await holder.execute("ROLLBACK")

    assert await store.history("w1") == []
    assert await store.write([step("w1", 1)]) == [2]
    for connection in (watcher, holder):
        await connection.close()
    await store.close()


async def test_servers_claim_side_by_side(postgres_url: str) -> None:
    """Claims of several servers at once share nothing and wait for nobody."""
    stores = [await PostgresExecutionStore.open(postgres_url) for _ in range(SERVERS)]
    ids = [f"t{n}" for n in range(40)]
    tasks = [task("w1", task_id, seq=seq) for seq, task_id in enumerate(ids, start=1)]
    await accepted(stores[0], creation("w1", tasks_new=tasks, queue_put=[entry("w1", one) for one in ids]))

    async def claim(store: PostgresExecutionStore) -> list[str]:
        [claimed] = await store.write([Claim(queue="work", count=3, worker_id="w", now_ms=99)])
        assert isinstance(claimed, list)
        return [one.task.id for one in claimed]

    got = await asyncio.gather(*(claim(store) for store in stores * 3))
    taken = [task_id for some in got for task_id in some]
    assert len(taken) == len(set(taken)) == 36
    for store in stores:
        await store.close()


async def test_texts_that_no_column_can_hold(postgres_url: str) -> None:
    """A NUL is no reason to fail: nothing of that name is found."""
    store = await PostgresExecutionStore.open(postgres_url)
    assert await store.load("a\0b") is None
    assert not await store.ready("a\0b", 1)
    assert await PostgresDocumentStore(store.database).get("k", "a\0b") is None
    await store.close()


def test_errors_show_no_password() -> None:
    """Wherever a database is named."""
    assert without_password("postgresql://me:hunter2@db:5432/x") == "postgresql://db:5432/x"
    assert without_password("postgres://me@db/x") == "postgresql://db/x"


async def test_a_database_that_is_not_there(postgres_url: str) -> None:
    """One sentence that says what to do."""
    with pytest.raises(StoreError, match="create it first"):
        await PostgresExecutionStore.open(postgres_url + "_not")
