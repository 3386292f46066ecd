"""The OpenAPI side of routes whose bodies never pass through Pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.conductor import examples, shapes
from api.errors import ErrorResponse, below
from engine.core.event_handlers import EventExecution, EventHandler
from engine.core.model import SchemaDef, TaskDef, WorkflowDef
from engine.core.schedules import WorkflowSchedule
from engine.services.tags import Tag
from engine.services.workflow_tests import WorkflowTestRequest

_REF = "#/components/schemas/"
_DOCUMENTED: tuple[type, ...] = (
    ErrorResponse,
    TaskDef,
    WorkflowDef,
    WorkflowTestRequest,
    SchemaDef,
    Tag,
    WorkflowSchedule,
    EventHandler,
    EventExecution,
    *(
        kind
        for kind in vars(shapes).values()
        if isinstance(kind, type) and kind.__module__ == shapes.__name__ and kind is not shapes.Wire
    ),
)

TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
EMPTY: dict[int | str, dict[str, Any]] = {200: {"description": "Done; the body is empty", "content": {}}}
NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "Done"}}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF + name}


def returns(name: str, *more: int) -> dict[int | str, dict[str, Any]]:
    """Responses of a route that answers one object of a documented shape, also with the statuses `more`."""
    return {status: _content(ref(name)) for status in (200, *more)}


def returns_list(name: str) -> dict[int | str, dict[str, Any]]:
    return {200: _content({"type": "array", "items": ref(name)})}


def returns_schema(schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: _content(schema)}


def or_nothing(responses: dict[int | str, dict[str, Any]], why: str) -> dict[int | str, dict[str, Any]]:
    """Add a 204 to a route's responses."""
    return {**responses, 204: {"description": why}}


def takes(schema: str | dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a JSON body: a documented shape's name, or a schema."""
    content = ref(schema) if isinstance(schema, str) else schema
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": content}}}}


def query(name: str, kind: str, description: str, **schema: Any) -> dict[str, Any]:
    """One query parameter of a route that parses its own query."""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": kind, **schema},
    }


def path_text(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def document(app: FastAPI, product_prefixes: Sequence[str]) -> dict[str, Any]:
    """The whole description: FastAPI's own, the shapes, and the one error format of the Conductor surface."""
    described = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    _, ours = msgspec.json.schema_components(_DOCUMENTED, ref_template=_REF + "{name}")
    for name, schema in ours.items():
        schemas.setdefault(name, schema)
    for path, operations in described["paths"].items():
        if below(path, product_prefixes):
            continue
        for operation in operations.values():
            # Upstream answers a parameter it cannot read with 500, in the common error format.
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {
                "description": "Refused or failed",
                **_content(ref("ErrorResponse")),
            }
            _drop_empty(operation["responses"])
    examples.attach(described)
    return described


def _drop_empty(responses: dict[str, Any]) -> None:
    """FastAPI promises JSON of any kind where a route answers a text or nothing."""
    for answer in responses.values():
        content = answer.get("content", {})
        if content.get("application/json") == {"schema": {}}:
            del content["application/json"]


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}
