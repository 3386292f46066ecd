"""The embedded stores: executions and metadata in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Raw
from sqlalchemy.sql.expression import ClauseElement

from engine.adapters.sql import codec, queries, sqlite_claims, sqlite_slots
from engine.adapters.sql.codec import Row
from engine.adapters.sql.sqlite_connection import SqliteDatabase, Synchronous, Work
from engine.adapters.sql.sqlite_search import SqliteSearch, sql, workflow_row
from engine.adapters.sql.sqlite_writer import RecordAtFaultError, write_carefully, write_quickly
from engine.core.errors import InvariantError, StoreError
from engine.core.limits import NO_LIMITS, TaskLimits
from engine.core.records import Delta, HistoryRow, Message, QueueEntry, Task, Timer
from engine.core.statuses import WORKFLOW_ENDED, TaskStatus
from engine.ports.stores import (
    Claimed,
    ExecutionRows,
    PollMark,
    StoredWorkflow,
    WorkflowRow,
    Write,
    WriteResult,
)

T = TypeVar("T")

_QUEUE = ", ".join(codec.QUEUE_COLUMNS)
_TASK = "t.head, t.state, t.links, t.output"
_WORKFLOW_ROW = """SELECT w.header, p.input, p.output FROM workflow w
    JOIN workflow_payload p ON p.workflow_id = w.workflow_id WHERE w.workflow_id = ?"""

ROWS_INLINE_MAX = 200
"""What may give more rows is read on the pool, so that it does not hold up the event loop."""

_UNLIMITED = -1


# What ended long ago began long ago, too, so the index by status and start leads to it.
_ENDED_BEFORE = """SELECT w.workflow_id FROM workflow w
    WHERE w.status = ? AND w.create_ms < ? AND w.end_ms > 0 AND w.end_ms < ?
    AND NOT EXISTS (SELECT 1 FROM workflow p WHERE p.workflow_id = w.parent_workflow_id AND p.end_ms = 0)
    ORDER BY w.create_ms LIMIT ?"""


class SqliteExecutionStore(SqliteSearch):
    """ExecutionStore in one SQLite file.

    Args:
        path, synchronous, size_bytes_max: as SqliteDatabase has them.

    Raises:
        StoreError: the file cannot be used as the database.
    """

    delta_rows_max: int | None = None
    leases_apart = False
    total_exact_max: int | None = None

    def __init__(
        self, path: Path | str, synchronous: Synchronous = "FULL", *, size_bytes_max: int | None = None
    ) -> None:
        super().__init__(SqliteDatabase(path, synchronous=synchronous, size_bytes_max=size_bytes_max))

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        workflows = [write.workflow_id for write in group if isinstance(write, Delta)]
        if len(set(workflows)) != len(workflows):
            raise InvariantError("a group has two deltas of one workflow")
        try:
            return await self.database.write(lambda connection: write_quickly(connection, group))
        except RecordAtFaultError:
            return await self.database.write(lambda connection: write_carefully(connection, group))

    async def load(self, workflow_id: str) -> StoredWorkflow | None:
        row = self._one(
            """SELECT w.header, w.row_version, p.input FROM workflow w
            JOIN workflow_payload p ON p.workflow_id = w.workflow_id WHERE w.workflow_id = ?""",
            (workflow_id,),
        )
        if row is None:
            return None
        return StoredWorkflow(header=codec.decode_header(row[0]), row_version=row[1], input=Raw(row[2]))

    async def row(self, workflow_id: str) -> WorkflowRow | None:
        row = self._one(_WORKFLOW_ROW, (workflow_id,))
        return None if row is None else workflow_row(row)

    async def execution(self, workflow_id: str) -> ExecutionRows | None:
        return await self._read(lambda connection: _execution(connection, workflow_id))

    async def definition(self, definition_hash: str) -> bytes | None:
        row = self._one("SELECT body FROM definition WHERE hash = ?", (definition_hash,))
        return None if row is None else bytes(row[0])

    async def tasks_by_id(self, task_ids: Collection[str]) -> dict[str, Task]:
        tasks = await self._tasks(
            f"SELECT {_TASK} FROM json_each(?) j JOIN task t ON t.task_id = j.value",  # noqa: S608 - column names of ours
            (_list(task_ids),),
            most=len(task_ids),
        )
        return {task.id: task for task in tasks}

    async def latest(self, workflow_id: str, base_refs: Collection[str]) -> dict[str, Task]:
        tasks = await self._tasks(
            f"""SELECT {_TASK} FROM json_each(?1) j JOIN task t ON t.task_id = (SELECT l.task_id FROM task l
            WHERE l.workflow_id = ?2 AND l.base_ref = j.value ORDER BY l.seq DESC LIMIT 1)""",  # noqa: S608 - column names of ours
            (_list(base_refs), workflow_id),
            most=len(base_refs),
        )
        return {task.links.base_ref: task for task in tasks}

    async def by_ref(self, workflow_id: str, refs: Collection[str]) -> dict[str, Task]:
        # `+` has the few attempts of one reference sorted; SQLite would walk the workflow by seq instead.
        tasks = await self._tasks(
            f"""SELECT {_TASK} FROM json_each(?1) j JOIN task t ON t.task_id = (SELECT l.task_id FROM task l
            WHERE l.workflow_id = ?2 AND l.ref = j.value ORDER BY +l.seq DESC LIMIT 1)""",  # noqa: S608 - column names of ours
            (_list(refs), workflow_id),
            most=len(refs),
        )
        return {task.ref: task for task in tasks}

    async def open_tasks(self, workflow_id: str) -> list[Task]:
        return await self._tasks(
            f"SELECT {_TASK} FROM task t WHERE t.workflow_id = ? AND t.open = 1 ORDER BY t.seq",  # noqa: S608 - column names of ours
            (workflow_id,),
        )

    async def tasks(
        self,
        workflow_id: str,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        statuses: Collection[TaskStatus] | None = None,
    ) -> list[Task]:
        condition, values = _among("t.status", statuses)
        return await self._tasks(
            f"""SELECT {_TASK} FROM task t WHERE t.workflow_id = ? AND t.seq > ?{condition}
            ORDER BY t.seq LIMIT ?""",  # noqa: S608 - column names of ours
            (workflow_id, after_seq, *values, _UNLIMITED if limit is None else limit),
            most=limit,
        )

    async def task_count(self, workflow_id: str, statuses: Collection[TaskStatus] | None = None) -> int:
        condition, values = _among("status", statuses)
        [[count]] = await self._rows(
            f"SELECT count(*) FROM task WHERE workflow_id = ?{condition}",  # noqa: S608 - column names of ours
            (workflow_id, *values),
        )
        return int(count)

    async def entries(self, task_ids: Collection[str]) -> dict[str, QueueEntry]:
        rows = await self._rows(
            f"SELECT {_QUEUE} FROM queue WHERE task_id IN (SELECT value FROM json_each(?))",  # noqa: S608 - column names of ours
            (_list(task_ids),),
            most=len(task_ids),
        )
        return {entry.task_id: entry for entry in map(codec.entry_from, rows)}

    async def entries_of(self, workflow_id: str) -> dict[str, QueueEntry]:
        rows = await self._rows(f"SELECT {_QUEUE} FROM queue WHERE workflow_id = ?", (workflow_id,))  # noqa: S608 - column names of ours
        return {entry.task_id: entry for entry in map(codec.entry_from, rows)}

    async def ready(self, queue: str, now_ms: int, limits: TaskLimits = NO_LIMITS) -> bool:
        due_ms = await self.next_due_ms(queue, now_ms, limits)
        return due_ms is not None and due_ms <= now_ms

    async def next_due_ms(self, queue: str, now_ms: int = 0, limits: TaskLimits = NO_LIMITS) -> int | None:
        return self._here(lambda connection: sqlite_claims.next_due_ms(connection, queue, now_ms, limits))

    async def leased_at(self, queue: str, worker_id: str, at_ms: int) -> list[Claimed]:
        return await self._read(
            lambda connection: sqlite_claims.leased_at(connection, queue, worker_id, at_ms)
        )

    async def slots(self, key: str, limit: int) -> tuple[int, list[str]]:
        return self._here(lambda connection: sqlite_slots.slots(connection, key, limit))

    async def slot_keys_waited_for(self) -> list[str]:
        return self._here(sqlite_slots.keys_waited_for)

    async def ended_before(self, at_ms: int, limit: int) -> list[str]:
        found: list[str] = []
        for status in sorted(WORKFLOW_ENDED):
            rows = await self._rows(_ENDED_BEFORE, (status.value, at_ms, at_ms, limit - len(found)))
            found += [row[0] for row in rows]
        return found

    async def due_timers(self, now_ms: int, limit: int) -> list[Timer]:
        rows = self._all(
            """SELECT workflow_id, key, kind, due_ms FROM timer WHERE due_ms <= ?
            ORDER BY due_ms, workflow_id, key LIMIT ?""",
            (now_ms, limit),
        )
        return [codec.timer_from(row) for row in rows]

    async def due_deadlines(self, now_ms: int, limit: int) -> list[QueueEntry]:
        rows = self._all(
            f"""SELECT {_QUEUE} FROM queue WHERE deadline_ms > 0 AND deadline_ms <= ?
            ORDER BY deadline_ms, entry_id LIMIT ?""",  # noqa: S608 - column names of ours
            (now_ms, limit),
        )
        return [codec.entry_from(row) for row in rows]

    async def next_instant_ms(self) -> int | None:
        [row] = self._all(
            """SELECT min(at_ms) FROM (SELECT min(due_ms) AS at_ms FROM timer
            UNION ALL SELECT min(deadline_ms) FROM queue WHERE deadline_ms > 0)""",
            (),
        )
        return None if row[0] is None else int(row[0])

    async def pending_messages(self, limit: int, after_id: str = "") -> list[Message]:
        rows = self._all(
            """SELECT message_id, kind, target_id, body FROM outbox WHERE message_id > ?
            ORDER BY message_id LIMIT ?""",
            (after_id, limit),
        )
        return [codec.message_from(row) for row in rows]

    async def queue_sizes(self, queues: Collection[str] | None = None) -> dict[str, int]:
        condition, values = _among("queue", queues)
        rows = await self._rows(
            f"SELECT queue, count(*) FROM queue WHERE held = 0{condition} GROUP BY queue",  # noqa: S608 - column names of ours
            values,
        )
        return dict.fromkeys(queues or (), 0) | dict(rows)

    async def queue_detail(self) -> dict[str, tuple[int, int]]:
        rows = await self._rows("SELECT queue, sum(held = 0), sum(held) FROM queue GROUP BY queue", ())
        return {queue: (waiting, held) for queue, waiting, held in rows}

    async def poll_marks(self, task_type: str | None = None) -> list[PollMark]:
        rows = self._all(
            """SELECT task_type, domain, worker_id, at_ms FROM poll_data WHERE ?1 IS NULL OR task_type = ?1
            ORDER BY task_type, domain, worker_id""",
            (task_type,),
        )
        return [PollMark(task_type=row[0], domain=row[1], worker_id=row[2], at_ms=row[3]) for row in rows]

    async def logs(self, task_id: str) -> list[tuple[str, int]]:
        return self._all(
            "SELECT line, created_ms FROM task_log WHERE task_id = ? ORDER BY log_id", (task_id,)
        )

    async def history(self, workflow_id: str) -> list[HistoryRow]:
        rows = await self._rows(
            """SELECT workflow_id, event_id, task_id, type, at_ms, payload FROM event_execution
            WHERE workflow_id = ? ORDER BY row_version, place""",
            (workflow_id,),
        )
        return [codec.history_from(row) for row in rows]

    async def close(self) -> None:
        await self.database.close()

    def _all(self, statement: str, values: Row | dict[str, Any]) -> list[Row]:
        try:
            return self.database.reader().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.database.path}: {error}") from error

    def _one(self, statement: str, values: Row) -> Row | None:
        rows = self._all(statement, values)
        return rows[0] if rows else None

    async def _rows(self, statement: str, values: Row, *, most: int | None = None) -> list[Row]:
        """Read rows here when they are at most a few, else on the pool."""
        if most is not None and most <= ROWS_INLINE_MAX:
            return self._all(statement, values)
        return await self._read(lambda connection: connection.execute(statement, values).fetchall())

    async def _tasks(self, statement: str, values: Row, *, most: int | None = None) -> list[Task]:
        if most is not None and most <= ROWS_INLINE_MAX:
            return [codec.task_from(row) for row in self._all(statement, values)]
        return await self._read(
            lambda connection: [codec.task_from(row) for row in connection.execute(statement, values)]
        )

    def _here(self, work: Work[T]) -> T:
        """Read a little on the calling thread."""
        try:
            return work(self.database.reader())
        except sqlite3.Error as error:
            raise StoreError(f"{self.database.path}: {error}") from error

    async def _read(self, work: Work[T]) -> T:
        try:
            return await self.database.read(work)
        except sqlite3.Error as error:
            raise StoreError(f"{self.database.path}: {error}") from error


def _execution(connection: sqlite3.Connection, workflow_id: str) -> ExecutionRows | None:
    row = connection.execute(_WORKFLOW_ROW, (workflow_id,)).fetchone()
    if row is None:
        return None
    tasks = f"SELECT {_TASK} FROM task t WHERE t.workflow_id = ? ORDER BY t.seq"  # noqa: S608 - column names of ours
    queue = f"SELECT {_QUEUE} FROM queue WHERE workflow_id = ?"  # noqa: S608 - column names of ours
    entries = map(codec.entry_from, connection.execute(queue, (workflow_id,)))
    return ExecutionRows(
        row=workflow_row(row),
        tasks=[codec.task_from(found) for found in connection.execute(tasks, (workflow_id,))],
        entries={entry.task_id: entry for entry in entries},
    )


class SqliteMetadataStore:
    """MetadataStore in the same file, written by the same thread as the executions.

    Args:
        database: `SqliteExecutionStore.database`, which also closes it.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def put_workflow_def(self, name: str, version: int, body: bytes, *, replace: bool) -> bool:
        kept = "UPDATE SET body = excluded.body" if replace else "NOTHING"
        changed = await self._execute(
            f"""INSERT INTO workflow_def (name, version, body) VALUES (?, ?, ?)
            ON CONFLICT (name, version) DO {kept}""",  # noqa: S608 - one of two texts of ours
            [(name, version, bytes(body))],
        )
        return changed > 0

    async def get_workflow_def(self, name: str, version: int | None = None) -> bytes | None:
        return self._body(queries.workflow_def_body(name, version))

    async def list_workflow_defs(self, name: str | None = None) -> list[bytes]:
        return self._bodies(queries.workflow_def_bodies(name))

    async def delete_workflow_def(self, name: str, version: int) -> bool:
        statement = "DELETE FROM workflow_def WHERE name = ? AND version = ?"
        return await self._execute(statement, [(name, version)]) > 0

    async def put_task_defs(self, defs: Sequence[tuple[str, bytes]]) -> None:
        await self._execute(
            """INSERT INTO task_def (name, body) VALUES (?, ?)
            ON CONFLICT (name) DO UPDATE SET body = excluded.body""",
            [(name, bytes(body)) for name, body in defs],
        )

    async def get_task_def(self, name: str) -> bytes | None:
        return self._body(queries.task_def_body(name))

    async def list_task_defs(self) -> list[bytes]:
        return self._bodies(queries.task_def_bodies())

    async def delete_task_def(self, name: str) -> bool:
        return await self._execute("DELETE FROM task_def WHERE name = ?", [(name,)]) > 0

    async def _execute(self, statement: str, rows: Sequence[Row]) -> int:
        def execute(connection: sqlite3.Connection) -> int:
            return connection.executemany(statement, rows).rowcount

        return await self._database.write(execute)

    def _bodies(self, statement: ClauseElement) -> list[bytes]:
        try:
            return [row[0] for row in self._database.reader().execute(*sql(statement))]
        except sqlite3.Error as error:
            raise StoreError(f"{self._database.path}: {error}") from error

    def _body(self, statement: ClauseElement) -> bytes | None:
        bodies = self._bodies(statement)
        return bodies[0] if bodies else None


def _list(values: Collection[str]) -> str:
    """Any number of values as one parameter: the statement's text, and so its plan, is always the same."""
    return json.dumps(list(values))


def _among(column: str, values: Collection[str] | None) -> tuple[str, Row]:
    if values is None:
        return "", ()
    return f" AND {column} IN (SELECT value FROM json_each(?))", (_list(values),)  # noqa: S608 - column names of ours
