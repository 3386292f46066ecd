"""Limits on tasks of one definition, the lanes of a queue, and the slots of limited workflows.

A *lane* is the part of a queue whose tasks have one order among themselves; the lanes of a queue take turns.
An ordinary queue is one lane without a name. A task definition with `partitions` splits its queue into as
many lanes. In a queue that tasks of several definitions share (those of a system type, HTTP say), each
definition has a lane of its own, so that what may not go holds up nobody behind it. So all tasks of a lane
are of one definition.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from msgspec import Struct

from engine.core.model import TaskDef

T = TypeVar("T")

PARTITIONS_MAX = 256
"""Partitions of one queue; each is looked at by a poll that finds nothing in those before it."""


class TaskLimit(Struct, kw_only=True, frozen=True):
    """How many tasks of a definition may be out at once, and how many may be delivered in a while.

    Attributes:
        held_max: tasks that workers hold at one time, over all domains and servers; 0 = any number.
        deliveries_max: deliveries within any `window_ms`; 0 = any number.
        window_ms: length of the sliding window.
    """

    held_max: int = 0
    deliveries_max: int = 0
    window_ms: int = 1_000


TaskLimits = Mapping[str, TaskLimit]
"""By task definition name; a definition that is not named is not limited."""

NO_LIMITS: TaskLimits = {}


def limit_of(definition: TaskDef) -> TaskLimit | None:
    """What a definition limits, None when nothing. Not positive means no limit, as upstream has it."""
    held_max = max(0, definition.concurrent_exec_limit or 0)
    deliveries_max = max(0, definition.rate_limit_per_frequency or 0)
    every_s = definition.rate_limit_frequency_in_seconds
    window_ms = (1 if every_s is None else max(0, every_s)) * 1_000
    if not window_ms:
        deliveries_max = 0
    if not (held_max or deliveries_max):
        return None
    return TaskLimit(held_max=held_max, deliveries_max=deliveries_max, window_ms=window_ms or 1_000)


def lane_of(
    definition: TaskDef | None, *, task_type: str, def_name: str, task_id: str, key: Callable[[str], str]
) -> str:
    """The lane a task waits in.

    Args:
        definition: as the workflow has it frozen.
        task_type: what its queue is named after.
        def_name: name of its definition.
        task_id: spreads tasks evenly where the definition names no key.
        key: evaluates `partitionBy` over the task's input.
    """
    lane = def_name if def_name != task_type else ""
    if definition is None:
        return lane
    count = min(definition.partitions or 0, PARTITIONS_MAX)
    if count > 1:
        by = task_id if not definition.partition_by else key(definition.partition_by)
        lane += f"#{zlib.crc32(by.encode()) % count:03}"
    return lane


def window_opens_ms(deliveries: Iterable[tuple[int, int]], limit: TaskLimit) -> int:
    """When the next delivery may be made by the rate alone; 0 = at any time.

    Args:
        deliveries: (at_ms, tasks) within the window, newest first.
        limit: with `deliveries_max`.
    """
    made = 0
    for at_ms, tasks in deliveries:
        made += tasks
        if made >= limit.deliveries_max:
            return at_ms + limit.window_ms
    return 0


class Turns(Generic[T]):
    """Lanes of one priority giving their entries in turn.

    Args:
        lanes: (definition name, entries in order) of each lane, in order of turns.
        room: whether one more task of a definition may go; asked before each entry.
    """

    def __init__(self, lanes: Iterable[tuple[str, Iterator[T]]], room: Callable[[str], bool]) -> None:
        self._lanes = deque(lanes)
        self._room = room

    def take(self, count: int) -> Iterator[tuple[str, T]]:
        """Up to `count` entries with their definition names."""
        taken = 0
        while self._lanes and taken < count:
            def_name, entries = lane = self._lanes.popleft()
            entry = next(entries, None)
            if entry is not None and self._room(def_name):
                taken += 1
                yield def_name, entry
                self._lanes.append(lane)
