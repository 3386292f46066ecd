"""The OpenAPI document: complete, and true to what is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from engine.bootstrap import open_engine
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
