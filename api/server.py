"""The server process: engine, product and HTTP put together, until a signal ends it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from api.app import Application, create_app
from api.failures import EXIT_INTERRUPTED, CommandError
from api.processes import STOP_MS_MAX, Child, worker_argv
from api.settings import ServerSettings, engine_settings, worker_environment
from api.videos.definitions import shipped_workflows
from api.videos.files import MediaFolder
from api.videos.follow import FOLLOW_TIMINGS, FollowTimings
from api.videos.handlers import HANDLERS, PRODUCT_PREFIXES
from api.videos.media import media_router
from api.videos.operator_routes import OperatorRoutes
from api.videos.plan_routes import PlanRoutes
from api.videos.player import player_router
from api.videos.routes import VideoRoutes
from api.videos.service import VideoService
from api.videos.store import StoreUnavailableError, VideoStore
from api.videos.uploads import UploadLimits
from engine.adapters.system.real import SystemClock
from engine.bootstrap import Engine, open_engine
from engine.core.errors import EngineError
from engine.core.model import MalformedBodyError

log = structlog.get_logger(__name__)

SHUTDOWN_S_MAX = 3
"""Requests in flight get so long; a worker's long poll that is cut off is repeated by the worker."""
KEEP_ALIVE_S = 75
"""An idle connection is kept so long: a polling client should not have to reconnect for each poll."""
RESTART_MS_MIN, RESTART_MS_MAX = 1_000, 30_000
BACKLOG = 512


class ServerError(CommandError):
    """The server cannot start; one sentence saying what to do."""


def run(settings: ServerSettings, on_ready: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM; a second one does not wait for requests in flight.

    Args:
        settings: all of them.
        on_ready: told the server's URL once it answers.

    Returns:
        the exit code: 0, or 130 after SIGINT.

    Raises:
        ServerError: it cannot start.
    """
    configure_log(settings.log_format)
    require_loopback(settings)
    with lock(settings.data), listen(settings.host, settings.port) as listener:
        return _run(_serve(settings, listener, on_ready, recover=True))


def run_one_of_many(settings: ServerSettings, on_ready: Callable[[str], None], *, recover: bool) -> int:
    """As `run`, in a process whose parent holds the data folder's lock and keeps the workers.

    Args:
        settings: with the port that all of them share.
        on_ready: told the server's URL once it answers.
        recover: whether nobody else is at work in the data folder yet.
    """
    configure_log(settings.log_format)
    alone = settings.model_copy(update={"with_workers": False})
    with listen(settings.host, settings.port, shared=True) as listener:
        return _run(_serve(alone, listener, on_ready, recover=recover))


def _run(serving: Coroutine[Any, Any, int]) -> int:
    try:
        return event_loop().run(serving)
    except (EngineError, StoreUnavailableError, MalformedBodyError) as error:
        raise ServerError(f"the server cannot start: {error}") from error


def configure_log(wanted: str) -> None:
    """Logs go to stderr, one event a line: JSON, or readable on a terminal."""
    as_json = wanted == "json" or (wanted == "auto" and not sys.stderr.isatty())
    last: list[Any] = [structlog.dev.ConsoleRenderer()]
    if as_json:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        # Looked up for each line: whoever replaces stderr gets the log.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def product(
    engine: Engine, settings: ServerSettings, timings: FollowTimings = FOLLOW_TIMINGS
) -> VideoService:
    """The product's service over an engine, not opened yet."""
    settings.data.mkdir(parents=True, exist_ok=True)
    return VideoService(
        engine=engine,
        store=VideoStore(settings.data / "videos.db"),
        media=MediaFolder(settings.media_root),
        limits=UploadLimits(
            file_bytes_max=settings.upload_bytes_max,
            disk_free_bytes_min=settings.disk_free_bytes_min,
            idle_ms_max=settings.upload_idle_ms_max,
        ),
        clock=SystemClock(),
        new_id=new_id,
        timings=timings,
    )


def application(engine: Engine, service: VideoService, settings: ServerSettings) -> Application:
    """The whole HTTP surface."""
    return create_app(
        engine,
        routers=[
            VideoRoutes(service, settings.public_url).router,
            PlanRoutes(service).router,
            OperatorRoutes(service).router,
            media_router(service.media),
            player_router(),
        ],
        exception_handlers=HANDLERS,
        product_prefixes=PRODUCT_PREFIXES,
        storage_writable=lambda: os.access(service.media.root / "sources", os.W_OK),
        shipped_workflows=shipped_workflows(),
        public_url=settings.public_url,
    )


def new_id() -> str:
    """Twenty-six characters that nobody can guess."""
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


class _Server(uvicorn.Server):
    """Uvicorn without its signal handling, and with a word when it is ready."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


async def _serve(
    settings: ServerSettings, listener: socket.socket, on_ready: Callable[[str], None], *, recover: bool
) -> int:
    url = server_url(settings.host, listener.getsockname()[1])
    received: list[signal.Signals] = []
    async with await open_engine(engine_settings(settings)) as engine:
        service = product(engine, settings)
        try:
            await service.open(recover=recover)
            app = application(engine, service, settings)
            server = _Server(
                uvicorn.Config(
                    app,
                    lifespan="on",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    timeout_graceful_shutdown=SHUTDOWN_S_MAX,
                    timeout_keep_alive=KEEP_ALIVE_S,
                ),
                lambda: on_ready(url),
            )
            stopping = asyncio.Event()

            loop = asyncio.get_running_loop()

            def stop() -> None:
                stopping.set()
                app.drain()
                service.end_streams()
                server.should_exit = True

            def told(number: signal.Signals) -> None:
                server.force_exit = bool(received)
                received.append(number)
                app.retire()
                patient = number == signal.SIGTERM and len(received) == 1
                loop.call_later(settings.drain_ms / 1000 if patient else 0, stop)

            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, told, number)
            async with workers(settings, url, stopping):
                await server.serve(sockets=[listener])
        finally:
            await service.close()
    return EXIT_INTERRUPTED if received[:1] == [signal.SIGINT] else 0


@contextlib.asynccontextmanager
async def workers(settings: ServerSettings, url: str, stopping: asyncio.Event) -> AsyncIterator[None]:
    """A worker process beside the server while the block runs, when the settings ask for one."""
    if not settings.with_workers:
        yield
        return
    keeper = asyncio.create_task(_keep_worker(settings, url, stopping))
    try:
        yield
    finally:
        stopping.set()
        await keeper


async def _keep_worker(settings: ServerSettings, url: str, stopping: asyncio.Event) -> None:
    """Run a worker process, and another when it dies, until told to stop."""
    argv = worker_argv(server=url, data=settings.data, media=settings.media_root)
    pause_ms = RESTART_MS_MIN
    while not stopping.is_set():
        child = Child(
            argv,
            env=worker_environment(),
            # SIGINT hands running tasks back at once; draining could take as long as an encode.
            death_signal=signal.SIGINT,
            stop_signal=signal.SIGINT,
            stdout=sys.stderr.fileno(),
        )
        log.info("worker_started", pid=child.process.pid)
        ended = asyncio.ensure_future(asyncio.to_thread(child.process.wait))
        told = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if stopping.is_set():
            await asyncio.to_thread(child.stop, STOP_MS_MAX)
            await ended
            return
        log.error("worker_ended", exit_code=child.process.returncode, again_in_ms=pause_ms)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause_ms / 1000)
        pause_ms = min(2 * pause_ms, RESTART_MS_MAX)


def event_loop() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def require_loopback(settings: ServerSettings) -> None:
    """Refuse to be open to everybody by accident.

    Raises:
        ServerError: it listens beyond loopback and was not told that this is meant.
    """
    if settings.insecure or is_loopback(settings.host):
        return
    raise ServerError(
        f"the server does not listen on {settings.host} without API keys, and this version has none yet; "
        "use a loopback address, or --insecure if everybody who reaches the port may do everything"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def listen(host: str, port: int, *, shared: bool = False, backlog: int = BACKLOG) -> Iterator[socket.socket]:
    """A listening socket while the block runs.

    Args:
        host: the address.
        port: 0 takes a free one.
        shared: other processes of this user may listen there too, and connections are spread over them.
        backlog: connections that may wait; 0 only takes the address.

    Raises:
        ServerError: it cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ServerError(f"the server cannot listen: {error.strerror}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((host, port))
            if backlog:
                listener.listen(backlog)
        except (OSError, OverflowError) as error:
            raise ServerError(_bind_sentence(host, port, error)) from error
        yield listener


def _bind_sentence(host: str, port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == 98:  # EADDRINUSE
        return f"port {port} on {host} is in use; stop what uses it, or name another port with --port"
    reason = getattr(error, "strerror", None) or str(error)
    return f"the server cannot listen on {host} port {port}: {reason}"


@contextlib.contextmanager
def lock(data: Path) -> Iterator[None]:
    """The data folder is one server's: two on one SQLite file would each believe in their own caches."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "server.lock").open("a")
    except OSError as error:
        raise ServerError(f"the data folder {data} cannot be used: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ServerError(
                f"another server uses the data folder {data}; stop it, or name another folder with --data"
            ) from error
        yield


def server_url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - recognised, not bound
    return (
        f"http://[{shown}]:{port}" if ":" in shown and not shown.startswith("[") else f"http://{shown}:{port}"
    )
