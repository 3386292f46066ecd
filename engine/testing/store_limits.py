"""What a store promises about lanes, limits of task definitions and slots of limited workflows."""

from __future__ import annotations

from typing import Any

from engine.core.errors import SlotsTakenError, VersionConflictError
from engine.core.limits import NO_LIMITS, TaskLimit, TaskLimits
from engine.core.records import Lease, QueueEntry, Slot
from engine.core.statuses import WorkflowStatus
from engine.ports.stores import Claim, ExecutionStore, Release
from engine.testing.builders import accepted, creation, entry, header, queued, step

TWO_AT_ONCE = {"work": TaskLimit(held_max=2)}
THREE_A_SECOND = {"work": TaskLimit(deliveries_max=3, window_ms=1_000)}


def waiting(task_id: str, *, queue: str = "work", def_name: str = "work", **members: Any) -> QueueEntry:
    return entry("w1", task_id, queue=queue, def_name=def_name, **members)


async def claimed(
    store: ExecutionStore,
    count: int = 9,
    *,
    queue: str = "work",
    now_ms: int = 100,
    limits: TaskLimits = NO_LIMITS,
    turn: int = 0,
) -> list[str]:
    wanted = Claim(queue=queue, count=count, worker_id="me", now_ms=now_ms, limits=limits, turn=turn)
    [result] = await accepted(store, wanted)
    return [one.task.id for one in result]


def slot(workflow_id: str, *, held: bool = True, held_max: int | None = 2, key: str = "k") -> Any:
    """A workflow that asks for a slot as it is created."""
    return creation(workflow_id, slot=Slot(key=key, held=held, held_max=held_max))


def ended(workflow_id: str, expected_version: int = 1) -> Any:
    gone = header(workflow_id, status=WorkflowStatus.COMPLETED)
    return step(workflow_id, expected_version, header=gone, slot_freed=True)


class LaneContract:
    async def test_lanes_take_turns(self, store: ExecutionStore) -> None:
        """One entry each, in the order of their names begun at the claim's turn; each lane in its order."""
        await queued(
            store,
            "w1",
            [waiting(f"{lane}{n}", lane=lane, due_ms=10 + n) for lane in "abc" for n in range(3)],
        )
        assert await claimed(store, 4, turn=1) == ["b0", "c0", "a0", "b1"]
        assert await claimed(store, 2, turn=0) == ["a1", "b2"]
        assert await claimed(store, 9, turn=5) == ["c1", "a2", "c2"]

    async def test_priority_goes_before_turns(self, store: ExecutionStore) -> None:
        """A lane with something urgent is first, whosever turn it is."""
        await queued(
            store,
            "w1",
            [
                waiting("a1", lane="a"),
                waiting("b1", lane="b", priority=5),
                waiting("b2", lane="b"),
                waiting("c1", lane="c", priority=5),
                waiting("c2", lane="c", priority=9, due_ms=999),
            ],
        )
        assert await claimed(store, 3, turn=2) == ["c1", "b1", "a1"]

    async def test_a_lane_with_nothing_due_is_passed_over(self, store: ExecutionStore) -> None:
        """It counts among the lanes, and gives nothing."""
        await queued(
            store, "w1", [waiting("a1", lane="a", due_ms=101), waiting("b1", lane="b"), waiting("n1")]
        )
        assert await claimed(store, 1, turn=1) == ["b1"]
        assert await store.next_due_ms("work") == 10
        assert await claimed(store, turn=1) == ["n1"]
        assert await store.next_due_ms("work") == 101
        assert not await store.ready("work", 100)
        assert await claimed(store, now_ms=101) == ["a1"]

    async def test_sizes_are_sums_over_lanes(self, store: ExecutionStore) -> None:
        """Whoever asks for a queue sees one queue."""
        await queued(store, "w1", [waiting(f"t{n}", lane=f"#{n}") for n in range(3)])
        await claimed(store, 1)
        assert await store.queue_sizes() == {"work": 2}
        assert await store.queue_detail() == {"work": (2, 1)}


class TaskLimitContract:
    async def test_no_more_are_held_than_the_limit_says(self, store: ExecutionStore) -> None:
        """What is held counts in whichever queue of the definition; what ends makes room."""
        await queued(
            store,
            "w1",
            [waiting(f"t{n}", due_ms=n) for n in range(3)] + [waiting("d0", queue="d:work")],
        )
        assert await claimed(store, 1, queue="d:work", limits=TWO_AT_ONCE) == ["d0"]
        assert await claimed(store, limits=TWO_AT_ONCE) == ["t0"]
        assert await claimed(store, limits=TWO_AT_ONCE) == []
        assert await store.next_due_ms("work", 100, TWO_AT_ONCE) is None
        assert not await store.ready("work", 100, TWO_AT_ONCE)
        assert await store.ready("work", 100)

        await accepted(store, step("w1", 1, queue_removed=["d0"]))

        assert await store.ready("work", 100, TWO_AT_ONCE)
        assert await claimed(store, limits=TWO_AT_ONCE) == ["t1"]

    async def test_what_is_put_in_a_waiting_hand_counts(self, store: ExecutionStore) -> None:
        """As does what was claimed without regard to the limit; a released or put-back one does not."""
        hand = Lease(worker_id="w", start_ms=1, update_ms=1, poll_count=1, held=True)
        await queued(store, "w1", [waiting("t0", lease=hand), waiting("t1"), waiting("t2"), waiting("t3")])
        assert await claimed(store, 1) == ["t1"]
        assert await claimed(store, limits=TWO_AT_ONCE) == []

        await accepted(store, Release(task_id="t1"))

        assert await claimed(store, limits=TWO_AT_ONCE) == ["t1"]
        back = waiting("t0", lease=Lease(worker_id="w", start_ms=1, update_ms=1, poll_count=1))
        await accepted(store, step("w1", 1, queue_put=[back]))
        assert await claimed(store, limits=TWO_AT_ONCE) == ["t2"]

    async def test_claims_of_one_group_share_the_limit(self, store: ExecutionStore) -> None:
        """Two polls that come together do not get more than one of them might."""
        await queued(store, "w1", [waiting(f"t{n}") for n in range(5)])
        wanted = Claim(
            queue="work", count=2, worker_id="me", now_ms=100, limits={"work": TaskLimit(held_max=3)}
        )
        results = await accepted(store, wanted, wanted)
        assert [[one.task.id for one in result] for result in results] == [["t0", "t1"], ["t2"]]

    async def test_lanes_of_one_definition_share_the_limit(self, store: ExecutionStore) -> None:
        """Partitions do not multiply it."""
        await queued(store, "w1", [waiting(f"{lane}{n}", lane=lane) for lane in "ab" for n in range(2)])
        assert await claimed(store, limits=TWO_AT_ONCE) == ["a0", "b0"]
        assert await store.next_due_ms("work", 100, TWO_AT_ONCE) is None

    async def test_a_definition_at_its_limit_holds_up_no_other(self, store: ExecutionStore) -> None:
        """Of the definitions that share a queue, the others go on, past whatever waits before them."""
        full = [waiting(f"f{n}", def_name="full", lane="full", priority=9, due_ms=1) for n in range(3)]
        await queued(store, "w1", [*full, waiting("t0", def_name="free", lane="free")])
        limits = {"full": TaskLimit(held_max=1)}
        assert await claimed(store, 1, limits=limits) == ["f0"]
        assert await store.ready("work", 100, limits)
        assert await claimed(store, limits=limits) == ["t0"]
        assert await store.next_due_ms("work", 100, limits) is None

    async def test_deliveries_within_the_window_are_counted(self, store: ExecutionStore) -> None:
        """The window slides: each delivery counts until it is that old, ended or not."""
        await queued(store, "w1", [waiting(f"t{n}") for n in range(9)])
        assert await claimed(store, 2, now_ms=1_000, limits=THREE_A_SECOND) == ["t0", "t1"]
        assert await claimed(store, now_ms=1_400, limits=THREE_A_SECOND) == ["t2"]
        await accepted(store, step("w1", 1, queue_removed=["t0", "t1", "t2"]))
        assert await claimed(store, now_ms=1_999, limits=THREE_A_SECOND) == []
        assert await store.next_due_ms("work", 1_999, THREE_A_SECOND) == 2_000
        assert await claimed(store, now_ms=2_000, limits=THREE_A_SECOND) == ["t3", "t4"]
        assert await store.next_due_ms("work", 2_000, THREE_A_SECOND) == 2_400
        assert await claimed(store, now_ms=2_400, limits=THREE_A_SECOND) == ["t5"]

    async def test_a_delivery_given_back_still_counts(self, store: ExecutionStore) -> None:
        """The rate is of deliveries, and it was one."""
        await queued(store, "w1", [waiting("t0"), waiting("t1")])
        limits = {"work": TaskLimit(deliveries_max=1, window_ms=50)}
        assert await claimed(store, 1, now_ms=100, limits=limits) == ["t0"]
        await accepted(store, Release(task_id="t0"))
        assert await claimed(store, now_ms=149, limits=limits) == []
        assert await claimed(store, now_ms=150, limits=limits) == ["t0"]

    async def test_a_lane_not_due_opens_no_earlier(self, store: ExecutionStore) -> None:
        """The later of due time and window is when to look again."""
        await queued(store, "w1", [waiting("t0"), waiting("t1", due_ms=900)])
        limits = {"work": TaskLimit(deliveries_max=1, window_ms=500)}
        assert await claimed(store, now_ms=100, limits=limits) == ["t0"]
        assert await store.next_due_ms("work", 200, limits) == 900

    async def test_a_lease_is_given_back_once(self, store: ExecutionStore) -> None:
        """A release that names its lease leaves a later one alone."""
        await queued(store, "w1", [waiting("t0")])
        await claimed(store, now_ms=100)
        await accepted(store, Release(task_id="t0", update_ms=99))
        assert await claimed(store, now_ms=200) == []
        await accepted(store, Release(task_id="t0", update_ms=100))
        assert await claimed(store, now_ms=200) == ["t0"]
        await accepted(store, Release(task_id="t0", update_ms=100))
        assert await claimed(store, now_ms=300) == []

    async def test_what_a_claim_leased_can_be_read_back(self, store: ExecutionStore) -> None:
        """By worker and instant, as long as nobody has touched it since."""
        await queued(store, "w1", [waiting("t0"), waiting("t1"), waiting("t2"), waiting("t3", queue="other")])
        await claimed(store, 2, now_ms=100)
        await claimed(store, 1, now_ms=101)
        await claimed(store, 1, now_ms=100, queue="other")
        found = await store.leased_at("work", "me", 100)
        assert [(one.task.id, one.entry.task_id) for one in found] == [("t0", "t0"), ("t1", "t1")]
        await accepted(store, Release(task_id="t0"))
        assert [one.task.id for one in await store.leased_at("work", "me", 100)] == ["t1"]
        assert await store.leased_at("work", "you", 100) == []


class SlotContract:
    async def test_no_more_slots_than_there_are(self, store: ExecutionStore) -> None:
        """The creation that finds none is refused whole; one that ends makes room."""
        results = await store.write([slot("w1"), slot("w2"), slot("w3"), slot("x1", key="other")])
        assert [isinstance(result, SlotsTakenError) for result in results] == [False, False, True, False]
        assert await store.load("w3") is None
        assert await store.slots("k", 9) == (2, [])

        await accepted(store, ended("w1"))

        assert await accepted(store, slot("w3")) == [1]
        assert await store.slots("k", 9) == (2, [])

    async def test_who_waits_comes_first(self, store: ExecutionStore) -> None:
        """In the order of coming; a new one cannot pass them, and one of them takes its slot when it may."""
        await accepted(store, slot("w1", held_max=1), slot("w2", held=False), slot("w3", held=False))
        assert await store.slots("k", 9) == (1, ["w2", "w3"])
        assert await store.slots("k", 1) == (1, ["w2"])
        assert await store.slot_keys_waited_for() == ["k"]
        take = Slot(key="k", held=True, held_max=1)
        [full] = await store.write([step("w2", 1, slot=take)])
        assert isinstance(full, SlotsTakenError)

        await accepted(store, ended("w1"))

        [passing] = await store.write([slot("w4", held_max=1)])
        assert isinstance(passing, SlotsTakenError)
        assert await accepted(store, step("w2", 1, slot=take)) == [2]
        assert await store.slots("k", 9) == (1, ["w3"])

    async def test_a_slot_taken_unasked_counts(self, store: ExecutionStore) -> None:
        """It is over the limit if need be; the next one that asks is refused."""
        await accepted(store, slot("w1"), slot("w2"), slot("w3", held_max=None))
        assert await store.slots("k", 9) == (3, [])
        await accepted(store, ended("w1"))
        [result] = await store.write([slot("w4")])
        assert isinstance(result, SlotsTakenError)

    async def test_a_removed_workflow_leaves_no_slot(self, store: ExecutionStore) -> None:
        """Held or waited for."""
        await accepted(store, slot("w1"), slot("w2", held=False))
        await accepted(store, step("w1", 1, delete=True), step("w2", 1, delete=True))
        assert await store.slots("k", 9) == (0, [])
        assert await store.slot_keys_waited_for() == []

    async def test_a_restart_keeps_the_slot(self, store: ExecutionStore) -> None:
        """Removing every task is not the workflow's end."""
        await accepted(store, slot("w1", held_max=1))
        await accepted(store, step("w1", 1, remove_all_tasks=True))
        assert await store.slots("k", 9) == (1, [])

    async def test_a_conflict_is_told_before_a_full_limit(self, store: ExecutionStore) -> None:
        """Whoever decided on an old state reads again first, and takes no slot."""
        await accepted(store, slot("w1", held_max=1))
        results = await store.write([slot("w1", held_max=1), step("w2", 3, slot=Slot(key="k", held=True))])
        assert [isinstance(result, VersionConflictError) for result in results] == [True, True]
        assert await store.slots("k", 9) == (1, [])
