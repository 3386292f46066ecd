"""The history of one execution, as `showrunner workflow replay` reads it."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.conductor.deps import EngineDep
from api.conductor.openapi import returns_schema
from engine.services.replay import encode_recording, record

router = APIRouter(prefix="/api/workflow", tags=["operations"])


@router.get(
    "/{workflow_id}/history",
    responses=returns_schema(
        {
            "type": "object",
            "description": "What a replay needs; its format belongs to this version of the server.",
            "required": ["recording"],
            "properties": {"recording": {"type": "object"}, "branches": {"type": "object"}},
        }
    ),
)
async def history(engine: EngineDep, workflow_id: str) -> Response:
    """Everything that happened to a workflow, with what it led to: the input of a replay."""
    environment = dict(engine.definitions.environment)
    recording = await record(engine.store, workflow_id, environment=environment)
    return Response(encode_recording(recording), media_type="application/json")
