"""A store beside a model of plain dicts: whatever is written, in whatever company, both must tell the same.

The model knows nothing of the records: it keeps what the port's sentences say, in its own words. A store's
test subclasses StoreMachine with `open_store` and `close_store` and hands it to `run_state_machine_as_test`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.core.errors import SlotsTakenError, StoreError, VersionConflictError
from engine.core.limits import NO_LIMITS, TaskLimit, TaskLimits
from engine.core.records import Delta, Lease, QueueEntry, Slot, Timer
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.ports.stores import Claim, ExecutionStore, ExtendLease, MessagesDone, Release, Write
from engine.testing.builders import creation, ended, entry, event, header, message, step, task

T = TypeVar("T")
Model = dict[str, Any]

WORKFLOWS = ("w0", "w1", "w2")
QUEUES = ("q0", "q1")
DEFINITION_OF = {"": "d0", "a": "d0", "b": "d1"}  # by lane
# One window a definition: deliveries older than the one just asked for may be forgotten.
LIMITS: tuple[TaskLimits, ...] = (
    NO_LIMITS,
    NO_LIMITS,
    {"d0": TaskLimit(held_max=2)},
    {"d0": TaskLimit(deliveries_max=2, window_ms=40), "d1": TaskLimit(held_max=1)},
    {"d0": TaskLimit(held_max=3, deliveries_max=3, window_ms=40)},
)
SLOTS = (
    None,
    None,
    Slot(key="k", held=False),
    Slot(key="k", held=True),
    Slot(key="k", held=True, held_max=1),
    Slot(key="l", held=True, held_max=1),
)
STEPS_OF_TIME_MS = (0, 1, 7, 50)
FAR_MS = 2**40

ACTIONS = (
    "create",
    "step",
    "step",
    "step",
    "restart",
    "stale",
    "bad",
    "delete",
    "claim",
    "claim",
    "extend",
    "release",
    "ack",
)


class StoreMachine(RuleBasedStateMachine):
    def open_store(self) -> ExecutionStore:
        """A fresh store."""
        raise NotImplementedError  # each store's own machine says how it is opened

    def close_store(self) -> None:
        """Let go of what `open_store` needed."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.Runner()
        self.store = self.open_store()
        self.now_ms = 100
        self.count = 0
        self.workflows: dict[str, Model] = {}
        self.queue: dict[str, Model] = {}  # by task id, in order of age
        self.outbox: list[str] = []
        self.deliveries: list[tuple[str, int]] = []  # definition and time of each that a limit counts
        self.slots: dict[str, tuple[str, bool]] = {}  # workflow -> key and held, in order of coming

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.loop.close()
            self.close_store()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    def fresh(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count:06}"

    @rule(passed_ms=st.sampled_from(STEPS_OF_TIME_MS))
    def time_passes(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    @rule(actions=st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=5), data=st.data())
    def write_a_group(self, actions: list[str], data: st.DataObject) -> None:
        """Several writes at once: the model does the deltas first, then the rest in order."""
        free = [name for name in WORKFLOWS if data.draw(st.booleans(), label=f"{name} takes part")]
        group: list[Write] = []
        for action in actions:
            if action == "claim":
                group.append(self.a_claim(data))
            elif action == "extend":
                group.append(self.an_extension(data))
            elif action == "release":
                group.append(Release(task_id=data.draw(st.sampled_from([*self.queue, "nobody"]))))
            elif action == "ack":
                group.append(MessagesDone(message_ids=tuple(self.outbox[:1])))
            elif free:
                group.append(self.a_delta(action, free.pop(), data))
        expected: list[Any] = [None] * len(group)
        for deltas in (True, False):
            for index, write in enumerate(group):
                if isinstance(write, Delta) is deltas:
                    expected[index] = self.told(write)

        results = self.run(self.store.write(group))

        assert [_summary(result) for result in results] == expected

    # what is asked

    def a_claim(self, data: st.DataObject) -> Claim:
        return Claim(
            queue=data.draw(st.sampled_from(QUEUES)),
            count=data.draw(st.integers(1, 3)),
            worker_id=self.fresh("worker"),
            now_ms=self.now_ms,
            limits=data.draw(st.sampled_from(LIMITS)),
            turn=data.draw(st.integers(0, 3)),
        )

    def an_extension(self, data: st.DataObject) -> ExtendLease:
        return ExtendLease(task_id=data.draw(st.sampled_from([*self.queue, "nobody"])), now_ms=self.now_ms)

    def a_delta(self, action: str, workflow_id: str, data: st.DataObject) -> Delta:
        known = self.workflows.get(workflow_id)
        version = 0 if known is None else known["version"]
        if action == "create":
            return self.with_new_tasks(creation(workflow_id), data)
        if action == "stale":
            return self.with_new_tasks(step(workflow_id, version + 1), data)
        if action == "delete":
            return step(workflow_id, version, delete=True, outbox=[message(self.fresh("m"))])
        status = data.draw(st.sampled_from(WorkflowStatus))
        delta = step(workflow_id, version, header=header(workflow_id, status=status))
        if action == "restart":
            delta.remove_all_tasks = True
        elif known is not None:
            self.with_changes(delta, known, data)
        if action == "bad":
            delta.tasks_changed = [*delta.tasks_changed, task(workflow_id, "nobody")]
        return self.with_new_tasks(delta, data)

    def with_new_tasks(self, delta: Delta, data: st.DataObject) -> Delta:
        workflow_id = delta.workflow_id
        known = self.workflows.get(workflow_id, {"seq": 0})
        for seq in range(
            known["seq"] + 1, known["seq"] + 1 + data.draw(st.integers(0, 3), label="new tasks")
        ):
            task_id = self.fresh("t")
            ref = data.draw(st.sampled_from(["a", "b"]))
            made = task(workflow_id, task_id, seq=seq, ref=f"{ref}__{seq}", base_ref=ref)
            delta.tasks_new = [*delta.tasks_new, made]
            delta.queue_put = [*delta.queue_put, self.an_entry(workflow_id, task_id, data)]
        key = data.draw(st.sampled_from(["workflow", "other"]))
        if data.draw(st.booleans(), label="timer"):
            due_ms = self.now_ms + data.draw(st.integers(0, 60))
            delta.timers_set = [Timer(workflow_id=workflow_id, key=key, kind="wait", due_ms=due_ms)]
        else:
            delta.timers_cleared = [key]
        delta.history = [event(workflow_id, self.fresh("e"))]
        delta.outbox = [message(self.fresh("m"))]
        delta.slot = data.draw(st.sampled_from(SLOTS))
        delta.slot_freed = delta.slot is None and data.draw(st.booleans(), label="slot freed")
        return delta

    def with_changes(self, delta: Delta, known: Model, data: st.DataObject) -> None:
        for task_id, one in known["tasks"].items():
            fate = data.draw(st.sampled_from(["stay", "stay", "end", "put", "remove"]), label=task_id)
            if fate == "end":
                before = task(
                    delta.workflow_id, task_id, seq=one["seq"], ref=one["ref"], base_ref=one["base"]
                )
                delta.tasks_changed = [*delta.tasks_changed, ended(before, TaskStatus.FAILED)]
                delta.queue_removed = [*delta.queue_removed, task_id]
            elif fate == "put":
                delta.queue_put = [*delta.queue_put, self.an_entry(delta.workflow_id, task_id, data)]
            elif fate == "remove":
                delta.tasks_removed = [*delta.tasks_removed, task_id]

    def an_entry(self, workflow_id: str, task_id: str, data: st.DataObject) -> QueueEntry:
        limits = st.sampled_from([0, 0, 5, 40])
        made = entry(
            workflow_id,
            task_id,
            queue=data.draw(st.sampled_from(QUEUES)),
            due_ms=self.now_ms + data.draw(st.sampled_from([0, 0, 1, 10])),
            priority=data.draw(st.sampled_from([0, 0, 1, 99])),
            response_ms=data.draw(limits),
            run_ms=data.draw(limits),
            poll_by_ms=data.draw(st.sampled_from([0, self.now_ms + 20])),
            total_by_ms=data.draw(st.sampled_from([0, self.now_ms + 30])),
            lane=data.draw(st.sampled_from(sorted(DEFINITION_OF))),
        )
        made.def_name = DEFINITION_OF[made.lane]
        if data.draw(st.sampled_from([False, False, True]), label="in a waiting hand"):
            made.lease = Lease(
                worker_id="waiting", start_ms=self.now_ms, update_ms=self.now_ms, poll_count=1, held=True
            )
        return made

    # what the model makes of it

    def told(self, write: Write) -> Any:
        """Do the write in the model and say what the store must answer."""
        match write:
            case Delta():
                return self.stepped(write)
            case Claim():
                return self.claimed(write)
            case ExtendLease():
                one = self.queue.get(write.task_id)
                if one is not None:
                    one["seen"] = max(one["seen"], write.now_ms)
                return one is not None
            case Release():
                one = self.queue.get(write.task_id)
                if one is not None and one["held"]:
                    one.update(held=False, polls=one["polls"] - 1)
                    if one["polls"] == 0:
                        one.update(worker="", start=0, seen=0)
            case MessagesDone():
                self.outbox = [one for one in self.outbox if one not in write.message_ids]
        return None

    def stepped(self, delta: Delta) -> Any:
        known = self.workflows.get(delta.workflow_id)
        version = 0 if known is None else known["version"]
        if delta.expected_version != version or (delta.delete and known is None):
            return "conflict"
        if self.slot_taken(delta):
            return "full"
        if any(one.id == "nobody" for one in delta.tasks_changed):
            return "refused"
        if delta.delete or delta.slot_freed:
            self.slots.pop(delta.workflow_id, None)
        elif delta.slot is not None:
            self.slots[delta.workflow_id] = (delta.slot.key, delta.slot.held)
        if known is None:
            known = self.workflows[delta.workflow_id] = {"tasks": {}, "timers": {}, "history": [], "seq": 0}
        gone = [*known["tasks"]] if delta.delete or delta.remove_all_tasks else delta.tasks_removed
        for task_id in gone:
            del known["tasks"][task_id]
            self.queue.pop(task_id, None)
        if delta.remove_all_tasks:
            known["timers"].clear()
        self.outbox += [one.id for one in delta.outbox]
        if delta.delete:
            del self.workflows[delta.workflow_id]
            return version + 1
        known["version"] = version + 1
        known["status"] = delta.header.status
        for made in delta.tasks_new:
            known["seq"] = made.head.seq
            known["tasks"][made.id] = {
                "seq": made.head.seq,
                "ref": made.ref,
                "base": made.links.base_ref,
                "open": True,
            }
        for changed in delta.tasks_changed:
            known["tasks"][changed.id]["open"] = False
        for task_id in delta.queue_removed:
            self.queue.pop(task_id, None)
        for put in delta.queue_put:
            self.queue.pop(put.task_id, None)
            if put.task_id in known["tasks"]:
                self.queue[put.task_id] = _entry_model(put)
        for key in delta.timers_cleared:
            known["timers"].pop(key, None)
        known["timers"].update({timer.key: timer.due_ms for timer in delta.timers_set})
        known["history"] += [row.event_id for row in delta.history]
        return version + 1

    def slot_taken(self, delta: Delta) -> bool:
        wanted = delta.slot
        if delta.delete or wanted is None or not wanted.held or wanted.held_max is None:
            return False
        own = self.slots.get(delta.workflow_id)
        if own == (wanted.key, True):
            return False
        rows = list(self.slots.values())
        passes_others = own != (wanted.key, False) and (wanted.key, False) in rows
        return passes_others or rows.count((wanted.key, True)) >= wanted.held_max

    def room(self, def_name: str, limits: TaskLimits, now_ms: int) -> bool:
        """Whether one more of the definition may go at that time."""
        limit = limits.get(def_name)
        if limit is None:
            return True
        held = [one for one in self.queue.values() if one["def"] == def_name and one["held"]]
        made = [at for name, at in self.deliveries if name == def_name and at > now_ms - limit.window_ms]
        return (not limit.held_max or len(held) < limit.held_max) and (
            not limit.deliveries_max or len(made) < limit.deliveries_max
        )

    def claimed(self, claim: Claim) -> list[Any]:
        chosen: list[str] = []
        unheld = [one for one in self.queue.values() if one["queue"] == claim.queue and not one["held"]]
        lanes = sorted({one["lane"] for one in unheld})
        first = claim.turn % max(1, len(lanes))
        for priority in (99, 1, 0):
            turns = lanes[first:] + lanes[:first]
            while turns and len(chosen) < claim.count:
                lane = turns.pop(0)
                due = [
                    (one["due"], age, task_id)
                    for age, (task_id, one) in enumerate(self.queue.items())
                    if (one["queue"], one["lane"], one["priority"]) == (claim.queue, lane, priority)
                    and not one["held"]
                    and one["due"] <= claim.now_ms
                ]
                if due and self.room(DEFINITION_OF[lane], claim.limits, claim.now_ms):
                    chosen.append(min(due)[-1])
                    self.handed(self.queue[chosen[-1]], claim)
                    turns.append(lane)
        return [(task_id, self.queue[task_id]["polls"], self.queue[task_id]["start"]) for task_id in chosen]

    def handed(self, one: Model, claim: Claim) -> None:
        one.update(held=True, worker=claim.worker_id, seen=claim.now_ms, polls=one["polls"] + 1)
        one["start"] = one["start"] or claim.now_ms
        limit = claim.limits.get(one["def"])
        if limit is not None and limit.deliveries_max:
            self.deliveries.append((one["def"], claim.now_ms))

    # what both must tell

    @invariant()
    def workflows_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        for workflow_id in WORKFLOWS:
            known = self.workflows.get(workflow_id)
            loaded = self.run(self.store.load(workflow_id))
            tasks = self.run(self.store.tasks(workflow_id))
            history = [row.event_id for row in self.run(self.store.history(workflow_id))]
            if known is None:
                assert (loaded, tasks, history) == (None, [], [])
                continue
            assert loaded is not None
            assert (loaded.row_version, loaded.header.status) == (known["version"], known["status"])
            by_seq = sorted(known["tasks"].items(), key=lambda item: item[1]["seq"])
            assert [(one.id, one.open) for one in tasks] == [(key, one["open"]) for key, one in by_seq]
            opened = self.run(self.store.open_tasks(workflow_id))
            assert [one.id for one in opened] == [key for key, one in by_seq if one["open"]]
            latest = self.run(self.store.latest(workflow_id, ["a", "b"]))
            assert {ref: one.id for ref, one in latest.items()} == {one["base"]: key for key, one in by_seq}
            assert history == known["history"]

    @invariant()
    def queues_and_timers_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        entries = self.run(self.store.entries(self.queue))
        assert {key: _entry_model(one) for key, one in entries.items()} == self.queue
        timers = sorted(due for known in self.workflows.values() for due in known["timers"].values())
        assert [one.due_ms for one in self.run(self.store.due_timers(FAR_MS, 999))] == timers
        deadlines = sorted((_deadline(one), key) for key, one in self.queue.items() if _deadline(one))
        due = self.run(self.store.due_deadlines(FAR_MS, 999))
        assert sorted((one.deadline_ms(), one.task_id) for one in due) == deadlines
        assert [one.deadline_ms() for one in due] == [deadline for deadline, _ in deadlines]
        instants = [*timers, *(deadline for deadline, _ in deadlines)]
        assert self.run(self.store.next_instant_ms()) == min(instants, default=None)
        for queue in QUEUES:
            waiting = [one["due"] for one in self.queue.values() if one["queue"] == queue and not one["held"]]
            assert self.run(self.store.next_due_ms(queue)) == min(waiting, default=None)
            assert self.run(self.store.queue_sizes([queue])) == {queue: len(waiting)}
            for limits in LIMITS[2:]:
                assert self.run(self.store.next_due_ms(queue, self.now_ms, limits)) == self.due(queue, limits)
        for key in ("k", "l"):
            held = sum(row == (key, True) for row in self.slots.values())
            waiting_for = [name for name, row in self.slots.items() if row == (key, False)]
            assert self.run(self.store.slots(key, 9)) == (held, waiting_for)
        pending = [one.id for one in self.run(self.store.pending_messages(999))]
        assert pending == sorted(self.outbox)

    def due(self, queue: str, limits: TaskLimits) -> int | None:
        """The first instant at which something may go if nothing else happens: by trying each."""
        waiting = [one for one in self.queue.values() if one["queue"] == queue and not one["held"]]
        instants = {self.now_ms, *(one["due"] for one in waiting)}
        instants |= {at + limit.window_ms for limit in limits.values() for _, at in self.deliveries}
        found = [
            one["due"] if self.room(one["def"], limits, self.now_ms) else at_ms
            for at_ms in sorted(instants)
            for one in waiting
            if one["due"] <= at_ms >= self.now_ms and self.room(one["def"], limits, at_ms)
        ]
        return min(found, default=None)


def _summary(result: Any) -> Any:
    if isinstance(result, SlotsTakenError):
        return "full"
    if isinstance(result, VersionConflictError):
        return "conflict"
    if isinstance(result, StoreError):
        return "refused"
    if isinstance(result, list):
        return [(one.task.id, one.entry.lease.poll_count, one.entry.lease.start_ms) for one in result]
    return result


def _entry_model(one: QueueEntry) -> Model:
    lease = one.lease or Lease()
    return {
        "queue": one.queue,
        "lane": one.lane,
        "def": one.def_name,
        "priority": one.priority,
        "due": one.due_ms,
        "limits": (one.response_ms, one.run_ms, one.poll_by_ms, one.total_by_ms),
        "held": lease.held,
        "worker": lease.worker_id,
        "start": lease.start_ms,
        "seen": lease.update_ms,
        "polls": lease.poll_count,
    }


def _deadline(one: Model) -> int:
    response_ms, run_ms, poll_by_ms, total_by_ms = one["limits"]
    ends = [total_by_ms]
    if one["held"]:
        ends += [one["seen"] + response_ms] if response_ms else []
    else:
        ends.append(poll_by_ms)
    if one["start"] and run_ms:
        ends.append(one["start"] + run_ms)
    return min([end for end in ends if end], default=0)
