"""Search in PostgreSQL: SQLAlchemy writes the statements, the driver runs them.

Counting every match would cost as much as there are matches, so it ends at a bound; beyond it the planner's
estimate has to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import msgspec
from msgspec import Raw
from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.expression import ClauseElement

from engine.adapters.sql import codec, search_sql
from engine.adapters.sql.postgres_connection import DISCONNECTED, PostgresDatabase, meaning
from engine.adapters.sql.tables import workflow
from engine.core.errors import SearchTooLongError
from engine.core.records import Task
from engine.core.search import FREE_TEXT_EXACT_MAX, SEARCH_MS_MAX, TOTAL_EXACT_MAX, SearchQuery
from engine.ports.stores import WorkflowRow

Row = Sequence[Any]
_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def numbered(statement: ClauseElement) -> tuple[str, list[Any]]:
    """The text of a statement with `$1`, `$2` ... and its parameters in that order."""
    made = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return str(made), [made.params[name] for name in getattr(made, "positiontup", None) or ()]


def workflow_row(row: Row) -> WorkflowRow:
    """A workflow from header, input, output."""
    header, given, output = row
    return WorkflowRow(header=codec.decode_header(header), input=Raw(given), output=Raw(output))


class PostgresSearch:
    """What a PostgreSQL store answers about many workflows at once.

    Attributes:
        search_ms_max: how long one statement of a search may take.
        total_exact_max: totals up to it are exact, larger ones are an estimate.
    """

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self.search_ms_max = SEARCH_MS_MAX
        self.total_exact_max: int | None = TOTAL_EXACT_MAX

    async def search(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        found = search_sql.search_found(query)
        if query.free_text is not None:
            # So that counting follows an index and stops at its bound, and does not gather all rows first.
            found = found.order_by(workflow.c.create_ms.desc())
        total, rows = await self._page_and_total(query, found, search_sql.search_page(query))
        return total, [workflow_row(row) for row in rows]

    async def search_by_tasks(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        found, rows = await self._page_and_total(
            query, search_sql.by_tasks_found(query), search_sql.by_tasks_page(query)
        )
        return found, [workflow_row(row) for row in rows]

    async def search_tasks(self, query: SearchQuery) -> tuple[int, list[Task]]:
        found, rows = await self._page_and_total(
            query, search_sql.task_search_found(query), search_sql.task_search_page(query)
        )
        return found, [codec.task_from(tuple(row)) for row in rows]

    async def status_counts(self, query: SearchQuery) -> dict[str, int]:
        statement, values = numbered(search_sql.status_counts(query))
        async with self._searching() as connection:
            return {row[0]: int(row[1]) for row in await connection.fetch(statement, *values)}

    async def _page_and_total(
        self, query: SearchQuery, found: Select[Any], page: ClauseElement
    ) -> tuple[int, list[Row]]:
        """One page of the matches and how many there are, both of one state of the database."""
        paging, values = numbered(page)
        async with self._searching() as connection:
            rows = await connection.fetch(paging, *values) if query.size > 0 else []
            seen = query.start + len(rows) if rows else 0
            if query.size > len(rows) and (rows or query.start == 0):
                return seen, rows  # the last page: nothing is left to count
            total = await self._total(connection, found, self._bound(query))
            if query.size > 0 and not rows:
                total = min(total, query.start)
            return max(total, seen), rows

    def _bound(self, query: SearchQuery) -> int | None:
        if self.total_exact_max is None or query.free_text is None:
            return self.total_exact_max
        return min(self.total_exact_max, FREE_TEXT_EXACT_MAX)

    async def _total(self, connection: Any, found: Select[Any], bound: int | None) -> int:
        """How many matches there are: exact up to the bound, else an estimate above it."""
        counting, values = numbered(
            search_sql.counted(found) if bound is None else search_sql.counted_up_to(found, bound + 1)
        )
        total = int(await connection.fetchval(counting, *values))
        if bound is None or total <= bound:
            return total
        text, values = numbered(found)
        [plan] = msgspec.json.decode(await connection.fetchval("EXPLAIN (FORMAT JSON) " + text, *values))
        return max(total, int(plan["Plan"]["Plan Rows"]))

    @asynccontextmanager
    async def _searching(self) -> AsyncIterator[Any]:
        """A connection in a transaction that sees one state and ends in time."""
        try:
            async with (
                self.database.long.connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                await connection.execute(f"SET LOCAL statement_timeout = {self.search_ms_max}")
                yield connection
        except asyncpg.QueryCanceledError as error:
            raise SearchTooLongError(self.search_ms_max) from error
        except (*DISCONNECTED, asyncpg.PostgresError) as error:
            raise meaning(error, self.database.where) from error
