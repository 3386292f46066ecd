"""What one step costs in the SQLite store: microseconds per delta at several group sizes.

A delta is the usual step of a linear workflow: header updated, a task ended, its queue entry removed, the
next task and its entry inserted, one history row. `python bench/store.py [--synchronous FULL] [--seconds 1]
[--sizes 1,5,20,50]`
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from msgspec import Raw, structs

from engine.adapters.sql.sqlite import SqliteExecutionStore
from engine.core.records import Delta, Header, HistoryRow, QueueEntry, Task, TaskHead, TaskLinks, TaskState
from engine.core.statuses import TaskStatus
from engine.ports.stores import Claim, Write

ID_BYTES = 16
RANDOM_IDS = False


def new_id() -> str:
    """Ids that begin with the time: their rows share pages, so that a commit writes fewer of them."""
    if RANDOM_IDS:
        return os.urandom(ID_BYTES).hex()
    return time.time_ns().to_bytes(8, "big").hex() + os.urandom(ID_BYTES - 8).hex()


DOCUMENT = Raw(b'{"text":"' + b"x" * 700 + b'"}')
TASKS_A_WORKFLOW = 10


def new_task(workflow_id: str, seq: int) -> Task:
    head = TaskHead(
        task_type="work",
        reference_task_name=f"work_{seq}",
        task_def_name="work",
        task_id=new_id(),
        workflow_instance_id=workflow_id,
        workflow_type="linear",
        input_data=DOCUMENT,
        seq=seq,
        scheduled_time=1,
    )
    return Task(head=head, state=TaskState(), links=TaskLinks(base_ref=head.reference_task_name))


class Line:
    """One linear workflow being driven; a new one begins when its tasks are used up."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.header = Header(workflow_id=new_id(), name="linear", version=1, definition_hash="h" * 64)
        self.task: Task | None = None
        self.row_version = 0

    def next_delta(self) -> Delta:
        if self.header.seq >= TASKS_A_WORKFLOW:
            self.begin()
        header = self.header = structs.replace(self.header, seq=self.header.seq + 1, update_ms=time.time_ns())
        ended, self.task = self.task, new_task(header.workflow_id, header.seq)
        delta = Delta(
            workflow_id=header.workflow_id,
            expected_version=self.row_version,
            header=header,
            tasks_new=[self.task],
            queue_put=[
                QueueEntry(
                    task_id=self.task.id,
                    workflow_id=header.workflow_id,
                    queue="work",
                    due_ms=1,
                    response_ms=60_000,
                )
            ],
            history=[
                HistoryRow(
                    event_id=new_id(),
                    workflow_id=header.workflow_id,
                    task_id=self.task.id,
                    type="task_completed",
                    at_ms=1,
                    payload=Raw(b'{"worker":"w"}'),
                )
            ],
        )
        if ended is not None:
            done = structs.replace(ended.state, status=TaskStatus.COMPLETED, end_time=5)
            delta.tasks_changed = [structs.replace(ended, state=done, output=DOCUMENT)]
            delta.queue_removed = [ended.id]
        self.row_version += 1
        return delta


async def measure(
    store: SqliteExecutionStore, size: int, seconds: float, *, claims: bool
) -> tuple[float, float, int]:
    lines = [Line() for _ in range(size)]
    rounds, in_store, began_cpu, deadline = 0, 0.0, time.process_time(), time.perf_counter() + seconds
    in_making = 0.0
    while time.perf_counter() < deadline:
        began = time.process_time()
        group: list[Write] = [line.next_delta() for line in lines]
        in_making += time.process_time() - began
        if claims:
            group.append(Claim(queue="work", count=size, worker_id="w", now_ms=10))
        began = time.perf_counter()
        results = await store.write(group)
        in_store += time.perf_counter() - began
        assert all(isinstance(result, int) for result in results[:size]), results
        rounds += 1
    deltas = rounds * size
    cpu = time.process_time() - began_cpu - in_making
    return in_store / deltas * 1e6, cpu / deltas * 1e6, deltas


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--synchronous", default="FULL", choices=["OFF", "NORMAL", "FULL", "EXTRA"])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--sizes", default="1,5,20,50")
    parser.add_argument(
        "--folder", default=None, help="where the database goes; the default is a temporary folder"
    )
    parser.add_argument("--claims", action="store_true", help="each group also claims as many tasks")
    parser.add_argument("--random-ids", action="store_true", help="ids without a time in front")
    options = parser.parse_args()
    global RANDOM_IDS  # noqa: PLW0603 - one switch of a script
    RANDOM_IDS = options.random_ids
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            store = SqliteExecutionStore(Path(folder) / "bench.db", options.synchronous)
            try:
                wall, cpu, deltas = await measure(store, size, options.seconds, claims=options.claims)
            finally:
                await store.close()
        print(f"group of {size:3}: {wall:7.1f} us per delta, {cpu:6.1f} us of CPU ({deltas} deltas)")


if __name__ == "__main__":
    asyncio.run(main())
