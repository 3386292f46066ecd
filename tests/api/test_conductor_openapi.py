"""The OpenAPI document: complete, and true to what is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

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
