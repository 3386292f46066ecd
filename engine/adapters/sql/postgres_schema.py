"""Bringing a PostgreSQL database to the newest schema, also while servers of the version before run on it."""

from __future__ import annotations

from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from engine.adapters.sql.migrations import FIND_MARKER, HEAD, may_be_used
from engine.adapters.sql.postgres_connection import connect, meaning, without_password
from engine.adapters.sql.postgres_locks import lock_number
from engine.core.errors import StoreError


async def bring_up_to_date(url: str) -> None:
    """Apply the revisions the database lacks, whole or not at all; of several servers one does it.

    Raises:
        StoreError: the database cannot be reached, or this version cannot work with what a newer one wrote.
    """
    connection = await connect(url)
    try:
        if await _revision(connection) != HEAD:
            await _upgrade(connection, url)
    except asyncpg.PostgresError as error:
        raise meaning(error, without_password(url)) from error
    finally:
        await connection.close()


async def _upgrade(connection: Any, url: str) -> None:
    number = lock_number("schema")
    await connection.execute("SELECT pg_advisory_lock($1)", number)
    try:
        found = await _revision(connection)
        if found == HEAD:
            return  # another server did it while this one waited
        if found is not None and found > HEAD:
            if may_be_used(found, await connection.fetchval(FIND_MARKER)):
                return
            raise StoreError(
                f"{without_password(url)}: written by a newer version of Showrunner; "
                "upgrade, or use another database"
            )
        await _run_revisions(url)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", number)


async def _run_revisions(url: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    from engine.adapters.sql.migrations.upgrade import upgrade

    async def another() -> Any:
        return await connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=another)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


async def _revision(connection: Any) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    found = await connection.fetchval("SELECT version_num FROM alembic_version")
    return None if found is None else str(found)
