"""Reading the texts of a search request: `query`, `freeText`, `sort`.

The grammar, keywords in either case (in small letters only where a condition follows, so that a bare value
may hold the word "and"):

    query     := '' | '*' | either
    either    := both ( OR both )*
    both      := one ( AND one )*
    one       := NOT one | '(' either ')' | condition
    condition := field ( '=' | ':' | '!=' | '<>' | '<' | '<=' | '>' | '>=' ) value
               | field [NOT] IN ( '(' value (',' value)* ')' | value (',' value)* )
               | field [NOT] BETWEEN value AND value
               | field [NOT] STARTS_WITH value
               | field IS [NOT] NULL
    value     := '...' | "..." | bare text up to the next AND, OR or closing parenthesis

A quote closes a value where the value can end, so that 'it's' needs no escapes. `*` in a text that is asked
to be equal stands for any text. Times are epoch milliseconds or ISO 8601 (UTC unless it says otherwise).

Source: the union of what conductor-oss/conductor's index back ends read: the SQL ones (conditions joined by
AND; comma lists without parentheses, values in any quotes, blanks in bare values, unknown fields ignored) and
the Elasticsearch one (the other operators, OR and parentheses).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from engine.core.errors import InvalidRequestError
from engine.core.search import (
    UNSORTABLE,
    WORKFLOW_FIELDS,
    AllOf,
    Among,
    AnyOf,
    Compare,
    Condition,
    Field,
    FreeText,
    IsSet,
    Like,
    Not,
    Op,
    SearchQuery,
    StartsWith,
)

QUERY_CHARS_MAX = 60_000
FREE_TEXT_CHARS_MAX = 1_000
PATTERN_CHARS_MAX = 1_000
CONDITIONS_MAX = 200
"""SQLite refuses expressions that are nested 1,000 deep, and a row of ORs is such a nest."""
NESTING_MAX = 50

_SHOWN_CHARS_MAX = 1_000
_HEAD = re.compile(
    r"""\s*(?P<field>[A-Za-z_][\w.]*)\s*(?:
        (?P<op>!=|<>|<=|>=|=|<|>|:)
        | (?<=\s)(?:IS\s+(?P<unset>(?:NOT\s+)?NULL)(?=[\s)]|$)
                 |(?P<word>(?:NOT\s+)?(?:IN(?=[\s(])|(?:BETWEEN|STARTS_WITH)(?=[\s'"(]))))
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_NOT = re.compile(r"\s*NOT(?=[\s(])\s*", re.IGNORECASE)
_JOINT = re.compile(r"(?:\s+|(?<=\)))(?P<word>AND|OR)(?=[\s(]|$)\s*", re.IGNORECASE)
_STOP = re.compile(r"[()]|(?<!\s)\s+(?P<word>AND|OR)(?=[\s(]|$)", re.IGNORECASE)
_LISTED_END = re.compile(r"[,()]|$")
_BLANKS = re.compile(r"\s*")
_OPS: dict[str, Op] = {"=": "=", ":": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_WANTED = {"number": "a whole number", "time": "epoch milliseconds or an ISO 8601 time"}
_QUOTES = "'\""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(r'"(?P<phrase>[^"]*)"|(?P<word>\S+)')


def parse_query(
    query: str,
    *,
    free_text: str,
    sort: str,
    start: int,
    size: int,
    fields: Mapping[str, Field] = WORKFLOW_FIELDS,
) -> SearchQuery:
    """Read the three texts of a search request.

    Args:
        query: conditions, as the module describes; empty or `*` = everything.
        free_text: words that must all occur; `|` or OR between them makes alternatives, "..." keeps words
            together. Empty or `*` = any.
        sort: `field:ASC` or `field:DESC`, several joined by `|` or `,`; what makes no sense is ignored.
        start: how many matches to pass over.
        size: how many to give; the caller bounds it.
        fields: what can be named: WORKFLOW_FIELDS or TASK_FIELDS.

    Raises:
        InvalidRequestError: the query makes no sense (with upstream's words and the place), a text is too
            long, or a number is negative.
    """
    for name, number in (("start", start), ("size", size)):
        if number < 0:
            raise InvalidRequestError(f"{name} must be 0 or more, not {number}")
    for name, text, chars_max in (
        ("query", query, QUERY_CHARS_MAX),
        ("freeText", free_text, FREE_TEXT_CHARS_MAX),
    ):
        if len(text) > chars_max:
            raise InvalidRequestError(
                f"{name} is longer than {chars_max} characters; ask for fewer values at a time"
            )
        if "\0" in text:
            raise InvalidRequestError(f"{name} holds a NUL character, which no stored text has; leave it out")
    return SearchQuery(
        where=_Parser(query, fields).whole(),
        free_text=_free_text(free_text),
        sort=tuple(_orders(sort, fields)),
        start=start,
        size=size,
    )


class _Parser:
    """One reading of a query; `_at` only moves forward. None stands for a condition that is ignored."""

    def __init__(self, query: str, fields: Mapping[str, Field]) -> None:
        self._query = query
        self._fields = fields
        self._at = 0
        self._groups = 0  # open parentheses, whose end may end a bare value
        self._nested = 0
        self._conditions = 0

    def whole(self) -> Condition | None:
        if self._query.strip() in {"", "*"}:
            return None
        condition = self._either()
        if self._at < len(self._query.rstrip()):
            self._fail("AND, OR or the end is expected")
        return condition

    def _either(self) -> Condition | None:
        parts = [self._both()]
        while self._joint("OR"):
            parts.append(self._both())
        # An ignored alternative is one that is not there, or it would make everything match.
        return _joined(AnyOf, parts)

    def _both(self) -> Condition | None:
        parts = [self._one()]
        while self._joint("AND"):
            parts.append(self._one())
        return _joined(AllOf, parts)

    def _joint(self, word: str) -> bool:
        found = _JOINT.match(self._query, self._at)
        if found is None or found["word"].upper() != word:
            return False
        self._at = found.end()
        return True

    def _one(self) -> Condition | None:
        self._nested += 1
        if self._nested > NESTING_MAX:
            self._fail(f"more than {NESTING_MAX} parentheses and NOTs around one condition")
        try:
            negation = _NOT.match(self._query, self._at)
            if negation is not None and _HEAD.match(self._query, self._at) is None:
                self._at = negation.end()
                inner = self._one()
                return None if inner is None else Not(of=inner)
            self._blanks()
            if self._query.startswith("(", self._at):
                return self._group()
            return self._condition()
        finally:
            self._nested -= 1

    def _group(self) -> Condition | None:
        self._at += 1
        self._groups += 1
        inner = self._either()
        self._blanks()
        if not self._query.startswith(")", self._at):
            self._fail("AND, OR or a closing parenthesis is expected")
        self._at += 1
        self._groups -= 1
        return inner

    def _condition(self) -> Condition | None:
        head = _HEAD.match(self._query, self._at)
        if head is None:
            self._fail("a condition is expected, such as status = FAILED")
        self._count(1)
        field = self._fields.get(head["field"])
        shown = field or Field(key="")  # an ignored condition is read all the same
        self._at = head.end()
        if head["unset"] is not None:
            self._at = head.end("unset")
            isset = IsSet(key=shown.key, kind=shown.kind)
            found: Condition = isset if head["unset"].upper().startswith("NOT") else Not(of=isset)
        elif head["word"] is not None:
            found = self._worded(shown, head["word"].upper().split())
        elif head["op"] in {"!=", "<>"}:
            found = Not(of=self._equal(shown, [self._value(shown)]))
        else:
            op = _OPS[head["op"]]
            value = self._value(shown)
            found = self._equal(shown, [value]) if op == "=" else Compare(key=shown.key, op=op, value=value)
        return None if field is None else found

    def _worded(self, field: Field, words: list[str]) -> Condition:
        match words[-1]:
            case "IN":
                found: Condition = self._equal(field, self._list(field))
            case "BETWEEN":
                low = self._value(field)
                if not self._joint("AND"):
                    self._fail("BETWEEN needs two values with AND between them")
                high = self._value(field)
                found = AllOf(
                    parts=(
                        Compare(key=field.key, op=">=", value=low),
                        Compare(key=field.key, op="<=", value=high),
                    )
                )
            case _:
                if field.kind != "text":
                    self._fail("STARTS_WITH is for texts")
                found = StartsWith(key=field.key, prefix=str(self._value(field)))
        return Not(of=found) if words[0] == "NOT" else found

    def _equal(self, field: Field, values: list[str | int]) -> Condition:
        """The value is one of these; those with `*` stand for whatever fits."""
        plain = [value for value in values if not (isinstance(value, str) and "*" in value)]
        patterns = [re.sub(r"\*+", "*", str(value)) for value in values if value not in plain]
        self._count(len(patterns))
        for pattern in patterns:
            if len(pattern) > PATTERN_CHARS_MAX:
                self._fail(f"a value with * is longer than {PATTERN_CHARS_MAX} characters")
        parts: list[Condition] = [Like(key=field.key, pattern=pattern) for pattern in patterns]
        if len(plain) == 1:
            parts.insert(0, Compare(key=field.key, op="=", value=plain[0]))
        elif plain:
            parts.insert(0, Among(key=field.key, values=tuple(plain)))
        return parts[0] if len(parts) == 1 else AnyOf(parts=tuple(parts))

    # ------------------------------------------------------------------------------------ values
    def _value(self, field: Field) -> str | int:
        """One value, quoted, in parentheses or bare."""
        self._blanks()
        at = self._at
        if self._query.startswith("(", at):
            values = self._list(field)
            if len(values) > 1:
                self._fail("several values need IN", at)
            return values[0]
        quoted = self._quoted("")
        return self._typed(field, self._bare() if quoted is None else quoted, at)

    def _quoted(self, ends: str) -> str | None:
        """The text between quotes that begin here; None when none do. `ends` may follow it directly."""
        quote = self._query[self._at : self._at + 1]
        if not quote or quote not in _QUOTES:
            return None
        began, end = self._at + 1, self._query.find(quote, self._at + 1)
        while end >= 0:
            after = _BLANKS.match(self._query, end + 1).end()  # type: ignore[union-attr]  # matches nothing, too
            next_one = self._query[after : after + 1]
            if not next_one or next_one in ends or (next_one == ")" and self._groups):
                break
            if not ends and self._joint_at(end + 1):
                break
            end = self._query.find(quote, end + 1)
        if end < 0:
            self._fail("the quote that opens here is not closed before the value ends")
        self._at = end + 1
        return self._query[began:end]

    def _bare(self) -> str:
        """The text up to what ends a value."""
        began, depth = self._at, 0
        end = len(self._query)
        for stop in _STOP.finditer(self._query, began):
            if stop[0] == "(":
                depth += 1
            elif stop[0] == ")":
                if depth == 0 and self._groups:
                    end = stop.start()
                    break
                depth -= 1
            elif self._joint_at(stop.start()):
                end = stop.start()
                break
        value = self._query[began:end].strip()
        if not value or value[0] in "=<>!":
            self._fail("a value is expected")
        self._at = end
        return value

    def _joint_at(self, at: int) -> bool:
        """Whether AND or OR stands here: in capitals, or with a condition behind it."""
        found = _STOP.match(self._query, at)
        if found is None or found["word"] is None:
            return False
        if found["word"].isupper():
            return True
        return _HEAD.match(self._query, found.end()) is not None

    def _list(self, field: Field) -> list[str | int]:
        """The values of an IN: in parentheses, or (as upstream allows) without."""
        began = self._at
        if not self._query.startswith("(", began):
            parts = self._bare().split(",")
            return [self._typed(field, _unquoted(part.strip()), began) for part in parts]
        self._at += 1
        values: list[str | int] = []
        while True:
            self._blanks()
            at = self._at
            text = self._quoted(",)")
            if text is None:
                end = _LISTED_END.search(self._query, at).start()  # type: ignore[union-attr]  # the end
                text, self._at = self._query[at:end].strip(), end
                if not text:
                    self._fail("a value is expected")
            values.append(self._typed(field, text, at))
            self._blanks()
            mark = self._query[self._at : self._at + 1]
            if mark not in {",", ")"}:
                self._fail("a comma or a closing parenthesis is expected")
            self._at += 1
            if mark == ")":
                return values

    def _typed(self, field: Field, text: str, at: int) -> str | int:
        if field.kind == "text":
            return text
        try:
            number = int(text)
        except ValueError:
            moment = _iso_ms(text) if field.kind == "time" else None
            if moment is None:
                self._fail(f"{_WANTED[field.kind]} is expected", at)
            number = moment
        if abs(number) >= 2**63:
            self._fail("the number is too large", at)
        return number

    # ------------------------------------------------------------------------------------ helpers
    def _blanks(self) -> None:
        self._at = _BLANKS.match(self._query, self._at).end()  # type: ignore[union-attr]  # matches nothing, too

    def _count(self, more: int) -> None:
        self._conditions += more
        if self._conditions > CONDITIONS_MAX:
            self._fail(f"more than {CONDITIONS_MAX} conditions; use IN for many values")

    def _fail(self, what: str, at: int | None = None) -> NoReturn:
        place = (self._at if at is None else at) + 1
        shown = self._query
        if len(shown) > _SHOWN_CHARS_MAX:
            shown = shown[:_SHOWN_CHARS_MAX] + "..."
        raise InvalidRequestError(
            f"Incorrectly formatted query string: {shown} (at character {place}: {what})"
        )


def _joined(kind: type[AllOf | AnyOf], parts: list[Condition | None]) -> Condition | None:
    kept = tuple(part for part in parts if part is not None)
    if len(kept) < 2:
        return kept[0] if kept else None
    return kind(parts=kept)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        return text[1:-1]
    return text


def _iso_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _free_text(text: str) -> FreeText | None:
    ways: list[list[str]] = [[]]
    for found in _WORD.finditer(text):
        word = found["phrase"] if found["phrase"] is not None else found["word"]
        if found["phrase"] is None and word in {"|", "OR"}:
            ways.append([])
        elif (found["phrase"] is None and word in {"&", "AND"}) or not word.strip("*"):
            continue
        else:
            ways[-1].append(re.sub(r"\*+", "*", word))
    kept = tuple(tuple(way) for way in ways if way)
    return FreeText(ways=kept) if kept else None


def _orders(sort: str, fields: Mapping[str, Field]) -> list[tuple[str, bool]]:
    orders: dict[str, bool] = {}
    for part in re.split(r"[|,]", sort):
        name, _, direction = part.strip().partition(":")
        field, direction = fields.get(name.strip()), direction.strip().upper()
        if field is not None and field.key not in UNSORTABLE and direction in {"ASC", "DESC"}:
            orders.setdefault(field.key, direction == "DESC")
    return list(orders.items())
