"""How SQLite writes a group: deltas first, one statement kind after another, then the rest in order.

A group is written the quick way, each statement kind once for all deltas. When a row refuses (a task
scheduled twice, a changed task that is not there, a value SQLite cannot hold) the transaction is given up
and done again the careful way, delta by delta behind savepoints, so that only the one at fault fails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import assert_never

import msgspec

from engine.adapters.sql import codec, sqlite_claims, sqlite_slots
from engine.adapters.sql.codec import Row
from engine.core.errors import InvariantError, SlotsTakenError, StoreError, VersionConflictError
from engine.core.records import Delta, Lease
from engine.ports.stores import (
    AppendLogs,
    Claim,
    ExtendLease,
    MarkPolls,
    MessagesDone,
    Release,
    Write,
    WriteResult,
    lease_matches,
    released,
)

_QUEUE = ", ".join(codec.QUEUE_COLUMNS)

_CREATE = """INSERT INTO workflow (name, version, status, correlation_id, parent_workflow_id, create_ms,
    priority, update_ms, end_ms, reason, header, workflow_id, row_version)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
    ON CONFLICT (workflow_id) DO NOTHING"""
# The usual step changes no indexed column, and SQLite leaves an index alone only if the statement does not
# name its columns.
_STEP = """UPDATE workflow SET row_version = row_version + 1, priority = ?, update_ms = ?, end_ms = ?,
    reason = ?, header = ?
    WHERE workflow_id = ? AND row_version = ? AND name = ? AND version = ? AND status = ?
    AND correlation_id = ? AND parent_workflow_id = ? AND create_ms = ?"""
_UPDATE = """UPDATE workflow SET row_version = row_version + 1, name = ?, version = ?, status = ?,
    correlation_id = ?, parent_workflow_id = ?, create_ms = ?, priority = ?, update_ms = ?, end_ms = ?,
    reason = ?, header = ?
    WHERE workflow_id = ? AND row_version = ?"""
_DELETE = "DELETE FROM workflow WHERE workflow_id = ? AND row_version = ?"

_INSERT_PAYLOAD = "INSERT INTO workflow_payload (workflow_id, input, output) VALUES (?, ?, ?)"
_UPDATE_INPUT = "UPDATE workflow_payload SET input = ? WHERE workflow_id = ?"
_UPDATE_OUTPUT = "UPDATE workflow_payload SET output = ? WHERE workflow_id = ?"
_INSERT_DEFINITION = "INSERT INTO definition (hash, body) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING"

_CLEAR_WORKFLOW = (
    "DELETE FROM task_log WHERE task_id IN (SELECT task_id FROM task WHERE workflow_id = ?)",
    "DELETE FROM queue WHERE workflow_id = ?",
    "DELETE FROM timer WHERE workflow_id = ?",
    "DELETE FROM task WHERE workflow_id = ?",
)
_FORGET_WORKFLOW = (
    "DELETE FROM event_execution WHERE workflow_id = ?",
    "DELETE FROM workflow_payload WHERE workflow_id = ?",
)
_REMOVE_TASK = (
    "DELETE FROM task_log WHERE task_id = ?",
    "DELETE FROM queue WHERE task_id = ?",
)
_REMOVE_TASK_TIMER = "DELETE FROM timer WHERE workflow_id = ? AND key = ?"
_REMOVE_TASK_ROW = "DELETE FROM task WHERE task_id = ? AND workflow_id = ?"
_INSERT_TASK = f"""INSERT INTO task ({", ".join(codec.NEW_TASK_COLUMNS)})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608 - column names of ours
_UPDATE_TASK = """UPDATE task SET status = ?, open = ?, state = ?, links = ?, output = ?
    WHERE task_id = ? AND workflow_id = ?"""
_UPDATE_HEAD = "UPDATE task SET seq = ?, ref = ?, retry_count = ?, base_ref = ?, head = ? WHERE task_id = ?"
_REMOVE_ENTRY = "DELETE FROM queue WHERE task_id = ?"
_PUT_ENTRY = f"""INSERT OR REPLACE INTO queue ({_QUEUE}, deadline_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608 - column names of ours
_CLEAR_TIMER = "DELETE FROM timer WHERE workflow_id = ? AND key = ?"
_SET_TIMER = "INSERT OR REPLACE INTO timer (workflow_id, key, kind, due_ms) VALUES (?, ?, ?, ?)"
_INSERT_HISTORY = """INSERT INTO event_execution (workflow_id, row_version, place, event_id, task_id, type,
    at_ms, payload)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_MESSAGE = "INSERT INTO outbox (message_id, kind, target_id, body) VALUES (?, ?, ?, ?)"

_ENTRY = f"SELECT {_QUEUE} FROM queue WHERE task_id = ?"  # noqa: S608 - column names of ours
_EXTEND = "UPDATE queue SET update_ms = ?, progress = ?, deadline_ms = ? WHERE task_id = ?"
_RELEASE = """UPDATE queue SET held = 0, worker_id = ?, start_ms = ?, update_ms = ?, poll_count = ?,
    deadline_ms = ? WHERE task_id = ?"""
_MESSAGE_DONE = "DELETE FROM outbox WHERE message_id = ?"
_APPEND_LOG = "INSERT INTO task_log (task_id, line, created_ms) VALUES (?, ?, ?)"
_MARK_POLL = """INSERT INTO poll_data (task_type, domain, worker_id, at_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (task_type, domain, worker_id) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)"""

# What one record can be at fault for; everything else (disk, lock, damage) concerns the whole group.
FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    msgspec.MsgspecError,
    OverflowError,
    TypeError,
    ValueError,
    InvariantError,
)


class RecordAtFaultError(Exception):
    """A record of the group refused; nothing may be kept of this transaction."""


def write_quickly(connection: sqlite3.Connection, group: Sequence[Write]) -> list[WriteResult]:
    """Write the group kind by kind.

    Raises:
        RecordAtFaultError: a record refused; roll back and write carefully.
    """
    try:
        results: list[WriteResult] = [None] * len(group)
        accepted: list[tuple[Delta, int]] = []
        for index, write in enumerate(group):
            if isinstance(write, Delta):
                outcome = results[index] = _write_header(connection, write)
                if isinstance(outcome, int):
                    accepted.append((write, outcome))
        _write_rows(connection, accepted)
        for index, write in enumerate(group):
            if not isinstance(write, Delta):
                results[index] = _write_other(connection, write)
    except FAULTS as error:
        raise RecordAtFaultError from error
    return results


def write_carefully(connection: sqlite3.Connection, group: Sequence[Write]) -> list[WriteResult]:
    """Write the group one by one; one at fault answers StoreError and leaves nothing."""
    results: list[WriteResult] = [None] * len(group)
    deltas_first = sorted(range(len(group)), key=lambda index: not isinstance(group[index], Delta))
    for index in deltas_first:
        write = group[index]
        connection.execute("SAVEPOINT one")
        try:
            if isinstance(write, Delta):
                outcome = results[index] = _write_header(connection, write)
                if isinstance(outcome, int):
                    _write_rows(connection, [(write, outcome)])
            else:
                results[index] = _write_other(connection, write)
        except FAULTS as error:
            connection.execute("ROLLBACK TO one")
            results[index] = _refusal(write, error)
        connection.execute("RELEASE one")
    return results


def _refusal(write: Write, error: Exception) -> StoreError:
    subject = f"workflow {write.workflow_id}" if isinstance(write, Delta) else type(write).__name__
    refusal = StoreError(f"{subject}: the store refused the write ({error})")
    refusal.__cause__ = error
    return refusal


def _write_header(
    connection: sqlite3.Connection, delta: Delta
) -> int | VersionConflictError | SlotsTakenError:
    """Write the workflow row if its version is the expected one; the new version, or why not."""
    header, expected = delta.header, delta.expected_version
    if delta.slot is not None and (taken := sqlite_slots.refusal(connection, delta)) is not None:
        return taken
    key = (delta.workflow_id, expected)
    if delta.delete:
        changed = connection.execute(_DELETE, key).rowcount
    elif expected == 0:
        columns = codec.header_columns(header) + codec.header_values(header)
        changed = connection.execute(_CREATE, (*columns, delta.workflow_id)).rowcount
    else:
        columns, values = codec.header_columns(header), codec.header_values(header)
        changed = connection.execute(_STEP, values + key + columns).rowcount
        if not changed:
            changed = connection.execute(_UPDATE, columns + values + key).rowcount
    if changed:
        if delta.slot is not None or delta.slot_freed or delta.delete:
            sqlite_slots.write(connection, delta)
        return expected + 1
    return VersionConflictError(f"workflow {delta.workflow_id} is not at version {expected} any more")


def _write_rows(connection: sqlite3.Connection, accepted: Sequence[tuple[Delta, int]]) -> None:
    """Write everything but the headers, whose versions are already won. What goes, goes before what comes."""
    deltas = [delta for delta, _ in accepted]
    for delta in deltas:
        if delta.delete or delta.remove_all_tasks or delta.tasks_removed:
            _remove(connection, delta)
    live = [(delta, version) for delta, version in accepted if not delta.delete]
    deltas = [delta for delta, _ in live]
    _write_payloads(connection, deltas)

    def many(statement: str, rows: Iterable[Row]) -> None:
        connection.executemany(statement, rows)

    def each(pick: Callable[[Delta], Iterable[Row]]) -> Iterable[Row]:
        return chain.from_iterable(map(pick, deltas))

    many(_INSERT_TASK, each(lambda d: map(codec.new_task_row, d.tasks_new)))
    _change_tasks(connection, deltas)
    many(_REMOVE_ENTRY, each(lambda d: [(task_id,) for task_id in d.queue_removed]))
    many(_PUT_ENTRY, each(lambda d: map(codec.queue_row, d.queue_put)))
    many(_CLEAR_TIMER, each(lambda d: [(d.workflow_id, key) for key in d.timers_cleared]))
    many(_SET_TIMER, each(lambda d: map(codec.timer_row, d.timers_set)))
    many(
        _INSERT_HISTORY,
        [
            codec.history_row(row, version, place)
            for delta, version in live
            for place, row in enumerate(delta.history)
        ],
    )
    many(_INSERT_MESSAGE, [codec.message_row(m) for delta, _ in accepted for m in delta.outbox])


def _remove(connection: sqlite3.Connection, delta: Delta) -> None:
    workflow_id = delta.workflow_id
    if delta.delete or delta.remove_all_tasks:
        for statement in _CLEAR_WORKFLOW:
            connection.execute(statement, (workflow_id,))
    if delta.delete:
        for statement in _FORGET_WORKFLOW:
            connection.execute(statement, (workflow_id,))
        return
    ids = [(task_id,) for task_id in delta.tasks_removed]
    for statement in _REMOVE_TASK:
        connection.executemany(statement, ids)
    connection.executemany(_REMOVE_TASK_TIMER, [(workflow_id, task_id) for task_id in delta.tasks_removed])
    connection.executemany(_REMOVE_TASK_ROW, [(task_id, workflow_id) for task_id in delta.tasks_removed])


def _write_payloads(connection: sqlite3.Connection, deltas: Sequence[Delta]) -> None:
    for delta in deltas:
        if delta.definition is not None:
            connection.execute(_INSERT_DEFINITION, (delta.header.definition_hash, bytes(delta.definition)))
        if delta.expected_version == 0:
            given, output = delta.input, delta.output
            row = (
                delta.workflow_id,
                b"{}" if given is None else bytes(given),
                b"{}" if output is None else bytes(output),
            )
            connection.execute(_INSERT_PAYLOAD, row)
            continue
        if delta.input is not None:
            connection.execute(_UPDATE_INPUT, (bytes(delta.input), delta.workflow_id))
        if delta.output is not None:
            connection.execute(_UPDATE_OUTPUT, (bytes(delta.output), delta.workflow_id))


def _change_tasks(connection: sqlite3.Connection, deltas: Sequence[Delta]) -> None:
    rows = [
        codec.changed_task_row(task, delta.workflow_id) for delta in deltas for task in delta.tasks_changed
    ]
    if connection.executemany(_UPDATE_TASK, rows).rowcount != len(rows) and rows:
        raise InvariantError("a changed task is not among the workflow's tasks")
    heads = [
        codec.changed_head_row(task)
        for delta in deltas
        if delta.heads_changed
        for task in delta.tasks_changed
        if task.id in delta.heads_changed
    ]
    if heads:
        connection.executemany(_UPDATE_HEAD, heads)


def _write_other(connection: sqlite3.Connection, write: Write) -> WriteResult:
    match write:
        case Claim():
            return sqlite_claims.claim(connection, write)
        case ExtendLease():
            return _extend(connection, write)
        case Release():
            _release(connection, write)
        case MessagesDone():
            connection.executemany(_MESSAGE_DONE, [(message_id,) for message_id in write.message_ids])
        case AppendLogs():
            connection.executemany(_APPEND_LOG, [(write.task_id, *line) for line in write.lines])
        case MarkPolls():
            connection.executemany(_MARK_POLL, write.marks)
        case Delta():
            raise InvariantError("deltas are written before the rest")
        case _:
            assert_never(write)
    return None


def _extend(connection: sqlite3.Connection, extension: ExtendLease) -> bool:
    row = connection.execute(_ENTRY, (extension.task_id,)).fetchone()
    if row is None:
        return False
    entry = codec.entry_from(row)
    lease = entry.lease = entry.lease or Lease()
    lease.update_ms = max(lease.update_ms, extension.now_ms)
    if extension.progress is not None:
        lease.progress = extension.progress
    progress = None if lease.progress is None else bytes(lease.progress)
    connection.execute(_EXTEND, (lease.update_ms, progress, entry.deadline_ms(), extension.task_id))
    return True


def _release(connection: sqlite3.Connection, release: Release) -> None:
    row = connection.execute(_ENTRY, (release.task_id,)).fetchone()
    if row is None:
        return
    entry = codec.entry_from(row)
    if entry.lease is None or not lease_matches(entry.lease, release):
        return
    lease = entry.lease = released(entry.lease)
    connection.execute(
        _RELEASE,
        (
            lease.worker_id,
            lease.start_ms,
            lease.update_ms,
            lease.poll_count,
            entry.deadline_ms(),
            release.task_id,
        ),
    )
