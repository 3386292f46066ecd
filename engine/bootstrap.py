"""Puts an engine together from settings: the only place that knows adapters by name, and the only loops."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import structlog

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.adapters.sql.sqlite import SqliteExecutionStore, SqliteMetadataStore
from engine.adapters.sql.sqlite_documents import SqliteDocumentStore
from engine.adapters.system.real import SystemChance, SystemClock
from engine.core.errors import InvalidRequestError, StoreError
from engine.core.facts import View
from engine.core.idempotency import strategy_of
from engine.core.records import Delta
from engine.ports.documents import DocumentStore
from engine.ports.scripts import ScriptRunner
from engine.ports.stores import ExecutionStore, MetadataStore
from engine.ports.system import Chance, Clock
from engine.services.committer import Committer
from engine.services.definitions import Definitions
from engine.services.due_loop import DueLoop
from engine.services.executions import Executions
from engine.services.fact_loader import FactLoader
from engine.services.feed import Change, Feed
from engine.services.idempotency import KeyedStarts
from engine.services.mailboxes import Mailboxes
from engine.services.metadata import Metadata
from engine.services.options import Options
from engine.services.outbox import Outbox
from engine.services.queues import Queues
from engine.services.sync_runs import SyncRuns
from engine.services.scheduler import Scheduler
from engine.services.timers import Timers
from engine.settings import EngineSettings

log = structlog.get_logger(__name__)

SWEEP_EVERY_S = 30.0
"""How often the safety net looks for messages a crash left behind."""


class Engine:
    """A running engine: `async with await open_engine(settings) as engine: ...`.

    Attributes:
        executions, queues, metadata, scheduler, feed: the services that the API calls.
        documents: named documents of the services around the engine (schedules, secrets, ...).
        timers, outbox, committer, mailboxes: what keeps them going; tests and metrics look at them.
    """

    def __init__(
        self,
        store: ExecutionStore,
        metadata: MetadataStore,
        documents: DocumentStore,
        *,
        scripts: ScriptRunner,
        clock: Clock,
        chance: Chance,
        environment: Mapping[str, str],
        options: Options | None = None,
    ) -> None:
        options = options or Options()
        self.store = store
        self.documents = documents
        self.scripts = scripts
        self.clock = clock
        self.feed = Feed()
        self.definitions = Definitions(
            store, metadata, environment=environment, js_problem=scripts.syntax_problem
        )
        self.metadata = Metadata(metadata, self.definitions, clock)
        self.queues = Queues(store, self.definitions, clock)
        self.committer = Committer(store, self.queues)
        loader = FactLoader(store, self.definitions, scripts)
        self.mailboxes = Mailboxes(loader, self.committer, clock, chance)
        self.outbox = Outbox(store, self.committer, self.mailboxes, self.definitions)
        self.timers = Timers(store, self.mailboxes, clock, lambda task_id: self.queues.extend(task_id, None))
        self.queues.wire_up(self.committer, self.mailboxes.graph_of, self.timers.note)
        self.keyed = KeyedStarts(store, documents, mailboxes=self.mailboxes, clock=clock)
        self.executions = Executions(
            store,
            self.definitions,
            mailboxes=self.mailboxes,
            committer=self.committer,
            queues=self.queues,
            feed=self.feed,
            clock=clock,
            chance=chance,
            keyed=self.keyed,
            key_strategy=options.key_strategy,
        )
        self.sync_runs = SyncRuns(store, self.executions, self.feed)
        self.mailboxes.on_commit(self._committed)
        self.scheduler = Scheduler(documents, self.executions, clock)
        self._loops: list[asyncio.Task[None]] = []
        self._timer_loop = DueLoop("timers", self.timers.fire_due, clock)
        self.timers.on_earlier(self._timer_loop.note)
        self._schedule_loop = DueLoop("scheduler", self.scheduler.fire_due, clock)
        self.scheduler.on_earlier(self._schedule_loop.note)

    def _committed(self, view: View, delta: Delta) -> None:
        """After every step: send what it says to others, mind its timers, tell whoever watches."""
        if delta.outbox:
            self.outbox.committed(delta.outbox)
        if delta.timers_set:
            self.timers.committed(delta)
        if self.feed.watched:
            for task in (*delta.tasks_changed, *delta.tasks_new):
                self.feed.publish(
                    Change(
                        workflow_id=view.workflow_id,
                        kind="task",
                        task_id=task.id,
                        ref=task.ref,
                        status=task.status,
                    )
                )
            if delta.status_moved:
                self.feed.publish(
                    Change(workflow_id=view.workflow_id, kind="workflow", status=delta.header.status)
                )

    # ------------------------------------------------------------------------------------ loops
    def start(self) -> None:
        """Begin firing timers and schedules, and sweeping the outbox."""
        steps = (self._timer_loop.run(), self._schedule_loop.run(), self._sweep())
        self._loops = [asyncio.ensure_future(step) for step in steps]

    async def _sweep(self) -> None:
        while True:
            try:
                await self.outbox.sweep()
            except StoreError as error:
                log.warning("outbox_not_swept", error=str(error))
            except Exception:  # logged; the next sweep tries again
                log.exception("outbox_sweep_failed")
            await asyncio.sleep(SWEEP_EVERY_S)

    # ------------------------------------------------------------------------------------ life
    async def close(self) -> None:
        """Stop the loops, finish what is being decided and written, close the store."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        await self.mailboxes.idle()
        await self.outbox.idle()
        await self.committer.idle()
        await self.scripts.aclose()
        await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open_engine(
    settings: EngineSettings, *, clock: Clock | None = None, chance: Chance | None = None
) -> Engine:
    """Open the store that the settings name and start the engine on it.

    Raises:
        InvalidRequestError: the database URL is of no kind this version knows.
        StoreError: the store cannot be opened.
    """
    engine = Engine(
        *_stores(settings),
        scripts=QuickJsRunner(),
        clock=clock or SystemClock(),
        chance=chance or SystemChance(),
        environment=settings.environment(),
        options=_options(settings),
    )
    renewed = await engine.timers.forgive_outage()
    if renewed:
        log.info("leases_renewed", count=renewed)
    engine.start()
    return engine


def _options(settings: EngineSettings) -> Options:
    return Options(
        key_strategy=strategy_of(settings.idempotency_strategy), fixed_secrets=settings.fixed_secrets()
    )


def _stores(settings: EngineSettings) -> tuple[ExecutionStore, MetadataStore, DocumentStore]:
    url = settings.database
    if url == "memory://":
        return MemoryExecutionStore(), MemoryMetadataStore(), MemoryDocumentStore()
    if url and not url.startswith("sqlite:///"):
        raise InvalidRequestError(
            f"database: {url.split('://', 1)[0]} is no store this version knows; "
            "use sqlite:///PATH or leave it empty"
        )
    if url:
        path = url.removeprefix("sqlite:///")
    else:
        settings.data.mkdir(parents=True, exist_ok=True)
        path = str(settings.data / "showrunner.db")
    store = SqliteExecutionStore(path, settings.sqlite_synchronous)
    return store, SqliteMetadataStore(store.database), SqliteDocumentStore(store.database)
