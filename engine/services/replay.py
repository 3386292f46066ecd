"""Decides a recorded history again: the same engine must come to the same end, a changed one shows where not.

    recording = await record(store, workflow_id, environment=...)
    replayed = await replay(recording, scripts)

The recording holds the events and the rows they led to. What the core asked the outside world then and no row
holds, the replay finds again: a script's result in the task that ran it (else the script runs again), the
version of a child and the domain of a task in the rows they led to.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from engine.core import events as ev
from engine.core import facts as f
from engine.core.decider import Decision, decide
from engine.core.errors import InvalidRequestError, InvariantError, NotFoundError, RefusedError
from engine.core.graph import SYSTEM_TYPES, Graph, compile_definition
from engine.core.history import begins_anew, polled_by, read_row
from engine.core.model import TaskDef, WorkflowDef, collect_tasks, decode_workflow_def, map_tasks
from engine.core.records import EMPTY_OBJECT, Header, HistoryRow, Lease, QueueEntry, Task
from engine.core.statuses import TASK_OPEN, WORKFLOW_OPEN, WorkflowStatus
from engine.ports.scripts import ScriptCall, ScriptRunner
from engine.ports.stores import ExecutionStore
from engine.services.replay_compare import Divergence, Moment, Tracks, compare
from engine.services.residents import absorb

FORMAT = 1
EVENTS_MAX = 200_000
"""A history longer than this is refused: it would hold the server, or the command, for minutes."""
FACT_ROUNDS_MAX = 10_000


class Recording(Struct, kw_only=True):
    """An execution with its history; all that a replay needs.

    Attributes:
        definition: the frozen definition it runs by, wire JSON.
        events: in the order they were decided.
        environment: what its expressions may read of the server's environment.
    """

    header: Header
    input: Raw
    output: Raw
    definition: Raw
    tasks: list[Task]
    events: list[HistoryRow]
    environment: dict[str, str] = {}
    format: int = FORMAT


class _Document(Struct, kw_only=True):
    """A recording as JSON: what dynamic branches are made of stands beside their tasks."""

    recording: Recording
    branches: dict[str, Raw] = {}


def encode_recording(recording: Recording) -> bytes:
    branches = {
        task.id: task.links.workflow_task for task in recording.tasks if task.links.workflow_task is not None
    }
    tasks = [
        replace(task, links=replace(task.links, workflow_task=None)) if task.id in branches else task
        for task in recording.tasks
    ]
    return msgspec.json.encode(_Document(recording=replace(recording, tasks=tasks), branches=branches))


def decode_recording(document: bytes) -> Recording:
    """Read what `encode_recording` wrote.

    Raises:
        InvalidRequestError: it is something else.
    """
    try:
        read = msgspec.json.decode(document, type=_Document)
    except msgspec.MsgspecError as error:
        raise _damaged(f"it cannot be read: {error}") from error
    for task in read.recording.tasks:
        task.links.workflow_task = read.branches.get(task.id)
    return read.recording


class Replayed(Struct, kw_only=True):
    """What came of it.

    Attributes:
        events: decided again. before: events before the last restart, whose rows are gone.
        divergence: None when every decision was the same.
    """

    workflow_id: str
    events: int
    before: int
    divergence: Divergence | None


async def record(store: ExecutionStore, workflow_id: str, *, environment: dict[str, str]) -> Recording:
    """Read what a replay needs.

    Raises:
        NotFoundError: no such workflow. InvalidRequestError: its history is too long.
    """
    row = await store.row(workflow_id)
    if row is None:
        raise NotFoundError(f"No such workflow found by id: {workflow_id}")
    definition = await store.definition(row.header.definition_hash)
    if definition is None:
        raise InvariantError(f"the definition {row.header.definition_hash} is missing from the store")
    events = await store.history(workflow_id)
    if len(events) > EVENTS_MAX:
        raise InvalidRequestError(f"{workflow_id} has {len(events)} events, a replay takes {EVENTS_MAX}")
    text = definition.decode()
    return Recording(
        header=row.header,
        input=row.input,
        output=row.output,
        definition=Raw(definition),
        tasks=await store.tasks(workflow_id),
        events=events,
        environment={name: value for name, value in environment.items() if "${" + name in text},
    )


async def replay(
    recording: Recording, scripts: ScriptRunner, *, definition: WorkflowDef | None = None
) -> Replayed:
    """Decide the history again, by the frozen definition or by another one.

    Raises:
        InvalidRequestError: the recording is damaged; the sentence says where.
    """
    if recording.format != FORMAT:
        raise _damaged(f"its format is {recording.format}, this version reads {FORMAT}")
    moments = _moments(recording)
    frozen = decode_workflow_def(bytes(recording.definition))
    graph = compile_definition(frozen if definition is None else _with_task_defs(definition, frozen))
    return await _Replay(recording, moments, graph, scripts).run()


def _damaged(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"the history cannot be replayed: {what}")


def _moments(recording: Recording) -> list[Moment]:
    """The events with their stamps; each row must agree with itself and with its workflow."""
    if not recording.events:
        raise _damaged("it has no events")
    moments, seen = [], set()
    for number, row in enumerate(recording.events, start=1):
        where = f"event {number} ({row.event_id})"
        try:
            recorded = read_row(row)
        except msgspec.MsgspecError as error:
            raise _damaged(f"{where} cannot be read: {error}") from error
        if row.workflow_id != recording.header.workflow_id:
            raise _damaged(f"{where} belongs to workflow {row.workflow_id}")
        if row.event_id != f"{row.at_ms:013d}-{recorded.seed:016x}":
            raise _damaged(f"{where} was changed: its id does not fit its time and seed")
        if row.event_id in seen or type(recorded.event).__name__ != row.type:
            raise _damaged(f"{where} was changed: it is there twice, or of another type")
        if (number == 1) != isinstance(recorded.event, ev.Start):
            raise _damaged(f"{where} is {row.type}; a history has one Start, its first event")
        seen.add(row.event_id)
        stamp = f.Stamp(event_id=row.event_id, now_ms=row.at_ms, seed=recorded.seed)
        moments.append(Moment(number=number, row=row, recorded=recorded, stamp=stamp))
    return moments


def _with_task_defs(definition: WorkflowDef, frozen: WorkflowDef) -> WorkflowDef:
    """Another definition under the task definitions of the execution."""
    known = {task.name: task.task_definition for task in collect_tasks(frozen)}

    def fill(task: object) -> object:
        assert isinstance(task, type(frozen.tasks[0]))  # noqa: S101 - map_tasks gives what it takes
        if task.task_definition is not None:
            return task
        made_up = TaskDef(name=task.name)
        if task.type in SYSTEM_TYPES or task.type == "DYNAMIC":
            made_up = replace(made_up, retry_count=0, response_timeout_seconds=0)
        return replace(task, task_definition=known.get(task.name) or made_up)

    return map_tasks(definition, fill)  # type: ignore[arg-type]  # as asserted


class _Replay:
    def __init__(
        self, recording: Recording, moments: Sequence[Moment], graph: Graph, scripts: ScriptRunner
    ) -> None:
        self._recording = recording
        self._scripts = scripts
        self._stored = {task.id: task for task in recording.tasks}
        self._view = f.View(recording.header.workflow_id)
        self._view.graph = graph
        self._view.environment = recording.environment
        self._view.all_known = self._view.open_known = True
        anew = [place for place, moment in enumerate(moments) if begins_anew(moment.recorded.event)]
        self._first = anew[-1] if anew else 0
        self._before, self._moments = moments[: self._first], moments[self._first :]
        self._outputs = _outputs(self._moments)
        self._keeping = [moment for moment in self._moments if moment.recorded.kept is not None]

    async def run(self) -> Replayed:
        divergence = None
        tracks = Tracks(self._stored, self._moments)
        if self._first:
            await self._until_anew(self._before[0], self._moments[0])
        for moment in self._moments:
            divergence = await self._one(moment, tracks)
            if divergence is not None:
                break
        else:
            view, stored = self._view, self._recording
            if view.header is None:
                raise _damaged("it leads to no workflow")
            divergence = compare(tracks, view.header, view.output, stored.header, stored.output)
        return Replayed(
            workflow_id=self._recording.header.workflow_id,
            events=len(self._moments),
            before=self._first,
            divergence=divergence,
        )

    async def _until_anew(self, start: Moment, anew: Moment) -> None:
        """Stand where the last restart found the workflow: nothing of its tasks mattered any more."""
        decision = await self._decide(start)
        assert decision.delta is not None  # noqa: S101 - a Start always begins
        header = replace(decision.delta.header, status=WorkflowStatus.TERMINATED)
        kept = anew.recorded.kept
        if kept is not None:
            header = replace(
                header,
                variables=kept.variables,
                failed_refs=kept.failed_refs,
                failed_names=kept.failed_names,
                create_ms=kept.create_ms or header.create_ms,
            )
        if decision.delta.input is not None:
            self._view.input = decision.delta.input
        for moment in self._before:
            event = moment.recorded.event
            if isinstance(event, ev.Rerun) and event.correlation_id:
                header = replace(header, correlation_id=event.correlation_id)
            if isinstance(event, ev.Rerun) and event.workflow_input:
                self._view.input = Raw(msgspec.json.encode(event.workflow_input))
        self._view.header, self._view.row_version = header, 1

    async def _one(self, moment: Moment, tracks: Tracks) -> Divergence | None:
        """Decide one event; what it leads to must be what it led to then, as far as that is still seen."""
        try:
            decision = await self._decide(moment)
        except InvariantError as error:
            return tracks.differs(moment, [f"cannot be decided: {error}"])
        outcome = decision.outcomes[0]
        if isinstance(outcome, RefusedError):
            return tracks.differs(moment, [f"refused: {outcome}"])
        if not outcome.changed:
            return tracks.differs(moment, ["changes nothing"])
        absorb(self._view, decision, self._view.row_version + 1)
        return tracks.decided(moment, decision)

    async def _decide(self, moment: Moment) -> Decision:
        view, event = self._view, moment.recorded.event
        view.entries = None
        if isinstance(event, ev.TaskReported):
            event = replace(event, output=self._output_of(moment, event), merge=False)
        for _ in range(FACT_ROUNDS_MAX):
            try:
                return decide(view, [ev.Stamped(event=event, stamp=moment.stamp)])
            except f.FactsMissingError as missing:
                for fact in missing.facts:
                    await self._bring(fact, moment)
        raise InvariantError("it asks for facts without an end")

    def _output_of(self, moment: Moment, event: ev.TaskReported) -> Raw | None:
        """What the worker reported: in the operation that took it away, else in the task's row."""
        for number, kept in self._outputs.get(event.task_id, ()):
            if number > moment.number:
                return kept
        stored = self._stored.get(event.task_id)
        return EMPTY_OBJECT if stored is None else stored.output

    # ------------------------------------------------------------------------------------ facts of then
    async def _bring(self, fact: f.Fact, moment: Moment) -> None:
        view = self._view
        match fact:
            case f.EntriesFact():
                view.entries = self._entries(moment)
            case f.ScriptFact():
                view.scripts[fact] = await self._script(fact)
            case f.DefinitionFact():
                view.definitions[fact] = self._definition(fact, moment)
            case f.TaskDefFact(name):
                view.task_defs[name] = self._task_def(name)
            case f.DomainsFact(task_type):
                chosen = {
                    task.head.domain: moment.stamp.now_ms
                    for task in self._stored.values()
                    if task.head.task_type == task_type and isinstance(task.head.domain, str)
                }
                view.domains[task_type] = chosen
            case f.EnvironmentFact(name):
                view.stored_environment[name] = self._recording.environment.get(name)
            case _:
                raise InvariantError(f"{fact} is not in the history")

    def _entries(self, moment: Moment) -> dict[str, QueueEntry]:
        """The queue as far as it matters: who had polled what ends in this step."""
        entries = {}
        for task in self._view.tasks.values():
            polled = self._polled(moment, task.id) if task.state.status in TASK_OPEN else None
            if polled is None:
                continue
            worker_id, start_ms, poll_count = polled
            lease = Lease(worker_id=worker_id, start_ms=start_ms, poll_count=poll_count)
            entries[task.id] = QueueEntry(
                task_id=task.id, workflow_id=self._view.workflow_id, queue="", lease=lease
            )
        event = moment.recorded.event
        if isinstance(event, ev.DeadlinePassed):
            entries[event.task_id] = event.entry
        return entries

    def _polled(self, moment: Moment, task_id: str) -> tuple[str, int, int] | None:
        """Who polled a task by the end that comes next: an operation may have used its row again since."""
        for later in self._keeping:
            kept = later.recorded.kept
            if later.number > moment.number and kept is not None and task_id in kept.polled:
                return kept.polled[task_id]
        stored = self._stored.get(task_id)
        return None if stored is None or not stored.state.poll_count else polled_by(stored)

    async def _script(self, fact: f.ScriptFact) -> f.ScriptOutcome:
        for task in self._stored.values():
            if task.head.task_type in {"INLINE", "LAMBDA"} and bytes(task.head.input_data) == fact.bindings:
                output = msgspec.json.decode(task.output)
                if "result" in output:
                    return f.ScriptOutcome(value=output["result"])
        result = await self._scripts.run(
            ScriptCall(language=fact.language, source=fact.source, bindings=fact.bindings)
        )
        return f.ScriptOutcome(value=result.value, error=result.error, timed_out=result.timed_out)

    def _definition(self, fact: f.DefinitionFact, moment: Moment) -> Graph | None:
        """A stand-in for the child's definition: only its name and version matter to the parent."""
        version = fact.version
        known = version is not None
        for task in self._stored.values():
            given = msgspec.json.decode(task.head.input_data) if task.head.task_type == "SUB_WORKFLOW" else {}
            if given.get("subWorkflowName") == fact.name and given.get("subWorkflowVersion") is not None:
                known = True
                version = version or given["subWorkflowVersion"]
                if task.head.scheduled_time == moment.stamp.now_ms:
                    break
        header = self._recording.header
        ended_here = header.end_ms == moment.stamp.now_ms and header.status not in WORKFLOW_OPEN
        if ended_here and "has no workflow definition available" in (header.reason or ""):
            return None
        failure = msgspec.json.decode(self._recording.output).get("conductor.failure_workflow")
        if isinstance(failure, str) and failure.startswith(f"Error workflow {fact.name} failed to start"):
            return None
        if not known and failure is None:
            return None
        return compile_definition(WorkflowDef(name=fact.name, version=version or 1))

    def _task_def(self, name: str) -> TaskDef | None:
        for task in self._stored.values():
            if task.links.workflow_task is not None and task.head.task_def_name == name:
                return msgspec.json.decode(task.links.workflow_task, type=_Branch).task_definition
        return None


class _Branch(Struct, rename="camel"):
    task_definition: TaskDef | None = None


def _outputs(moments: Sequence[Moment]) -> dict[str, list[tuple[int, Raw]]]:
    """Per task what operations took away of its outputs, each with the number of the event that did."""
    found: dict[str, list[tuple[int, Raw]]] = {}
    for moment in moments:
        for task_id, output in ({} if moment.recorded.kept is None else moment.recorded.kept.outputs).items():
            found.setdefault(task_id, []).append((moment.number, output))
    return found
