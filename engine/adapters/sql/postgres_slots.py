"""Slots of limited workflows in PostgreSQL: one row a workflow, held or waiting, counted when asked for.

Counting and taking are one thing between servers because whoever asks holds the key's advisory lock until its
transaction ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.adapters.sql.postgres_locks import lock
from engine.core.errors import SlotsTakenError
from engine.core.records import Delta
from engine.ports.stores import Write

_OWN = "SELECT held FROM slot WHERE workflow_id = $1 AND key = $2"
_HELD_BY_OTHERS = "SELECT count(*) FROM (SELECT 1 FROM slot WHERE key = $1 AND held = 1 LIMIT $2) AS few"
_ANY_WAITING = "SELECT 1 FROM slot WHERE key = $1 AND held = 0 LIMIT 1"
_PUT = """INSERT INTO slot (workflow_id, key, held) VALUES ($1, $2, $3)
    ON CONFLICT (workflow_id) DO UPDATE SET key = excluded.key, held = excluded.held"""
_FREE = "DELETE FROM slot WHERE workflow_id = $1"
HELD = "SELECT count(*) FROM slot WHERE key = $1 AND held = 1"
WAITING = "SELECT workflow_id FROM slot WHERE key = $1 AND held = 0 ORDER BY slot_id LIMIT $2"
KEYS_WAITED_FOR = "SELECT DISTINCT key FROM slot WHERE held = 0 ORDER BY key"


async def lock_keys(connection: Any, group: Sequence[Write]) -> None:
    """Take the locks of all slots that the group asks for."""
    keys = {write.slot.key for write in group if isinstance(write, Delta) and write.slot is not None}
    await lock(connection, "slot", keys)


async def refusal(connection: Any, delta: Delta) -> SlotsTakenError | None:
    """Why the delta's slot cannot be had; None when it can."""
    slot = delta.slot
    if slot is None or not slot.held or slot.held_max is None:
        return None
    own = await connection.fetchval(_OWN, delta.workflow_id, slot.key)
    if own:
        return None
    if await connection.fetchval(_HELD_BY_OTHERS, slot.key, slot.held_max) >= slot.held_max:
        return SlotsTakenError(f"all {slot.held_max} slots of {slot.key} are taken")
    if own is None and await connection.fetchval(_ANY_WAITING, slot.key) is not None:
        return SlotsTakenError(f"other workflows wait for a slot of {slot.key}")
    return None


async def write(connection: Any, delta: Delta) -> None:
    """Take, wait for or free the delta's slot."""
    if delta.slot_freed:
        await connection.execute(_FREE, delta.workflow_id)
    elif delta.slot is not None:
        await connection.execute(_PUT, delta.workflow_id, delta.slot.key, int(delta.slot.held))
