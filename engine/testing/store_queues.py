"""What a store promises about queues, leases, deadlines and timers."""

from __future__ import annotations

from msgspec import Raw

from engine.core.records import Lease, QueueEntry, Timer
from engine.ports.stores import Claim, Claimed, ExecutionStore, ExtendLease, MarkPolls, PollMark, Release
from engine.testing.builders import accepted, creation, entry, queued, step, task


def claim(count: int = 9, *, queue: str = "work", worker_id: str = "me", now_ms: int = 100) -> Claim:
    return Claim(queue=queue, count=count, worker_id=worker_id, now_ms=now_ms)


async def claimed_ids(
    store: ExecutionStore, count: int = 9, *, queue: str = "work", now_ms: int = 100
) -> list[str]:
    [result] = await accepted(store, claim(count, queue=queue, now_ms=now_ms))
    return [one.task.id for one in result]


async def the_entry(store: ExecutionStore, task_id: str) -> QueueEntry:
    return (await store.entries([task_id]))[task_id]


class QueueContract:
    async def test_priority_then_due_then_age(self, store: ExecutionStore) -> None:
        """Entries come by priority from high to low, then due time, then the order they were put in."""
        await queued(
            store,
            "w1",
            [
                entry("w1", "late", due_ms=30),
                entry("w1", "old", due_ms=20),
                entry("w1", "young", due_ms=20),
                entry("w1", "urgent", due_ms=90, priority=9),
                entry("w1", "pressing", due_ms=10, priority=5),
            ],
        )
        assert await claimed_ids(store, 3) == ["urgent", "pressing", "old"]
        assert await claimed_ids(store) == ["young", "late"]
        assert await claimed_ids(store) == []

    async def test_what_is_not_due_waits(self, store: ExecutionStore) -> None:
        """It is handed out from its due time on; one of higher priority that is not due hides nobody."""
        await queued(
            store, "w1", [entry("w1", "now", due_ms=100), entry("w1", "later", due_ms=101, priority=9)]
        )
        assert await claimed_ids(store, now_ms=99) == []
        assert await claimed_ids(store, now_ms=100) == ["now"]
        assert await claimed_ids(store, now_ms=101) == ["later"]

    async def test_queues_are_apart(self, store: ExecutionStore) -> None:
        """A claim touches its own queue alone."""
        await queued(store, "w1", [entry("w1", "a", queue="one"), entry("w1", "b", queue="two")])
        assert await claimed_ids(store, queue="two") == ["b"]
        assert await claimed_ids(store, queue="three") == []
        assert await claimed_ids(store, queue="one") == ["a"]

    async def test_claims_of_one_group_share_nothing(self, store: ExecutionStore) -> None:
        """Workers claiming in one group get different tasks, in order, and the last one what is left."""
        await queued(store, "w1", [entry("w1", f"t{n}") for n in range(5)])
        results = await accepted(
            store, claim(2, worker_id="a"), claim(2, worker_id="b"), claim(2, worker_id="c")
        )
        assert [[one.task.id for one in result] for result in results] == [["t0", "t1"], ["t2", "t3"], ["t4"]]
        assert {one.entry.lease.worker_id for one in results[1]} == {"b"}

    async def test_a_claim_leases(self, store: ExecutionStore) -> None:
        """The entry names worker, first poll, last poll and count; the task itself is as it was."""
        await queued(store, "w1", [entry("w1", "t1", response_ms=50)])
        [before] = await store.tasks("w1")
        [[one]] = await accepted(store, claim(now_ms=100))

        lease = Lease(worker_id="me", start_ms=100, update_ms=100, poll_count=1, held=True)
        assert one == Claimed(task=before, entry=entry("w1", "t1", response_ms=50, lease=lease))
        assert await the_entry(store, "t1") == one.entry
        assert await store.tasks("w1") == [before]

    async def test_a_held_task_is_not_handed_out(self, store: ExecutionStore) -> None:
        """Neither claims nor `ready` nor `next_due_ms` see an entry somebody holds."""
        await queued(store, "w1", [entry("w1", "t1")])
        await claimed_ids(store)
        assert await claimed_ids(store, now_ms=2**50) == []
        assert not await store.ready("work", 2**50)
        assert await store.next_due_ms("work") is None

    async def test_a_task_put_back_is_handed_out_again(self, store: ExecutionStore) -> None:
        """Put unheld it waits, youngest among its equals; the next claim keeps its first start."""
        await queued(store, "w1", [entry("w1", "t1"), entry("w1", "t2")])
        [[one]] = await accepted(store, claim(1, now_ms=100))
        back = entry(
            "w1", "t1", run_ms=7, lease=Lease(worker_id="me", start_ms=100, update_ms=100, poll_count=1)
        )
        await accepted(store, step("w1", 1, queue_put=[back]))
        assert one.task.id == "t1"
        assert await the_entry(store, "t1") == back

        [again] = await accepted(store, claim(2, worker_id="you", now_ms=200))

        assert [claimed.task.id for claimed in again] == ["t2", "t1"]
        assert again[1].entry.lease == Lease(
            worker_id="you", start_ms=100, update_ms=200, poll_count=2, held=True
        )

    async def test_a_released_task_is_as_if_never_polled(self, store: ExecutionStore) -> None:
        """It waits at its old place without a lease or, had it been polled before, with one poll less."""
        await queued(store, "w1", [entry("w1", "t1", poll_by_ms=500, response_ms=9), entry("w1", "t2")])
        before = await the_entry(store, "t1")
        await claimed_ids(store, 1, now_ms=100)

        assert await accepted(store, Release(task_id="t1"), Release(task_id="unknown")) == [None, None]

        assert await the_entry(store, "t1") == before
        assert await store.next_instant_ms() == 500
        assert await claimed_ids(store, 1, now_ms=200) == ["t1"]
        held = await the_entry(store, "t1")
        assert held.lease is not None
        held.lease.held = False
        await accepted(store, step("w1", 1, queue_put=[held], queue_removed=["t2"]))
        await claimed_ids(store, 1, now_ms=300)
        await accepted(store, Release(task_id="t1"))
        again = (await the_entry(store, "t1")).lease
        assert again is not None
        assert (again.held, again.poll_count, again.start_ms) == (False, 1, 200)

    async def test_release_takes_nothing_from_a_waiting_task(self, store: ExecutionStore) -> None:
        """A task nobody holds keeps its polls."""
        lease = Lease(worker_id="me", start_ms=5, update_ms=6, poll_count=2)
        await queued(store, "w1", [entry("w1", "t1", lease=lease)])
        await accepted(store, Release(task_id="t1"))
        assert (await the_entry(store, "t1")).lease == lease

    async def test_a_task_is_put_in_a_waiting_hand(self, store: ExecutionStore) -> None:
        """An entry put with a held lease is leased from the start."""
        lease = Lease(worker_id="me", start_ms=50, update_ms=50, poll_count=1, held=True)
        await queued(store, "w1", [entry("w1", "t1", response_ms=10, lease=lease)])
        assert await claimed_ids(store) == []
        assert [one.task_id for one in await store.due_deadlines(60, 9)] == ["t1"]
        assert await store.queue_detail() == {"work": (0, 1)}

    async def test_a_removed_entry_is_gone(self, store: ExecutionStore) -> None:
        """Held or not; removing an unknown one is no error."""
        await queued(store, "w1", [entry("w1", "t1", response_ms=5), entry("w1", "t2")])
        await claimed_ids(store, 1)
        await accepted(store, step("w1", 1, queue_removed=["t1", "t2", "unknown"]))
        assert await store.entries(["t1", "t2"]) == {}
        assert await claimed_ids(store) == []
        assert await store.next_instant_ms() is None
        assert await accepted(store, ExtendLease(task_id="t1", now_ms=1)) == [False]

    async def test_ready_and_next_due(self, store: ExecutionStore) -> None:
        """The earliest due time counts, whichever priority has it."""
        assert await store.next_due_ms("work") is None
        await queued(
            store,
            "w1",
            [
                entry("w1", "a", due_ms=70, priority=9),
                entry("w1", "b", due_ms=40),
                entry("w1", "c", due_ms=50, priority=3),
            ],
        )
        assert await store.next_due_ms("work") == 40
        assert [await store.ready("work", now_ms) for now_ms in (39, 40)] == [False, True]

    async def test_an_extension_moves_the_response_deadline(self, store: ExecutionStore) -> None:
        """It bumps the last sign of life; no progress keeps the stored one, an older time changes nothing."""
        await queued(store, "w1", [entry("w1", "t1", response_ms=50)])
        await claimed_ids(store, now_ms=100)
        assert await store.next_instant_ms() == 150

        extended = ExtendLease(task_id="t1", now_ms=120, progress=Raw(b'{"fps":30}'))
        assert await accepted(store, extended, ExtendLease(task_id="other", now_ms=1)) == [True, False]
        assert await store.next_instant_ms() == 170
        await accepted(store, ExtendLease(task_id="t1", now_ms=110))

        lease = (await the_entry(store, "t1")).lease
        assert lease == Lease(
            worker_id="me", start_ms=100, update_ms=120, poll_count=1, held=True, progress=Raw(b'{"fps":30}')
        )
        assert await store.next_instant_ms() == 170

    async def test_progress_outlives_a_second_poll(self, store: ExecutionStore) -> None:
        """What a worker told stays readable when the task is handed out again."""
        progress = Raw(b'{"part":0.5}')
        await queued(store, "w1", [entry("w1", "t1", lease=Lease(poll_count=1, progress=progress))])
        [[one]] = await accepted(store, claim())
        assert one.entry.lease.progress == progress
        assert (await the_entry(store, "t1")).lease == one.entry.lease

    async def test_each_deadline_counts_in_its_time(self, store: ExecutionStore) -> None:
        """Unpolled: poll and total deadlines; held: response, run and total."""
        await queued(
            store,
            "w1",
            [
                entry("w1", "poll", queue="q", poll_by_ms=300, total_by_ms=900, response_ms=1),
                entry("w1", "total", queue="q", total_by_ms=200),
                entry("w1", "none", queue="q", response_ms=1, run_ms=1),
            ],
        )
        assert [one.task_id for one in await store.due_deadlines(10_000, 9)] == ["total", "poll"]
        assert await store.next_instant_ms() == 200
        await accepted(store, claim(queue="q", now_ms=100))

        due = await store.due_deadlines(10_000, 9)

        assert [(one.task_id, one.deadline_ms()) for one in due] == [
            ("poll", 101),
            ("none", 101),
            ("total", 200),
        ]

    async def test_due_deadlines_by_time_and_page(self, store: ExecutionStore) -> None:
        """Only what has passed, the earliest first, at most as many as asked for."""
        await queued(store, "w1", [entry("w1", f"t{at}", total_by_ms=at) for at in (30, 10, 20, 40)])
        assert [one.task_id for one in await store.due_deadlines(30, 9)] == ["t10", "t20", "t30"]
        assert [one.task_id for one in await store.due_deadlines(30, 2)] == ["t10", "t20"]
        assert await store.due_deadlines(9, 9) == []

    async def test_the_run_deadline_counts_from_the_first_poll(self, store: ExecutionStore) -> None:
        """Neither extensions nor being put back start it anew."""
        await queued(store, "w1", [entry("w1", "t1", run_ms=50, response_ms=1_000)])
        await claimed_ids(store, now_ms=100)
        await accepted(store, ExtendLease(task_id="t1", now_ms=140))
        assert await store.next_instant_ms() == 150

        held = await the_entry(store, "t1")
        assert held.lease is not None
        held.lease.held = False
        await accepted(store, step("w1", 1, queue_put=[held]))
        await claimed_ids(store, now_ms=145)

        assert await store.next_instant_ms() == 150

    async def test_timers_are_set_replaced_and_cleared(self, store: ExecutionStore) -> None:
        """One timer a key; the last setting holds; clearing an unknown key is no error."""

        def timer(key: str, due_ms: int, workflow_id: str = "w1") -> Timer:
            return Timer(workflow_id=workflow_id, key=key, kind="wait", due_ms=due_ms)

        await accepted(store, creation("w1", timers_set=[timer("a", 30), timer("b", 20)]))
        await accepted(store, creation("w2", timers_set=[timer("a", 10, "w2")]))
        assert await store.due_timers(30, 9) == [timer("a", 10, "w2"), timer("b", 20), timer("a", 30)]
        assert await store.due_timers(30, 2) == [timer("a", 10, "w2"), timer("b", 20)]
        assert await store.due_timers(9, 9) == []

        await accepted(store, step("w1", 1, timers_cleared=["b", "unknown"], timers_set=[timer("a", 5)]))

        assert await store.due_timers(99, 9) == [timer("a", 5), timer("a", 10, "w2")]
        await accepted(store, step("w1", 2, timers_cleared=["a"], timers_set=[timer("a", 7)]))
        assert await store.due_timers(99, 1) == [timer("a", 7)]

    async def test_the_next_instant_is_of_timers_and_queues(self, store: ExecutionStore) -> None:
        """The earlier of both; none when there is neither."""
        assert await store.next_instant_ms() is None
        await queued(store, "w1", [entry("w1", "t1", total_by_ms=40)])
        assert await store.next_instant_ms() == 40
        early = Timer(workflow_id="w1", key="workflow", kind="workflow_timeout", due_ms=30)
        await accepted(store, step("w1", 1, timers_set=[early]))
        assert await store.next_instant_ms() == 30

    async def test_queue_sizes(self, store: ExecutionStore) -> None:
        """Sizes leave held ones out, asked-for empty queues count 0, and the detail has both."""
        await queued(
            store,
            "w1",
            [entry("w1", "a", queue="one"), entry("w1", "b", queue="one"), entry("w1", "c", queue="two")],
        )
        await claimed_ids(store, 1, queue="one")
        assert await store.queue_sizes() == {"one": 1, "two": 1}
        assert await store.queue_sizes(["one", "none"]) == {"one": 1, "none": 0}
        assert await store.queue_sizes([]) == {}
        assert await store.queue_detail() == {"one": (1, 1), "two": (1, 0)}

    async def test_poll_marks_keep_the_latest(self, store: ExecutionStore) -> None:
        """One mark a task type, domain and worker, never moved back."""
        marks = (("a", "", "w1", 10), ("a", "d", "w1", 20), ("b", "", "w2", 30))
        await accepted(store, MarkPolls(marks=marks))
        await accepted(store, MarkPolls(marks=(("a", "", "w1", 40), ("b", "", "w2", 25))))

        def mark(task_type: str, domain: str, worker_id: str, at_ms: int) -> PollMark:
            return PollMark(task_type=task_type, domain=domain, worker_id=worker_id, at_ms=at_ms)

        assert await store.poll_marks("a") == [mark("a", "", "w1", 40), mark("a", "d", "w1", 20)]
        assert await store.poll_marks() == [*await store.poll_marks("a"), mark("b", "", "w2", 30)]
        assert await store.poll_marks("c") == []

    async def test_an_entry_without_its_task_disturbs_nobody(self, store: ExecutionStore) -> None:
        """A claim passes over it, and it is not ready for ever after."""
        await queued(store, "w1", [entry("w1", "t1", due_ms=20)])
        await accepted(
            store, step("w1", 1, queue_put=[entry("w1", "ghost", due_ms=10)], tasks_new=[task("w1", "t2")])
        )
        assert await claimed_ids(store) == ["t1"]
        assert not await store.ready("work", 100)
