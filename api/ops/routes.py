"""Health, readiness, version and metrics."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from fastapi import APIRouter, Request, Response

from api.conductor.deps import EngineDep
from api.conductor.openapi import TEXT, returns
from api.ops.metrics import CONTENT_TYPE, Metrics
from engine.bootstrap import Engine
from engine.core.errors import EngineError

log = structlog.get_logger(__name__)

READY_TIMEOUT_S = 2.0
"""A store or a disk that takes longer is not ready for traffic."""

# A queue nobody has; asking for its size proves that the store answers.
_PROBE_QUEUE = "_readiness"
_HEALTHY = b'{"healthResults":[],"suppressedHealthResults":[],"healthy":true}'

router = APIRouter(tags=["operations"])


def version() -> str:
    try:
        return importlib.metadata.version("showrunner")
    except importlib.metadata.PackageNotFoundError:
        return "0"


@router.get("/health", responses=returns("HealthStatus"))
@router.get("/api/health", responses=returns("HealthStatus"))
async def health() -> Response:
    """The process answers; in the words of Conductor's clients."""
    return Response(_HEALTHY, media_type="application/json")


@router.get("/healthz", responses=returns("Liveness"))
async def liveness() -> Response:
    """The process answers."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.get("/readyz", responses=returns("Readiness", 503))
async def readiness(request: Request, engine: EngineDep) -> Response:
    """Whether this server can do its work: the store answers and storage can be written. 503 when not.

    A server that was told to stop is not ready any more, though it still serves what comes.
    """
    if request.app.state.retiring:
        return Response(b'{"status":"stopping","checks":{}}', 503, media_type="application/json")
    writable: Callable[[], bool] | None = request.app.state.storage_writable
    checks = {"store": await _passes(_store_answers(engine))}
    if writable is not None:
        checks["storage"] = await _passes(asyncio.to_thread(writable))
    ready = all(checks.values())
    body = {
        "status": "ready" if ready else "unready",
        "checks": {name: "ok" if passed else "failed" for name, passed in checks.items()},
    }
    return Response(msgspec.json.encode(body), 200 if ready else 503, media_type="application/json")


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def metrics(request: Request, engine: EngineDep) -> Response:
    """Prometheus metrics of this server."""
    meter: Metrics = request.app.state.metrics
    return Response(meter.render(await engine.queues.detail()), headers={"content-type": CONTENT_TYPE})


@router.get("/api/version", responses=TEXT)
async def api_version() -> Response:
    """This server's version."""
    return Response(version(), media_type="text/plain")


async def _store_answers(engine: Engine) -> bool:
    await engine.queues.sizes([_PROBE_QUEUE])
    return True


async def _passes(check: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            return await check
    except (EngineError, OSError, TimeoutError) as error:
        log.warning("readiness_check_failed", reason=str(error) or type(error).__name__)
        return False
