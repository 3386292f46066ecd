"""Slots of limited workflows in SQLite: one row a workflow, held or waiting; counted when asked for."""

from __future__ import annotations

import sqlite3

from engine.core.errors import SlotsTakenError
from engine.core.records import Delta, Slot

_VERSION = "SELECT row_version FROM workflow WHERE workflow_id = ?"
_OWN = "SELECT held FROM slot WHERE workflow_id = ? AND key = ?"
_HELD_BY_OTHERS = "SELECT count(*) FROM (SELECT 1 FROM slot WHERE key = ? AND held = 1 LIMIT ?)"
_ANY_WAITING = "SELECT 1 FROM slot WHERE key = ? AND held = 0 LIMIT 1"
_PUT = """INSERT INTO slot (workflow_id, key, held) VALUES (?, ?, ?)
    ON CONFLICT (workflow_id) DO UPDATE SET key = excluded.key, held = excluded.held"""
_FREE = "DELETE FROM slot WHERE workflow_id = ?"
_HELD = "SELECT count(*) FROM slot WHERE key = ? AND held = 1"
_WAITING = "SELECT workflow_id FROM slot WHERE key = ? AND held = 0 ORDER BY slot_id LIMIT ?"
# Hopping from key to key in the index, past however many wait for each.
_KEYS_WAITED_FOR = """WITH RECURSIVE wanted(key) AS (
    SELECT min(key) FROM slot WHERE held = 0
    UNION ALL
    SELECT (SELECT min(s.key) FROM slot s WHERE s.held = 0 AND s.key > wanted.key)
    FROM wanted WHERE wanted.key IS NOT NULL)
    SELECT key FROM wanted WHERE key IS NOT NULL"""


def refusal(connection: sqlite3.Connection, delta: Delta) -> SlotsTakenError | None:
    """Why the delta's slot cannot be had; None when it can."""
    slot = delta.slot
    if slot is None or not slot.held or slot.held_max is None:
        return None
    version = connection.execute(_VERSION, (delta.workflow_id,)).fetchone()
    if (0 if version is None else version[0]) != delta.expected_version:
        return None  # a conflict: it will be decided again
    own = connection.execute(_OWN, (delta.workflow_id, slot.key)).fetchone()
    if own is not None and own[0]:
        return None
    [held] = connection.execute(_HELD_BY_OTHERS, (slot.key, slot.held_max)).fetchone()
    if held >= slot.held_max:
        return SlotsTakenError(f"all {slot.held_max} slots of {slot.key} are taken")
    if own is None and connection.execute(_ANY_WAITING, (slot.key,)).fetchone() is not None:
        return SlotsTakenError(f"other workflows wait for a slot of {slot.key}")
    return None


def write(connection: sqlite3.Connection, delta: Delta) -> None:
    """Take, wait for or free the delta's slot."""
    if delta.delete or delta.slot_freed:
        connection.execute(_FREE, (delta.workflow_id,))
    elif delta.slot is not None:
        slot: Slot = delta.slot
        connection.execute(_PUT, (delta.workflow_id, slot.key, int(slot.held)))


def slots(connection: sqlite3.Connection, key: str, limit: int) -> tuple[int, list[str]]:
    """What the store's `slots` promises."""
    [held] = connection.execute(_HELD, (key,)).fetchone()
    return held, [row[0] for row in connection.execute(_WAITING, (key, limit))]


def keys_waited_for(connection: sqlite3.Connection) -> list[str]:
    """What the store's `slot_keys_waited_for` promises."""
    return [row[0] for row in connection.execute(_KEYS_WAITED_FOR)]
