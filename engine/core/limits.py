"""Limits on tasks of one definition, the lanes of a queue, and the slots of limited workflows.

A *lane* is the part of a queue whose tasks have one order among themselves; the lanes of a queue take turns.
An ordinary queue is one lane without a name. A task definition with `partitions` splits its queue into as
many lanes. In a queue that tasks of several definitions share (those of a system type, HTTP say), each
definition has a lane of its own, so that what may not go holds up nobody behind it. So all tasks of a lane
are of one definition.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from engine.core.jsonpath import MISSING, PathSyntaxError, compile_path
from engine.core.model import TaskDef
from engine.core.records import Task
from engine.core.values import to_text

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


_EXPRESSION = re.compile(r"\$\{([^{}]*)\}")

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


def lane_of(task: Task, definition: TaskDef | None) -> str:
    """The lane a task waits in; `definition` is the one its workflow has frozen.

    Without `partitionBy` tasks are spread over the partitions by their id, evenly and at random.
    """
    head = task.head
    lane = head.task_def_name if head.task_def_name != head.task_type else ""
    if definition is None:
        return lane
    count = min(definition.partitions or 0, PARTITIONS_MAX)
    if count > 1:
        key = head.task_id
        if definition.partition_by:
            key = partition_key(definition.partition_by, bytes(head.input_data))
        lane += f"#{zlib.crc32(key.encode()) % count:03}"
    return lane


def partition_key(text: str, task_input: bytes) -> str:
    """Evaluate `partitionBy`: `${path}` stands for what the task's input has there, all else for itself.

    What is not there, or is no path, is `null`: such tasks share a lane.
    """
    document = msgspec.json.decode(task_input)

    def value(match: re.Match[str]) -> str:
        try:
            found = compile_path(match[1]).find(document, document)
        except PathSyntaxError:
            found = None
        return to_text(None if found is MISSING else found)

    return _EXPRESSION.sub(value, text)


def partition_problems(definition: TaskDef) -> Iterator[tuple[str, str]]:
    """What cannot be meant by `partitions` and `partitionBy`: the member and a sentence."""
    count = definition.partitions
    if count is not None and not 0 <= count <= PARTITIONS_MAX:
        yield "partitions", f"TaskDef partitions: {count} must be between 0 and {PARTITIONS_MAX}"
    for match in _EXPRESSION.finditer(definition.partition_by or ""):
        try:
            compile_path(match[1])
        except PathSyntaxError as error:
            problem = f"{match[0]} is no path into the task's input ({error}); write for example ${{videoId}}"
            yield "partitionBy", f"TaskDef partitionBy: {problem}"


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
