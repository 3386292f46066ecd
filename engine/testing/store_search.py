"""What a store promises about search."""

from __future__ import annotations

import pytest
from msgspec import Raw

from engine.core.records import Header
from engine.core.search import TOTAL_EXACT_MAX, SearchQuery
from engine.core.search_grammar import parse_query
from engine.core.statuses import WorkflowStatus
from engine.ports.stores import ExecutionStore
from engine.testing.builders import accepted, creation, header, step

TOTALS, PAGE = 30, 7
SOME = [
    header("a", name="Video_1", create_ms=100, priority=1, correlation_id="Corr", parent_workflow_id="b"),
    header(
        "b",
        name="video",
        create_ms=300,
        version=2,
        status=WorkflowStatus.FAILED,
        reason="No SPACE left",
        failed_refs=["x", "y"],
    ),
    header("c", name="Videox1", create_ms=200, status=WorkflowStatus.COMPLETED, end_ms=900, update_ms=900),
    header(
        "d",
        name="100%",
        create_ms=200,
        status=WorkflowStatus.COMPLETED,
        priority=1,
        created_by="ann",
        idempotency_key="k1",
        event="e",
    ),
]


async def filled(store: ExecutionStore, headers: list[Header] = SOME) -> None:
    await accepted(
        store,
        *(
            creation(
                one.workflow_id,
                header=one,
                input=Raw(b'{"path":"In_' + one.workflow_id.encode() + b'"}'),
                output=Raw(b'{"url":"out/' + one.workflow_id.encode() + b'"}'),
            )
            for one in headers
        ),
    )


async def found(store: ExecutionStore, query: str = "", *, free_text: str = "*", sort: str = "") -> list[str]:
    parsed = parse_query(query, free_text=free_text, sort=sort, start=0, size=100)
    count, rows = await store.search(parsed)
    assert count == len(rows)
    return [row.header.workflow_id for row in rows]


class SearchContract:
    @pytest.mark.parametrize(
        ("query", "ids"),
        [
            ("", "bcda"),
            ("workflowId=a", "a"),
            ("status = COMPLETED", "cd"),
            ("status != COMPLETED", "ba"),
            ("version >= 2", "b"),
            ("version > 2", ""),
            ("startTime <= 200 AND startTime > 100", "cd"),
            ("startTime < 200", "a"),
            ("endTime = 900", "c"),
            ("status IN (FAILED, RUNNING)", "ba"),
            ("status NOT IN (FAILED, RUNNING)", "cd"),
            ("priority IN (1, 5) AND status=COMPLETED", "d"),
            ("correlationId = 'Corr'", "a"),
            ("correlationId = ''", "bcd"),
            ("correlationId != Corr", "bcd"),
            ("parentWorkflowId = b", "a"),
            ("workflowType = VIDEO*", "bca"),
            ("workflowType = video_*", "a"),
            ("workflowType = *%", "d"),
            ("workflowType = v*1", "ca"),
            ("workflowType = Video", ""),
            ("unknownField = 1 AND status = FAILED", "b"),
        ],
    )
    async def test_clauses(self, store: ExecutionStore, query: str, ids: str) -> None:
        """Each operator means what it says; `*` ignores case and leaves % and _ plain; newest first."""
        await filled(store)
        assert await found(store, query) == list(ids)

    @pytest.mark.parametrize(
        ("text", "ids"),
        [
            ("in_a", "a"),
            ("OUT/", "bcda"),
            ("no space", "b"),
            ("corr", "a"),
            ("%", "d"),
            ("Videox", "c"),
            ("nowhere", ""),
        ],
    )
    async def test_free_text(self, store: ExecutionStore, text: str, ids: str) -> None:
        """It occurs in id, name, correlation id, reason, input or output, in either case."""
        await filled(store)
        assert await found(store, free_text=text) == list(ids)

    async def test_free_text_and_clauses_both_hold(self, store: ExecutionStore) -> None:
        """They narrow each other."""
        await filled(store)
        assert await found(store, "status=COMPLETED", free_text="out/") == ["c", "d"]
        assert await found(store, "status=RUNNING", free_text="space") == []

    async def test_sort(self, store: ExecutionStore) -> None:
        """By each order in turn; equals by id."""
        await filled(store)
        assert await found(store, sort="startTime:ASC") == ["a", "c", "d", "b"]
        assert await found(store, sort="status:DESC|workflowType:ASC") == ["a", "b", "d", "c"]

    async def test_pages(self, store: ExecutionStore) -> None:
        """All matches are counted whatever the page."""
        await filled(store)

        async def page(start: int, size: int) -> tuple[int, list[str]]:
            count, rows = await store.search(SearchQuery(start=start, size=size))
            return count, [row.header.workflow_id for row in rows]

        assert await page(0, 3) == (4, ["b", "c", "d"])
        assert await page(3, 3) == (4, ["a"])
        assert await page(9, 3) == (4, [])
        assert await page(0, 0) == (4, [])

    async def test_totals(self, store: ExecutionStore) -> None:
        """Exact up to the store's bound, which is no small one; above it beyond, and pages stay exact."""
        assert store.total_exact_max is None or store.total_exact_max >= TOTAL_EXACT_MAX
        many = [header(f"w{n:02}", name=f"f{n % 2}", create_ms=n) for n in range(TOTALS)]
        await filled(store, many)
        bound = None
        if store.total_exact_max is not None:
            bound = store.total_exact_max = TOTALS // 2

        async def pages(query: str) -> None:
            ids: list[str] = []
            wanted = [
                one.workflow_id for one in reversed(many) if query in ("", f"workflowType = {one.name}")
            ]
            for start in range(0, len(wanted) + 2 * PAGE, PAGE):
                total, rows = await store.search(
                    parse_query(query, free_text="", sort="", start=start, size=PAGE)
                )
                ids += [row.header.workflow_id for row in rows]
                if bound is None or len(wanted) <= bound:
                    assert total == len(wanted)
                else:
                    assert total > bound
                    assert total >= start + len(rows) or not rows
                assert len(ids) == min(start + PAGE, len(wanted))
            assert ids == wanted

        await pages("workflowType = f1")
        await pages("")

    async def test_rows_are_whole(self, store: ExecutionStore) -> None:
        """A hit has what `row` gives."""
        await filled(store)
        _, [row] = await store.search(parse_query("workflowId=b", free_text="", sort="", start=0, size=1))
        assert row == await store.row("b")

    async def test_search_sees_every_step(self, store: ExecutionStore) -> None:
        """Whichever member a step changed, it is found by its new value and no more by the old one."""
        await filled(store)
        await accepted(store, step("a", 1, header=header("a", update_ms=5_000, reason="slow")))
        assert await found(store, "updateTime=5000") == ["a"]
        assert await found(store, free_text="slow") == ["a"]
        changed = header(
            "a", name="new", version=9, status=WorkflowStatus.TERMINATED, create_ms=400, end_ms=7
        )
        await accepted(store, step("a", 2, header=changed))
        query = "workflowType=new AND version=9 AND status=TERMINATED AND startTime=400 AND endTime=7"
        assert await found(store, query) == ["a"]
        assert await found(store, "status=RUNNING") == []
        await accepted(store, step("a", 3, delete=True))
        assert await found(store) == ["b", "c", "d"]

    @pytest.mark.parametrize(
        ("query", "ids"),
        [
            ("status = FAILED OR priority = 1", "bda"),
            ("status = COMPLETED AND NOT priority = 1", "c"),
            ("NOT (status = COMPLETED OR status = FAILED)", "a"),
            ("startTime BETWEEN 150 AND 300", "bcd"),
            ("startTime NOT BETWEEN 150 AND 300", "a"),
            ("startTime < 1970-01-01T00:00:00.2Z", "a"),
            ("endTime IS NULL", "bda"),
            ("endTime IS NOT NULL", "c"),
            ("correlationId IS NOT NULL", "a"),
            ("reasonForIncompletion IS NULL", "cda"),
            ("reasonForIncompletion = '*space*'", "b"),
            ("workflowType STARTS_WITH Video", "ca"),
            ("workflowType STARTS_WITH '100%'", "d"),
            ("workflowType STARTS_WITH ''", "bcda"),
            ("workflowType > a", "b"),
            ("workflowType <= Video_1", "da"),
            ("workflowType IN (video, v*1)", "bca"),
            ("workflowType != v*", "d"),
            ("executionTime >= 700", "c"),
            ("executionTime = 0", "bda"),
            ("failedReferenceTaskNames = x,y", "b"),
            ("failedReferenceTaskNames = *y*", "b"),
            ("failedReferenceTaskNames = ''", "cda"),
            ("createdBy = ann", "d"),
            ("idempotencyKey IN (k1, k2)", "d"),
            ("event IS NULL", "bca"),
            ("classifier = workflow AND status = FAILED", "b"),
            ("classifier = agent", ""),
            ("input = *in_c*", "c"),
            ('output STARTS_WITH \'{"url":"out/d\'', "d"),
        ],
    )
    async def test_conditions(self, store: ExecutionStore, query: str, ids: str) -> None:
        """The rest of the grammar and the fields that are read out of documents."""
        await filled(store)
        assert await found(store, query) == list(ids)

    @pytest.mark.parametrize(
        ("text", "ids"),
        [
            ("space left", "b"),
            ("left space", "b"),
            ('"left space"', ""),
            ("space out/a", ""),
            ("space | out/a", "ba"),
            ("out*b", "b"),
            ('"url":"out/', "bcda"),
        ],
    )
    async def test_free_text_is_words(self, store: ExecutionStore, text: str, ids: str) -> None:
        """All words of one alternative occur, wherever; quotes keep words together."""
        await filled(store)
        assert await found(store, free_text=text) == list(ids)

    @pytest.mark.parametrize(
        "stored", [b'{"name":"M\\u00fcller \\"x\\""}', '{"name":"Müller \\"x\\""}'.encode()]
    )
    async def test_free_text_sees_through_escapes(self, store: ExecutionStore, stored: bytes) -> None:
        """However a client wrote its JSON, the words a person types are found in it."""
        await accepted(store, creation("a", header=header("a"), input=Raw(stored)))
        assert await found(store, free_text="müller") == ["a"]
        assert await found(store, free_text='x"') == ["a"]

    async def test_status_counts(self, store: ExecutionStore) -> None:
        """Of what the query finds; statuses without a match are left out, page and order do not matter."""
        await filled(store)

        async def counts(query: str, free_text: str = "") -> dict[str, int]:
            return await store.status_counts(
                parse_query(query, free_text=free_text, sort="", start=3, size=0)
            )

        assert await counts("") == {"RUNNING": 1, "FAILED": 1, "COMPLETED": 2}
        assert await counts("startTime <= 200") == {"RUNNING": 1, "COMPLETED": 2}
        assert await counts("", free_text="space") == {"FAILED": 1}
        assert await counts("status = PAUSED") == {}
