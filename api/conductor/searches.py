"""Searching workflows and tasks."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response

from api.conductor.deps import (
    EngineDep,
    SearchDep,
    SearchParameters,
    TopLevelOnly,
    encoded,
    search_result,
    split_commas,
)
from api.conductor.openapi import returns, returns_schema
from engine.bootstrap import Engine
from engine.core.errors import NotFoundError
from engine.core.search import PLAIN_CLASSIFIER, Condition, equals

router = APIRouter(prefix="/api", tags=["search"])

Classifiers = Annotated[list[str] | None, Query(alias="classifier", description="Kinds of workflow.")]


@router.get("/workflow/search", responses=returns("WorkflowSearchResult"))
async def search(
    engine: EngineDep,
    wanted: SearchDep,
    classifiers: Classifiers = None,
    *,
    top_level_only: TopLevelOnly = False,
) -> Response:
    """Search workflows by a query, a free text, or both; answers summaries.

    A query is made of `field op value` with AND, OR, NOT and parentheses; `*` in a value stands for any text.
    Sort by `field:ASC|DESC`, several joined by `|`.
    `totalHits` is exact up to 10000 (1000 with a free text); on PostgreSQL a larger number is an
    estimate.
    """
    total, hits = await _workflows(engine, wanted, classifiers, top_level_only=top_level_only)
    return search_result(total, (msgspec.json.encode(hit) for hit in hits))


@router.get("/workflow/search-v2", responses=returns("FullWorkflowSearchResult"))
async def search_v2(
    engine: EngineDep,
    wanted: SearchDep,
    classifiers: Classifiers = None,
    *,
    top_level_only: TopLevelOnly = False,
) -> Response:
    """The same, answering whole workflows without their tasks."""
    total, hits = await _workflows(engine, wanted, classifiers, top_level_only=top_level_only)
    return search_result(total, await _whole(engine, hits))


@router.get(
    "/workflow/search/counts",
    responses=returns_schema({"type": "object", "additionalProperties": {"type": "integer"}}),
)
async def counts(
    engine: EngineDep,
    query: str = "",
    free_text: Annotated[str, Query(alias="freeText")] = "*",
    *,
    top_level_only: TopLevelOnly = False,
) -> Response:
    """How many of the workflows that a search finds have each status; not in upstream.

    Exact however many there are, so it takes the longer the more it counts.
    """
    found = await engine.executions.status_counts(
        query=query, free_text=free_text, also=_top(top_level_only=top_level_only)
    )
    return encoded(found)


@router.get("/workflow/search-by-tasks", responses=returns("WorkflowSearchResult"))
async def search_by_tasks(engine: EngineDep, wanted: SearchDep) -> Response:
    """Search tasks; answers summaries of the workflows they belong to."""
    total, hits = await engine.executions.search_by_tasks(**wanted.checked("searchWorkflowsByTasks"))
    return search_result(total, (msgspec.json.encode(hit) for hit in hits))


@router.get("/workflow/search-by-tasks-v2", responses=returns("FullWorkflowSearchResult"))
async def search_by_tasks_v2(engine: EngineDep, wanted: SearchDep) -> Response:
    """The same, answering whole workflows without their tasks."""
    total, hits = await engine.executions.search_by_tasks(**wanted.checked("searchWorkflowsByTasksV2"))
    return search_result(total, await _whole(engine, hits))


@router.get("/tasks/search", responses=returns("TaskSummarySearchResult"))
async def search_tasks(engine: EngineDep, wanted: SearchDep) -> Response:
    """Search tasks as workflows are searched; answers summaries."""
    total, hits = await engine.executions.search_tasks(**wanted.checked("searchTasks"))
    return search_result(total, (msgspec.json.encode(hit) for hit in hits))


@router.get("/tasks/search-v2", responses=returns("TaskSearchResult"))
async def search_tasks_v2(engine: EngineDep, wanted: SearchDep) -> Response:
    """The same, answering whole tasks."""
    total, found = await engine.executions.search_task_documents(**wanted.checked("searchTasksV2"))
    return search_result(total, found)


async def _workflows(
    engine: Engine, wanted: SearchParameters, classifiers: list[str] | None, *, top_level_only: bool
) -> tuple[int, list[dict[str, Any]]]:
    page = wanted.checked("searchWorkflows")
    kinds = split_commas(classifiers)
    if kinds and PLAIN_CLASSIFIER not in kinds:
        return 0, []
    return await engine.executions.search(**page, also=_top(top_level_only=top_level_only))


def _top(*, top_level_only: bool) -> list[Condition]:
    return [equals("parent_workflow_id", "")] if top_level_only else []


async def _whole(engine: Engine, hits: list[dict[str, Any]]) -> list[bytes]:
    """The workflows of summaries; one removed meanwhile is left out."""
    found = []
    for hit in hits:
        try:
            found.append(await engine.executions.workflow(hit["workflowId"], include_tasks=False))
        except NotFoundError:
            continue
    return found
