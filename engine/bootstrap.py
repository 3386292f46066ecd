"""Puts an engine together from settings: the only place that knows adapters by name, and the only loops."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import structlog

from engine.adapters.backends import open_backend
from engine.adapters.brokers.opening import open_brokers
from engine.adapters.calls.addresses import parse_networks
from engine.adapters.calls.http import HttpCaller
from engine.adapters.calls.kafka import KafkaCaller
from engine.adapters.payloads.opening import open_payloads
from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.adapters.system.real import SystemChance, SystemClock
from engine.adapters.system.sealing import FernetSealer
from engine.core.errors import StoreError
from engine.core.facts import View
from engine.core.idempotency import strategy_of
from engine.core.records import Delta
from engine.ports.brokers import Broker
from engine.ports.calls import Caller
from engine.ports.documents import DocumentStore
from engine.ports.notifier import Alone, Notifier
from engine.ports.payloads import PayloadStore
from engine.ports.scripts import ScriptRunner
from engine.ports.stores import ExecutionStore, MetadataStore
from engine.ports.system import Chance, Clock
from engine.services.committer import Committer
from engine.services.definitions import Definitions
from engine.services.delivery import Delivery
from engine.services.due_loop import DueLoop
from engine.services.event_actions import EventActions
from engine.services.event_consumers import EventConsumers
from engine.services.event_handlers import EventHandlers
from engine.services.event_upkeep import EventUpkeep
from engine.services.events import EventBus
from engine.services.executions import Executions
from engine.services.fact_loader import FactLoader
from engine.services.feed import Change, Feed
from engine.services.idempotency import KeyedStarts
from engine.services.mailboxes import Mailboxes
from engine.services.message_starts import MessageStarts
from engine.services.metadata import Metadata
from engine.services.news import Correspondent
from engine.services.notices import Notices
from engine.services.options import Options
from engine.services.outbox import Outbox
from engine.services.payloads import ExternalPayloads
from engine.services.queue_updates import QueueUpdates
from engine.services.queues import Queues
from engine.services.retention import Retention
from engine.services.scheduler import Scheduler
from engine.services.schema_checks import SchemaChecks
from engine.services.schema_registry import SchemaRegistry
from engine.services.secrets import Environment, Secrets
from engine.services.slots import Slots
from engine.services.sync_runs import SyncRuns
from engine.services.system_tasks import SystemTasks
from engine.services.tags import Tags
from engine.services.task_limits import CurrentLimits
from engine.services.timers import Timers
from engine.services.workflow_tests import WorkflowTests
from engine.settings import EngineSettings

log = structlog.get_logger(__name__)

SWEEP_EVERY_S = 30.0
"""How often the safety net looks for messages a crash left behind."""
SWEEP_SHARED_EVERY_S = 0.5
"""The same where other servers may have crashed."""
PAYLOADS_RETRY_MS_MAX = 60_000
"""The longest pause between looks for old payloads while their store is away."""
SERVER_NUMBER_MASK = 2**31 - 1
HOUR_MS = 3_600_000


class Engine:
    """A running engine: `async with await open_engine(settings) as engine: ...`.

    Attributes:
        executions, queues, metadata, scheduler, event_handlers, events, queue_updates, feed: the services
            that the API calls.
        payloads: inputs and outputs that clients put elsewhere.
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
        callers: Mapping[str, Caller] | None = None,
        brokers: Mapping[str, Broker] | None = None,
        notifier: Notifier | None = None,
        payloads: PayloadStore | None = None,
    ) -> None:
        options = options or Options()
        self.store = store
        self.notifier = notifier or Alone()
        self.payloads = ExternalPayloads(
            payloads, clock, chance, notifier=self.notifier, keep_ms=options.keep_payloads_ms
        )
        self.documents = documents
        self.scripts = scripts
        self.clock = clock
        self.feed = Feed()
        self.definitions = Definitions(
            store, metadata, environment=environment, js_problem=scripts.syntax_problem
        )
        self.metadata = Metadata(metadata, self.definitions, clock, strict=options.strict_definitions)
        self.secrets = Secrets(documents, clock, fixed=options.fixed_secrets, sealer=options.sealer)
        self.environment = Environment(documents, clock, fixed=environment)
        self.schema_registry = SchemaRegistry(documents, clock)
        self.tags = Tags(documents, clock)
        delivery = Delivery(self.secrets, self.environment)
        limits = CurrentLimits(metadata, clock)
        self.definitions.on_forget(limits.forget)
        self.queues = Queues(store, self.definitions, delivery, clock, limits)
        self.committer = Committer(store, self.queues)
        self._wire_executions(chance, callers=callers, options=options)
        self.mailboxes.on_commit(self._committed)
        self.news = Correspondent(
            self.notifier,
            queues=self.queues,
            timers=self.timers,
            feed=self.feed,
            mailboxes=self.mailboxes,
            clock=clock,
        )
        self.mailboxes.on_commit(self.news.committed)
        self.mailboxes.on_outrun(self.news.outrun)
        self.queues.on_returned(self.news.returned)
        self.scheduler = Scheduler(documents, self.executions, clock)
        self._wire_events(brokers, chance, callers=callers, options=options)
        self.retention = Retention(
            self.store,
            self.executions,
            notifier=self.notifier,
            clock=self.clock,
            keep_ms=options.keep_ended_ms,
        )
        self._loops: list[asyncio.Task[None]] = []
        self._due_loops = self._steps()

    def _wire_executions(
        self, chance: Chance, *, callers: Mapping[str, Caller] | None, options: Options
    ) -> None:
        """What decides and writes steps, and the services that run workflows by them."""
        schema_checks = SchemaChecks(self.documents, self.scripts)
        loader = FactLoader(self.store, self.definitions, self.scripts, self.environment, schema_checks)
        self.mailboxes = Mailboxes(loader, self.committer, self.clock, chance)
        self.keyed = KeyedStarts(self.store, self.documents, mailboxes=self.mailboxes, clock=self.clock)
        starts = MessageStarts(
            self.store, self.definitions, mailboxes=self.mailboxes, keyed=self.keyed, schemas=schema_checks
        )
        self.outbox = Outbox(self.store, self.committer, self.mailboxes, starts)
        self.slots = Slots(self.store, self.definitions, self.mailboxes)
        self.definitions.on_forget(self.slots.look_at_all)
        self.timers = Timers(
            self.store,
            self.mailboxes,
            self.clock,
            lambda task_id: self.queues.extend(task_id, None),
            self.notifier,
        )
        self.queues.wire_up(self.committer, self.mailboxes.graph_of, self.timers.note)
        self.executions = Executions(
            self.store,
            self.definitions,
            mailboxes=self.mailboxes,
            committer=self.committer,
            queues=self.queues,
            feed=self.feed,
            clock=self.clock,
            chance=chance,
            keyed=self.keyed,
            schemas=schema_checks,
            external=self.payloads,
            key_strategy=options.key_strategy,
        )
        self.executions.on_missing(self.outbox.arrived)
        self.system_tasks = SystemTasks(
            self.store,
            queues=self.queues,
            committer=self.committer,
            mailboxes=self.mailboxes,
            secrets=self.secrets,
            callers=callers or {},
            worker_id="server",
        )
        self.executions.on_slot_freed(self.slots.look)
        self.sync_runs = SyncRuns(self.store, self.executions, self.feed)
        self.workflow_tests = WorkflowTests(
            self.store, self.executions, self.feed, clock=self.clock, chance=chance
        )

    def _wire_events(
        self,
        brokers: Mapping[str, Broker] | None,
        chance: Chance,
        *,
        callers: Mapping[str, Caller] | None,
        options: Options,
    ) -> None:
        """Handlers of events, and who brings events to them."""
        self.event_handlers = EventHandlers(self.documents, self.clock)
        self.events = EventBus(
            self.documents,
            self.event_handlers,
            EventActions(self.store, self.executions, self.mailboxes, self.environment),
            scripts=self.scripts,
            clock=self.clock,
            brokers=brokers,
        )
        self.outbox.on_event(self.events.publish)
        self.notices = Notices(
            self.documents,
            self.clock,
            caller=(callers or {}).get("HTTP"),
            publish=self.events.publish,
            summary=self.executions.summary,
            default_sink=options.listener_sink,
        )
        self.outbox.on_notice(self.notices.take)
        self.event_consumers = EventConsumers(self.events, self.clock)
        self.event_upkeep = EventUpkeep(self.documents, self.events, self.clock)
        self.queue_updates = QueueUpdates(
            self.documents, self.store, self.executions, clock=self.clock, chance=chance
        )

    def _steps(self) -> list[DueLoop]:
        """What is repeated while the engine runs, each woken by those who give it something to do."""
        clock = self.clock
        timers = DueLoop("timers", self.timers.fire_due, clock)
        self.timers.on_earlier(timers.note)
        schedules = DueLoop("schedules", self.scheduler.fire_due, clock)
        self.scheduler.on_earlier(schedules.note)
        consumers = DueLoop("event queues", self.event_consumers.step, clock)
        upkeep = DueLoop("event upkeep", self.event_upkeep.step, clock)

        def handlers_changed() -> None:
            consumers.note(clock.now_ms())
            upkeep.note(clock.now_ms())

        self.event_handlers.on_change(handlers_changed)
        updates = DueLoop("queue updates", self.queue_updates.step, clock)
        notices = DueLoop("notices", self.notices.step, clock)
        self.notices.on_due(notices.note)
        retention = DueLoop("retention", self.retention.step, clock)
        payloads = DueLoop("payloads", self.payloads.step, clock, retry_ms_max=PAYLOADS_RETRY_MS_MAX)
        return [timers, schedules, consumers, upkeep, updates, retention, notices, payloads]

    def _committed(self, view: View, delta: Delta) -> None:
        """After every step: send what it says to others, mind its timers, tell whoever watches."""
        if delta.outbox:
            self.outbox.committed(delta.outbox)
        if delta.timers_set:
            self.timers.committed(delta)
        self.system_tasks.committed(delta)
        if delta.header.rate_limit_key is not None:
            self.slots.committed(delta)
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
        """Begin what the engine repeats: timers, schedules, events, the sweep of the outbox."""
        steps = [loop.run() for loop in self._due_loops]
        steps += [self.system_tasks.serve(kind) for kind in self.system_tasks.kinds]
        self._loops = [asyncio.ensure_future(step) for step in (*steps, self._sweep(), self.news.look())]

    async def _sweep(self) -> None:
        shared = self.notifier.shared
        while True:
            try:
                await self.slots.sweep()
                if shared:
                    await self.outbox.sweep_shared(self.notifier.is_mine)
                else:
                    await self.outbox.sweep()
            except StoreError as error:
                log.warning("outbox_not_swept", error=str(error))
            except Exception:  # logged; the next sweep tries again
                log.exception("outbox_sweep_failed")
            await asyncio.sleep(SWEEP_SHARED_EVERY_S if shared else SWEEP_EVERY_S)

    # ------------------------------------------------------------------------------------ life
    async def forgive_outage(self) -> None:
        """Renew the leases that ran out while no server was there."""
        renewed = await self.timers.forgive_outage()
        if renewed:
            log.info("leases_renewed", count=renewed)

    async def close(self) -> None:
        """Stop the loops, finish what is being decided and written, close the store."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        await self.event_consumers.aclose()
        await self.slots.idle()
        await self.system_tasks.close()
        await self.mailboxes.idle()
        await self.outbox.idle()
        await self.committer.idle()
        await self.payloads.aclose()
        await self.scripts.aclose()
        await self.notifier.close()
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
        InvalidRequestError: the database or a broker is of no kind this version knows.
        StoreError: the store cannot be opened.
    """
    chance = chance or SystemChance()
    brokers = open_brokers(
        redis_url=settings.events_redis.get_secret_value(),
        sqs_region=settings.events_sqs,
        sqs_endpoint=settings.events_sqs_endpoint,
        kafka_servers=settings.events_kafka,
        group=settings.events_group,
    )
    payloads = open_payloads(
        settings.payloads,
        settings.data,
        region=settings.payloads_s3_region,
        endpoint=settings.payloads_s3_endpoint,
    )
    backend = await open_backend(
        settings.database, settings.data, settings.sqlite_synchronous, chance.seed() & SERVER_NUMBER_MASK
    )
    engine = Engine(
        backend.store,
        backend.metadata,
        backend.documents,
        notifier=backend.notifier,
        scripts=QuickJsRunner(),
        clock=clock or SystemClock(),
        chance=chance,
        environment=settings.environment(),
        options=_options(settings),
        brokers=brokers,
        payloads=payloads,
        callers={
            "HTTP": HttpCaller(networks=parse_networks(settings.http_task_networks)),
            "KAFKA_PUBLISH": KafkaCaller(),
        },
    )
    try:
        await engine.notifier.join(engine.forgive_outage, engine.news.heard)
    except BaseException:
        await engine.close()
        raise
    engine.start()
    return engine


def _options(settings: EngineSettings) -> Options:
    keys = [key.strip() for key in settings.secrets_key.get_secret_value().split(",") if key.strip()]
    return Options(
        key_strategy=strategy_of(settings.idempotency_strategy),
        fixed_secrets=settings.fixed_secrets(),
        strict_definitions=settings.strict_definitions,
        sealer=FernetSealer(keys) if keys else None,
        listener_sink=settings.workflow_listener,
        keep_payloads_ms=round(settings.payloads_keep_hours * HOUR_MS) or None,
        keep_ended_ms=round(settings.retention_hours * HOUR_MS) or None,
    )
