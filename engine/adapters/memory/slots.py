"""Slots of limited workflows in memory."""

from __future__ import annotations

from engine.core.errors import SlotsTakenError
from engine.core.records import Delta


class MemorySlots:
    """Who holds or waits for a slot: workflow id -> (key, held), in the order in which they came."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, bool]] = {}

    def refusal(self, delta: Delta) -> SlotsTakenError | None:
        """Why the delta's slot cannot be had; None when it can."""
        slot = delta.slot
        if slot is None or not slot.held or slot.held_max is None:
            return None
        own = self._rows.get(delta.workflow_id)
        known = own is not None and own[0] == slot.key
        if known and own == (slot.key, True):
            return None
        held, waiting = self.of(slot.key)
        if held >= slot.held_max:
            return SlotsTakenError(f"all {slot.held_max} slots of {slot.key} are taken")
        if not known and waiting:
            return SlotsTakenError(f"other workflows wait for a slot of {slot.key}")
        return None

    def write(self, delta: Delta) -> None:
        """Take, wait for or free the delta's slot."""
        if delta.delete or delta.slot_freed:
            self._rows.pop(delta.workflow_id, None)
        elif delta.slot is not None:
            self._rows[delta.workflow_id] = (delta.slot.key, delta.slot.held)

    def of(self, key: str) -> tuple[int, list[str]]:
        """How many hold a slot of the key, and who waits, in order."""
        held = sum(row == (key, True) for row in self._rows.values())
        return held, [workflow_id for workflow_id, row in self._rows.items() if row == (key, False)]

    def keys_waited_for(self) -> list[str]:
        return sorted({key for key, held in self._rows.values() if not held})
