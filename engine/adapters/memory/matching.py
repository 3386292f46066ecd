"""What a search query means, in Python: the same answers as SQL gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import eq, ge, gt, le, lt, ne

from engine.core.search import NEWEST_FIRST, Clause, SearchQuery
from engine.ports.stores import WorkflowRow

_COMPARISONS: dict[str, Callable[[str | int, str | int], bool]] = {
    "=": eq,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}


def matches(row: WorkflowRow, query: SearchQuery) -> bool:
    """Whether every clause holds and the free text occurs, letters of A to Z in either case."""
    return all(_holds(row, clause) for clause in query.clauses) and _mentions(row, query.free_text)


def ordered(rows: Sequence[WorkflowRow], query: SearchQuery) -> list[WorkflowRow]:
    """In the query's order, else the newest first; equals by workflow id."""
    result = sorted(rows, key=lambda row: row.header.workflow_id)
    for column, descending in reversed(query.sort or NEWEST_FIRST):
        result.sort(key=lambda row, name=column: _value(row, name), reverse=descending)  # type: ignore[misc]  # a default binds the loop's name
    return result


def _holds(row: WorkflowRow, clause: Clause) -> bool:
    value = _value(row, clause.column)
    match clause.op:
        case "IN":
            return value in clause.values
        case "NOT IN":
            return value not in clause.values
        case "LIKE":
            parts = [re.escape(_folded(part)) for part in str(clause.values[0]).split("*")]
            return re.fullmatch(b".*".join(parts), _folded(str(value)), re.DOTALL) is not None
    return _COMPARISONS[clause.op](value, clause.values[0])


def _value(row: WorkflowRow, column: str) -> str | int:
    value: str | int | None = getattr(row.header, column)
    return "" if value is None else value


def _mentions(row: WorkflowRow, text: str) -> bool:
    header = row.header
    searched = (
        header.workflow_id.encode(),
        header.name.encode(),
        (header.correlation_id or "").encode(),
        (header.reason or "").encode(),
        bytes(row.input),
        bytes(row.output),
    )
    wanted = _folded(text)
    return any(wanted in part.lower() for part in searched)


def _folded(text: str) -> bytes:
    # bytes.lower() knows A to Z only, as LIKE does.
    return text.encode().lower()
