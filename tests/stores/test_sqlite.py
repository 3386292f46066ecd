"""What the SQLite store promises beyond the contract: crashes, full disks, foreign files, plans."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from msgspec import Raw
from sqlalchemy import create_engine

from engine.adapters.sql.migrations import HEAD
from engine.adapters.sql.migrations.upgrade import newest
from engine.adapters.sql.sqlite import SqliteExecutionStore
from engine.adapters.sql.sqlite_connection import SqliteDatabase
from engine.adapters.sql.tables import METADATA
from engine.core.errors import StoreError, StoreFullError, VersionConflictError
from engine.core.limits import TaskLimit
from engine.core.records import Lease, Slot, Timer
from engine.core.search import SearchQuery
from engine.ports.stores import AppendLogs, Claim, ExtendLease, MarkPolls, MessagesDone, Release
from engine.testing.builders import accepted, creation, ended, entry, event, header, message, step, task

ROOT = Path(__file__).parents[2]

# Steps of many workflows, each of which adds one task and counts it in the header; a line for each
# acknowledged group.
WRITER = """
import asyncio, sys
from engine.adapters.sql.sqlite import SqliteExecutionStore
from engine.testing.builders import creation, entry, header, step, task

async def main():
    store = SqliteExecutionStore(sys.argv[1])
    for seq in range(1, 100_000):
        group = []
        for name in ("w0", "w1", "w2"):
            made = task(name, f"{name}.{seq}", seq=seq)
            members = dict(header=header(name, seq=seq), tasks_new=[made], queue_put=[entry(name, made.id)])
            group.append(creation(name, **members) if seq == 1 else step(name, seq - 1, **members))
        assert await store.write(group) == [seq] * 3
        print(seq, flush=True)

asyncio.run(main())
"""
GROUPS_BEFORE_THE_KILL = 20


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


async def test_kill_9_loses_nothing_acknowledged(database_path: Path) -> None:
    """After SIGKILL in the middle of writing, all acknowledged groups are there and each step is whole."""
    with python(WRITER, str(database_path)) as child:
        assert child.stdout is not None
        acknowledged = 0
        for line in child.stdout:
            acknowledged = int(line)
            if acknowledged == GROUPS_BEFORE_THE_KILL:
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL

    store = SqliteExecutionStore(database_path)
    try:
        versions = set()
        for name in ("w0", "w1", "w2"):
            loaded = await store.load(name)
            assert loaded is not None
            versions.add(loaded.row_version)
            assert loaded.header.seq == loaded.row_version
            assert await store.task_count(name) == loaded.row_version
            assert len(await store.entries_of(name)) == loaded.row_version
        assert len(versions) == 1  # a group is one transaction
        assert versions.pop() >= acknowledged
    finally:
        await store.close()


async def test_a_full_disk_keeps_what_was_there(database_path: Path) -> None:
    """A group that does not fit raises and leaves nothing; what is removed makes room again."""
    store = SqliteExecutionStore(database_path, "OFF", size_bytes_max=400_000)
    try:
        await accepted(store, creation("old"))
        large = Raw(b'"' + b"x" * 150_000 + b'"')
        await accepted(store, creation("large", input=large))

        with pytest.raises(StoreFullError, match="no space left"):
            await store.write([creation("small"), creation("w1", input=large, output=large)])

        assert (await store.load("small"), await store.load("w1")) == (None, None)
        assert await store.load("old") is not None
        await accepted(store, step("large", 1, delete=True))
        await accepted(store, creation("w1", input=large))
    finally:
        await store.close()


@pytest.mark.parametrize("kind", ["text", "folder", "nowhere"])
def test_what_is_no_database_is_refused(tmp_path: Path, kind: str) -> None:
    """One sentence that names the file."""
    path = {"text": tmp_path / "notes.txt", "folder": tmp_path, "nowhere": tmp_path / "no" / "such.db"}[kind]
    if kind == "text":
        path.write_text("shopping list\n" * 100)
    with pytest.raises(StoreError, match=str(path)):
        SqliteExecutionStore(path)


def test_a_newer_schema_is_refused(database_path: Path) -> None:
    """A file that a later version wrote is left alone."""
    with sqlite3.connect(database_path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = database_path.read_bytes()
    with pytest.raises(StoreError, match="newer version"):
        SqliteExecutionStore(database_path)
    assert database_path.read_bytes() == before


def schema(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"
    )
    found = {name: " ".join(sql.split()) for name, sql in rows}
    connection.close()
    return found


def test_migrations_lead_to_the_tables(blank_database: Path, tmp_path: Path) -> None:
    """A database brought up by the migrations has exactly what tables.py declares."""
    declared = tmp_path / "declared.db"
    engine = create_engine(f"sqlite:///{declared}")
    METADATA.create_all(engine)
    engine.dispose()
    assert schema(blank_database) == schema(declared)


def test_the_newest_revision_is_the_one_looked_for(blank_database: Path) -> None:
    """HEAD, the scripts and a fresh database agree."""
    engine = create_engine(f"sqlite:///{blank_database}")
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == newest() == HEAD
    engine.dispose()


def test_a_current_database_opens_without_alembic(database_path: Path) -> None:
    """The usual start does not pay for importing the migration tool."""
    code = (
        "import asyncio, sys; from engine.adapters.sql.sqlite import SqliteExecutionStore;"
        "asyncio.run(SqliteExecutionStore(sys.argv[1]).close()); print('alembic' in sys.modules)"
    )
    with python(code, str(database_path)) as child:
        assert child.stdout is not None
        assert child.stdout.read() == "False\n"
    assert child.returncode == 0


async def test_two_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """The tables are made once, whoever comes first, and both work on the same data."""
    path = tmp_path / "new.db"
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(SqliteExecutionStore, [path] * 4))
    try:
        await accepted(stores[0], creation("w1"))
        loaded = await stores[1].load("w1")
        assert loaded is not None
        await accepted(stores[1], step("w1", 1))
        [late] = await stores[2].write([step("w1", 1)])
        assert isinstance(late, VersionConflictError)
    finally:
        for store in stores:
            await store.close()


async def test_a_locked_file_is_said_to_be_locked(database_path: Path) -> None:
    """When another process does not let go, the write fails with the reason, and later ones work."""
    database = SqliteDatabase(database_path, synchronous="OFF", lock_wait_ms_max=1)
    other = sqlite3.connect(database_path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process"):
            await database.write(lambda connection: connection.execute("DELETE FROM timer").rowcount)
        other.execute("ROLLBACK")
        assert await database.write(lambda connection: connection.execute("DELETE FROM timer").rowcount) == 0
    finally:
        other.close()
        await database.close()


async def test_a_writer_that_goes_away_disturbs_nobody(database_path: Path) -> None:
    """A cancelled caller's group is still written whole, and the next one is served."""
    store = SqliteExecutionStore(database_path, "OFF")
    try:
        asked = asyncio.ensure_future(store.write([creation("w1")]))
        await asyncio.sleep(0)  # lets it hand the group over
        asked.cancel()
        await accepted(store, creation("w2"))
        assert await store.load("w1") is not None
    finally:
        await store.close()


async def test_a_closed_store_says_so(database_path: Path) -> None:
    """Reads and writes after `close` are refused; closing again is no error."""
    store = SqliteExecutionStore(database_path, "OFF")
    await store.load("w1")
    await store.close()
    await store.close()
    for use in (
        store.write([creation("w1")]),
        store.load("w1"),
        store.tasks("w1"),
        store.search(SearchQuery()),
    ):
        with pytest.raises(StoreError, match=r"closed"):
            await use


async def test_values_sqlite_cannot_hold_fail_alone(database_path: Path) -> None:
    """A number past 64 bits or half a surrogate pair refuses its own delta."""
    store = SqliteExecutionStore(database_path, "OFF")
    try:
        results = await store.write(
            [
                creation("w1", header=header("w1", priority=2**70)),
                creation("w2"),
                creation("w3", header=header("w3", name="\ud800")),
                AppendLogs(task_id="t", lines=(("\ud800", 1),)),
            ]
        )
        assert [isinstance(result, StoreError) for result in results] == [True, False, True, True]
        assert await store.load("w2") is not None
    finally:
        await store.close()


async def test_no_statement_walks_a_table(database_path: Path) -> None:
    """Every write, and every read of one workflow, task or queue, finds its rows by an index."""
    store = SqliteExecutionStore(database_path, "OFF")
    seen: list[str] = []
    try:
        await store.database.write(lambda connection: connection.set_trace_callback(seen.append))
        store.database.reader().set_trace_callback(seen.append)
        await use_everything(store)
        store.database.reader().set_trace_callback(None)
        walks = [
            (detail, statement)
            for statement in seen
            if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"))
            for *_, detail in store.database.reader().execute("EXPLAIN QUERY PLAN " + statement)
            if detail.startswith("SCAN") and not harmless(detail)
        ]
        assert len(seen) > 40  # the trace was on
        assert walks == []
    finally:
        await store.database.write(lambda connection: connection.set_trace_callback(None))
        await store.close()


WALKED_ALONG = ("VIRTUAL TABLE", "SCAN level", "SCAN part", "SCAN wanted", "SCAN (subquery", "CONSTANT ROW")
FULL = {"work": TaskLimit(held_max=1)}
LIMITS = {"work": TaskLimit(held_max=9, deliveries_max=9)}


def harmless(detail: str) -> bool:
    """Walks over what the caller listed, the lanes and levels of a queue, limit keys, a constant row."""
    return any(word in detail for word in WALKED_ALONG)


async def use_everything(store: SqliteExecutionStore) -> None:
    made = [task("w1", f"t{n}", seq=n) for n in (1, 2, 3)]
    timer = Timer(workflow_id="w1", key="workflow", kind="workflow_timeout", due_ms=50)
    await accepted(
        store,
        creation(
            "w1",
            tasks_new=made,
            queue_put=[entry("w1", one.id, def_name="work") for one in made],
            definition=Raw(b"{}"),
            slot=Slot(key="k", held=True, held_max=2),
        ),
        creation("w2", slot=Slot(key="k", held=False)),
        Claim(queue="work", count=2, worker_id="me", now_ms=99, limits=LIMITS),
        ExtendLease(task_id="t1", now_ms=99),
        Release(task_id="t2"),
        AppendLogs(task_id="t1", lines=(("x", 1),)),
        MarkPolls(marks=(("work", "", "me", 1),)),
    )
    await accepted(
        store,
        step(
            "w1",
            1,
            input=Raw(b"{}"),
            output=Raw(b"{}"),
            tasks_changed=[ended(made[0])],
            heads_changed={"t1"},
            tasks_removed=["t3"],
            queue_removed=["t1"],
            timers_set=[timer],
            timers_cleared=["t1"],
            history=[event("w1", "e1")],
            outbox=[message("m1")],
        ),
        MessagesDone(message_ids=("m1",)),
    )
    await read_everything(store)
    await accepted(store, step("w1", 2, remove_all_tasks=True))
    await accepted(store, step("w1", 3, delete=True))


async def read_everything(store: SqliteExecutionStore) -> None:
    await store.load("w1")
    await store.row("w1")
    await store.definition("d")
    await store.tasks_by_id(["t1", "t2"])
    await store.latest("w1", ["t1", "t2"])
    await store.by_ref("w1", ["t1", "t2"])
    await store.tasks("w1", after_seq=1, limit=5)
    await store.entries(["t1", "t2"])
    await store.ready("work", 99, LIMITS)
    await store.slots("k", 9)
    await store.slot_keys_waited_for()
    await store.due_timers(99, 9)
    await store.due_deadlines(99, 9)
    await store.pending_messages(9)
    await store.logs("t1")


class StepCounter:
    """Counts what SQLite's virtual machine does, which unlike time does not depend on the machine."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self) -> int:
        self.steps += 1
        return 0


async def steps_of_each_use(store: SqliteExecutionStore, tasks: int) -> dict[str, int]:
    """Virtual machine steps of hot reads and writes in a workflow of so many tasks, waiting in one queue."""
    made = [task("w1", f"t{seq}", seq=seq, ref=f"r__{seq}", base_ref="r") for seq in range(1, tasks + 1)]
    waiting = [entry("w1", one.id, def_name="work") for one in made]
    await accepted(store, creation("w1", tasks_new=made, queue_put=waiting))
    late = [entry("w1", f"late{n}", due_ms=9_999, priority=5, def_name="work") for n in range(tasks)]
    other = entry("w1", "held", queue="other", def_name="work", lease=Lease(held=True, worker_id="w"))
    await accepted(store, step("w1", 1, queue_put=[*late, other]))
    counter = StepCounter()
    store.database.reader().set_progress_handler(counter, 1)
    await store.database.write(lambda connection: connection.set_progress_handler(counter, 1))
    new, old = task("w1", "new", seq=tasks + 1), made[tasks // 2]
    usual = step(
        "w1",
        2,
        tasks_new=[new],
        tasks_changed=[ended(old)],
        queue_put=[entry("w1", new.id)],
        queue_removed=[old.id],
        timers_set=[Timer(workflow_id="w1", key="a", kind="wait", due_ms=1)],
        history=[event("w1", "e")],
    )
    uses = {
        "load": store.load("w1"),
        "tasks_by_id": store.tasks_by_id([old.id]),
        "latest": store.latest("w1", ["r", "never"]),
        "by_ref": store.by_ref("w1", ["r__1", old.ref, "never"]),
        "page": store.tasks("w1", after_seq=tasks // 2, limit=3),
        "entries": store.entries([old.id]),
        "next due": store.next_due_ms("work"),
        "next due under a limit": store.next_due_ms("work", 99, LIMITS),
        "next due over a limit": store.next_due_ms("work", 99, FULL),
        "claim over a limit": store.write(
            [Claim(queue="work", count=2, worker_id="me", now_ms=99, limits=FULL)]
        ),
        "claim under a limit": store.write(
            [Claim(queue="work", count=2, worker_id="me", now_ms=99, limits=LIMITS)]
        ),
        "deadlines": store.due_deadlines(99, 9),
        "timers": store.due_timers(99, 9),
        "instant": store.next_instant_ms(),
        "step": store.write([usual]),
        "claim": store.write([Claim(queue="work", count=2, worker_id="me", now_ms=99)]),
        "extend": store.write([ExtendLease(task_id="t1", now_ms=99)]),
    }
    steps = {}
    for name, use in uses.items():
        counter.steps = 0
        await use
        steps[name] = counter.steps
    return steps


async def test_no_cost_grows_with_the_workflow(blank_database: Path, tmp_path: Path) -> None:
    """A step, a claim and each hot read do as much in a workflow of 600 tasks as in one of 30."""
    counts = []
    for tasks in (30, 600):
        path = tmp_path / f"{tasks}.db"
        shutil.copy(blank_database, path)
        store = SqliteExecutionStore(path, "OFF")
        try:
            counts.append(await steps_of_each_use(store, tasks))
        finally:
            await store.close()
    few, many = counts
    grown = {name: (few[name], many[name]) for name in few if many[name] > 1.2 * few[name] + 10}
    assert min(few.values()) > 0
    assert grown == {}
