"""Whether a million finished workflows slow anybody down, and how fast old ones go.

    python bench/million.py [--workflows 1000000]

It starts a PostgreSQL and one server, measures start, poll and search on the empty store, loads finished
workflows of two tasks each (COPY), measures the same again, then lets retention delete for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import httpx
import msgspec

from engine.adapters.sql import codec
from engine.core.records import Header, Task, TaskHead, TaskLinks, TaskState
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.testing.postgres_server import PostgresServer, postgres_running

ROOT = Path(__file__).parents[1]
NAMES = 20
SAMPLES = 300
TASKS_EACH = 2
COPY_ROWS = 20_000
DAY_MS = 86_400_000
HASH = "0" * 64
RETENTION_S = 20.0
START_S_MAX = 60
SEARCHES: dict[str, dict[str, object]] = {
    "newest": {"size": 20},
    "by name and status": {"size": 20, "query": "workflowType=bulk_7 AND status=COMPLETED"},
    "by correlation id": {"size": 20, "query": "correlationId=order-77"},
    "failed, last day": {"size": 20, "query": "status=FAILED AND startTime>{yesterday}"},
}
WORKFLOW = {
    "name": "probe",
    "version": 1,
    "ownerEmail": "bench@example.com",
    "tasks": [{"name": "probe_task", "taskReferenceName": "t", "type": "SIMPLE"}],
}


def finished(number: int, now_ms: int, total: int) -> tuple[Header, list[Task]]:
    """The n-th finished workflow; they are spread over ninety days, the last one ended just now."""
    create_ms = now_ms - (total - number) * (90 * DAY_MS // total) - 5_000
    workflow_id = f"{create_ms:012x}-{number:012x}"
    failed = number % 50 == 0
    header = Header(
        workflow_id=workflow_id,
        name=f"bulk_{number % NAMES}",
        version=1,
        definition_hash=HASH,
        status=WorkflowStatus.FAILED if failed else WorkflowStatus.COMPLETED,
        create_ms=create_ms,
        update_ms=create_ms + 3_000,
        end_ms=create_ms + 3_000,
        correlation_id=f"order-{number}",
        reason="no space left" if failed else None,
        seq=TASKS_EACH,
    )
    tasks = [
        Task(
            head=TaskHead(
                task_type="bulk_task",
                reference_task_name=f"t{seq}",
                task_def_name="bulk_task",
                task_id=f"{workflow_id}-{seq}",
                workflow_instance_id=workflow_id,
                workflow_type=header.name,
                seq=seq,
                scheduled_time=create_ms,
            ),
            state=TaskState(status=TaskStatus.COMPLETED, start_time=create_ms, end_time=create_ms + 1_000),
            links=TaskLinks(base_ref=f"t{seq}"),
        )
        for seq in range(1, TASKS_EACH + 1)
    ]
    return header, tasks


async def load(url: str, total: int) -> float:
    """Copy finished workflows in; gives the seconds it took."""
    began = time.monotonic()
    connection = await asyncpg.connect(url)
    now_ms = time.time_ns() // 1_000_000
    frozen = msgspec.json.encode(WORKFLOW)
    await connection.execute("INSERT INTO definition (hash, body) VALUES ($1, $2)", HASH, frozen)
    for first in range(1, total + 1, COPY_ROWS):
        made = [finished(n, now_ms, total) for n in range(first, min(first + COPY_ROWS, total + 1))]
        headers = [
            (header.workflow_id, 3, *codec.header_columns(header), *codec.header_values(header))
            for header, _ in made
        ]
        columns = ["workflow_id", "row_version", "name", "version", "status", "correlation_id"]
        columns += ["parent_workflow_id", "create_ms", "priority", "update_ms", "end_ms", "reason", "header"]
        await connection.copy_records_to_table("workflow", records=headers, columns=columns)
        payloads = [(header.workflow_id, b'{"file":"in.mp4"}', b'{"file":"out.mp4"}') for header, _ in made]
        await connection.copy_records_to_table(
            "workflow_payload", records=payloads, columns=["workflow_id", "input", "output"]
        )
        tasks = [codec.new_task_row(task) for _, tasks in made for task in tasks]
        await connection.copy_records_to_table("task", records=tasks, columns=list(codec.NEW_TASK_COLUMNS))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return time.monotonic() - began


@contextlib.contextmanager
def serving(database: str, data: Path, **settings: str) -> Iterator[str]:
    """A server on the database; its URL."""
    argv = [sys.executable, "-m", "api.cli", "serve", "--json", "--port", "0", "--data", str(data)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWRUNNER_")}
    env = {**kept, "SHOWRUNNER_DATABASE": database, **settings}
    with (
        (data / "server.log").open("ab") as log,
        subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        try:
            line = server.stdout.readline() if server.stdout is not None else b""
            if not line:
                raise RuntimeError((data / "server.log").read_text(encoding="utf-8"))
            yield str(json.loads(line)["url"])
        finally:
            server.send_signal(signal.SIGTERM)


class Timed(msgspec.Struct):
    """Milliseconds of one kind of request."""

    p50_ms: float
    p99_ms: float


def summary(seconds: list[float]) -> Timed:
    ordered = sorted(seconds)
    return Timed(
        p50_ms=round(1000 * ordered[len(ordered) // 2], 2),
        p99_ms=round(1000 * ordered[int(len(ordered) * 0.99)], 2),
    )


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=START_S_MAX) as made:
        yield made


async def timed(made: httpx.AsyncClient, method: str, path: str, **how: Any) -> tuple[float, httpx.Response]:
    began = time.perf_counter()
    answer = await made.request(method, path, **how)
    took = time.perf_counter() - began
    if answer.is_error:
        raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
    return took, answer


async def measure(url: str) -> dict[str, Timed]:
    """Start, poll and report, and each search, one after another."""
    took: dict[str, list[float]] = {"start": [], "poll": [], "report": []}
    async with client(url) as made:
        (await made.put("/api/metadata/workflow", json=[WORKFLOW])).raise_for_status()
        for _ in range(SAMPLES):
            seconds, _ = await timed(made, "POST", "/api/workflow", json={"name": "probe"})
            took["start"].append(seconds)
            seconds, answer = await timed(made, "GET", "/api/tasks/poll/probe_task")
            took["poll"].append(seconds)
            task = answer.json()
            result = {key: task[key] for key in ("workflowInstanceId", "taskId")} | {"status": "COMPLETED"}
            seconds, _ = await timed(made, "POST", "/api/tasks", json=result)
            took["report"].append(seconds)
        yesterday = str(time.time_ns() // 1_000_000 - DAY_MS)
        for name, asked in SEARCHES.items():
            params = {key: str(value).replace("{yesterday}", yesterday) for key, value in asked.items()}
            took[f"search {name}"] = [
                (await timed(made, "GET", "/api/workflow/search", params=params))[0]
                for _ in range(SAMPLES // 3)
            ]
    return {name: summary(seconds) for name, seconds in took.items()}


async def retained(url: str) -> float:
    """Workflows that retention deletes a second."""
    connection = await asyncpg.connect(url)
    before = await connection.fetchval("SELECT count(*) FROM workflow")
    await asyncio.sleep(RETENTION_S)
    after = await connection.fetchval("SELECT count(*) FROM workflow")
    await connection.close()
    return float((before - after) / RETENTION_S)


def compare(postgres: PostgresServer, folder: Path, total: int) -> dict[str, Any]:
    """All of it; the empty store and the full one have a server each."""
    database = postgres.create("million")
    with serving(database, folder) as url:
        asyncio.run(measure(url))  # the first requests compile, connect and cache
        empty = asyncio.run(measure(url))
    load_s = asyncio.run(load(database, total))
    with serving(database, folder) as url:
        asyncio.run(measure(url))
        full = asyncio.run(measure(url))
    with serving(database, folder, SHOWRUNNER_RETENTION_HOURS=str(24 * 45)) as url:
        deleted_a_second = asyncio.run(retained(database))
        during = asyncio.run(measure(url))
    return {
        "workflows": total,
        "load_s": round(load_s, 1),
        "empty": empty,
        "full": full,
        "p99_full_by_empty": {
            name: round(full[name].p99_ms / max(timing.p99_ms, 0.01), 2) for name, timing in empty.items()
        },
        "retention_deletes_a_second": round(deleted_a_second),
        "while_retention_deletes": during,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workflows", type=int, default=1_000_000, help="how many finished ones")
    options = parser.parse_args()
    with postgres_running(durable=True) as postgres, tempfile.TemporaryDirectory() as folder:
        outcome = compare(postgres, Path(folder), options.workflows)
    sys.stdout.write(json.dumps(msgspec.to_builtins(outcome), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
