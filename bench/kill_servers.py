"""Kills one of three server processes again and again under load, and counts what became of every workflow.

    python bench/kill_servers.py [--seconds 120] [--every 5]

It starts a PostgreSQL and `showrunner serve --processes 3` of its own, drives workflows of four tasks through
them, kills (SIGKILL) a server process every few seconds, lets the rest finish and then reads all of it back.
The exit code is 0 when nothing was lost and nothing was done twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec

from engine.testing.postgres_server import postgres_running

ROOT = Path(__file__).parents[1]
PROCESSES = 3
IN_FLIGHT = 20
WORKERS = 8
FINISH_S_MAX = 60
TASKS = ("a", "b", "c", "d")


class Outcome(msgspec.Struct, kw_only=True):
    """What was counted.

    Attributes:
        started: workflows that a client asked for, each under a key of its own.
        completed: of them, those that ended COMPLETED; `lost` are the others, by key.
        doubled: keys under which more than one workflow exists.
        executed: tasks that a worker got and did.
        executed_twice: (task id, attempt) that were done more than once.
        scheduled_twice: (workflow, reference, attempt) that exist more than once, and references that
            completed more than once.
        kills: server processes killed.
    """

    started: int
    completed: int
    lost: list[str]
    doubled: list[str]
    executed: int
    executed_twice: list[str]
    scheduled_twice: list[str]
    kills: int

    @property
    def good(self) -> bool:
        return (
            self.kills > 0
            and self.started > 0
            and not (self.lost or self.doubled or self.executed_twice or self.scheduled_twice)
        )


def task(name: str) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE"}


WORKFLOW = {
    "name": "killed",
    "version": 1,
    "ownerEmail": "bench@example.com",
    "tasks": [
        task("a"),
        {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [[task("b")], [task("c")]]},
        {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["b", "c"]},
        task("d"),
    ],
}
# What was leased to a poll whose answer died with its server comes back after the response timeout.
TASK_DEFS = [
    {
        "name": name,
        "retryCount": 50,
        "retryDelaySeconds": 0,
        "timeoutSeconds": 0,
        "responseTimeoutSeconds": 1,
        "ownerEmail": "bench@example.com",
    }
    for name in TASKS
]


class Load:
    """Clients and workers of one run."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=10, limits=httpx.Limits(max_connections=64))
        self.executed: Counter[str] = Counter()
        self.open: set[str] = set()
        self.ids: dict[str, str] = {}
        self._stop_starting = False
        self._stop = False
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Until a server answers: a killed one's connections break, and the request is sent again."""
        while True:
            try:
                answer = await self._client.request(method, path, **how)
            except httpx.TransportError:
                await asyncio.sleep(0.02)
                continue
            if answer.status_code not in {500, 502, 503, 504}:
                return answer
            await asyncio.sleep(0.02)

    async def prepare(self) -> None:
        (await self.request("POST", "/api/metadata/taskdefs", json=TASK_DEFS)).raise_for_status()
        (await self.request("POST", "/api/metadata/workflow", json=WORKFLOW)).raise_for_status()

    async def start_many(self) -> None:
        number = 0
        while not self._stop_starting:
            await self._room.acquire()
            number += 1
            key = f"key-{number}"
            body = {"name": "killed", "correlationId": key, "idempotencyKey": key}
            body["idempotencyStrategy"] = "RETURN_EXISTING"
            answer = await self.request("POST", "/api/workflow", json=body)
            answer.raise_for_status()
            self.ids[key] = answer.text
            self.open.add(answer.text)

    async def work(self, name: str) -> None:
        """Poll, do, report; doing is counted by task id and attempt."""
        while not self._stop:
            query = {"workerid": f"worker-{name}", "timeout": 500, "count": 5}
            answer = await self.request("GET", f"/api/tasks/poll/batch/{name}", params=query)
            for polled in answer.json() if answer.content else []:
                self.executed[f"{polled['taskId']}/{polled['retryCount']}"] += 1
                result = {key: polled[key] for key in ("workflowInstanceId", "taskId")}
                await self.request("POST", "/api/tasks", json={**result, "status": "COMPLETED"})

    async def watch(self) -> None:
        """Make room for another workflow when one has ended."""
        while not self._stop:
            for workflow_id in list(self.open):
                answer = await self.request("GET", f"/api/workflow/{workflow_id}/status")
                if answer.json().get("status") not in {"RUNNING", "PAUSED"}:
                    self.open.discard(workflow_id)
                    self._room.release()
            await asyncio.sleep(0.05)

    def stop_starting(self) -> None:
        self._stop_starting = True
        self._room.release()

    async def finish(self) -> None:
        """Wait until every workflow has ended, then stop."""
        deadline = time.monotonic() + FINISH_S_MAX
        while self.open and time.monotonic() < deadline:  # noqa: ASYNC110 - the watch above empties it
            await asyncio.sleep(0.05)
        self._stop = True

    async def counted(self, kills: int) -> Outcome:
        """Read everything back."""
        lost, doubled, twice = [], [], []
        for key, workflow_id in self.ids.items():
            found = (await self.request("GET", f"/api/workflow/killed/correlated/{key}", params=ALL)).json()
            if len(found) != 1:
                doubled.append(key)
            run = (await self.request("GET", f"/api/workflow/{workflow_id}")).json()
            if run.get("status") != "COMPLETED":
                lost.append(key)
            attempts = Counter((one["referenceTaskName"], one["retryCount"]) for one in run.get("tasks", ()))
            done = Counter(
                one["referenceTaskName"] for one in run.get("tasks", ()) if one["status"] == "COMPLETED"
            )
            twice += [f"{workflow_id} {ref} {retry}" for (ref, retry), n in attempts.items() if n > 1]
            twice += [f"{workflow_id} {ref}" for ref in TASKS if done[ref] != 1 and key not in lost]
        await self._client.aclose()
        return Outcome(
            started=len(self.ids),
            completed=len(self.ids) - len(lost),
            lost=lost,
            doubled=doubled,
            executed=self.executed.total(),
            executed_twice=[key for key, count in self.executed.items() if count > 1],
            scheduled_twice=twice,
            kills=kills,
        )


ALL = {"includeClosed": True, "includeTasks": False}


async def drive(url: str, parent: int, *, seconds: float, every_s: float) -> Outcome:
    """Load the servers at `url`, children of `parent`, and kill one every so often."""
    load = Load(url)
    await load.prepare()
    jobs = [asyncio.ensure_future(load.work(name)) for name in TASKS for _ in range(WORKERS // len(TASKS))]
    jobs += [asyncio.ensure_future(load.start_many()), asyncio.ensure_future(load.watch())]
    kills, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(every_s)
        victims = children_of(parent)
        os.kill(victims[kills % len(victims)], signal.SIGKILL)
        kills += 1
    load.stop_starting()
    await load.finish()
    await asyncio.gather(*jobs)
    return await load.counted(kills)


def children_of(parent: int) -> list[int]:
    """Ids of the server processes, at least one."""
    while True:
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
        if listed:
            return [int(pid) for pid in listed]


def run(*, seconds: float, every_s: float, database: str, data: Path) -> Outcome:
    """One run on a database.

    Args:
        seconds: how long servers are killed.
        every_s: seconds from one kill to the next.
        database: an empty one; its URL.
        data: folder of the servers.
    """
    argv = [sys.executable, "-m", "api.cli", "serve", "--json", "--port", "0", "--data", str(data)]
    argv += ["--processes", str(PROCESSES), "--database", database]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWRUNNER_")}
    with (
        (data / "server.log").open("wb") as log,
        subprocess.Popen(argv, cwd=ROOT, env=kept, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        try:
            line = server.stdout.readline() if server.stdout is not None else b""
            if not line:
                raise RuntimeError((data / "server.log").read_text(encoding="utf-8"))
            url = str(json.loads(line)["url"])
            return asyncio.run(drive(url, server.pid, seconds=seconds, every_s=every_s))
        finally:
            server.send_signal(signal.SIGTERM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=120, help="how long servers are killed")
    parser.add_argument("--every", type=float, default=5, help="seconds from one kill to the next")
    options = parser.parse_args()
    with postgres_running(durable=True) as postgres, tempfile.TemporaryDirectory() as folder:
        outcome = run(
            seconds=options.seconds,
            every_s=options.every,
            database=postgres.create("killed"),
            data=Path(folder),
        )
    sys.stdout.write(json.dumps({**msgspec.to_builtins(outcome), "good": outcome.good}, indent=2) + "\n")
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
