"""Status and content type of every route, in the states that decide them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = pytest.mark.server

JSON, TEXT, NONE = "application/json", "text/plain", ""
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Row:
    """One call: `route` as in the OpenAPI document, its parameters filled from the test's objects.

    `state` is what the workflow `{id}` is in before the call.
    """

    method: str
    route: str
    status: int
    media: str
    query: str = ""
    json: Any = None
    state: str = "running"
    raw: str | None = None
    says: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.route}{self.query} {self.state} {self.status} {self.says[:20]}"


PARAMETER = re.compile(r"\{[^}]*\}")
ELSEWHERE = ("/api/v1", "/api/scheduler", "/api/event", "/api/queue")
"""Routes whose tests are beside what they do: the product's, schedules, event handlers and queues."""

NOOP = {"name": "n", "taskReferenceName": "n", "type": "NOOP"}
EXTERNAL = "?path=x&operation=WRITE&payloadType=task_input"
ROWS = [
    # metadata
    Row("POST", "/api/metadata/workflow", 200, NONE, json={"name": "{new}", "tasks": ["{task}"]}),
    Row("POST", "/api/metadata/workflow", 409, JSON, json={"name": "{name}", "tasks": ["{task}"]}),
    Row(
        "POST",
        "/api/metadata/workflow",
        200,
        NONE,
        "?overwrite=true",
        json={"name": "{name}", "tasks": ["{task}"]},
    ),
    Row("POST", "/api/metadata/workflow", 500, JSON, raw="nonsense"),
    Row("POST", "/api/metadata/workflow/validate", 200, NONE, json={"name": "{new}", "tasks": [NOOP]}),
    Row("POST", "/api/metadata/workflow/validate", 200, JSON, json={"name": "{new}", "tasks": ["{task}"]}),
    Row("POST", "/api/metadata/workflow/validate", 400, JSON, json={"name": "{new}", "tasks": []}),
    Row("PUT", "/api/metadata/workflow", 200, JSON, json=[{"name": "{new}", "tasks": ["{task}"]}]),
    Row("PUT", "/api/metadata/workflow", 400, JSON, json=[]),
    Row("GET", "/api/metadata/workflow", 200, JSON, "?short=true&access=READ"),
    Row("GET", "/api/metadata/workflow/names-and-versions", 200, JSON),
    Row("GET", "/api/metadata/workflow/names", 200, JSON),
    Row("GET", "/api/metadata/workflow/latest-versions", 200, JSON),
    Row("GET", "/api/metadata/workflow/{name}", 200, JSON),
    Row("GET", "/api/metadata/workflow/{name}", 200, JSON, "?version="),
    Row("GET", "/api/metadata/workflow/{name}", 404, JSON, "?version=7", says="version: 7"),
    Row("GET", "/api/metadata/workflow/{name}", 500, JSON, "?version=x"),
    Row("GET", "/api/metadata/workflow/{name}/versions", 200, JSON),
    Row("DELETE", "/api/metadata/workflow/{name}/{version}", 200, NONE),
    Row("DELETE", "/api/metadata/workflow/{new}/{version}", 404, JSON, says="No such workflow definition: "),
    Row("POST", "/api/metadata/taskdefs", 200, NONE, json=[{"name": "{new}"}]),
    Row("POST", "/api/metadata/taskdefs", 400, JSON, json=[]),
    Row("PUT", "/api/metadata/taskdefs", 404, JSON, json={"name": "{new}"}, says="No such task by name "),
    Row("PUT", "/api/metadata/taskdefs", 200, NONE, json={"name": "{known}"}),
    Row("GET", "/api/metadata/taskdefs", 200, JSON),
    Row("GET", "/api/metadata/taskdefs/{known}", 200, JSON),
    Row("GET", "/api/metadata/taskdefs/{new}", 404, JSON, says="No such taskType found by name: "),
    Row("DELETE", "/api/metadata/taskdefs/{known}", 200, NONE),
    Row("DELETE", "/api/metadata/taskdefs/{new}", 404, JSON),
    # workflows
    Row("POST", "/api/workflow", 200, TEXT, json={"name": "{name}"}),
    Row("POST", "/api/workflow", 404, JSON, json={"name": "{new}"}, says="No such workflow defined. name="),
    Row("POST", "/api/workflow", 400, JSON, json={}, says="Validation failed"),
    Row("POST", "/api/workflow", 400, JSON, json={"name": "{name}", "priority": 100}),
    Row("POST", "/api/workflow", 400, JSON, json={"name": "{name}", "input": None}, says="NULL input passed"),
    Row("POST", "/api/workflow/{name}", 200, TEXT, "?version=1&correlationId=c&priority=3", json={}),
    Row("POST", "/api/workflow/{new}", 404, JSON, json={}, says="No such workflow found by name: "),
    Row("POST", "/api/workflow/{name}", 404, JSON, "?version=4", json={}, says="version: 4"),
    Row("POST", "/api/workflow/{name}", 500, JSON, "?version=x", json={}),
    Row("POST", "/api/workflow/{name}", 500, JSON, raw=""),
    Row("GET", "/api/workflow/{id}", 200, JSON, "?includeTasks=false&summarize=true"),
    Row(
        "GET",
        "/api/workflow/{id}",
        404,
        JSON,
        state="unknown",
        says=f"No such workflow found by id: {UNKNOWN}",
    ),
    Row("GET", "/api/workflow/{id}/status", 200, JSON, "?includeOutput=true&includeVariables=true"),
    Row("GET", "/api/workflow/{id}/status", 404, JSON, state="unknown"),
    Row("GET", "/api/workflow/{id}/tasks", 200, JSON, "?start=0&count=1&status=SCHEDULED&status=FAILED"),
    Row("GET", "/api/workflow/{id}/tasks", 200, JSON, "?status=NONSENSE"),
    Row("GET", "/api/workflow/{id}/tasks", 404, JSON, state="unknown"),
    Row("GET", "/api/workflow/{name}/correlated/{correlation}", 200, JSON, "?includeClosed=true"),
    Row("POST", "/api/workflow/{name}/correlated", 200, JSON, "?includeTasks=true", json=["c", "none"]),
    Row("GET", "/api/workflow/running/{name}", 200, JSON),
    Row("GET", "/api/workflow/running/{name}", 200, JSON, "?startTime=1&endTime=2&version=1"),
    Row("PUT", "/api/workflow/decide/{id}", 200, NONE),
    Row("PUT", "/api/workflow/decide/{id}", 404, JSON, state="unknown"),
    Row("PUT", "/api/workflow/{id}/pause", 200, NONE, json={}),
    Row("PUT", "/api/workflow/{id}/pause", 409, JSON, state="completed"),
    Row("PUT", "/api/workflow/{id}/resume", 200, NONE, state="paused"),
    Row("PUT", "/api/workflow/{id}/resume", 500, JSON, says="is not PAUSED so cannot resume"),
    Row("PUT", "/api/workflow/{id}/skiptask/{ref}", 200, NONE, json={}),
    Row("PUT", "/api/workflow/{id}/skiptask/{ref}", 404, JSON, json={}, state="unknown"),
    Row("PUT", "/api/workflow/{id}/skiptask/{ref}", 500, JSON, json={}, state="completed"),
    Row("POST", "/api/workflow/{id}/rerun", 200, TEXT, json={}, state="failed"),
    Row("POST", "/api/workflow/{id}/rerun", 409, JSON, json={}),
    Row(
        "POST", "/api/workflow/{id}/restart", 204, NONE, "?useLatestDefinitions=true", json={}, state="failed"
    ),
    Row("POST", "/api/workflow/{id}/restart", 409, JSON, json={}),
    Row(
        "POST",
        "/api/workflow/{id}/retry",
        204,
        NONE,
        "?resumeSubworkflowTasks=false",
        json={},
        state="failed",
    ),
    Row("POST", "/api/workflow/{id}/retry", 404, JSON, json={}),
    Row("POST", "/api/workflow/{id}/retry", 409, JSON, json={}, state="completed"),
    Row("DELETE", "/api/workflow/{id}", 200, NONE, "?reason=enough"),
    Row("DELETE", "/api/workflow/{id}", 200, NONE, state="failed"),
    Row("DELETE", "/api/workflow/{id}", 409, JSON, state="completed", says="Cannot terminate a COMPLETED"),
    Row("DELETE", "/api/workflow/{id}", 404, JSON, state="unknown"),
    Row("DELETE", "/api/workflow/{id}/remove", 200, NONE, state="completed"),
    Row("DELETE", "/api/workflow/{id}/remove", 400, JSON, says="Cannot archive workflow: "),
    Row("DELETE", "/api/workflow/{id}/remove", 200, NONE, "?archiveWorkflow=false"),
    Row("DELETE", "/api/workflow/{id}/remove", 404, JSON, state="unknown"),
    Row("DELETE", "/api/workflow/{id}/terminate-remove", 200, NONE, "?reason=enough"),
    Row(
        "GET", "/api/workflow/search", 200, JSON, "?query=workflowType={name}&freeText=*&sort=startTime:DESC"
    ),
    Row(
        "GET",
        "/api/workflow/search",
        200,
        JSON,
        "?start=0&size=15&classifier=workflow&topLevelOnly=true&query=",
    ),
    Row("GET", "/api/workflow/search", 400, JSON, "?size=5001"),
    Row("GET", "/api/workflow/search", 500, JSON, "?size=-1"),
    Row("GET", "/api/workflow/search-v2", 200, JSON, "?query=workflowType={name}"),
    Row("GET", "/api/workflow/externalstoragelocation", 200, JSON, EXTERNAL),
    Row("GET", "/api/workflow/external-storage-location", 400, JSON, "?path=x&operation=steal&payloadType=x"),
    # bulk
    Row("PUT", "/api/workflow/bulk/pause", 200, JSON, json=["{id}"]),
    Row("PUT", "/api/workflow/bulk/pause", 400, JSON, json=[]),
    Row("PUT", "/api/workflow/bulk/pause", 400, JSON, json=[f"x{i}" for i in range(1001)]),
    Row("PUT", "/api/workflow/bulk/pause", 500, JSON, raw=""),
    Row("PUT", "/api/workflow/bulk/resume", 200, JSON, json=["{id}"]),
    Row("POST", "/api/workflow/bulk/restart", 200, JSON, json=["{id}"]),
    Row("POST", "/api/workflow/bulk/retry", 200, JSON, json=["{id}"]),
    Row("POST", "/api/workflow/bulk/terminate", 200, JSON, "?reason=bulk", json=["{id}"]),
    Row("DELETE", "/api/workflow/bulk/remove", 200, JSON, json=["{id}"], state="failed"),
    Row("DELETE", "/api/workflow/bulk/terminate-remove", 200, JSON, json=["{id}"]),
    Row("POST", "/api/workflow/bulk/search", 200, JSON, json=["{id}"]),
    # tasks
    Row("GET", "/api/tasks/poll/{taskType}", 200, JSON, "?workerid=w"),
    Row("GET", "/api/tasks/poll/{new}", 204, NONE, "?workerid=&domain="),
    Row("GET", "/api/tasks/poll/batch/{taskType}", 200, JSON, "?workerId=w&count=2&timeout=0"),
    Row("GET", "/api/tasks/poll/batch/{new}", 200, JSON, "?timeout=0"),
    Row(
        "GET", "/api/tasks/poll/batch/{taskType}", 400, JSON, "?timeout=5001", says="Long Poll Timeout value"
    ),
    Row("GET", "/api/tasks/poll/batch/{taskType}", 500, JSON, "?count=x"),
    Row("POST", "/api/tasks", 200, TEXT, json="{result}"),
    Row("POST", "/api/tasks", 400, JSON, json={"taskId": "x", "status": "COMPLETED"}),
    Row("POST", "/api/tasks", 404, JSON, json="{result}", state="unknown", says="No such"),
    Row("POST", "/api/tasks", 500, JSON, json={"workflowInstanceId": "{id}", "taskId": "{task_id}"}),
    Row("POST", "/api/tasks/update-v2", 204, NONE, json="{result}"),
    Row("POST", "/api/tasks/update-v2", 500, JSON, json={"taskId": "x", "status": "COMPLETED"}),
    Row("POST", "/api/tasks/{id}/{first}/{result_status}", 200, TEXT, "?workerid=w", json={"x": 1}),
    Row("POST", "/api/tasks/{id}/{nobody}/{result_status}", 200, NONE, json={}),
    Row("POST", "/api/tasks/{id}/{first}/{result_status}", 200, NONE, json={}, state="unknown"),
    Row("POST", "/api/tasks/{id}/{first}/{bad_status}", 500, JSON, json={}),
    Row("POST", "/api/tasks/{id}/{first}/{result_status}/sync", 200, JSON, json={}),
    Row(
        "POST",
        "/api/tasks/{id}/{nobody}/{result_status}/sync",
        404,
        JSON,
        json={},
        says="Found no running task",
    ),
    Row("POST", "/api/tasks/{task_id}/log", 200, NONE, raw="one line"),
    Row("GET", "/api/tasks/{task_id}/log", 204, NONE),
    Row("GET", "/api/tasks/{task_id}", 200, JSON),
    Row("GET", "/api/tasks/{task_id}", 404, JSON, state="unknown", says="Task not found for taskId: "),
    Row("GET", "/api/tasks/queue/sizes", 200, JSON, "?taskType={taskType}&taskType=x"),
    Row("GET", "/api/tasks/queue/size", 200, JSON, "?taskType={taskType}&domain=east"),
    Row("GET", "/api/tasks/queue/size", 500, JSON),
    Row("GET", "/api/tasks/queue/all", 200, JSON),
    Row("GET", "/api/tasks/queue/all/verbose", 200, JSON),
    Row("GET", "/api/tasks/queue/polldata", 200, JSON, "?taskType={taskType}"),
    Row("GET", "/api/tasks/queue/polldata/all", 200, JSON),
    Row("POST", "/api/tasks/queue/requeue/{taskType}", 200, TEXT, json={}),
    Row("GET", "/api/tasks/externalstoragelocation", 200, JSON, EXTERNAL),
    Row("GET", "/api/tasks/external-storage-location", 500, JSON),
    # synchronous runs and signals
    Row(
        "POST",
        "/api/workflow/execute/{name}/{version}",
        200,
        JSON,
        "?waitUntilTaskRef=b&waitForSeconds=1",
        json={},
    ),
    Row(
        "POST",
        "/api/workflow/execute/{nobody}/{version}",
        404,
        JSON,
        json={},
        says="No such workflow defined",
    ),
    Row("POST", "/api/workflow/execute/{name}/{version}", 500, JSON, "?returnStrategy=ALL", json={}),
    Row("POST", "/api/workflow/execute/{nobody}", 404, JSON, json={}),
    Row("GET", "/api/workflow/execute/{nobody}", 404, JSON),
    Row("POST", "/api/tasks/{id}/{result_status}/signal", 200, NONE, json={}),
    Row("POST", "/api/tasks/{id}/{result_status}/signal", 404, JSON, json={}, state="unknown"),
    Row("POST", "/api/tasks/{id}/{bad_status}/signal", 500, JSON, json={}),
    Row(
        "POST",
        "/api/tasks/{id}/{result_status}/signal/sync",
        404,
        JSON,
        json={},
        says="Found no blocked task",
    ),
    Row("POST", "/api/workflow/test", 200, JSON, json={"name": "{name}", "version": 1}),
    Row("POST", "/api/workflow/test", 404, JSON, json={"name": "{new}"}),
    Row("POST", "/api/workflow/test", 500, JSON, raw=""),
    # payloads beside the requests
    Row("PUT", "/api/payloads/{payload_kind}/{nobody}", 403, JSON, "?expires=1&signature=x", json={}),
    Row("GET", "/api/payloads/{payload_kind}/{nobody}", 403, JSON, "?expires=1&signature=x"),
    Row("GET", "/api/payloads/{payload_kind}/{nobody}", 500, JSON, says="parameter is missing"),
    # a running workflow
    Row("POST", "/api/workflow/{id}/resetcallbacks", 204, NONE, json={}),
    Row("POST", "/api/workflow/{id}/resetcallbacks", 204, NONE),
    Row("POST", "/api/workflow/{id}/resetcallbacks", 404, JSON, state="unknown"),
    Row(
        "POST",
        "/api/workflow/{id}/resetcallbacks",
        409,
        JSON,
        state="completed",
        says="Workflow is in terminal",
    ),
    Row("POST", "/api/workflow/{id}/variables", 200, JSON, json={"v": 1}),
    Row("POST", "/api/workflow/{id}/variables", 409, JSON, json={"v": 1}, state="completed"),
    Row("POST", "/api/workflow/{id}/variables", 500, JSON, json=[]),
    Row(
        "POST",
        "/api/workflow/{id}/state",
        200,
        JSON,
        "?waitUntilTaskRef=a",
        json={"taskReferenceName": "a", "taskResult": {"status": "COMPLETED"}, "variables": {"v": 1}},
    ),
    Row(
        "POST", "/api/workflow/{id}/state", 400, JSON, json={"taskReferenceName": "a"}, says="belong together"
    ),
    Row(
        "POST",
        "/api/workflow/{id}/state",
        404,
        JSON,
        json={"taskReferenceName": "nobody", "taskResult": {"status": "COMPLETED"}},
        says="Found no running task",
    ),
    Row("POST", "/api/workflow/{id}/jump/{ref}", 200, NONE, json={}),
    Row("POST", "/api/workflow/{id}/jump/{nobody}", 404, JSON, json={}),
    Row("POST", "/api/workflow/{id}/jump/{ref}", 409, JSON, json={}, state="completed"),
    Row("POST", "/api/workflow/{id}/messages", 200, TEXT, json={"m": 1}),
    Row("POST", "/api/workflow/{id}/messages", 404, TEXT, json={"m": 1}, state="unknown"),
    Row("POST", "/api/workflow/{id}/messages", 409, TEXT, json={"m": 1}, state="completed"),
    Row(
        "POST",
        "/api/workflow/correlated/batch",
        200,
        JSON,
        json={"workflowNames": ["{name}"], "correlationIds": ["c"]},
    ),
    Row("GET", "/api/workflow/{id}/history", 200, JSON),
    Row("GET", "/api/workflow/{id}/history", 404, JSON, state="unknown"),
    # searches
    Row("GET", "/api/workflow/search/counts", 200, JSON),
    Row("GET", "/api/workflow/search/counts", 400, JSON, "?query=status>>"),
    Row("GET", "/api/workflow/search-by-tasks", 200, JSON, "?query=taskType={taskType}"),
    Row("GET", "/api/workflow/search-by-tasks", 400, JSON, "?size=5001"),
    Row("GET", "/api/workflow/search-by-tasks-v2", 200, JSON),
    Row("GET", "/api/tasks/search", 200, JSON, "?query=taskType={taskType}"),
    Row("GET", "/api/tasks/search", 500, JSON, "?start=-1"),
    Row("GET", "/api/tasks/search-v2", 200, JSON),
    # documents
    Row("POST", "/api/schema", 200, NONE, json=[{"name": "{new}", "version": 2, "type": "JSON", "data": {}}]),
    Row("POST", "/api/schema", 200, NONE, json={"name": "{new}", "version": 1, "type": "AVRO"}),
    Row("POST", "/api/schema", 400, JSON, json=[{"version": 0}]),
    Row("POST", "/api/schema", 500, JSON, json="text"),
    Row("GET", "/api/schema", 200, JSON),
    Row("GET", "/api/schema/{schema}", 200, JSON),
    Row("GET", "/api/schema/{nobody}", 404, JSON),
    Row("GET", "/api/schema/{schema}/{version}", 200, JSON),
    Row("DELETE", "/api/schema/{schema}/{version}", 200, NONE),
    Row("DELETE", "/api/schema/{schema}/{version}", 200, NONE, json={}),
    Row("DELETE", "/api/schema/{schema}", 200, NONE),
    Row("DELETE", "/api/schema/{nobody}", 404, JSON),
    Row("GET", "/api/metadata/tags", 200, JSON),
    Row("GET", "/api/metadata/{what}/{name}/tags", 200, JSON),
    Row("GET", "/api/metadata/event/{name}/tags", 404, JSON),
    Row("POST", "/api/metadata/{what}/{name}/tags", 200, NONE, json={"key": "k", "value": "v"}),
    Row("POST", "/api/metadata/{what}/{name}/tags", 400, JSON, json={"value": "v"}),
    Row("PUT", "/api/metadata/{what}/{known}/tags", 200, NONE, json=[{"key": "k", "value": 1}]),
    Row("DELETE", "/api/metadata/{what}/{known}/tags", 200, NONE, json={"key": "k", "value": 1}),
    Row("GET", "/api/secrets", 200, JSON),
    Row("POST", "/api/secrets", 200, JSON, json={}),
    Row("GET", "/api/secrets-v2", 200, JSON),
    Row("GET", "/api/secrets/{nobody}", 403, JSON),
    Row("PUT", "/api/secrets/{new}", 400, JSON, raw="value", says="SHOWRUNNER_SECRETS_KEY"),
    Row("DELETE", "/api/secrets/{nobody}", 404, JSON),
    Row("GET", "/api/secrets/{nobody}/exists", 200, JSON),
    Row("GET", "/api/secrets/{nobody}/tags", 200, JSON),
    Row("PUT", "/api/secrets/{nobody}/tags", 200, NONE, json=[{"key": "k"}]),
    Row("DELETE", "/api/secrets/{nobody}/tags", 200, NONE, json=[{"key": "k"}]),
    Row("GET", "/api/environment", 200, JSON),
    Row("GET", "/api/environment/{nobody}", 200, NONE),
    Row("PUT", "/api/environment/{new}", 200, NONE, raw="value"),
    Row("DELETE", "/api/environment/{nobody}", 404, JSON),
    # admin
    Row("GET", "/api/admin/config", 200, JSON),
    Row("GET", "/api/admin/task/{taskType}", 200, JSON, "?count=1"),
    Row("GET", "/api/admin/task/{taskType}", 500, JSON, "?count=-1"),
    Row("POST", "/api/admin/sweep/requeue/{id}", 200, TEXT, json={}),
    Row("POST", "/api/admin/sweep/requeue/{id}", 404, JSON, json={}, state="unknown"),
    Row("POST", "/api/admin/consistency/verifyAndRepair/{id}", 200, TEXT, json={}),
    Row("GET", "/api/admin/queues", 200, JSON, "?verbose=true"),
    # what is not there, and operations
    Row("GET", "/api/nothing", 404, JSON, says="No such URL"),
    Row("PATCH", "/api/workflow", 405, JSON),
    Row("DELETE", "/api/tasks", 405, JSON),
    Row("GET", "/health", 200, JSON),
    Row("GET", "/api/health", 200, JSON),
    Row("GET", "/healthz", 200, JSON),
    Row("GET", "/readyz", 200, JSON),
    Row("GET", "/metrics", 200, TEXT),
    Row("GET", "/api/version", 200, TEXT),
]


def objects(api: Any, row: Row) -> dict[str, Any]:
    """What the row speaks of: a workflow, an execution of it in the row's state, a task definition."""
    spoken = f"{row.route}{row.query}{row.json}"
    state = row.state
    name, known = api.name("w"), api.name("known")
    if any(word in spoken for word in ("{name}", "{id}", "{task_id}", "{result}", "{taskType}")):
        api.define(api.simple("a"), api.simple("b"))
    if "{schema}" in spoken:
        api.post("/schema", [{"name": api.name("schema"), "type": "JSON", "data": {"type": "object"}}])
    if "{known}" in spoken:
        assert api.post("/metadata/taskdefs", [{"name": known}]).status_code == 200
    workflow_id, task_id = UNKNOWN, UNKNOWN
    if state != "unknown" and any(word in spoken for word in ("{id}", "{task_id}", "{result}", "{taskType}")):
        workflow_id = api.start(name, correlationId="c")
        task_id = api.workflow(workflow_id)["tasks"][0]["taskId"]
    if state == "paused":
        api.put(f"/workflow/{workflow_id}/pause")
    if state == "failed":
        api.post(f"/tasks/{workflow_id}/a/FAILED", {})
    if state == "completed":
        for ref in ("a", "b"):
            api.post(f"/tasks/{workflow_id}/{ref}/COMPLETED", {})
    return {
        "name": name,
        "new": api.name("new"),
        "known": known,
        "schema": api.name("schema"),
        "what": "workflow",
        "id": workflow_id,
        "task_id": task_id,
        "taskType": api.name("a"),
        "version": 1,
        "correlation": "c",
        "ref": "b",
        "first": "a",
        "nobody": "nobody",
        "payload_kind": "task_output",
        "result_status": "COMPLETED",
        "bad_status": "SOMETIMES",
        "task": api.simple("a"),
        "result": {"workflowInstanceId": workflow_id, "taskId": task_id, "status": "COMPLETED"},
    }


def filled(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: filled(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, known) for item in value]
    if isinstance(value, str) and value.startswith("{"):
        return known[value.strip("{}")]
    return value


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_status_and_content_type(api: Any, row: Row) -> None:
    """Each route answers with the protocol's status and content type; errors are ErrorResponses."""
    known = objects(api, row)
    path = row.route.format(**known) + row.query.format(**known)
    body = {"content": row.raw} if row.raw is not None else {"json": filled(row.json, known)}

    answer = api.call(row.method, path, **body)

    assert answer.status_code == row.status, answer.text
    assert answer.headers.get("content-type", "").split(";")[0] == row.media
    assert bool(answer.content) == (row.media != NONE)
    if row.media == TEXT:
        assert not answer.text.startswith('"')
    if row.status >= 400 and row.media == JSON:
        error = answer.json()
        assert error["status"] == row.status
        assert row.says in error["message"]
        assert ("instance" in error) != ("validationErrors" in error)
        assert error["retryable"] is False


def test_every_route_has_a_row(api: Any) -> None:
    """No route of the Conductor surface or of the operations is left out of the table."""
    tried = {(row.method, PARAMETER.sub("{}", row.route)) for row in ROWS}
    missing = [
        (method.upper(), path)
        for path, operations in api.call("GET", "/openapi.json").json()["paths"].items()
        if not path.startswith(ELSEWHERE)
        for method in operations
        if (method.upper(), PARAMETER.sub("{}", path)) not in tried
    ]

    assert missing == []
