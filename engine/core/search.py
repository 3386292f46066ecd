"""Search queries as values: what upstream's `query`, `freeText` and `sort` texts mean.

A condition is a small tree over fields. The stores turn the same tree into SQL and into Python, and every
field has a value in every row ('' or 0 where upstream has none), so that a condition is true or false and
never unknown. Reading the texts is search_grammar.py's part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct

Kind = Literal["text", "number", "time"]
Op = Literal["=", "<", "<=", ">", ">="]


class Field(Struct, kw_only=True, frozen=True):
    """What a query can name. `key` is how the stores know it; times are Unix milliseconds."""

    key: str
    kind: Kind = "text"


_KINDS: Mapping[str, Kind] = {"": "text", "number": "number", "time": "time"}


def _fields(**kinds: str) -> dict[str, Field]:
    """`wireName="key"` or `wireName="key:kind"`."""
    found: dict[str, Field] = {}
    for wire, text in kinds.items():
        key, _, kind = text.partition(":")
        found[wire] = Field(key=key, kind=_KINDS[kind])
    return found


WORKFLOW_FIELDS: Mapping[str, Field] = _fields(
    workflowId="workflow_id",
    workflowType="name",
    workflowName="name",
    version="version:number",
    workflowVersion="version:number",
    status="status",
    correlationId="correlation_id",
    startTime="create_ms:time",
    createTime="create_ms:time",
    updateTime="update_ms:time",
    modifiedTime="update_ms:time",
    endTime="end_ms:time",
    executionTime="execution_ms:number",
    parentWorkflowId="parent_workflow_id",
    priority="priority:number",
    reasonForIncompletion="reason",
    failedReferenceTaskNames="failed_refs",
    failedTaskNames="failed_names",
    event="event",
    createdBy="created_by",
    ownerApp="owner_app",
    idempotencyKey="idempotency_key",
    input="input",
    output="output",
    classifier="classifier",
)
"""The workflow fields of upstream's indexes and of its user interfaces. Conditions on others are ignored."""

TASK_FIELDS: Mapping[str, Field] = _fields(
    taskId="task_id",
    taskType="task_type",
    taskDefName="def_name",
    referenceTaskName="ref",
    status="status",
    workflowId="workflow_id",
    workflowType="workflow_name",
    workflowName="workflow_name",
    correlationId="correlation_id",
    scheduledTime="scheduled_ms:time",
    startTime="start_ms:time",
    updateTime="update_ms:time",
    endTime="end_ms:time",
    executionTime="execution_ms:number",
    retryCount="retry_count:number",
    workflowPriority="priority:number",
    reasonForIncompletion="reason",
    workerId="worker_id",
    domain="domain",
    input="input",
    output="output",
)
"""The task fields. Times, status and worker of a task that a worker holds are those of its lease."""

SEARCH_MS_MAX = 10_000
"""How long a store works on one search. Free text has no index: it reads every row that the query leaves."""

TOTAL_EXACT_MAX = 10_000
"""Matches that every store counts exactly. Beyond it a store may answer an estimate above this bound instead,
so that a search costs the same however many rows it matches; Elasticsearch stops counting here, too."""

FREE_TEXT_EXACT_MAX = 1_000
"""The same of a search with a free text, which reads every row that it counts."""

UNSORTABLE = frozenset({"input", "output"})

PLAIN_CLASSIFIER = "workflow"
"""What upstream calls a workflow without a classifier; there are no others here."""


NEWEST_FIRST: tuple[tuple[str, bool], ...] = (("create_ms", True),)
"""The order of workflows in a query that names none; equals stand by workflow id."""

TASKS_NEWEST_FIRST: tuple[tuple[str, bool], ...] = (("task_id", True),)
"""The same of tasks, whose ids sort by time."""


BY_TASKS_ORDER: Mapping[str, str] = {
    "workflow_name": "name",
    "start_ms": "create_ms",
    "scheduled_ms": "create_ms",
    **{
        key: key
        for key in (
            "workflow_id",
            "correlation_id",
            "priority",
            "status",
            "update_ms",
            "end_ms",
            "execution_ms",
            "reason",
        )
    },
}
"""How workflows found by their tasks are ordered when an order of tasks is asked for."""


class Compare(Struct, kw_only=True, frozen=True):
    """Texts compare by code point; a value has the type of its field."""

    key: str
    op: Op
    value: str | int


class Among(Struct, kw_only=True, frozen=True):
    key: str
    values: tuple[str | int, ...]


class Like(Struct, kw_only=True, frozen=True):
    """The whole text, A to Z in either case; `*` stands for any text, also none."""

    key: str
    pattern: str


class StartsWith(Struct, kw_only=True, frozen=True):
    key: str
    prefix: str


class IsSet(Struct, kw_only=True, frozen=True):
    """A text that is not empty, a time that is not 0; a number always is."""

    key: str
    kind: Kind = "text"


class Not(Struct, kw_only=True, frozen=True):
    of: Condition


class AllOf(Struct, kw_only=True, frozen=True):
    parts: tuple[Condition, ...]


class AnyOf(Struct, kw_only=True, frozen=True):
    parts: tuple[Condition, ...]


Condition = Compare | Among | Like | StartsWith | IsSet | Not | AllOf | AnyOf


class FreeText(Struct, kw_only=True, frozen=True):
    """Any of `ways`, each of which is words that must all occur somewhere in the row.

    A word occurs as a part of a text, A to Z in either case; `*` in it stands for any text.
    """

    ways: tuple[tuple[str, ...], ...]


class SearchQuery(Struct, kw_only=True, frozen=True):
    """What to find, in which order, and which page of it. `sort` are (field key, descending)."""

    where: Condition | None = None
    free_text: FreeText | None = None
    sort: tuple[tuple[str, bool], ...] = ()
    start: int = 0
    size: int = 100


def equals(key: str, value: str | int) -> Compare:
    return Compare(key=key, op="=", value=value)


def all_of(*parts: Condition) -> Condition:
    """Their conjunction; one part stays itself."""
    return parts[0] if len(parts) == 1 else AllOf(parts=parts)


def keys_of(condition: Condition | None) -> Iterator[str]:
    """Every field key a condition names."""
    match condition:
        case None:
            return
        case Not():
            yield from keys_of(condition.of)
        case AllOf() | AnyOf():
            for part in condition.parts:
                yield from keys_of(part)
        case _:
            yield condition.key


def spellings(word: str) -> tuple[str, ...]:
    """How a word may stand in a JSON document: as it is, or with JSON's escapes in either fashion."""
    escaped = (json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1])
    return tuple(dict.fromkeys((word, *escaped)))


def folded(text: str) -> str:
    """A to Z made small, nothing else: what SQL's LIKE takes as equal."""
    return text.translate(_SMALL)


_SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
