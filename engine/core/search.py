"""Search queries as values: what upstream's `query`, `freeText` and `sort` texts mean.

Source of the grammar: conductor-oss/conductor, the SQL index back ends (`name op value` joined by AND).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Op = Literal["=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "LIKE"]

FIELDS: dict[str, str] = {
    "workflowId": "workflow_id",
    "workflowType": "name",
    "version": "version",
    "status": "status",
    "correlationId": "correlation_id",
    "startTime": "create_ms",
    "updateTime": "update_ms",
    "endTime": "end_ms",
    "parentWorkflowId": "parent_workflow_id",
    "priority": "priority",
}
"""Wire field -> column of the workflow table. All but these are unknown and ignored, as upstream's SQLite index does."""


class Clause(Struct, kw_only=True, frozen=True):
    """One condition. `values` has one element but for IN and NOT IN; in a LIKE value `*` stands for any text."""

    column: str
    op: Op
    values: tuple[str | int, ...]


class SearchQuery(Struct, kw_only=True, frozen=True):
    """Clauses joined by AND, a text that must occur in input, output or reason (empty = any), sort and page."""

    clauses: tuple[Clause, ...] = ()
    free_text: str = ""
    sort: tuple[tuple[str, bool], ...] = ()  # (column, descending)
    start: int = 0
    size: int = 100
