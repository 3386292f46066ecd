"""Search queries as SQL, one text for every database: a condition's tree becomes an expression of SQLAlchemy.

What is not a column is read out of the stored documents. Every expression has a value in every row, as the
conditions expect, and texts compare by code point whatever the database's collation is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, assert_never

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from engine.adapters.sql.tables import queue, task, workflow, workflow_payload
from engine.core.search import (
    BY_TASKS_ORDER,
    NEWEST_FIRST,
    PLAIN_CLASSIFIER,
    TASKS_NEWEST_FIRST,
    AllOf,
    Among,
    AnyOf,
    Compare,
    Condition,
    FreeText,
    IsSet,
    Like,
    Not,
    SearchQuery,
    StartsWith,
    folded,
    keys_of,
    spellings,
)
from engine.core.statuses import TASK_OPEN, TaskStatus

Expression = ColumnElement[Any]
ValueOf = Callable[[str], Expression]

_ESCAPE = "\\"
_HIGHEST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)

_WORKFLOW_TEXTS = ("workflow_id", "name", "correlation_id", "reason", "input", "output")
_TASK_TEXTS = ("task_id", "task_type", "def_name", "ref", "workflow_id", "reason", "input", "output")
_OF_THE_WORKFLOW = {"workflow_name": "name", "correlation_id": "correlation_id", "priority": "priority"}
_OF_THE_LEASE = frozenset({"status", "start_ms", "update_ms", "worker_id"})
_IDS = frozenset({workflow.c.workflow_id, task.c.workflow_id, task.c.task_id})


# ------------------------------------------------------------------------ what databases spell differently
class _AsText(FunctionElement[str]):
    """Stored bytes as text."""

    inherit_cache = True
    type = Text()


class _Member(FunctionElement[str]):
    """A member of a stored JSON object as text; NULL where it is missing or null."""

    inherit_cache = False
    type = Text()

    def __init__(self, document: Expression, member: str) -> None:
        super().__init__(document)
        self.member = member


class _Joined(_Member):
    """A list of texts in a stored JSON object, joined by commas."""


class _ByCodePoint(FunctionElement[str]):
    """A text that compares and sorts by code point."""

    inherit_cache = True
    type = Text()


class _Unindexed(FunctionElement[str]):
    """A column whose index is of no use: most rows have no parent, and the page wants the newest of them."""

    inherit_cache = True
    type = Text()


class _Fits(FunctionElement[bool]):
    """`text LIKE pattern`, A to Z in either case; the pattern is in small letters."""

    inherit_cache = True


@compiles(_AsText)
def _as_text(element: _AsText, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS TEXT)"


@compiles(_AsText, "postgresql")
def _as_text_postgresql(element: _AsText, compiler: SQLCompiler, **options: Any) -> str:
    return f"convert_from({compiler.process(element.clauses, **options)}, 'UTF8')"


@compiles(_Member)
def _member(element: _Member, compiler: SQLCompiler, **options: Any) -> str:
    document = compiler.process(element.clauses, **options)
    return f"json_extract(CAST({document} AS TEXT), '$.{element.member}')"


@compiles(_Member, "postgresql")
def _member_postgresql(element: _Member, compiler: SQLCompiler, **options: Any) -> str:
    document = compiler.process(element.clauses, **options)
    return f"(convert_from({document}, 'UTF8')::json ->> '{element.member}')"


@compiles(_Joined)
def _joined(element: _Joined, compiler: SQLCompiler, **options: Any) -> str:
    document = compiler.process(element.clauses, **options)
    each = f"json_each(CAST({document} AS TEXT), '$.{element.member}')"
    return f"(SELECT group_concat(value, ',') FROM {each})"  # noqa: S608 - member names of ours


@compiles(_Joined, "postgresql")
def _joined_postgresql(element: _Joined, compiler: SQLCompiler, **options: Any) -> str:
    document = compiler.process(element.clauses, **options)
    each = f"json_array_elements_text(convert_from({document}, 'UTF8')::json -> '{element.member}')"
    return f"(SELECT string_agg(e.v, ',' ORDER BY e.n) FROM {each} WITH ORDINALITY AS e(v, n))"  # noqa: S608 - member names of ours


@compiles(_ByCodePoint)
def _by_code_point(element: _ByCodePoint, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_ByCodePoint, "postgresql")
def _by_code_point_postgresql(element: _ByCodePoint, compiler: SQLCompiler, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "C")'


@compiles(_Unindexed)
def _unindexed(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


@compiles(_Unindexed, "postgresql")
def _unindexed_postgresql(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)  # it has statistics and knows by itself


@compiles(_Fits)
def _fits(element: _Fits, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} LIKE {pattern} ESCAPE '{_ESCAPE}')"


@compiles(_Fits, "postgresql")
def _fits_postgresql(element: _Fits, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    # Only the C collation folds A to Z and nothing else, as SQLite's LIKE does.
    return f"(lower({text} COLLATE \"C\") LIKE {pattern} ESCAPE '{_ESCAPE}')"


# -------------------------------------------------------------------------------------------------- workflows
def search_found(query: SearchQuery) -> Select[Any]:
    """The ids of all matches."""
    return _workflows(query).where(_workflow_condition(query))


def search_page(query: SearchQuery) -> Select[Any]:
    """header, input, output of one page."""
    found = _workflows(query).where(_workflow_condition(query, _page_value))
    return _workflow_page(found, query, query.sort or NEWEST_FIRST)


def status_counts(query: SearchQuery) -> Select[Any]:
    """status, how many of the matches have it."""
    found = _workflows(query).where(_workflow_condition(query))
    return found.with_only_columns(workflow.c.status, func.count(), maintain_column_froms=True).group_by(
        workflow.c.status
    )


def _workflows(query: SearchQuery) -> Select[Any]:
    """The ids of workflows, from what the conditions need."""
    ids = select(workflow.c.workflow_id)
    if query.free_text is not None or {"input", "output"} & set(keys_of(query.where)):
        return ids.join(workflow_payload, workflow.c.workflow_id == workflow_payload.c.workflow_id)
    return ids


def _workflow_page(found: Select[Any], query: SearchQuery, sort: Iterable[tuple[str, bool]]) -> Select[Any]:
    """The page's ids are found first, so that only its rows are read whole."""
    order = [*_order(sort, _workflow_value), workflow.c.workflow_id]
    ids = found.order_by(*order).limit(query.size).offset(query.start).subquery()
    return (
        select(workflow.c.header, workflow_payload.c.input, workflow_payload.c.output)
        .join(ids, ids.c.workflow_id == workflow.c.workflow_id)
        .join(workflow_payload, workflow.c.workflow_id == workflow_payload.c.workflow_id)
        .order_by(*order)
    )


def _workflow_condition(query: SearchQuery, value_of: ValueOf | None = None) -> ColumnElement[bool]:
    value_of = value_of or _workflow_value
    parts = [] if query.where is None else [_expression(query.where, value_of)]
    if query.free_text is not None:
        parts.append(_occurring(query.free_text, [_workflow_value(key) for key in _WORKFLOW_TEXTS]))
    return and_(true(), *parts)


def _page_value(key: str) -> Expression:
    """The value for finding one page. Told apart from _workflow_value by _compared only."""
    return _workflow_value(key)


def _workflow_value(key: str) -> Expression:
    match key:
        case "input" | "output":
            return _AsText(workflow_payload.c[key])
        case "reason":
            return func.coalesce(workflow.c.reason, "")
        case "execution_ms":
            lasted = workflow.c.end_ms - workflow.c.create_ms
            return case((lasted > 0, lasted), else_=0)
        case "failed_refs" | "failed_names":
            return func.coalesce(_Joined(workflow.c.header, key), "")
        case "event" | "created_by" | "owner_app" | "idempotency_key":
            return func.coalesce(_Member(workflow.c.header, key), "")
        case "classifier":
            return literal(PLAIN_CLASSIFIER)
    return workflow.c[key]


# ------------------------------------------------------------------------------------------------------ tasks
def task_search_found(query: SearchQuery) -> Select[Any]:
    """The ids of all matches."""
    return _tasks(query).where(_task_condition(query))


def task_search_page(query: SearchQuery) -> Select[Any]:
    """head, state, links, output of one page."""
    order = [*_order(query.sort or TASKS_NEWEST_FIRST, _task_value), task.c.task_id]
    found = _tasks(query).where(_task_condition(query)).order_by(*order)
    ids = found.limit(query.size).offset(query.start).subquery()
    whole = select(task.c.head, task.c.state, task.c.links, task.c.output)
    return _joined_to(whole.join(ids, ids.c.task_id == task.c.task_id), _named(query)).order_by(*order)


def by_tasks_count(query: SearchQuery) -> Select[Any]:
    """How many workflows have a task that the query finds."""
    found = _tasks(query).where(_task_condition(query))
    return found.with_only_columns(func.count(task.c.workflow_id.distinct()))


def by_tasks_page(query: SearchQuery) -> Select[Any]:
    """header, input, output of workflows that have a task that the query finds."""
    keys = [(BY_TASKS_ORDER[key], down) for key, down in query.sort if key in BY_TASKS_ORDER]
    return _workflow_page(by_tasks_found(query), query, keys or NEWEST_FIRST)


def by_tasks_found(query: SearchQuery) -> Select[Any]:
    """The ids of workflows that have a task that the query finds."""
    having = _tasks(query).where(_task_condition(query)).with_only_columns(task.c.workflow_id)
    return select(workflow.c.workflow_id).where(workflow.c.workflow_id.in_(having))


def _tasks(query: SearchQuery) -> Select[Any]:
    """The ids of tasks, from what the conditions and the order need."""
    return _joined_to(select(task.c.task_id), _named(query))


def _named(query: SearchQuery) -> set[str]:
    return {*keys_of(query.where), *(key for key, _ in query.sort)}


def _joined_to(found: Select[Any], named: set[str]) -> Select[Any]:
    if named & _OF_THE_WORKFLOW.keys():
        found = found.join(workflow, workflow.c.workflow_id == task.c.workflow_id)
    if named & _OF_THE_LEASE:
        found = found.outerjoin(queue, queue.c.task_id == task.c.task_id)
    return found


def _task_condition(query: SearchQuery) -> ColumnElement[bool]:
    parts = [] if query.where is None else [_expression(query.where, _task_value)]
    if query.free_text is not None:
        parts.append(_occurring(query.free_text, [_task_value(key) for key in _TASK_TEXTS]))
    return and_(true(), *parts)


def _task_value(key: str) -> Expression:
    if key in _OF_THE_WORKFLOW:
        return workflow.c[_OF_THE_WORKFLOW[key]]
    match key:
        case "status":
            held = case((and_(task.c.open == 1, func.coalesce(queue.c.held, 0) == 1), 1), else_=0)
            return case((held == 1, TaskStatus.IN_PROGRESS.value), else_=task.c.status)
        case "scheduled_ms":
            return _number(task.c.head, "scheduledTime")
        case "start_ms":
            started = _number(task.c.state, "startTime")
            return case(
                (and_(started == 0, task.c.open == 1), func.coalesce(queue.c.start_ms, 0)), else_=started
            )
        case "update_ms":
            updated, polled = _number(task.c.state, "updateTime"), func.coalesce(queue.c.update_ms, 0)
            return case((and_(task.c.open == 1, polled > updated), polled), else_=updated)
        case "end_ms":
            return _number(task.c.state, "endTime")
        case "execution_ms":
            started, ended = _number(task.c.state, "startTime"), _number(task.c.state, "endTime")
            return case((and_(started > 0, ended > started), ended - started), else_=0)
        case "reason":
            return func.coalesce(_Member(task.c.state, "reasonForIncompletion"), "")
        case "worker_id":
            polled_by = case((task.c.open == 1, func.nullif(queue.c.worker_id, "")), else_=None)
            return func.coalesce(polled_by, _Member(task.c.state, "workerId"), "")
        case "domain":
            return func.coalesce(_Member(task.c.head, "domain"), "")
        case "input":
            return func.coalesce(_Member(task.c.head, "inputData"), "")
        case "output":
            return _AsText(task.c.output)
    return task.c[key]


def _number(document: Expression, member: str) -> Expression:
    return func.coalesce(cast(_Member(document, member), BigInteger), 0)


# ------------------------------------------------------------------------------------------------- conditions
def counted(found: Select[Any]) -> Select[Any]:
    """How many rows that is."""
    return found.with_only_columns(func.count(), maintain_column_froms=True)


def counted_up_to(found: Select[Any], bound: int) -> Select[Any]:
    """How many rows that is, looking at no more of them than the bound."""
    some: Select[Any] = found.with_only_columns(literal_column("1"), maintain_column_froms=True).limit(bound)
    return select(func.count()).select_from(some.subquery())


def _order(sort: Iterable[tuple[str, bool]], value_of: ValueOf) -> list[Expression]:
    order: list[Expression] = []
    for key, descending in sort:
        value = value_of(key)
        # Ids are of hex digits, whose order is the same everywhere; as they are, their indexes serve.
        if isinstance(value.type, Text) and value not in _IDS:
            value = _ByCodePoint(value)
        order.append(value.desc() if descending else value.asc())
    return order


def _expression(condition: Condition, value_of: ValueOf) -> ColumnElement[bool]:
    match condition:
        case Compare() | Among() if value_of is _task_value and condition.key in {"status", "def_name"}:
            return _task_special(condition)
        case Compare():
            value = value_of(condition.key)
            if value_of is _page_value and condition.value == "":
                value = _Unindexed(value)
            return _compared(value, condition)
        case Among():
            return value_of(condition.key).in_(condition.values)
        case Like():
            return _Fits(value_of(condition.key), _escaped(folded(condition.pattern)))
        case StartsWith():
            return _starting(value_of(condition.key), condition.prefix)
        case IsSet():
            if condition.kind == "number":
                return true()
            return value_of(condition.key) != ("" if condition.kind == "text" else 0)
        case Not():
            return not_(_expression(condition.of, value_of))
        case AllOf():
            return and_(*(_expression(part, value_of) for part in condition.parts))
        case AnyOf():
            return or_(*(_expression(part, value_of) for part in condition.parts))
    assert_never(condition)


def _compared(value: Expression, condition: Compare) -> ColumnElement[bool]:
    given = condition.value
    if condition.op == "=":
        return value == given
    if isinstance(given, str):
        value = _ByCodePoint(value)
    match condition.op:
        case "<":
            return value < given
        case "<=":
            return value <= given
        case ">":
            return value > given
        case ">=":
            return value >= given


def _task_special(condition: Compare | Among) -> ColumnElement[bool]:
    """Conditions on a task that are written otherwise so that an index serves them."""
    value = _task_value(condition.key)
    if isinstance(condition, Compare) and condition.op != "=":
        return _compared(value, condition)
    values = condition.values if isinstance(condition, Among) else (condition.value,)
    if condition.key == "status":
        # Only an open task's status depends on its lease.
        return (value if TASK_OPEN.intersection(values) else task.c.status).in_(values)
    # A worker's task has its name as its type, and only the others are in the index of names.
    of_a_worker = and_(task.c.task_type.in_(values), task.c.def_name.in_(values))
    return or_(of_a_worker, and_(task.c.def_name.in_(values), task.c.def_name != task.c.task_type))


def _starting(value: Expression, prefix: str) -> ColumnElement[bool]:
    """As a range, so that an index serves it."""
    value = _ByCodePoint(value)
    behind = _behind(prefix)
    return value >= prefix if behind is None else and_(value >= prefix, value < behind)


def _behind(prefix: str) -> str | None:
    """The first text after all that begin with the prefix; None when there is none."""
    while prefix:
        prefix, code = prefix[:-1], ord(prefix[-1]) + 1
        if code in _SURROGATES:
            code = _SURROGATES.stop
        if code <= _HIGHEST:
            return prefix + chr(code)
    return None


def _occurring(free_text: FreeText, texts: list[Expression]) -> ColumnElement[bool]:
    def occurs(word: str) -> ColumnElement[bool]:
        patterns = [f"%{_escaped(folded(spelling))}%" for spelling in spellings(word)]
        return or_(*(_Fits(text, pattern) for pattern in patterns for text in texts))

    return or_(*(and_(*map(occurs, way)) for way in free_text.ways))


def _escaped(pattern: str) -> str:
    """Our pattern as LIKE's."""
    for special in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(special, _ESCAPE + special)
    return pattern.replace("*", "%")
