"""Workflows kept in memory between steps, within bounds of their number and of their documents' bytes.

What leaves can be read again; a step that finds its workflow here reads nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from engine.core import events as ev
from engine.core.decider import Applied, Decision
from engine.core.facts import View
from engine.core.graph import Graph
from engine.core.records import Delta, Task
from engine.core.statuses import WORKFLOW_OPEN

RESIDENTS_MAX = 5_000
"""Workflows kept in memory between steps, the least recently used leaving first."""
RESIDENT_BYTES_MAX = 64 * 2**20
"""Inputs and outputs of all workflows kept; a parsed document takes several times its length."""
TASKS_KEPT_MAX = 512
"""Tasks of one workflow kept in memory between steps."""
WORKFLOW_BYTES_MAX = 4 * 2**20
"""Inputs and outputs of one workflow kept; its ended tasks leave first."""


class Resident:
    """A workflow in memory: its view, and the events that wait for its next step.

    Attributes:
        start_graph: what a Start in the inbox begins with, should the store have no such workflow.
        restart_graph: what a Restart in the inbox begins with, when not the definition it has.
        bytes: length of the documents its view holds, as counted so far.
    """

    __slots__ = ("busy", "bytes", "inbox", "restart_graph", "start_graph", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.start_graph: Graph | None = None
        self.restart_graph: Graph | None = None
        self.inbox: list[tuple[ev.Stamped, asyncio.Future[Applied]]] = []
        self.busy = False
        self.bytes = 0

    @property
    def idle(self) -> bool:
        return not self.busy and not self.inbox


class Residents:
    """The workflows in memory, least recently used first.

    Args:
        new_view: an empty view of a workflow.
    """

    def __init__(self, new_view: Callable[[str], View]) -> None:
        self._new_view = new_view
        self._kept: OrderedDict[str, Resident] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, workflow_id: str) -> Resident | None:
        return self._kept.get(workflow_id)

    def of(self, workflow_id: str) -> Resident:
        """The workflow's place in memory, made when it has none; others may leave for it."""
        resident = self._kept.get(workflow_id)
        if resident is None:
            resident = self._kept[workflow_id] = Resident(self._new_view(workflow_id))
            if len(self._kept) > RESIDENTS_MAX:
                self._evict()
        else:
            self._kept.move_to_end(workflow_id)
        return resident

    def drop(self, workflow_id: str) -> None:
        resident = self._kept.pop(workflow_id, None)
        if resident is not None:
            self.bytes -= resident.bytes

    def grown(self, resident: Resident, delta: Delta) -> None:
        """Count what a written step added to its view, and keep within the bounds."""
        added = sum(map(_bytes, delta.tasks_new)) + sum(len(task.output) for task in delta.tasks_changed)
        self.weighs(resident, resident.bytes + added + len(delta.input or b""))
        view = resident.view
        ended = view.header is not None and view.header.status not in WORKFLOW_OPEN
        if ended or len(view.tasks) > TASKS_KEPT_MAX or resident.bytes > WORKFLOW_BYTES_MAX:
            prune(view)
            self.weighs(resident, len(view.input) + sum(map(_bytes, view.tasks.values())))
        while self.bytes > RESIDENT_BYTES_MAX and self._evict():
            pass

    def weighs(self, resident: Resident, size_bytes: int) -> None:
        """Note how many bytes of documents a workflow's view holds now."""
        if self._kept.get(resident.view.workflow_id) is resident:
            self.bytes += size_bytes - resident.bytes
            resident.bytes = size_bytes

    def _evict(self) -> bool:
        """Let the one go that was used longest ago and is idle; false when there is none."""
        oldest = next((key for key, resident in self._kept.items() if resident.idle), None)
        if oldest is not None:
            self.drop(oldest)
        return oldest is not None


def _bytes(task: Task) -> int:
    return len(task.head.input_data) + len(task.output)


def absorb(view: View, decision: Decision, row_version: int) -> None:
    """Make the view what the store now holds."""
    delta = decision.delta
    if delta is None:
        return
    view.header, view.row_version, view.graph = delta.header, row_version, decision.graph
    if delta.input is not None:
        view.input = delta.input
    if delta.output is not None:
        view.output = delta.output
    if delta.remove_all_tasks:
        view.tasks.clear()
        view.latest.clear()
        view.refs.clear()
        view.all_known = view.open_known = True
    for task_id in delta.tasks_removed:
        view.tasks.pop(task_id, None)
    if delta.tasks_removed:
        view.latest.clear()
        view.refs.clear()
        for task in sorted(view.tasks.values(), key=lambda t: t.head.seq) if view.all_known else ():
            view.latest[task.links.base_ref] = view.refs[task.ref] = task.id
    for task in delta.tasks_changed:
        view.tasks[task.id] = task
    for task in delta.tasks_new:
        view.tasks[task.id] = task
        view.latest[task.links.base_ref] = task.id
        view.refs[task.ref] = task.id
    view.scripts.clear()
    view.definitions.clear()
    view.task_defs.clear()
    view.domains.clear()
    view.stored_environment.clear()
    view.schemas.clear()
    view.restart_graph = None


def prune(view: View) -> None:
    """Keep memory bounded: ended tasks leave first, and what is gone can be read again."""
    if view.header is not None and view.header.status not in WORKFLOW_OPEN:
        view.tasks.clear()
        view.latest.clear()
        view.refs.clear()
        view.all_known = view.open_known = False
        return
    ended = [task.id for task in view.tasks.values() if not task.open]
    _shed(view, ended)
    if _over(view):
        view.open_known = False
        _shed(view, list(view.tasks))
    kept = view.tasks
    view.latest = {ref: tid for ref, tid in view.latest.items() if tid in kept}
    view.refs = {ref: tid for ref, tid in view.refs.items() if tid in kept}


def _over(view: View) -> bool:
    return len(view.tasks) > TASKS_KEPT_MAX or sum(map(_bytes, view.tasks.values())) > WORKFLOW_BYTES_MAX


def _shed(view: View, candidates: list[str]) -> None:
    """Let tasks go, oldest first, until a quarter of each bound is free or no candidate is left."""
    size_bytes = sum(map(_bytes, view.tasks.values()))
    for task_id in candidates:
        if len(view.tasks) <= TASKS_KEPT_MAX * 3 // 4 and size_bytes <= WORKFLOW_BYTES_MAX * 3 // 4:
            return
        view.all_known = False
        size_bytes -= _bytes(view.tasks.pop(task_id))
