"""Claims of the memory store: lanes in turn, limits counted from the entries themselves."""

from __future__ import annotations

from collections.abc import Iterable

from engine.core.limits import TaskLimit, TaskLimits, Turns, window_opens_ms
from engine.core.records import QueueEntry
from engine.ports.stores import Claim

Deliveries = dict[str, list[tuple[int, int]]]
"""(at_ms, tasks) of every claim of a rate-limited definition, by its name, oldest first."""


def held(entry: QueueEntry) -> bool:
    return entry.lease is not None and entry.lease.held


def choose(entries: Iterable[QueueEntry], deliveries: Deliveries, claim: Claim) -> list[QueueEntry]:
    """The entries that a claim leases, in order; notes their deliveries.

    Args:
        entries: every entry of the store, in order of age.
        deliveries: what earlier claims noted.
        claim: what is wanted.
    """
    entries = list(entries)
    unheld = [entry for entry in entries if entry.queue == claim.queue and not held(entry)]
    names = sorted({entry.lane for entry in unheld})
    if not names:
        return []
    first = claim.turn % len(names)
    in_turn = names[first:] + names[:first]
    taken: dict[str, int] = {}

    def room(def_name: str) -> bool:
        limit = claim.limits.get(def_name)
        if limit is None:
            return True
        more = taken.get(def_name, 0)
        now_held = sum(held(entry) for entry in entries if entry.def_name == def_name)
        if limit.held_max and now_held + more >= limit.held_max:
            return False
        made = sum(tasks for _, tasks in _recent(deliveries, def_name, claim.now_ms, limit))
        return not limit.deliveries_max or made + more < limit.deliveries_max

    chosen: list[QueueEntry] = []
    due = [entry for entry in unheld if entry.due_ms <= claim.now_ms]
    for priority in sorted({entry.priority for entry in due}, reverse=True):
        level = [entry for entry in due if entry.priority == priority]
        lanes = []
        for name in in_turn:
            of_lane = sorted((e for e in level if e.lane == name), key=lambda e: e.due_ms)
            if of_lane:
                lanes.append((of_lane[0].def_name, iter(of_lane)))
        for def_name, entry in Turns(lanes, room).take(claim.count - len(chosen)):
            taken[def_name] = taken.get(def_name, 0) + 1
            chosen.append(entry)
    for def_name, tasks in taken.items():
        limit = claim.limits.get(def_name)
        if limit is not None and limit.deliveries_max:
            kept = _recent(deliveries, def_name, claim.now_ms, limit)
            deliveries[def_name] = [*kept, (claim.now_ms, tasks)]
    return chosen


def next_due_ms(
    entries: Iterable[QueueEntry], deliveries: Deliveries, queue: str, now_ms: int, limits: TaskLimits
) -> int | None:
    """What the store's `next_due_ms` promises."""
    entries = list(entries)
    instants = []
    for entry in entries:
        if entry.queue != queue or held(entry):
            continue
        limit = limits.get(entry.def_name)
        if limit is None:
            instants.append(entry.due_ms)
            continue
        now_held = sum(held(other) for other in entries if other.def_name == entry.def_name)
        if limit.held_max and now_held >= limit.held_max:
            continue
        recent = sorted(_recent(deliveries, entry.def_name, now_ms, limit), reverse=True)
        opens_ms = window_opens_ms(recent, limit) if limit.deliveries_max else 0
        instants.append(max(entry.due_ms, opens_ms))
    return min(instants, default=None)


def _recent(deliveries: Deliveries, def_name: str, now_ms: int, limit: TaskLimit) -> list[tuple[int, int]]:
    return [one for one in deliveries.get(def_name, ()) if one[0] > now_ms - limit.window_ms]
