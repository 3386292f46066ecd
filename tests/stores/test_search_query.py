"""What the texts of a search request mean."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import InvalidRequestError
from engine.core.search import (
    TASK_FIELDS,
    WORKFLOW_FIELDS,
    AllOf,
    Among,
    AnyOf,
    Compare,
    Condition,
    FreeText,
    IsSet,
    Like,
    Not,
    Op,
    SearchQuery,
    StartsWith,
    equals,
)
from engine.core.search_grammar import (
    CONDITIONS_MAX,
    FREE_TEXT_CHARS_MAX,
    PATTERN_CHARS_MAX,
    QUERY_CHARS_MAX,
    parse_query,
)

READ_S_MAX = 2.0


def parsed(query: str, *, free_text: str = "*", sort: str = "") -> SearchQuery:
    return parse_query(query, free_text=free_text, sort=sort, start=0, size=100)


def compared(key: str, op: Op, value: str | int) -> Compare:
    return Compare(key=key, op=op, value=value)


A, B, C = equals("status", "A"), equals("status", "B"), equals("version", 1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("  ", None),
        ("*", None),
        ("workflowType=w", equals("name", "w")),
        ("workflowName = w", equals("name", "w")),
        ("workflowType = 'w'", equals("name", "w")),
        ('workflowType="w"', equals("name", "w")),
        ('correlationId:"c"', equals("correlation_id", "c")),
        ("correlationId=a=b c", equals("correlation_id", "a=b c")),
        ("correlationId=a-b.c_d:e/f", equals("correlation_id", "a-b.c_d:e/f")),
        ("correlationId='it's'", equals("correlation_id", "it's")),
        ("correlationId='it's' AND status=A", AllOf(parts=(equals("correlation_id", "it's"), A))),
        ("correlationId='a AND b' AND version=1", AllOf(parts=(equals("correlation_id", "a AND b"), C))),
        (
            "correlationId=rock and roll and status=A",
            AllOf(parts=(equals("correlation_id", "rock and roll"), A)),
        ),
        ("parentWorkflowId=''", equals("parent_workflow_id", "")),
        ("status=(A)", A),
        ("status = ( 'A' )", A),
        ("workflowType=a(b)", equals("name", "a(b)")),
        ("workflowType=INSIDE", equals("name", "INSIDE")),
        (
            "updateTime>=1 AND priority<=2",
            AllOf(parts=(compared("update_ms", ">=", 1), compared("priority", "<=", 2))),
        ),
        ("status!=A", Not(of=A)),
        ("status <> A", Not(of=A)),
        ("status IN (A,B)", Among(key="status", values=("A", "B"))),
        ("status IN ('A', \"B, C\")", Among(key="status", values=("A", "B, C"))),
        ("status in ( A , B )", Among(key="status", values=("A", "B"))),
        ("status IN(A)", A),
        ("status IN A,B AND version=1", AllOf(parts=(Among(key="status", values=("A", "B")), C))),
        ("status NOT IN (A, B)", Not(of=Among(key="status", values=("A", "B")))),
        ("version IN (1, 2)", Among(key="version", values=(1, 2))),
        ("workflowType=w*", Like(key="name", pattern="w*")),
        ("workflowType='**w**x'", Like(key="name", pattern="*w*x")),
        ("workflowType!=w*", Not(of=Like(key="name", pattern="w*"))),
        ("workflowType IN (w*, v)", AnyOf(parts=(equals("name", "v"), Like(key="name", pattern="w*")))),
        ("startTime=1970-01-01T00:00:01Z", equals("create_ms", 1_000)),
        ("startTime='1970-01-01 02:00:01+02:00'", equals("create_ms", 1_000)),
        ("startTime > 1970-01-02", compared("create_ms", ">", 86_400_000)),
        (
            "startTime BETWEEN 1 AND 2",
            AllOf(parts=(compared("create_ms", ">=", 1), compared("create_ms", "<=", 2))),
        ),
        (
            "workflowType NOT BETWEEN 'a AND b' AND c",
            Not(of=AllOf(parts=(compared("name", ">=", "a AND b"), compared("name", "<=", "c")))),
        ),
        ("workflowType STARTS_WITH 'v p'", StartsWith(key="name", prefix="v p")),
        ("workflowType NOT STARTS_WITH v", Not(of=StartsWith(key="name", prefix="v"))),
        ("endTime IS NULL", Not(of=IsSet(key="end_ms", kind="time"))),
        ("endTime is not null", IsSet(key="end_ms", kind="time")),
        ("status=A OR status=B", AnyOf(parts=(A, B))),
        ("status=A OR status=B AND version=1", AnyOf(parts=(A, AllOf(parts=(B, C))))),
        ("(status=A OR status=B) AND version=1", AllOf(parts=(AnyOf(parts=(A, B)), C))),
        ("((status=A)OR(status=B))", AnyOf(parts=(A, B))),
        ("NOT status=A AND version=1", AllOf(parts=(Not(of=A), C))),
        ("NOT (status=A AND version=1)", Not(of=AllOf(parts=(A, C)))),
        ("classifier='workflow' AND status=A", AllOf(parts=(equals("classifier", "workflow"), A))),
        ("nothing=1 AND status=A", A),
        ("nothing=1 OR status=A", A),
        ("NOT nothing IN (1, 2)", None),
        (" workflowId=a  AND  status=A ", AllOf(parts=(equals("workflow_id", "a"), A))),
    ],
)
def test_a_query_is_its_condition(query: str, expected: Condition | None) -> None:
    """Upstream's forms in both of its dialects; conditions on unknown fields are left out."""
    assert parsed(query).where == expected


def test_tasks_have_fields_of_their_own() -> None:
    """The same grammar over other names."""
    query = parse_query(
        "taskDefName IN (a,b) AND updateTime>5", free_text="", sort="", start=0, size=1, fields=TASK_FIELDS
    )
    assert query.where == AllOf(
        parts=(Among(key="def_name", values=("a", "b")), compared("update_ms", ">", 5))
    )


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("w", "1: a condition"),
        ("workflowType", "1: a condition"),
        ("workflowType=", "14: a value"),
        ("=w", "1: a condition"),
        ("status==A", "8: a value"),
        ("status=A AND ", "14: a condition"),
        ("AND status=A", "1: a condition"),
        ("status=A OR free", "13: a condition"),
        ("status IN", "1: a condition"),
        ("status IN ()", "12: a value"),
        ("status IN (A", "13: a comma or a closing parenthesis"),
        ("status IN (A,,B)", "14: a value"),
        ("status IN (A) x", "14: AND, OR or the end"),
        ("status=(A,B)", "8: several values need IN"),
        ("(status=A", "10: AND, OR or a closing parenthesis"),
        ("startTime BETWEEN 1", "20: BETWEEN needs two values"),
        ("startTime > yesterday", "13: epoch milliseconds or an ISO 8601 time"),
        ("startTime STARTS_WITH 1", "23: STARTS_WITH is for texts"),
        ("version=1*", "9: a whole number"),
        ("priority=99999999999999999999", "10: the number is too large"),
        ("correlationId='abc", "15: the quote that opens here is not closed"),
        ("correlationId='a' b", "15: the quote that opens here is not closed"),
        ("(" * 51 + "status=A", "51: more than 50 parentheses"),
    ],
)
def test_what_is_no_query_is_refused(query: str, place: str) -> None:
    """With upstream's words, the query itself, the place and what is wrong there, as a 400."""
    with pytest.raises(InvalidRequestError) as caught:
        parsed(query)
    assert str(caught.value).startswith(f"Incorrectly formatted query string: {query} (at character {place}")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ()),
        ("startTime:DESC", (("create_ms", True),)),
        ("startTime:asc|status:DESC", (("create_ms", False), ("status", True))),
        ("startTime:ASC, version:DESC", (("create_ms", False), ("version", True))),
        ("startTime", ()),
        ("input:ASC", ()),
        ("startTime:UP|nothing:ASC|status:ASC|status:DESC", (("status", False),)),
    ],
)
def test_a_sort_is_its_orders(sort: str, expected: object) -> None:
    """`field:ASC` or `field:DESC`; anything else is ignored, and so is a field named again."""
    assert parsed("", sort=sort).sort == expected


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("*", None),
        (" ", None),
        ("& |", None),
        ("a b", (("a", "b"),)),
        ("a & b AND c", (("a", "b", "c"),)),
        ('"a b" c', (("a b", "c"),)),
        ("a b | c OR d", (("a", "b"), ("c",), ("d",))),
        ("pre** *", (("pre*",),)),
        ("it's", (("it's",),)),
    ],
)
def test_free_text_is_words(text: str, ways: tuple[tuple[str, ...], ...] | None) -> None:
    """All of them, or those of one alternative; a lone `*` means any text."""
    assert parsed("", free_text=text).free_text == (None if ways is None else FreeText(ways=ways))


@pytest.mark.parametrize(("start", "size"), [(-1, 1), (0, -1)])
def test_a_negative_page_is_refused(start: int, size: int) -> None:
    """It names the parameter."""
    with pytest.raises(InvalidRequestError, match=r"(start|size) must be 0 or more, not -1"):
        parse_query("", free_text="", sort="", start=start, size=size)


@pytest.mark.parametrize(
    ("query", "free_text", "problem"),
    [
        ("workflowId=" + "x" * QUERY_CHARS_MAX, "", "query is longer than"),
        ("", "x" * (FREE_TEXT_CHARS_MAX + 1), "freeText is longer than"),
        ("workflowId=*" + "x" * PATTERN_CHARS_MAX, "", r"a value with \* is longer than"),
        (" OR ".join(["version=1"] * (CONDITIONS_MAX + 1)), "", "more than 200 conditions; use IN"),
        ("workflowId IN (" + ",".join(["*"] * CONDITIONS_MAX) + ")", "", "more than 200 conditions"),
        ("workflowId=a\0b", "", "query holds a NUL"),
        ("", "a\0b", "freeText holds a NUL"),
    ],
    ids=lambda text: text[:12],
)
def test_what_no_database_could_answer_is_refused(query: str, free_text: str, problem: str) -> None:
    """Lengths and numbers have bounds, and the answer says which."""
    with pytest.raises(InvalidRequestError, match=problem):
        parsed(query, free_text=free_text)


@pytest.mark.parametrize(
    "hostile",
    [
        lambda n: "a=b" + " " * n + "c",
        lambda n: "a='" + "' " * (n // 2),
        lambda n: "a=" + "(" * n,
        lambda n: "a=b" + " and c" * (n // 6),
        lambda n: "a" * n,
        lambda n: "a IN (" + "'" * n,
        lambda n: "NOT " * (n // 4),
    ],
    ids=["blanks", "quotes", "parentheses", "ands", "letters", "listed quotes", "nots"],
)
def test_a_hostile_query_is_read_as_quickly_as_any(hostile: Callable[[int], str]) -> None:
    """None makes the reader go over it again and again: the longest allowed takes far below this bound."""
    began = time.perf_counter()
    try:
        parsed(hostile(QUERY_CHARS_MAX - 10))
    except InvalidRequestError:
        pass
    assert time.perf_counter() - began < READ_S_MAX


@given(st.text(alphabet="abIN OT=<>!'\",()*1 ANDS_WBEL", max_size=60))
def test_any_text_is_read_or_refused(query: str) -> None:
    """No query is an error of ours."""
    try:
        parsed(query)
    except InvalidRequestError:
        pass


words = st.text(alphabet="abcXYZ019_-.:/ =<>()", min_size=1, max_size=12)
numbers = st.integers(-(2**63) + 1, 2**63 - 1)
COMPARISONS: list[Op] = ["=", "<", "<=", ">", ">="]


@st.composite
def written_conditions(draw: st.DrawFn) -> tuple[str, Condition]:
    name, field = draw(st.sampled_from(sorted(WORKFLOW_FIELDS.items())))
    values: st.SearchStrategy[str | int] = words if field.kind == "text" else numbers
    if draw(st.booleans()):
        several = draw(st.lists(values, min_size=2, max_size=4))
        listed = ", ".join(f"'{one}'" for one in several)
        among = Among(key=field.key, values=tuple(several))
        if draw(st.booleans()):
            return f"{name} NOT IN ({listed})", Not(of=among)
        return f"{name} IN ({listed})", among
    op: Op = draw(st.sampled_from(COMPARISONS))
    value = draw(values)
    blank = draw(st.sampled_from(["", " "]))
    return f'{name}{blank}{op}{blank}"{value}"', Compare(key=field.key, op=op, value=value)


def _joined(word: str, kind: type[AllOf | AnyOf], some: list[tuple[str, Condition]]) -> tuple[str, Condition]:
    text = f" {word} ".join(text for text, _ in some)
    return f"({text})", kind(parts=tuple(condition for _, condition in some))


def _wider(inner: st.SearchStrategy[tuple[str, Condition]]) -> st.SearchStrategy[tuple[str, Condition]]:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda some: _joined("AND", AllOf, some)),
        several.map(lambda some: _joined("OR", AnyOf, some)),
        inner.map(lambda one: (f"NOT ({one[0]})", Not(of=one[1]))),
    )


@given(st.recursive(written_conditions(), _wider, max_leaves=6))
def test_what_is_written_is_what_is_read(written: tuple[str, Condition]) -> None:
    """A condition put into text comes back as it was."""
    text, condition = written
    assert parsed(text).where == condition
