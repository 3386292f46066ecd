"""What user interfaces ask all the time is answered by an index, however many workflows there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest

from engine.adapters.sql import codec, postgres_search, search_sql, sqlite_search
from engine.adapters.sql.postgres import PostgresExecutionStore
from engine.adapters.sql.sqlite import SqliteExecutionStore
from engine.core.errors import SearchTooLongError
from engine.core.search import FREE_TEXT_EXACT_MAX, TASK_FIELDS, SearchQuery
from engine.core.search_grammar import parse_query
from engine.testing.builders import accepted, creation, header

ROWS = 20_000
REASONS, REASON_CHARS = 2_000, 1_000
"""Two megabytes to look through: more than any machine does in a millisecond."""
NEWEST = "startTime:DESC"
ASKED = [
    "",
    "startTime > 15000",
    "workflowType = f1",
    "workflowType IN (f1, f2)",
    "status = FAILED",
    "workflowType = f1 AND status = FAILED",
    "workflowType = f1 AND status = FAILED AND startTime > 15000",
    "correlationId = c7",
    "parentWorkflowId = w7",
    "parentWorkflowId = '' AND workflowType = f1",
    "workflowId = w7",
]
ASKED_OF_TASKS = [
    "taskType = work",
    "taskType IN (work, other) AND status = FAILED",
    "taskDefName = work",
    "taskId = t1",
    "workflowId = w7",
]


def workflow_query(query: str) -> SearchQuery:
    return parse_query(query, free_text="", sort=NEWEST, start=0, size=15)


def free_text_query(text: str) -> SearchQuery:
    return parse_query("", free_text=text, sort=NEWEST, start=0, size=15)


def task_query(query: str) -> SearchQuery:
    return parse_query(query, free_text="", sort="", start=0, size=15, fields=TASK_FIELDS)


@pytest.mark.parametrize("query", ASKED)
async def test_sqlite_finds_workflows_by_an_index(database_path: Path, query: str) -> None:
    """No table is walked, and a page of one name and status needs no sort but among equals."""
    store = SqliteExecutionStore(database_path, "OFF")
    wanted = workflow_query(query)
    try:
        steps = plan(store, search_sql.counted(search_sql.search_found(wanted))) + plan(
            store, search_sql.search_page(wanted)
        )
    finally:
        await store.close()

    assert [step for step in steps if walks(step)] == []


async def test_sqlite_sorts_no_more_than_a_page(database_path: Path) -> None:
    """The newest of a name and status stand in its index in their order; only equals are sorted by id."""
    store = SqliteExecutionStore(database_path, "OFF")
    wanted = workflow_query("workflowType = f1 AND status = FAILED")
    try:
        steps = plan(store, search_sql.search_page(wanted))
    finally:
        await store.close()

    found_by = next(n for n, step in enumerate(steps) if "ix_workflow_name_status" in step)
    assert "LAST TERM" in steps[found_by + 1] or "RIGHT PART" in steps[found_by + 1]


@pytest.mark.parametrize("query", ASKED_OF_TASKS)
async def test_sqlite_finds_tasks_by_an_index(database_path: Path, query: str) -> None:
    """By type, by the name of the definition, by workflow and by id."""
    store = SqliteExecutionStore(database_path, "OFF")
    wanted = task_query(query)
    statements = (
        search_sql.counted(search_sql.task_search_found(wanted)),
        search_sql.task_search_page(wanted),
        search_sql.by_tasks_count(wanted),
    )
    try:
        steps = [step for statement in statements for step in plan(store, statement)]
    finally:
        await store.close()

    assert [step for step in steps if walks(step)] == []


def plan(store: SqliteExecutionStore, statement: Any) -> list[str]:
    text, values = sqlite_search.sql(statement)
    rows = store.database.reader().execute("EXPLAIN QUERY PLAN " + text, values)
    return [detail for *_, detail in rows]


def walks(step: str) -> bool:
    """A walk over a table; one along an index in its order, or over the page found, is none."""
    return step.startswith("SCAN") and "INDEX" not in step and "anon" not in step and "(subquery" not in step


async def test_postgresql_finds_workflows_by_an_index(postgres_url: str) -> None:
    """The same with statistics of a table that is worth an index."""
    store = await PostgresExecutionStore.open(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    try:
        await fill(connection)
        walked = []
        for query in ASKED:
            text, values = postgres_search.numbered(search_sql.search_page(workflow_query(query)))
            [[found]] = await connection.fetch("EXPLAIN (FORMAT JSON) " + text, *values)
            if "workflow" in set(walked_tables(json.loads(found)[0]["Plan"])):
                walked.append(query)
    finally:
        await connection.close()
        await store.close()

    assert walked == []


async def fill(connection: Any) -> None:
    await connection.execute(
        """INSERT INTO workflow (workflow_id, row_version, name, version, status, correlation_id,
        parent_workflow_id, priority, create_ms, update_ms, end_ms, header)
        SELECT 'w' || n, 1, 'f' || n % 50, 1, (ARRAY['COMPLETED', 'FAILED', 'RUNNING'])[1 + n % 3],
        'c' || n, CASE WHEN n % 2 = 0 THEN '' ELSE 'w' || n - 1 END, 0, n, n, 0,
        convert_to(replace($2, '{id}', 'w' || n), 'UTF8')
        FROM generate_series(1, $1::int) AS n""",
        ROWS,
        codec.header_values(header("{id}"))[-1].decode(),
    )
    await connection.execute(
        "INSERT INTO workflow_payload SELECT workflow_id, '{}'::bytea, '{}'::bytea FROM workflow"
    )
    await connection.execute("ANALYZE workflow")


async def test_postgresql_estimates_large_totals(postgres_url: str) -> None:
    """Beyond the bound its statistics say about how many there are; below it and at the end all is exact."""
    store = await PostgresExecutionStore.open(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    try:
        await fill(connection)
        every, _ = await store.search(workflow_query(""))
        failed, _ = await store.search(workflow_query("status = FAILED"))
        many, _ = await store.search(free_text_query("w1"))
        few, _ = await store.search(free_text_query("w1999"))
        far = parse_query("", free_text="", sort=NEWEST, start=ROWS - 5, size=15)
        last, rows = await store.search(far)
    finally:
        await connection.close()
        await store.close()

    assert abs(every - ROWS) < ROWS / 10
    assert failed == sum(n % 3 == 1 for n in range(1, ROWS + 1))
    assert many > FREE_TEXT_EXACT_MAX
    assert few == 11
    assert (last, [row.header.workflow_id for row in rows]) == (ROWS, ["w5", "w4", "w3", "w2", "w1"])


def walked_tables(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for inner in node.get("Plans", ()):
        yield from walked_tables(inner)


async def test_sqlite_ends_a_search_in_time(database_path: Path) -> None:
    """The answer says what to do, and the store goes on answering others."""
    store = SqliteExecutionStore(database_path, "OFF")
    try:
        await end_a_search(store)
    finally:
        await store.close()


async def test_postgresql_ends_a_search_in_time(postgres_url: str) -> None:
    """The answer says what to do, and the store goes on answering others."""
    store = await PostgresExecutionStore.open(postgres_url)
    try:
        await end_a_search(store)
    finally:
        await store.close()


async def end_a_search(store: SqliteExecutionStore | PostgresExecutionStore) -> None:
    wanted = parse_query("", free_text="nowhere", sort="", start=0, size=15)
    many = [creation(f"w{n}", header=header(f"w{n}", reason="x" * REASON_CHARS)) for n in range(REASONS)]
    await accepted(store, *many)
    assert await store.search(wanted) == (0, [])

    store.search_ms_max = 1
    with pytest.raises(SearchTooLongError, match="narrow it, by workflowType, status or startTime"):
        await store.search(wanted)

    store.search_ms_max = 60_000
    assert await store.search(wanted) == (0, [])
