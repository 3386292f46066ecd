"""maskedFields of a definition: what reads show as `***`. The engine itself works with the real values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core.graph import Graph
from engine.core.records import QueueEntry, Task
from engine.core.values import DEPTH_MAX
from engine.ports.stores import WorkflowRow

MASK = "***"


def masked(document: Raw, fields: Collection[str]) -> Raw:
    """A JSON document with the values of these keys hidden, at any depth; itself when it has none of them."""
    text = bytes(document)
    if not any(msgspec.json.encode(field) in text for field in fields):
        return document
    return Raw(msgspec.json.encode(_hidden(msgspec.json.decode(text), frozenset(fields), 0)))


def masked_task(task: Task, graph: Graph) -> Task:
    """The task as reads show it."""
    fields = graph.definition.masked_fields
    if not fields:
        return task
    head = replace(task.head, input_data=masked(task.head.input_data, fields))
    return replace(task, head=head, output=masked(task.output, fields))


def masked_entry(entry: QueueEntry | None, graph: Graph) -> QueueEntry | None:
    """The queue entry as reads show it: a worker's progress is output, too."""
    fields = graph.definition.masked_fields
    if not fields or entry is None or entry.lease is None or entry.lease.progress is None:
        return entry
    return replace(entry, lease=replace(entry.lease, progress=masked(entry.lease.progress, fields)))


def masked_row(row: WorkflowRow, graph: Graph) -> WorkflowRow:
    """The workflow as reads show it."""
    fields = graph.definition.masked_fields
    if not fields:
        return row
    variables = _hidden(row.header.variables, frozenset(fields), 0)
    return replace(
        row,
        header=replace(row.header, variables=variables),
        input=masked(row.input, fields),
        output=masked(row.output, fields),
    )


def _hidden(value: Any, fields: frozenset[str], depth: int) -> Any:
    """A copy; what is nested too deep to be looked through is hidden whole."""
    if isinstance(value, dict | list) and depth > DEPTH_MAX:
        return MASK
    if isinstance(value, dict):
        return {
            key: MASK if key in fields and item is not None else _hidden(item, fields, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_hidden(item, fields, depth + 1) for item in value]
    return value
