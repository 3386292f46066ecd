"""Whether a million finished workflows slow anybody down, and whether deleting them does.

    python -m bench.million [--workflows 1000000] [--samples 400]

One PostgreSQL, two databases, a server on each: one has the finished workflows of a year, the other only
those of the year's last day, so that a search for recent ones finds the same rows in both. Starts, polls,
reports and searches are measured on both in turn, then starts, polls and reports while retention deletes and
while a client removes in bulk. About five minutes; nothing else should run meanwhile.
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
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import httpx
import msgspec

from bench.million_rows import DAY_MS, NAMES, RARE_NAME, load
from bench.run import RESULTS, machine
from engine.testing.postgres_server import PostgresServer, postgres_running

ROOT = Path(__file__).parents[1]
DAYS = 365
SAMPLES = 400
ROUNDS = 8
WARM_UP_SAMPLES = 60
RETENTION_DAYS = DAYS // 2
RETENTION_ALONE_S = 10.0
BULK_IDS = 1000
REQUEST_S_MAX = 60
STEPS = ("start", "poll", "report")
WORKFLOW = {
    "name": "probe",
    "version": 1,
    "ownerEmail": "bench@example.com",
    "tasks": [{"name": "probe_task", "taskReferenceName": "t", "type": "SIMPLE"}],
}
WORKFLOWS, TASKS = "/api/workflow/search", "/api/tasks/search"
Asked = tuple[str, dict[str, Any]]
Took = dict[str, list[float]]


def searches(last: int, now_ms: int) -> dict[str, Asked]:
    """What user interfaces and clients ask; `last` is the number of the last workflow loaded."""
    yesterday, name = now_ms - DAY_MS, f"bulk_{(last - 50) % NAMES}"
    newest = {"size": 20, "sort": "startTime:DESC"}
    return {
        "newest": (WORKFLOWS, {"size": 20}),
        "name and status": (WORKFLOWS, newest | {"query": f"workflowType={name} AND status=COMPLETED"}),
        "correlation id": (WORKFLOWS, {"size": 20, "query": f"correlationId=order-{last - 77}"}),
        "failed, last day": (WORKFLOWS, newest | {"query": f"status=FAILED AND startTime>{yesterday}"}),
        "free text, rare name": (
            WORKFLOWS,
            {"size": 20, "query": f"workflowType={RARE_NAME}", "freeText": f"out_{last - 3}"},
        ),
        "free text, name, last day": (
            WORKFLOWS,
            {"size": 20, "query": f"workflowType={name} AND startTime>{yesterday}", "freeText": "nowhere"},
        ),
        "free text, name": (WORKFLOWS, {"size": 20, "query": f"workflowType={name}", "freeText": "mp4"}),
        "page 20 of newest": (WORKFLOWS, {"size": 20, "start": 400}),
        "tasks of a type": (TASKS, {"size": 20, "query": "taskType=bulk_task"}),
    }


@contextlib.contextmanager
def serving(database: str, folder: Path, **settings: str) -> Iterator[str]:
    """A server on the database; its URL."""
    argv = [sys.executable, "-m", "api.cli", "serve", "--json", "--port", "0", "--data", str(folder)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWRUNNER_")}
    env = {**kept, "SHOWRUNNER_DATABASE": database, **settings}
    with (
        (folder / "server.log").open("ab") as log,
        subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        try:
            line = server.stdout.readline() if server.stdout is not None else b""
            if not line:
                raise RuntimeError((folder / "server.log").read_text(encoding="utf-8"))
            yield str(json.loads(line)["url"])
        finally:
            server.send_signal(signal.SIGTERM)


class Timed(msgspec.Struct, kw_only=True):
    """Milliseconds of one kind of request."""

    p50_ms: float
    p99_ms: float
    samples: int


def summary(seconds: list[float]) -> Timed:
    ordered = sorted(seconds)
    return Timed(
        p50_ms=round(1000 * ordered[len(ordered) // 2], 2),
        p99_ms=round(1000 * ordered[int(len(ordered) * 0.99)], 2),
        samples=len(ordered),
    )


def ratios(of: Took, over: Took, kinds: list[str] | tuple[str, ...]) -> dict[str, dict[str, float]]:
    """How many times as long, kind by kind."""
    found = {}
    for kind in kinds:
        one, base = summary(of[kind]), summary(over[kind])
        found[kind] = {"p50": round(one.p50_ms / base.p50_ms, 2), "p99": round(one.p99_ms / base.p99_ms, 2)}
    return found


# -------------------------------------------------------------------------------------------- requests
@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=REQUEST_S_MAX) as made:
        yield made


async def timed(made: httpx.AsyncClient, method: str, path: str, **how: Any) -> tuple[float, httpx.Response]:
    began = time.perf_counter()
    answer = await made.request(method, path, **how)
    took = time.perf_counter() - began
    if answer.is_error:
        raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
    return took, answer


async def step(url: str, samples: int, took: Took) -> None:
    """Start, poll and report, one after another."""
    async with client(url) as made:
        (await made.put("/api/metadata/workflow", json=[WORKFLOW])).raise_for_status()
        for _ in range(samples):
            seconds, _ = await timed(made, "POST", "/api/workflow", json={"name": "probe"})
            took["start"].append(seconds)
            seconds, answer = await timed(made, "GET", "/api/tasks/poll/probe_task")
            took["poll"].append(seconds)
            task = answer.json()
            result = {key: task[key] for key in ("workflowInstanceId", "taskId")} | {"status": "COMPLETED"}
            seconds, _ = await timed(made, "POST", "/api/tasks", json=result)
            took["report"].append(seconds)


async def search(url: str, samples: int, took: Took, asked: dict[str, Asked]) -> dict[str, int]:
    """Each search in turn; gives the totals they answered."""
    totals = {}
    async with client(url) as made:
        for _ in range(samples):
            for kind, (path, params) in asked.items():
                seconds, answer = await timed(made, "GET", path, params=params)
                took[kind].append(seconds)
                totals[kind] = answer.json()["totalHits"]
    return totals


# ---------------------------------------------------------------------------------------- comparisons
async def compare(day: str, year: str, asked: dict[str, Asked], samples: int) -> dict[str, Any]:
    """The same requests to both servers, in turn."""
    took: dict[str, Took] = {day: defaultdict(list), year: defaultdict(list)}
    totals: dict[str, dict[str, int]] = {}
    for url in (day, year):
        await step(url, WARM_UP_SAMPLES, defaultdict(list))
        await search(url, WARM_UP_SAMPLES // 4, defaultdict(list), asked)
    for turn in range(ROUNDS):
        for url in (day, year) if turn % 2 else (year, day):
            await step(url, samples // ROUNDS, took[url])
            totals[url] = await search(url, samples // ROUNDS, took[url], asked)
    kinds = list(took[day])
    return {
        "last_day_alone": {kind: summary(took[day][kind]) for kind in kinds},
        "all": {kind: summary(took[year][kind]) for kind in kinds},
        "all_by_last_day": ratios(took[year], took[day], kinds),
        "totals": {kind: [totals[day][kind], totals[year][kind]] for kind in asked},
    }


async def while_going(url: str, samples: int, work: Callable[[], Awaitable[None]]) -> Took:
    """Starts, polls and reports while something else is done over and over."""
    took: Took = defaultdict(list)
    await step(url, WARM_UP_SAMPLES, defaultdict(list))
    others = asyncio.ensure_future(work())
    try:
        await step(url, samples, took)
    finally:
        others.cancel()
        outcome = await asyncio.gather(others, return_exceptions=True)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return took


async def nothing() -> None:
    return


async def removing(url: str, database: str) -> None:
    """Remove the oldest in bulk, call after call."""
    connection = await asyncpg.connect(database)
    try:
        async with client(url) as made:
            while True:
                rows = await connection.fetch(
                    "SELECT workflow_id FROM workflow WHERE status = 'COMPLETED' ORDER BY create_ms LIMIT $1",
                    BULK_IDS,
                )
                await timed(
                    made,
                    "DELETE",
                    "/api/workflow/bulk/remove",
                    content=json.dumps([*map(str, (row[0] for row in rows))]),
                )
    finally:
        await connection.close()


async def count(database: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM workflow WHERE name <> 'probe'"))
    finally:
        await connection.close()


def deletions(database: str, folder: Path, samples: int) -> dict[str, Any]:
    """What others notice of retention and of bulk removals, against the same server without either."""

    def measured(url: str, work: Callable[[], Awaitable[None]], how_many: int) -> tuple[Took, float]:
        before, began = asyncio.run(count(database)), time.monotonic()
        took = asyncio.run(while_going(url, how_many, work))
        seconds = time.monotonic() - began
        return took, (before - asyncio.run(count(database))) / seconds

    with serving(database, folder) as url:
        without, _ = measured(url, nothing, samples)
        bulk, bulk_a_second = measured(url, lambda: removing(url, database), samples)
    with serving(database, folder, SHOWRUNNER_RETENTION_HOURS=str(24 * RETENTION_DAYS)) as url:
        retained, a_second = measured(url, nothing, samples)
        before = asyncio.run(count(database))
        time.sleep(RETENTION_ALONE_S)
        alone = (before - asyncio.run(count(database))) / RETENTION_ALONE_S
    return {
        "without": {kind: summary(without[kind]) for kind in STEPS},
        "while_retention_deletes": {kind: summary(retained[kind]) for kind in STEPS},
        "retention_by_without": ratios(retained, without, STEPS),
        "retention_deletes_a_second": {"beside_others": round(a_second), "alone": round(alone)},
        "while_a_client_removes_in_bulk": {kind: summary(bulk[kind]) for kind in STEPS},
        "bulk_by_without": ratios(bulk, without, STEPS),
        "bulk_removes_a_second": round(bulk_a_second),
    }


def sitting(postgres: PostgresServer, folder: Path, total: int, samples: int) -> dict[str, Any]:
    """All of it, on a running PostgreSQL."""
    now_ms, every_ms = time.time_ns() // 1_000_000 - 10_000, DAYS * DAY_MS // total
    definition = msgspec.json.encode(WORKFLOW)
    databases, urls, load_s = {}, [], {}
    with contextlib.ExitStack() as servers:
        for name, first in (("day", total - total // DAYS + 1), ("year", 1)):
            databases[name] = postgres.create(name)
            (folder / name).mkdir()
            urls.append(servers.enter_context(serving(databases[name], folder / name)))
            load_s[name] = asyncio.run(
                load(databases[name], definition, first=first, last=total, now_ms=now_ms, every_ms=every_ms)
            )
            say(f"{name} loaded in {load_s[name]:.0f} s")
        comparison = asyncio.run(compare(urls[0], urls[1], searches(total, now_ms), samples))
    report = {
        "machine": machine(),
        "store": "PostgreSQL with default settings (synchronous_commit=on)",
        "workflows": total,
        "workflows_of_the_last_day": total // DAYS,
        "load_s": round(load_s["year"], 1),
        **comparison,
    }
    tell(report)
    deleted = deletions(databases["year"], folder / "year", samples)
    tell_deletions(deleted)
    return {**report, "deletions": deleted}


# ------------------------------------------------------------------------------------------------ telling
def say(line: str) -> None:
    print(line, flush=True)


def tell(report: dict[str, Any]) -> None:
    say(f"{'p50 / p99, ms':28} {'last day':>15} {'all':>15}   ratio")
    for kind, ratio in report["all_by_last_day"].items():
        few, many = report["last_day_alone"][kind], report["all"][kind]
        totals = "" if kind in STEPS else f"  of {report['totals'][kind][0]}, {report['totals'][kind][1]}"
        say(f"{kind:28} {told(few)} {told(many)}   {ratio['p50']:.2f} / {ratio['p99']:.2f}{totals}")


def tell_deletions(deleted: dict[str, Any]) -> None:
    say(f"{'p50 / p99, ms':10} {'without':>15} {'retention':>15} {'bulk':>15}")
    for kind in STEPS:
        columns = ("without", "while_retention_deletes", "while_a_client_removes_in_bulk")
        say(f"{kind:10} " + " ".join(told(deleted[column][kind]) for column in columns))
    say(
        f"retention deletes {deleted['retention_deletes_a_second']} a second, "
        f"bulk removal {deleted['bulk_removes_a_second']}"
    )


def told(one: Timed) -> str:
    return f"{one.p50_ms:6.2f} / {one.p99_ms:6.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workflows", type=int, default=1_000_000, help="how many finished ones")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each kind of request and store")
    parser.add_argument("--out", type=Path, help="result file; default bench/results/DATE-million.json")
    options = parser.parse_args()
    began = time.monotonic()
    with (
        postgres_running(durable=True, max_wal_size="4GB") as postgres,
        tempfile.TemporaryDirectory() as folder,
    ):
        report = sitting(postgres, Path(folder), options.workflows, options.samples)
    out = options.out or RESULTS / f"{time.strftime('%Y-%m-%d')}-million.json"
    out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    say(f"written: {out} after {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
