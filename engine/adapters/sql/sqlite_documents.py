"""DocumentStore in the SQLite file that the executions are in."""

from __future__ import annotations

import sqlite3

from engine.adapters.sql.sqlite_connection import SqliteDatabase
from engine.core.errors import StoreError
from engine.ports.documents import Document

_LAST_CHARACTER = "\U0010ffff"
_UNLIMITED = -1
_COLUMNS = "kind, name, revision, at_ms, body"


class SqliteDocumentStore:
    """DocumentStore written by the one writing thread, read where it is asked.

    Args:
        database: `SqliteExecutionStore.database`, which also closes it.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def get(self, kind: str, name: str) -> Document | None:
        found = _read(
            self._database,
            f"SELECT {_COLUMNS} FROM document WHERE kind = ? AND name = ?",  # noqa: S608 - column names of ours
            (kind, name),
        )
        return found[0] if found else None

    async def put(self, kind: str, name: str, body: bytes, *, at_ms: int, expect: int | None = None) -> int:
        def write(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "SELECT revision FROM document WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
            revision = int(row[0]) if row is not None else 0
            if expect not in {None, revision}:
                return 0
            connection.execute(
                """INSERT INTO document (kind, name, revision, at_ms, body) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (kind, name) DO UPDATE
                SET revision = excluded.revision, at_ms = excluded.at_ms, body = excluded.body""",
                (kind, name, revision + 1, at_ms, bytes(body)),
            )
            return revision + 1

        return await self._database.write(write)

    async def delete(self, kind: str, name: str) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            statement = "DELETE FROM document WHERE kind = ? AND name = ?"
            return connection.execute(statement, (kind, name)).rowcount > 0

        return await self._database.write(write)

    async def list(
        self,
        kind: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        descending: bool = False,
    ) -> list[Document]:
        beyond, order = ("name < ?", "DESC") if descending else ("name > ?", "ASC")
        start = after or (_LAST_CHARACTER if descending else "")
        return _read(
            self._database,
            f"""SELECT {_COLUMNS} FROM document
            WHERE kind = ? AND {beyond} AND name >= ? AND name < ? ORDER BY name {order} LIMIT ?""",  # noqa: S608 - texts of ours
            (kind, start, prefix, prefix + _LAST_CHARACTER, _UNLIMITED if limit is None else limit),
        )


def _read(database: SqliteDatabase, statement: str, values: tuple[str | int, ...]) -> list[Document]:
    try:
        rows = database.reader().execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{database.path}: {error}") from error
    return [
        Document(kind=kind, name=name, revision=revision, at_ms=at_ms, body=bytes(body))
        for kind, name, revision, at_ms, body in rows
    ]
