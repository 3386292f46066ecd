"""What a search query means, in Python: the same answers as SQL gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import eq, ge, gt, le, lt
from typing import Any, TypeVar, assert_never

from msgspec import Raw

from engine.core.records import Header, Lease, QueueEntry, Task
from engine.core.search import (
    NEWEST_FIRST,
    PLAIN_CLASSIFIER,
    TASKS_NEWEST_FIRST,
    AllOf,
    Among,
    AnyOf,
    Compare,
    Condition,
    FreeText,
    IsSet,
    Like,
    Not,
    SearchQuery,
    StartsWith,
    folded,
    spellings,
)
from engine.core.statuses import TaskStatus
from engine.ports.stores import WorkflowRow

R = TypeVar("R")
ValueOf = Callable[[str], Any]

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}


class TaskRow:
    """A task as a search sees it: with its queue entry (its lease says what a worker does) and its header."""

    __slots__ = ("entry", "header", "task")

    def __init__(self, task: Task, entry: QueueEntry | None, header: Header) -> None:
        self.task = task
        self.entry = entry
        self.header = header

    @property
    def lease(self) -> Lease:
        """Of an open task; one that says nothing where there is none."""
        entry = self.entry if self.task.open else None
        return (None if entry is None else entry.lease) or Lease()


def workflow_matches(row: WorkflowRow, query: SearchQuery) -> bool:
    return _matches(query, lambda key: _workflow_value(row, key), lambda: _workflow_texts(row))


def workflows_ordered(rows: Sequence[WorkflowRow], sort: Sequence[tuple[str, bool]]) -> list[WorkflowRow]:
    """In this order, else the newest first; equals by workflow id."""
    by_id = sorted(rows, key=lambda row: row.header.workflow_id)
    return _ordered(by_id, sort or NEWEST_FIRST, _workflow_value)


def task_matches(row: TaskRow, query: SearchQuery) -> bool:
    return _matches(query, lambda key: _task_value(row, key), lambda: _task_texts(row))


def tasks_ordered(rows: Sequence[TaskRow], sort: Sequence[tuple[str, bool]]) -> list[TaskRow]:
    """In this order, else the newest first; equals by task id."""
    by_id = sorted(rows, key=lambda row: row.task.id)
    return _ordered(by_id, sort or TASKS_NEWEST_FIRST, _task_value)


def _ordered(rows: list[R], sort: Sequence[tuple[str, bool]], value: Callable[[R, str], Any]) -> list[R]:
    for key, descending in reversed(sort):
        rows.sort(key=lambda row, key=key: value(row, key), reverse=descending)  # type: ignore[misc]  # a default binds the loop's name
    return rows


def _matches(query: SearchQuery, value_of: ValueOf, texts: Callable[[], list[str]]) -> bool:
    if query.where is not None and not _holds(query.where, value_of):
        return False
    return query.free_text is None or _mentions(query.free_text, texts())


def _holds(condition: Condition, value_of: ValueOf) -> bool:
    match condition:
        case Compare():
            return _COMPARISONS[condition.op](value_of(condition.key), condition.value)
        case Among():
            return value_of(condition.key) in condition.values
        case Like():
            return _fits(folded(condition.pattern), folded(value_of(condition.key)))
        case StartsWith():
            return bool(value_of(condition.key).startswith(condition.prefix))
        case IsSet():
            return condition.kind == "number" or bool(value_of(condition.key))
        case Not():
            return not _holds(condition.of, value_of)
        case AllOf():
            return all(_holds(part, value_of) for part in condition.parts)
        case AnyOf():
            return any(_holds(part, value_of) for part in condition.parts)
    assert_never(condition)


def _mentions(free_text: FreeText, texts: list[str]) -> bool:
    small = [folded(text) for text in texts]

    def occurs(word: str) -> bool:
        patterns = [f"*{folded(spelling)}*" for spelling in spellings(word)]
        return any(_fits(pattern, text) for pattern in patterns for text in small)

    return any(all(map(occurs, way)) for way in free_text.ways)


def _fits(pattern: str, text: str) -> bool:
    """Whether the whole text is the pattern, `*` being any text. Each part is taken as early as it can be."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    if not text.startswith(first):
        return False
    at = len(first)
    *middle, last = rest
    for part in middle:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return len(text) - len(last) >= at and text.endswith(last)


def _workflow_value(row: WorkflowRow, key: str) -> Any:
    header = row.header
    match key:
        case "input" | "output":
            return _text(getattr(row, key))
        case "execution_ms":
            return max(0, header.end_ms - header.create_ms)
        case "failed_refs" | "failed_names":
            return ",".join(getattr(header, key))
        case "classifier":
            return PLAIN_CLASSIFIER
    value = getattr(header, key)
    return "" if value is None else value


def _workflow_texts(row: WorkflowRow) -> list[str]:
    header = row.header
    named = [header.workflow_id, header.name, header.correlation_id or "", header.reason or ""]
    return [*named, _text(row.input), _text(row.output)]


_TASK_VALUES: dict[str, Callable[[TaskRow], Any]] = {
    "task_id": lambda row: row.task.id,
    "task_type": lambda row: row.task.head.task_type,
    "def_name": lambda row: row.task.head.task_def_name,
    "ref": lambda row: row.task.ref,
    "workflow_id": lambda row: row.header.workflow_id,
    "workflow_name": lambda row: row.header.name,
    "correlation_id": lambda row: row.header.correlation_id or "",
    "priority": lambda row: row.header.priority,
    "retry_count": lambda row: row.task.head.retry_count,
    "scheduled_ms": lambda row: row.task.head.scheduled_time,
    "status": lambda row: TaskStatus.IN_PROGRESS if row.lease.held else row.task.status,
    "start_ms": lambda row: row.task.state.start_time or row.lease.start_ms,
    "update_ms": lambda row: max(row.task.state.update_time, row.lease.update_ms),
    "end_ms": lambda row: row.task.state.end_time,
    "execution_ms": lambda row: _execution_ms(row.task),
    "reason": lambda row: row.task.state.reason_for_incompletion or "",
    "worker_id": lambda row: row.lease.worker_id or row.task.state.worker_id or "",
    "domain": lambda row: row.task.head.domain or "",
    "input": lambda row: _text(row.task.head.input_data),
    "output": lambda row: _text(row.task.output),
}
_TASK_TEXTS = ("task_id", "task_type", "def_name", "ref", "workflow_id", "reason", "input", "output")


def _task_value(row: TaskRow, key: str) -> Any:
    return _TASK_VALUES[key](row)


def _task_texts(row: TaskRow) -> list[str]:
    return [_TASK_VALUES[key](row) for key in _TASK_TEXTS]


def _execution_ms(task: Task) -> int:
    started, ended = task.state.start_time, task.state.end_time
    return max(0, ended - started) if started and ended else 0


def _text(document: Raw) -> str:
    return bytes(document).decode()
