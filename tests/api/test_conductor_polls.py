"""Long polls: they wake at once, and a client that goes away takes nothing with it."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytestmark = pytest.mark.server

WAITING = "showrunner_polls_waiting"
GONE = 'showrunner_polls_total{result="gone"}'


def test_long_poll_wakes_at_once(api: Any) -> None:
    """A poll that waits gets a task as soon as it is scheduled, long before its own timeout."""
    name = api.define(api.simple("a"))
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(
            api.get,
            f"/tasks/poll/batch/{api.name('a')}",
            params={"timeout": 5000, "count": 3, "workerId": "w7"},
        )
        api.until(lambda: api.metric(WAITING) >= 1)
        workflow_id = api.start(name)
        began = time.monotonic()
        tasks = poll.result(timeout=10).json()
        waited_s = time.monotonic() - began

    assert [(t["workflowInstanceId"], t["workerId"]) for t in tasks] == [(workflow_id, "w7")]
    assert waited_s < 1.0


def test_disconnect_during_a_poll_loses_nothing(api: Any) -> None:
    """A client that hangs up while it waits is not handed the next task; another one gets it first."""
    name = api.define(api.simple("a"))
    gone_before = api.metric(GONE)
    with socket.create_connection(api.server.address) as quitter:
        path = f"/api/tasks/poll/batch/{api.name('a')}?timeout=5000&workerid=quitter"
        quitter.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        api.until(lambda: api.metric(WAITING) >= 1)
    api.until(lambda: api.metric(GONE) > gone_before)

    api.start(name)
    task = api.poll("a")

    assert task is not None
    assert (task["workerId"], task["pollCount"]) == ("w1", 1)
    assert api.metric(WAITING) == 0


def test_update_v2_hands_over_the_next_task(api: Any) -> None:
    """update-v2 answers the next task of the same type, leased; a lease extension or progress answers 204."""
    name = api.define(api.simple("a"))
    first, second = api.start(name), api.start(name)
    task = api.poll("a")
    ids = {"workflowInstanceId": first, "taskId": task["taskId"], "workerId": "w1"}

    lease = api.post("/tasks/update-v2", ids | {"status": "IN_PROGRESS", "extendLease": True})
    following = api.post("/tasks/update-v2", ids | {"status": "COMPLETED"})

    assert lease.status_code == 204
    assert following.status_code == 200
    assert (following.json()["workflowInstanceId"], following.json()["status"]) == (second, "IN_PROGRESS")


def test_poll_data_names_the_worker(api: Any) -> None:
    """Every poll is noted, an empty one too, per domain."""
    api.get(f"/tasks/poll/{api.name('a')}", params={"workerid": "one"})
    api.get(f"/tasks/poll/batch/{api.name('a')}", params={"workerId": "two", "domain": "east", "timeout": 0})

    def noted() -> list[tuple[Any, ...]]:
        found = api.get("/tasks/queue/polldata", params={"taskType": api.name("a")}).json()
        return sorted((p.get("domain", ""), p["workerId"], p["queueName"]) for p in found)

    api.until(lambda: len(noted()) == 2)
    assert noted() == [("", "one", api.name("a")), ("east", "two", api.name("a"))]


def test_logs_come_back_in_order(api: Any) -> None:
    """Log lines are kept as sent, quotes included, and come back in order."""
    api.start(api.define(api.simple("a")))
    task_id = api.poll("a")["taskId"]
    for line in ("first", '"quoted"', "zweite Zeile ü"):
        assert api.call("POST", f"/api/tasks/{task_id}/log", content=line.encode()).status_code == 200

    lines = api.get(f"/tasks/{task_id}/log").json()

    assert [(entry["log"], entry["taskId"]) for entry in lines] == [
        ("first", task_id),
        ('"quoted"', task_id),
        ("zweite Zeile ü", task_id),
    ]


def test_drain_ends_waiting_polls(own_api: Any) -> None:
    """A server that begins to stop answers its waiting polls with nothing, and later ones at once."""
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(own_api.get, "/tasks/poll/batch/a", params={"timeout": 5000})
        own_api.until(lambda: own_api.metric(WAITING) >= 1)
        began = time.monotonic()
        own_api.server.drain()
        drained = poll.result(timeout=10)
        later = own_api.get("/tasks/poll/batch/a", params={"timeout": 5000})
        took_s = time.monotonic() - began

    assert [(drained.status_code, drained.json()), (later.status_code, later.json())] == [(200, [])] * 2
    assert took_s < 2.0
