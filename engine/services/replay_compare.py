"""Says where a replay leaves the history: the first event, what was decided then, and what now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from engine.core import events as ev
from engine.core.decider import Decision
from engine.core.facts import IdStream, Stamp
from engine.core.history import Recorded
from engine.core.records import Header, HistoryRow, Task
from engine.core.statuses import TASK_OPEN

NOT_COMPARED = frozenset({"update_ms", "definition_hash", "version", "name"})
"""Members of the header that an event which changes nothing may move, or that another definition has."""
SHOWN_CHARS_MAX = 200


class Moment(Struct, kw_only=True):
    """One event of a history; numbers begin at 1."""

    number: int
    row: HistoryRow
    recorded: Recorded
    stamp: Stamp


class Divergence(Struct, kw_only=True):
    """The first event that leads elsewhere.

    Attributes:
        about: the reference of the task that the event is about; empty when it is about none.
        then, now: what the event led to, one sentence a line.
    """

    event: int
    event_id: str
    type: str
    at_ms: int
    about: str
    then: list[str]
    now: list[str]


class Tracks:
    """What each event led to then, and which event touched a task last now.

    A row shows its task's last state, so what an event did to a task is compared where no later event of the
    history touches it; what an event created is compared at once.
    """

    def __init__(self, stored: Mapping[str, Task], moments: Sequence[Moment]) -> None:
        self.stored = stored
        self.now: dict[str, Task] = {}
        self.moments = moments
        self.said: dict[int, list[str]] = {}
        self.last: dict[str, Moment] = {}
        self._created = _created(stored, moments)
        self._removing = [moment.number for moment in moments if isinstance(moment.recorded.event, ev.Rerun)]

    def differs(self, moment: Moment, now: list[str]) -> Divergence:
        task_id = moment.row.task_id or ""
        task = self.now.get(task_id) or self.stored.get(task_id)
        return Divergence(
            event=moment.number,
            event_id=moment.row.event_id,
            type=moment.row.type,
            at_ms=moment.row.at_ms,
            about="" if task is None else task.ref,
            then=self._then(moment) or ["nothing that is still to be seen"],
            now=now or ["nothing"],
        )

    def decided(self, moment: Moment, decision: Decision) -> Divergence | None:
        """Take over what an event led to now."""
        delta = decision.delta
        if delta is None:
            return self.differs(moment, ["changes nothing"])
        if delta.remove_all_tasks:
            self.now.clear()
        for task_id in delta.tasks_removed:
            self.now.pop(task_id, None)
        said = [f"schedules {_place(task)}" for task in delta.tasks_new]
        said += [
            f"{task.ref} becomes {task.status}"
            for task in (*delta.tasks_changed, *delta.tasks_new)
            if task.status not in TASK_OPEN
        ]
        if delta.status_moved:
            said.append(f"the workflow becomes {delta.header.status}")
        self.said[moment.number] = said
        for task in (*delta.tasks_new, *delta.tasks_changed):
            self.now[task.id] = task
            self.last[task.id] = moment
        gone = any(number > moment.number for number in self._removing)
        made = {task.id: task for task in delta.tasks_new}
        for task_id, task in made.items():
            stored = self.stored.get(task_id)
            if (stored is None and not gone) or (stored is not None and _place(stored) != _place(task)):
                return self.differs(moment, said)
        if any(task_id not in made for task_id in self._created.get(moment.number, ())):
            return self.differs(moment, said)
        return None

    def _then(self, moment: Moment) -> list[str]:
        said = [
            f"scheduled {_place(self.stored[task_id])}" for task_id in self._created.get(moment.number, ())
        ]
        at_ms = moment.row.at_ms
        others = {one.row.task_id for one in self.moments if one.row.at_ms == at_ms and one is not moment}
        said += [
            f"{task.ref} became {task.status}"
            for task in self.stored.values()
            if task.state.end_time == at_ms and task.status not in TASK_OPEN and task.id not in others
        ]
        return said

    def of_task(self, task_id: str) -> Moment:
        """The event that touched a task last, now; one that it never touched belongs to its creation."""
        if task_id in self.last:
            return self.last[task_id]
        numbers = [number for number, made in self._created.items() if task_id in made]
        return next((m for m in self.moments if m.number in numbers), self.moments[-1])


def compare(
    tracks: Tracks, header: Header, output: Raw, stored_header: Header, stored_output: Raw
) -> Divergence | None:
    """Compare where both ended; the earliest event behind a difference is the one that is told."""
    found: list[tuple[int, Moment, str, str]] = []
    for task_id in tracks.now.keys() | tracks.stored.keys():
        now, then = tracks.now.get(task_id), tracks.stored.get(task_id)
        moment = tracks.of_task(task_id)
        if now is None or then is None:
            which = now or then
            ref = "" if which is None else which.ref
            found.append((moment.number, moment, _or_none(then, ref), _or_none(now, ref)))
            continue
        for member, before, after in _differences(_members(then), _members(now)):
            found.append(
                (moment.number, moment, f"{then.ref}: {member} {before}", f"{then.ref}: {member} {after}")
            )
    last = tracks.moments[-1]
    for member, before, after in _differences(_of_header(stored_header), _of_header(header)):
        found.append(
            (last.number, last, f"the workflow's {member} {before}", f"the workflow's {member} {after}")
        )
    if msgspec.json.decode(output) != msgspec.json.decode(stored_output):
        then_said, now_said = (f"the workflow's output {_short(raw)}" for raw in (stored_output, output))
        found.append((last.number, last, then_said, now_said))
    if not found:
        return None
    first = min(number for number, *_ in found)
    here = [one for one in found if one[0] == first]
    divergence = tracks.differs(here[0][1], [])
    divergence.then = sorted(one[2] for one in here)
    divergence.now = sorted(one[3] for one in here)
    return divergence


def _created(stored: Mapping[str, Task], moments: Sequence[Moment]) -> dict[int, list[str]]:
    """Which rows each event created: ids follow from its seed and time."""
    by_time: dict[str, list[str]] = {}
    for task_id in stored:
        by_time.setdefault(task_id[:13], []).append(task_id)
    found: dict[int, list[str]] = {}
    for moment in moments:
        stamp = moment.stamp
        waiting = set(by_time.get(IdStream(0, stamp.now_ms).uuid()[:13], ()))
        ids = IdStream(stamp.seed, stamp.now_ms)
        tries = 4096 + 4 * len(waiting) if waiting else 0
        for _ in range(tries):
            task_id = ids.uuid()
            if task_id in waiting:
                waiting.discard(task_id)
                found.setdefault(moment.number, []).append(task_id)
            if not waiting:
                break
    return found


def _place(task: Task) -> str:
    """What was scheduled, without what an operation may change of it later."""
    kind = "" if task.head.task_type == task.ref else f" ({task.head.task_type})"
    again = ", another attempt" if isinstance(task.head.retried_task_id, str) else ""
    return f"{task.ref}{kind}{again}"


def _members(task: Task) -> dict[str, object]:
    return {**_plain(task.head), **_plain(task.state), "outputData": msgspec.json.decode(task.output)}


def _plain(record: Struct) -> dict[str, object]:
    members: dict[str, object] = msgspec.json.decode(msgspec.json.encode(record))
    return members


def _of_header(header: Header) -> dict[str, object]:
    return {name: value for name, value in _plain(header).items() if name not in NOT_COMPARED}


def _differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[tuple[str, str, str]]:
    names = sorted(before.keys() | after.keys())
    return [
        (name, _short(before.get(name)), _short(after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _or_none(task: Task | None, ref: str) -> str:
    return f"no task {ref}" if task is None else f"{task.ref} ({task.head.task_type}) {task.status}"


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."
