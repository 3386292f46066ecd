"""What a store promises about reading tasks and logs."""

from __future__ import annotations

import asyncio
from typing import Any

from engine.core.records import Delta
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.ports.stores import AppendLogs, ExecutionStore
from engine.testing.builders import accepted, creation, ended, entry, header, step, task

PAGE = 2
STEPS_BESIDE_A_READER = 60


async def a_loop(store: ExecutionStore) -> None:
    """Two iterations of `body`, the first with a retry, and one ended task of another workflow."""
    tasks = [
        task("w1", "a", seq=1, ref="start", status=TaskStatus.COMPLETED),
        task("w1", "b", seq=2, ref="body__1", base_ref="body", status=TaskStatus.FAILED),
        task("w1", "c", seq=3, ref="body__1", base_ref="body", retry_count=1, status=TaskStatus.COMPLETED),
        task("w1", "d", seq=4, ref="body__2", base_ref="body", status=TaskStatus.IN_PROGRESS),
        task("w1", "e", seq=5, ref="side", status=TaskStatus.SCHEDULED),
    ]
    other = task("w2", "x", ref="body__1", base_ref="body", status=TaskStatus.COMPLETED)
    # Written back to front: only seq may order them.
    await accepted(store, creation("w1", tasks_new=tasks[::-1]), creation("w2", tasks_new=[other]))


class ReadContract:
    async def test_what_is_unknown(self, store: ExecutionStore) -> None:
        """Reads of what does not exist answer nothing rather than fail."""
        assert (await store.load("no"), await store.row("no")) == (None, None)
        assert (await store.tasks("no"), await store.open_tasks("no"), await store.task_count("no")) == (
            [],
            [],
            0,
        )
        assert (
            await store.tasks_by_id(["no"]),
            await store.latest("no", ["r"]),
            await store.by_ref("no", ["r"]),
        ) == (
            {},
            {},
            {},
        )
        assert (await store.entries(["no"]), await store.entries_of("no")) == ({}, {})
        assert (await store.logs("no"), await store.history("no")) == ([], [])

    async def test_a_header_comes_back_as_written(self, store: ExecutionStore) -> None:
        """Every member, from both ways of reading it."""
        written = header(
            "w1",
            variables={"a": [1, 2.5, None, {"b": "ü"}]},
            task_to_domain={"work": "gpu"},
            correlation_id="c",
            reason="why",
            priority=7,
            failed_refs=["x"],
            seq=3,
        )
        await accepted(store, creation("w1", header=written))
        loaded, row = await store.load("w1"), await store.row("w1")
        assert loaded is not None
        assert row is not None
        assert loaded.header == row.header == written

    async def test_an_execution_is_of_one_moment(self, store: ExecutionStore) -> None:
        """Read while commits come in: the header counts the very tasks and entries that come with it."""
        assert await store.execution("w1") is None
        await accepted(store, creation("w1"))

        async def grow() -> None:
            for count in range(1, STEPS_BESIDE_A_READER + 1):
                new = task("w1", f"t{count}", seq=count)
                await accepted(
                    store,
                    step(
                        "w1",
                        count,
                        header=header("w1", seq=count),
                        tasks_new=[new],
                        queue_put=[entry("w1", new.id)],
                    ),
                )

        growing = asyncio.create_task(grow())
        while not growing.done():
            found = await store.execution("w1")
            assert found is not None
            ids = [one.id for one in found.tasks]
            assert ids == [f"t{n}" for n in range(1, found.row.header.seq + 1)]
            assert sorted(found.entries) == sorted(ids)
            await asyncio.sleep(0)
        await growing

    async def test_tasks_by_id(self, store: ExecutionStore) -> None:
        """Of any workflow; unknown ids are left out."""
        await a_loop(store)
        found = await store.tasks_by_id(["a", "x", "unknown"])
        assert {key: one.id for key, one in found.items()} == {"a": "a", "x": "x"}
        assert await store.tasks_by_id([]) == {}

    async def test_latest_by_base_reference(self, store: ExecutionStore) -> None:
        """The newest attempt of the newest iteration; references never scheduled are left out."""
        await a_loop(store)
        found = await store.latest("w1", {"body", "start", "never"})
        assert {key: one.id for key, one in found.items()} == {"body": "d", "start": "a"}

    async def test_newest_by_full_reference(self, store: ExecutionStore) -> None:
        """The newest attempt of exactly that iteration."""
        await a_loop(store)
        found = await store.by_ref("w1", ["body__1", "body__2", "body"])
        assert {key: one.id for key, one in found.items()} == {"body__1": "c", "body__2": "d"}

    async def test_open_tasks_by_seq(self, store: ExecutionStore) -> None:
        """Scheduled and in progress; a task leaves when it ends and returns when it is revived."""
        await a_loop(store)
        opened = await store.open_tasks("w1")
        assert [one.id for one in opened] == ["d", "e"]
        await accepted(store, step("w1", 1, tasks_changed=[ended(opened[0])]))
        assert [one.id for one in await store.open_tasks("w1")] == ["e"]
        await accepted(store, step("w1", 2, tasks_changed=[opened[0]]))
        assert [one.id for one in await store.open_tasks("w1")] == ["d", "e"]

    async def test_tasks_by_page(self, store: ExecutionStore) -> None:
        """All by seq; pages continue after a seq; statuses narrow both list and count."""
        await a_loop(store)
        assert [one.id for one in await store.tasks("w1")] == ["a", "b", "c", "d", "e"]
        first = await store.tasks("w1", limit=PAGE)
        second = await store.tasks("w1", after_seq=first[-1].head.seq, limit=PAGE)
        assert [one.id for one in (*first, *second)] == ["a", "b", "c", "d"]
        completed = {TaskStatus.COMPLETED, TaskStatus.FAILED}
        assert [one.id for one in await store.tasks("w1", statuses=completed, after_seq=1)] == ["b", "c"]
        assert await store.tasks("w1", limit=0) == await store.tasks("w1", statuses=[]) == []
        assert (await store.task_count("w1"), await store.task_count("w1", completed)) == (5, 3)

    async def test_entries_by_task_and_workflow(self, store: ExecutionStore) -> None:
        """Tasks that are in no queue are left out."""
        await a_loop(store)
        await accepted(store, step("w1", 1, queue_put=[entry("w1", "d"), entry("w1", "e", due_ms=77)]))
        assert set(await store.entries(["a", "d", "x"])) == {"d"}
        assert await store.entries_of("w1") == {"d": entry("w1", "d"), "e": entry("w1", "e", due_ms=77)}
        assert await store.entries_of("w2") == {}

    async def test_what_ended_before(self, store: ExecutionStore) -> None:
        """Only ended workflows, by when they ended, at most as many as asked for; no open parent's child."""

        def ended_at(workflow_id: str, end_ms: int, **members: Any) -> Delta:
            status = members.pop("status", WorkflowStatus.COMPLETED)
            made = header(workflow_id, status=status, create_ms=10, end_ms=end_ms, **members)
            return creation(workflow_id, header=made)

        await accepted(
            store,
            ended_at("old", 20),
            ended_at("failed", 20, status=WorkflowStatus.FAILED),
            ended_at("new", 90),
            ended_at("open", 0, status=WorkflowStatus.RUNNING),
            ended_at("child", 20, parent_workflow_id="open"),
            ended_at("orphan", 20, parent_workflow_id="gone"),
            ended_at("grandchild", 20, parent_workflow_id="old"),
        )

        assert set(await store.ended_before(90, 9)) == {"old", "failed", "orphan", "grandchild"}
        assert len(await store.ended_before(90, 2)) == 2
        assert await store.ended_before(20, 9) == []

    async def test_logs_in_order_of_writing(self, store: ExecutionStore) -> None:
        """Whatever their times, and each task's apart."""
        await accepted(
            store,
            AppendLogs(task_id="t1", lines=(("second", 20), ("first", 10))),
            AppendLogs(task_id="t2", lines=(("other", 1),)),
            AppendLogs(task_id="t1", lines=(("third", 5), ("ü\n\x00", 6))),
        )
        assert await store.logs("t1") == [("second", 20), ("first", 10), ("third", 5), ("ü\n\x00", 6)]
        assert await store.logs("t2") == [("other", 1)]
