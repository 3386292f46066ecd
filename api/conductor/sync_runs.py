"""Calls that wait for a workflow: synchronous starts, and signals to a blocked one."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Response
from msgspec.structs import replace

from api.bodies import decode
from api.conductor.deps import (
    BodyDep,
    EngineDep,
    Int32Path,
    IntQuery,
    VersionQuery,
    empty,
    json_answer,
    object_of,
)
from api.conductor.openapi import EMPTY, returns, takes
from api.conductor.shapes import RESULT_STATUSES, StartWorkflowRequest
from api.errors import BadParameterError
from engine.bootstrap import Engine
from engine.services.executions import StartRequest
from engine.services.sync_runs import ReturnStrategy
from engine.services.workflow_tests import WorkflowTestRequest

router = APIRouter(prefix="/api", tags=["synchronous runs"])

WAIT_S = 10
"""How long a synchronous start waits when the caller does not say (upstream's default)."""
SIGNAL_TIMEOUT_MS = 5_000
CONSISTENCIES = ("SYNCHRONOUS", "DURABLE", "REGION_DURABLE")
"""What callers may ask for; every start here is durable before it is answered."""

_read_start = msgspec.json.Decoder(StartWorkflowRequest)
_read_test = msgspec.json.Decoder(WorkflowTestRequest)
_read_input = msgspec.json.Decoder(dict[str, Any])

Strategy = Annotated[str, Query(alias="returnStrategy", description="Which part of the run to answer with.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The query of a synchronous start."""

    request_id: Annotated[str, Query(alias="requestId", description="Echoed; a new one when empty.")] = ""
    until_refs: Annotated[
        str, Query(alias="waitUntilTaskRef", description="Answer as soon as one of these tasks has ended.")
    ] = ""
    wait_s: Annotated[IntQuery, Query(alias="waitForSeconds", description="0 waits 10 s.")] = WAIT_S
    consistency: Annotated[str, Query(description="Accepted; every start is durable.")] = "DURABLE"
    strategy: Strategy = ReturnStrategy.TARGET_WORKFLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderWaiting:
    """The same as headers, for starts whose body is the workflow's input."""

    version: VersionQuery = None
    request_id: Annotated[str, Header(alias="requestId")] = ""
    until_refs: Annotated[str, Header(alias="waitUntilTaskRef")] = ""
    wait_s: Annotated[str, Header(alias="waitForSeconds")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalWaiting:
    """The query of a signal that waits."""

    strategy: Strategy = ReturnStrategy.TARGET_WORKFLOW
    timeout_ms: Annotated[
        IntQuery, Query(alias="timeoutMillis", description="How long to wait, milliseconds.")
    ] = SIGNAL_TIMEOUT_MS


@router.post(
    "/workflow/execute/{name}/{version}",
    responses=returns("SignalResponse"),
    openapi_extra=takes("StartWorkflowRequest"),
)
async def execute(
    engine: EngineDep,
    body: BodyDep,
    name: str,
    version: Int32Path,
    waiting: Annotated[Waiting, Depends()],
) -> Response:
    """Start a workflow and wait until it ends, is blocked on a WAIT task, or a named task has ended.

    At the end of the time the answer shows the state so far, with `signalTimeout` true; the workflow goes on.
    """
    _one_of("consistency", waiting.consistency, CONSISTENCIES)
    request = replace(decode(_read_start, body), name=name, version=version or None)
    return await _execute(
        engine,
        request,
        wait_s=waiting.wait_s,
        until_refs=waiting.until_refs,
        strategy=strategy_of(waiting.strategy),
        request_id=waiting.request_id,
    )


@router.post(
    "/workflow/execute/{name}",
    responses=returns("SignalResponse"),
    openapi_extra=takes({"type": "object"}),
)
async def execute_by_name(
    engine: EngineDep, body: BodyDep, name: str, waiting: Annotated[HeaderWaiting, Depends()]
) -> Response:
    """The same with the body as the workflow's input; how to wait is said in headers."""
    return await _execute_by_name(engine, name, decode(_read_input, body), waiting)


@router.get("/workflow/execute/{name}", responses=returns("SignalResponse"))
async def execute_without_input(
    engine: EngineDep, name: str, waiting: Annotated[HeaderWaiting, Depends()]
) -> Response:
    """The same with an empty input."""
    return await _execute_by_name(engine, name, {}, waiting)


@router.post(
    "/workflow/test",
    responses=returns("Workflow"),
    openapi_extra=takes("WorkflowTestRequest"),
    tags=["workflow"],
)
async def test(engine: EngineDep, body: BodyDep) -> Response:
    """Run a definition with given results of its tasks; no worker sees it. Answers how far it came.

    It runs until it ends, or until a task is open that has no result left. What is open then is terminated.
    """
    return json_answer(await engine.workflow_tests.run(decode(_read_test, body)))


@router.post("/tasks/{workflow_id}/{status}/signal", responses=EMPTY, openapi_extra=takes({"type": "object"}))
async def signal(engine: EngineDep, body: BodyDep, workflow_id: str, status: str) -> Response:
    """Update the first open WAIT task, the workflow's own before its sub-workflows'.

    The body is merged into the task's output. A workflow that is not blocked is left alone.
    """
    _one_of("status", status, RESULT_STATUSES)
    await engine.sync_runs.signal(workflow_id, status, object_of(body))
    return empty()


@router.post(
    "/tasks/{workflow_id}/{status}/signal/sync",
    responses=returns("SignalResponse"),
    openapi_extra=takes({"type": "object"}),
)
async def signal_sync(
    engine: EngineDep,
    body: BodyDep,
    workflow_id: str,
    status: str,
    waiting: Annotated[SignalWaiting, Depends()],
) -> Response:
    """The same, then wait until the workflow ends or is blocked again; 404 when nothing is blocked."""
    _one_of("status", status, RESULT_STATUSES)
    return json_answer(
        await engine.sync_runs.signal_sync(
            workflow_id,
            status,
            object_of(body),
            wait_ms=waiting.timeout_ms,
            strategy=strategy_of(waiting.strategy),
            request_id=request_id_of(""),
        )
    )


async def _execute_by_name(
    engine: Engine, name: str, given: dict[str, Any], waiting: HeaderWaiting
) -> Response:
    return await _execute(
        engine,
        StartRequest(name=name, version=waiting.version or None, input=given),
        wait_s=_header_number("waitForSeconds", waiting.wait_s),
        until_refs=waiting.until_refs,
        request_id=waiting.request_id,
    )


async def _execute(
    engine: Engine,
    request: StartRequest,
    *,
    wait_s: int,
    until_refs: str,
    strategy: ReturnStrategy = ReturnStrategy.TARGET_WORKFLOW,
    request_id: str,
) -> Response:
    if bytes(memoryview(request.workflow_def)[:1]) == b"{":
        # A definition that came with the request marks its run, as upstream's does.
        request = replace(request, input={**(request.input or {}), "_systemMetadata": {"dynamic": True}})
    return json_answer(
        await engine.sync_runs.execute(
            request,
            wait_ms=wait_ms_of(wait_s),
            until_refs=refs_of(until_refs),
            strategy=strategy,
            request_id=request_id_of(request_id),
        )
    )


def wait_ms_of(wait_s: int) -> int:
    return (wait_s or WAIT_S) * 1000


def refs_of(until_refs: str) -> list[str]:
    return [ref.strip() for ref in until_refs.split(",") if ref.strip()]


def request_id_of(given: str) -> str:
    """The caller's, else a new one."""
    return given or str(uuid.uuid4())  # noqa: TID251 - names an answer; nothing the engine decides follows


def strategy_of(name: str) -> ReturnStrategy:
    _one_of("returnStrategy", name, tuple(ReturnStrategy))
    return ReturnStrategy(name)


def _one_of(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise BadParameterError(
            f'Failed to convert the value of {name}; for input string: "{value}"; use one of '
            + ", ".join(sorted(known))
        )


def _header_number(name: str, value: str) -> int:
    if value and not (value.isascii() and value.isdigit() and len(value) < 10):
        raise BadParameterError(f'Failed to convert the header {name}; for input string: "{value}"')
    return int(value or 0)
