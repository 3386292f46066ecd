"""The working state of one step: the view it reads, the changes it gathers, and the delta they make.

Records are replaced, never edited in place, so a step that turns out to lack a fact is simply thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from engine.core.errors import InvariantError
from engine.core.events import Stamped
from engine.core.facts import (
    EntriesFact,
    FactsMissingError,
    IdStream,
    LatestFact,
    OpenTasksFact,
    RefsFact,
    TaskFact,
    View,
)
from engine.core.graph import Graph, Node, decode_workflow_task, in_queue
from engine.core.model import TaskDef, WorkflowTask
from engine.core.records import (
    REASON_CHARS_MAX,
    Delta,
    Header,
    HistoryRow,
    LoopState,
    Message,
    QueueEntry,
    Task,
    TaskHead,
    TaskLinks,
    TaskState,
    Timer,
)
from engine.core.statuses import (
    TASK_MOVES,
    TASK_REVIVALS,
    WORKFLOW_MOVES,
    WORKFLOW_REVIVALS,
    TaskStatus,
    WorkflowStatus,
)


class Place(msgspec.Struct, kw_only=True, frozen=True):
    """Where a task is being created: the loop instance around it and what is appended to its reference."""

    loop: str | None = None
    suffix: str = ""
    iteration: int = 0


TOP = Place()


class Wanted(msgspec.Struct, kw_only=True, frozen=True):
    """A task of the definition that is to be created next; already counted as open."""

    ref: str
    place: Place = TOP


class EndWorkflow(Exception):  # noqa: N818 - control flow inside one step, not an error
    """The workflow ends here; open tasks are cancelled by whoever catches this."""

    def __init__(
        self,
        status: WorkflowStatus,
        reason: str | None,
        *,
        task_id: str | None = None,
        output: Raw | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.task_id = task_id
        self.output = output


class Step:
    def __init__(self, view: View, header: Header, *, creating: bool = False) -> None:
        self.view = view
        self.header = replace(
            header,
            joins=dict(header.joins),
            loops=dict(header.loops),
            variables=dict(header.variables),
            failed_refs=list(header.failed_refs),
            failed_names=list(header.failed_names),
            failed_seen=dict(header.failed_seen),
            permissive_failures=dict(header.permissive_failures),
            skipped=dict(header.skipped),
            unprocessed=list(header.unprocessed),
            pending=list(header.pending),
        )
        self.creating = creating
        self.now_ms = 0
        self.ids = IdStream(0, 0)
        self.new: dict[str, Task] = {}
        self.changed: dict[str, Task] = {}
        self.heads_changed: set[str] = set()
        self.removed: set[str] = set()
        self.dropped: set[str] = set()  # of rounds that a loop does not keep; none is anybody's newest
        self.ran_early: set[str] = set()  # executed while being created; what follows is still to be seen to
        self.expanded: set[str] = set()  # of those: what follows was created with them
        self.remove_all = False
        self.new_graph: Graph | None = None
        self.latest_overlay: dict[str, str] = {}
        self.refs_overlay: dict[str, str] = {}
        self.queue_put: dict[str, QueueEntry] = {}
        self.queue_removed: set[str] = set()
        self.timers_set: dict[str, Timer] = {}
        self.timers_cleared: set[str] = set()
        self.history: list[HistoryRow] = []
        self.outbox: list[Message] = []
        self.input: Raw | None = None
        self.output: Raw | None = None
        self.touched = creating
        self.slots_max: int | None = None  # how many slots there are, when this step asks for one
        self.created_in_event = 0
        self.moved: list[tuple[Task, TaskStatus]] = []  # where somebody wants to hear of it
        self.later: list[Wanted] = []  # asked for while something else is being created

    # ---------------------------------------------------------------- what the step reads
    @property
    def graph(self) -> Graph:
        graph = self.new_graph or self.view.graph
        if graph is None:
            raise InvariantError(f"workflow {self.header.workflow_id}: the view has no graph")
        return graph

    @property
    def workflow_input(self) -> Raw:
        return self.view.input if self.input is None else self.input

    def begin(self, stamped: Stamped) -> None:
        self.now_ms = stamped.stamp.now_ms
        self.ids = IdStream(stamped.stamp.seed, stamped.stamp.now_ms)
        self.created_in_event = 0

    def task(self, task_id: str) -> Task:
        """The task as it stands in this step. Raises FactsMissingError."""
        task = self.known(task_id)
        if task is None:
            raise FactsMissingError([TaskFact(task_id)])
        return task

    def known(self, task_id: str) -> Task | None:
        if task_id in self.removed or task_id in self.dropped:
            return None
        found = self.new.get(task_id) or self.changed.get(task_id)
        if found is None and not self.remove_all:
            found = self.view.tasks.get(task_id)
        return found

    def latest(self, base_ref: str) -> Task | None:
        """The newest task of a base reference, None when it was never scheduled. Raises FactsMissingError."""
        task_id = self.latest_overlay.get(base_ref)
        if self.removed:  # a rerun, which has the whole list at hand: what was newest may just have gone
            return max(
                (task for task in self._all_known() if task.links.base_ref == base_ref),
                key=lambda task: task.head.seq,
                default=None,
            )
        if task_id is None and not self.remove_all:
            if base_ref not in self.view.latest:
                if self.creating or self.view.all_known:
                    return None
                raise FactsMissingError([LatestFact(base_ref)])
            task_id = self.view.latest[base_ref]
        return None if task_id is None else self.task(task_id)

    def by_refs(self, refs: list[str]) -> dict[str, Task]:
        """The newest task of each full reference that exists. Raises FactsMissingError with all that lack."""
        if self.removed:
            newest = {task.ref: task for task in self.all_tasks()}
            return {ref: newest[ref] for ref in refs if ref in newest}
        found: dict[str, Task] = {}
        lacking: list[str] = []
        for ref in refs:
            task_id = self.refs_overlay.get(ref)
            if task_id is None and not self.remove_all and not self.creating:
                if ref not in self.view.refs:
                    if not self.view.all_known:
                        lacking.append(ref)
                    continue
                task_id = self.view.refs[ref]
            if task_id is not None and task_id not in self.dropped:
                task = self.known(task_id)
                if task is None:
                    lacking.append(ref)
                else:
                    found[ref] = task
        if lacking:
            raise FactsMissingError([RefsFact(tuple(lacking))])
        return found

    def entry(self, task: Task) -> QueueEntry | None:
        """The task's queue entry as stored. Raises FactsMissingError until the entries are known."""
        if task.id in self.new:
            return self.queue_put.get(task.id)
        if self.view.entries is None:
            raise FactsMissingError([EntriesFact()])
        return self.view.entries.get(task.id)

    def open_tasks(self) -> list[Task]:
        """Every open task, by seq. Raises FactsMissingError when the view cannot tell."""
        found = [task for task in self._all_known() if task.open]
        if not (self.creating or self.remove_all or self.view.open_known or len(found) >= self.header.open):
            raise FactsMissingError([OpenTasksFact()])
        return sorted(found, key=lambda task: task.head.seq)

    def all_tasks(self) -> list[Task]:
        """The whole task list, by seq; only where `view.all_known`."""
        return sorted(self._all_known(), key=lambda task: task.head.seq)

    def _all_known(self) -> Iterator[Task]:
        if not self.remove_all:
            for task_id, task in self.view.tasks.items():
                if task_id not in self.removed and task_id not in self.dropped:
                    yield self.changed.get(task_id, task)
        yield from self.new.values()

    def node(self, task: Task) -> Node | None:
        """The definition's node of a task; None for a dynamic branch."""
        return self.graph.nodes.get(task.links.base_ref) if task.links.in_def else None

    def workflow_task(self, task: Task) -> WorkflowTask:
        node = self.node(task)
        if node is not None:
            return node.task
        if task.links.workflow_task is None:
            raise InvariantError(f"{task.ref}: neither in the definition nor with a definition of its own")
        return decode_workflow_task(task.links.workflow_task)

    def task_def(self, task: Task) -> TaskDef | None:
        return self.workflow_task(task).task_definition

    def document(self, raw: Raw) -> Any:
        return self.view.decoded(raw)

    # ---------------------------------------------------------------- what the step changes
    def add(self, head: TaskHead, state: TaskState, links: TaskLinks, output: Raw | None = None) -> Task:
        """Record a new task; it gets the next seq. Its reference becomes the newest of its base reference."""
        self.header.seq += 1
        head.seq = self.header.seq
        head.scheduled_time = self.now_ms
        if not links.first_scheduled_ms:
            links.first_scheduled_ms = self.now_ms
        task = Task(head=head, state=state, links=links)
        if output is not None:
            task.output = output
        self.new[task.id] = task
        self.header.last_task_id = task.id
        self.latest_overlay[links.base_ref] = task.id
        self.refs_overlay[task.ref] = task.id
        self.created_in_event += 1
        self.touched = True
        self._note_move(task)
        return task

    def put(self, task: Task, *, head: bool = False) -> Task:
        """Replace a task's record in this step."""
        if task.id in self.new:
            self.new[task.id] = task
        else:
            self.changed[task.id] = task
            if head:
                self.heads_changed.add(task.id)
        self.touched = True
        return task

    def move(
        self,
        task: Task,
        status: TaskStatus,
        *,
        reason: str | None = None,
        output: Raw | None = None,
        **fields: Any,
    ) -> Task:
        """Give the task another status. Raises InvariantError when the table forbids the move."""
        if status is not task.status and status not in TASK_MOVES[task.status]:
            raise InvariantError(f"task {task.id}: {task.status} may not become {status}")
        if reason is not None:
            fields["reason_for_incompletion"] = reason[:REASON_CHARS_MAX]
        if status not in (TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS):
            fields.setdefault("end_time", self.now_ms)
        fields.setdefault("update_time", self.now_ms)
        state = replace(task.state, status=status, **fields)
        moved = self.put(replace(task, state=state, output=task.output if output is None else output))
        if status is not task.status:
            self._note_move(moved)
        return moved

    def _note_move(self, task: Task) -> None:
        node, raw = self.node(task), task.links.workflow_task
        if node is not None:
            heard = bool(node.task.on_state_change)
        else:  # not decoded for a dynamic branch that has none
            heard = raw is not None and b'"onStateChange":{"' in bytes(raw)
        if heard:
            self.moved.append((task, task.status))

    def revive(self, task: Task, status: TaskStatus, **fields: Any) -> Task:
        """Bring an ended task back in place. Raises InvariantError when the table forbids it."""
        if (
            status is not task.status
            and status not in TASK_REVIVALS.get(task.status, frozenset()) | TASK_MOVES[task.status]
        ):
            raise InvariantError(f"task {task.id}: {task.status} may not be revived as {status}")
        state = replace(task.state, status=status, end_time=0, retried=False, executed=False, **fields)
        return self.put(replace(task, state=state))

    def move_workflow(self, status: WorkflowStatus) -> None:
        before = self.header.status
        if status is not before and status not in WORKFLOW_MOVES[before] | WORKFLOW_REVIVALS.get(
            before, frozenset()
        ):
            raise InvariantError(f"workflow {self.header.workflow_id}: {before} may not become {status}")
        self.header.status = status
        self.touched = True

    def forget_all(self) -> None:
        """Drop every task with queue entry and timer; what was gathered for them in this step goes, too."""
        self.remove_all = self.touched = True
        for gathered in (
            self.new,
            self.changed,
            self.latest_overlay,
            self.refs_overlay,
            self.queue_put,
            self.timers_set,
        ):
            gathered.clear()
        for ids in (self.removed, self.dropped, self.queue_removed, self.timers_cleared, self.heads_changed):
            ids.clear()

    def remove(self, task: Task) -> None:
        self.unqueue(task)
        if task.id in self.new:
            del self.new[task.id]
        else:
            self.changed.pop(task.id, None)
            self.removed.add(task.id)
        self.touched = True

    def drop(self, task: Task) -> None:
        """Delete an ended task that no expression, join or operation can mean any more."""
        if task.id in self.new:
            del self.new[task.id]
        else:
            self.changed.pop(task.id, None)
            self.dropped.add(task.id)
        self.refs_overlay.pop(task.ref, None)
        self.touched = True

    def queue(self, entry: QueueEntry) -> None:
        self.queue_removed.discard(entry.task_id)
        self.queue_put[entry.task_id] = entry

    def unqueue(self, task: Task) -> None:
        """Take a task out of its queue, or drop its timer; harmless when it has neither."""
        self.queue_put.pop(task.id, None)
        self.timers_set.pop(task.id, None)
        if task.id not in self.new:
            if in_queue(task.head.task_type):
                self.queue_removed.add(task.id)
            else:
                self.timers_cleared.add(task.id)

    def timer(self, key: str, kind: str, due_ms: int) -> None:
        self.timers_cleared.discard(key)
        self.timers_set[key] = Timer(workflow_id=self.header.workflow_id, key=key, kind=kind, due_ms=due_ms)

    def clear_timer(self, key: str) -> None:
        self.timers_set.pop(key, None)
        self.timers_cleared.add(key)

    def send(self, kind: str, target_id: str, body: Mapping[str, Any]) -> None:
        """Write a message to another workflow (or to this one)."""
        self.outbox.append(
            Message(id=self.ids.uuid(), kind=kind, target_id=target_id, body=Raw(msgspec.json.encode(body)))
        )

    def loop_state(self, ref: str | None) -> LoopState | None:
        return None if ref is None else self.header.loops.get(ref)

    def count(self, place_loop: str | None, by: int) -> None:
        """Count tasks that are not final: in the workflow, and in the running iteration around them."""
        self.header.open += by
        state = self.loop_state(place_loop)
        if state is not None and place_loop is not None:
            self.header.loops[place_loop] = replace(state, open=state.open + by)

    def delta(self) -> Delta | None:
        """What has to be written; None when nothing has changed."""
        if not (self.touched or self.queue_put or self.timers_set or self.history or self.outbox):
            return None
        self.header.update_ms = self.now_ms
        return Delta(
            workflow_id=self.header.workflow_id,
            expected_version=0 if self.creating else self.view.row_version,
            header=self.header,
            input=self.input,
            output=self.output,
            definition=self.graph.wire if self.creating or self.remove_all else None,
            tasks_new=list(self.new.values()),
            tasks_changed=list(self.changed.values()),
            heads_changed=self.heads_changed & self.changed.keys(),
            tasks_removed=sorted(self.removed | self.dropped),
            remove_all_tasks=self.remove_all,
            queue_put=list(self.queue_put.values()),
            queue_removed=sorted(self.queue_removed),
            timers_set=list(self.timers_set.values()),
            timers_cleared=sorted(self.timers_cleared),
            history=self.history,
            outbox=self.outbox,
            status_moved=self.view.header is None or self.view.header.status is not self.header.status,
        )


def unset(value: str | None) -> Any:
    """None as the wire's absent member."""
    return UNSET if value is None else value
