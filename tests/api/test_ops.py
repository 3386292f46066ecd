"""Health, readiness, metrics, request ids, and errors at the seam to the product's routes."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

pytestmark = pytest.mark.server


def test_health_in_upstream_words(api: Any) -> None:
    """Conductor's clients read this exact object."""
    expected = {"healthResults": [], "suppressedHealthResults": [], "healthy": True}

    assert api.call("GET", "/health").json() == expected
    assert api.get("/health").json() == expected


def test_not_ready_without_storage(api: Any) -> None:
    """A server whose storage cannot be written says so, and which check failed."""
    api.server.storage_fails = True
    try:
        answer = api.call("GET", "/readyz")
    finally:
        api.server.storage_fails = False

    assert answer.status_code == 503
    assert answer.json() == {"status": "unready", "checks": {"store": "ok", "storage": "failed"}}
    assert api.call("GET", "/readyz").json()["status"] == "ready"


def test_metrics_count_the_work(api: Any) -> None:
    """Starts, dispatched tasks, updates and requests are counted, and queues are shown."""
    names = (
        "showrunner_workflows_started_total",
        "showrunner_tasks_dispatched_total",
        "showrunner_dispatch_seconds_count",
        'showrunner_task_updates_total{result="ended"}',
        'showrunner_http_requests_total{group="tasks",status="2xx"}',
        'showrunner_http_requests_total{group="poll",status="2xx"}',
    )
    before = [api.metric(name) for name in names]
    api.start(api.define(api.simple("a"), api.simple("b")))
    api.report(api.poll("a"))
    after = [api.metric(name) for name in names]

    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1, 1, 1, 1]
    assert api.metric(f'showrunner_queue_tasks{{queue="{api.name("b")}",state="waiting"}}') == 1


def test_metrics_count_conflicts(api: Any) -> None:
    """One server alone meets none; the numbers are there to be watched."""
    api.start(api.define(api.simple("a")))
    api.report(api.poll("a"))

    assert api.metric("showrunner_step_conflicts_total") == 0
    assert api.metric("showrunner_step_conflicts_in_a_row_max") == 0


@pytest.mark.parametrize("path", ["/api/tasks/poll/batch/x?timeout=0", "/healthz", "/api/nothing"])
def test_request_id_is_echoed(api: Any, path: str) -> None:
    """The caller's request id comes back, on hot, plain and failing routes."""
    assert api.call("GET", path, headers={"X-Request-Id": "r-1"}).headers["x-request-id"] == "r-1"
    assert "x-request-id" not in api.call("GET", path).headers


def test_unfit_request_id_is_not_echoed(api: Any) -> None:
    """An overlong request id is not carried any further."""
    assert "x-request-id" not in api.call("GET", "/healthz", headers={"X-Request-Id": "x" * 200}).headers


def test_product_errors_go_to_the_product(api: Any) -> None:
    """Below the product's prefix its own handler answers what it knows."""
    answer = api.call("GET", "/api/v1/teapot?cups=2")

    assert (answer.status_code, answer.text) == (418, "product: TeapotError")


def test_unexpected_error_is_logged_once_and_shows_nothing(api: Any) -> None:
    """A bug answers 500 with an object that names no more than its kind; the log has it once, with the id."""
    with capture_logs() as logs:
        answer = api.call("GET", "/api/v1/broken", headers={"X-Request-Id": "r-2"})

    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.json()["message"]
    assert "never shown" not in answer.text
    assert "Traceback" not in answer.text
    [entry] = [entry for entry in logs if entry["event"] == "request_failed"]
    assert (entry["path"], entry["request_id"]) == ("/api/v1/broken", "r-2")
    assert "never shown" in entry["traceback"]
