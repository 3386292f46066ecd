"""What upstream's query texts mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import InvalidRequestError
from engine.core.search import FIELDS, NUMBERS, QUERY_CHARS_MAX, Clause, Op, SearchQuery, parse_query


def parsed(query: str, *, free_text: str = "*", sort: str = "") -> SearchQuery:
    return parse_query(query, free_text=free_text, sort=sort, start=0, size=100)


def clauses(query: str) -> list[tuple[str, str, tuple[str | int, ...]]]:
    return [(one.column, one.op, one.values) for one in parsed(query).clauses]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", []),
        ("  ", []),
        ("*", []),
        ("workflowType=w", [("name", "=", ("w",))]),
        ("workflowType = 'w'", [("name", "=", ("w",))]),
        ('workflowType="w"', [("name", "=", ("w",))]),
        ("correlationId=a=b c", [("correlation_id", "=", ("a=b c",))]),
        ("correlationId='it's'", [("correlation_id", "=", ("it's",))]),
        (
            "correlationId='a AND b' AND version=1",
            [("correlation_id", "=", ("a AND b",)), ("version", "=", (1,))],
        ),
        ("parentWorkflowId=''", [("parent_workflow_id", "=", ("",))]),
        ("startTime>1 AND endTime < 2", [("create_ms", ">", (1,)), ("end_ms", "<", (2,))]),
        ("updateTime>=1 AND priority<=2", [("update_ms", ">=", (1,)), ("priority", "<=", (2,))]),
        ("status!=FAILED", [("status", "!=", ("FAILED",))]),
        ("status IN (A,B)", [("status", "IN", ("A", "B"))]),
        ("status IN ('A', \"B, C\")", [("status", "IN", ("A", "B, C"))]),
        ("status IN(A)", [("status", "=", ("A",))]),
        ("status IN A,B AND version=1", [("status", "IN", ("A", "B")), ("version", "=", (1,))]),
        ("status NOT IN (A, B)", [("status", "NOT IN", ("A", "B"))]),
        ("version IN (1, 2)", [("version", "IN", (1, 2))]),
        ("workflowType=w*", [("name", "LIKE", ("w*",))]),
        ("workflowType='**w**x'", [("name", "LIKE", ("*w*x",))]),
        ("workflowType=INSIDE", [("name", "=", ("INSIDE",))]),
        ("classifier='workflow' AND workflowId=1", [("workflow_id", "=", ("1",))]),
        ("workflowId=a  AND  status=B ", [("workflow_id", "=", ("a",)), ("status", "=", ("B",))]),
    ],
)
def test_a_query_is_its_clauses(query: str, expected: list[object]) -> None:
    """Upstream's forms, and the operators it lacks; unknown fields are ignored."""
    assert clauses(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "w",
        "workflowType",
        "workflowType=",
        "=w",
        "status==A",
        'correlationId:"c"',
        "status=A AND ",
        "AND status=A",
        "status=A OR status=B",
        "status IN",
        "status IN ()",
        "status IN (A",
        "status IN (A,,B)",
        "status IN (A) x",
        "startTime BETWEEN 1 AND 2",
        "startTime > yesterday",
        "version=1*",
        "priority=99999999999999999999",
    ],
)
def test_what_is_no_query_is_refused(query: str) -> None:
    """With upstream's words and the query itself, as a 400."""
    with pytest.raises(InvalidRequestError) as caught:
        parsed(query)
    assert str(caught.value) == f"Incorrectly formatted query string: {query}"
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ()),
        ("startTime:DESC", (("create_ms", True),)),
        ("startTime:asc|status:DESC", (("create_ms", False), ("status", True))),
        ("startTime:ASC, version:DESC", (("create_ms", False), ("version", True))),
        ("startTime", ()),
        ("startTime:UP|nothing:ASC|status:ASC|status:DESC", (("status", False),)),
    ],
)
def test_a_sort_is_its_orders(sort: str, expected: object) -> None:
    """`field:ASC` or `field:DESC`; anything else is ignored, and so is a field named again."""
    assert parsed("", sort=sort).sort == expected


def test_free_text_and_page() -> None:
    """A lone `*` means any text; start and size are taken over."""
    assert parsed("", free_text="*").free_text == parsed("", free_text=" ").free_text == ""
    query = parse_query("", free_text=" a*b ", sort="", start=3, size=7)
    assert (query.free_text, query.start, query.size) == ("a*b", 3, 7)


@pytest.mark.parametrize("page", [{"start": -1, "size": 1}, {"start": 0, "size": -1}])
def test_a_negative_page_is_refused(page: dict[str, int]) -> None:
    """It names the parameter."""
    with pytest.raises(InvalidRequestError, match=r"(start|size) must be 0 or more, not -1"):
        parse_query("", free_text="", sort="", **page)


def test_an_endless_query_is_refused() -> None:
    """Its length has a bound."""
    with pytest.raises(InvalidRequestError, match="longer than"):
        parsed("workflowId=" + "x" * QUERY_CHARS_MAX)


@given(st.text(alphabet="abIN OT=<>!'\",()*1 AND", max_size=60))
def test_any_text_is_read_or_refused(query: str) -> None:
    """No query is an error of ours."""
    try:
        parsed(query)
    except InvalidRequestError:
        pass


words: st.SearchStrategy[str | int] = st.text(alphabet="abcXYZ019_-.:/ =<>()", min_size=1, max_size=12)
numbers: st.SearchStrategy[str | int] = st.integers(-(2**63) + 1, 2**63 - 1)


MANY: list[Op] = ["IN", "NOT IN"]
COMPARISONS: list[Op] = ["=", "!=", "<", "<=", ">", ">="]


@st.composite
def written_clauses(draw: st.DrawFn) -> tuple[str, Clause]:
    field, column = draw(st.sampled_from(sorted(FIELDS.items())))
    values = numbers if column in NUMBERS else words
    if draw(st.booleans()):
        many: Op = draw(st.sampled_from(MANY))
        several = draw(st.lists(values, min_size=2, max_size=4))
        listed = ", ".join(str(one) if column in NUMBERS else f"'{one}'" for one in several)
        return f"{field} {many} ({listed})", Clause(column=column, op=many, values=tuple(several))
    op: Op = draw(st.sampled_from(COMPARISONS))
    value = draw(values)
    blank = draw(st.sampled_from(["", " "]))
    return f'{field}{blank}{op}{blank}"{value}"', Clause(column=column, op=op, values=(value,))


@given(st.lists(written_clauses(), min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(written: list[tuple[str, Clause]]) -> None:
    """Clauses put into text come back as they were."""
    query = " AND ".join(text for text, _ in written)
    assert parsed(query).clauses == tuple(clause for _, clause in written)
