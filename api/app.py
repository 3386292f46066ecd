"""The ASGI application: hot routes in front, FastAPI for everything else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from api.bodies import BODY_BYTES_MAX, Receive, Scope, header
from api.conductor import (
    admin,
    bulk,
    documents,
    events,
    external,
    metadata,
    openapi,
    running,
    scheduler,
    searches,
    sync_runs,
    tasks,
    workflows,
)
from api.errors import Handler, install, log_failure
from api.hot import Answer, HotRoutes
from api.ops import history
from api.ops import routes as ops
from api.ops.metrics import Metrics, group_of
from engine.bootstrap import Engine

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Lifespan = Callable[[], AbstractAsyncContextManager[None]]

PRODUCT_PREFIXES = ("/api/v1", "/media")

CONDUCTOR_ROUTERS = (
    ops.router,
    sync_runs.router,  # before the routes whose path arguments would take theirs
    external.router,
    searches.router,
    running.router,
    tasks.router,
    bulk.router,
    workflows.router,
    history.router,
    documents.router,
    metadata.router,
    admin.router,
    scheduler.router,
    events.router,
)
"""Everything below /api but the hot routes and the product, in the order in which paths are tried."""

REQUEST_ID_CHARS_MAX = 128
"""Longer ids are not ours to carry into every log line."""


class Application:
    """The ASGI callable a server runs. `fastapi` is the application behind the hot routes."""

    def __init__(self, fastapi: FastAPI, engine: Engine, hot: HotRoutes, metrics: Metrics) -> None:
        self.fastapi = fastapi
        self._engine = engine
        self._hot = hot
        self._metrics = metrics

    def retire(self) -> None:
        """Tell readiness probes that this server is about to stop; it goes on serving."""
        self.fastapi.state.retiring = True

    def drain(self) -> None:
        """Call when the server begins to stop: calls that wait end at once instead of holding it up."""
        self._hot.drain()
        self._engine.sync_runs.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.fastapi(scope, receive, send)
            return
        began = time.perf_counter()
        method, path = scope["method"], scope["path"]
        found = self._hot.find(method, path)
        if found is None:
            status = await self._slow(scope, receive, send)
        else:
            answer = await self._hot.answer(*found, scope, receive)
            if answer is None:
                return
            await _send(answer, scope, send)
            status = answer[0]
        self._metrics.answered(group_of(path), status, time.perf_counter() - began)

    async def _slow(self, scope: Scope, receive: Receive, send: Send) -> int:
        request_id = request_id_of(scope)
        status = 500

        async def send_noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if request_id is not None:
                    message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self.fastapi(scope, receive, send_noting)
        except Exception as error:  # noqa: BLE001 - the answer is sent already; this is where it is logged, once
            shown = request_id.decode() if request_id is not None else None
            log_failure(error, method=scope["method"], path=scope["path"], request_id=shown)
        return status


def create_app(
    engine: Engine,
    *,
    routers: Sequence[APIRouter] = (),
    exception_handlers: Mapping[type[Exception], Handler] | None = None,
    lifespans: Sequence[Lifespan] = (),
    storage_writable: Callable[[], bool] | None = None,
    product_prefixes: Sequence[str] = PRODUCT_PREFIXES,
    body_bytes_max: int = BODY_BYTES_MAX,
    shipped_workflows: frozenset[tuple[str, int]] = frozenset(),
    public_url: str = "",
) -> Application:
    """Put the application together around an open engine, which stays the caller's to close.

    Args:
        engine: open, and used on the event loop that serves the application.
        routers: further routes, served below `product_prefixes`.
        exception_handlers: answers to errors below `product_prefixes`, by exception class; without one the
            error is answered as on the Conductor surface.
        lifespans: entered in order when the server starts, left in reverse when it stops.
        storage_writable: called in a thread by /readyz; False or OSError means not ready.
        product_prefixes: paths with their own error format, without a closing slash.
        body_bytes_max: bound of a request body on the Conductor surface.
        shipped_workflows: name and version of the workflows that the server registers itself.
        public_url: scheme and host that clients see, empty for that of each request.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for enter in lifespans:
                await stack.enter_async_context(enter())
            yield

    metrics = Metrics()
    metrics.watch_dispatch(engine.queues.dispatch)
    metrics.watch_conflicts(engine.mailboxes)
    hot = HotRoutes(engine, metrics, body_bytes_max=body_bytes_max)
    app = FastAPI(
        title="Showrunner",
        version=ops.version(),
        description="A workflow engine that speaks Conductor's wire protocol, and a video product on it.",
        lifespan=lifespan,
        redirect_slashes=False,
        # The bundled documentation pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine = engine
    app.state.hot = hot
    app.state.metrics = metrics
    app.state.body_bytes_max = body_bytes_max
    app.state.shipped_workflows = shipped_workflows
    app.state.storage_writable = storage_writable
    app.state.public_url = public_url
    app.state.retiring = False
    for router in (*routers, *CONDUCTOR_ROUTERS):
        app.include_router(router)
    install(app, product_prefixes=product_prefixes, product=exception_handlers or {})
    app.openapi = _cached(lambda: openapi.document(app, product_prefixes))  # type: ignore[method-assign]  # FastAPI's documented way to extend the description

    @app.get("/api-docs", include_in_schema=False)
    async def api_docs() -> JSONResponse:
        """Upstream's address of the OpenAPI document."""
        return JSONResponse(app.openapi())

    return Application(app, engine, hot, metrics)


def request_id_of(scope: Scope) -> bytes | None:
    """The caller's X-Request-Id when it is fit to be echoed and logged."""
    value = header(scope, b"x-request-id")
    if value and len(value) <= REQUEST_ID_CHARS_MAX and value.isascii() and value.isprintable():
        return value.encode()
    return None


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    status, content_type, body = answer
    headers: list[tuple[bytes, bytes]] = []
    if status != 204:
        headers.append((b"content-length", b"%d" % len(body)))
    if body:
        headers.append((b"content-type", content_type))
    if status == 413:
        # The rest of the body is not worth reading.
        headers.append((b"connection", b"close"))
    request_id = request_id_of(scope)
    if request_id is not None:
        headers.append((b"x-request-id", request_id))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _cached(build: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    built: list[dict[str, Any]] = []

    def get() -> dict[str, Any]:
        if not built:
            built.append(build())
        return built[0]

    return get
