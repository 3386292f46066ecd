"""Search in SQLite: SQLAlchemy writes the statements, a reading thread runs them, a clock ends them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec import Raw
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.sql.expression import ClauseElement

from engine.adapters.sql import codec, queries, search_sql
from engine.adapters.sql.codec import Row
from engine.adapters.sql.sqlite_connection import SqliteDatabase, Work
from engine.core.errors import SearchTooLongError, StoreError
from engine.core.records import Task
from engine.core.search import SEARCH_MS_MAX, SearchQuery
from engine.ports.stores import WorkflowRow

T = TypeVar("T")

_DIALECT = sqlite_dialect(paramstyle="named")
_STEPS_BETWEEN_LOOKS = 100_000
"""Instructions of SQLite's machine between two looks at the clock: milliseconds. Each look takes the
interpreter's lock, which a busy event loop gives only every few milliseconds, so they must be rare."""


def sql(statement: ClauseElement) -> tuple[str, dict[str, Any]]:
    """A statement's text and its named parameters."""
    return queries.compiled(statement, _DIALECT)


def workflow_row(row: Row) -> WorkflowRow:
    """A workflow from header, input, output."""
    header, given, output = row
    return WorkflowRow(header=codec.decode_header(header), input=Raw(given), output=Raw(output))


class SqliteSearch:
    """What an SQLite store answers about many workflows at once.

    Attributes:
        search_ms_max: how long one search may take.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self.search_ms_max = SEARCH_MS_MAX

    async def search(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        found, rows = await self._count_and_page(
            query, search_sql.counted(search_sql.search_found(query)), search_sql.search_page(query)
        )
        return found, [workflow_row(row) for row in rows]

    async def search_by_tasks(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        found, rows = await self._count_and_page(
            query, search_sql.by_tasks_count(query), search_sql.by_tasks_page(query)
        )
        return found, [workflow_row(row) for row in rows]

    async def search_tasks(self, query: SearchQuery) -> tuple[int, list[Task]]:
        found, rows = await self._count_and_page(
            query, search_sql.counted(search_sql.task_search_found(query)), search_sql.task_search_page(query)
        )
        return found, [codec.task_from(row) for row in rows]

    async def status_counts(self, query: SearchQuery) -> dict[str, int]:
        def counted(connection: sqlite3.Connection) -> dict[str, int]:
            return dict(connection.execute(*sql(search_sql.status_counts(query))).fetchall())

        return await self._timed(counted)

    async def _count_and_page(
        self, query: SearchQuery, count: ClauseElement, page: ClauseElement
    ) -> tuple[int, list[Row]]:
        """All matches counted and one page of them, both of one state of the database."""

        def count_and_page(connection: sqlite3.Connection) -> tuple[int, list[Row]]:
            [found] = connection.execute(*sql(count)).fetchone()
            if query.size <= 0 or query.start >= found:
                return found, []
            return found, connection.execute(*sql(page)).fetchall()

        return await self._timed(count_and_page)

    async def _timed(self, work: Work[T]) -> T:
        def within_bounds(connection: sqlite3.Connection) -> T:
            with _ending(connection, time.perf_counter() + self.search_ms_max / 1000):
                return work(connection)

        try:
            return await self.database.read(within_bounds)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise SearchTooLongError(self.search_ms_max) from error
            raise StoreError(f"{self.database.path}: {error}") from error


@contextmanager
def _ending(connection: sqlite3.Connection, deadline_s: float) -> Iterator[None]:
    connection.set_progress_handler(lambda: time.perf_counter() > deadline_s, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
