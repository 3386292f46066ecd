"""Finished workflows by the million: the codec writes one of each kind, PostgreSQL makes the others of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from engine.adapters.sql import codec
from engine.core.records import Header, Task, TaskHead, TaskLinks, TaskState
from engine.core.statuses import TaskStatus, WorkflowStatus

DAY_MS = 86_400_000
NAMES = 20
FAILED_EVERY = 50
RARE_NAME = "rare"
RARE_WORKFLOWS = 20
"""How many workflows of the last day have the rare name, in whichever store."""
TASKS_EACH = 2
TOOK_MS = 3_000
CHUNK_ROWS = 50_000
CONNECTIONS = 2
HASH = "0" * 64

# What stands for a value of the row in the documents that the codec writes.
_ID, _NAME, _NUMBER, _SEQ = "{id}", "{name}", "{number}", 8_000_000_000_003
_BEGAN_MS, _ENDED_MS = 8_000_000_000_001, 8_000_000_000_002
_ROWS = f"""FROM (SELECT n, $2 + (n - $3) * $4::int8 AS began,
    CASE WHEN n > $3 - {RARE_WORKFLOWS} THEN '{RARE_NAME}' ELSE 'bulk_' || n % {NAMES} END AS name
    FROM generate_series($1::int8, $1 + {CHUNK_ROWS} - 1) AS n WHERE n <= $3) AS made,
    LATERAL (SELECT lpad(to_hex(began), 12, '0') || '-' || lpad(to_hex(n), 12, '0') AS id) AS named"""


def _header(status: WorkflowStatus) -> Header:
    failed = status is WorkflowStatus.FAILED
    return Header(
        workflow_id=_ID,
        name=_NAME,
        version=1,
        definition_hash=HASH,
        status=status,
        create_ms=_BEGAN_MS,
        update_ms=_ENDED_MS,
        end_ms=_ENDED_MS,
        correlation_id=f"order-{_NUMBER}",
        reason="no space left" if failed else None,
        seq=TASKS_EACH,
    )


def _task() -> Task:
    head = TaskHead(
        task_type="bulk_task",
        reference_task_name=f"t{_SEQ}",
        task_def_name="bulk_task",
        task_id=f"{_ID}-{_SEQ}",
        workflow_instance_id=_ID,
        workflow_type=_NAME,
        seq=_SEQ,
        scheduled_time=_BEGAN_MS,
    )
    state = TaskState(status=TaskStatus.COMPLETED, start_time=_BEGAN_MS, end_time=_ENDED_MS)
    return Task(head=head, state=state, links=TaskLinks(base_ref=f"t{_SEQ}"))


def _document(encoded: bytes) -> str:
    """An SQL expression that makes the row's own document of one with placeholders."""
    quoted = encoded.decode().replace("'", "''")
    expression = f"'{quoted}'"
    for mark, value in (
        (_ID, "id"),
        (_NAME, "name"),
        (_NUMBER, "n::text"),
        (str(_SEQ), "seq::text"),
        (str(_BEGAN_MS), "began::text"),
        (str(_ENDED_MS), f"(began + {TOOK_MS})::text"),
    ):
        if mark in quoted:
            expression = f"replace({expression}, '{mark}', {value})"
    return f"convert_to({expression}, 'UTF8')"


def _statements() -> list[str]:
    headers = {
        status: _document(codec.header_values(_header(status))[-1])
        for status in (WorkflowStatus.FAILED, WorkflowStatus.COMPLETED)
    }
    task = dict(zip(codec.NEW_TASK_COLUMNS, codec.new_task_row(_task()), strict=True))
    documents = ", ".join(_document(task[column]) for column in codec.TASK_COLUMNS)
    is_failed = f"n % {FAILED_EVERY} = 0"
    return [
        f"""INSERT INTO workflow (workflow_id, row_version, name, version, status, correlation_id,
        parent_workflow_id, priority, create_ms, update_ms, end_ms, reason, header)
        SELECT id, 3, name, 1, CASE WHEN {is_failed} THEN 'FAILED' ELSE 'COMPLETED' END, 'order-' || n, '',
        0, began, began + {TOOK_MS}, began + {TOOK_MS}, CASE WHEN {is_failed} THEN 'no space left' END,
        CASE WHEN {is_failed} THEN {headers[WorkflowStatus.FAILED]}
        ELSE {headers[WorkflowStatus.COMPLETED]} END {_ROWS}""",
        f"""INSERT INTO workflow_payload (workflow_id, input, output) SELECT id,
        convert_to('{{"file":"in_' || n || '.mp4"}}', 'UTF8'),
        convert_to('{{"file":"out_' || n || '.mp4"}}', 'UTF8') {_ROWS}""",
        f"""INSERT INTO task ({", ".join(codec.NEW_TASK_COLUMNS)})
        SELECT id || '-' || seq, id, seq, 't' || seq, 0, 't' || seq, 'COMPLETED', 0, {documents},
        'bulk_task', 'bulk_task' {_ROWS}, generate_series(1, {TASKS_EACH}) AS seq""",
    ]


async def load(url: str, definition: bytes, *, first: int, last: int, now_ms: int, every_ms: int) -> float:
    """Write the finished workflows `first` to `last`, the last of which began just now; gives the seconds.

    Every server's statistics are up to date afterwards, as autovacuum keeps them.
    """
    began = time.monotonic()
    connections = [await asyncpg.connect(url) for _ in range(CONNECTIONS)]
    await connections[0].execute("INSERT INTO definition (hash, body) VALUES ($1, $2)", HASH, definition)
    chunks = list(range(first, last + 1, CHUNK_ROWS))
    statements = _statements()

    async def write(connection: Any) -> None:
        await connection.execute("SET synchronous_commit = off")
        while chunks:
            chunk = chunks.pop(0)
            for statement in statements:
                await connection.execute(statement, chunk, now_ms, last, every_ms)

    await asyncio.gather(*map(write, connections))
    await connections[0].execute("VACUUM ANALYZE")
    await connections[0].execute("CHECKPOINT")
    for connection in connections:
        await connection.close()
    return time.monotonic() - began
