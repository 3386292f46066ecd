"""Search queries as values: what upstream's `query`, `freeText` and `sort` texts mean.

Source of the grammar: conductor-oss/conductor, the SQL index back ends (`name op value` joined by AND).
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from engine.core.errors import InvalidRequestError

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
"""Wire field -> column of the workflow table. Others are ignored, as in upstream's SQLite index."""


NUMBERS = frozenset({"version", "create_ms", "update_ms", "end_ms", "priority"})
"""Columns whose values are whole numbers; the others are texts, '' where the workflow has none."""

NEWEST_FIRST: tuple[tuple[str, bool], ...] = (("create_ms", True),)
"""The order of a query that names none; equals stand by workflow id."""

QUERY_CHARS_MAX = 60_000


class Clause(Struct, kw_only=True, frozen=True):
    """One condition. `values` has one element but for IN and NOT IN; in LIKE `*` stands for any text."""

    column: str
    op: Op
    values: tuple[str | int, ...]


class SearchQuery(Struct, kw_only=True, frozen=True):
    """Clauses joined by AND, a text, sort and page.

    The text occurs in id, name, correlation id, reason, input or output, A to Z in either case; empty = any.
    """

    clauses: tuple[Clause, ...] = ()
    free_text: str = ""
    sort: tuple[tuple[str, bool], ...] = ()  # (column, descending)
    start: int = 0
    size: int = 100


def parse_query(query: str, *, free_text: str, sort: str, start: int, size: int) -> SearchQuery:
    """Read the three texts of a search request.

    Beyond upstream's SQL back ends, `!=`, `<=`, `>=` and `NOT IN` work, a quoted value may hold anything but
    its quote, and blanks do not matter. Clauses on unknown fields and sort orders that make no sense are
    ignored, as there.

    Args:
        query: `field op value` clauses joined by ` AND `; empty or `*` = all workflows.
        free_text: a text to be found in the workflow; empty or `*` = any.
        sort: `field:ASC` or `field:DESC`, several joined by `|` or `,`.
        start: how many matches to pass over.
        size: how many to give; the caller bounds it.

    Raises:
        InvalidRequestError: the query does not read as clauses, or a number is negative.
    """
    for name, value in (("start", start), ("size", size)):
        if value < 0:
            raise InvalidRequestError(f"{name} must be 0 or more, not {value}")
    if len(query) > QUERY_CHARS_MAX:
        raise InvalidRequestError(
            f"query is longer than {QUERY_CHARS_MAX} characters; ask for fewer values at a time"
        )
    text = free_text.strip()
    return SearchQuery(
        clauses=tuple(_clauses(query)),
        free_text="" if text == "*" else text,
        sort=tuple(_orders(sort)),
        start=start,
        size=size,
    )


_HEAD = re.compile(
    r"\s*(?P<field>[A-Za-z_][\w.]*)\s*(?:(?P<op>!=|<>|<=|>=|=|<|>)|\s(?P<word>(?:NOT\s+)?IN)(?=[\s(]))\s*",
    re.IGNORECASE,
)
_JOINT = re.compile(r"\s+AND\s+")
_QUOTED = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\s*""")
_LISTED = re.compile(r"""\s*(?:"[^"]*"|'[^']*'|[^,()"']+)\s*""")
_BARE_OR = re.compile(r"\sOR\s")
_OPS: dict[str, Op] = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def _clauses(query: str) -> list[Clause]:
    found: list[Clause] = []
    if query.strip() in {"", "*"}:
        return found
    at = 0
    while True:
        head = _HEAD.match(query, at)
        if head is None:
            raise _malformed(query)
        word = head["word"]
        op: Op = _OPS[head["op"]] if word is None else "IN" if word.upper() == "IN" else "NOT IN"
        texts, at = _values(query, head.end()) if word is None else _list(query, head.end())
        column = FIELDS.get(head["field"])
        if column is not None:
            found.append(_clause(column, op, texts, query))
        if at == len(query):
            return found
        joint = _JOINT.match(query, at)
        if joint is None:
            raise _malformed(query)
        at = joint.end()


def _values(query: str, at: int) -> tuple[list[str], int]:
    """One value, quoted or up to the next ` AND `, and where it ends."""
    quoted = _QUOTED.match(query, at)
    if quoted is not None:
        end = _before_blanks(query, quoted.end())
        if end == len(query) or _JOINT.match(query, end):
            return [quoted["double"] if quoted["double"] is not None else quoted["single"]], end
    joint = _JOINT.search(query, at)
    end = joint.start() if joint is not None else len(query)
    value = query[at:end].strip()
    # An OR would end up inside the value and quietly match nothing.
    if not value or _BARE_OR.search(value) or value[0] in "=<>!":
        raise _malformed(query)
    return [_unquoted(value)], end


def _list(query: str, at: int) -> tuple[list[str], int]:
    """The values of an IN, in parentheses or (as upstream allows) without, and where they end."""
    if not query.startswith("(", at):
        joint = _JOINT.search(query, at)
        end = joint.start() if joint is not None else len(query)
        values = [_unquoted(part) for part in query[at:end].split(",")]
        if not all(values):
            raise _malformed(query)
        return values, end
    at += 1
    values = []
    while True:
        listed = _LISTED.match(query, at)
        if listed is None or not listed[0].strip():
            raise _malformed(query)
        values.append(_unquoted(listed[0]))
        at = listed.end()
        if query.startswith(")", at):
            rest = query[at + 1 :]
            return values, len(query) if not rest.strip() else at + 1
        if not query.startswith(",", at):
            raise _malformed(query)
        at += 1


def _clause(column: str, op: Op, texts: list[str], query: str) -> Clause:
    if len(texts) == 1 and op in {"IN", "NOT IN"}:
        op = "=" if op == "IN" else "!="
    if column in NUMBERS:
        try:
            return Clause(column=column, op=op, values=tuple(_whole(text) for text in texts))
        except ValueError as error:
            raise _malformed(query) from error
    if op == "=" and "*" in texts[0]:
        return Clause(column=column, op="LIKE", values=(re.sub(r"\*+", "*", texts[0]),))
    return Clause(column=column, op=op, values=tuple(texts))


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**63:
        raise ValueError(text)
    return number


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _before_blanks(query: str, end: int) -> int:
    """Step back over blanks that a quoted value swallowed, unless the query ends there."""
    if end == len(query):
        return end
    while query[end - 1].isspace():
        end -= 1
    return end


def _orders(sort: str) -> list[tuple[str, bool]]:
    orders: dict[str, bool] = {}
    for part in re.split(r"[|,]", sort):
        field, _, direction = part.strip().partition(":")
        column, direction = FIELDS.get(field.strip()), direction.strip().upper()
        if column is not None and direction in {"ASC", "DESC"}:
            orders.setdefault(column, direction == "DESC")
    return list(orders.items())


def _malformed(query: str) -> InvalidRequestError:
    return InvalidRequestError(f"Incorrectly formatted query string: {query}")
