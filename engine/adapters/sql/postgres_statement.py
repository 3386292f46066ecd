"""The one statement that writes a group: a common table expression a kind of row, over arrays of columns.

Each part of it reads its rows from arrays (`unnest`), so its text depends only on which kinds of rows a group
has, not on how many. A row belongs to a delta by the delta's place in the group; `won` tells which deltas met
the version they expected, and rows of the others are left out. All parts see the state before the statement,
so nothing in it may rest on another part's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from engine.adapters.sql import codec

Row = Sequence[Any]

_HEADER = (
    ("name", "text"),
    ("version", "int8"),
    ("status", "text"),
    ("correlation_id", "text"),
    ("parent_workflow_id", "text"),
    ("create_ms", "int8"),
    ("priority", "int8"),
    ("update_ms", "int8"),
    ("end_ms", "int8"),
    ("reason", "text"),
    ("header", "bytea"),
)
_HEADER_NAMES = ", ".join(name for name, _ in _HEADER)
_TASK = (
    ("task_id", "text"),
    ("workflow_id", "text"),
    ("seq", "int8"),
    ("ref", "text"),
    ("retry_count", "int8"),
    ("base_ref", "text"),
    ("status", "text"),
    ("open", "int8"),
    ("head", "bytea"),
    ("state", "bytea"),
    ("links", "bytea"),
    ("output", "bytea"),
    ("task_type", "text"),
    ("def_name", "text"),
)
_TEXT_IN_QUEUE = {"task_id", "workflow_id", "queue", "worker_id", "def_name", "lane"}
_QUEUE = tuple(
    (name, "text" if name in _TEXT_IN_QUEUE else "bytea" if name == "progress" else "int8")
    for name in (*codec.QUEUE_COLUMNS, "deadline_ms")
)
_HISTORY = (
    ("workflow_id", "text"),
    ("row_version", "int8"),
    ("place", "int8"),
    ("event_id", "text"),
    ("task_id", "text"),
    ("type", "text"),
    ("at_ms", "int8"),
    ("payload", "bytea"),
)
_OWN = "WHERE (SELECT flags FROM won)[u.delta]"


def _names(columns: Sequence[tuple[str, str]], prefix: str = "") -> str:
    return ", ".join(prefix + name for name, _ in columns)


def _insert(table: str, columns: Sequence[tuple[str, str]], then: str = "") -> str:
    """An INSERT of rows that lead with their delta's place."""
    return (
        f"INSERT INTO {table} ({_names(columns)}) SELECT {_names(columns, 'u.')} FROM {{rows}} {_OWN} {then}"  # noqa: S608 - names of ours
    )


_DELTA = (("delta", "int4"),)

# name -> (columns of its rows, the statement); {rows} becomes `unnest(...) AS u(...)`. They are written in
# this order. `won` lists the deltas in order, `delta` counts from 1.
PARTS: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "created": (
        (("workflow_id", "text"), *_HEADER),
        f"""INSERT INTO workflow (workflow_id, row_version, {_HEADER_NAMES})
        SELECT u.workflow_id, 1, {_names(_HEADER, "u.")} FROM {{rows}}
        ON CONFLICT (workflow_id) DO NOTHING RETURNING workflow_id""",  # noqa: S608 - names of ours
    ),
    "stepped": (
        (("workflow_id", "text"), ("expected", "int8"), *_HEADER),
        f"""UPDATE workflow w SET row_version = u.expected + 1,
        {", ".join(f"{name} = u.{name}" for name, _ in _HEADER)} FROM {{rows}}
        WHERE w.workflow_id = u.workflow_id AND w.row_version = u.expected RETURNING w.workflow_id""",  # noqa: S608 - names of ours
    ),
    "definitions": (
        (*_DELTA, ("hash", "text"), ("body", "bytea")),
        _insert("definition", (("hash", ""), ("body", "")), "ON CONFLICT (hash) DO NOTHING"),
    ),
    "payloads": (
        (*_DELTA, ("workflow_id", "text"), ("input", "bytea"), ("output", "bytea")),
        _insert("workflow_payload", (("workflow_id", ""), ("input", ""), ("output", ""))),
    ),
    "payloads_changed": (
        (*_DELTA, ("workflow_id", "text"), ("input", "bytea"), ("output", "bytea")),
        f"""UPDATE workflow_payload p SET input = COALESCE(u.input, p.input),
        output = COALESCE(u.output, p.output) FROM {{rows}} {_OWN} AND p.workflow_id = u.workflow_id""",  # noqa: S608 - texts of ours
    ),
    "tasks": ((*_DELTA, *_TASK), _insert("task", _TASK)),
    "tasks_changed": (
        (
            *_DELTA,
            ("status", "text"),
            ("open", "int8"),
            ("state", "bytea"),
            ("links", "bytea"),
            ("output", "bytea"),
            ("task_id", "text"),
            ("workflow_id", "text"),
        ),
        f"""UPDATE task t SET status = u.status, open = u.open, state = u.state, links = u.links,
        output = u.output FROM {{rows}}
        {_OWN} AND t.task_id = u.task_id AND t.workflow_id = u.workflow_id RETURNING 1""",  # noqa: S608 - texts of ours
    ),
    "entries_removed": (
        (*_DELTA, ("task_id", "text")),
        f"DELETE FROM queue q USING {{rows}} {_OWN} AND q.task_id = u.task_id",  # noqa: S608 - names of ours
    ),
    "entries": (
        (*_DELTA, *_QUEUE),
        _insert(
            "queue",
            _QUEUE,
            "ON CONFLICT (task_id) DO UPDATE SET entry_id = excluded.entry_id, "
            + ", ".join(f"{name} = excluded.{name}" for name, _ in _QUEUE if name != "task_id"),
        ),
    ),
    "timers_cleared": (
        (*_DELTA, ("workflow_id", "text"), ("key", "text")),
        f"DELETE FROM timer t USING {{rows}} {_OWN} AND t.workflow_id = u.workflow_id AND t.key = u.key",  # noqa: S608 - names of ours
    ),
    "timers": (
        (*_DELTA, ("workflow_id", "text"), ("key", "text"), ("kind", "text"), ("due_ms", "int8")),
        _insert(
            "timer",
            (("workflow_id", ""), ("key", ""), ("kind", ""), ("due_ms", "")),
            "ON CONFLICT (workflow_id, key) DO UPDATE SET kind = excluded.kind, due_ms = excluded.due_ms",
        ),
    ),
    "history": ((*_DELTA, *_HISTORY), _insert("event_execution", _HISTORY)),
    "messages": (
        (*_DELTA, ("message_id", "text"), ("kind", "text"), ("target_id", "text"), ("body", "bytea")),
        _insert("outbox", (("message_id", ""), ("kind", ""), ("target_id", ""), ("body", ""))),
    ),
    "messages_done": (
        (("message_id", "text"),),
        "DELETE FROM outbox o USING {rows} WHERE o.message_id = u.message_id",
    ),
    "logs": (
        (("task_id", "text"), ("line", "bytea"), ("created_ms", "int8")),
        """INSERT INTO task_log (task_id, line, created_ms)
        SELECT u.task_id, u.line, u.created_ms FROM {rows}""",
    ),
    "marks": (
        (("task_type", "text"), ("domain", "text"), ("worker_id", "text"), ("at_ms", "int8")),
        """INSERT INTO poll_data (task_type, domain, worker_id, at_ms)
        SELECT u.task_type, u.domain, u.worker_id, u.at_ms FROM {rows}
        ON CONFLICT (task_type, domain, worker_id)
        DO UPDATE SET at_ms = GREATEST(poll_data.at_ms, excluded.at_ms)""",
    ),
}
HEADERS = frozenset({"created", "stepped"})


class Rows:
    """The rows of a statement, by part; rows of one part are tuples in the order of its columns."""

    def __init__(self) -> None:
        self.by_part: dict[str, list[Row]] = {}

    def add(self, part: str, row: Row) -> None:
        rows = self.by_part.get(part)
        if rows is None:
            rows = self.by_part[part] = []
        rows.append(row)

    def statement(self, workflow_ids: Sequence[str]) -> tuple[str, list[Any]]:
        """The text and its parameters. The one row it gives is a list of flags: which deltas won.

        Args:
            workflow_ids: the deltas' workflows in the order of their places. Without header rows all of them
                count as won.
        """
        parts = tuple(part for part in PARTS if part in self.by_part)
        values: list[Any] = [list(workflow_ids)]
        for part in parts:
            values.extend(map(list, zip(*self.by_part[part], strict=True)))
        return _text(parts), values


@cache
def _text(parts: tuple[str, ...]) -> str:
    number = 1
    expressions: dict[str, str] = {}
    arrays: dict[str, str] = {}
    for part in parts:
        columns, text = PARTS[part]
        given = []
        for _, kind in columns:
            number += 1
            given.append(f"${number}::{kind}[]")
        arrays[part] = given[0]
        rows = f"unnest({', '.join(given)}) AS u({', '.join(name for name, _ in columns)})"
        expressions[part] = text.replace("{rows}", rows)
    headers = [part for part in parts if part in HEADERS]
    met = "true"
    if headers:
        ids = " UNION ALL ".join(f"SELECT workflow_id FROM {part}" for part in headers)  # noqa: S608 - names of ours
        met = f"o.id IN ({ids})"
    won = f"""SELECT array_agg({met} ORDER BY o.place) AS flags
        FROM unnest($1::text[]) WITH ORDINALITY AS o(id, place)"""  # noqa: S608 - names of ours
    answer = "(SELECT flags FROM won)"
    if "tasks_changed" in parts:
        # A changed task that is not there makes the statement fail, by a division by zero.
        answer = f"""CASE WHEN 1 / (CASE WHEN (SELECT count(*) FROM tasks_changed) =
            (SELECT count(*) FROM unnest({arrays["tasks_changed"]}) AS u(delta) {_OWN})
            THEN 1 ELSE 0 END) = 1 THEN {answer} END"""  # noqa: S608 - texts of ours
    expressions = {part: expressions[part] for part in headers} | {"won": won} | expressions
    body = ",\n".join(f"{part} AS ({text})" for part, text in expressions.items())
    return f"WITH {body}\nSELECT {answer}"
