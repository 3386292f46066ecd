"""What a store promises about deltas: versions, atomicity, removal."""

from __future__ import annotations

import pytest
from msgspec import Raw, structs

from engine.core.errors import InvariantError, StoreError, VersionConflictError
from engine.core.records import Delta, Lease, Timer
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.ports.stores import AppendLogs, Claim, ExecutionStore, ExtendLease, MessagesDone
from engine.testing.builders import (
    DEFINITION_HASH,
    accepted,
    creation,
    ended,
    entry,
    event,
    everything,
    header,
    message,
    step,
    task,
)

TASKS_OF_A_WIDE_STEP = 300


def rich_creation(workflow_id: str = "w1") -> Delta:
    """A workflow that has something in every table."""
    tasks = [task(workflow_id, f"{workflow_id}.t{n}", seq=n) for n in (1, 2)]
    return creation(
        workflow_id,
        input=Raw(b'{"in":1}'),
        output=Raw(b'{"out":1}'),
        definition=Raw(b'{"name":"flow"}'),
        tasks_new=tasks,
        queue_put=[entry(workflow_id, one.id, response_ms=100) for one in tasks],
        timers_set=[
            Timer(workflow_id=workflow_id, key="workflow", kind="workflow_timeout", due_ms=50),
            Timer(workflow_id=workflow_id, key=tasks[0].id, kind="wait", due_ms=60),
        ],
        history=[event(workflow_id, f"{workflow_id}.e1")],
        outbox=[message(f"{workflow_id}.m1")],
    )


class CommitContract:
    async def test_versions_count_from_one(self, store: ExecutionStore) -> None:
        """Creating gives version 1, each accepted step the next, and `load` tells it."""
        assert await store.write([creation("w1")]) == [1]
        assert await store.write([step("w1", 1)]) == [2]
        loaded = await store.load("w1")
        assert loaded is not None
        assert loaded.row_version == 2

    async def test_second_writer_loses(self, store: ExecutionStore) -> None:
        """Two writers start from one version: the later gets a conflict and its header is not there."""
        await accepted(store, creation("w1"))
        paused = step("w1", 1, header=header("w1", status=WorkflowStatus.PAUSED))
        failed = step("w1", 1, header=header("w1", status=WorkflowStatus.FAILED))

        [first] = await store.write([paused])
        [second] = await store.write([failed])

        assert first == 2
        assert isinstance(second, VersionConflictError)
        loaded = await store.load("w1")
        assert loaded is not None
        assert loaded.header.status is WorkflowStatus.PAUSED

    async def test_a_workflow_is_created_once(self, store: ExecutionStore) -> None:
        """Creating one that exists is a conflict, and the first stays."""
        await accepted(store, rich_creation())
        before = await everything(store, "w1")

        [again] = await store.write([creation("w1", header=header("w1", name="usurper"))])

        assert isinstance(again, VersionConflictError)
        assert await everything(store, "w1") == before

    async def test_a_step_of_what_is_gone_is_a_conflict(self, store: ExecutionStore) -> None:
        """A workflow that does not exist can be neither stepped nor deleted."""
        for delta in (step("w1", 1), step("w1", 1, delete=True), step("w1", 0, delete=True)):
            [result] = await store.write([delta])
            assert isinstance(result, VersionConflictError)
        assert await store.load("w1") is None

    async def test_a_conflict_changes_nothing(self, store: ExecutionStore) -> None:
        """No table keeps anything of a delta whose version was wrong."""
        await accepted(store, rich_creation(), AppendLogs(task_id="w1.t1", lines=(("line", 1),)))
        before = await everything(store, "w1")
        first = before[2][0]
        stale = step(
            "w1",
            7,
            header=header("w1", status=WorkflowStatus.FAILED),
            input=Raw(b"{}"),
            output=Raw(b"{}"),
            definition=Raw(b'{"name":"other"}'),
            tasks_new=[task("w1", "w1.t3", seq=3)],
            tasks_changed=[ended(first)],
            tasks_removed=["w1.t2"],
            queue_put=[entry("w1", "w1.t3")],
            queue_removed=["w1.t1"],
            timers_set=[Timer(workflow_id="w1", key="late", kind="wait", due_ms=1)],
            timers_cleared=["workflow"],
            history=[event("w1", "e9")],
            outbox=[message("m9")],
        )

        for delta in (
            stale,
            structs.replace(stale, remove_all_tasks=True, tasks_changed=[], tasks_removed=[]),
            structs.replace(stale, delete=True),
        ):
            [result] = await store.write([delta])
            assert isinstance(result, VersionConflictError)
            assert await everything(store, "w1") == before

    @pytest.mark.parametrize("fault", ["task twice", "attempt twice", "unknown task", "message twice"])
    async def test_a_bad_delta_never_fails_its_neighbours(self, store: ExecutionStore, fault: str) -> None:
        """A delta with a row that cannot be written answers an error and leaves nothing; others land."""
        await accepted(store, rich_creation("w1"), creation("w2"))
        before = await everything(store, "w1")
        stranger = ended(task("w1", "nobody"))
        twice = task("w1", "w1.t9", ref="w1.t2")
        bad = {
            "task twice": step(
                "w1", 1, tasks_new=[task("w1", "w1.t1", ref="anew")], history=[event("w1", "e2")]
            ),
            "attempt twice": step("w1", 1, tasks_new=[twice], queue_put=[entry("w1", "w1.t9")]),
            "unknown task": step("w1", 1, tasks_changed=[stranger], queue_removed=["w1.t1"]),
            "message twice": step("w1", 1, outbox=[message("w1.m1")], timers_cleared=["workflow"]),
        }[fault]

        results = await store.write(
            [
                creation("w0", tasks_new=[task("w0", "w0.t")]),
                bad,
                step("w2", 1),
                AppendLogs(task_id="x", lines=(("l", 1),)),
            ]
        )

        assert isinstance(results[1], StoreError)
        assert not isinstance(results[1], VersionConflictError)
        assert [results[0], results[2], results[3]] == [1, 2, None]
        assert await everything(store, "w1") == before
        assert len(await store.tasks("w0")) == 1
        assert await store.logs("x") == [("l", 1)]

    async def test_a_conflict_among_others(self, store: ExecutionStore) -> None:
        """Results come in the order of the writes, deltas done first."""
        await accepted(store, creation("w1"))
        claim = Claim(queue="work", count=9, worker_id="me", now_ms=99)
        made = creation("w2", tasks_new=[task("w2", "t")], queue_put=[entry("w2", "t")])

        claimed, conflict, version, known = await store.write(
            [claim, step("w1", 5), made, ExtendLease(task_id="t", now_ms=99)]
        )

        assert isinstance(claimed, list)
        assert [one.task.id for one in claimed] == ["t"]
        assert isinstance(conflict, VersionConflictError)
        assert (version, known) == (1, True)

    async def test_two_deltas_of_one_workflow_are_our_bug(self, store: ExecutionStore) -> None:
        """Such a group is refused whole."""
        with pytest.raises(InvariantError):
            await store.write([creation("w1"), step("w1", 1)])
        assert await store.load("w1") is None

    async def test_an_empty_group_is_no_work(self, store: ExecutionStore) -> None:
        """Nothing asked, nothing answered."""
        assert await store.write([]) == []

    async def test_a_wide_step(self, store: ExecutionStore) -> None:
        """Hundreds of tasks and entries ride in one delta."""
        ids = [f"t{n}" for n in range(TASKS_OF_A_WIDE_STEP)]
        tasks = [task("w1", task_id, seq=seq) for seq, task_id in enumerate(ids, start=1)]
        await accepted(
            store, creation("w1", tasks_new=tasks, queue_put=[entry("w1", task_id) for task_id in ids])
        )
        assert await store.task_count("w1") == TASKS_OF_A_WIDE_STEP
        assert list((await store.by_ref("w1", ids)).values()) == tasks
        assert (await store.queue_sizes(["work"])) == {"work": TASKS_OF_A_WIDE_STEP}

    async def test_stored_records_are_nobodys(self, store: ExecutionStore) -> None:
        """Changing a record after it was written or read changes nothing stored."""
        delta = rich_creation()
        await accepted(store, delta)
        before = await everything(store, "w1")

        delta.header.variables["new"] = 1
        delta.tasks_new[0].state.status = TaskStatus.FAILED
        delta.queue_put[0].lease = Lease(worker_id="thief", held=True)
        read = await everything(store, "w1")
        read[0].header.variables["new"] = 1
        read[2][0].state.status = TaskStatus.FAILED
        read[3]["w1.t1"].due_ms = 99

        assert await everything(store, "w1") == before

    async def test_documents_stay_when_not_given(self, store: ExecutionStore) -> None:
        """Input, output and definition change only in a delta that has them."""
        await accepted(store, creation("w1", input=Raw(b'{"a":1}'), output=Raw(b'{"b":1}')))
        await accepted(store, step("w1", 1))
        first = await store.row("w1")
        await accepted(store, step("w1", 2, output=Raw(b'{"b":2}')))
        second = await store.row("w1")
        await accepted(store, step("w1", 3, input=Raw(b'{"a":2}')))
        third = await store.row("w1")

        rows = [(bytes(row.input), bytes(row.output)) for row in (first, second, third) if row is not None]
        assert rows == [(b'{"a":1}', b'{"b":1}'), (b'{"a":1}', b'{"b":2}'), (b'{"a":2}', b'{"b":2}')]

    async def test_a_workflow_without_documents_has_empty_ones(self, store: ExecutionStore) -> None:
        """Input and output that were never given read as empty objects."""
        await accepted(store, creation("w1"))
        row = await store.row("w1")
        assert row is not None
        assert (bytes(row.input), bytes(row.output)) == (b"{}", b"{}")

    async def test_a_definition_is_kept_by_its_hash(self, store: ExecutionStore) -> None:
        """Two workflows share it, and it outlives both."""
        body = Raw(b'{"name":"flow"}')
        await accepted(store, creation("w1", definition=body), creation("w2", definition=body))
        await accepted(store, step("w1", 1, delete=True), step("w2", 1, delete=True))
        assert await store.definition(DEFINITION_HASH) == bytes(body)
        assert await store.definition("unknown") is None

    async def test_a_changed_task_keeps_its_head(self, store: ExecutionStore) -> None:
        """State, links and output are rewritten; the head only when the delta says so."""
        made, other = task("w1", "t1"), task("w1", "t2", seq=2)
        await accepted(store, creation("w1", tasks_new=[made, other]))
        changed = ended(made)
        changed = structs.replace(changed, head=structs.replace(made.head, input_data=Raw(b'{"given":2}')))
        changed = structs.replace(
            changed, links=structs.replace(made.links, workflow_task=Raw(b'{"name":"x"}'))
        )

        await accepted(store, step("w1", 1, tasks_changed=[changed, other], heads_changed={"t2"}))
        assert await store.tasks("w1") == [structs.replace(changed, head=made.head), other]

        await accepted(store, step("w1", 2, tasks_changed=[changed], heads_changed={"t1"}))
        assert await store.tasks("w1") == [changed, other]

    async def test_removed_tasks_take_their_own_along(self, store: ExecutionStore) -> None:
        """A removed task's entry, timer and log go with it; its neighbour's stay."""
        await accepted(
            store, rich_creation(), *(AppendLogs(task_id=t, lines=(("x", 1),)) for t in ("w1.t1", "w1.t2"))
        )
        await accepted(store, step("w1", 1, tasks_removed=["w1.t1"]))

        assert [one.id for one in await store.tasks("w1")] == ["w1.t2"]
        assert set(await store.entries_of("w1")) == {"w1.t2"}
        assert [timer.key for timer in await store.due_timers(99, 9)] == ["workflow"]
        assert (await store.logs("w1.t1"), await store.logs("w1.t2")) == ([], [("x", 1)])

    async def test_remove_all_tasks_comes_first(self, store: ExecutionStore) -> None:
        """Tasks, entries and timers go; the same delta's new ones, the history and other workflows stay."""
        await accepted(store, rich_creation("w1"), rich_creation("w2"))
        untouched = await everything(store, "w2")
        anew = task("w1", "w1.t1", seq=1)
        due = Timer(workflow_id="w1", key="workflow", kind="workflow_timeout", due_ms=70)
        await accepted(
            store,
            step(
                "w1",
                1,
                remove_all_tasks=True,
                tasks_new=[anew],
                queue_put=[entry("w1", anew.id, due_ms=30)],
                timers_set=[due],
                history=[event("w1", "w1.e2")],
            ),
        )

        assert await store.tasks("w1") == [anew]
        assert {key: one.due_ms for key, one in (await store.entries_of("w1")).items()} == {anew.id: 30}
        assert [one for one in await store.due_timers(99, 9) if one.workflow_id == "w1"] == [due]
        assert [row.event_id for row in await store.history("w1")] == ["w1.e1", "w1.e2"]
        assert (await everything(store, "w2"))[:4] == untouched[:4]

    async def test_delete_takes_all_but_what_is_on_its_way(self, store: ExecutionStore) -> None:
        """Everything of a deleted workflow goes; messages to others are still delivered."""
        await accepted(
            store, rich_creation("w1"), rich_creation("w2"), AppendLogs(task_id="w1.t1", lines=(("x", 1),))
        )
        [version] = await accepted(store, step("w1", 1, delete=True, outbox=[message("w1.m2")]))

        assert version == 2
        assert (await store.load("w1"), await store.row("w1")) == (None, None)
        assert (await store.tasks("w1"), await store.entries_of("w1")) == ([], {})
        assert (await store.history("w1"), await store.logs("w1.t1")) == ([], [])
        assert {timer.workflow_id for timer in await store.due_timers(99, 9)} == {"w2"}
        assert [one.id for one in await store.pending_messages(9)] == ["w1.m1", "w1.m2", "w2.m1"]
        assert len(await store.tasks("w2")) == 2

    async def test_a_deleted_id_can_be_used_again(self, store: ExecutionStore) -> None:
        """The new workflow starts at version 1 and has nothing of the old one."""
        await accepted(store, rich_creation())
        await accepted(store, step("w1", 1, delete=True))
        assert await accepted(store, creation("w1", history=[event("w1", "anew")])) == [1]
        assert await store.tasks("w1") == []
        assert [row.event_id for row in await store.history("w1")] == ["anew"]

    async def test_history_in_the_order_of_decisions(self, store: ExecutionStore) -> None:
        """Rows of one step keep their order, whatever their ids and times; steps follow one another."""
        await accepted(
            store, creation("w1", history=[event("w1", "e9", at_ms=9), event("w1", "e1", at_ms=1)])
        )
        await accepted(store, step("w1", 1, history=[event("w1", "e5", at_ms=5)]))
        await accepted(store, step("w1", 2))
        await accepted(store, step("w1", 3, history=[event("w1", "e0", at_ms=0)]))
        rows = await store.history("w1")
        assert [row.event_id for row in rows] == ["e9", "e1", "e5", "e0"]
        assert rows[0] == event("w1", "e9", at_ms=9)

    async def test_the_outbox_is_read_in_order_until_done(self, store: ExecutionStore) -> None:
        """Messages come in id order, by page, and again until they are acknowledged."""
        await accepted(store, creation("w1", outbox=[message("m2"), message("m1")]))
        await accepted(store, step("w1", 1, outbox=[message("m3")]))
        assert [one.id for one in await store.pending_messages(2)] == ["m1", "m2"]
        assert await store.pending_messages(9, after_id="m2") == [message("m3")]

        assert await accepted(store, MessagesDone(message_ids=("m2", "unknown"))) == [None]

        assert [one.id for one in await store.pending_messages(9)] == ["m1", "m3"]
