"""POST /api/v1/plans: what would be made of an upload, or of a video that is here, before anything is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from api.videos.errors import ProblemError
from api.videos.handlers import field_errors, sentence
from api.videos.models import PlanVideo, PlanView, Problem
from api.videos.options import VideoOptions
from api.videos.reading import content_length, json_body, options_of
from api.videos.service import VideoService
from api.videos.uploads import Body, boundary_of, receive_form, require_acceptable_length


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references, for a place where FastAPI does not collect them."""
    document = model.model_json_schema()
    shared = document.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolved(shared[node["$ref"].rpartition("/")[2]])
            return {name: resolved(each) for name, each in node.items()}
        return [resolved(each) for each in node] if isinstance(node, list) else node

    return dict(resolved(document))


def form_schema() -> dict[str, Any]:
    """The form that an upload is."""
    return {
        "schema": {
            "type": "object",
            "required": ["file"],
            "description": "Send options first: then a wrong one is refused before the file is read.",
            "properties": {
                "options": inlined(VideoOptions),
                "sha256": {
                    "type": "string",
                    "pattern": "^[0-9a-f]{64}$",
                    "description": "The file's, checked.",
                },
                "file": {"type": "string", "format": "binary"},
            },
        },
        "encoding": {"options": {"contentType": "application/json"}},
    }


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": form_schema(),
            "application/json": {"schema": inlined(PlanVideo)},
        },
    }
}


class PlanRoutes:
    """Builds the router; `service` has the operations."""

    def __init__(self, service: VideoService) -> None:
        self.service = service
        self.router = APIRouter(prefix="/api/v1", tags=["videos"])
        self.router.add_api_route(
            "/plans",
            self.create,
            methods=["POST"],
            response_model=PlanView,
            response_model_exclude_none=True,
            openapi_extra=_BODY,
            responses={
                status: {"model": Problem, "content": {"application/problem+json": {}}}
                for status in (404, 413, 422, 503, 507)
            },
        )

    async def create(self, request: Request) -> PlanView:
        """Plan an upload (a form as for POST /videos) or a video that is here (JSON); nothing is encoded.

        The file is read through once, so the answer takes seconds; it is removed again.
        """
        body = Body(request.receive, self.service.limits.idle_ms_max)
        request.state.body = body
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            return PlanView.model_validate(await self.service.plan_video(await _asked(body)))
        if kind != "multipart/form-data":
            raise ProblemError(
                "unsupported_media_type",
                "send the video as multipart/form-data with a part named file, or JSON with a videoId",
            )
        return PlanView.model_validate(await self._upload(request, body))

    async def _upload(self, request: Request, body: Body) -> dict[str, Any]:
        service = self.service
        require_acceptable_length(content_length(request), service.media, service.limits)
        plan_id = service.new_plan_id()

        async def judge(text: bytes) -> None:
            await service.profiles.for_workflow(options_of(text).profile)

        async with receive_form(
            body,
            boundary_of(request.headers["content-type"]),
            video_id=plan_id,
            folder=service.media,
            limits=service.limits,
            on_options=judge,
        ) as received:
            return await service.plan_upload(plan_id, received, options_of(received.options))


async def _asked(body: Body) -> PlanVideo:
    try:
        return PlanVideo.model_validate_json(await json_body(body))
    except ValidationError as error:
        found = error.errors()
        if any(each["type"] == "json_invalid" for each in found):
            raise ProblemError("malformed_body", "the request body is not valid JSON") from error
        fields = field_errors(found)
        raise ProblemError("invalid_request", sentence(fields), errors=fields) from error
