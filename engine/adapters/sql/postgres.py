"""The production stores' executions: one PostgreSQL for any number of servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
from msgspec import Raw

from engine.adapters.sql import codec, postgres_claims, postgres_slots
from engine.adapters.sql.postgres_connection import (
    DISCONNECTED,
    Pool,
    PostgresDatabase,
    Row,
    meaning,
    unknown,
)
from engine.adapters.sql.postgres_schema import bring_up_to_date
from engine.adapters.sql.postgres_search import PostgresSearch, workflow_row
from engine.adapters.sql.postgres_writer import (
    CAME_BETWEEN,
    FAULTS,
    is_alone,
    write_carefully,
    write_quickly,
)
from engine.core.errors import InvariantError
from engine.core.limits import NO_LIMITS, TaskLimits
from engine.core.records import Delta, HistoryRow, Message, QueueEntry, Task, Timer
from engine.core.statuses import WORKFLOW_ENDED, TaskStatus
from engine.ports.stores import (
    Claim,
    Claimed,
    ExecutionRows,
    PollMark,
    StoredWorkflow,
    WorkflowRow,
    Write,
    WriteResult,
)

ATTEMPTS_MAX = 5
"""How often a group is tried when another server's transaction came between."""
ROWS_SHORT_MAX = 1_000
"""What may give more rows is read on the connections for long reads."""

_TASK = "t.head, t.state, t.links, t.output"
_WORKFLOW_ROW = """SELECT w.header, p.input, p.output FROM workflow w
    JOIN workflow_payload p ON p.workflow_id = w.workflow_id WHERE w.workflow_id = $1"""
_QUEUE = ", ".join(codec.QUEUE_COLUMNS)


# What ended long ago began long ago, too, so the index by status and start leads to it.
_ENDED_BEFORE = """SELECT w.workflow_id FROM workflow w
    WHERE w.status = $1 AND w.create_ms < $2 AND w.end_ms > 0 AND w.end_ms < $2
    AND NOT EXISTS (SELECT 1 FROM workflow p WHERE p.workflow_id = w.parent_workflow_id AND p.end_ms = 0)
    ORDER BY w.create_ms LIMIT $3"""


class PostgresExecutionStore(PostgresSearch):
    """ExecutionStore in a PostgreSQL database. `await PostgresExecutionStore.open(url)` makes one."""

    delta_rows_max: int | None = None
    leases_apart = True

    @classmethod
    async def open(cls, url: str) -> PostgresExecutionStore:
        """Connect, and bring the tables up to date.

        Args:
            url: `postgresql://user:password@host:port/database`; what it leaves out is asked of the usual
                PG... variables.

        Raises:
            StoreError: the database cannot be reached or was written by a newer version.
        """
        await bring_up_to_date(url)
        return cls(PostgresDatabase(url))

    # ------------------------------------------------------------------------------------ writing
    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        workflows = [write.workflow_id for write in group if isinstance(write, Delta)]
        if len(set(workflows)) != len(workflows):
            raise InvariantError("a group has two deltas of one workflow")
        if not group:
            return []
        async with self.database.short.connection() as connection:
            for attempt in range(1, ATTEMPTS_MAX + 1):
                try:
                    return await self._write(connection, group)
                except CAME_BETWEEN as error:
                    if attempt == ATTEMPTS_MAX:
                        raise meaning(error, self.database.where) from error
        raise AssertionError("unreachable")

    async def _write(self, connection: Any, group: Sequence[Write]) -> list[WriteResult]:
        try:
            [first, *more] = group
            if isinstance(first, Claim) and not (more or first.limits):
                claimed = await self._committed(postgres_claims.claim_at_once(connection, first))
                if claimed is not None:
                    return [claimed]
            if is_alone(group):
                results: list[WriteResult] = await self._committed(write_quickly(connection, group))
                return results
            return await self._transact(connection, write_quickly, group)
        except FAULTS:
            return await self._transact(connection, write_carefully, group)

    async def _transact(self, connection: Any, how: Any, group: Sequence[Write]) -> list[WriteResult]:
        """Write in a transaction of several statements."""
        try:
            await connection.execute("BEGIN")
            results: list[WriteResult] = await how(connection, group)
        except BaseException as error:
            with contextlib.suppress(*DISCONNECTED):
                await connection.execute("ROLLBACK")
            if isinstance(error, (*FAULTS, *CAME_BETWEEN, asyncio.CancelledError)):
                raise
            if isinstance(error, (*DISCONNECTED, asyncpg.PostgresError)):
                raise meaning(error, self.database.where) from error
            raise
        await self._committed(connection.execute("COMMIT"))
        return results

    async def _committed(self, work: Any) -> Any:
        """Await what commits: a connection lost in it leaves the outcome open."""
        try:
            return await work
        except (*FAULTS, *CAME_BETWEEN):
            raise
        except DISCONNECTED as error:
            raise unknown(error, self.database.where) from error
        except asyncpg.PostgresError as error:
            raise meaning(error, self.database.where) from error

    # ------------------------------------------------------------------------------------ one workflow
    async def load(self, workflow_id: str) -> StoredWorkflow | None:
        rows = await self._short(
            """SELECT w.header, w.row_version, p.input FROM workflow w
            JOIN workflow_payload p ON p.workflow_id = w.workflow_id WHERE w.workflow_id = $1""",
            workflow_id,
        )
        if not rows:
            return None
        header, row_version, given = rows[0]
        return StoredWorkflow(header=codec.decode_header(header), row_version=row_version, input=Raw(given))

    async def row(self, workflow_id: str) -> WorkflowRow | None:
        rows = await self._short(_WORKFLOW_ROW, workflow_id)
        return workflow_row(rows[0]) if rows else None

    async def execution(self, workflow_id: str) -> ExecutionRows | None:
        tasks = f"SELECT {_TASK} FROM task t WHERE t.workflow_id = $1 ORDER BY t.seq"  # noqa: S608 - column names of ours
        queue = f"SELECT {_QUEUE} FROM queue WHERE workflow_id = $1"  # noqa: S608 - column names of ours
        rows, found, queued = await self.database.short.fetch_together(
            (_WORKFLOW_ROW, tasks, queue), workflow_id
        )
        if not rows:
            return None
        return ExecutionRows(
            row=workflow_row(rows[0]),
            tasks=[codec.task_from(tuple(row)) for row in found],
            entries={entry.task_id: entry for entry in map(codec.entry_from, map(tuple, queued))},
        )

    async def definition(self, definition_hash: str) -> bytes | None:
        rows = await self._short("SELECT body FROM definition WHERE hash = $1", definition_hash)
        return bytes(rows[0][0]) if rows else None

    async def tasks_by_id(self, task_ids: Collection[str]) -> dict[str, Task]:
        tasks = await self._tasks(
            self._pool_for(task_ids),
            f"SELECT {_TASK} FROM task t WHERE t.task_id = ANY($1::text[])",  # noqa: S608 - column names of ours
            list(task_ids),
        )
        return {task.id: task for task in tasks}

    async def latest(self, workflow_id: str, base_refs: Collection[str]) -> dict[str, Task]:
        tasks = await self._tasks(
            self._pool_for(base_refs),
            f"""SELECT {_TASK} FROM unnest($2::text[]) AS j(ref) CROSS JOIN LATERAL (SELECT l.* FROM task l
            WHERE l.workflow_id = $1 AND l.base_ref = j.ref ORDER BY l.seq DESC LIMIT 1) AS t""",  # noqa: S608 - column names of ours
            workflow_id,
            list(base_refs),
        )
        return {task.links.base_ref: task for task in tasks}

    async def by_ref(self, workflow_id: str, refs: Collection[str]) -> dict[str, Task]:
        # `+ 0` has the few attempts of one reference sorted; the planner might walk the workflow by seq.
        tasks = await self._tasks(
            self._pool_for(refs),
            f"""SELECT {_TASK} FROM unnest($2::text[]) AS j(ref) CROSS JOIN LATERAL (SELECT l.* FROM task l
            WHERE l.workflow_id = $1 AND l.ref = j.ref ORDER BY l.seq + 0 DESC LIMIT 1) AS t""",  # noqa: S608 - column names of ours
            workflow_id,
            list(refs),
        )
        return {task.ref: task for task in tasks}

    async def open_tasks(self, workflow_id: str) -> list[Task]:
        return await self._tasks(
            self.database.short,
            f"SELECT {_TASK} FROM task t WHERE t.workflow_id = $1 AND t.open = 1 ORDER BY t.seq",  # noqa: S608 - column names of ours
            workflow_id,
        )

    async def tasks(
        self,
        workflow_id: str,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        statuses: Collection[TaskStatus] | None = None,
    ) -> list[Task]:
        return await self._tasks(
            self.database.short,
            f"""SELECT {_TASK} FROM task t WHERE t.workflow_id = $1 AND t.seq > $2
            AND ($3::text[] IS NULL OR t.status = ANY($3)) ORDER BY t.seq LIMIT $4""",  # noqa: S608 - column names of ours
            workflow_id,
            after_seq,
            _list_or_none(statuses),
            limit,
        )

    async def task_count(self, workflow_id: str, statuses: Collection[TaskStatus] | None = None) -> int:
        [[count]] = await self._short(
            """SELECT count(*) FROM task WHERE workflow_id = $1
            AND ($2::text[] IS NULL OR status = ANY($2))""",
            workflow_id,
            _list_or_none(statuses),
        )
        return int(count)

    async def entries(self, task_ids: Collection[str]) -> dict[str, QueueEntry]:
        rows = await self._short(
            f"SELECT {_QUEUE} FROM queue WHERE task_id = ANY($1::text[])",  # noqa: S608 - column names of ours
            list(task_ids),
        )
        return {entry.task_id: entry for entry in map(codec.entry_from, map(tuple, rows))}

    async def entries_of(self, workflow_id: str) -> dict[str, QueueEntry]:
        rows = await self._short(f"SELECT {_QUEUE} FROM queue WHERE workflow_id = $1", workflow_id)  # noqa: S608 - column names of ours
        return {entry.task_id: entry for entry in map(codec.entry_from, map(tuple, rows))}

    async def history(self, workflow_id: str) -> list[HistoryRow]:
        rows = await self._short(
            """SELECT workflow_id, event_id, task_id, type, at_ms, payload FROM event_execution
            WHERE workflow_id = $1 ORDER BY row_version, place""",
            workflow_id,
        )
        return [codec.history_from(tuple(row)) for row in rows]

    async def logs(self, task_id: str) -> list[tuple[str, int]]:
        rows = await self._short(
            "SELECT line, created_ms FROM task_log WHERE task_id = $1 ORDER BY log_id", task_id
        )
        return [(line.decode(), created_ms) for line, created_ms in rows]

    # ------------------------------------------------------------------------------------ queues
    async def ready(self, queue: str, now_ms: int, limits: TaskLimits = NO_LIMITS) -> bool:
        if limits:
            due_ms = await self.next_due_ms(queue, now_ms, limits)
            return due_ms is not None and due_ms <= now_ms
        rows = await self._short(
            "SELECT 1 FROM queue WHERE queue = $1 AND held = 0 AND due_ms <= $2 LIMIT 1", queue, now_ms
        )
        return bool(rows)

    async def next_due_ms(self, queue: str, now_ms: int = 0, limits: TaskLimits = NO_LIMITS) -> int | None:
        return await postgres_claims.next_due_ms(self.database.short, queue, now_ms, limits)

    async def leased_at(self, queue: str, worker_id: str, at_ms: int) -> list[Claimed]:
        return await postgres_claims.leased_at(self.database.short, queue, worker_id, at_ms)

    async def slots(self, key: str, limit: int) -> tuple[int, list[str]]:
        [[held]] = await self._short(postgres_slots.HELD, key) or [[0]]
        return int(held), [row[0] for row in await self._short(postgres_slots.WAITING, key, limit)]

    async def slot_keys_waited_for(self) -> list[str]:
        return [row[0] for row in await self._short(postgres_slots.KEYS_WAITED_FOR)]

    async def queue_sizes(self, queues: Collection[str] | None = None) -> dict[str, int]:
        rows = await self._long(
            """SELECT queue, count(*) FROM queue WHERE held = 0
            AND ($1::text[] IS NULL OR queue = ANY($1)) GROUP BY queue""",
            _list_or_none(queues),
        )
        return dict.fromkeys(queues or (), 0) | {row[0]: row[1] for row in rows}

    async def queue_detail(self) -> dict[str, tuple[int, int]]:
        rows = await self._long(
            """SELECT queue, count(*) FILTER (WHERE held = 0), count(*) FILTER (WHERE held = 1)
            FROM queue GROUP BY queue"""
        )
        return {queue: (waiting, held) for queue, waiting, held in rows}

    async def poll_marks(self, task_type: str | None = None) -> list[PollMark]:
        rows = await self._short(
            """SELECT task_type, domain, worker_id, at_ms FROM poll_data
            WHERE $1::text IS NULL OR task_type = $1 ORDER BY task_type, domain, worker_id""",
            task_type,
        )
        return [PollMark(task_type=row[0], domain=row[1], worker_id=row[2], at_ms=row[3]) for row in rows]

    # ------------------------------------------------------------------------------------ instants, messages
    async def ended_before(self, at_ms: int, limit: int) -> list[str]:
        found: list[str] = []
        for status in sorted(WORKFLOW_ENDED):
            rows = await self._short(_ENDED_BEFORE, status.value, at_ms, limit - len(found))
            found += [row[0] for row in rows]
        return found

    async def due_timers(self, now_ms: int, limit: int) -> list[Timer]:
        rows = await self._short(
            """SELECT workflow_id, key, kind, due_ms FROM timer WHERE due_ms <= $1
            ORDER BY due_ms, workflow_id, key LIMIT $2""",
            now_ms,
            limit,
        )
        return [codec.timer_from(tuple(row)) for row in rows]

    async def due_deadlines(self, now_ms: int, limit: int) -> list[QueueEntry]:
        rows = await self._short(
            f"""SELECT {_QUEUE} FROM queue WHERE deadline_ms > 0 AND deadline_ms <= $1
            ORDER BY deadline_ms, entry_id LIMIT $2""",  # noqa: S608 - column names of ours
            now_ms,
            limit,
        )
        return [codec.entry_from(tuple(row)) for row in rows]

    async def next_instant_ms(self) -> int | None:
        [[at_ms]] = await self._short(
            """SELECT LEAST((SELECT due_ms FROM timer ORDER BY due_ms LIMIT 1),
            (SELECT deadline_ms FROM queue WHERE deadline_ms > 0 ORDER BY deadline_ms LIMIT 1))"""
        )
        return None if at_ms is None else int(at_ms)

    async def pending_messages(self, limit: int, after_id: str = "") -> list[Message]:
        rows = await self._short(
            """SELECT message_id, kind, target_id, body FROM outbox WHERE message_id > $1
            ORDER BY message_id LIMIT $2""",
            after_id,
            limit,
        )
        return [codec.message_from(tuple(row)) for row in rows]

    async def close(self) -> None:
        await self.database.close()

    # ------------------------------------------------------------------------------------ inside
    async def _short(self, statement: str, *values: Any) -> list[Row]:
        return await self.database.short.fetch(statement, *values)

    async def _long(self, statement: str, *values: Any) -> list[Row]:
        return await self.database.long.fetch(statement, *values)

    def _pool_for(self, keys: Collection[str]) -> Pool:
        return self.database.short if len(keys) <= ROWS_SHORT_MAX else self.database.long

    async def _tasks(self, pool: Pool, statement: str, *values: Any) -> list[Task]:
        return [codec.task_from(tuple(row)) for row in await pool.fetch(statement, *values)]


def _list_or_none(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else list(values)
