"""Every store gives the same answers: generated queries over workflows and tasks of all sorts."""

import asyncio
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from engine.adapters.memory.store import MemoryExecutionStore
from engine.adapters.sql.postgres import PostgresExecutionStore
from engine.adapters.sql.sqlite import SqliteExecutionStore
from engine.core.records import Header, QueueEntry, Task, TaskHead, TaskLinks, TaskState
from engine.core.search import TASK_FIELDS, WORKFLOW_FIELDS, Field, SearchQuery
from engine.core.search_grammar import parse_query
from engine.core.statuses import TASK_OPEN, TaskStatus, WorkflowStatus
from engine.ports.stores import Claim, ExecutionStore
from engine.testing.builders import accepted, creation, header

WORKFLOWS = 60
QUERIES_SQLITE = 300
QUERIES_POSTGRES = 100
TEXTS = ("", "a", "A", "ab", "a_b", "a%b", "A*", "é", "É", "ß", "\U0001f3ac", "it's", 'say "x"', "b\\s", "z")
PATTERNS = ("a*", "*b", "*_*", '*"e*')
WORDS = ("", "", "a", "É", "é", '"x"', 'say*"x', "slash", "A_B", "nowhere", "a | é", "5 name")
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN", "STARTS_WITH", "IS")
NUMBERS = (0, 1, 2, 5, 900, 1_000, 1_001, 2**40)
DOCUMENTS = (
    Raw(b"{}"),
    Raw(b'{"path":"A_b%"}'),
    Raw('{"name":"é É","n":5}'.encode()),
    Raw(b'{"name":"\\u00e9"}'),
    Raw(b'{"say":"\\"x\\"","back":"\\\\slash"}'),
)


def workflows() -> list[Header]:
    """Members go round in cycles of different lengths, so that they meet in many combinations."""
    texts, others, numbers = cycle(TEXTS), cycle(TEXTS[1:]), cycle(NUMBERS)
    statuses, ends = cycle(WorkflowStatus), cycle((0, 0, 900, 2_000, 2**40))
    return [
        header(
            f"{n:04x}",
            name=next(others),
            version=1 + n % 3,
            status=next(statuses),
            priority=n % 4,
            create_ms=1_000 + n // 3,
            update_ms=next(numbers),
            end_ms=next(ends),
            correlation_id=next(texts) or None,
            parent_workflow_id=f"{n % 7:04x}" if n % 2 else None,
            reason=next(texts) or None,
            created_by=next(texts) or None,
            idempotency_key=next(texts) or None,
            event=next(texts) or None,
            failed_refs=["a", "é"][: n % 3],
        )
        for n in range(WORKFLOWS)
    ]


def tasks_of(workflow: Header, first: int) -> list[Task]:
    texts, names, statuses = cycle(TEXTS[first % 5 :]), cycle(TEXTS[1 + first % 3 :]), list(TaskStatus)
    return [
        Task(
            head=TaskHead(
                task_type=(name := next(names)),
                task_def_name=name if n % 2 else next(names),
                reference_task_name=f"r{n}",
                task_id=f"{workflow.workflow_id}-{n}",
                workflow_instance_id=workflow.workflow_id,
                workflow_type=workflow.name,
                seq=n,
                scheduled_time=1_000 + n,
                domain=next(texts),
                input_data=DOCUMENTS[(first + n) % len(DOCUMENTS)],
            ),
            state=TaskState(
                status=statuses[(first + n) % len(statuses)],
                start_time=900 * (n % 2),
                update_time=(first * 7 + n) % 5,
                end_time=1_000 * (n % 3),
                worker_id=next(texts),
                reason_for_incompletion=next(texts),
            ),
            links=TaskLinks(base_ref=f"r{n}"),
            output=DOCUMENTS[(first * n) % len(DOCUMENTS)],
        )
        for n in range(3)
    ]


async def fill(store: ExecutionStore) -> None:
    for n, workflow in enumerate(workflows()):
        made = tasks_of(workflow, n)
        entries = [
            QueueEntry(task_id=one.id, workflow_id=workflow.workflow_id, queue=f"q{n % 2}", due_ms=1)
            for one in made
            if one.status in TASK_OPEN
        ]
        await accepted(
            store,
            creation(
                workflow.workflow_id,
                header=workflow,
                input=DOCUMENTS[n % 5],
                output=DOCUMENTS[n % 4],
                tasks_new=made,
                queue_put=entries,
            ),
        )
    await store.write([Claim(queue="q1", count=9, worker_id="A*", now_ms=1_001)])


def _written(value: str) -> str:
    quote = "'" if '"' in value else '"'
    return f"{quote}{value}{quote}"


def conditions(fields: dict[str, Field]) -> st.SearchStrategy[str]:
    """Conditions as text, with values that occur in the rows and some that do not."""
    statuses = [one.value for one in (*WorkflowStatus, *TaskStatus)]

    @st.composite
    def condition(draw: st.DrawFn) -> str:
        name = draw(st.sampled_from(sorted(fields)))
        texts = statuses if fields[name].key == "status" else [*TEXTS, *PATTERNS, "0001", "r1"]
        values = st.sampled_from(texts).map(_written)
        if fields[name].kind != "text":
            values = st.sampled_from(NUMBERS).map(str)
        op = draw(st.sampled_from(OPERATORS))
        match op:
            case "IN" | "NOT IN":
                return f"{name} {op} ({', '.join(draw(st.lists(values, min_size=1, max_size=4)))})"
            case "BETWEEN":
                return f"{name} BETWEEN {draw(values)} AND {draw(values)}"
            case "STARTS_WITH" if fields[name].kind == "text":
                return f"{name} STARTS_WITH {draw(values)}"
            case "IS" | "STARTS_WITH":
                return f"{name} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
        return f"{name} {op} {draw(values)}"

    return st.recursive(
        condition(),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda parts: f"({' '.join(parts)})"),
            inner.map(lambda one: f"NOT ({one})"),
        ),
        max_leaves=5,
    )


def queries(fields: dict[str, Field]) -> st.SearchStrategy[SearchQuery]:
    orders = st.lists(
        st.tuples(st.sampled_from(sorted(fields)), st.sampled_from(["ASC", "DESC"])).map(":".join), max_size=3
    )
    return st.builds(
        lambda query, text, sort, start, size: parse_query(
            query, free_text=text, sort="|".join(sort), start=start, size=size, fields=fields
        ),
        st.one_of(st.just(""), conditions(fields)),
        st.sampled_from(WORDS),
        orders,
        st.sampled_from([0, 0, 3]),
        st.sampled_from([5, 100]),
    )


async def answers(store: ExecutionStore, query: SearchQuery, *, of_tasks: bool) -> list[object]:
    if of_tasks:
        count, tasks = await store.search_tasks(query)
        by_tasks, rows = await store.search_by_tasks(query)
        return [count, [one.id for one in tasks], by_tasks, [row.header.workflow_id for row in rows]]
    count, rows = await store.search(query)
    return [count, [row.header.workflow_id for row in rows], await store.status_counts(query)]


def agree(runner: asyncio.Runner, other: ExecutionStore, *, of_tasks: bool, examples: int) -> None:
    """The store and one in memory are filled alike and asked the same."""
    one = MemoryExecutionStore()
    runner.run(fill(one))
    runner.run(fill(other))
    nonempty = 0

    @settings(max_examples=examples, deadline=None)  # a slow machine is no bug
    @given(queries(dict(TASK_FIELDS if of_tasks else WORKFLOW_FIELDS)))
    def asked(query: SearchQuery) -> None:
        nonlocal nonempty
        expected = runner.run(answers(one, query, of_tasks=of_tasks))
        assert runner.run(answers(other, query, of_tasks=of_tasks)) == expected
        nonempty += bool(expected[0])

    asked()
    assert nonempty > examples // 10  # the queries are not all about nothing


@pytest.mark.parametrize("of_tasks", [False, True], ids=["workflows", "tasks"])
def test_sqlite_answers_as_memory_does(database_path: Path, of_tasks: bool) -> None:
    """Counts, hits and their order are the same."""
    with asyncio.Runner() as runner:
        store = SqliteExecutionStore(database_path, "OFF")
        try:
            agree(runner, store, of_tasks=of_tasks, examples=QUERIES_SQLITE)
        finally:
            runner.run(store.close())


@pytest.mark.parametrize("of_tasks", [False, True], ids=["workflows", "tasks"])
def test_postgresql_answers_as_memory_does(postgres_url: str, of_tasks: bool) -> None:
    """Counts, hits and their order are the same."""
    with asyncio.Runner() as runner:
        store = runner.run(PostgresExecutionStore.open(postgres_url))
        try:
            agree(runner, store, of_tasks=of_tasks, examples=QUERIES_POSTGRES)
        finally:
            runner.run(store.close())
