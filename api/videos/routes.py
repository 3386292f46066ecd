"""The product API's routes: each translates, calls one operation, and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.videos import present
from api.videos.errors import ProblemError
from api.videos.events import stream
from api.videos.files import content_type
from api.videos.models import (
    CreateVideo,
    EditVideo,
    FilePage,
    Problem,
    PublishedFile,
    Report,
    Reprocess,
    Video,
    VideoPage,
    VideoStatus,
)
from api.videos.plan_routes import form_schema, inlined
from api.videos.reading import (
    bad_cursor,
    checked_key,
    content_length,
    decoded,
    encoded,
    milliseconds,
    options_of,
    page_cursor,
    read_page_cursor,
    refuse_json,
    require_available,
)
from api.videos.requests import PROFILE_NAME
from api.videos.service import VideoService
from api.videos.store import VideoFilter, VideoRow
from api.videos.uploads import Body, boundary_of, receive_form, require_acceptable_length

PAGE_MAX = 200
FILES_PAGE_MAX = 1_000

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (404, 422, 503)
}


_CREATE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": form_schema(),
            "application/json": {"schema": inlined(CreateVideo)},
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
                501: {"model": Problem, "description": "JSON sources and announced uploads come later."},
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
        add(
            "/videos/{video_id}/reprocess",
            self.reprocess,
            methods=["POST"],
            status_code=202,
            response_model=Video,
            responses={409: {"model": Problem}},
            **shown,
        )
        add("/videos/{video_id}/events", self.events, methods=["GET"], response_class=StreamingResponse)
        add("/videos/{video_id}/files", self.files, methods=["GET"], response_model=FilePage, **shown)
        add("/videos/{video_id}/report", self.report, methods=["GET"], response_model=Report, **shown)

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
        key = checked_key(idempotency_key)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            await refuse_json(body)
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

    async def _judge(self, text: bytes) -> None:
        options = options_of(text)
        require_available(options)
        await self.service.profiles.for_workflow(options.profile)

    async def _upload(self, request: Request, body: Body, key: str) -> Response:
        service = self.service
        require_acceptable_length(content_length(request), service.media, service.limits)
        video_id = service.new_video_id()
        async with receive_form(
            body,
            boundary_of(request.headers["content-type"]),
            video_id=video_id,
            folder=service.media,
            limits=service.limits,
            on_options=self._judge,
        ) as received:
            created = await service.create(video_id, received, options_of(received.options), key)
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
        profile: Annotated[str, Query(pattern=PROFILE_NAME)] | None = None,
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
            created_after_ms=milliseconds(created_after),
            created_before_ms=milliseconds(created_before),
            ascending=sort == "createdAt",
            after=read_page_cursor(cursor) if cursor else None,
            limit=limit + 1,
        )
        rows = await self.service.page(wanted)
        more, rows = len(rows) > limit, rows[:limit]
        return VideoPage(
            items=[self._video(request, row) for row in rows],
            next_cursor=page_cursor(rows[-1].created_ms, rows[-1].id) if more else None,
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
        """Server-sent events: first the state, then each change.

        `progress`, `status`, `rendition` and `log` as they come; `previewReady` once when the first rendition
        can be played, with its version and paths: the video's `playback` has the addresses.

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
        *,
        prefix: str = "",
        version: Annotated[str, Query(description="The video's current one unless named.")] = "",
        limit: Annotated[int, Query(ge=1, le=FILES_PAGE_MAX)] = 200,
        cursor: str = "",
    ) -> FilePage:
        """The published files in order of their paths."""
        row = await self.service.get(video_id)
        after = decoded(cursor) if cursor else ""
        if not isinstance(after, str):
            raise bad_cursor()
        version = version or row.version
        entries = [
            entry
            for entry in self.service.media.published_files(row.id, version)
            if str(entry["path"]).startswith(prefix) and str(entry["path"]) > after
        ]
        base_url = _base_url(request, self.public_url)
        items = [
            PublishedFile(
                path=str(entry["path"]),
                size=int(entry.get("size") or 0),
                sha256=entry.get("sha256"),
                content_type=str(entry.get("contentType") or content_type(str(entry["path"]))),
                url=present.media_url(base_url, row, str(entry["path"]), version),
            )
            for entry in entries[:limit]
        ]
        more = len(entries) > limit
        return FilePage(items=items, next_cursor=encoded(items[-1].path) if more else None)

    async def report(self, video_id: str) -> Report:
        """How the video was made: plan, artefacts with their commands, findings, timings."""
        row = await self.service.get(video_id)
        seen = self.service.view(row)
        return Report(
            source=present.source_of(row, seen),
            verdicts=present.verdicts(row, seen),
            **await self.service.report(row),
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

    async def reprocess(self, request: Request, video_id: str, asked: Reprocess) -> Video:
        """Make a new version of a ready, failed or cancelled video, with other options or none.

        What was published plays on until the new version is ready. Finished renditions are reused: new keys
        need no encode.
        """
        return self._video(request, await self.service.reprocess(video_id, asked))
