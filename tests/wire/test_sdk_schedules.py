"""The official Python SDK's clients of schedules and event handlers against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.event.event_client import EventClient
from conductor.client.http.api.event_resource_api import EventResourceApi
from conductor.client.http.api_client import ApiClient
from conductor.client.http.models import StartWorkflowRequest
from conductor.client.http.models.event_handler import EventHandler
from conductor.client.http.models.save_schedule_request import SaveScheduleRequest
from conductor.client.http.rest import ApiException
from conductor.client.orkes.models.metadata_tag import MetadataTag
from conductor.client.orkes_clients import OrkesClients

from tests.cli.conftest import Serving
from tests.wire.conftest import Wire, eventually

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="session")
def configuration(server: Serving) -> Iterator[Configuration]:
    """Its connections are ours to close."""
    made = Configuration(base_url=server.url)
    with httpx.Client() as connection:
        made.http_connection = connection
        yield made


@pytest.fixture
def scheduler(configuration: Configuration, wire: Wire) -> Iterator[Any]:
    """The SDK's scheduler client; what the test saved is deleted again."""
    client = OrkesClients(configuration).get_scheduler_client()
    yield client
    for schedule in wire.get("/scheduler/schedules"):
        client.delete_schedule(schedule["name"])


def noop(wire: Wire, name: str = "w", **members: Any) -> str:
    """Register a workflow that ends at once; gives its name."""
    task = {"name": "x", "taskReferenceName": "x", "type": "NOOP"} | members
    wire.post("/metadata/workflow", {"name": wire.name(name), "version": 1, "tasks": [task]})
    return wire.name(name)


def request(wire: Wire, cron: str = "* * * * * *", **members: Any) -> Any:
    start = StartWorkflowRequest(name=noop(wire), version=1, input={"k": 1}, correlation_id="tick")
    return SaveScheduleRequest(
        name=wire.name("s"), cron_expression=cron, start_workflow_request=start, **members
    )


def test_a_schedule_runs_and_is_recorded(scheduler: Any, wire: Wire) -> None:
    """Saved, fired, found among the executions, deleted."""
    scheduler.save_schedule(request(wire))
    workflow = wire.name("w")

    eventually(lambda: bool(wire.get(f"/workflow/{workflow}/correlated/tick", includeClosed="true")), "a run")

    # The record is written a moment after the start.
    query = f"workflowName = '{workflow}'"
    eventually(lambda: scheduler.search_schedule_executions(query=query).total_hits > 0, "a record")
    [*_, first] = scheduler.search_schedule_executions(query=query).results
    run = wire.workflow(first.workflow_id)
    assert first.state == "EXECUTED"
    assert run["input"]["k"] == 1
    assert run["input"]["_startedByScheduler"] == wire.name("s")
    assert run["input"]["_scheduledTime"] == first.scheduled_time
    scheduler.delete_schedule(wire.name("s"))
    with pytest.raises(ApiException) as missing:
        scheduler.get_schedule(wire.name("s"))
    assert missing.value.status == 404


def test_a_schedule_is_read_paused_and_resumed(scheduler: Any, wire: Wire) -> None:
    """What the client reads is what it saved; pausing keeps the reason."""
    name = wire.name("s")
    end_ms = 4_000_000_000_000
    scheduler.save_schedule(request(wire, "0 0 12 * * MON", paused=False, schedule_end_time=end_ms))

    read = scheduler.get_schedule(name)
    assert (read.cron_expression, read.paused) == ("0 0 12 * * MON", False)
    assert read.start_workflow_request.name == wire.name("w")
    assert read.schedule_end_time == end_ms
    assert [one.name for one in scheduler.get_all_schedules(wire.name("w"))] == [name]
    assert scheduler.get_all_schedules("no such workflow") == []
    scheduler.pause_schedule(name, "lunch")
    paused = wire.get(f"/scheduler/schedules/{name}")
    assert (paused["paused"], paused["pausedReason"]) == (True, "lunch")
    scheduler.resume_schedule(name)
    assert not scheduler.get_schedule(name).paused
    found = wire.get("/scheduler/schedules/search", scheduleName=name, paused="false")
    assert (found["totalHits"], found["results"][0]["name"]) == (1, name)


def test_next_times(scheduler: Any) -> None:
    """The client asks for times of a cron within bounds."""
    hour_ms = 3_600_000
    start_ms = 4_000_000_000_000 // hour_ms * hour_ms

    times = scheduler.get_next_few_schedule_execution_times(
        "0 0 * * * *", schedule_start_time=start_ms, schedule_end_time=start_ms + 2 * hour_ms, limit=10
    )

    assert times == [start_ms, start_ms + hour_ms, start_ms + 2 * hour_ms]
    with pytest.raises(ApiException) as refused:
        scheduler.get_next_few_schedule_execution_times("whenever")
    assert refused.value.status == 400


def test_tags(scheduler: Any, wire: Wire) -> None:
    """Added, read and taken away."""
    scheduler.save_schedule(request(wire, "@yearly"))
    name = wire.name("s")
    scheduler.set_scheduler_tags([MetadataTag("team", "a"), MetadataTag("tier", "1")], name)
    scheduler.set_scheduler_tags([MetadataTag("team", "b")], name)
    scheduler.delete_scheduler_tags([MetadataTag("tier", "1")], name)

    assert [(tag.key, tag.value) for tag in scheduler.get_scheduler_tags(name)] == [("team", "b")]


def test_all_at_once(scheduler: Any, wire: Wire) -> None:
    """The switches for all schedules, and the bulk routes."""
    scheduler.save_schedule(request(wire, "@yearly"))
    scheduler.pause_all_schedules()
    scheduler.resume_all_schedules()
    scheduler.requeue_all_execution_records()

    answer = wire.http.put("/api/scheduler/bulk/pause", json=[wire.name("s"), "nope"]).json()

    assert answer == {
        "bulkErrorResults": {"nope": "Schedule 'nope' not found"},
        "bulkSuccessfulResults": [wire.name("s")],
    }
    assert wire.get(f"/scheduler/schedules/{wire.name('s')}")["paused"]
    wire.http.put("/api/scheduler/bulk/resume", json=[wire.name("s")])
    assert not wire.get(f"/scheduler/schedules/{wire.name('s')}")["paused"]


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"cronExpression": "61 * * * * *"}, "second '61'"),
        ({"cronExpression": "* * * * * *", "zoneId": "Mars"}, "zoneId"),
        ({"cronExpression": "* * * * * *", "startWorkflowRequest": None}, "startWorkflowRequest"),
    ],
)
def test_a_wrong_schedule_is_refused(wire: Wire, members: dict[str, Any], named: str) -> None:
    """With 400 and a sentence that names the member."""
    body = {"name": wire.name("s"), "startWorkflowRequest": {"name": "w"}} | members
    answer = wire.http.post("/api/scheduler/schedules", json=body)

    assert answer.status_code == 400
    assert named in answer.json()["message"]


def test_event_handlers(configuration: Configuration, wire: Wire) -> None:
    """The client registers, reads, replaces and deletes a handler, and an EVENT task triggers it."""
    client = EventResourceApi(ApiClient(configuration))
    source, follower = noop(wire, "source", type="EVENT", sink="conductor:made"), noop(wire, "follower")
    event, name = f"conductor:{source}:made", wire.name("h")
    action = {
        "action": "start_workflow",
        "start_workflow": {"name": follower, "version": 1, "correlationId": "${workflowInstanceId}"},
    }
    handler = EventHandler(name=name, event=event, active=False, actions=[action])
    client.add_event_handler(handler)
    handler.active = True
    client.update_event_handler(handler)

    workflow_id = wire.start(source, {})
    correlated = f"/workflow/{follower}/correlated/{workflow_id}"
    eventually(lambda: bool(wire.get(correlated, includeClosed="true")), "the follower")

    [read] = client.get_event_handlers_for_event(event)
    assert (read.name, read.active) == (name, True)
    assert name in [one.name for one in client.get_event_handlers()]
    eventually(lambda: bool(wire.get(f"/event/handler/{name}/executions")), "the record")
    [record] = wire.get(f"/event/handler/{name}/executions")
    assert (record["status"], record["action"]) == ("COMPLETED", "start_workflow")
    client.remove_event_handler_status(name)
    with pytest.raises(ApiException) as missing:
        client.remove_event_handler_status(name)
    assert missing.value.status == 404


def test_queues_are_configured_by_the_server(configuration: Configuration) -> None:
    """The event client's queue configuration is not offered, and says where it is done."""
    with pytest.raises(ApiException) as missing:
        EventClient(ApiClient(configuration)).get_kafka_queue_configuration("orders")

    assert missing.value.status == 404
    assert "settings" in str(missing.value.body)


def test_a_queue_message_completes_a_wait(wire: Wire) -> None:
    """Through the routes of the default event queues."""
    workflow_id = wire.start(noop(wire, type="WAIT"), {})

    wire.post(f"/queue/update/{workflow_id}/x/COMPLETED", {"said": "go"})

    ended = wire.ended(workflow_id)
    assert (ended["status"], ended["tasks"][0]["outputData"]) == ("COMPLETED", {"said": "go"})
    assert wire.get("/queue/size") == {"COMPLETED": 0, "FAILED": 0}
    assert sorted(wire.get("/queue/")) == ["COMPLETED", "FAILED"]
    refused = wire.http.post(f"/api/queue/update/{workflow_id}/x/SCHEDULED", json={})
    assert (refused.status_code, refused.json()["message"]) == (
        400,
        "There is no queue for handling SCHEDULED status",
    )
