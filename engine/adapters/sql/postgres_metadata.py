"""MetadataStore and DocumentStore in the PostgreSQL that the executions are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
from sqlalchemy.sql.expression import ClauseElement

from engine.adapters.sql import queries
from engine.adapters.sql.postgres_connection import DISCONNECTED, PostgresDatabase, meaning
from engine.adapters.sql.postgres_search import numbered
from engine.ports.documents import Document

_LAST_CHARACTER = "\U0010ffff"
_COLUMNS = "kind, name, revision, at_ms, body"

_PUT_TASK_DEFS = """INSERT INTO task_def (name, body) SELECT name, body FROM unnest($1::text[], $2::bytea[])
    AS u(name, body) ON CONFLICT (name) DO UPDATE SET body = excluded.body RETURNING 1"""
_PUT = """INSERT INTO document (kind, name, revision, at_ms, body) VALUES ($1, $2, 1, $3, $4)
    ON CONFLICT (kind, name) DO UPDATE
    SET revision = document.revision + 1, at_ms = excluded.at_ms, body = excluded.body RETURNING revision"""
_CREATE = """INSERT INTO document (kind, name, revision, at_ms, body) VALUES ($1, $2, 1, $3, $4)
    ON CONFLICT (kind, name) DO NOTHING RETURNING revision"""
_REPLACE = """UPDATE document SET revision = revision + 1, at_ms = $3, body = $4
    WHERE kind = $1 AND name = $2 AND revision = $5 RETURNING revision"""


class _Tables:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def _read(self, statement: ClauseElement) -> list[bytes]:
        text, values = numbered(statement)
        return [bytes(row[0]) for row in await self._database.long.fetch(text, *values)]

    async def _write(self, statement: str, *values: Any) -> Any:
        """One statement and the first value it gives back; None when it changed nothing."""
        try:
            async with self._database.short.connection() as connection:
                return await connection.fetchval(statement, *values)
        except (*DISCONNECTED, asyncpg.PostgresError, ValueError) as error:
            raise meaning(error, self._database.where) from error


class PostgresMetadataStore(_Tables):
    """MetadataStore.

    Args:
        database: `PostgresExecutionStore.database`, which also closes it.
    """

    async def put_workflow_def(self, name: str, version: int, body: bytes, *, replace: bool) -> bool:
        kept = "UPDATE SET body = excluded.body" if replace else "NOTHING"
        done = await self._write(
            f"""INSERT INTO workflow_def (name, version, body) VALUES ($1, $2, $3)
            ON CONFLICT (name, version) DO {kept} RETURNING 1""",  # noqa: S608 - one of two texts of ours
            name,
            version,
            bytes(body),
        )
        return done is not None

    async def get_workflow_def(self, name: str, version: int | None = None) -> bytes | None:
        found = await self._read(queries.workflow_def_body(name, version))
        return found[0] if found else None

    async def list_workflow_defs(self, name: str | None = None) -> list[bytes]:
        return await self._read(queries.workflow_def_bodies(name))

    async def delete_workflow_def(self, name: str, version: int) -> bool:
        statement = "DELETE FROM workflow_def WHERE name = $1 AND version = $2 RETURNING 1"
        return await self._write(statement, name, version) is not None

    async def put_task_defs(self, defs: Sequence[tuple[str, bytes]]) -> None:
        latest = {name: bytes(body) for name, body in defs}
        if latest:
            await self._write(_PUT_TASK_DEFS, list(latest), list(latest.values()))

    async def get_task_def(self, name: str) -> bytes | None:
        found = await self._read(queries.task_def_body(name))
        return found[0] if found else None

    async def list_task_defs(self) -> list[bytes]:
        return await self._read(queries.task_def_bodies())

    async def delete_task_def(self, name: str) -> bool:
        return await self._write("DELETE FROM task_def WHERE name = $1 RETURNING 1", name) is not None


class PostgresDocumentStore(_Tables):
    """DocumentStore.

    Args:
        database: `PostgresExecutionStore.database`, which also closes it.
    """

    async def get(self, kind: str, name: str) -> Document | None:
        rows = await self._database.short.fetch(
            f"SELECT {_COLUMNS} FROM document WHERE kind = $1 AND name = $2",  # noqa: S608 - column names of ours
            kind,
            name,
        )
        return _document(rows[0]) if rows else None

    async def put(self, kind: str, name: str, body: bytes, *, at_ms: int, expect: int | None = None) -> int:
        values = (kind, name, at_ms, bytes(body))
        if expect is None:
            return int(await self._write(_PUT, *values))
        if expect == 0:
            return int(await self._write(_CREATE, *values) or 0)
        return int(await self._write(_REPLACE, *values, expect) or 0)

    async def delete(self, kind: str, name: str) -> bool:
        statement = "DELETE FROM document WHERE kind = $1 AND name = $2 RETURNING 1"
        return await self._write(statement, kind, name) is not None

    async def list(
        self,
        kind: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        descending: bool = False,
    ) -> list[Document]:
        beyond, order = ("name < $2", "DESC") if descending else ("name > $2", "ASC")
        start = after or (_LAST_CHARACTER if descending else "")
        rows = await self._database.short.fetch(
            f"""SELECT {_COLUMNS} FROM document
            WHERE kind = $1 AND {beyond} AND name >= $3 AND name < $4 ORDER BY name {order} LIMIT $5""",  # noqa: S608 - texts of ours
            kind,
            start,
            prefix,
            prefix + _LAST_CHARACTER,
            limit,
        )
        return [_document(row) for row in rows]


def _document(row: Sequence[Any]) -> Document:
    kind, name, revision, at_ms, body = row
    return Document(kind=kind, name=name, revision=revision, at_ms=at_ms, body=bytes(body))
