"""How SQLite claims: lanes in turn, limits counted from the rows themselves, and when to look again.

An ordinary queue is one lane, and costs a few short index searches. Each statement finds its place in
ix_queue_claim and reads no row it does not give, however many wait.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator

from engine.adapters.sql import codec
from engine.adapters.sql.codec import Row
from engine.core.limits import TaskLimit, TaskLimits, Turns, window_opens_ms
from engine.ports.stores import Claim, Claimed, leased

# The lanes that have an unheld entry, found by hopping from one to the next in the index.
_LANES_CTE = """WITH RECURSIVE part(lane) AS (
    SELECT min(lane) FROM queue WHERE queue = :queue AND held = 0
    UNION ALL
    SELECT (SELECT min(q.lane) FROM queue q WHERE q.queue = :queue AND q.held = 0 AND q.lane > part.lane)
    FROM part WHERE part.lane IS NOT NULL)"""
_ENDS = """SELECT
    (SELECT lane FROM queue WHERE queue = :queue AND held = 0 ORDER BY lane LIMIT 1),
    (SELECT lane FROM queue WHERE queue = :queue AND held = 0 ORDER BY lane DESC LIMIT 1)"""
_TOPS = f"""{_LANES_CTE}
    SELECT lane, (SELECT max(q.priority) FROM queue q
        WHERE q.queue = :queue AND q.held = 0 AND q.lane = part.lane)
    FROM part WHERE lane IS NOT NULL"""  # noqa: S608 - texts of ours
# One priority at a time: within it the index has the due ones first, so a claim never walks past what is not
# due yet.
_NEXT_PRIORITY = """SELECT max(priority) FROM queue
    WHERE queue = ? AND held = 0 AND lane = ? AND priority < ?"""
_DUE = f"""SELECT q.entry_id, {", ".join("q." + name for name in codec.QUEUE_COLUMNS)},
    t.head, t.state, t.links, t.output
    FROM queue q LEFT JOIN task t ON t.task_id = q.task_id
    WHERE q.queue = ? AND q.held = 0 AND q.lane = ? AND q.priority = ? AND q.due_ms <= ?
    ORDER BY q.due_ms, q.entry_id LIMIT ? OFFSET ?"""  # noqa: S608 - column names of ours
_LEASE = """UPDATE queue SET held = 1, worker_id = ?, start_ms = ?, update_ms = ?, poll_count = ?,
    deadline_ms = ? WHERE entry_id = ?"""

_LEVELS_CTE = """, level(lane, priority) AS (
    SELECT part.lane, (SELECT max(q.priority) FROM queue q
        WHERE q.queue = :queue AND q.held = 0 AND q.lane = part.lane)
    FROM part WHERE part.lane IS NOT NULL
    UNION ALL
    SELECT level.lane, (SELECT max(q.priority) FROM queue q
        WHERE q.queue = :queue AND q.held = 0 AND q.lane = level.lane AND q.priority < level.priority)
    FROM level WHERE level.priority IS NOT NULL)"""
_DUE_MS_OF_LEVEL = """(SELECT q.due_ms FROM queue q
    WHERE q.queue = :queue AND q.held = 0 AND q.lane = level.lane AND q.priority = level.priority
    ORDER BY q.due_ms LIMIT 1)"""
_DUE_MS = f"{_LANES_CTE}{_LEVELS_CTE} SELECT min({_DUE_MS_OF_LEVEL}) FROM level"  # noqa: S608 - texts of ours
_DUE_MS_BY_LANE = f"""{_LANES_CTE}{_LEVELS_CTE} SELECT lane, min({_DUE_MS_OF_LEVEL}) FROM level
    WHERE priority IS NOT NULL GROUP BY lane"""  # noqa: S608 - texts of ours

_DEFINITION_OF_LANE = "SELECT def_name FROM queue WHERE queue = ? AND held = 0 AND lane = ? LIMIT 1"
_HELD = "SELECT count(*) FROM (SELECT 1 FROM queue WHERE def_name = ? AND held = 1 LIMIT ?)"
_DELIVERED = "SELECT at_ms, tasks FROM delivery WHERE def_name = ? AND at_ms > ? ORDER BY at_ms DESC"
_DELIVERED_SUM = "SELECT coalesce(sum(tasks), 0) FROM delivery WHERE def_name = ? AND at_ms > ?"
_FORGET_DELIVERIES = "DELETE FROM delivery WHERE def_name = ? AND at_ms <= ?"
_NOTE_DELIVERIES = "INSERT INTO delivery (def_name, at_ms, tasks) VALUES (?, ?, ?)"
_LEASED_AT = f"""SELECT {", ".join("q." + name for name in codec.QUEUE_COLUMNS)},
    t.head, t.state, t.links, t.output
    FROM queue q JOIN task t ON t.task_id = q.task_id
    WHERE q.held = 1 AND q.queue = ? AND q.worker_id = ? AND q.update_ms = ?
    ORDER BY q.entry_id"""  # noqa: S608 - column names of ours

_PRIORITY_ABOVE_ALL = 2**62
_COLUMNS = len(codec.QUEUE_COLUMNS)


class _Rooms:
    """How many more tasks of each limited definition this claim may lease."""

    def __init__(self, connection: sqlite3.Connection, claim: Claim) -> None:
        self._connection = connection
        self._claim = claim
        self._rooms: dict[str, int] = {}
        self._taken: Counter[str] = Counter()

    def any_for(self, def_name: str) -> bool:
        limit = self._claim.limits.get(def_name)
        if limit is None:
            return True
        if def_name not in self._rooms:
            self._rooms[def_name] = self._room(def_name, limit)
        return self._rooms[def_name] > self._taken[def_name]

    def note(self, def_name: str) -> None:
        """One goes."""
        if def_name in self._rooms:
            self._taken[def_name] += 1

    def write(self) -> None:
        """Note the deliveries made."""
        now_ms = self._claim.now_ms
        for def_name, tasks in self._taken.items():
            if not self._claim.limits[def_name].deliveries_max:
                continue
            past_ms = now_ms - self._claim.limits[def_name].window_ms
            self._connection.execute(_FORGET_DELIVERIES, (def_name, past_ms))
            self._connection.execute(_NOTE_DELIVERIES, (def_name, now_ms, tasks))

    def _room(self, def_name: str, limit: TaskLimit) -> int:
        count = self._claim.count
        if limit.held_max:
            [held] = self._connection.execute(_HELD, (def_name, limit.held_max)).fetchone()
            count = min(count, limit.held_max - held)
        if limit.deliveries_max:
            since_ms = self._claim.now_ms - limit.window_ms
            [made] = self._connection.execute(_DELIVERED_SUM, (def_name, since_ms)).fetchone()
            count = min(count, limit.deliveries_max - made)
        return count


def claim(connection: sqlite3.Connection, wanted: Claim) -> list[Claimed]:
    """Do a Claim within the caller's transaction."""
    lane, last = connection.execute(_ENDS, {"queue": wanted.queue}).fetchone()
    if lane is None:
        return []
    if lane == last and not wanted.limits:
        return _lease(connection, wanted, _of_one_lane(connection, wanted, lane))
    rooms = _Rooms(connection, wanted)
    rows = _of_lanes(connection, wanted, rooms)
    rooms.write()
    return _lease(connection, wanted, rows)


def _of_one_lane(connection: sqlite3.Connection, wanted: Claim, lane: str) -> list[Row]:
    """What an ordinary queue gives."""
    rows: list[Row] = []
    priority = _PRIORITY_ABOVE_ALL
    while len(rows) < wanted.count:
        [priority] = connection.execute(_NEXT_PRIORITY, (wanted.queue, lane, priority)).fetchone()
        if priority is None:
            break
        missing = wanted.count - len(rows)
        values = (wanted.queue, lane, priority, wanted.now_ms, missing, 0)
        rows += connection.execute(_DUE, values).fetchall()
    return rows


def _of_lanes(connection: sqlite3.Connection, wanted: Claim, rooms: _Rooms) -> list[Row]:
    """What lanes give in turn, as far as their definitions have room."""
    tops: dict[str, int] = dict(connection.execute(_TOPS, {"queue": wanted.queue}).fetchall())
    names = list(tops)
    first = wanted.turn % len(names)
    in_turn = names[first:] + names[:first]
    definitions = dict.fromkeys(names, "")
    if wanted.limits:
        for lane in names:
            [definitions[lane]] = connection.execute(_DEFINITION_OF_LANE, (wanted.queue, lane)).fetchone()
            if not rooms.any_for(definitions[lane]):
                del tops[lane]
    rows: list[Row] = []
    while tops and len(rows) < wanted.count:
        priority = max(tops.values())
        lanes = [lane for lane in in_turn if tops.get(lane) == priority]
        missing = wanted.count - len(rows)
        page = -(-missing // len(lanes))
        turns = Turns(
            ((definitions[lane], _due(connection, wanted, lane, priority, page)) for lane in lanes),
            rooms.any_for,
        )
        for def_name, row in turns.take(missing):
            rooms.note(def_name)
            rows.append(row)
        for lane in lanes if len(rows) < wanted.count else ():
            [below] = connection.execute(_NEXT_PRIORITY, (wanted.queue, lane, priority)).fetchone()
            if below is None:
                del tops[lane]
            else:
                tops[lane] = below
    return rows


def _due(connection: sqlite3.Connection, wanted: Claim, lane: str, priority: int, page: int) -> Iterator[Row]:
    """The due entries of one lane and priority, in order, read a page at a time."""
    offset = 0
    while True:
        values = (wanted.queue, lane, priority, wanted.now_ms, page, offset)
        rows = connection.execute(_DUE, values).fetchall()
        yield from rows
        if len(rows) < page:
            return
        offset += page


def _lease(connection: sqlite3.Connection, wanted: Claim, rows: list[Row]) -> list[Claimed]:
    claimed: list[Claimed] = []
    leases: list[Row] = []
    for row in rows:
        entry = codec.entry_from(row[1 : 1 + _COLUMNS])
        now = entry.lease = leased(entry.lease, wanted)
        leases.append(
            (now.worker_id, now.start_ms, now.update_ms, now.poll_count, entry.deadline_ms(), row[0])
        )
        if row[1 + _COLUMNS] is not None:
            claimed.append(Claimed(task=codec.task_from(row[1 + _COLUMNS :]), entry=entry))
    connection.executemany(_LEASE, leases)
    return claimed


def next_due_ms(connection: sqlite3.Connection, queue: str, now_ms: int, limits: TaskLimits) -> int | None:
    """What the store's `next_due_ms` promises."""
    [due_ms] = connection.execute(_DUE_MS, {"queue": queue}).fetchone()
    if due_ms is None or not limits:
        return None if due_ms is None else int(due_ms)
    instants = []
    for lane, lane_due_ms in connection.execute(_DUE_MS_BY_LANE, {"queue": queue}).fetchall():
        row = connection.execute(_DEFINITION_OF_LANE, (queue, lane)).fetchone()
        limit = limits.get(row[0]) if row is not None else None
        if limit is None:
            instants.append(lane_due_ms)
            continue
        opens_ms = _opens_ms(connection, row[0], limit, now_ms)
        if opens_ms is not None:
            instants.append(max(lane_due_ms, opens_ms))
    return min(instants, default=None)


def _opens_ms(connection: sqlite3.Connection, def_name: str, limit: TaskLimit, now_ms: int) -> int | None:
    """When the limit lets something go: None = when a held task ends, 0 = now."""
    if limit.held_max:
        [held] = connection.execute(_HELD, (def_name, limit.held_max)).fetchone()
        if held >= limit.held_max:
            return None
    if not limit.deliveries_max:
        return 0
    return window_opens_ms(connection.execute(_DELIVERED, (def_name, now_ms - limit.window_ms)), limit)


def leased_at(connection: sqlite3.Connection, queue: str, worker_id: str, at_ms: int) -> list[Claimed]:
    """What the store's `leased_at` promises."""
    rows = connection.execute(_LEASED_AT, (queue, worker_id, at_ms)).fetchall()
    return [
        Claimed(task=codec.task_from(row[_COLUMNS:]), entry=codec.entry_from(row[:_COLUMNS])) for row in rows
    ]
