"""The OpenAPI document: complete, and true to what is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from api.conductor import examples
from engine.bootstrap import open_engine
from engine.core.search import FREE_TEXT_EXACT_MAX, TOTAL_EXACT_MAX
from engine.settings import EngineSettings

pytestmark = pytest.mark.server

HOT = {
    ("/api/tasks/poll/{taskType}", "get"),
    ("/api/tasks/poll/batch/{taskType}", "get"),
    ("/api/tasks", "post"),
    ("/api/tasks/update-v2", "post"),
    ("/api/workflow", "post"),
    ("/api/workflow/{name}", "post"),
}


SEARCH_RESULTS = (
    "WorkflowSearchResult",
    "FullWorkflowSearchResult",
    "TaskSearchResult",
    "TaskSummarySearchResult",
)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_hot_routes_are_documented(api: Any) -> None:
    """Routes that FastAPI does not serve itself stand in the document all the same, with their bodies."""
    paths = api.call("GET", "/openapi.json").json()["paths"]

    assert {(path, method) for path, method in HOT if method in paths[path]} == HOT
    assert paths["/api/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/TaskResult"
    }
    batch = {p["name"] for p in paths["/api/tasks/poll/batch/{taskType}"]["get"]["parameters"]}
    assert batch == {"taskType", "workerid", "domain", "count", "timeout"}


def test_every_reference_resolves(api: Any) -> None:
    """Every schema that is referred to exists."""
    document = api.call("GET", "/openapi.json").json()

    missing = {r for r in references(document) if r.split("/")[-1] not in document["components"]["schemas"]}

    assert missing == set()


def test_errors_are_documented_as_they_are(api: Any) -> None:
    """The Conductor surface documents its one error format; the product's routes keep their own."""
    paths = api.call("GET", "/openapi.json").json()["paths"]

    ours = paths["/api/workflow/search"]["get"]["responses"]
    assert "422" not in ours
    assert ours["default"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")
    assert "422" in paths["/api/v1/teapot"]["get"]["responses"]


@pytest.mark.parametrize("result", SEARCH_RESULTS)
def test_totals_say_how_exact_they_are(api: Any, result: str) -> None:
    """A reader learns where counting ends: the bound that the stores keep."""
    schemas = api.call("GET", "/openapi.json").json()["components"]["schemas"]

    assert (
        f"Exact up to {TOTAL_EXACT_MAX} ({FREE_TEXT_EXACT_MAX} with"
        in schemas[result]["properties"]["totalHits"]["description"]
    )


def test_upstream_address_of_the_document(api: Any) -> None:
    """The document is also where upstream's clients look for it."""
    assert api.call("GET", "/api-docs").json() == api.call("GET", "/openapi.json").json()


async def test_hot_routes_behave_alike_behind_fastapi(tmp_path: Path) -> None:
    """The documented routes are real: FastAPI alone answers them as the hot handlers in front of it do."""
    settings = EngineSettings(data=tmp_path, database="memory://", sqlite_synchronous="NORMAL")
    task = {"name": "a", "taskReferenceName": "a", "type": "SIMPLE"}
    async with await open_engine(settings) as engine:
        transport = httpx.ASGITransport(create_app(engine).fastapi)
        async with httpx.AsyncClient(base_url="http://server/api", transport=transport) as client:
            await client.post("/metadata/workflow", json={"name": "w", "tasks": [task]})
            first = await client.post("/workflow", json={"name": "w"})
            second = await client.post("/workflow/w", json={})
            polled = (await client.get("/tasks/poll/a")).json()
            result = {"workflowInstanceId": first.text, "taskId": polled["taskId"], "status": "COMPLETED"}
            following = await client.post("/tasks/update-v2", json=result)
            repeated = await client.post("/tasks", json=result)
            batch = await client.get("/tasks/poll/batch/a?timeout=0")

    assert following.json()["workflowInstanceId"] == second.text
    assert (repeated.status_code, repeated.text) == (200, polled["taskId"])
    assert repeated.headers["content-type"].startswith("text/plain")
    assert batch.json() == []


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(route, media type, content) of every body and answer of the Conductor surface, errors apart."""
    for path, operations in document["paths"].items():
        if path.startswith("/api/v1"):
            continue
        for method, operation in operations.items():
            told = [operation.get("requestBody", {})]
            told += [answer for status, answer in operation["responses"].items() if status != "default"]
            for each in told:
                for media, content in each.get("content", {}).items():
                    yield f"{method.upper()} {path}", media, content


def test_every_body_has_an_example(api: Any) -> None:
    """A reader sees what to send and what comes back, on every route."""
    document = api.call("GET", "/openapi.json").json()

    assert [(route, media) for route, media, content in bodies(document) if "example" not in content] == []


def test_examples_fit_their_schemas(api: Any) -> None:
    """An example that its own schema refuses would teach nonsense."""
    document = api.call("GET", "/openapi.json").json()
    shared = {"components": document["components"]}

    wrong = [
        (route, error.message)
        for route, _, content in bodies(document)
        for error in Draft202012Validator(content["schema"] | shared).iter_errors(content["example"])
    ]

    assert wrong == []


def test_every_operation_is_introduced(api: Any) -> None:
    """A summary of one sentence, and a group to find it in."""
    document = api.call("GET", "/openapi.json").json()

    silent = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        if not path.startswith("/api/v1")
        for method, operation in operations.items()
        if not (operation.get("summary") and operation.get("tags") and operation.get("description"))
    ]

    assert silent == []


def test_the_examples_can_be_followed(api: Any) -> None:
    """Registered, started, polled, completed and found as the examples say."""
    shown = examples.SHAPES
    api.post("/metadata/taskdefs", [shown["TaskDef"]])
    api.post("/metadata/workflow", shown["WorkflowDef"])
    workflow_id = api.post("/workflow", shown["StartWorkflowRequest"]).text
    polled = api.get("/tasks/poll/greet", params={"workerid": "worker-1"}).json()
    ids = {"workflowInstanceId": workflow_id, "taskId": polled["taskId"]}
    api.post("/tasks", shown["TaskResult"] | ids)
    tested = api.post("/workflow/test", shown["WorkflowTestRequest"]).json()

    assert set(examples.TASK) <= set(polled)
    assert api.workflow(workflow_id)["output"] == {"text": "Hello Ada"}
    assert (tested["status"], tested["output"]) == ("COMPLETED", {"text": "Hello Ada"})
