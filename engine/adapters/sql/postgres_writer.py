"""How PostgreSQL writes a group: most of it in one statement, the rest one by one in the same transaction.

The quick way is one statement for all deltas that only add and change (postgres_statement.py). Deltas that
remove, and claims, follow in the same transaction. When a record refuses, the transaction is given up and
done again the careful way, write by write behind savepoints, so that only the one at fault fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import msgspec

from engine.adapters.sql import codec, postgres_claims, postgres_slots
from engine.adapters.sql.postgres_statement import Rows
from engine.core.errors import InvariantError, SlotsTakenError, StoreError, VersionConflictError
from engine.core.records import Delta
from engine.ports.stores import (
    AppendLogs,
    Claim,
    ExtendLease,
    MarkPolls,
    MessagesDone,
    Release,
    Write,
    WriteResult,
)

_CLEAR_WORKFLOWS = (
    # An array, so that no plan begins at the logs, which are many more.
    """DELETE FROM task_log
    WHERE task_id = ANY(ARRAY(SELECT task_id FROM task WHERE workflow_id = ANY($1::text[])))""",
    "DELETE FROM queue WHERE workflow_id = ANY($1::text[])",
    "DELETE FROM timer WHERE workflow_id = ANY($1::text[])",
    "DELETE FROM task WHERE workflow_id = ANY($1::text[])",
)
_FORGET_WORKFLOWS = (
    "DELETE FROM event_execution WHERE workflow_id = ANY($1::text[])",
    "DELETE FROM workflow_payload WHERE workflow_id = ANY($1::text[])",
    "DELETE FROM slot WHERE workflow_id = ANY($1::text[])",
)
_REMOVE_TASKS = (
    "DELETE FROM task_log WHERE task_id = ANY($1::text[])",
    "DELETE FROM queue WHERE task_id = ANY($1::text[])",
)
_REMOVE_TASKS_OF = (
    "DELETE FROM timer WHERE workflow_id = $2 AND key = ANY($1::text[])",
    "DELETE FROM task WHERE workflow_id = $2 AND task_id = ANY($1::text[])",
)
_VERSION = "SELECT row_version FROM workflow WHERE workflow_id = $1 FOR UPDATE"
_DELETE = """DELETE FROM workflow w USING unnest($1::text[], $2::int8[]) AS u(workflow_id, expected)
    WHERE w.workflow_id = u.workflow_id AND w.row_version = u.expected RETURNING w.workflow_id"""
_UPDATE_HEAD = """UPDATE task SET seq = $1, ref = $2, retry_count = $3, base_ref = $4, head = $5
    WHERE task_id = $6"""

# What one record can be at fault for; everything else concerns the whole group.
FAULTS = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    msgspec.MsgspecError,
    OverflowError,
    TypeError,
    ValueError,
    InvariantError,
)
CAME_BETWEEN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.LockNotAvailableError,
)
"""Another transaction came between, nothing was written: the same may go well now."""


def is_alone(group: Sequence[Write]) -> bool:
    """Whether the group is one statement and needs no transaction around it."""
    if len(group) == 1 and isinstance(group[0], ExtendLease | Release):
        return True
    return all(
        _is_plain(write) if isinstance(write, Delta) else isinstance(write, _IN_STATEMENT) for write in group
    )


def _is_plain(delta: Delta) -> bool:
    """It only adds and changes."""
    return not (
        delta.delete
        or delta.remove_all_tasks
        or delta.tasks_removed
        or delta.heads_changed
        or delta.slot is not None
        or delta.slot_freed
    )


async def write_quickly(connection: Any, group: Sequence[Write]) -> list[WriteResult]:
    """Write the group within the caller's transaction, if it needs one.

    Raises:
        One of FAULTS: a record refused; roll back and write carefully.
    """
    results: list[WriteResult] = [None] * len(group)
    await postgres_claims.lock_limits(connection, group)
    await postgres_slots.lock_keys(connection, group)
    rows = Rows()
    # By id, so that two servers that write the same workflows lock them in the same order.
    plain = sorted(
        (write.workflow_id, index)
        for index, write in enumerate(group)
        if isinstance(write, Delta) and _is_plain(write)
    )
    for place, (_, index) in enumerate(plain, start=1):
        _add_delta(rows, place, group[index])  # type: ignore[arg-type]  # Deltas by the condition above
    for write in group:
        _add_other(rows, write)
    if rows.by_part:
        statement, values = rows.statement([workflow_id for workflow_id, _ in plain])
        flags = await connection.fetchval(statement, *values)
        for (_, index), won in zip(plain, flags or (), strict=True):
            results[index] = _outcome(group[index], won=won)  # type: ignore[arg-type]  # as above
    deletions = {i: w for i, w in enumerate(group) if isinstance(w, Delta) and w.delete}
    if deletions:
        gone = await _delete(connection, sorted(deletions.values(), key=lambda delta: delta.workflow_id))
        for index, delta in deletions.items():
            results[index] = _outcome(delta, won=delta.workflow_id in gone)
    for index, write in enumerate(group):
        if isinstance(write, Delta) and not (_is_plain(write) or write.delete):
            results[index] = await _write_special(connection, write)
    for index, write in enumerate(group):
        if not isinstance(write, Delta | _IN_STATEMENT):
            results[index] = await _write_other(connection, write)
    return results


async def write_carefully(connection: Any, group: Sequence[Write]) -> list[WriteResult]:
    """Write the group one by one within the caller's transaction; one at fault leaves nothing."""
    results: list[WriteResult] = [None] * len(group)
    deltas_first = sorted(range(len(group)), key=lambda index: not isinstance(group[index], Delta))
    for index in deltas_first:
        await connection.execute("SAVEPOINT one")
        try:
            [results[index]] = await write_quickly(connection, [group[index]])
        except FAULTS as error:
            await connection.execute("ROLLBACK TO SAVEPOINT one")
            results[index] = _refusal(group[index], error)
        await connection.execute("RELEASE SAVEPOINT one")
    return results


def _refusal(write: Write, error: Exception) -> StoreError:
    subject = f"workflow {write.workflow_id}" if isinstance(write, Delta) else type(write).__name__
    refusal = StoreError(f"{subject}: the store refused the write ({error})")
    refusal.__cause__ = error
    return refusal


def _outcome(delta: Delta, *, won: bool) -> int | VersionConflictError:
    if won:
        return delta.expected_version + 1
    expected = delta.expected_version
    return VersionConflictError(f"workflow {delta.workflow_id} is not at version {expected} any more")


# -------------------------------------------------------------------------------------------- rows
def _add_delta(rows: Rows, place: int, delta: Delta) -> None:
    _add_header(rows, delta)
    _add_members(rows, place, delta)


def _add_header(rows: Rows, delta: Delta) -> None:
    header = delta.header
    name, version, status, correlation_id, parent_id, create_ms = codec.header_columns(header)
    priority, update_ms, end_ms, reason, encoded = codec.header_values(header)
    columns = (
        _sayable(name),
        version,
        status,
        _sayable(correlation_id),
        parent_id,
        create_ms,
        priority,
        update_ms,
        end_ms,
        None if reason is None else _sayable(reason),
        encoded,
    )
    if delta.expected_version == 0:
        rows.add("created", (delta.workflow_id, *columns))
    else:
        rows.add("stepped", (delta.workflow_id, delta.expected_version, *columns))


def _sayable(text: str) -> str:
    """Text as a column can hold it, for searching; the header has it as it is."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _add_members(rows: Rows, place: int, delta: Delta) -> None:
    workflow_id = delta.workflow_id
    _add_payload(rows, place, delta)

    def add(part: str, members: Iterable[Sequence[Any]]) -> None:
        for row in members:
            rows.add(part, (place, *row))

    add("tasks", map(codec.new_task_row, delta.tasks_new))
    changed = {task.id: task for task in delta.tasks_changed}
    add("tasks_changed", (codec.changed_task_row(task, workflow_id) for task in changed.values()))
    # A statement may touch a row once: what is put again anyway is not removed before.
    entries = {entry.task_id: entry for entry in delta.queue_put}
    add("entries_removed", ((key,) for key in dict.fromkeys(delta.queue_removed) if key not in entries))
    add("entries", map(codec.queue_row, entries.values()))
    timers = {timer.key: timer for timer in delta.timers_set}
    cleared = (key for key in dict.fromkeys(delta.timers_cleared) if key not in timers)
    add("timers_cleared", ((workflow_id, key) for key in cleared))
    add("timers", map(codec.timer_row, timers.values()))
    version = delta.expected_version + 1
    add("history", (codec.history_row(row, version, n) for n, row in enumerate(delta.history)))
    add("messages", map(codec.message_row, delta.outbox))


def _add_payload(rows: Rows, place: int, delta: Delta) -> None:
    if delta.definition is not None:
        rows.add("definitions", (place, delta.header.definition_hash, bytes(delta.definition)))
    given = None if delta.input is None else bytes(delta.input)
    output = None if delta.output is None else bytes(delta.output)
    if delta.expected_version == 0:
        rows.add("payloads", (place, delta.workflow_id, given or b"{}", output or b"{}"))
    elif given is not None or output is not None:
        rows.add("payloads_changed", (place, delta.workflow_id, given, output))


_IN_STATEMENT = MessagesDone | AppendLogs | MarkPolls


def _add_other(rows: Rows, write: Write) -> None:
    match write:
        case MessagesDone():
            for message_id in write.message_ids:
                rows.add("messages_done", (message_id,))
        case AppendLogs():
            for line, created_ms in write.lines:
                rows.add("logs", (write.task_id, line.encode(), created_ms))
        case MarkPolls():
            latest: dict[tuple[str, str, str], int] = {
                (row[0], row[1], row[2]): row[3] for row in rows.by_part.get("marks", ())
            }
            for *key, at_ms in write.marks:
                mark = (key[0], key[1], key[2])
                latest[mark] = max(at_ms, latest.get(mark, at_ms))
            if latest:
                rows.by_part["marks"] = [(*mark, at_ms) for mark, at_ms in latest.items()]
        case _:
            pass


async def _delete(connection: Any, deltas: Sequence[Delta]) -> set[str]:
    """Delete workflows together, as many statements for one as for many; gives those that were deleted."""
    versions = [delta.expected_version for delta in deltas]
    found = await connection.fetch(_DELETE, [delta.workflow_id for delta in deltas], versions)
    gone = {row[0] for row in found}
    if gone:
        for statement in (*_CLEAR_WORKFLOWS, *_FORGET_WORKFLOWS):
            await connection.execute(statement, sorted(gone))
    rows = Rows()
    for delta in deltas:
        for message in delta.outbox if delta.workflow_id in gone else ():
            rows.add("messages", (1, *codec.message_row(message)))
    if rows.by_part:
        statement, values = rows.statement([deltas[0].workflow_id])
        await connection.fetchval(statement, *values)
    return gone


# -------------------------------------------------------------------------------------------- one by one
async def _write_special(connection: Any, delta: Delta) -> WriteResult:
    """A delta that removes or has to do with slots; its header first, which keeps others away."""
    if delta.slot is not None:
        version = await connection.fetchval(_VERSION, delta.workflow_id)
        if (version or 0) != delta.expected_version:
            return _outcome(delta, won=False)
        if (taken := await postgres_slots.refusal(connection, delta)) is not None:
            return taken
    header = Rows()
    _add_header(header, delta)
    statement, values = header.statement([delta.workflow_id])
    [won] = await connection.fetchval(statement, *values)
    if not won:
        return _outcome(delta, won=False)
    await postgres_slots.write(connection, delta)
    await _remove(connection, delta)
    rows = Rows()
    _add_members(rows, 1, delta)
    if rows.by_part:
        statement, values = rows.statement([delta.workflow_id])
        await connection.fetchval(statement, *values)
    for task in delta.tasks_changed:
        if task.id in delta.heads_changed:
            await connection.execute(_UPDATE_HEAD, *codec.changed_head_row(task))
    return _outcome(delta, won=True)


async def _remove(connection: Any, delta: Delta) -> None:
    if delta.remove_all_tasks:
        for statement in _CLEAR_WORKFLOWS:
            await connection.execute(statement, [delta.workflow_id])
    if delta.tasks_removed:
        for statement in _REMOVE_TASKS:
            await connection.execute(statement, delta.tasks_removed)
        for statement in _REMOVE_TASKS_OF:
            await connection.execute(statement, delta.tasks_removed, delta.workflow_id)


async def _write_other(connection: Any, write: Claim | ExtendLease | Release) -> WriteResult:
    match write:
        case Claim():
            return await postgres_claims.claim(connection, write)
        case ExtendLease():
            return await postgres_claims.extend(connection, write)
        case Release():
            await postgres_claims.release(connection, write)
            return None
        case _:
            assert_never(write)


__all__ = [
    "CAME_BETWEEN",
    "FAULTS",
    "SlotsTakenError",
    "is_alone",
    "write_carefully",
    "write_quickly",
]
