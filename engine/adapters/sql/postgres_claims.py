"""How PostgreSQL claims: rows that another server is claiming are skipped, not waited for.

An ordinary queue is one lane and is claimed by one statement. Lanes and limits take a few more; servers that
count against one limit do so one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.adapters.sql import codec
from engine.adapters.sql.postgres_locks import lock
from engine.core.limits import TaskLimit, TaskLimits, Turns, window_opens_ms
from engine.ports.stores import Claim, Claimed, ExtendLease, Release, Write

Row = Sequence[Any]

_Q = ", ".join("q." + name for name in codec.QUEUE_COLUMNS)
_QUEUE = ", ".join(codec.QUEUE_COLUMNS)
_COLUMNS = len(codec.QUEUE_COLUMNS)


def _deadline(held: str, start_ms: str, update_ms: str) -> str:
    """QueueEntry.deadline_ms() as SQL; LEAST passes over NULLs."""
    return f"""COALESCE(LEAST(NULLIF(total_by_ms, 0),
        CASE WHEN {held} = 1 AND response_ms > 0 THEN {update_ms} + response_ms END,
        CASE WHEN {start_ms} > 0 AND run_ms > 0 THEN {start_ms} + run_ms END,
        CASE WHEN {held} = 0 THEN NULLIF(poll_by_ms, 0) END), 0)"""


_FIRST = "(CASE WHEN start_ms = 0 THEN $4::int8 ELSE start_ms END)"
_LEASE = f"""UPDATE queue q SET held = 1, worker_id = $3, start_ms = {_FIRST}, update_ms = $4::int8,
    poll_count = poll_count + 1, deadline_ms = {_deadline("1", _FIRST, "$4::int8")}"""  # noqa: S608 - texts of ours
# A claim of a queue that is one lane. `lanes` is true when there are others: nothing is claimed then.
_CLAIM = f"""WITH lanes AS (
        SELECT EXISTS (SELECT 1 FROM queue WHERE queue = $1 AND held = 0 AND lane > '') AS more),
    due AS (
        SELECT entry_id FROM queue
        WHERE queue = $1 AND held = 0 AND lane = '' AND due_ms <= $4::int8
        AND NOT (SELECT more FROM lanes)
        ORDER BY priority DESC, due_ms, entry_id LIMIT $2 FOR UPDATE SKIP LOCKED),
    taken AS ({_LEASE} FROM due WHERE q.entry_id = due.entry_id RETURNING q.entry_id, {_Q})
    SELECT lanes.more, q.entry_id, {_Q}, t.head, t.state, t.links, t.output
    FROM lanes LEFT JOIN taken q ON true LEFT JOIN task t ON t.task_id = q.task_id
    ORDER BY q.priority DESC, q.due_ms, q.entry_id"""  # noqa: S608 - names of ours
_LEASE_THESE = f"""WITH taken AS ({_LEASE} FROM unnest($1::int8[]) AS due(entry_id)
        WHERE q.entry_id = due.entry_id AND q.queue = $2 RETURNING q.entry_id, {_Q})
    SELECT q.entry_id, {_Q}, t.head, t.state, t.links, t.output
    FROM taken q LEFT JOIN task t ON t.task_id = q.task_id"""  # noqa: S608 - names of ours

# Lanes are found by hopping from one to the next in the index.
_LANES_CTE = """WITH RECURSIVE part(lane) AS (
    (SELECT lane FROM queue WHERE queue = $1 AND held = 0 ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT q.lane FROM queue q
        WHERE q.queue = $1 AND q.held = 0 AND q.lane > part.lane ORDER BY q.lane LIMIT 1)
    FROM part WHERE part.lane IS NOT NULL)"""
_TOP = """(SELECT q.priority FROM queue q WHERE q.queue = $1 AND q.held = 0 AND q.lane = part.lane
    ORDER BY q.priority DESC LIMIT 1)"""
_DEFINITION = """(SELECT q.def_name FROM queue q
    WHERE q.queue = $1 AND q.held = 0 AND q.lane = part.lane LIMIT 1)"""
_TOPS = f"SELECT lane, {_TOP}, {_DEFINITION} FROM part WHERE lane IS NOT NULL"  # noqa: S608 - texts of ours
_LANES = f"{_LANES_CTE} {_TOPS}"
_NEXT_PRIORITY = """SELECT priority FROM queue WHERE queue = $1 AND held = 0 AND lane = $2 AND priority < $3
    ORDER BY priority DESC LIMIT 1"""
_DUE = """SELECT entry_id FROM queue
    WHERE queue = $1 AND held = 0 AND lane = $2 AND priority = $3 AND due_ms <= $4
    ORDER BY due_ms, entry_id LIMIT $5 FOR UPDATE SKIP LOCKED"""
_LEVELS_CTE = f"""{_LANES_CTE}, level(lane, priority) AS (
    SELECT part.lane, {_TOP} FROM part WHERE part.lane IS NOT NULL
    UNION ALL
    SELECT level.lane, (SELECT q.priority FROM queue q WHERE q.queue = $1 AND q.held = 0
        AND q.lane = level.lane AND q.priority < level.priority ORDER BY q.priority DESC LIMIT 1)
    FROM level WHERE level.priority IS NOT NULL)"""  # noqa: S608 - texts of ours
DUE_MS_BY_LANE = f"""{_LEVELS_CTE} SELECT lane, min((SELECT q.due_ms FROM queue q
        WHERE q.queue = $1 AND q.held = 0 AND q.lane = level.lane AND q.priority = level.priority
        ORDER BY q.due_ms LIMIT 1)),
    (SELECT q.def_name FROM queue q WHERE q.queue = $1 AND q.held = 0 AND q.lane = level.lane LIMIT 1)
    FROM level WHERE priority IS NOT NULL GROUP BY lane"""  # noqa: S608 - texts of ours

_HELD = "SELECT count(*) FROM (SELECT 1 FROM queue WHERE def_name = $1 AND held = 1 LIMIT $2) AS few"
_DELIVERED = "SELECT at_ms, tasks FROM delivery WHERE def_name = $1 AND at_ms > $2 ORDER BY at_ms DESC"
_DELIVERED_SUM = "SELECT COALESCE(sum(tasks), 0) FROM delivery WHERE def_name = $1 AND at_ms > $2"
_FORGET_DELIVERIES = "DELETE FROM delivery WHERE def_name = $1 AND at_ms <= $2"
_NOTE_DELIVERIES = "INSERT INTO delivery (def_name, at_ms, tasks) VALUES ($1, $2, $3)"

_LATER = "GREATEST(update_ms, $2::int8)"
_EXTEND = f"""UPDATE queue SET update_ms = {_LATER}, progress = COALESCE($3::bytea, progress),
    deadline_ms = {_deadline("held", "start_ms", _LATER)} WHERE task_id = $1 RETURNING 1"""  # noqa: S608 - names of ours
_HAD = "(CASE WHEN poll_count <= 1 THEN 0 ELSE start_ms END)"
_RELEASE = f"""UPDATE queue SET held = 0,
    worker_id = CASE WHEN poll_count <= 1 THEN '' ELSE worker_id END, start_ms = {_HAD},
    update_ms = CASE WHEN poll_count <= 1 THEN 0 ELSE update_ms END,
    poll_count = GREATEST(poll_count - 1, 0), deadline_ms = {_deadline("0", _HAD, "0")}
    WHERE task_id = $1 AND held = 1 AND ($2::int8 IS NULL OR update_ms = $2)"""  # noqa: S608 - names of ours
_LEASED_AT = f"""SELECT {_Q}, t.head, t.state, t.links, t.output
    FROM queue q JOIN task t ON t.task_id = q.task_id
    WHERE q.held = 1 AND q.queue = $1 AND q.worker_id = $2 AND q.update_ms = $3
    ORDER BY q.entry_id"""  # noqa: S608 - names of ours


async def lock_limits(connection: Any, group: Sequence[Write]) -> None:
    """Take the locks of all limits that the group's claims count against."""
    names = {name for write in group if isinstance(write, Claim) for name in write.limits}
    await lock(connection, "limit", names)


async def claim(connection: Any, wanted: Claim) -> list[Claimed]:
    """Do a Claim within the caller's transaction, its limits locked."""
    if not wanted.limits and (claimed := await claim_at_once(connection, wanted)) is not None:
        return claimed
    return await _claim_in_turn(connection, wanted)


async def claim_at_once(connection: Any, wanted: Claim) -> list[Claimed] | None:
    """Do a Claim without limits in one statement; None, and nothing is leased, when the queue has lanes."""
    rows = await connection.fetch(_CLAIM, wanted.queue, wanted.count, wanted.worker_id, wanted.now_ms)
    if rows[0][0]:
        return None
    return [_claimed(row[2:]) for row in rows if row[1] is not None and row[2 + _COLUMNS] is not None]


def _claimed(row: Row) -> Claimed:
    row = tuple(row)
    return Claimed(task=codec.task_from(row[_COLUMNS:]), entry=codec.entry_from(row[:_COLUMNS]))


class _Rooms:
    """How many more tasks of each limited definition this claim may lease."""

    def __init__(self, left: dict[str, int]) -> None:
        self._left = left
        self.taken: dict[str, int] = {}

    def take(self, def_name: str) -> bool:
        """Use one of the definition's places; False when there is none."""
        left = self._left.get(def_name)
        if left is None:
            return True
        self._left[def_name] = left - 1
        return left > 0

    def note(self, def_name: str) -> None:
        self.taken[def_name] = self.taken.get(def_name, 0) + 1


async def _claim_in_turn(connection: Any, wanted: Claim) -> list[Claimed]:
    found = await connection.fetch(_LANES, wanted.queue)
    tops = {row[0]: row[1] for row in found if row[1] is not None}
    definitions = {row[0]: row[2] for row in found}
    if not tops:
        return []
    names = list(tops)
    first = wanted.turn % len(names)
    in_turn = names[first:] + names[:first]
    rooms = _Rooms(await _left(connection, wanted, set(definitions.values())))
    chosen: list[int] = []
    while tops and len(chosen) < wanted.count:
        priority = max(tops.values())
        lanes = [lane for lane in in_turn if tops.get(lane) == priority]
        missing = wanted.count - len(chosen)
        due: list[tuple[str, Iterator[int]]] = []
        for lane in lanes:
            values = (wanted.queue, lane, priority, wanted.now_ms, missing)
            rows = await connection.fetch(_DUE, *values)
            due.append((definitions[lane], iter([row[0] for row in rows])))
        for def_name, entry_id in Turns(due, rooms.take).take(missing):
            rooms.note(def_name)
            chosen.append(entry_id)
        for lane in lanes if len(chosen) < wanted.count else ():
            below = await connection.fetchval(_NEXT_PRIORITY, wanted.queue, lane, priority)
            if below is None:
                del tops[lane]
            else:
                tops[lane] = below
    await _note_deliveries(connection, wanted, rooms.taken)
    if not chosen:
        return []
    rows = await connection.fetch(_LEASE_THESE, chosen, wanted.queue, wanted.worker_id, wanted.now_ms)
    by_id = {row[0]: row for row in rows}
    leased_rows = [by_id[entry_id] for entry_id in chosen if entry_id in by_id]
    return [_claimed(row[1:]) for row in leased_rows if row[1 + _COLUMNS] is not None]


async def _left(connection: Any, wanted: Claim, def_names: set[str]) -> dict[str, int]:
    left: dict[str, int] = {}
    for def_name in def_names & set(wanted.limits):
        limit, count = wanted.limits[def_name], wanted.count
        if limit.held_max:
            held = await connection.fetchval(_HELD, def_name, limit.held_max)
            count = min(count, limit.held_max - held)
        if limit.deliveries_max:
            since_ms = wanted.now_ms - limit.window_ms
            made = int(await connection.fetchval(_DELIVERED_SUM, def_name, since_ms))
            count = min(count, limit.deliveries_max - made)
        left[def_name] = count
    return left


async def _note_deliveries(connection: Any, wanted: Claim, taken: dict[str, int]) -> None:
    for def_name, tasks in taken.items():
        limit = wanted.limits.get(def_name)
        if limit is not None and limit.deliveries_max:
            await connection.execute(_FORGET_DELIVERIES, def_name, wanted.now_ms - limit.window_ms)
            await connection.execute(_NOTE_DELIVERIES, def_name, wanted.now_ms, tasks)


async def extend(connection: Any, extension: ExtendLease) -> bool:
    """Do an ExtendLease within the caller's transaction."""
    progress = None if extension.progress is None else bytes(extension.progress)
    done = await connection.fetchval(_EXTEND, extension.task_id, extension.now_ms, progress)
    return done is not None


async def release(connection: Any, wanted: Release) -> None:
    """Do a Release within the caller's transaction."""
    await connection.execute(_RELEASE, wanted.task_id, wanted.update_ms)


async def next_due_ms(connection: Any, queue: str, now_ms: int, limits: TaskLimits) -> int | None:
    """What the store's `next_due_ms` promises."""
    instants = []
    for _, due_ms, def_name in await connection.fetch(DUE_MS_BY_LANE, queue):
        limit = limits.get(def_name)
        opens_ms = 0 if limit is None else await _opens_ms(connection, def_name, limit, now_ms)
        if due_ms is not None and opens_ms is not None:
            instants.append(max(int(due_ms), opens_ms))
    return min(instants, default=None)


async def _opens_ms(connection: Any, def_name: str, limit: TaskLimit, now_ms: int) -> int | None:
    """When the limit lets something go: None = when a held task ends, 0 = now."""
    if limit.held_max and await connection.fetchval(_HELD, def_name, limit.held_max) >= limit.held_max:
        return None
    if not limit.deliveries_max:
        return 0
    rows = await connection.fetch(_DELIVERED, def_name, now_ms - limit.window_ms)
    return window_opens_ms([(row[0], row[1]) for row in rows], limit)


async def leased_at(connection: Any, queue: str, worker_id: str, at_ms: int) -> list[Claimed]:
    """What the store's `leased_at` promises."""
    return [_claimed(row) for row in await connection.fetch(_LEASED_AT, queue, worker_id, at_ms)]
