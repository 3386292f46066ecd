"""The product API's routes: each translates, calls one operation, and answers."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ValidationError

from api.videos import present
from api.videos.errors import ProblemError, catalogue
from api.videos.events import stream
from api.videos.files import content_type
from api.videos.handlers import field_errors, sentence
from api.videos.models import (
    CreateVideo,
    EditVideo,
    FieldError,
    FilePage,
    Problem,
    ProfileName,
    ProfileView,
    PublishedFile,
    QueueView,
    Report,
    VerdictView,
    Video,
    VideoOptions,
    VideoPage,
    VideoStatus,
    WorkerView,
)
from api.videos.report import report
from api.videos.service import VideoService
from api.videos.store import VideoFilter, VideoRow
from api.videos.uploads import Body, boundary_of, receive_form, require_acceptable_length

PAGE_MAX = 200
FILES_PAGE_MAX = 1_000
JSON_BYTES_MAX = 256 * 1024
KEY_CHARS_MAX = 255
WORKER_LIVE_MS = 15_000

PROFILE_TEXTS: dict[str, str] = {
    "default": "H.264 up to 1080p, AAC at -16 LUFS: plays everywhere.",
    "fast": "Fewer renditions with a faster encoder setting; larger files for the same quality.",
    "premium": "Up to 2160p with a slow, careful encoder setting and better sound.",
    "apple": "What Apple's devices decode in hardware: H.264 up to 1080p60.",
    "archive": "Close to the source in quality, loudness untouched.",
    "mobile": "Up to 480p and 30 frames a second.",
    "audio": "Sound only.",
}

_KEY = re.compile(rf"[\x21-\x7e]{{1,{KEY_CHARS_MAX}}}")
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (404, 422, 503)
}


def _inlined(model: type[BaseModel]) -> dict[str, Any]:
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


_CREATE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "description": "Send options first: then a wrong one is refused before the file is read.",
                    "properties": {
                        "options": _inlined(VideoOptions),
                        "file": {"type": "string", "format": "binary"},
                    },
                },
                "encoding": {"options": {"contentType": "application/json"}},
            },
            "application/json": {"schema": _inlined(CreateVideo)},
        },
    }
}


def _base_url(request: Request, public_url: str) -> str:
    return (public_url or str(request.base_url)).rstrip("/")


class VideoRoutes:
    """Builds the router; a class only to keep what all routes share in one place.

    Args:
        service: the operations.
        public_url: scheme and host that clients see, empty for that of each request.
    """

    def __init__(self, service: VideoService, public_url: str = "") -> None:
        self.service = service
        self.public_url = public_url
        router = APIRouter(prefix="/api/v1", tags=["videos"], responses=_PROBLEMS)
        self.router = router
        add = router.add_api_route
        add(
            "/videos",
            self.create,
            methods=["POST"],
            status_code=201,
            response_model=Video,
            openapi_extra=_CREATE_BODY,
            responses={
                413: {"model": Problem},
                409: {"model": Problem},
                501: {"model": Problem, "description": "JSON sources, announced uploads and DRM come later."},
                507: {"model": Problem, "description": "No room on the media disk."},
            },
        )
        shown: dict[str, Any] = {"response_model_exclude_none": True}
        add("/videos", self.page, methods=["GET"], response_model=VideoPage, **shown)
        add("/videos/{video_id}", self.get, methods=["GET"], response_model=Video, **shown)
        add("/videos/{video_id}", self.edit, methods=["PATCH"], response_model=Video, **shown)
        add("/videos/{video_id}", self.delete, methods=["DELETE"], status_code=204)
        for verb, operation in (("cancel", self.cancel), ("retry", self.retry)):
            add(
                f"/videos/{{video_id}}/{verb}",
                operation,
                methods=["POST"],
                status_code=202,
                response_model=Video,
                responses={409: {"model": Problem}},
                **shown,
            )
        add("/videos/{video_id}/events", self.events, methods=["GET"], response_class=StreamingResponse)
        add("/videos/{video_id}/files", self.files, methods=["GET"], response_model=FilePage, **shown)
        add("/videos/{video_id}/report", self.report, methods=["GET"], response_model=Report, **shown)
        add("/profiles", self.profiles, methods=["GET"], response_model=list[ProfileView])
        add("/profiles/{name}", self.profile, methods=["GET"], response_model=ProfileView)
        add("/queues", self.queues, methods=["GET"], response_model=list[QueueView], **shown)
        add("/workers", self.workers, methods=["GET"], response_model=list[WorkerView])
        add("/problems", self.problems, methods=["GET"], response_model=dict[str, Any])
        add("/problems/{code}", self.problem, methods=["GET"], response_model=dict[str, Any])

    def _video(self, request: Request, row: VideoRow) -> Video:
        return present.video(row, self.service.view(row), _base_url(request, self.public_url))

    # --------------------------------------------------------------------------------------- creating
    async def create(
        self,
        request: Request,
        idempotency_key: Annotated[str | None, Header(description="Same key and body: same answer.")] = None,
    ) -> Response:
        """Upload a video as a form: optional `options`, then `file`. Its processing starts at once."""
        body = Body(request.receive, self.service.limits.idle_ms_max)
        request.state.body = body
        key = _checked_key(idempotency_key)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            await _refuse_json(body)
        if kind != "multipart/form-data":
            raise ProblemError(
                "unsupported_media_type", "send the video as multipart/form-data with a part named file"
            )
        if key:
            self.service.reserve_key(key)
        try:
            return await self._upload(request, body, key)
        finally:
            self.service.release_key(key)

    async def _upload(self, request: Request, body: Body, key: str) -> Response:
        service = self.service
        require_acceptable_length(_content_length(request), service.media, service.limits)
        video_id = service.new_video_id()
        async with receive_form(
            body,
            boundary_of(request.headers["content-type"]),
            video_id=video_id,
            folder=service.media,
            limits=service.limits,
            on_options=lambda text: _require_available(_options(text)),
        ) as received:
            created = await service.create(video_id, received, _options(received.options), key)
        answer = created.answer
        if not answer:
            document = self._video(request, created.row)
            answer = document.model_dump_json(by_alias=True, exclude_none=True).encode()
            if key:
                await service.keep_answer(key, answer)
        location = f"{_base_url(request, self.public_url)}/api/v1/videos/{created.row.id}"
        return Response(answer, 201, {"Location": location}, "application/json")

    # ---------------------------------------------------------------------------------------- reading
    async def page(
        self,
        request: Request,
        *,
        status: Annotated[list[VideoStatus] | None, Query()] = None,
        q: Annotated[str, Query(max_length=200, description="Occurs in title or file name.")] = "",
        profile: ProfileName | None = None,
        created_after: Annotated[datetime | None, Query(alias="createdAfter")] = None,
        created_before: Annotated[datetime | None, Query(alias="createdBefore")] = None,
        sort: Annotated[
            Literal["createdAt", "-createdAt"], Query(description="- is newest first.")
        ] = "-createdAt",
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
        cursor: str = "",
    ) -> VideoPage:
        """Videos, newest first. Pass `nextCursor` back as `cursor` for the next page."""
        wanted = VideoFilter(
            statuses=tuple(status or ()),
            text=q,
            profile=profile or "",
            created_after_ms=_ms(created_after),
            created_before_ms=_ms(created_before),
            ascending=sort == "createdAt",
            after=_read_cursor(cursor) if cursor else None,
            limit=limit + 1,
        )
        rows = await self.service.page(wanted)
        more, rows = len(rows) > limit, rows[:limit]
        return VideoPage(
            items=[self._video(request, row) for row in rows],
            next_cursor=_cursor(rows[-1].created_ms, rows[-1].id) if more else None,
        )

    async def get(self, request: Request, video_id: str) -> Video:
        """One video as it is now."""
        return self._video(request, await self.service.get(video_id))

    async def events(
        self,
        request: Request,
        video_id: str,
        last_event_id: Annotated[str, Header(description="Go on after this event.")] = "",
    ) -> StreamingResponse:
        """Server-sent events `progress`, `status`, `rendition` and `log`: first the state, then each change.

        With `Last-Event-ID`, what was missed is sent instead of the state, as long as it is remembered.
        """
        row = await self.service.get(video_id)
        content = stream(self.service.hub, row.id, last_event_id, lambda: self.service.state_events(row))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(content, headers=headers, media_type="text/event-stream")

    async def files(
        self,
        request: Request,
        video_id: str,
        prefix: str = "",
        limit: Annotated[int, Query(ge=1, le=FILES_PAGE_MAX)] = 200,
        cursor: str = "",
    ) -> FilePage:
        """The published files in order of their paths."""
        row = await self.service.get(video_id)
        after = _decoded(cursor) if cursor else ""
        if not isinstance(after, str):
            raise _bad_cursor()
        entries = [
            entry
            for entry in self.service.media.published_files(row.id, row.version)
            if str(entry["path"]).startswith(prefix) and str(entry["path"]) > after
        ]
        base_url = _base_url(request, self.public_url)
        items = [
            PublishedFile(
                path=str(entry["path"]),
                size=int(entry.get("size") or 0),
                sha256=entry.get("sha256"),
                content_type=str(entry.get("contentType") or content_type(str(entry["path"]))),
                url=present.media_url(base_url, row, str(entry["path"])),
            )
            for entry in entries[:limit]
        ]
        more = len(entries) > limit
        return FilePage(items=items, next_cursor=_encoded(items[-1].path) if more else None)

    async def report(self, video_id: str) -> Report:
        """How the video was made: plan, artefacts with their commands, findings, timings."""
        row = await self.service.get(video_id)
        seen = self.service.view(row)
        made = seen.report
        if not made:
            workflow = await self.service.workflow(row)
            made = report(workflow) if workflow else {}
        return Report(
            source=present.source_of(row, seen),
            verdicts=[VerdictView.model_validate(each) for each in seen.verdicts],
            **made,
        )

    # --------------------------------------------------------------------------------------- changing
    async def edit(self, request: Request, video_id: str, edit: EditVideo) -> Video:
        """Change title or metadata; fields left out stay."""
        return self._video(request, await self.service.edit(video_id, edit))

    async def delete(self, video_id: str) -> Response:
        """End the video's work and remove all its files."""
        await self.service.delete(video_id)
        return Response(status_code=204)

    async def cancel(self, request: Request, video_id: str) -> Video:
        """End the work; what is finished is kept for a retry."""
        return self._video(request, await self.service.cancel(video_id))

    async def retry(self, request: Request, video_id: str) -> Video:
        """Run a failed or cancelled video again; finished renditions are reused."""
        return self._video(request, await self.service.retry(video_id))

    # -------------------------------------------------------------------------------------- operators
    async def profiles(self) -> list[ProfileView]:
        """Names that `profile` may have."""
        return [ProfileView(name=name, description=text) for name, text in PROFILE_TEXTS.items()]

    async def profile(self, name: str) -> ProfileView:
        """One profile."""
        if name not in PROFILE_TEXTS:
            raise ProblemError(
                "not_found", f"there is no profile {name[:80]!r}; GET /api/v1/profiles lists them"
            )
        return ProfileView(name=name, description=PROFILE_TEXTS[name])

    async def queues(self) -> list[QueueView]:
        """Task queues: what waits and what runs."""
        detail = await self.service.engine.queues.detail()
        polls: dict[str, list[int]] = {}
        for each in await self.service.engine.queues.poll_data():
            domain = f"{each['domain']}:" if each.get("domain") else ""
            polls.setdefault(f"{domain}{each['queueName']}", []).append(int(each["lastPollTime"]))
        now_ms = self.service.clock.now_ms()
        return [
            QueueView(
                name=name,
                waiting=detail.get(name, (0, 0))[0],
                running=detail.get(name, (0, 0))[1],
                last_poll_at=present.rfc3339(max(polls[name])) if name in polls else None,
                polled_by=sum(now_ms - at_ms < WORKER_LIVE_MS for at_ms in polls.get(name, [])),
            )
            for name in sorted({*detail, *polls})
            if not name.startswith("_")
        ]

    async def workers(self) -> list[WorkerView]:
        """Workers by when they last asked for work."""
        types: dict[str, dict[str, int]] = {}
        for each in await self.service.engine.queues.poll_data():
            types.setdefault(str(each.get("workerId") or ""), {})[each["queueName"]] = int(
                each["lastPollTime"]
            )
        now_ms = self.service.clock.now_ms()
        return [
            WorkerView(
                id=worker,
                task_types=sorted(polled),
                last_poll_at=present.rfc3339(max(polled.values())),
                live=now_ms - max(polled.values()) < WORKER_LIVE_MS,
            )
            for worker, polled in sorted(types.items())
        ]

    async def problems(self) -> dict[str, Any]:
        """Every error code of this interface and of failed videos."""
        return catalogue()

    async def problem(self, code: str) -> dict[str, Any]:
        """One error code."""
        found = [each for kind in catalogue().values() for each in kind if each["code"] == code]
        if not found:
            raise ProblemError(
                "not_found", f"there is no problem {code[:80]!r}; GET /api/v1/problems lists them"
            )
        return dict(found[0])


# ------------------------------------------------------------------------------------------------ reading
def _options(text: bytes) -> VideoOptions:
    try:
        return VideoOptions.model_validate_json(text, strict=False)
    except ValidationError as error:
        found = error.errors()
        if any(each["type"] == "json_invalid" for each in found):
            raise ProblemError("malformed_body", "the part options is not valid JSON") from error
        fields = field_errors(found)
        raise ProblemError("invalid_request", sentence(fields), errors=fields) from error


def _require_available(options: VideoOptions) -> None:
    for field, asked in (("drm", options.drm), ("callbackUrl", options.callback_url)):
        if asked:
            raise ProblemError(
                "not_available_yet",
                f"{field} is not available in this version; leave it out",
                errors=[FieldError(path=field, message="not available in this version")],
            )


async def _refuse_json(body: Body) -> None:
    text = bytearray()
    async for chunk in body.chunks():
        text += chunk
        if len(text) > JSON_BYTES_MAX:
            raise ProblemError("too_large", f"a JSON body may have {JSON_BYTES_MAX} bytes at most")
    try:
        CreateVideo.model_validate_json(bytes(text))
    except ValidationError as error:
        found = error.errors()
        if any(each["type"] == "json_invalid" for each in found):
            raise ProblemError("malformed_body", "the request body is not valid JSON") from error
        fields = field_errors(found)
        raise ProblemError("invalid_request", sentence(fields), errors=fields) from error
    raise ProblemError(
        "not_available_yet",
        "videos from an address and announced uploads are not available in this version; "
        "send the file itself as multipart/form-data",
    )


def _checked_key(key: str | None) -> str:
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        message = f"must have 1 to {KEY_CHARS_MAX} printable ASCII characters without spaces"
        raise ProblemError(
            "invalid_request",
            f"the header Idempotency-Key {message}",
            errors=[FieldError(path="Idempotency-Key", message=message)],
        )
    return key


def _content_length(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


def _ms(at: datetime | None) -> int:
    return int(at.timestamp() * 1000) if at else 0


def _cursor(created_ms: int, video_id: str) -> str:
    return _encoded([created_ms, video_id])


def _read_cursor(cursor: str) -> tuple[int, str]:
    match _decoded(cursor):
        case [int(created_ms), str(video_id)]:
            return created_ms, video_id
        case _:
            raise _bad_cursor()


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def _decoded(cursor: str) -> object:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise _bad_cursor() from error


def _bad_cursor() -> ProblemError:
    return ProblemError(
        "invalid_request",
        "cursor: is none of ours; pass nextCursor of the last page, or leave it out for the first",
        errors=[FieldError(path="cursor", message="is none of ours")],
    )
