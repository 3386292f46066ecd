"""One mailbox per workflow: events that gather while a step is written are decided together in the next.

That keeps one server's events for a workflow in order and free of conflicts; between servers the row version
decides. A server that is outrun again and again (its store is farther away, say) asks the others to leave the
workflow alone for a moment: what comes in there meanwhile is decided in one step, later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from engine.core import events as ev
from engine.core.decider import Applied, Decision, decide
from engine.core.errors import (
    EngineError,
    InvariantError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    RefusedError,
    SlotsTakenError,
    StoreError,
    VersionConflictError,
)
from engine.core.facts import Fact, FactsMissingError, Stamp, View
from engine.core.graph import Graph
from engine.core.records import Delta
from engine.core.slots import slot_config
from engine.core.statuses import WORKFLOW_OPEN
from engine.ports.system import Chance, Clock
from engine.services.committer import Committer
from engine.services.fact_loader import FactLoader
from engine.services.residents import Resident, Residents, absorb

log = structlog.get_logger(__name__)

EVENTS_PER_STEP_MAX = 256
"""Events decided into one delta."""
ATTEMPTS_MAX = 20
"""Conflicts in a row before a step gives up: with one server per workflow there is none."""
ASK_AFTER = 3
"""Conflicts in a row after which a server asks the others for its turn."""
TURN_MS_MIN, TURN_MS_MAX = 20, 500
"""How long it asks for: twice what its last try took, within these bounds."""
FACT_ROUNDS_MAX = 100_000
"""Rounds of loading facts for one step; each round of a script-driven loop needs one."""

Committed = Callable[[View, Delta], None]
Outrun = Callable[[str, int], None]


class Mailboxes:
    """The workflows of this server, each with its inbox.

    Attributes:
        conflicts: decisions made again because somebody else had written the workflow meanwhile.
        conflicts_in_a_row_max: the most that one step met.
    """

    def __init__(self, loader: FactLoader, committer: Committer, clock: Clock, chance: Chance) -> None:
        self._loader = loader
        self._committer = committer
        self._clock = clock
        self._chance = chance
        self._residents = Residents(loader.view)
        self._running: set[asyncio.Task[None]] = set()
        self._on_commit: list[Committed] = []
        self._on_outrun: Outrun = lambda *_: None
        self._left_alone: dict[str, float] = {}  # workflow -> until when, by the loop's time
        self.conflicts = 0
        self.conflicts_in_a_row_max = 0

    def on_commit(self, hook: Committed) -> None:
        """Call `hook(view, delta)` after each committed step, in the order of one workflow's steps."""
        self._on_commit.append(hook)

    def on_outrun(self, hook: Outrun) -> None:
        """Call `hook(workflow_id, turn_ms)` when other servers should leave a workflow alone for so long."""
        self._on_outrun = hook

    def leave_alone(self, workflow_id: str, turn_ms: int) -> None:
        """Another server asks for its turn: begin no step of the workflow for so long."""
        if self._residents.get(workflow_id) is not None:
            loop = asyncio.get_running_loop()
            until = self._left_alone[workflow_id] = loop.time() + min(turn_ms, TURN_MS_MAX) / 1000
            loop.call_at(until, self._turn_over, workflow_id, until)

    async def create(
        self, workflow_id: str, graph: Graph, event: ev.Start, *, patient: bool = False
    ) -> Applied:
        """Start a workflow. An existing one of that id is left as it is (`changed` is false).

        Args:
            workflow_id: fixed by the caller, so that a repeat is known as one.
            graph: the definition it will keep.
            event: with what to start.
            patient: have it wait for a slot even where its rate limit says to refuse; for starts that nobody
                is there to repeat.

        Raises:
            RateLimitedError: no slot of its rate limit is free, and its definition says to refuse.
            StoreError: the store failed; nothing is known to have been written.
        """
        slots = slot_config(graph)
        if slots is None:
            return await self._create(workflow_id, graph, event)
        slots_max = slots.concurrent_exec_limit
        try:
            return await self._create(workflow_id, graph, replace(event, slots_max=slots_max))
        except SlotsTakenError as taken:
            if slots.policy == "REJECT" and not patient:
                raise RateLimitedError(
                    f"Workflow {graph.definition.name} may run {slots_max} times at once for one rate limit "
                    f"key, and so many are running ({taken}); start it again later"
                ) from taken
        return await self._create(workflow_id, graph, replace(event, wait_for_slot=True))

    async def _create(self, workflow_id: str, graph: Graph, event: ev.Start) -> Applied:
        resident = self._residents.of(workflow_id)
        resident.start_graph = graph
        return await self._post(resident, event)

    async def submit(
        self, workflow_id: str, event: ev.Event, *, restart_graph: Graph | None = None
    ) -> Applied:
        """Have an event decided and written.

        Raises:
            RefusedError: the event does not fit; nothing changed. NotFoundError: no such workflow.
            StoreError: the store failed; nothing is known to have been written.
        """
        resident = self._residents.of(workflow_id)
        if isinstance(event, ev.Restart):
            resident.restart_graph = restart_graph
        return await self._post(resident, event)

    def graph_of(self, workflow_id: str) -> Graph | None:
        """The graph of a workflow in memory."""
        resident = self._residents.get(workflow_id)
        return None if resident is None else resident.view.graph

    def forget(self, workflow_id: str) -> None:
        """Drop what is remembered of a workflow (it was removed, or written by somebody else)."""
        resident = self._residents.get(workflow_id)
        if resident is not None and resident.idle:
            self._residents.drop(workflow_id)

    async def idle(self) -> None:
        """Wait until every event accepted so far is decided and written."""
        while self._running:
            await asyncio.wait(set(self._running))

    # ------------------------------------------------------------------------------------ inside
    async def _post(self, resident: Resident, event: ev.Event) -> Applied:
        seed = self._chance.seed()
        now_ms = self._clock.now_ms()
        stamp = Stamp(event_id=f"{now_ms:013d}-{seed:016x}", now_ms=now_ms, seed=seed)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Applied] = loop.create_future()
        resident.inbox.append((ev.Stamped(event=event, stamp=stamp), future))
        if not resident.busy:
            resident.busy = True
            task = loop.create_task(self._drive(resident))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future

    async def _drive(self, resident: Resident) -> None:
        try:
            while resident.inbox:
                await self._others_turn(resident.view.workflow_id)
                batch = resident.inbox[:EVENTS_PER_STEP_MAX]
                del resident.inbox[:EVENTS_PER_STEP_MAX]
                await self._step(resident, batch)
        finally:
            resident.busy = False
            header = resident.view.header
            if header is not None and header.status not in WORKFLOW_OPEN and not resident.inbox:
                # What ended is rarely asked again, and its documents may be large.
                self._residents.drop(resident.view.workflow_id)

    async def _others_turn(self, workflow_id: str) -> None:
        until = self._left_alone.get(workflow_id)
        if until is not None:
            await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))

    def _turn_over(self, workflow_id: str, until: float) -> None:
        if self._left_alone.get(workflow_id) == until:
            del self._left_alone[workflow_id]

    def _outrun(self, workflow_id: str, in_a_row: int, began: float) -> None:
        """A try came to nothing, because somebody else was quicker."""
        self.conflicts += 1
        self.conflicts_in_a_row_max = max(self.conflicts_in_a_row_max, in_a_row)
        if in_a_row >= ASK_AFTER:
            took_ms = round((asyncio.get_running_loop().time() - began) * 1000)
            self._on_outrun(workflow_id, min(max(TURN_MS_MIN, 2 * took_ms), TURN_MS_MAX))

    async def _step(
        self, resident: Resident, batch: list[tuple[ev.Stamped, asyncio.Future[Applied]]]
    ) -> None:
        """Decide and write a batch; if the whole meets our bug, each event alone, to spare the others."""
        try:
            decision = await self._decided(resident, [stamped for stamped, _ in batch])
        except Exception as error:
            self._reset(resident)
            if len(batch) > 1 and (isinstance(error, SlotsTakenError) or not isinstance(error, StoreError)):
                for item in batch:
                    await self._step(resident, [item])
                return
            if not isinstance(error, EngineError):
                log.exception("step_failed", workflow_id=resident.view.workflow_id)
                error = InvariantError(f"the step failed: {type(error).__name__}: {error}")
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(batch, decision.outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, RefusedError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _decided(self, resident: Resident, stamped: list[ev.Stamped]) -> Decision:
        view = resident.view
        doubtful: list[Decision] = []  # of unknown outcome; they may land after they were looked for
        restarting = any(isinstance(item.event, ev.Restart) for item in stamped)
        for attempt in range(ATTEMPTS_MAX):
            began = asyncio.get_running_loop().time()
            remembered = view.header is not None
            if not remembered and view.graph is None:
                view.graph = resident.start_graph
            try:
                await self._prepare(view, stamped)
                if doubtful and await self._landed(view, doubtful):
                    self._reset(resident)
                    return doubtful[-1]
                if restarting:
                    view.restart_graph = resident.restart_graph
                decision = await self._decide(view, stamped)
            except InvariantError:
                if remembered and not await self._loader.current(view):
                    view = self._reset(resident)
                    continue
                raise
            if decision.delta is None:
                if remembered and not await self._loader.current(view):
                    # Nothing to do, or refused, but by a state that another server has changed since.
                    view = self._reset(resident)
                    continue
                return decision
            result = await self._committer.write(decision.delta)
            if isinstance(result, OutcomeUnknownError):
                doubtful.append(decision)
            if isinstance(result, VersionConflictError | OutcomeUnknownError):
                # Not written, as far as is known: read what is there and decide again.
                self._outrun(view.workflow_id, attempt + 1, began)
                view = self._reset(resident)
                continue
            if isinstance(result, StoreError):
                raise result
            assert isinstance(result, int)  # noqa: S101 - the store's contract for a Delta
            absorb(view, decision, result)
            self._announce(view, decision.delta)
            self._residents.grown(resident, decision.delta)
            return decision
        raise VersionConflictError(f"workflow {view.workflow_id}: {ATTEMPTS_MAX} conflicts in a row")

    def _announce(self, view: View, delta: Delta) -> None:
        for hook in self._on_commit:
            hook(view, delta)

    async def _landed(self, view: View, doubtful: list[Decision]) -> bool:
        """Whether a decision of unknown outcome was written: its first event stands in the history, then.

        Deciding again would find the events done, or do them twice, and tell nobody what they led to.
        The view is read before the history, so a decision that lands after this meets a conflict.
        """
        deltas = [decision.delta for decision in doubtful if decision.delta is not None]
        ids = {row.event_id for delta in deltas for row in delta.history[:1]}
        if not ids or not await self._loader.recorded(deltas[0].workflow_id, ids):
            return False
        for delta in deltas:
            self._committer.recovered(delta)
        if len(deltas) == 1:  # of several nobody knows which; the outbox sweep finds what it says to others
            self._announce(view, deltas[0])
        return True

    async def _prepare(self, view: View, stamped: list[ev.Stamped]) -> None:
        view.entries = None
        starting = isinstance(stamped[0].event, ev.Start)
        if view.header is None:
            graph = view.graph
            if not starting or view.row_version:
                if not await self._loader.header(view):
                    raise NotFoundError(f"No such workflow found by id: {view.workflow_id}")
            elif graph is not None and await self._loader.header(view):
                pass  # it exists already: a repeated start
            else:
                view.graph = graph
                view.all_known = view.open_known = True
        lacking = []
        for item in stamped:
            task_id = getattr(item.event, "key", None) or getattr(item.event, "task_id", None)
            if (
                isinstance(task_id, str)
                and task_id not in view.tasks
                and not view.all_known
                and task_id != "workflow"
            ):
                lacking.append(task_id)
        if lacking:
            await self._loader.tasks(view, lacking)

    async def _decide(self, view: View, stamped: list[ev.Stamped]) -> Decision:
        asked: tuple[Fact, ...] = ()
        for _ in range(FACT_ROUNDS_MAX):
            try:
                return decide(view, stamped)
            except FactsMissingError as missing:
                if missing.facts == asked:
                    raise InvariantError(f"workflow {view.workflow_id}: {asked} cannot be had") from missing
                asked = missing.facts
                await self._loader.load(view, missing.facts)
        raise InvariantError(f"workflow {view.workflow_id}: the step asks for facts without end")

    def _reset(self, resident: Resident) -> View:
        """Begin again from the store."""
        fresh = self._loader.view(resident.view.workflow_id)
        resident.view = fresh
        self._residents.weighs(resident, 0)
        return fresh
