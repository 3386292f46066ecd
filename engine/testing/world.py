"""A workflow in a box: the pure decider over a store of plain dicts, all invariants checked after each step.

Each step is decided twice, on the view kept from the step before and on a view loaded cold, and must come out
the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core import events as ev
from engine.core import facts as f
from engine.core.decider import Applied, Decision, decide
from engine.core.errors import RefusedError
from engine.core.graph import SYSTEM_TYPES, Graph, compile_definition
from engine.core.model import TaskDef, WorkflowDef, decode_workflow_def, map_tasks
from engine.core.records import Delta, Header, Lease, Message, QueueEntry, Task, Timer
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.services.residents import absorb, prune
from engine.testing.invariants import check_execution, check_task_move, check_workflow_move

_ITERATION = re.compile(r"\$\.(\w+)\['iteration'\] < (\d+)")
ROUNDS_MAX = 10_000


class World:
    """One workflow, its queue, timers and outgoing messages.

    Attributes:
        header, tasks, queue, timers, messages: what is stored.
        rounds: how often a step had to be decided again because it lacked facts.
    """

    def __init__(self, definition: dict[str, Any], *, task_defs: dict[str, TaskDef] | None = None) -> None:
        self.task_defs = task_defs or {}
        self.graph = compile_definition(self._filled(decode_workflow_def(definition)))
        self.workflow_id = "w"
        self.header: Header | None = None
        self.row_version = 0
        self.input = Raw(b"{}")
        self.output = Raw(b"{}")
        self.tasks: dict[str, Task] = {}
        self.queue: dict[str, QueueEntry] = {}
        self.timers: dict[str, Timer] = {}
        self.messages: list[Message] = []
        self.history: list[str] = []
        self.now_ms = 1_000_000
        self.rounds = 0
        self.domains: dict[str, dict[str, int]] = {}  # task type -> domain -> when it was last polled
        self.environment: dict[str, str] = {}
        self._serial = 0
        self._warm = f.View(self.workflow_id)

    def _filled(self, definition: WorkflowDef) -> WorkflowDef:
        def fill(task: Any) -> Any:
            made_up = TaskDef(name=task.name)
            if task.type in SYSTEM_TYPES:
                made_up = replace(made_up, retry_count=0, response_timeout_seconds=0)
            return replace(task, task_definition=self.task_defs.get(task.name, made_up))

        return map_tasks(definition, fill)

    # ------------------------------------------------------------------------------------ driving
    def post(self, *events: ev.Event) -> list[Applied | RefusedError]:
        """Decide the events together, write the delta, check everything."""
        stamped = []
        for event in events:
            self._serial += 1
            stamp = f.Stamp(event_id=f"e{self._serial}", now_ms=self.now_ms, seed=self._serial)
            stamped.append(ev.Stamped(event=event, stamp=stamp))
        cold = self._decide(self._cold_view(), stamped)
        warm = self._decide(self._warm, stamped)
        assert _bytes(cold.delta) == _bytes(warm.delta), (
            "the kept view decides otherwise than the stored facts"
        )
        operation = any(
            isinstance(e, ev.Retry | ev.Rerun | ev.Restart | ev.ChildRevived | ev.Terminate) for e in events
        )
        if warm.delta is not None:
            self._write(warm.delta, revivals=operation)
            absorb(self._warm, msgspec.structs.replace(warm), self.row_version)
            prune(self._warm)
        self.check()
        return warm.outcomes

    def start(self, input: dict[str, Any] | None = None) -> None:
        self.post(ev.Start(input=Raw(msgspec.json.encode(input or {}))))

    def open_refs(self) -> list[str]:
        return [task.ref for task in self.listed() if task.open]

    def listed(self) -> list[Task]:
        return sorted(self.tasks.values(), key=lambda task: task.head.seq)

    def newest(self, ref: str) -> Task:
        return [task for task in self.listed() if task.ref == ref][-1]

    def poll(self, task_id: str) -> None:
        """A worker takes the task from its queue."""
        entry = self.queue[task_id]
        before = entry.lease or Lease()
        entry.lease = Lease(
            worker_id="worker",
            start_ms=before.start_ms or self.now_ms,
            update_ms=self.now_ms,
            poll_count=before.poll_count + 1,
            held=True,
        )

    def report(
        self, task_id: str, status: TaskStatus, output: dict[str, Any] | None = None
    ) -> ev.TaskReported:
        reason = None if status is TaskStatus.COMPLETED else "it broke"
        encoded = Raw(msgspec.json.encode(output or {}))
        entry = self.queue.get(task_id)
        kept = None if entry is None else msgspec.convert(msgspec.to_builtins(entry), QueueEntry)
        return ev.TaskReported(task_id=task_id, status=status, output=encoded, reason=reason, entry=kept)

    def finish_everything(self, rounds_max: int = 500) -> None:
        """Complete whatever is open until the workflow ends.

        Raises:
            AssertionError: nothing can move, or it takes more than `rounds_max` rounds.
        """
        for _ in range(rounds_max):
            if self.header is None or self.header.status not in WORKFLOW_OPEN:
                return
            if self.header.status is WorkflowStatus.PAUSED:
                self.post(ev.Resume())
                continue
            events = self.possible()
            assert events, f"stuck: {[(t.ref, str(t.status)) for t in self.listed()]}"
            self.post(events[0])
        raise AssertionError(f"no end after {rounds_max} rounds")

    def possible(self) -> list[ev.Event]:
        """Everything the outside world could truthfully say next, each leading on."""
        events: list[ev.Event] = []
        for entry in self.queue.values():
            self.now_ms = max(self.now_ms, entry.due_ms)
            events.append(self.report(entry.task_id, TaskStatus.COMPLETED, {"v": 1}))
        for timer in sorted(self.timers.values(), key=lambda t: t.due_ms):
            if timer.kind != "workflow_timeout":
                self.now_ms = max(self.now_ms, timer.due_ms)
                events.append(ev.TimerFired(key=timer.key, kind=timer.kind))
        for task in self.listed():
            if task.open and task.head.task_type == "HUMAN":
                events.append(self.report(task.id, TaskStatus.COMPLETED))
            if task.open and task.head.task_type == "WAIT" and not task.links.wait_until_ms:
                events.append(self.report(task.id, TaskStatus.COMPLETED))
            if task.open and task.head.task_type == "EVENT":
                events.append(self.report(task.id, TaskStatus.COMPLETED))
            if task.open and task.head.task_type == "PULL_WORKFLOW_MESSAGES":
                events.append(ev.MessageSent(message_id=f"m{self._serial}", payload=Raw(b'{"v":1}')))
            if (
                task.open
                and task.head.task_type == "SUB_WORKFLOW"
                and isinstance(task.state.sub_workflow_id, str)
            ):
                events.append(self.child_end(task, WorkflowStatus.COMPLETED))
        if self.header is not None and self.header.pending:
            events.append(ev.Continue())
        return events

    def child_end(self, task: Task, status: WorkflowStatus) -> ev.ChildEnded:
        child_id = task.state.sub_workflow_id
        return ev.ChildEnded(
            task_id=task.id,
            child_id=child_id if isinstance(child_id, str) else "",
            name="child",
            status=status,
            reason=None if status is WorkflowStatus.COMPLETED else "the child broke",
        )

    # ------------------------------------------------------------------------------------ deciding
    def _decide(self, view: f.View, stamped: Sequence[ev.Stamped]) -> Decision:
        view.entries = None
        for _ in range(ROUNDS_MAX):
            for item in stamped:
                key = getattr(item.event, "key", None) or getattr(item.event, "task_id", None)
                if isinstance(key, str) and key in self.tasks:
                    view.tasks.setdefault(key, self.tasks[key])
            try:
                return decide(view, stamped)
            except f.FactsMissingError as missing:
                self.rounds += 1
                for fact in missing.facts:
                    self._bring(view, fact)
        raise AssertionError("the step asks for facts without end")

    def _cold_view(self) -> f.View:
        view = f.View(self.workflow_id)
        view.graph = self.graph
        if self.header is not None:
            view.header, view.row_version, view.input = self.header, self.row_version, self.input
        else:
            view.all_known = view.open_known = True
        if self._warm.header is None:
            self._warm.graph, self._warm.all_known, self._warm.open_known = self.graph, True, True
        return view

    def _bring(self, view: f.View, fact: f.Fact) -> None:
        match fact:
            case f.TaskFact(task_id):
                view.tasks[task_id] = self.tasks[task_id]
            case f.LatestFact(base_ref):
                found = [t for t in self.listed() if t.links.base_ref == base_ref]
                view.latest[base_ref] = found[-1].id if found else None
                if found:
                    view.tasks.setdefault(found[-1].id, found[-1])
            case f.RefsFact(refs):
                for ref in refs:
                    same = [t for t in self.listed() if t.ref == ref]
                    view.refs[ref] = same[-1].id if same else None
                    if same:
                        view.tasks.setdefault(same[-1].id, same[-1])
            case f.OpenTasksFact():
                view.tasks |= {t.id: t for t in self.tasks.values() if t.open and t.id not in view.tasks}
                view.open_known = True
            case f.EntriesFact():
                view.entries = dict(self.queue)
            case f.AllTasksFact() | f.LoopTasksFact():
                view.tasks = {**self.tasks, **view.tasks}
                for task in self.listed():
                    view.latest[task.links.base_ref] = view.refs[task.ref] = task.id
                view.all_known = view.open_known = True
            case f.ScriptFact():
                view.scripts[fact] = _script(fact)
            case f.DefinitionFact(name, _):
                graph: Graph | None = compile_definition(WorkflowDef(name=name, version=1))
                view.definitions[fact] = graph
            case f.TaskDefFact(name):
                view.task_defs[name] = self.task_defs.get(name)
            case f.DomainsFact(task_type):
                view.domains[task_type] = dict(self.domains.get(task_type, {}))
            case f.SchemaFact():
                view.schemas[fact] = None
            case f.EnvironmentFact(name):
                view.stored_environment[name] = self.environment.get(name)

    # ------------------------------------------------------------------------------------ storing
    def _write(self, delta: Delta, *, revivals: bool) -> None:
        assert delta.expected_version == self.row_version
        if delta.remove_all_tasks:
            self.tasks, self.queue, self.timers = {}, {}, {}
        for task_id in delta.tasks_removed:
            del self.tasks[task_id]
        for task in delta.tasks_changed:
            check_task_move(self.tasks[task.id], task, revivals=revivals)
            assert task.id in delta.heads_changed or _bytes(task.head) == _bytes(self.tasks[task.id].head)
        for task in (*delta.tasks_new, *delta.tasks_changed):
            self.tasks[task.id] = task
        for key in delta.queue_removed:
            self.queue.pop(key, None)
        for entry in delta.queue_put:
            self.queue[entry.task_id] = entry
        for key in delta.timers_cleared:
            self.timers.pop(key, None)
        for timer in delta.timers_set:
            self.timers[timer.key] = timer
        if self.header is not None:
            check_workflow_move(self.header.status, delta.header.status, revivals=revivals)
        self.header = msgspec.json.decode(msgspec.json.encode(delta.header), type=Header)
        self.row_version += 1
        self.input = delta.input if delta.input is not None else self.input
        self.output = delta.output if delta.output is not None else self.output
        self.messages += delta.outbox
        self.history += [row.type for row in delta.history]

    # ------------------------------------------------------------------------------------ invariants
    def check(self) -> None:
        """What must hold after every step, whatever happened."""
        if self.header is not None:
            check_execution(self.header, self.listed(), self.queue, self.timers)


def _script(fact: f.ScriptFact) -> f.ScriptOutcome:
    """The two scripts the generated definitions use, and any jq program."""
    if fact.language == "jq":
        return f.ScriptOutcome(value=[1])
    match = _ITERATION.fullmatch(fact.source)
    if match is None:
        return f.ScriptOutcome(value=1)
    bindings = msgspec.json.decode(fact.bindings)
    return f.ScriptOutcome(value=bindings[match.group(1)]["iteration"] < int(match.group(2)))


def _bytes(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")
