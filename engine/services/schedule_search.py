"""Filters, orders and pages over the schedules and their runs, which are few: all of them fit in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from engine.core.errors import InvalidRequestError

SIZE_MAX = 5_000
QUERY_CHARS_MAX = 10_000

Row = dict[str, Any]
_TEXT = r"'[^']*'|\"[^\"]*\"|[^\s,()]+"
_CLAUSE = re.compile(
    rf"\s*(?P<field>\w+)\s*(?:(?P<op>!=|<=|>=|=|<|>)\s*(?P<value>{_TEXT})"
    rf"|(?P<in>IN)\s*\((?P<list>[^)]*)\))\s*(?:AND\b|$)",
    re.IGNORECASE,
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def page(
    rows: Sequence[Row], *, query: str, free_text: str, sort: str, start: int, size: int
) -> tuple[int, list[Row]]:
    """The matches counted, and one page of them.

    Args:
        rows: wire objects in their default order.
        query: `field op value` joined by AND, with =, !=, <, <=, >, >= and IN; empty or `*` = all.
        free_text: a text to be found in any value; empty or `*` = any.
        sort: `field:ASC` or `field:DESC`, several joined by `|` or `,`; ASC when nothing is said.
        start: how many matches to pass over.
        size: how many to give, at most SIZE_MAX.

    Raises:
        InvalidRequestError: the query does not read as clauses, or a number is out of bounds.
    """
    if start < 0 or not 0 <= size <= SIZE_MAX:
        raise InvalidRequestError(f"start is 0 or more, size at most {SIZE_MAX}; use pagination")
    holds = _conditions(query)
    wanted = "" if free_text == "*" else free_text.strip().lower()
    found = [row for row in rows if all(test(row) for test in holds) and (not wanted or _has(row, wanted))]
    for field, descending in reversed(_orders(sort)):
        found.sort(key=lambda row: _sort_key(row.get(field)), reverse=descending)
    return len(found), found[start : start + size]


def _conditions(query: str) -> list[Callable[[Row], bool]]:
    text = query.strip()
    if text in {"", "*"}:
        return []
    if len(text) > QUERY_CHARS_MAX:
        raise InvalidRequestError(f"query: at most {QUERY_CHARS_MAX} characters")
    tests: list[Callable[[Row], bool]] = []
    at = 0
    while at < len(text):
        clause = _CLAUSE.match(text, at)
        if clause is None:
            raise InvalidRequestError(f"query: '{text[at : at + 60]}' does not read as field = value")
        at = clause.end()
        tests.append(_test(clause))
    return tests


def _test(clause: re.Match[str]) -> Callable[[Row], bool]:
    field, op = clause["field"], clause["op"]
    if clause["in"]:
        values = {_bare(value) for value in re.findall(_TEXT, clause["list"])}
        return lambda row: _text(row.get(field)) in values
    value = _bare(clause["value"])
    if op == "=":
        return lambda row: _text(row.get(field)) == value
    if op == "!=":
        return lambda row: _text(row.get(field)) != value
    try:
        bound = float(value)
    except ValueError as error:
        raise InvalidRequestError(f"query: {field} {op} needs a number, not '{value}'") from error
    compare = _COMPARE[op]
    return lambda row: isinstance(row.get(field), int) and compare(row[field], bound)


def _orders(sort: str) -> list[tuple[str, bool]]:
    orders = []
    for part in re.split(r"[|,]", sort):
        field, _, direction = part.strip().partition(":")
        if field:
            orders.append((field, direction.strip().upper() == "DESC"))
    return orders


def _sort_key(value: Any) -> tuple[int, float, str]:
    if isinstance(value, bool | int | float):
        return 0, float(value), ""
    return 1, 0.0, _text(value)


def _has(row: Row, wanted: str) -> bool:
    return any(wanted in _text(value).lower() for value in row.values())


def _bare(text: str) -> str:
    return text[1:-1] if text[:1] in {"'", '"'} else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
